"""Output folders that somebody has copied over each other."""

from __future__ import annotations

import shutil

import pytest

from decoderlab.cli.report import write_report
from tests.integration.cli import in_process, tiny_arguments


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_who_launches_a_study_is_told_what_who_reports_on_it_is_told(tmp_path, monkeypatch, capfd):
    study = ("study.name=s", "hydra/launcher=basic", "decoder=luong")

    def launch(seeds: str) -> int:
        return in_process(monkeypatch, "-m", *tiny_arguments(tmp_path, *study, seeds))

    assert [launch(seeds) for seeds in ("seed=0", "seed=0,1")] == [0, 0]
    folder = tmp_path / "studies/s"
    shutil.copy(folder / "plan-001.json", folder / "plan-007.json")
    capfd.readouterr()
    codes, said = [], []
    for command in (
        lambda: launch("seed=0,1"),
        lambda: write_report("s", tmp_path, tensorboard=False),
    ):
        codes.append(command())
        said.append(" ".join(capfd.readouterr().err.split()))
    assert codes == [1, 1]
    assert all("plan-007.json is not a plan" in text for text in said)
    assert all("move it out of the folder" in text for text in said)
