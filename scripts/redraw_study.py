"""docs/studies: what a results.csv alone gives in today's look, where the runs are no longer there.

    python scripts/redraw_study.py context_routes

Writes `table.tex` and the figures of scores (forest, every seed, the factors together) beside the
results.csv. Without an outcomes.csv intervals are those of new seeds on these test examples: which
example was right is not in results.csv. A study whose runs are there is rendered by
`decoderlab-report`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from decoderlab.common.folders import conf_dir
from decoderlab.common.safe_names import plain_name
from decoderlab.config.composition import compose_config
from decoderlab.metrics.signature import signature_parts
from decoderlab.records.run_result import SCHEMA, RunResult
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.figures import pictures
from decoderlab.studies.reporting.paper_table import paper_table
from decoderlab.training.train_and_test import NO_PICTURES
from measuring.arguments import script_parser

FOLDER = Path(__file__).parents[1] / "docs" / "studies"
# A study that is another one with a setting of its own.
UNTUNED = ("study.tuning=null", "training.learning_rate=0.01")
MADE_FROM = {
    "context_routes_matched": ("context_routes", "budget.match=parameters"),
    "length_generalisation_untuned": ("length_generalisation", *UNTUNED),
    "length_generalisation_20_untuned": ("length_generalisation_20", *UNTUNED),
}
UNKNOWN = {
    "versions": {},
    "git_commit": "",
    "git_dirty": False,
    "processor": "",
    "device": "cpu",
    "capability": "",
    "threads": 1,
    "world_size": 1,
}


def main() -> None:
    """Write the files of one study."""
    parser = script_parser(__doc__)
    committed_ones = sorted(path.parent.name for path in FOLDER.glob("*/results.csv"))
    parser.add_argument("study", choices=committed_ones, help="a folder of docs/studies")
    name = parser.parse_args().study
    folder, analysis = FOLDER / name, committed(name)
    (folder / "table.tex").write_text(table(analysis), encoding="utf-8")
    wanted = ("forest", "interaction", plain_name(analysis.metric))
    for picture in pictures(analysis, folder):
        if picture.name in wanted:
            (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)


def committed(name: str) -> Analysis:
    """Return the analysis of a study from its results.csv, and its outcomes.csv if it has one."""
    made_from, *more = MADE_FROM.get(name, (name,))
    given = [f"study={made_from}", f"study.name={name}", *_first_task(made_from), *more]
    config = compose_config(given)
    with (FOLDER / name / "results.csv").open(newline="") as file:
        rows = tuple(map(_row, csv.DictReader(file)))
    if (outcomes := FOLDER / name / "outcomes.csv").is_file():
        rows = _with_outcomes(rows, outcomes)
    if config.callbacks:  # which may have ended runs before their budget
        steps = config.training.max_steps
        rows = tuple(replace(row, cell=replace(row.cell, steps=steps)) for row in rows)
    return Analysis(Plan(config.study, tuple(row.cell for row in rows), config.budget), rows)


def tasks_of(name: str) -> Any:
    """Return the tasks of a study as its YAML has them: their names, or settings by name."""
    text = (conf_dir() / "study" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["study"].get("factors", {}).get("task", [])


def _first_task(name: str) -> list[str]:
    """Return the settings of a study's first task: the default one may not have the study's."""
    tasks = tasks_of(name)
    if isinstance(tasks, Mapping):
        return [f"{key}={value}" for key, value in next(iter(tasks.values())).items()]
    return [f"task={task}" for task in tasks[:1]]


def table(analysis: Analysis) -> str:
    """Return `table.tex`."""
    paper = paper_table(analysis)
    return render.paper_tables(paper.groups, paper.caption, paper.label, paper.note)


def _row(line: dict[str, str]) -> RunRow:
    """Return a run of a results.csv."""
    factors = {
        key.removeprefix("factor_"): value
        for key, value in line.items()
        if key.startswith("factor_") and value
    } | {"task": line["task"]}
    # A study's rows are searched otherwise only where it says so, in words that are not here.
    search = line["signature"].partition("|max_length:")[0]
    cell = StudyCell(
        line["run_id"],
        line["folder"],
        line["variant"],
        line["task"],
        int(line["seed"]),
        int(line["parameters"]),
        (f"evaluation.{search}",),
        factors,
        float(line["flops_per_example"]),
        int(line["steps"]),
    )
    return RunRow(cell, line["status"], RunResult.from_dict(_record(line)), line["reason"])


def _with_outcomes(rows: tuple[RunRow, ...], file: Path) -> tuple[RunRow, ...]:
    """Return runs that know which test examples they have right."""
    with file.open(newline="") as lines:
        header, *known = csv.reader(lines)
    packed = {run_id: NO_PICTURES | {"outcomes": {header[1]: bits}} for run_id, bits in known}
    return tuple(
        replace(row, result=replace(row.result, probes=packed.get(row.cell.run_id)))
        if row.result
        else row
        for row in rows
    )


def _record(line: dict[str, str]) -> dict[str, Any]:
    """Return what a result.json has, as far as it stands in a results.csv."""
    scores = {
        split: {
            key.removeprefix(f"{split}_"): float(value)
            for key, value in line.items()
            if key.startswith(f"{split}_") and value
        }
        for split in ("test", "validation")
    }
    return {
        "schema": SCHEMA,
        "run_id": line["run_id"],
        "choices": {"task": line["task"], "encoder": "", "decoder": ""},
        "seed": int(line["seed"]),
        "metrics": scores | {"validation_last": scores["validation"]},
        "signature": line["signature"],
        "signatures": {},
        "selected_by": "exact_match",
        "best_step": int(line["best_step"]),
        "best_checkpoint": "",
        "steps": int(line["steps"]),
        "examples_seen": 0,
        "tokens_seen": 0,
        "batches_per_epoch": 1,
        "parameters": {"total": int(line["parameters"])},
        "peak_memory_bytes": None,
        "restarts": 0,
        "started": 0.0,
        "ended": 0.0,
        "code_changes": [],
        "budget": {"match": "updates", "width": "decoder.hidden_size", "tolerance": 0.01},
        "flops_per_example": float(line["flops_per_example"]),
        "train_seconds": float(line["train_seconds"]),
        "evaluation_seconds": float(line["evaluation_seconds"]),
        "environment": UNKNOWN,
        "data": {
            "fingerprint": signature_parts(line["signature"])["data"],
            "counts": {},
            "baselines": {},
        },
        "equations": {},
        "probes": None,
    }


if __name__ == "__main__":
    main()
