"""Whether the numbers of a finished run agree with each other.

A seal shows what was damaged or mixed up. Whoever edits a record and seals it again is found out
where a number follows from others: a score from the outcomes of its examples, the chosen step from
the validations, the share of right predictions from the predictions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from decoderlab.common.bounded_archives import read_arrays
from decoderlab.common.bounded_reading import LINE_BYTES, LINES_BYTES, opened, read_json_lines
from decoderlab.common.errors import Invalid
from decoderlab.config.run_config import RunConfig
from decoderlab.data.packed_outcomes import CLOSE, pack
from decoderlab.metrics.metric_score import EXACT_MATCH, MAX_NATS, MetricScore
from decoderlab.metrics.shipped import our_scores, recorded_scores
from decoderlab.metrics.signature import num_examples, signature, signature_parts
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import RunResult

VALIDATION = "validation/"
# The least that numbers of a result can be.
LEAST = dict.fromkeys(("batches_per_epoch", "environment.threads", "environment.world_size"), 1)
LEAST |= dict.fromkeys(("examples_seen", "tokens_seen", "restarts", "seed"), 0)
LEAST |= dict.fromkeys(("flops_per_example", "train_seconds", "evaluation_seconds"), 0)
LEAST |= {"peak_memory_bytes": 0}
RIGHT, CUT = b'"correct": true', b'"met_limit": true'


def check_agreement(folder: RunFolder, config: RunConfig, result: RunResult) -> None:
    """Raise Invalid, with the file, for the first number of a run that contradicts another.

    Args:
        folder: of the run; its metrics and predictions are read.
        config: of the run.
        result: of the run.
    """
    try:
        scores = recorded_scores(result.scores)
    except (ValueError, TypeError, LookupError) as error:
        what = f"is damaged: its scores are not described as scores are ({error})"
        raise Invalid(folder.result_file, what) from error
    for path, contradictions in (
        (folder.result_file, out_of_range(result, scores)),
        (folder.result_file, _of_result(result, config, scores)),
        (folder.metrics, _of_validations(folder, config, result, scores)),
        (folder.predictions, _of_predictions(folder, result)),
    ):
        for contradiction in contradictions:
            raise Invalid(path, f"contradicts itself or the run: {contradiction}")


def out_of_range(result: RunResult, scores: Mapping[str, MetricScore]) -> Iterator[str]:
    """Yield each score of a result that cannot be, by the metric's own word."""
    splits = ("test", "validation", "validation_last")
    shown = {f"metrics.{split}": getattr(result.metrics, split) for split in splits}
    shown |= {f"data.baselines.{name}": rule for name, rule in result.data.baselines.items()}
    for where, values in shown.items():
        yield from _out_of_range(where, values, scores)


def _out_of_range(
    where: str, values: Mapping[str, float], scores: Mapping[str, MetricScore]
) -> Iterator[str]:
    for name, value in values.items():
        low, high = scores[name].bounds if name in scores else (-math.inf, math.inf)
        near = CLOSE * max(1.0, abs(value))
        if not low - near <= value <= high + near:
            yield f"{where}.{name} is {value:g}, but {name} is from {low:g} to {high:g}"


def _of_result(
    result: RunResult, config: RunConfig, scores: Mapping[str, MetricScore]
) -> Iterator[str]:
    yield from _of_signature(result)
    yield from _of_scores(result, config, scores)
    yield from _of_counts(result)
    yield from _of_examples(result)


def _of_signature(result: RunResult) -> Iterator[str]:
    """Yield what a signature says that the rest of the result does not."""
    number, data = num_examples(result.signature), result.data.fingerprint
    made = signature_parts(signature("test", number, 0, data, scores=result.signatures))
    said = signature_parts(result.signature)
    for name in ("split", "data", "scores"):
        if said.get(name) != made.get(name):
            yield f"signature has {name}:{said.get(name)}; expected {made.get(name)}"
    counted = result.data.counts.get("test", number)
    if counted != number:
        yield f"signature has {number} test examples, but data.counts.test is {counted}"


def _of_scores(
    result: RunResult, config: RunConfig, scores: Mapping[str, MetricScore]
) -> Iterator[str]:
    """Yield what scores of a result, and the step that they chose, do not agree about."""
    test, chosen, last = (
        getattr(result.metrics, split) for split in ("test", "validation", "validation_last")
    )
    if not test.keys() == chosen.keys() == last.keys():
        yield "metrics.test, validation and validation_last have different scores"
    for name in result.scores.keys() - test.keys():
        yield f"scores describes {name}, which was not measured"
    wanted = config.evaluation.select  # of a stranger it may be no score, which is refused later
    if result.selected_by not in chosen or (wanted in chosen and result.selected_by != wanted):
        yield f"selected_by is {result.selected_by!r:.40}, where {wanted!r:.40} chose the step"
    if not 0 <= result.best_step <= result.steps:
        yield f"best_step is {result.best_step}, of {result.steps} steps"
    file = f"checkpoints/best-{result.best_step:09d}.ckpt"
    if result.best_checkpoint != file:
        yield f"best_checkpoint is {result.best_checkpoint}, where {file} is of best_step"
    if result.best_step == result.steps and chosen != last:
        yield "the chosen step is the last, but their metrics differ"
    for split, values in (("test", test), ("validation", chosen), ("validation_last", last)):
        loss, given = values.get("loss"), values.get("perplexity")
        if loss is None or given is None or scores["perplexity"] != our_scores()["perplexity"]:
            continue
        if not _close(given, math.exp(min(loss, MAX_NATS))):
            yield f"metrics.{split}.perplexity is {given:g}, but the loss is {loss:g}"


def _of_counts(result: RunResult) -> Iterator[str]:
    """Yield counts and times that cannot be."""
    parts = {name: number for name, number in result.parameters.items() if name != "total"}
    total = result.parameters.get("total")
    if total is None or total < 1 or total != sum(parts.values()) or min(parts.values()) < 0:
        yield f"parameters are {result.parameters!r:.120}, which do not sum up to their total"
    values = vars(result) | {f"environment.{k}": v for k, v in vars(result.environment).items()}
    for name, least in LEAST.items():
        if values[name] is not None and values[name] < least:
            yield f"{name} is {values[name]}; it is at least {least}"
    for name, number in result.data.counts.items():
        if number < 0:
            yield f"data.counts.{name} is {number}; it is at least 0"


def _of_examples(result: RunResult) -> Iterator[str]:
    """Yield what was counted of single test examples, and does not make the scores."""
    number = num_examples(result.signature)
    cut = result.met_limit
    if cut is not None and not (0 <= cut <= 1 and _close(cut * number, round(cut * number))):
        yield f"met_limit is {cut}, which is not a share of {number} examples"
    probes = result.probes or {}
    outcomes = {EXACT_MATCH.name: probes["correct"]} if "correct" in probes else {}
    for name, packed in (outcomes | probes.get("outcomes", {})).items():
        yield from _of_outcomes(name, packed, number, result.metrics.test.get(name))
    exact = result.metrics.test.get(EXACT_MATCH.name)
    lengths = probes.get("by_length", {}).values()
    if lengths:
        counted, right = (sum(column) for column in zip(*lengths, strict=True))
        if any(not 0 <= some <= all_ for all_, some in lengths) or counted != number:
            yield f"probes.by_length does not sum up to {number} examples"
        elif exact is not None and not _close(right, exact * number, CLOSE * number):
            yield f"probes.by_length has {right} of {number} examples right, exact_match is {exact}"
    yield from _of_positions(probes, number)


def _of_outcomes(name: str, packed: str, number: int, score: float | None) -> Iterator[str]:
    if score is None:
        yield f"probes have outcomes of {name}, which is not a score of the test"
        return
    right = int(packed or "0", 16).bit_count()
    if len(packed) != 2 * math.ceil(number / 8) or _beyond(packed, number):
        yield f"probes have outcomes of {name} of another number of examples than {number}"
    elif not _close(right, score * number, CLOSE * number):
        yield f"probes have {right} of {number} test examples right, but {name} is {score}"


def _beyond(packed: str, number: int) -> bool:
    """Whether bits are set after those of the examples."""
    bits = 4 * len(packed)
    return bool(int(packed or "0", 16) & ((1 << (bits - number)) - 1)) if bits > number else False


def _of_positions(probes: Mapping[str, Any], number: int) -> Iterator[str]:
    """Yield counts by target position that cannot be: of values they are sums of errors."""
    counts = probes.get("by_position", {"number": []})
    reached, influence = counts["number"], probes.get("summary_influence", [])
    falling = all(before >= after >= 0 for before, after in zip(reached, reached[1:], strict=False))
    if (reached and not 0 <= reached[0] <= number) or not falling:
        yield f"probes.by_position.number is not of {number} targets that end one by one"
    tokens = "correct" in probes
    for name, hits in counts.items():
        most = reached if tokens else [math.inf] * len(reached)
        if any(not 0 <= hit <= of for hit, of in zip(hits, most, strict=True)):
            yield f"probes.by_position.{name} has more hits than there are tokens, or fewer than 0"
    most = 1 + CLOSE if tokens else math.inf
    if not all(0 <= share <= most for share in influence):
        yield "probes.summary_influence is not a distance of distributions by position"


def _of_validations(
    folder: RunFolder, config: RunConfig, result: RunResult, scores: Mapping[str, MetricScore]
) -> Iterator[str]:
    """Yield what the validations during training contradict, and what cannot be of them."""
    selected, best = scores.get(result.selected_by), result.metrics.validation[result.selected_by]
    every, steps = config.evaluation.every_steps, result.steps
    # A callback may end a run anywhere, and a parent may have been validated at other steps.
    regular = not config.callbacks and config.training.from_run is None
    seen: dict[int, dict[str, float]] = {}
    last, lines, line = -1, 0, {}
    for line in read_json_lines(folder.metrics, with_text=VALIDATION):
        step, values = line.get("step"), _validated(line)
        if type(step) is not int or step <= last or not _are_numbers(line.values()):
            yield f"its validation after step {last} is of step {step!r:.40}, or has no numbers"
            return
        yield from _out_of_range(f"step {step}", values, scores)
        if regular and values.keys() != result.metrics.validation.keys():
            yield f"its validation at step {step} is of other scores than the result"
            return
        if regular and step % every and step != steps:
            yield f"it has a validation at step {step}, where they are {every} steps apart"
        if regular and selected and selected.improves(values[result.selected_by], best):
            yield f"step {step} is better than step {result.best_step}, which the result has chosen"
        last, lines = step, lines + 1
        if step in (result.best_step, steps):
            seen[step] = values
    chosen, final = result.metrics.validation, result.metrics.validation_last
    for step, wanted in ((result.best_step, chosen), (steps, final)):
        if seen.get(step) != wanted:
            yield f"its validation at step {step} is not what result.json says of that step"
    if regular and (last != steps or lines != math.ceil(steps / every)):
        yield f"it has {lines} validations up to step {last}, of {steps} steps"
    if regular and not _close(line.get("seconds", -1), result.train_seconds, 0.002):
        yield f"it ends after {line.get('seconds')} s, but the result says {result.train_seconds}"


def _validated(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix(VALIDATION): value
        for name, value in line.items()
        if name.startswith(VALIDATION)
    }


def _of_predictions(folder: RunFolder, result: RunResult) -> Iterator[str]:
    """Yield what the predictions contradict: their number, and which of them are right.

    Lines are searched, not parsed, which takes a tenth of the time: a quotation mark in a text has
    a backslash before it, so that none looks like a field.
    """
    right, cut = [], 0
    with opened(folder.predictions, LINES_BYTES) as file:
        for line in iter(lambda: file.readline(LINE_BYTES), b""):
            right.append(RIGHT in line)
            cut += CUT in line
    number, wanted = len(right), num_examples(result.signature)
    if number != wanted:
        yield f"it has {number} predictions of {wanted} test examples"
        return
    if result.met_limit is not None and not _close(cut / number, result.met_limit):
        yield f"{cut} of {number} predictions met the limit, the result says {result.met_limit}"
    packed = (result.probes or {}).get("correct")
    if packed is not None and pack(np.array(right)) != packed:
        yield "other predictions are right than result.json says"
    score = result.metrics.test.get(EXACT_MATCH.name)
    if score is not None and not _close(sum(right), score * number, CLOSE * number):
        yield f"{sum(right)} of {number} predictions are right, but exact_match is {score}"


def check_texts(folder: RunFolder) -> None:
    """Raise Invalid for the first prediction whose texts say otherwise than it whether it is right.

    No table depends on the texts, and to read all of them takes long.

    Args:
        folder: of the run.
    """
    for number, line in enumerate(read_json_lines(folder.predictions), start=1):
        said, own = line.get("correct"), _is_right(line)
        if said is not None and own is not None and said is not own:
            what = (
                f"contradicts itself: line {number} says correct: {said}, but its texts say {own}"
            )
            raise Invalid(folder.predictions, what)


def check_lengths(folder: RunFolder, result: RunResult) -> None:
    """Raise Invalid where more examples of the pictures have a length than the result counts.

    No table depends on the pictures, which are of the first test examples.

    Args:
        folder: of the run.
        result: of the run.
    """
    counted = (result.probes or {}).get("by_length")
    shown = read_arrays(folder.probes).get("lengths") if counted else None
    if counted is None or shown is None:
        return
    for length, number in Counter(map(str, shown.ravel().tolist())).items():
        most = counted.get(length, [0])[0]
        if number > most:
            what = f"{number} examples of length {length:.20}, where result.json counts {most}"
            raise Invalid(folder.probes, f"contradicts the run: it has {what}")


def _is_right(line: Mapping[str, Any]) -> bool | None:
    """Return whether a prediction is a reference, by its tokens; None where it has none."""
    if "tokens" in line:
        return line["tokens"] in line.get("reference_tokens", [])
    prediction, references = line.get("prediction"), line.get("references")
    if not isinstance(prediction, str) or not isinstance(references, list):
        return None
    return prediction.split() in [str(reference).split() for reference in references]


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float) for value in values)


def _close(value: float, wanted: float, near: float = CLOSE) -> bool:
    return math.isclose(value, wanted, rel_tol=CLOSE, abs_tol=near)
