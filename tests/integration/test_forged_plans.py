"""A study's folder, edited and sealed again by somebody who leaves the runs as they are."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import decoderlab
from decoderlab.cli import status
from decoderlab.cli.app import guarded
from decoderlab.cli.report import write_report
from decoderlab.common.digests import file_sha256
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.studies.analysis.results import defects
from decoderlab.studies.design.examination import examine
from decoderlab.studies.design.plan_file import amendments, read_plan
from decoderlab.studies.design.sealed_plan import digest_of_plan
from tests.drawing import no_drawing
from tests.integration.cli import in_process, tiny_arguments

pytestmark = [pytest.mark.fault(54), pytest.mark.usefixtures("undrawn")]

BUNDLES = "study.variants={A:{decoder:luong},B:{decoder:repeat_vector}}"
SWEEP = (BUNDLES, "training.learning_rate=0.01,0.02", "hydra/launcher=basic", "study.name=s")


class Forged(NamedTuple):
    """The records of a study's folder."""

    plan: dict[str, Any]
    lines: list[dict[str, Any]]
    folder: Path

    @property
    def cells(self) -> list[dict[str, Any]]:
        return self.plan["cells"]

    def seal(self) -> None:
        """Write the plan and its configs so that they agree with each other."""
        cells = {cell["run_id"]: cell for cell in self.cells}
        digest = digest_of_plan(self.plan)
        kept = [line for line in self.lines if line["run_id"] in cells]
        for line in kept:
            line.update(cell=cells[line["run_id"]], plans=[digest])
        text = "".join(json.dumps(sealed(line)) + "\n" for line in kept)
        (self.folder / "configs.jsonl").write_text(text)
        write_json(self.folder / "plan.json", sealed(self.plan))


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Path:
    """A finished study of eight runs, amended by a seed, which no test changes."""
    output_dir = tmp_path_factory.mktemp("forged") / "outputs"
    with pytest.MonkeyPatch.context() as patch, no_drawing():
        for seeds in ("seed=0", "seed=0,1"):
            assert in_process(patch, "-m", *tiny_arguments(output_dir, *SWEEP, seeds)) == 0
    return output_dir


@pytest.fixture
def outputs(planned, tmp_path) -> Path:
    """A copy of the study to forge."""
    return shutil.copytree(planned, tmp_path / "outputs")


def forged(output_dir: Path, name: str = "s") -> Forged:
    folder = output_dir / "studies" / name
    lines = (folder / "configs.jsonl").read_text().splitlines()
    return Forged(json.loads((folder / "plan.json").read_text()), [*map(json.loads, lines)], folder)


def exchange(one: str, other: str, *fields: str) -> Callable[[Forged], None]:
    """Return what exchanges two texts in fields of all cells."""

    def swapped(value: Any) -> Any:
        text = json.dumps(value)
        both = {one: other, other: one}
        pattern = rf"(?<![\w.]){re.escape(one)}(?![\w.])|(?<![\w.]){re.escape(other)}(?![\w.])"
        return json.loads(re.sub(pattern, lambda found: both[found[0]], text))

    def change(study: Forged) -> None:
        for cell in study.cells:
            cell.update({name: swapped(cell[name]) for name in fields})

    return change


def exchanged_bundles(study: Forged) -> None:
    """A is what was B, everywhere that a study's folder says so."""
    exchange("A", "B", "variant", "factors")(study)
    bundles = study.plan["study"]["variants"]
    bundles["A"], bundles["B"] = bundles["B"], bundles["A"]
    for line in study.lines:
        line["config"]["study"]["variants"] = copy.deepcopy(bundles)


def as_named_factor(study: Forged) -> None:
    """The decoders as levels of an invented factor, exchanged."""
    names = {"A": "repeat_vector", "B": "luong"}
    study.plan["study"]["variants"] = None
    levels = {name: {"decoder": level} for level, name in names.items()}
    study.plan["study"]["factors"] = {"x": {str(one["decoder"]): one for one in levels.values()}}
    for cell in study.cells:
        name = names[cell["factors"].pop("variant")]
        cell["factors"] = {"x": name} | cell["factors"]
        cell["overrides"] = [re.sub("decoder=.*", f"decoder={name}", o) for o in cell["overrides"]]
        cell["variant"] = re.sub("^[AB]", name, cell["variant"])


def drop(study: Forged) -> None:
    study.cells.pop()


def of_study(**values: Any) -> Callable[[Forged], None]:
    return lambda study: study.plan["study"].update(values)


def of_cells(**values: Any) -> Callable[[Forged], object]:
    return lambda study: [cell.update(values) for cell in study.cells]


def other_scores(study: Forged) -> None:
    study.plan["scores"]["exact_match"] |= {"better": "min", "worst": 1}


def configs_exchanged(study: Forged) -> None:
    first, second = study.lines[:2]
    first["config"], second["config"] = second["config"], first["config"]


def roll_back(study: Forged) -> None:
    """The plan before the seed was added, and its digest in all that is left."""
    older = study.folder / "plan-001.json"
    study.plan.clear()
    study.plan.update(json.loads(older.read_text()))


def roll_back_without_trace(study: Forged) -> None:
    roll_back(study)
    (study.folder / "plan-001.json").unlink()


def hide_history(study: Forged) -> None:
    study.plan["older"] = {}
    (study.folder / "plan-001.json").unlink()
    study.cells[:] = [cell for cell in study.cells if cell["seed"] == 0]


def forge_history(study: Forged) -> None:
    """The declared baseline is another one in the plan and in the one before it."""
    path = study.folder / "plan-001.json"
    older = json.loads(path.read_text())
    for record in (older, study.plan):
        record["study"]["baseline"] = "A training.learning_rate=0.01"
    write_json(path, sealed(older))
    study.plan["older"] = {path.name: file_sha256(path)}


RATES = ("0.01", "0.02")
FORGERIES: dict[str, Callable[[Forged], object]] = {
    "rates": exchange(*RATES, "variant", "factors", "overrides"),
    "rates in names": exchange(*RATES, "variant", "factors"),
    "rates in overrides": exchange(*RATES, "overrides"),
    "names of variants": exchange("A", "B", "variant", "factors"),
    "bundles": exchanged_bundles,
    "decoders": exchange("luong", "repeat_vector", "overrides"),
    "named factor": as_named_factor,
    "configs": configs_exchanged,
    "task": of_cells(task="g2p"),
    "task size": of_cells(task="echo num_train=9", factors={"task.num_train": "9"}),
    "operations": of_cells(flops=1.0),
    "updates": of_cells(steps=7),
    "parameters": of_cells(parameters=7),
    "a run left out": drop,
    "metric": of_study(metric="token_accuracy"),
    "baseline": of_study(baseline="A training.learning_rate=0.01"),
    "minimum effect": of_study(minimum_effect=0.5),
    "family": of_study(family="task"),
    "question": of_study(question="Is it so?"),
    "seeds": of_study(seeds=[0, 1]),
    "allowed changes": of_study(allow_changes=True),
    "budget": lambda study: study.plan["budget"].update(match="seconds"),
    "scores": other_scores,
    "rolled back": roll_back,
    "rolled back without trace": roll_back_without_trace,
    "history hidden": hide_history,
    "history forged": forge_history,
}


def found(output_dir: Path) -> list[str]:
    """Return what is found, once all that shows the study has found something."""
    shown, code, _ = status.study(output_dir, "s")
    assert code == 1, shown
    assert status.studies(output_dir)[1] == 1
    assert [one for one in examine(output_dir).findings if not one.note]
    return defects(read_plan(output_dir, "s"), output_dir)


@pytest.mark.thinned
@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.filterwarnings("ignore:study s is damaged")
def test_a_study_that_was_edited_and_sealed_again_does_not_agree_with_its_runs(outputs, name):
    study = forged(outputs)
    FORGERIES[name](study)
    study.seal()
    assert found(outputs)
    table = decoderlab.results("s", outputs)
    assert table.attrs["damage"] or "INVALID" in list(table["status"])


@pytest.mark.parametrize("name", ["rates", "bundles", "rolled back without trace"])
def test_the_report_of_a_forged_study_says_so(outputs, capsys, name):
    study = forged(outputs)
    FORGERIES[name](study)
    study.seal()
    assert guarded(lambda: write_report("s", outputs, tensorboard=False)) == 1
    said = capsys.readouterr().err
    assert "INVALID: echo" in said or "damaged: " in said


def test_an_older_plan_that_is_put_back_is_refused(outputs):
    folder = outputs / "studies/s"
    shutil.copy(folder / "plan-001.json", folder / "plan.json")
    assert any("is not the plan that its configs.jsonl" in line for line in found(outputs))
    with pytest.warns(UserWarning, match="study s is damaged: .*configs.jsonl"):
        assert decoderlab.results("s", outputs).attrs["damage"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: write_json(path, json.loads(path.read_text()) | {"status": "FAILED"}),
        lambda path: write_json(path, json.loads(path.read_text()) | {"status": "DIVERGED"}),
        lambda path: write_json(path, {"status": "PLANNED"}),
        lambda path: write_json(path, {"status": "RUNNING"}),
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
    ],
    ids=["failed", "diverged", "planned", "running", "deleted", "empty"],
)
def test_a_finished_run_that_says_otherwise_is_invalid(outputs, change):
    run = RunFolder(outputs / read_plan(outputs, "s").cells[0].folder)
    change(run.status_file)
    (line,) = found(outputs)
    assert "INVALID" in line
    assert "but the run is finished: its manifest.json is intact" in line
    assert list(decoderlab.results("s", outputs)["status"])[0] == "INVALID"


def test_what_is_as_it_was_written_is_quiet(outputs):
    assert defects(read_plan(outputs, "s"), outputs) == []
    assert not [one for one in examine(outputs).findings if not one.note]
    (line,) = amendments(outputs, "s")
    assert "4 runs added, 0 left out" in line
    assert " renamed" not in line


@pytest.mark.slow
def test_an_amended_and_a_renamed_study_are_quiet(outputs, monkeypatch):
    """A baseline is declared later, and another study takes the same runs."""
    baseline = "study.baseline='A training.learning_rate=0.01'"
    seeds = ("seed=0,1",)
    assert in_process(monkeypatch, "-m", *tiny_arguments(outputs, *SWEEP, *seeds, baseline)) == 0
    assert any("baseline changed" in line for line in amendments(outputs, "s"))
    other = (*SWEEP, *seeds, "study.name=t", "study.allow_changes=true")
    assert in_process(monkeypatch, "-m", *tiny_arguments(outputs, *other)) == 0
    for name in ("s", "t"):
        assert defects(read_plan(outputs, name), outputs) == []
    # What t has planned them as is known too, though s has run them.
    study = forged(outputs, "t")
    study.plan["study"]["question"] = "Is it so?"
    study.seal()
    assert len(defects(read_plan(outputs, "t"), outputs)) == len(study.cells)
