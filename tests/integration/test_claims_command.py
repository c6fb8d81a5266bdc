"""decoderlab-claims: what it lists, runs, copies and writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from decoderlab.cli import claims
from decoderlab.common.errors import LaunchError
from decoderlab.common.process import is_alive
from tests.integration.cli import SIZES, in_process


def called(monkeypatch, *arguments: str) -> int:
    """Run decoderlab-claims here and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["decoderlab-claims", *arguments])
    with pytest.raises(SystemExit) as left:
        claims.main()
    return int(str(left.value.code))


def results(folder, study: str, scores: list[float]) -> None:
    """Write results.csv of a study with one row, as a run of it would."""
    path = folder / "studies" / study / "results.csv"
    path.parent.mkdir(parents=True)
    rows = [
        {"variant": "article", "task": "echo", "seed": seed, "status": "FINISHED"}
        | {"test_exact_match": score, "test_token_accuracy": score}
        for seed, score in enumerate(scores)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture
def nothing_runs(monkeypatch):
    def refuse(words):
        raise AssertionError("a study was started")

    monkeypatch.setattr(claims, "launched", refuse)


def test_the_list_has_every_claim_and_runs_nothing(monkeypatch, capsys, tmp_path, nothing_runs):
    assert called(monkeypatch, "--list", "--to", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "partial_echo" in out
    assert "not run" in out
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_refused_with_the_known_ones(monkeypatch, capsys, nothing_runs):
    assert called(monkeypatch, "partial_ecko") == 2
    assert "Did you mean partial_echo?" in capsys.readouterr().err


def test_results_that_are_there_are_judged_without_a_run(
    monkeypatch, capsys, tmp_path, nothing_runs
):
    results(tmp_path, "claim_partial_echo", [0.99, 1.0, 0.995, 0.99, 1.0, 0.995])
    assert called(monkeypatch, "partial_echo", "--no-run", "--to", str(tmp_path)) == 0
    assert "reproduced" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "claims.csv").set_index("claim")
    assert table.verdict["partial_echo"] == "reproduced"
    assert set(table.verdict.drop("partial_echo")) == {"not run"}
    assert "1 reproduced" in (tmp_path / "claims.md").read_text()
    assert called(monkeypatch, "sum_of_two", "--no-run", "--to", str(tmp_path)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"variant,task\n",
        b"",
        b"\xff\xfe",
        b"variant,task,seed,status,test_token_accuracy\narticle,echo,1,FINISHED,0.5\n",
        b"task,seed,status,test_exact_match\necho,1,FINISHED,0.5\n",
        b"variant,task,seed,status,test_exact_match\narticle,echo,one,FINISHED,0.5\n",
        b"variant,task,seed,status,test_exact_match\narticle,echo,1,FINISHED,much\n",
        b"variant,task,seed,status,test_exact_match\nother,echo,1,FINISHED,0.5\n",
    ],
)
def test_damaged_results_are_named(monkeypatch, capsys, tmp_path, nothing_runs, content):
    results(tmp_path, "claim_partial_echo", [0.9])
    path = tmp_path / "studies" / "claim_partial_echo" / "results.csv"
    path.write_bytes(content)
    assert called(monkeypatch, "partial_echo", "--no-run", "--to", str(tmp_path)) == 1
    told = capsys.readouterr().err
    assert "damaged: results.csv of claim_partial_echo" in " ".join(told.split())
    assert "internal error" not in told
    assert (
        "not run" in pd.read_csv(tmp_path / "claims.csv").set_index("claim").verdict["sum_of_two"]
    )


def test_the_output_folder_reaches_the_study_as_it_is(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(claims, "launched", lambda words: given.extend(words) or 2)
    for name in ("a,b", "null", " a", "it's", "[x]", "ä", "a=b", "plain/er"):
        with pytest.raises(LaunchError):
            claims.run_study("claim_partial_echo", Path(name), tmp_path)
        override = OverridesParser.create().parse_override(given[-1])
        assert not override.is_sweep_override()
        assert override.value() == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--jobs", "0"), "--jobs is 0; it must be above 0 and below 1,025"),
        (("--jobs", "-1"), "--jobs is -1"),
        (("--jobs", "1025"), "--jobs is 1025"),
        (("--output-dir", "${seed}"), "a reference to a setting"),
        (("--output-dir", "a/${oc.env:HOME}"), "a reference to a setting"),
    ],
)
def test_what_a_study_would_refuse_or_misread_is_refused_at_once(
    monkeypatch, capsys, tmp_path, nothing_runs, given, message
):
    to = tmp_path / "to"
    assert called(monkeypatch, "partial_echo", "--to", str(to), *given) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not to.exists()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_the_command_ends_the_study(tmp_path, signum):
    study = tmp_path / "study"  # in the place of Python
    study.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    study.chmod(0o755)
    code = (
        "import sys; from decoderlab.cli import claims; "
        "sys.executable = sys.argv[1]; claims.launched([])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(study)])
    try:
        assert eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        child = int((tmp_path / "pid").read_text())
        parent.send_signal(signum)
        assert parent.wait() == -signum
        assert eventually(lambda: not is_alive(child))
    finally:
        parent.kill()


def eventually(there) -> bool:
    until = time.monotonic() + 60
    while not there() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(there())


def test_a_study_runs_and_its_results_are_copied(monkeypatch, tmp_path):
    def train(given):
        assert given[-1] == "hydra.launcher.jobs=1"
        words = [*given[:-1], "study.seeds=[0,1]", "task.num_train=100", "task.num_validation=20"]
        words += ["task.num_test=20", "training.max_steps=2", "hydra/launcher=basic", *SIZES]
        return in_process(monkeypatch, *words)

    monkeypatch.setattr(claims, "launched", train)
    outputs, to = tmp_path / "outputs", tmp_path / "claims"
    assert claims.run_study("claim_partial_echo", outputs, to, jobs=1) == 0
    made = to / "studies" / "claim_partial_echo"
    assert len(pd.read_csv(made / "results.csv")) == 2
    assert (made / "report.md").is_file()
    assert list((made / "figures").glob("*.png"))


def test_a_study_that_is_refused_ends_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "launched", lambda words: 2)
    with pytest.raises(LaunchError, match="ended with exit code 2; nothing was judged"):
        claims.run_study("claim_partial_echo", tmp_path, tmp_path / "to")
    assert not (tmp_path / "to").exists()
