"""decoderlab-report: what it writes, prints and refuses, and results as a data frame."""

from __future__ import annotations

import csv
import errno
import json
import re
import shlex
import sys

import pytest

import decoderlab
from decoderlab.cli.report import main
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.reporting import build
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.headline import headline
from tests.integration.cli import in_process, tiny_arguments
from tests.integration.reports import A, read_analysis
from tests.unit.studies import study, write

pytestmark = pytest.mark.usefixtures("undrawn")


def test_results_are_a_data_frame_with_a_row_a_run(tmp_path):
    levels = {"route=x": {"route": "x"}, "route=y": {"route": "y"}}
    scores = {"route=x": [0.5, "FAILED"], "route=y": [0.7, "PLANNED"]}
    plan = study(tmp_path, scores, factors=levels)
    write(plan, tmp_path)
    table = decoderlab.results("s", tmp_path)
    assert table["status"].tolist() == ["FINISHED", "FAILED", "FINISHED", "PLANNED"]
    assert table["factor_route"].tolist() == ["x", "x", "y", "y"]
    assert table["test_exact_match"].dropna().tolist() == [0.5, 0.7]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert table["reason"].tolist() == ["", "because", "", ""]
    build_report(plan, tmp_path)
    written = list(csv.DictReader((tmp_path / "studies/s/results.csv").read_text().splitlines()))
    assert [one["steps"] for one in written] == ["10", "", "10", ""]


def command(monkeypatch, output_dir, *arguments):
    """Run decoderlab-report here and return its exit code."""
    monkeypatch.setattr(
        sys, "argv", ["decoderlab-report", *arguments, "--output-dir", str(output_dir)]
    )
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def written(output_dir, name="s", scores=(A, A)):
    plan = study(output_dir, dict(zip("ab", scores, strict=True)), name=name)
    write(plan, output_dir)
    return output_dir / "studies" / name


def test_the_command_writes_a_report_and_for_tensorboard(tmp_path, monkeypatch, capfd):
    output_dir = tmp_path / "my $runs; it's"
    folder = written(output_dir)
    assert command(monkeypatch, output_dir, "s", "--tensorboard") == 0
    printed = capfd.readouterr()
    (board,) = re.findall(r"tensorboard --logdir (.+)", printed.out + printed.err)
    assert shlex.split(board) == [str(folder / "tensorboard")]
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert "/#custom_scalars&regexInput=%5Emean%2F" in printed.out + printed.err
    assert (folder / "report.html").is_file()


def test_the_command_prints_the_numbers_of_the_tables_as_json(tmp_path, monkeypatch, capfd):
    written(tmp_path, "s", (A, [*(one + 0.1 for one in A[:-1]), "FAILED"]))
    assert command(monkeypatch, tmp_path, "s", "--json") == 1
    record = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    analysis = read_analysis(read_plan(tmp_path, "s"), tmp_path)
    assert record["answer"] == headline(analysis)
    rows = {(row["variant"], row["task"]): row for row in record["rows"]}
    assert rows.keys() == analysis.entries.keys()
    for key, entry in analysis.entries.items():
        assert rows[key]["mean"] == entry.summary.mean
        assert rows[key]["interval"] == [*entry.interval]
        assert (rows[key]["n"], rows[key]["failed"]) == (entry.summary.n, entry.failed)
    (compared,) = (row["comparison"] for row in record["rows"] if row["comparison"])
    (comparison,) = analysis.comparisons.values()
    assert compared["verdict"] == comparison.verdict
    assert compared["difference"] == comparison.estimate.mean
    assert compared["simultaneous_interval"] == [*comparison.simultaneous]
    assert record["complete"] is False


@pytest.mark.parametrize("given", [(), ("--json",)])
def test_of_a_folder_that_may_only_be_read_the_numbers_are_printed(
    tmp_path, monkeypatch, capfd, given
):
    def refused(path, text):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    folder = written(tmp_path)
    monkeypatch.setattr(build, "write_text", refused)
    monkeypatch.setattr(build, "write_atomic", refused)
    assert command(monkeypatch, tmp_path, "s", *given) == 1
    printed = capfd.readouterr()
    assert "the report cannot be written (Permission denied)" in printed.err
    assert "report: " not in printed.err
    shown = json.loads(printed.out)["study"] if given else printed.out
    assert "s" in shown
    assert given or "exact match" in shown
    assert not list(folder.glob("*.csv"))


def test_the_command_compares_two_studies(tmp_path, monkeypatch, capfd):
    written(tmp_path)
    written(tmp_path, "t", (A, [one + 0.1 for one in A]))
    assert command(monkeypatch, tmp_path, "--compare", "s", "t") == 0
    assert "+0.100" in capfd.readouterr().out
    assert len(list((tmp_path / "studies").rglob("*compare*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the name of a study, or --compare STUDY_A STUDY_B"),
        (["s", "--compare", "s", "t"], "give the name of a study, or --compare"),
        (["--compare", "s"], "expected 2 arguments"),
        (["--compare", "s", "--tensorboard"], "expected 2 arguments"),
        (["--compare", "s", "t", "--tensorboard"], "--tensorboard, --serve and --json show one"),
        (["--compare", "s", "t", "--serve"], "--tensorboard, --serve and --json show one"),
        (["s", "--serve", "--port", "0"], "--port is 0: a number from 1 to 65535"),
        (["s", "--port", "6006"], "--port is 6006: a number from 1 to 65535, beside --serve"),
        (["x"], "there is no study 'x'"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(
    tmp_path, monkeypatch, capfd, arguments, message
):
    folder = written(tmp_path)
    before = sorted(folder.iterdir())
    assert command(monkeypatch, tmp_path, *arguments) == 2
    assert message in capfd.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_what_two_studies_set_otherwise_is_said(monkeypatch, tmp_path, capfd):
    for name, more in (("s", "training.learning_rate=0.01"), ("t", "training.batch_size=8")):
        given = (*tiny_arguments(tmp_path, more), "seed=0", "decoder=repeat_vector,initial_state")
        assert (
            in_process(monkeypatch, "-m", *given, f"study.name={name}", "hydra/launcher=basic") == 0
        )
    capfd.readouterr()
    assert command(monkeypatch, tmp_path, "--compare", "s", "t") == 0
    said = "the settings of repeat_vector, initial_state on echo differ: training."
    names = ("batch_size", "learning_rate")
    assert f"{said}{names[0]}, training.{names[1]}" in " ".join(capfd.readouterr().err.split())
