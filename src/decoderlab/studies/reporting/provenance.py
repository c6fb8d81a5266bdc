"""Where the numbers of a report come from, and what of it is mixed: the footer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.number_ranges import ranges_text
from decoderlab.data.task_data import counts_text
from decoderlab.metrics.shipped import score_label
from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis.results import RunRow, read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, amendments, read_plan
from decoderlab.studies.design.shared_starts import DRAWS, fixed_draws, shared_starts

PROTOCOL = "1"


def provenance(analysis: Analysis, output_dir: Path) -> list[str]:
    """Return where the numbers come from: runs, data, code, machines, time, and what is mixed."""
    plan, rows = analysis.plan, analysis.rows
    results = [row.result for row in rows if row.result is not None]
    seeds = sorted({row.cell.seed for row in rows})
    name = plan.name
    lines = [
        f"protocol {PROTOCOL}; {len(rows)} runs planned, {len(results)} finished; seeds "
        f"{ranges_text(seeds)}",
        *amendments(output_dir, name),
        *_fairness(plan),
        *([f"ended early: {early}"] if (early := ended_early(rows)) else []),
    ]
    if not results:
        return lines
    environments = _distinct_dicts([vars(result.environment) for result in results])
    return [
        *lines,
        f"updates: {_distinct([result.steps for result in results])}; chosen by validation "
        f"{_distinct([result.selected_by for result in results])}; the test split is used once",
        *_data(analysis),
        *_measurement(results),
        *_machines(environments),
        _computing(analysis, output_dir),
        f"made by decoderlab-report {name}",
        *mixtures(rows),
    ]


def _data(analysis: Analysis) -> list[str]:
    """Return what varied between seeds, and the examples of each task."""
    rows = analysis.rows
    fingerprints: dict[tuple[str, str], set[str]] = {}
    counts: dict[str, set[str]] = {}
    for row in rows:
        if row.result:
            key = row.cell.task, row.cell.variant
            fingerprints.setdefault(key, set()).add(row.result.data.fingerprint)
            counts.setdefault(row.cell.task, set()).add(counts_text(row.result.data.counts))
    varied = list(dict.fromkeys(task for (task, _), some in fingerprints.items() if len(some) > 1))
    also = f"; on {', '.join(varied)} the data too" if varied else "; fixed: the data"
    shared = shared_starts(analysis.plan.cells, analysis.plan.settings)
    fixed = fixed_draws(analysis.plan.cells, analysis.plan.settings)
    but = {DRAWS[name]: " (but where one draw is fixed)" for name, _ in fixed}
    if shared:
        but["initial weights"] = " (but where the seeds of a row begin with one run)"
    drawn = ", ".join(f"{name}{but.get(name, '')}" for name in (*DRAWS.values(), "dropout"))
    return [
        f"varied between seeds: {drawn}{also}",
        *(
            f"data of {task}: {' or '.join(sorted(texts)[:3])}"
            + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
            for task, texts in counts.items()
        ),
    ]


def _measurement(results: Sequence[RunResult]) -> list[str]:
    """Return the signatures of the runs and of their metrics."""
    signatures = sorted({result.signature for result in results})
    return [
        *(f"measured as {signature}" for signature in signatures[:10]),
        *([f"and {len(signatures) - 10} more"] if len(signatures) > 10 else []),
        *sorted(
            {
                f"{score_label(name, result.scores)}: {text}"
                for result in results
                for name, text in result.signatures.items()
            }
        ),
    ]


def _machines(environments: Sequence[Mapping[str, Any]]) -> list[str]:
    commits = [
        f"{each['git_commit'] or 'no commit'}{' with changes' if each['git_dirty'] else ''}"
        for each in environments
    ]
    return [
        f"code: {_distinct(commits)}",
        f"versions: {_distinct([_pairs(each['versions']) for each in environments])}",
        f"hardware: {_distinct([_hardware(each) for each in environments])}",
    ]


def _computing(analysis: Analysis, output_dir: Path) -> str:
    spent = sum(row.seconds for row in analysis.rows)
    lost = sum(row.seconds for row in analysis.rows if row.result is None)
    tuned = _tuning_seconds(analysis.plan, output_dir)
    restarts = sum(row.result.restarts for row in analysis.rows if row.result)
    return (
        f"computing: {spent + tuned:,.0f} s of training and evaluation in all"
        + (f", {lost:,.0f} s of them in runs without a result" if lost else "")
        + (f", {tuned:,.0f} s in tuning" if tuned else "")
        + (f"; {restarts} restarts" if restarts else "")
    )


def mixtures(rows: Sequence[RunRow]) -> list[str]:
    """Return in what finished runs are not alike that should be: code, versions, hardware, data."""
    results = [row.result for row in rows if row.result is not None]
    environments = [vars(result.environment) for result in results]
    lines = []
    if changed := [file for result in results for file in result.code_changes]:
        number = sum(bool(result.code_changes) for result in results)
        lines.append(
            f"accepted: {number} runs were resumed with other code than they started with: "
            f"{', '.join(dict.fromkeys(changed))}"
        )
    for keys, what in (
        (("git_commit", "git_dirty"), "code"),
        (("versions",), "versions"),
        (("processor", "capability", "device", "threads", "world_size"), "hardware"),
    ):
        if len({str([each[key] for key in keys]) for each in environments}) > 1:
            lines.append(f"mixed {what}: not all runs were made with the same")
    data: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        if row.result is not None:
            of_seed = data.setdefault((row.cell.task, row.cell.seed), set())
            of_seed.add(row.result.data.fingerprint)
    tasks = dict.fromkeys(task for (task, _), fingerprints in data.items() if len(fingerprints) > 1)
    if tasks:
        lines.append(f"mixed data: on {', '.join(tasks)} runs of one seed had different data")
    return lines


def ended_early(rows: Sequence[RunRow]) -> str:
    """Return how many runs callbacks ended before their budget, and when; empty if none."""
    early = [row.result.steps for row in rows if row.ended_early and row.result is not None]
    if not early:
        return ""
    ends = " to ".join(dict.fromkeys(f"{steps:,}" for steps in (min(early), max(early))))
    finished = sum(row.result is not None for row in rows)
    return (
        f"callbacks ended {len(early)} of {finished} runs after {ends} updates; the "
        "budget is what each run might have used, not what it did"
    )


def _fairness(plan: Plan) -> list[str]:
    """Return what the variants were given alike, and what was accepted that is not."""
    match = plan.budget.match
    updates: dict[tuple[str, int], set[int | None]] = {}
    for cell in plan.cells:
        updates.setdefault((cell.task, cell.seed), set()).add(cell.steps)
    unequal = list(dict.fromkeys(task for (task, _), steps in updates.items() if len(steps) > 1))
    if match != "updates":
        lines = [f"budget: equal {match} (budget.match)"]
    elif unequal:
        lines = [f"budget: the variants have different updates on {', '.join(unequal)}"]
    else:
        by_time = all(steps == {None} for steps in updates.values())
        lines = [f"budget: {'seconds, as each run was given' if by_time else 'equal updates'}"]
    tuning = plan.tuning
    if tuning is None:
        lines.append("tuning: none")
    else:
        chosen = "; ".join(
            f"{name}: "
            + ", ".join(f"{key}={value}" for key, value in choice["settings"].items())
            + f" ({choice['score']:.3f})"
            for name, choice in tuning["chosen"].items()
        )
        lines.append(
            f"tuning: {tuning['trials']} trials ({tuning['sampler']}) of each variant on each "
            f"task, over {', '.join(tuning['space'])}, on seeds "
            f"{ranges_text(tuning['seeds'])}, by {tuning['metric']}: {tuning['runs']} "
            f"runs; chosen: {chosen}"
        )
    return lines + [f"accepted change: {change}" for change in plan.accepted_changes]


def _tuning_seconds(plan: Plan, output_dir: Path) -> float:
    if plan.tuning is None:
        return 0.0
    try:
        tuning = read_plan(output_dir, f"{plan.name}/tuning")
    except (ConfigError, Invalid):
        return 0.0
    return sum(row.seconds for row in read_rows(tuning, output_dir))


def _distinct(values: Sequence[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def _distinct_dicts(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(each, sort_keys=True): each for each in values}.values())


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name} {value}" for name, value in values.items())


def _hardware(environment: Mapping[str, Any]) -> str:
    return (
        f"{environment['processor']} ({environment['capability']}), {environment['device']}, "
        f"{environment['threads']} thread(s)"
    )
