"""The journal of a search is put right after whatever a process that died left in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from decoderlab.studies.execution import journal
from decoderlab.studies.execution.journal import held, journaled, open_journal, seal

optuna = pytest.importorskip("optuna")


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "optuna.journal"
    study = optuna.create_study(storage=open_journal(path), study_name="s")
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for number in range(3):
        study.tell(study.ask(space).number, float(number))
    seal(path)
    return path


def trials(storage) -> list:
    names = optuna.get_all_study_names(storage)
    if not names:
        return []
    study = optuna.load_study(storage=storage, study_name=names[0])
    return [(trial.number, trial.params, trial.value) for trial in study.get_trials()]


@pytest.mark.fault(48)
def test_a_lock_that_a_dead_process_left_is_removed(path, capfd):
    before = trials(open_journal(path))
    path.with_name("optuna.journal.lock").symlink_to(path)
    assert trials(open_journal(path)) == before
    assert "optuna.journal.lock was left by a process that has ended" in capfd.readouterr().err
    assert not path.with_name("optuna.journal.lock").is_symlink()


@pytest.mark.parametrize("left", [1, 20, -1])
@pytest.mark.fault(36)
def test_a_line_that_was_cut_off_is_dropped_and_the_next_is_whole(path, capfd, left):
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole + last[:left])
    storage = open_journal(path)
    assert path.read_bytes() == whole
    assert "was cut off by a process that died" in capfd.readouterr().err
    study = optuna.load_study(storage=storage, study_name="s")
    study.tell(study.ask().number, 9.0)
    assert trials(open_journal(path))[-1][2] == 9.0


DAMAGES = {
    "no JSON": lambda text: text.replace(b"{", b"[", 1),
    "zeros": lambda text: bytes(100) + b"\n" + text[101:],
    "another list": lambda text: b"[1, 2]\n" + text,
    "another record": lambda text: b'{"a": 1}\n' + text,
    "the last line": lambda text: text + b"garbage\n",
    "not text": lambda text: b"\xff\xfe\x80\n" + text,
    "an unknown operation": lambda text: text.replace(b'"op_code":4', b'"op_code":99'),
}


def _digit(text: bytes, before: bytes) -> bytes:
    """Return a journal with another digit where a number begins."""
    at = text.rindex(before) + len(before)
    return text[:at] + (b"1" if text[at : at + 1] != b"1" else b"2") + text[at + 1 :]


# Each is a journal that Optuna takes for whole.
EDITS = {
    "another value of a trial": lambda text: _digit(text, b'"values":['),
    "another setting of a trial": lambda text: _digit(text, b'"param_value_internal":0.'),
    "a trial that is there twice": lambda text: text.replace(
        (trial := next(line for line in text.splitlines(True) if b'"op_code":4' in line)), trial * 2
    ),
    "a trial that is gone": lambda text: b"".join(text.splitlines(True)[:-3]),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.fault(54)
def test_an_edited_journal_is_put_aside(path, capfd, edit):
    before, edited = trials(open_journal(path)), EDITS[edit](path.read_bytes())
    path.write_bytes(edited)
    assert trials(journal._opened(path)) != before
    assert trials(open_journal(path)) == []
    assert "does not begin as it was written" in " ".join(capfd.readouterr().err.split())
    assert path.with_name("optuna.journal.damaged").read_bytes() == edited


@pytest.mark.parametrize("harm", [Path.unlink, lambda seal: seal.write_text("{}")])
@pytest.mark.fault(54)
def test_a_journal_without_its_seal_is_put_aside(path, harm):
    harm(path.with_name("optuna.journal.seal.json"))
    assert trials(open_journal(path)) == []


@pytest.mark.fault(36)
def test_what_is_added_under_the_lock_is_sealed_and_what_a_killed_process_added_counts(path):
    with journaled(FileLock(path.with_name(".lock")), path):
        study = optuna.load_study(storage=open_journal(path), study_name="s")
        study.tell(study.ask().number, 7.0)
    study.tell(study.ask().number, 8.0)  # and killed before it was sealed
    assert [value for _, _, value in trials(open_journal(path))][-2:] == [7.0, 8.0]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.fault(54)
def test_a_damaged_journal_is_put_aside_and_begun_anew(path, capfd, damage):
    damaged = DAMAGES[damage](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert trials(open_journal(path)) == []
    said = capfd.readouterr().err
    assert "is damaged" in said
    assert "the search starts again" in " ".join(said.split())
    assert path.with_name("optuna.journal.damaged").read_bytes() == damaged


def _sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(3 * 2**30)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _long_line(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + 40 * 2**20)


@pytest.mark.parametrize("harm", [_sparse, _pipe, _folder, _long_line])
@pytest.mark.fault(54)
def test_a_journal_that_is_no_file_or_has_no_end_is_put_aside(path, capfd, harm):
    harm(path)
    damaged = path.with_name("optuna.journal.damaged")
    damaged.mkdir()
    link = path.with_name("optuna.journal.lock")
    link.mkdir()
    assert trials(open_journal(path)) == []
    assert "is damaged" in capfd.readouterr().err
    assert path.is_file()
    assert damaged.exists()


@pytest.mark.fault(47, 48)
def test_whoever_waits_for_another_launch_says_so(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(journal, "SAY_AFTER_SECONDS", 0.1)
    holder, entered = FileLock(tmp_path / ".lock"), threading.Event()

    def wait() -> None:
        with held(FileLock(tmp_path / ".lock", thread_local=False)):
            entered.set()

    waiting = threading.Thread(target=wait)
    with holder:
        waiting.start()
        waiting.join(0.5)
        assert not entered.is_set()
    waiting.join(10)
    assert entered.is_set()
    assert "another launch is using the search of" in capfd.readouterr().err
