"""Rows that differ from the baseline in several parts of the model or training at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decoderlab.config.run_sections import OWN_SEEDS
from decoderlab.config.study_settings import Budget
from decoderlab.studies.analysis.study_analysis import Analysis

SECTIONS = ("decoder", "encoder", "training", "task")
WHOLE = ("evaluation", "trainer", "callbacks")  # each is one part, whatever differs in it
NAMED = 3  # rows that a line names, and lines
SEEDS = "seed"
# What comes with another part, if that differs too: it counts for nothing and is not named.
SIZES = {
    "decoder.embedding_size": "decoder.feedback",
    "encoder.hidden_size": "encoder.bidirectional",  # that of each direction
    "encoder.summary_size": "encoder.summary",
}


def joint_differences(analysis: Analysis) -> list[str]:
    """Return which rows differ from the baseline in several parts at once, a line for all alike.

    Without a baseline, from the first row. Rows of a declared grid of factors are left out, where
    the factors tell the parts apart, and so is a row that says itself in which factors it differs.
    """
    if len(analysis.variants) < 2:
        return []
    known = analysis.baseline in analysis.variants
    baseline = analysis.baseline if known and analysis.baseline else analysis.variants[0]
    alike: dict[tuple[str, ...], list[str]] = {}
    for variant in analysis.variants:
        if variant != baseline and (parts := _parts(analysis, variant, baseline)):
            alike.setdefault(parts, []).append(variant)
    lines = []
    for parts, rows in list(alike.items())[:NAMED]:
        more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        names, single = f"{', '.join(rows[:NAMED])}{more}", len(rows) == 1
        lines.append(
            f"{names} {'differs' if single else 'differ'} from {baseline} in "
            f"{', '.join(parts[:-1])} and {parts[-1]}: "
            f"{'the difference is' if single else 'each difference is'} of all of these together"
        )
    return lines


def _parts(analysis: Analysis, variant: str, baseline: str) -> tuple[str, ...]:
    """Return the parts in which two rows differ on the first task of both, where several do."""
    for task in analysis.tasks:
        cells = [
            rows[0].cell
            for name in (variant, baseline)
            if (rows := analysis.by_cell.get((name, task)))
        ]
        if len(cells) < 2 or any(cell.run_id not in analysis.configs for cell in cells):
            continue
        mine, other = (_rows_factors(cell.factors) for cell in cells)
        bundle = "variant" in mine or "variant" in other
        declared = [name for name in analysis.plan.study.factors or {} if name != "task"]
        differ = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
        if not bundle and (len(declared) > 1 or len(differ) > 1):
            return ()
        settings = [analysis.configs[cell.run_id].to_dict() for cell in cells]
        return _several(differing_parts(*settings), *settings)
    return ()


def _rows_factors(factors: Mapping[str, str]) -> dict[str, str]:
    return {name: level for name, level in factors.items() if name.split(".")[0] != "task"}


def differing_parts(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the parts that differ; of another class of encoder or decoder, that alone.

    Args:
        mine: the config of a run, as plain data.
        other: that of another run.
    """
    differing = []
    for section in SECTIONS:
        own, theirs = mine[section], other[section]
        if own.get("_target_") != theirs.get("_target_"):
            differing.append(section)
            continue
        keys = [key for key in {**own, **theirs} if key in OWN_SEEDS or not key.endswith(SEEDS)]
        differing += [f"{section}.{key}" for key in keys if own.get(key) != theirs.get(key)]
    differing += [section for section in WHOLE if mine.get(section) != other.get(section)]
    budget = Budget(**mine["budget"])
    matched = {"parameters": budget.widths, "flops": ["training.max_steps"]}
    return [part for part in differing if part not in matched.get(budget.match, ())]


def _several(differing: list[str], *settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts by their names, () unless two count; the bridge comes with its route."""
    parts = [part for part in differing if SIZES.get(part) not in differing]
    starts = {"initial_state" in (each["decoder"].get("routes") or ()) for each in settings}
    bridge = ["decoder.bridge"] if "decoder.bridge" in parts and len(starts) > 1 else []
    counted = [part for part in parts if part not in bridge]
    if len(counted) < 2:
        return ()
    named = [*counted, *bridge]
    if all(part.startswith("decoder.") for part in named):
        return tuple(part.removeprefix("decoder.") for part in named)
    return tuple(named)
