"""Sweeps that something goes wrong with, and the undisturbed one that they are compared with."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from decoderlab.common import process
from decoderlab.common.folders import conf_dir
from decoderlab.studies.design.composed_cells import Composer
from decoderlab.studies.design.grid import grid
from decoderlab.studies.design.preparation import Planned, make_plan
from tests.conftest import TASKS, TINY
from tests.drawing import no_drawing
from tests.integration.cli import Forked, command, in_process, start
from tests.integration.disturbed import sweep
from tests.unit.studies import STUDY


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("whole")
    with no_drawing(), pytest.MonkeyPatch.context() as monkeypatch:
        assert in_process(monkeypatch, *sweep(output_dir, "basic")) == 0
    return output_dir


@pytest.fixture
def ending() -> Iterator[list[subprocess.Popen | Forked]]:
    """Processes of which nothing is left running after a test."""
    processes: list[subprocess.Popen | Forked] = []
    yield processes
    for started in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        started.stdout.close()


@pytest.fixture
def launch(ending) -> Callable[..., subprocess.Popen]:
    """Start a command; whatever comes of it, nothing is left running."""

    def make(command_line: Sequence[str], **options: object) -> subprocess.Popen:
        ending.append(start(command_line, **options))
        return ending[-1]

    return make


@pytest.fixture
def begin_anew(launch) -> Callable[..., subprocess.Popen]:
    """Start decoderlab-train in a process of its own, which has imported nothing."""
    return lambda *arguments, **options: launch(command("train", *arguments), **options)


@pytest.fixture
def begin(ending) -> Callable[..., Forked]:
    """Start decoderlab-train in a fork; whatever comes of it, nothing is left running."""

    def make(*arguments: str, **options: object) -> Forked:
        ending.append(Forked("train", *arguments, **options))
        return ending[-1]

    return make


@pytest.fixture
def here(capfd) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command in this process, which takes a tenth of the time of one of its own."""

    def run(module: str, *arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess:
        entry = importlib.import_module(f"decoderlab.cli.{module}")
        given = stdin.encode() if isinstance(stdin, str) else stdin
        typed = SimpleNamespace(buffer=io.BytesIO(given), isatty=lambda: False)
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("plan_only", "silent", "user_config_dir"):
                patch.setattr(process, name, getattr(process, name))
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(sys, "stdin", typed)
            patch.setattr(sys, "argv", [f"decoderlab-{module}", *arguments])
            with pytest.raises(SystemExit) as left:
                entry.main()
        return subprocess.CompletedProcess(arguments, left.value.code or 0, *capfd.readouterr())

    return run


PLANNED = (*TASKS["echo"], *TINY, "encoder.hidden_size=8", "decoder.hidden_size=8")


@pytest.fixture
def planned(tmp_path):
    """Plan a sweep of tiny models below a temporary folder."""

    def make(*arguments: str, **study) -> Planned:
        given = [*PLANNED, f"run.output_dir={tmp_path}", "study.name=s", *arguments]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration("train", ["+x=1,2"], run_mode=RunMode.MULTIRUN)
            compose = Composer(loader, master)
            return make_plan(grid(replace(STUDY, **study), {}, given, compose.parse), compose)

    return make


@pytest.fixture
def there(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Return a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    process.user_config_dir = None
