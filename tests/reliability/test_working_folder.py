"""Whose folder a command is given in does not matter: nothing that lies there is imported.

Who looks at a stranger's outputs, or goes on with them, stands in the stranger's folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decoderlab.cli import complete
from tests.integration.cli import tiny_arguments

CANARY = "open({path!r}, 'w').close()\nraise ImportError('a stranger is imported')\n"
PACKAGES = ("decoderlab", "loky", "numpy", "torch", "yaml", "filelock", "usercustomize")
STARTED = """
import os, subprocess, sys
from decoderlab.cli.app import guarded
from decoderlab.studies.execution.worker_start import prepare_worker

def command():
    import multiprocessing
    import loky
    kept = multiprocessing.get_context("spawn").Semaphore()  # another process cleans it up
    start = {"initializer": prepare_worker, "initargs": (None, os.getpid())}
    with loky.ProcessPoolExecutor(max_workers=1, timeout=None, **start) as pool:
        assert pool.submit(abs, -1).result() == 1
    for words in (["-c", "import json"], ["-m", "json.tool", "--help"]):
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return 0

if __name__ == "__main__":
    code = guarded(command)
    assert "PYTHONSAFEPATH" not in os.environ
    sys.exit(code)
"""
SWEEP = """
import sys
from decoderlab.cli.train import main
if __name__ == "__main__":
    main()
"""
LOOKS = """
import os
here = os.getcwd()
import decoderlab
import matplotlib
from importlib.resources import files
assert not matplotlib.rcParams["text.usetex"]
assert os.getcwd() == here
assert files("matplotlib").joinpath("mpl-data").is_dir()
"""


@pytest.fixture
def strangers(tmp_path) -> Path:
    """Return a folder with a module of every name that Python processes import first."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in (*sys.stdlib_module_names, *PACKAGES):
        (folder / f"{name}.py").write_text(CANARY.format(path=str(tmp_path / f"canary-{name}")))
    return folder


def canaries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.glob("canary*"))


def run_there(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess:
    """Run a script that lies elsewhere, as the commands of an environment do, in a folder."""
    path = folder.parent / "script.py"
    path.write_text(code)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(path), *words]
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.fault(16)
def test_no_process_that_a_command_starts_imports_what_lies_in_the_working_folder(strangers):
    done = run_there(strangers, STARTED)
    assert (done.returncode, done.stderr, canaries(strangers)) == (0, "", [])


@pytest.mark.slow
@pytest.mark.fault(16)
def test_a_sweep_imports_nothing_that_lies_in_the_working_folder(strangers):
    words = tiny_arguments(strangers / "outputs", "-m", "decoder=luong", "seed=0,1")
    done = run_there(strangers, SWEEP, *words)
    assert (done.returncode, canaries(strangers)) == (0, []), done.stderr


@pytest.mark.parametrize("content", ["text.usetex: True\n", "\x1b[2Jno_such: 1\n", None])
def test_the_looks_of_figures_are_not_those_of_the_working_folder(tmp_path, content):
    folder = tmp_path / "strangers"
    folder.mkdir()
    if content is None:
        os.mkfifo(folder / "matplotlibrc")
    else:
        (folder / "matplotlibrc").write_text(content)
    done = run_there(folder, LOOKS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NAMES = (
    "x;touch canary",
    "x&touch canary",
    "x|touch canary",
    "$(touch canary)",
    "`touch canary`",
    "${x:-$(touch canary)}",
    "x>canary",
    "x y",
    "it's",
    'a"b',
    "a!b",
    "a*",
    "a\\b",
    "\u00e9 \u6f22",
)
CONTROLS = ("x\ntouch canary", "\x1b[2J", "a\tb", "\u202eabc")


@pytest.fixture(scope="module")
def completed(tmp_path_factory) -> tuple[Path, list[str]]:
    """Complete runs of hostile names in a folder of hostile modules; return what bash makes of it.

    Each offer is put into a line, as the tab key does, and the line is executed.
    """
    folder = tmp_path_factory.mktemp("completed") / "strangers"
    for name in (*NAMES, *CONTROLS):
        (folder / "outputs/runs" / name).mkdir(parents=True)
    for name in sys.stdlib_module_names:
        text = CANARY.format(path=str(folder.parent / f"canary-{name}"))
        (folder / f"{name}.py").write_text(text)
    script = folder.parent / "complete.bash"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [complete.__file__])  # as with python -m
        script.write_text(complete.script("bash"))
    line = f"""
        source {script}
        COMP_WORDS=(decoderlab-predict outputs/runs/); COMP_CWORD=1; COMPREPLY=()
        _decoderlab_complete
        for offer in "${{COMPREPLY[@]}}"; do eval "printf '%s\\n' $offer"; done
    """
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault(17)
def test_a_name_that_is_a_command_is_completed_as_a_name(completed, name):
    folder, lines = completed
    assert f"outputs/runs/{name}" in lines
    assert [*folder.rglob("canary*"), *folder.parent.glob("canary*")] == []


@pytest.mark.fault(17)
def test_names_with_control_characters_are_not_completed(completed):
    assert len(completed[1]) == len(NAMES)
