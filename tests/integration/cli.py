"""The commands, in this process (quick) or in one of their own (real)."""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.cli.train import train_composed
from tests.conftest import TASKS, TINY, small

SIZES = [
    size
    for group, name in (("encoder", "lstm"), ("decoder", "repeat_vector"))
    for size in small(group, name)[1:]
]

# A decoder of somebody's own, to which a test adds what it does when it trains.
OWN_DECODER = """
import os, signal, sys, time
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import NoFeedback
from decoderlab.layers import LSTM


class Own(RecurrentDecoder):
    def __init__(self, *, target_space, encoder_shape):
        super().__init__(
            target_space=target_space,
            encoder_shape=encoder_shape,
            routes=["every_input"],
            feedback=NoFeedback,
            hidden_size=8,
            cell=LSTM,
        )
        self.calls = 0
"""


def in_process(monkeypatch, *arguments: str) -> int:
    """Run decoderlab-train here and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["decoderlab-train", *arguments])
    return guarded(lambda: with_hydra(train_composed))


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of an entry point."""
    return [sys.executable, "-m", f"decoderlab.cli.{module}", *arguments]


def start(command_line: Sequence[str], **options: object) -> subprocess.Popen:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        command_line,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def call(module: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    """Run an entry point to its end."""
    return subprocess.run(
        command(module, *arguments), input=stdin, capture_output=True, text=True, timeout=300
    )


def forked(
    module: str, *arguments: str, stdin: str = "", stderr: int | None = None
) -> subprocess.CompletedProcess:
    """Run an entry point to its end in a fork of this process, which has imported what it needs.

    It is a process of its own like that of `call`, for a tenth of the time: what it imports from a
    plug-in, or does to itself, stays there.

    Args:
        module: of the entry point.
        arguments: of its command line.
        stdin: what it reads.
        stderr: a descriptor that takes its messages; None for them to be returned.
    """
    with ExitStack() as files:
        given, out, err = (files.enter_context(TemporaryFile()) for _ in range(3))
        given.write(stdin.encode())
        given.seek(0)
        child = _fork()
        if not child:
            _end_as(module, arguments, (given.fileno(), out.fileno(), stderr or err.fileno()))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        printed, said = out.read().decode(), err.read().decode()
    return subprocess.CompletedProcess(arguments, code, printed, said)


class Forked:
    """An entry point that goes on in a fork of this process, to be used as a `Popen` of `start`.

    What it starts, the workers of a pool among it, are processes as they always are.

    Args:
        module: of the entry point.
        arguments: of its command line.
        preexec_fn: called in the fork before all else; None for nothing.
    """

    def __init__(
        self, module: str, *arguments: str, preexec_fn: Callable[[], object] | None = None
    ) -> None:
        self.args, self.returncode = arguments, None
        given, (read, write) = os.open(os.devnull, os.O_RDONLY), os.pipe()
        self.pid = _fork()
        if not self.pid:
            os.setsid()
            os.close(read)
            if preexec_fn is not None:
                preexec_fn()
            _end_as(module, arguments, (given, write, write))
        os.close(given)
        os.close(write)
        self.stdout = open(read, encoding="utf-8")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = 300) -> tuple[str, None]:
        end, read = time.monotonic() + timeout, []
        while select.select([self.stdout], [], [], max(end - time.monotonic(), 0))[0]:
            if not (part := os.read(self.stdout.fileno(), 1 << 16)):
                self.wait(max(end - time.monotonic(), 1))
                return b"".join(read).decode(), None
            read.append(part)
        raise subprocess.TimeoutExpired(self.args, timeout)

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _fork() -> int:
    with warnings.catch_warnings():  # of threads, which a worker of the tests has
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _end_as(module: str, arguments: Sequence[str], streams: Sequence[int]) -> None:
    """Make this process one of an entry point, and end it."""
    code: object = 1
    try:
        signal.alarm(600)
        gc.freeze()  # looking through all that was forked takes long
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False) for number, mode in enumerate("rww")
        )
        sys.argv = [f"decoderlab-{module}", *arguments]
        # What workers of a pool import as theirs.
        sys.modules["__main__"] = importlib.import_module(f"decoderlab.cli.{module}")
        sys.modules["__main__"].main()
        code = 0
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def tiny_arguments(output_dir: Path, *more: str) -> Sequence[str]:
    """Return the overrides of a run of seconds."""
    return (*TASKS["echo"], *TINY, *SIZES, f"run.output_dir={output_dir}", *more)


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120
) -> None:
    """Wait for something that a running process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def sweep(monkeypatch, folder: Path, *more: str, seeds: str = "0,1") -> int:
    return in_process(
        monkeypatch,
        "-m",
        *tiny_arguments(folder, "decoder=repeat_vector,luong", f"seed={seeds}", "study.name=s"),
        "hydra/launcher=basic",
        *more,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
