"""What a reader should beware of: few seeds, missing, mixed, outlying and failed runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_identity import sorted_json
from decoderlab.data.task_data import data_cautions
from decoderlab.studies.analysis.seed_groups import better_group, share_text
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.attainable import PILOT_SEEDS
from decoderlab.studies.design.shared_starts import dependent_seeds
from decoderlab.studies.reporting.blocks import Block, Bullets, Paragraph, Section
from decoderlab.studies.reporting.provenance import ended_early, mixtures
from decoderlab.studies.reporting.row_parts import joint_differences

# A name that Hydra takes as it is, and as a text.
PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z_][A-Za-z0-9_]*", re.IGNORECASE)
MAX_ITEMS = 20  # names, seeds or lines that a caution lists


def warnings(analysis: Analysis) -> list[Block]:
    """Return what to know before the tables are read: runs that are damaged, or not alike."""
    return [*_damage(analysis), *_differences(analysis)]


def cautions(analysis: Analysis) -> list[Block]:
    """Return what else to beware of in the tables: few seeds, missing and outlying runs."""
    return [*_numbers(analysis), *_outliers(analysis)]


def without_baseline(analysis: Analysis) -> str:
    """Return why there are no differences, and what gives them; empty where nothing is missing."""
    if len(analysis.variants) < 2:
        return ""
    if analysis.baseline in analysis.variants:
        of_baseline = {task for variant, task in analysis.by_cell if variant == analysis.baseline}
        lacking = [task for task in analysis.tasks if task not in of_baseline]
        what = f"on {_listed(lacking)} the baseline {analysis.baseline} has no run"
        return f"{what}, so that no row is compared there" if lacking else ""
    why = "no baseline"
    if analysis.baseline is not None:
        why = f"the baseline {analysis.baseline} is none of the rows"
    first = analysis.variants[0]
    argument = first if PLAIN.fullmatch(first) else f'"{_escaped(first)}"'
    return (
        f"{why}: give study.baseline=NAME for differences and verdicts, for example "
        f"{shlex.quote(f'study.baseline={argument}')}; rows: {_listed(analysis.variants)}"
    )


def _escaped(name: str) -> str:
    """Return a name as Hydra reads it between double quotes."""
    doubled = re.sub(r'(\\+)(?="|$)', lambda match: 2 * match[0], name)
    return doubled.replace('"', '\\"')


def _damage(analysis: Analysis) -> list[Block]:
    blocks: list[Block] = []
    if analysis.plan.damage:
        what = "the study's own files were changed since they were written:"
        blocks += [Paragraph(what, "Damaged: "), Bullets(list(analysis.plan.damage[:MAX_ITEMS]))]
    invalid = sum(row.status == "INVALID" for row in analysis.rows)
    if invalid:
        what = (
            f"of {invalid} of {len(analysis.rows)} runs something is damaged, missing or another "
            "run's; they are left out of all numbers (see Failures)."
        )
        blocks.append(Paragraph(what, "Invalid: "))
    return blocks


def _numbers(analysis: Analysis) -> list[Block]:
    """Return what is said of how many runs there are."""
    blocks: list[Block] = []
    if missing := without_baseline(analysis):
        blocks.append(Paragraph(f"{missing}.", "Not compared: "))
    blocks += [Paragraph(f"{line}.", "Several parts: ") for line in joint_differences(analysis)]
    for task in analysis.tasks:
        several = [data_cautions(data.counts) for data in analysis.data_of(task).values()]
        said = max(several, key=len, default=[])
        blocks += [Paragraph(f"{task}: {line}.", "Data: ") for line in said]
    blocks += [Paragraph(f"{line}.", "Same run: ") for line in analysis.plan.same_runs[:MAX_ITEMS]]
    blocks += [Paragraph(f"{line}.", "Fewer cells: ") for line in _fewer_cells(analysis)]
    if analysis.pilot:
        what = f"fewer than {PILOT_SEEDS} seeds, so nothing is claimed."
        blocks.append(Paragraph(what, "Pilot: "))
    waiting = sum(row.result is None and not row.failed for row in analysis.rows)
    if waiting:
        what = (
            f"{waiting} of {len(analysis.rows)} runs are not finished; they are missing from the "
            "means."
        )
        blocks.append(Paragraph(what, "Incomplete: "))
    for (variant, task), comparison in analysis.comparisons.items():
        if comparison.paired is not None and comparison.unpaired:
            seeds = ranges_text(comparison.unpaired)
            what = f"{variant} on {task} is compared without the seeds {seeds}."
            blocks.append(Paragraph(what, "Unpaired: "))
    return blocks


def _fewer_cells(analysis: Analysis) -> list[str]:
    """Return the rows that lack tasks, or seeds which other rows on the task have."""
    lines = []
    for variant in analysis.variants:
        lacking = [task for task in analysis.tasks if (variant, task) not in analysis.by_cell]
        if lacking and variant != analysis.baseline:  # which is spoken of before
            lines.append(
                f"{variant} has no run on {_listed(lacking)}: it is the same run as another row's "
                "there, or was left out"
            )
    for task in analysis.tasks:
        of_row = {
            variant: {row.cell.seed for row in rows}
            for (variant, of), rows in analysis.by_cell.items()
            if of == task
        }
        every = set().union(*of_row.values())
        lines += [
            f"{variant} on {task} has no run of the seeds {ranges_text(every - seeds)}, which "
            "other rows have: its mean is of the others"
            for variant, seeds in of_row.items()
            if seeds != every
        ]
    return lines[:MAX_ITEMS]


def _differences(analysis: Analysis) -> list[Block]:
    """Return what is said of runs that differ in more than their variant."""
    blocks: list[Block] = []
    if unequal := [key for key, each in analysis.comparisons.items() if each.unequal]:
        what = (
            f"{_listed([f'{variant} on {task}' for variant, task in unequal])} had another budget "
            f"than {analysis.baseline}, so that nothing is claimed of them."
        )
        blocks.append(Paragraph(what, "Unequal: "))
    if early := ended_early(analysis.rows):
        blocks.append(Paragraph(f"{early}.", "Ended early: "))
    blocks += [Paragraph(f"{line}.", "Not alike: ") for line in mixtures(analysis.rows)]
    if shared := _trained_once(analysis):
        blocks.append(Paragraph(shared, "Trained once: "))
    dependent = not_independent(analysis)[:MAX_ITEMS]
    blocks += [Paragraph(f"{line}.", "Not independent: ") for line in dependent]
    for task in analysis.tasks:
        if any(entry.mixed for (_, of), entry in analysis.entries.items() if of == task):
            what = (
                f"on {task} the runs were not all measured in the same way; cells that mix ways "
                "are marked, and rows that differ in a seed are not compared."
            )
            blocks.append(Paragraph(what, "Mixed: "))
    return blocks


def _trained_once(analysis: Analysis) -> str:
    """Return which rows were not trained but only tested; empty where each run was trained."""
    tested = [row.cell for row in analysis.rows if row.result and row.result.trained_by]
    if not tested:
        return ""
    names = list(dict.fromkeys(f"{cell.variant} on {cell.task}" for cell in tested))
    return (
        f"{_listed(names)} differ from another row in how the test is searched alone, so "
        f"{len(tested)} runs were tested with the weights of a training that both have; its "
        "seconds are counted for each."
    )


def not_independent(analysis: Analysis) -> list[str]:
    """Return which seeds are not independent of each other, and why, a line each."""
    plan = analysis.plan
    return [*_repeated_seeds(analysis), *dependent_seeds(plan.cells, plan.settings)]


def _repeated_seeds(analysis: Analysis) -> list[str]:
    """Return the entries of which some seeds are one training: what was measured is all the same.

    Losses of trainings that differ at all do so in some digit.
    """
    repeated = []
    for (variant, task), rows in analysis.by_cell.items():
        alike: dict[str, list[int]] = {}
        for row in rows:
            if row.result is not None and row.result.metrics.test.get("loss"):
                known = [asdict(row.result.metrics), row.result.probes, row.result.steps]
                alike.setdefault(sorted_json(known), []).append(row.cell.seed)
        repeated += [
            f"{variant} on {task}: seeds {ranges_text(seeds)}"
            for seeds in alike.values()
            if len(seeds) > 1
        ]
    if not repeated:
        return []
    what = "these seeds are one training, equal in every digit of their losses, counted repeatedly"
    return [f"{what}, so that intervals are too narrow ({_listed(repeated)})"]


def _outliers(analysis: Analysis) -> list[Block]:
    blocks: list[Block] = []
    scale, groups, outlying = analysis.scale, [], []
    for (variant, task), entry in analysis.entries.items():
        scores = list(entry.scores.values())
        better = better_group(scores, scale.bounds, analysis.sign)
        if 1 < len(better) < len(scores) - 1:  # a single seed is no group
            share = share_text(better, len(scores), scale.bounds, analysis.sign)
            groups.append(f"{variant} on {task}: {share}")
            continue
        outlying += [
            f"{variant} on {task}, seed {seed}: {entry.scores[seed]:.3f}, median "
            f"{entry.summary.median:.3f}"
            for seed in entry.outliers
        ]
    for name, what, lines in (
        (
            "Two groups: ",
            "of cells whose seeds lie in two groups the mean describes no seed:",
            groups,
        ),
        ("Outliers: ", "seeds that lie far from the others of their cell:", outlying),
    ):
        more = [f"and {len(lines) - MAX_ITEMS} more"] if len(lines) > MAX_ITEMS else []
        if lines:
            blocks += [Paragraph(what, name), Bullets([*lines[:MAX_ITEMS], *more])]
    return blocks


def _listed(items: Sequence[object]) -> str:
    more = f" and {len(items) - MAX_ITEMS} more" if len(items) > MAX_ITEMS else ""
    return f"{', '.join(map(str, items[:MAX_ITEMS]))}{more}"


def failures_text(analysis: Analysis) -> str:
    """Return how many runs failed and how they count; empty if none did."""
    number = sum(row.failed for row in analysis.rows)
    how = "They count with the worst score." if analysis.worst else "They have no score."
    return f"{number} of {len(analysis.rows)} runs failed or diverged. {how}" if number else ""


def failures(analysis: Analysis) -> Section | None:
    """Return the runs without a result, and how failures count; None if all are finished."""
    unfinished = [row for row in analysis.rows if row.status != "FINISHED"]
    if not unfinished:
        return None
    scores = ", ".join(dict.fromkeys(f"{score:g}" for score in analysis.worst.values()))
    worst = (
        f"A run that failed counts with the score {scores}"
        if analysis.worst
        else "A failed run has no worst loss: it is left out of the mean, and nothing is claimed "
        "of a row against another where a seed is lost so"
    )
    items = [
        f"{row.cell.variant}, {row.cell.task}, seed {row.cell.seed}: {row.status} {row.reason}"
        for row in unfinished[:100]
    ]
    more = [f"and {len(unfinished) - 100} more"] if len(unfinished) > 100 else []
    return Section("Failures", [Paragraph(f"{worst}."), Bullets([*items, *more])])
