"""What the runner of an exported run is, and what it has to know."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from unicodedata import normalize

from decoderlab.contract import ImageSpace
from decoderlab.data.pairs import PairsTask
from decoderlab.data.subwords import BEGINNING
from decoderlab.data.task import Task
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.training.loading import LoadedRun
from decoderlab.usage import exported_runner

# What tasks may read in ways of their own: capitals, marks, blanks, digits, letters with accents.
TEXTS = ("Ab cD", "ab,cd", "Why? I don't, e.g.!", "a-b/c_d", "1,234.5", " a  b ", "\u00c9e\u0301")


def runner(source: str, target: str) -> str:
    """Return the runner of an export, without what only other kinds of data need.

    Args:
        source: what is read: `tokens`, `values` or `images`.
        target: what is written: `tokens` or `values`.
    """
    text = inspect.getsource(exported_runner)
    for name, function in inspect.getmembers(exported_runner, inspect.isfunction):
        does, _, kind = name.partition("_")
        if does in ("read", "write") and kind != {"read": source, "write": target}[does]:
            text = text.replace(f"{inspect.getsource(function)}\n\n", "")
    return text


def description(run: LoadedRun) -> dict[str, Any]:
    """Return what the runner has to know: how texts become numbers, and numbers texts."""
    task, data = run.task, run.task.data
    source = _side(data.source_vocabulary) | {"nfc": _composes(task)}
    target = _side(data.target_vocabulary)
    if isinstance(data.target_vocabulary, Values):
        target["length"] = _target_length(task)
    if isinstance(data.source_vocabulary, Vocabulary):
        source["split"] = _split(task)
    if isinstance(data.target_vocabulary, Vocabulary):
        target["join"] = _joint(task.target_text)
        if task.target_text(["a", f"{BEGINNING}b"]) == "ab":
            target["glue"] = f" {BEGINNING}"
    return {
        "run_id": run.result.run_id,
        "max_length": run.module.max_target_length,
        "notes": _notes(run, source, target),
        "source": source,
        "target": target,
    }


def _notes(run: LoadedRun, source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return in what the runner is not what decoderlab-predict is."""
    vocabulary, search = run.task.data.source_vocabulary, run.module.search.signature
    notes, predict = [], "decoderlab-predict"
    if isinstance(vocabulary, Vocabulary) and (
        example := _read_otherwise(run.task, vocabulary, source["split"])
    ):
        spaces = ", with spaces between" if source["split"] is None else ""
        notes.append(
            f"{predict} reads lines as the task does: {example}; give what is read there{spaces}"
        )
    if search != "greedy":
        notes.append(f"greedy outputs; {predict} generates by {search}")
    if run.config.training.precision == "bfloat16":
        notes.append(f"float32 is computed here, and bfloat16 by {predict}: outputs can differ")
    if target.get("length") == "other":
        notes.append(f"all outputs are as long; {predict} gives as many positions as the task says")
    return notes


def _side(vocabulary: Any) -> dict[str, Any]:
    match vocabulary:
        case ImageSpace():
            return {"kind": "images", "shape": list(vars(vocabulary).values())}
        case Values():
            scale = {"mean": vocabulary.mean.tolist(), "deviation": vocabulary.deviation.tolist()}
            scale["digits"] = cast("Any", vocabulary)._digits.tolist()  # that a text shows
            return {"kind": "values", "size": vocabulary.space.size, **scale}
    space = vocabulary.space
    special = {name: getattr(space, name) for name in ("pad_id", "bos_id", "eos_id", "unk_id")}
    tokens = vocabulary.decode(range(space.size))
    ids = {token: vocabulary.encode([token])[0] for token in vocabulary.entries}
    return {
        "kind": "tokens",
        "size": space.size,
        "tokens": tokens,
        "ids": ids,
        "never_generated": space.never_generated,
        **special,
    }


def _composes(task: Task) -> bool:
    """Whether a task brings sources to Unicode's form NFC."""
    try:
        return isinstance(task, PairsTask) or "".join(task.source_tokens("e\u0301")) == "\u00e9"
    except ValueError:  # a text that is no source of the task
        return False


def _target_length(task: Task) -> str:
    """Return how many positions of values a task asks for: `same` for all, those of the source."""
    longest = task.data.max_target_length
    lengths = range(1, longest + 2)
    if all(task.target_length(length) == longest for length in lengths):
        return "same"
    return "source" if all(task.target_length(n) == n for n in lengths) else "other"


def _split(task: Task) -> str | None:
    """Return what stands between the tokens of a source: nothing, a separator, None: white space.

    Of other tasks, such as with subwords, the runner wants the tokens with spaces between them.
    """
    if isinstance(task, PairsTask) and task.tokens == "separator":
        return task.separator
    try:
        return "" if list(task.source_tokens("ab")) == ["a", "b"] else None
    except ValueError:  # a text that is no source of the task
        return None


def _read_otherwise(task: Task, vocabulary: Vocabulary, split: str | None) -> str:
    """Return a text that the task splits otherwise than the runner, with both readings, or ""."""
    line = ("" if split == "" else split or " ").join(vocabulary.entries)
    spaced, composes = " ".join(vocabulary.entries[:8]), _composes(task)
    for text in (line, line.upper(), line.title(), spaced, *TEXTS):
        try:
            tokens = list(task.source_tokens(text))
        except ValueError:  # no source of the task, which decoderlab-predict refuses
            continue
        given = normalize("NFC", text) if composes else text
        parts = list(given) if split == "" else [part for part in given.split(split) if part]
        if tokens != parts:
            return f"{text[:40]!r} is {tokens[:10]} there and {parts[:10]} here"
    return ""


def _joint(text: Callable[[Sequence[str]], str]) -> str:
    """Return what stands between tokens in a text; a space where that is no one thing."""
    joined = text(["a", "b", "a"])
    between = joined[1 : joined.rfind("b")] if joined.startswith("a") else " "
    return between if joined == between.join("aba") else " "
