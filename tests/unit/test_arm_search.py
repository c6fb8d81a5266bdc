"""A search goes on as it would have, wherever a launch that was killed has broken it off."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from decoderlab.common.errors import Unreadable
from decoderlab.config.study_settings import Tuning
from decoderlab.records.run_folder import file_lock
from decoderlab.studies.execution.arm_search import ArmSearch
from decoderlab.studies.execution.journal import JOURNAL, open_journal, seal

optuna = pytest.importorskip("optuna")

SPACES = {
    "random": {"a": {"low": 1e-4, "high": 1e-1, "log": True}, "b": [0.0, 0.3]},
    "grid": {"a": [1, 2], "b": [0.0]},
}
SPACES["tpe"] = SPACES["random"]
TRIALS = 2


def search_in(folder: Path, sampler: str) -> ArmSearch:
    """Open the search of a folder, or begin it."""
    folder.mkdir(exist_ok=True)
    tuning = Tuning(space=SPACES[sampler], trials=TRIALS, sampler=sampler, seeds=[100])
    storage = open_journal(folder / JOURNAL)
    if not optuna.get_all_study_names(storage):
        optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study = optuna.load_study(storage=storage, study_name="s")
    return ArmSearch(study, tuning, file_lock(folder / ".lock"))


def searched(folder: Path, sampler: str) -> list[dict]:
    """Bring a search to its end; return what was tried."""
    search = search_in(folder, sampler)
    for wanted in range(1, TRIALS + 1):
        tried = search.settings(wanted)
        search.tell([float(settings["a"]) for settings in tried])
    assert search.num_asked == TRIALS
    return tried


@pytest.mark.parametrize("sampler", SPACES)
def test_a_search_goes_on_from_every_line_of_its_journal(tmp_path, sampler):
    wanted = searched(tmp_path / "whole", sampler)
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
    assert len(lines) > TRIALS
    for number in range(1, len(lines)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(b"".join(lines[:number]))
        seal(folder / JOURNAL)
        assert searched(folder, sampler) == wanted, number


@pytest.mark.parametrize("name", ["EIO", "EACCES"])
@pytest.mark.parametrize("opens", ["open", "Optuna's"])
def test_a_journal_that_cannot_be_read_now_is_not_put_aside(tmp_path, monkeypatch, name, opens):
    wanted = searched(tmp_path / "s", "tpe")
    journal, number = tmp_path / "s" / JOURNAL, getattr(errno, name)
    before = journal.read_bytes()

    def refuse(path, *arguments, **options):
        if str(path) == str(journal):
            raise OSError(number, os.strerror(number), str(journal))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        if opens == "open":
            real = os.open
            patch.setattr(os, "open", refuse)
        else:
            real = open
            patch.setattr("builtins.open", refuse)
        with pytest.raises((Unreadable, OSError), match=JOURNAL):
            search_in(tmp_path / "s", "tpe")
    assert journal.read_bytes() == before
    assert [path.name for path in journal.parent.glob("*.damaged")] == []
    assert searched(tmp_path / "s", "tpe") == wanted
