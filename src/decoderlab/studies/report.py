"""A study's report: table and figure from its run folders; same runs, same bytes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from decoderlab.metrics import DIRECTIONS
from decoderlab.progress import output, say
from decoderlab.records import Invalid, RunFolder, write_atomic, write_text
from decoderlab.studies.plan import Cell, Plan
from decoderlab.studies.statistics import PILOT_SEEDS, Summary, summarise

# What a run that failed or diverged scores; a loss has no worst value, so there it is left out.
WORST = {"exact_match": 0.0, "token_accuracy": 0.0, "symbol_error_rate": 1.0}


@dataclass(frozen=True)
class Row:
    """One planned run as it stands.

    Args:
        cell: what was planned.
        status: of the run folder, or INVALID for a damaged result.
        result: of a finished run, else None.
        reason: why it is not finished, where that is known.
    """

    cell: Cell
    status: str
    result: dict[str, Any] | None
    reason: str

    def score(self, metric: str) -> float | None:
        """Return the test score; the worst one for a failure, None for a run not done yet."""
        if self.result is not None:
            return self.result["metrics"]["test"][metric]
        return WORST.get(metric) if self.status in ("FAILED", "DIVERGED") else None


@dataclass(frozen=True)
class Entry:
    """A cell of the table: one variant on one task, over seeds.

    Args:
        summary: of the scores, failures among them.
        planned, finished, failed: numbers of runs.
        parameters: trained parameters; None if they differ between the runs.
        seconds: mean training time of the finished runs, NaN without any.
    """

    summary: Summary
    planned: int
    finished: int
    failed: int
    parameters: int | None
    seconds: float


@dataclass(frozen=True)
class Report:
    """Everything that a view of the study shows.

    Args:
        plan: the study's plan.
        rows: one per planned run.
        table: by (variant, task).
        folder: where the report lies.
    """

    plan: Plan
    rows: tuple[Row, ...]
    table: dict[tuple[str, str], Entry]
    folder: Path

    @property
    def metric(self) -> str:
        """The metric of the table."""
        return self.plan.study["metric"]

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished."""
        return all(row.status == "FINISHED" for row in self.rows)

    @property
    def variants(self) -> list[str]:
        """The table's rows in the order of the plan."""
        return list(dict.fromkeys(row.cell.variant for row in self.rows))

    @property
    def tasks(self) -> list[str]:
        """The table's columns in the order of the plan."""
        return list(dict.fromkeys(row.cell.task for row in self.rows))


def build_report(plan: Plan, output_dir: Path) -> Report:
    """Read all runs of a plan and write report.md, results.csv and the figure.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    rows = tuple(_read(cell, output_dir) for cell in plan.cells)
    metric = plan.study["metric"]
    table = {}
    for variant, task in dict.fromkeys((row.cell.variant, row.cell.task) for row in rows):
        table[variant, task] = _entry(
            [row for row in rows if (row.cell.variant, row.cell.task) == (variant, task)], metric
        )
    folder = output_dir / "studies" / plan.study["name"]
    report = Report(plan, rows, table, folder)
    write_text(folder / "results.csv", _csv(report))
    write_text(folder / "report.md", markdown(report))
    write_atomic(folder / "figures" / f"{metric}.png", lambda file: _figure(report, file))
    return report


def _read(cell: Cell, output_dir: Path) -> Row:
    folder = RunFolder(output_dir / cell.folder)
    record = folder.status()
    status, reason, result = record["status"], record.get("reason", ""), None
    if status == "FINISHED":
        try:
            result = folder.result()
            if result is None:
                status, reason = "INVALID", "result.json is missing"
        except Invalid as error:
            status, reason = "INVALID", str(error)
    return Row(cell, status, result, reason)


def _entry(rows: Sequence[Row], metric: str) -> Entry:
    scores = [score for row in rows if (score := row.score(metric)) is not None]
    results = [row.result for row in rows if row.result is not None]
    sizes = {row.cell.parameters for row in rows}
    seconds = [result["train_seconds"] for result in results]
    return Entry(
        summary=summarise(scores),
        planned=len(rows),
        finished=len(results),
        failed=sum(row.status in ("FAILED", "DIVERGED") for row in rows),
        parameters=sizes.pop() if len(sizes) == 1 else None,
        seconds=sum(seconds) / len(seconds) if seconds else math.nan,
    )


def score_text(summary: Summary) -> str:
    """Return a mean with its interval.

    Example:
        >>> score_text(Summary(3, 0.6, 0.352, 0.848))
        '0.600 [0.352, 0.848]'
        >>> score_text(Summary(5, 1.0, math.nan, math.nan))
        '1.000 [n/a]'
    """
    if summary.n == 0:
        return "–"
    interval = "n/a" if math.isnan(summary.low) else f"{summary.low:.3f}, {summary.high:.3f}"
    return f"{summary.mean:.3f} [{interval}]"


def count_text(entry: Entry) -> str:
    """Return finished of planned runs, and how many failed."""
    failed = f", {entry.failed} failed" if entry.failed else ""
    return f"{entry.finished}/{entry.planned}{failed}"


def _entry_texts(entry: Entry | None) -> list[str]:
    if entry is None:
        return ["not planned", "", "", ""]
    return [
        score_text(entry.summary),
        count_text(entry),
        "varies" if entry.parameters is None else f"{entry.parameters:,}",
        "–" if math.isnan(entry.seconds) else f"{entry.seconds:.1f}",
    ]


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    study, metric = report.plan.study, report.metric
    header, align = ["variant"], ["---"]
    for task in report.tasks:
        header += [f"{task}: {metric.replace('_', ' ')} [95 % CI]", "n", "parameters", "seconds"]
        align += ["---:"] * 4
    lines = [f"# {_escape(study['name'])}", ""]
    if study["question"]:
        lines += [_escape(study["question"]), ""]
    lines += [f"| {' | '.join(map(_escape, header))} |", f"|{'|'.join(align)}|"]
    for variant in report.variants:
        name = _escape(variant) + (" (baseline)" if variant == study["baseline"] else "")
        texts = [name]
        for task in report.tasks:
            texts += _entry_texts(report.table.get((variant, task)))
        lines.append(f"| {' | '.join(texts)} |")
    better = "higher" if DIRECTIONS[metric] == "max" else "lower"
    lines += [
        "",
        f"Test {metric.replace('_', ' ')} ({better} is better), from greedy free-running "
        "generation, at the update chosen on validation: mean over seeds with the Student-t 95 % "
        "interval; none is given where all seeds score the same. n: runs finished of planned. "
        "seconds: mean training time of a run.",
        "",
        f"![every seed is a dot](figures/{metric}.png)",
        "",
        *_notes(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _notes(report: Report) -> list[str]:
    """Return what a reader must know to read the table rightly."""
    lines = []
    if min(entry.planned for entry in report.table.values()) < PILOT_SEEDS:
        lines += [
            f"**Pilot**: with fewer than {PILOT_SEEDS} seeds no exact paired test can reach "
            "p < 0.05; the table shows sizes, it does not settle which variant is better.",
            "",
        ]
    unfinished = [row for row in report.rows if row.status != "FINISHED"]
    if unfinished:
        counted = (
            f"A run that failed counts with the score {WORST[report.metric]:g}"
            if report.metric in WORST
            else "A failed run has no worst loss and is left out of the mean"
        )
        lines += [
            f"**{len(unfinished)} of {len(report.rows)} runs are not finished.** {counted}; "
            "a run that is not done yet is missing from the mean.",
            "",
        ]
        for row in unfinished:
            cell = row.cell
            lines.append(
                f"* {_escape(cell.variant)}, {_escape(cell.task)}, seed {cell.seed}: "
                f"{row.status} {_escape(row.reason)}".rstrip()
            )
        lines.append("")
    results = [row.result for row in report.rows if row.result is not None]
    if results:
        lines += ["## Where the numbers come from", "", *_provenance(report, results)]
    return lines


def _provenance(report: Report, results: Sequence[dict[str, Any]]) -> list[str]:
    def distinct(values: Sequence[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    environments = [result["environment"] for result in results]
    seeds = sorted({row.cell.seed for row in report.rows})
    compute = sum(result["train_seconds"] + result["evaluation_seconds"] for result in results)
    commits = [
        f"{one['git_commit']}{' with changes' if one['git_dirty'] else ''}" for one in environments
    ]
    signatures = sorted({result["signature"] for result in results})
    lines = [
        f"* seeds: {', '.join(map(str, seeds))}; "
        f"updates: {distinct([r['steps'] for r in results])};"
        f" chosen by validation {distinct([r['selected_by'] for r in results])}",
        "* varied between seeds: initial weights, order of examples, dropout; fixed: the data",
        *(f"* measured as: `{signature}`" for signature in signatures),
        *_fairness(report.plan),
        f"* code: {distinct(commits)}",
        f"* versions: {distinct([_pairs(one['versions']) for one in environments])}",
        f"* hardware: {distinct([_hardware(one) for one in environments])}",
        f"* computing: {compute:.0f} s of training and evaluation in all",
    ]
    drifted = [one for result in results for one in result.get("drift", [])]
    if drifted:
        number = sum(bool(result.get("drift")) for result in results)
        what = ", ".join(_escape(one) for one in dict.fromkeys(drifted))
        lines.append(f"* **{number} runs went on with other code** than they began with: {what}")
    for key, what in (("git_commit", "code"), ("versions", "versions"), ("processor", "hardware")):
        if len({str(one[key]) for one in environments}) > 1:
            lines.append(f"* **mixed {what}**: not all runs were made with the same")
    for task in report.tasks:
        found = {
            row.result["signature"]
            for row in report.rows
            if row.cell.task == task and row.result is not None
        }
        if len(found) > 1:
            lines.append(f"* **{task}: the runs were not all measured in the same way**")
    return lines


def _fairness(plan: Plan) -> list[str]:
    """Return what the variants were given alike, and what was accepted that is not."""
    match = plan.budget.get("match", "updates")
    updates: dict[str, set[int | None]] = {}
    for cell in plan.cells:
        updates.setdefault(cell.task, set()).add(cell.steps)
    unequal = [task for task, steps in updates.items() if len(steps) > 1]
    if match != "updates":
        lines = [f"* budget: equal {match} (`budget.match`)"]
    elif unequal:
        lines = [f"* budget: **the variants have different updates** on {', '.join(unequal)}"]
    else:
        by_time = all(steps == {None} for steps in updates.values())
        lines = [f"* budget: {'seconds, as each run was given' if by_time else 'equal updates'}"]
    tuning = plan.tuning
    if tuning is None:
        lines.append("* tuning: none")
    else:
        lines.append(
            f"* tuning: {tuning['trials']} trials ({tuning['sampler']}) of each variant on each "
            f"task, over {', '.join(map(_escape, tuning['space']))}, on seeds "
            f"{', '.join(map(str, tuning['seeds']))}, by {_escape(tuning['metric'])}: "
            f"{tuning['runs']} runs; chosen:"
        )
        for name, chosen in tuning["chosen"].items():
            settings = ", ".join(f"{key}={value}" for key, value in chosen["settings"].items())
            lines.append(f"    * {_escape(name)}: {_escape(settings)} ({chosen['score']:.3f})")
    return lines + [f"* **accepted drift**: {_escape(one)}" for one in plan.drift]


def _pairs(values: dict[str, str]) -> str:
    return " ".join(f"{name} {value}" for name, value in values.items())


def _hardware(environment: dict[str, Any]) -> str:
    return (
        f"{environment['processor']} ({environment['capability']}), {environment['device']}, "
        f"{environment['threads']} thread(s)"
    )


def _escape(text: str) -> str:
    for character in "\\|<>`*":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def _csv(report: Report) -> str:
    """Return one line per run."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metrics = list(DIRECTIONS)
    writer.writerow(
        ["study", "variant", "task", "seed", "status"]
        + [f"test_{name}" for name in metrics]
        + [f"validation_{name}" for name in metrics]
        + ["parameters", "flops_per_example", "steps", "best_step", "train_seconds"]
        + ["run_id", "folder", "reason"]
    )
    for row in report.rows:
        cell, result = row.cell, row.result
        values = [""] * (2 * len(metrics) + 4)
        if result is not None:
            values = [result["metrics"]["test"][name] for name in metrics]
            values += [result["metrics"]["validation"][name] for name in metrics]
            values += [result["flops_per_example"], result["steps"], result["best_step"]]
            values += [round(result["train_seconds"], 3)]
        split = 2 * len(metrics)
        writer.writerow(
            [_cell(report.plan.study["name"]), _cell(cell.variant), _cell(cell.task)]
            + [cell.seed, row.status, *values[:split], cell.parameters, *values[split:]]
            + [cell.run_id, _cell(cell.folder), _cell(row.reason)]
        )
    return buffer.getvalue()


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def _figure(report: Report, file: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    variants, tasks = report.variants, report.tasks
    figure = Figure(
        figsize=(1.5 + 4 * len(tasks), 1.2 + 0.45 * len(variants)), dpi=120, layout="constrained"
    )
    axes = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axis, task in zip(axes, tasks, strict=True):
        for place, variant in enumerate(variants):
            scores = [
                score
                for row in report.rows
                if (row.cell.variant, row.cell.task) == (variant, task)
                and (score := row.score(report.metric)) is not None
            ]
            axis.plot(scores, [place] * len(scores), "o", color="#0072B2", alpha=0.5, markersize=5)
            entry = report.table.get((variant, task))
            if entry is None or entry.summary.n == 0:
                continue
            summary = entry.summary
            axis.plot([summary.mean], [place], "|", color="black", markersize=14)
            if not math.isnan(summary.low):
                axis.plot([summary.low, summary.high], [place, place], "-", color="black")
        axis.set_title(task)
        axis.set_xlabel(f"test {report.metric.replace('_', ' ')}")
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(variants)), variants)
    axes[0].invert_yaxis()
    figure.savefig(file, format="png", metadata={"Software": None})


def print_table(report: Report) -> None:
    """Print the table in the terminal, on standard output."""
    table = Table(title=f"{report.plan.study['name']}: test {report.metric.replace('_', ' ')}")
    table.add_column("variant", overflow="fold")
    for task in report.tasks:
        for name in (f"{task} [95 % CI]", "n", "parameters", "s"):
            table.add_column(name.replace("[", "\\["), justify="right")
    for variant in report.variants:
        texts = []
        for task in report.tasks:
            texts += _entry_texts(report.table.get((variant, task)))
        table.add_row(*(text.replace("[", "\\[") for text in [variant, *texts]))
    output().print(table)
    if report.metric in WORST and any(entry.failed for entry in report.table.values()):
        say(f"a run that failed counts with the score {WORST[report.metric]:g}")
    finished = sum(row.status == "FINISHED" for row in report.rows)
    if finished < len(report.rows):
        say(f"{len(report.rows) - finished} of {len(report.rows)} runs are not finished")
    say(f"report: {report.folder / 'report.md'}")
