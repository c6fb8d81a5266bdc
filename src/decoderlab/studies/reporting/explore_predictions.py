"""What one run has written on its test split, and how far from right that is."""

from __future__ import annotations

from typing import Any, NamedTuple

from rapidfuzz.distance import Levenshtein

from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.common.errors import Invalid
from decoderlab.records.run_folder import RunFolder

MAX_TEXT = 400  # letters of a text that are shown
MORE = 3  # edits, or more of them


class Line(NamedTuple):
    """A prediction, cut to what is shown, and whether it is right."""

    source: str
    targets: tuple[str, ...]
    prediction: str
    right: bool


class Written(NamedTuple):
    """What a run has written.

    Args:
        lines: by the number of the example.
        edits: how many predictions are right, and how many are one, two and more tokens from the
            nearest target (inserted, deleted or exchanged); None of real values.
    """

    lines: list[Line]
    edits: tuple[int, int, int, int] | None


def read_written(folder: RunFolder) -> Written:
    """Return what a run has written; nothing of a file that is damaged."""
    lines: list[Line] = []
    right = one_edit = two_edits = more = 0
    known = True
    try:
        for record in read_json_lines(folder.predictions):
            texts = _texts([record.get(name) for name in ("source", "target", "prediction")])
            if not texts:
                return Written([], None)
            source, target, prediction = texts
            targets = _texts(record.get("references")) or [target]
            correct = record.get("correct")
            known = known and isinstance(correct, bool)
            distance = 0 if correct or not known else max(_distance(record, targets), 1)
            right, one_edit = right + (distance == 0), one_edit + (distance == 1)
            two_edits, more = two_edits + (distance == 2), more + (distance > 2)
            shown = tuple(_cut(text) for text in targets[:5])
            lines.append(Line(_cut(source), shown, _cut(prediction), correct is True))
    except Invalid:
        return Written([], None)
    return Written(lines, (right, one_edit, two_edits, more) if known and lines else None)


def _texts(value: Any) -> list[str]:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if texts else []


def _distance(record: dict[str, Any], targets: list[str]) -> int:
    """Return the smallest number of edits of tokens that make a prediction right."""
    tokens, accepted = _texts(record.get("tokens")), record.get("reference_tokens")
    if tokens or accepted:
        lists = accepted if isinstance(accepted, list) else []
        return min((_edits(tokens, _texts(reference)) for reference in lists), default=MORE)
    written = record["prediction"].split()
    return min(_edits(written, target.split()) for target in targets)


def _edits(written: list[str], target: list[str]) -> int:
    """Return the number of edits, `MORE` for any larger one, which would take long to count."""
    return Levenshtein.distance(written, target, score_cutoff=MORE - 1)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
