"""What an outputs, working or home folder holds: nothing is executed, written through, or lost."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from decoderlab.cli import schema
from decoderlab.cli.complete import install_completion
from decoderlab.common.errors import ConfigError
from decoderlab.common.lean_imports import in_root_folder
from decoderlab.records.metrics_file import MetricsFile
from decoderlab.records.run_folder import RunFolder, lock_held, unshare, write_json
from decoderlab.studies.execution import launchers
from decoderlab.training.prepared_run import check_writable
from tests.conftest import TASKS, TINY, composed, prepare, run, small
from tests.integration.cli import forked

TEXT = b"somebody's own text\n"


def add_to_log(folder: RunFolder) -> None:
    with folder.open_log() as log:
        log.write("more\n")


def add_metrics(folder: RunFolder) -> None:
    file = MetricsFile(folder.metrics, len(TEXT))
    file.write({"step": 1})
    file.close()


def lock_study(folder: RunFolder) -> None:
    with lock_held(folder.path / ".lock"):
        pass


WRITERS = {
    "log.txt": add_to_log,
    "metrics.jsonl": add_metrics,
    "status.json": lambda folder: folder.set_status("FAILED"),
}
LOCKERS = {
    "a run": lambda folder: folder.lock().acquire().lock.release(),
    "a study": lock_study,
}
LOOKERS = {
    "a run": lambda folder: folder.locked(),
    "a status": lambda folder: folder.status(),
}


def linked(folder: RunFolder, name: str) -> Path:
    """Give a file another name, outside of the folder, and return that."""
    folder.path.mkdir(exist_ok=True)
    (elsewhere := folder.path.parent / "elsewhere").write_bytes(TEXT)
    (folder.path / name).hardlink_to(elsewhere)
    return elsewhere


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_added_to_a_hard_link_stays_in_the_folder(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    elsewhere = linked(folder, name)
    WRITERS[name](folder)
    assert elsewhere.read_bytes() == TEXT
    written = (folder.path / name).read_bytes()
    assert written != TEXT
    assert written.startswith(TEXT) or name == "status.json"


@pytest.mark.parametrize("who", LOCKERS)
def test_a_lock_that_is_a_hard_link_is_made_anew(tmp_path, who):
    folder = RunFolder(tmp_path / "run")
    elsewhere = linked(folder, ".lock")
    LOCKERS[who](folder)
    assert elsewhere.read_bytes() == TEXT
    assert elsewhere.stat().st_nlink == 1


@pytest.mark.parametrize("who", LOOKERS)
def test_who_looks_at_a_lock_leaves_it_as_it_is(tmp_path, who):
    folder = RunFolder(tmp_path / "run")
    elsewhere = linked(folder, ".lock")
    write_json(folder.status_file, {"status": "RUNNING"})
    LOOKERS[who](folder)
    assert elsewhere.read_bytes() == TEXT
    assert elsewhere.stat().st_nlink == 2
    assert not folder.locked()
    with FileLock(folder.path / ".lock"):
        assert folder.locked()


def test_a_lock_with_two_names_that_is_held_stays(tmp_path):
    lock = tmp_path / ".lock"
    with FileLock(lock):
        (tmp_path / "copy").hardlink_to(lock)
        unshare(lock, lock=True)
        assert lock.samefile(tmp_path / "copy")


def test_a_journal_that_is_a_hard_link_is_copied(tmp_path):
    optuna = pytest.importorskip("optuna")
    from decoderlab.studies.execution.journal import open_journal, seal

    path, copy = tmp_path / "optuna.journal", tmp_path / "copy"
    optuna.create_study(storage=open_journal(path), study_name="s")
    seal(path)
    copy.hardlink_to(path)
    before = copy.read_bytes()
    optuna.create_study(storage=open_journal(path), study_name="t")
    assert copy.read_bytes() == before
    assert path.read_bytes().startswith(before)
    assert path.read_bytes() != before


@pytest.fixture
def jobs():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from decoderlab.studies.execution import submitit_jobs

    return submitit_jobs


def test_a_job_reads_no_pickle_that_was_there_before(jobs, tmp_path, monkeypatch):
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher
    from submitit.core.utils import JobPaths

    canary = tmp_path / "executed"

    class Code:
        def __reduce__(self):
            return Path.touch, (canary,)

    old = JobPaths(tmp_path / "outputs" / ".submitit" / "%j", "17")
    old.folder.mkdir(parents=True)
    old.result_pickle.write_bytes(pickle.dumps(("success", Code())))
    old.submitted_pickle.write_bytes(old.result_pickle.read_bytes())
    monkeypatch.chdir(tmp_path)
    launcher = LocalLauncher(submitit_folder="outputs/.submitit/%j")
    folders = set()
    for _ in range(2):
        with jobs.all_awaited(launcher):
            new = JobPaths(launcher.params["submitit_folder"], "17")
        assert not new.folder.exists()
        assert new.folder.is_relative_to(tmp_path / "outputs" / ".submitit")
        folders.add(new.folder)
    assert len(folders) == 2
    assert len({folder.parent.parent for folder in folders}) == 1  # not one in the other
    assert not canary.exists()


def test_jobs_are_not_written_behind_a_link(jobs, tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / ".submitit").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads out"):
        jobs.fresh_folder(str(tmp_path / "outputs" / ".submitit" / "%j"))


def test_ray_is_started_where_nobody_puts_files(monkeypatch, tmp_path):
    util = pytest.importorskip("hydra_plugins.hydra_ray_launcher._launcher_util")
    seen = []
    monkeypatch.setattr(util, "start_ray", lambda init: seen.append((init, Path.cwd())))
    monkeypatch.chdir(tmp_path)
    kind = type("RayLauncher", (), {"__module__": "hydra_plugins.hydra_ray_launcher.x"})
    launcher = kind()
    launcher.ray_cfg = SimpleNamespace(init="as set")
    launchers._begin_ray(launcher)
    launchers._begin_ray(SimpleNamespace())
    assert seen == [("as set", Path("/"))]
    assert Path.cwd() == tmp_path
    with pytest.raises(KeyError), in_root_folder():
        raise KeyError
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("before", [b"", b"export A=1", b"A=\xff\n"])
def test_a_shells_own_file_is_added_to_and_never_written_anew(tmp_path, before):
    start = tmp_path / ".bashrc"
    start.write_bytes(before)
    inode = start.stat().st_ino
    for _ in range(2):
        install_completion("bash", tmp_path)
    after = start.read_bytes()
    assert start.stat().st_ino == inode
    assert after.startswith(before)
    assert after.count(b"decoderlab-complete") == 1
    assert after.splitlines()[: len(before.splitlines())] == before.splitlines()


@pytest.mark.parametrize("what", ["study.json", "vscode.json", "a folder", "a YAML"])
def test_schemas_are_written_through_no_link(tmp_path, monkeypatch, capsys, what):
    elsewhere, yaml = tmp_path / "elsewhere", tmp_path / "my/study/mine.yaml"
    elsewhere.mkdir()
    yaml.parent.mkdir(parents=True)
    (theirs := elsewhere / "theirs.yaml").write_bytes(TEXT)
    monkeypatch.chdir(tmp_path / "my")
    if what == "a YAML":
        yaml.symlink_to(theirs)
    else:
        yaml.write_text("study: {}\n")
        (tmp_path / "my/schemas").mkdir()
        (tmp_path / "my/schemas" / what).symlink_to(theirs)
    command = ["decoderlab-schema", "--to", "schemas", "study/mine.yaml"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as left:
        schema.main()
    assert left.value.code == (0 if what == "a folder" else 2)
    assert ("link" in capsys.readouterr().err) == (what != "a folder")
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [TEXT]


@pytest.mark.parametrize("link", ["diagrams", "the file"])
def test_a_diagram_is_written_through_no_link(tmp_path, monkeypatch, link):
    outputs, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    outputs.mkdir()
    elsewhere.mkdir()
    arguments = ["plan", f"run.output_dir={outputs}", "--diagram", *TINY]
    if link == "diagrams":
        (outputs / "diagrams").symlink_to(elsewhere)
        assert forked(*arguments).returncode == 2
    else:
        assert forked(*arguments).returncode == 0
        (made,) = (outputs / "diagrams").iterdir()
        made.unlink()
        made.symlink_to(elsewhere / "x.svg")
        assert forked(*arguments).returncode == 2
    assert list(elsewhere.iterdir()) == []


WORDS = [[], ["bash"], ["bash", "x", "y"], ["bash", "-5", "a", "b"], ["bash", "9" * 8, "a"]]
WORDS += [["csh", "1", "a"], ["bash", "3", "decoderlab-status", "--output-dir", "~nobody-x", "m"]]


def test_what_completes_never_fails():
    code = "import sys\nfrom decoderlab.cli.complete import main\n"
    code += f"for words in {WORDS!r}:\n    sys.argv[1:] = ['--words', *words]\n    main()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "home"), [(["bash"], "/"), (["--install", "bash"], "/dev/x")]
)
def test_completion_that_cannot_be_written_is_one_message(arguments, home):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "decoderlab.cli.complete", *arguments],
            env=os.environ | {"HOME": home},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1


YAMLS = {
    "no text": lambda path: path.write_bytes(b"\xff\xfe x: 1"),
    "a pipe": os.mkfifo,
    "code": lambda path: path.write_text("x: !!python/object/apply:os.getcwd []"),
    "deep": lambda path: path.write_text("x: " + "[" * 5000),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", YAMLS)
def test_schemas_of_a_yaml_that_is_none_are_one_message(tmp_path, kind):
    (tmp_path / "task").mkdir()
    YAMLS[kind](path := tmp_path / "task" / "mine.yaml")
    done = forked("schema", "--config-dir", str(tmp_path), "--to", str(tmp_path / "to"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "to").exists()


def test_the_line_of_editors_is_refused_in_what_is_no_text(tmp_path):
    (tmp_path / "decoder").mkdir()
    (path := tmp_path / "decoder" / "mine.yaml").write_bytes(b"x: \xff\n")
    done = forked("schema", "--to", str(tmp_path / "to"), str(path))
    assert done.returncode == 1
    assert f"{path} is not UTF-8" in done.stderr
    assert path.read_bytes() == b"x: \xff\n"


@pytest.fixture(scope="module")
def attending(tmp_path_factory):
    """Return the folder of a run with attention."""
    settings = (*TASKS["echo"], *TINY, *small("encoder", "lstm"), *small("decoder", "luong"))
    out = tmp_path_factory.mktemp("attending")
    config = composed(*settings, "training.max_steps=1", f"run.output_dir={out}")
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED"
    return str(prepared.folder.path)


@pytest.mark.parametrize("number", ["0", "-1", "9" * 20])
def test_an_example_that_is_not_there_is_named(attending, number):
    done = forked("predict", attending, "--picture", "x.png", "--example", number, stdin="1 2\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"--example is {number}, but there is no line" in done.stderr


@pytest.mark.parametrize("part", ["runs", "studies", "studies/s"])
def test_a_link_that_leads_out_is_not_tried_by_writing_there(tmp_path, monkeypatch, part):
    outputs, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (outputs / part).parent.mkdir(parents=True)
    (outputs / part).symlink_to(elsewhere)
    tried: list[Path] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: tried.append(dir))
    with pytest.raises(ConfigError, match="leads out of .*nothing is read or written there"):
        check_writable(outputs, [part])
    assert tried == []
