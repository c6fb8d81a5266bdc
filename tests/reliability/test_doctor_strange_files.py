"""decoderlab-doctor among links, pipes, hostile names and what is none of ours."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from decoderlab.cli.doctor import look
from decoderlab.common.errors import ConfigError
from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import RunConfig
from decoderlab.records import findings as looks
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design import examination
from tests.reliability.examining import contents, doctor, events, incomplete, run_in, unfinished

# Where a link is put, and what it leads to in a folder that is somebody else's.
OUTWARD: dict[str, tuple[str, str]] = {
    "runs": ("runs", "runs"),
    "studies": ("studies", "studies"),
    "a run": ("runs/linked", "runs/other"),
    "a study": ("studies/linked", "studies/s"),
    "a part of a study": ("studies/s/figures", "runs"),
    "a plan": ("studies/s/plan.json", "studies/s/plan.json"),
    "checkpoints": ("runs/RUN/checkpoints", "runs/other/checkpoints"),
    "a status": ("runs/RUN/status.json", "runs/other/status.json"),
    "a lock": ("runs/RUN/.lock", "runs/other/.lock"),
    "events": ("runs/RUN/tensorboard", "runs/other"),
    "deep down": ("runs/RUN/wandb/a/b", "runs/other"),
    "to nothing": ("runs/RUN/result.json", "nothing"),
}


@pytest.mark.fault(56)
@pytest.mark.parametrize("case", OUTWARD)
def test_no_link_is_followed(capsys, outputs, tmp_path, dead, case, monkeypatch):
    name, target = OUTWARD[case]
    theirs = tmp_path / "theirs"
    other = theirs / "runs" / "other"
    (other / "checkpoints").mkdir(parents=True)
    (theirs / "studies" / "s").mkdir(parents=True)
    for litter in (
        other / incomplete("notes", dead),
        other / "checkpoints" / "step-000000003.ckpt.sha256",
        theirs / "studies" / "s" / incomplete("plan.json", dead),
        theirs / "studies" / "s" / "plan.json",
        other / ".lock",
    ):
        litter.write_text("{}")
    (other / "status.json").write_text('{"status": "RUNNING"}')
    before = {path: path.stat().st_mtime_ns for path in theirs.rglob("*")}
    link = outputs / name.replace("RUN", run_in(outputs).path.name)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(theirs / target)
    opened = watch_opened(monkeypatch, theirs)
    code, findings = doctor(capsys, outputs, fix=True)
    assert code == 1
    assert any(finding["path"] == str(link) for finding in findings)
    assert opened == []
    assert {path: path.stat().st_mtime_ns for path in theirs.rglob("*")} == before
    assert link.is_symlink()


def watch_opened(monkeypatch, folder: Path) -> list[str]:
    """Return a list that what is opened below a folder is added to."""
    opened: list[str] = []
    real = os.open

    def watching(path, *arguments, **named):
        if os.path.realpath(path).startswith(str(folder)):
            opened.append(str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", watching)
    return opened


def test_a_link_that_comes_between_looking_and_mending_is_not_followed(outputs, tmp_path, dead):
    run = run_in(outputs)
    (run.path / incomplete("a", dead)).write_text("x")
    (finding,) = examination.examine(outputs).findings
    moved = tmp_path / "moved"
    shutil.move(run.path, moved)
    run.path.symlink_to(moved)
    before = contents(moved)
    with pytest.raises(ValueError, match="leads out of"):
        finding.mend()
    assert contents(moved) == before


def test_what_is_not_surely_ours_and_dead_is_no_litter(capsys, outputs, dead):
    run, study = run_in(outputs), outputs / "studies" / "s"
    names = [".x.tmp", ".tmp", ".notes.7.tmp", "a.tmp", incomplete("plan.json", os.getpid())]
    names += [incomplete("x", dead).removeprefix("."), "mydata.tar.sha256", "a.ckpt.sha256"]
    for folder in (run.path, run.checkpoints, study, study.parent):
        for name in names:
            (folder / name).write_text("x")
        for name in (incomplete("folder", dead), "step-000000001.ckpt.sha256"):
            (folder / name).mkdir()
    before = contents(outputs)
    assert doctor(capsys, outputs, fix=True) == (0, [])
    foreign = run.path / incomplete("a", dead, "elsewhere")
    foreign.write_text("x")
    code, (note,) = doctor(capsys, outputs, fix=True)
    assert (code, note["note"], note["fixed"]) == (0, True, False)
    assert "was started by a process of elsewhere" in note["what"]
    foreign.unlink()
    assert contents(outputs) == before


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def socket_at(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # a path of a socket must be short
        one.bind(path.name)
        os.chdir(here)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(looks.HEAD.pack(2**40, looks.masked_crc32c((2**40).to_bytes(8, "little"))))
        file.truncate(20 * 2**30)


@pytest.mark.parametrize("harm", [pipe, socket_at, sparse])
@pytest.mark.parametrize("where", ["events", "log", "status", "lock", "plan", "configs", "step"])
def test_no_file_is_waited_for_or_read_without_end(capsys, outputs, harm, where):
    run, study = run_in(outputs), outputs / "studies" / "s"
    if where == "step":
        unfinished(run, "INTERRUPTED")
    path = {
        "events": events(run),
        "log": run.log,
        "status": run.status_file,
        "lock": run.path / ".lock",
        "plan": study / "plan.json",
        "configs": study / "configs.jsonl",
        "step": run.resume_checkpoints()[0],
    }[where]
    harm(path)
    code, findings = doctor(capsys, outputs, fix=True)
    said = [
        finding for finding in findings if str(path) in (finding["path"], *finding["what"].split())
    ]
    unread = where in ("log", "lock") and harm is sparse
    assert bool(said) == (not unread and where != "log" and (where != "step" or harm is sparse))
    assert code == int(any(not finding["note"] and not finding["fixed"] for finding in findings))


@pytest.mark.parametrize("name", ["\x1b[31mred", "-rf", " a", "x/../x/ b", "."])
def test_a_name_that_is_none_is_a_finding_and_no_end(capsys, outputs, name):
    (outputs / "studies" / name).mkdir(parents=True, exist_ok=True)
    (outputs / "studies" / name / "plan.json").write_text("{}")
    (run_in(outputs).path / "result.json").unlink()
    code, findings = doctor(capsys, outputs)
    assert code == 1
    texts = [f"{finding['path']} {finding['what']}" for finding in findings]
    assert any("plan.json the name of a study is" in text for text in texts)
    assert any("result.json is missing" in text for text in texts)


@pytest.mark.parametrize("logger", [[1], {"a": 1}, "x", 3, {"a": {"_target_": [1]}}])
def test_a_config_whose_loggers_are_none_is_no_config_of_a_run(logger):
    with pytest.raises(ConfigError, match="logger"):
        RunConfig.from_dict(compose_config([]).to_dict() | {"logger": logger})


def test_what_cannot_be_looked_through_does_not_keep_the_rest(capsys, outputs, monkeypatch):
    shutil.copytree(run_in(outputs).path, outputs / "runs" / "copy")
    real = RunFolder.recorded_status

    def failing(self):
        if self.path.name == "copy":
            raise RecursionError("too deep")
        return real(self)

    monkeypatch.setattr(RunFolder, "recorded_status", failing)
    code, findings = doctor(capsys, outputs)
    assert code == 1
    assert "cannot be checked: RecursionError: too deep" in findings[0]["what"]


@pytest.mark.fault(62)
def test_a_name_does_not_act_on_the_terminal(capsys, outputs):
    (outputs / "runs" / "a\x1b[31m[bold]\nb").mkdir()
    (outputs / "runs" / "c\x1b]0;d").write_text("")
    assert look(outputs, fix=False, as_json=False) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "c\\x1b]0;d is not a folder of a run" in printed
