"""docs/leaderboard.md: six decoders on each task, from the committed results.csv of each study.

    decoderlab-train study=task_echo          # then copy its report, results.csv, table.tex and
    python scripts/leaderboard.py             # figures to docs/studies/task_echo

Writes the tables between the marks of the page, the picture of mean ranks beside it, and what
docs/answer.md says of them. Intervals are those of new seeds and new examples where a study has an
outcomes.csv, else of new seeds on these test examples.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from hydra.core.override_parser.overrides_parser import OverridesParser

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.grid import as_sweep
from decoderlab.studies.reporting.table_texts import mean_text
from measuring.arguments import script_parser
from measuring.speed_tables import Marks, Row, markdown, with_table
from measuring.task_ranks import in_words, mean_scores, over_tasks, picture
from redraw_study import FOLDER, committed

ROOT = Path(__file__).parents[1]
PAGE, ANSWER = ROOT / "docs" / "leaderboard.md", ROOT / "docs" / "answer.md"
SCORES = Marks("<!-- scores -->", "<!-- end of scores -->")
RANKS = Marks("<!-- ranks -->", "<!-- end of ranks -->")
PICTURE = PAGE.with_suffix(".svg")
MATCHED = Marks("<!-- matched -->", "<!-- end of matched -->")
CELLS = Marks("<!-- cells -->", "<!-- end of cells -->")
PARSER = OverridesParser.create()
RATE = "tuned_training.learning_rate"
RULES = re.compile(r"Rules without trained weights, on [^:]+: (.+)\.\n")


def main() -> None:
    """Write the page anew."""
    script_parser(__doc__).parse_args()
    studies, matched = results("task"), results("matched")
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), studies, matched), encoding="utf-8")
    PICTURE.write_text(drawn(studies), encoding="utf-8")
    ANSWER.write_text(answered(ANSWER.read_text(encoding="utf-8"), studies), encoding="utf-8")


def results(kind: str) -> dict[str, Analysis]:
    """Return the studies of a kind that have committed results, by name."""
    return {name: whole(name) for name in done(kind)}


def rendered(page: str, studies: dict[str, Analysis], matched: dict[str, Analysis]) -> str:
    """Return the page with the tables of these studies.

    Args:
        page: with its marks.
        studies: of the tasks.
        matched: those with equal parameters.
    """
    page = with_table(page, scores(studies, "task", "best rule", rule), SCORES)
    beside = scores(
        matched,
        "matched",
        "best with equal widths",
        lambda name, _: best(studies[name.replace("matched_", "task_")]),
    )
    page = with_table(page, beside, MATCHED)
    decoders = decoders_of(studies)
    page = with_table(page, over_tasks(mean_scores(studies, decoders), decoders), RANKS)
    return with_table(page, cells([*studies, *matched]), CELLS)


def drawn(studies: dict[str, Analysis]) -> str:
    """Return the picture of the mean ranks in these studies."""
    decoders = decoders_of(studies)
    return picture(mean_scores(studies, decoders), decoders)


def answered(page: str, studies: dict[str, Analysis]) -> str:
    """Return the page of the answer with what these studies say over tasks."""
    decoders = decoders_of(studies)
    tasks = [analysis.tasks[0] for analysis in studies.values()]
    text = in_words(mean_scores(studies, decoders), decoders, tasks, len(planned("task")))
    return with_table(page, text, RANKS)


def decoders_of(studies: dict[str, Analysis]) -> list[str]:
    """Return the decoders that all tasks have."""
    names = [list(analysis.variants) for analysis in studies.values()]
    return [name for name in names[0] if all(name in some for some in names)]


def whole(name: str) -> Analysis:
    """Return the analysis of a study all of whose runs are in its results.csv.

    Raises:
        SystemExit: if any is missing, or the file cannot be read.
    """
    path = FOLDER / name / "results.csv"
    try:
        analysis = committed(name)
        study = analysis.plan.study
        (seeds,) = PARSER.parse_overrides([f"seed={as_sweep('seed', study.seeds)}"])
        names = (study.factors or {})["decoder"]
        declared = set(product(names, map(int, seeds.sweep_string_iterator())))
        there = {(cell.variant, cell.seed) for cell in analysis.plan.cells}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read ({error!r}); copy it again") from error
    if there != declared:
        lost = ", ".join(f"{decoder} {seed}" for decoder, seed in sorted(declared - there)[:3])
        raise SystemExit(
            f"{path} has {len(there)} of {len(declared)} runs (missing: {lost or 'none'}); copy it "
            "again, once the study is finished"
        )
    return analysis


def planned(kind: str) -> list[str]:
    """Return the names of all studies of a kind."""
    return sorted(path.stem for path in ROOT.glob(f"conf/study/{kind}_*.yaml"))


def done(kind: str) -> list[str]:
    """Return the names of those that have committed results."""
    return [name for name in planned(kind) if (FOLDER / name / "results.csv").is_file()]


def scores(
    studies: dict[str, Analysis], kind: str, title: str, beside: Callable[[str, Analysis], str]
) -> str:
    """Return the table of all scores: a row a task, a column a decoder.

    Args:
        studies: of one kind.
        kind: theirs.
        title: of the last column.
        beside: what stands in it, of a study with its name.
    """
    names = planned(kind)
    if not studies:
        return f"None of {len(names)} tasks has been run yet.\n"
    decoders = decoders_of(studies)
    header = ["task", "test metric", *(f"`{name}`" for name in decoders), title]
    rows = []
    for name, analysis in studies.items():
        (task,) = analysis.tasks
        better = "higher" if analysis.sign > 0 else "lower"
        texts = (mean_text(analysis.entries[decoder, task]) for decoder in decoders)
        shown = f"[`{task}`](studies/{name}/report.md)"
        rows.append(
            [shown, f"{analysis.scale.label}, {better} is better", *texts, beside(name, analysis)]
        )
    missing = [name.removeprefix(f"{kind}_") for name in names if name not in studies]
    count = f"\n{len(studies)} of {len(names)} tasks."
    if missing:
        count += f" Not run yet: {', '.join(f'`{name}`' for name in missing)}."
    return markdown(header, rows) + count + "\n"


def rule(study: str, analysis: Analysis) -> str:
    """Return the best rule without trained weights, from the committed report."""
    found = RULES.search((FOLDER / study / "report.md").read_text(encoding="utf-8"))
    if found is None:
        return "–"
    known = dict(each.rsplit(" ", 1) for each in found[1].split("; "))
    best = (max if analysis.sign > 0 else min)(known, key=lambda name: float(known[name]))
    return f"{known[best]} ({best})"


def best(analysis: Analysis) -> str:
    """Return the decoder of the best mean in the study of a task."""
    means = mean_scores({"": analysis}, analysis.variants)[:, 0]
    return f"`{analysis.variants[means.argmax()]}`"


def cells(studies: Sequence[str]) -> str:
    """Return what each score cost, and its command, in a table of each task that opens."""
    parts = []
    for name in studies:
        rows = list(costs(name))
        header = ["decoder", "learning rate", "updates", "parameters", "seconds a run", "command"]
        table = markdown(header, rows)
        parts.append(
            f"<details><summary>{name.removeprefix('task_')}</summary>\n\n{table}\n</details>\n"
        )
    return "\n".join(parts)


def costs(study: str) -> Iterator[list[str]]:
    """Yield the row of each decoder of a study."""
    with (FOLDER / study / "results.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    matched = study.startswith("matched_")  # with the baseline's parameters
    for decoder in dict.fromkeys(run["variant"] for run in runs):
        own = [run for run in runs if run["variant"] == decoder]
        seconds = fmean(float(run["train_seconds"] or "nan") for run in own)
        yield [
            f"`{decoder}`",
            one_value(own, RATE),
            f"{int(one_value(own, 'steps')):,}",
            f"{int(one_value(own, 'parameters')):,}",
            f"{seconds:.1f}",
            f"`decoderlab-train study={study}`"
            if matched
            else f"`decoderlab-train study={study} 'study.factors.decoder=[{decoder}]' "
            "study.baseline=null`",
        ]


def one_value(runs: list[Row], key: str) -> str:
    """Return what all runs of a row have."""
    (value,) = {run[key] for run in runs if run[key]}
    return value


if __name__ == "__main__":
    main()
