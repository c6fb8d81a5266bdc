"""State of this process beside its config, and how it ends.

Kept separate from the Hydra plug-in that uses it: Hydra executes plug-in modules a second time when
it scans for them, which would forget it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import gc
import io
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from decoderlab.common.errors import LaunchError
from decoderlab.common.torch_settings import check_torch

P = ParamSpec("P")
R = TypeVar("R")

# The YAMLs of conf/hydra/launcher are named as the launchers' own schemas, so Hydra checks them
# against those, and says in each of their processes that it will not do so for ever.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against")

# The user's own --config-dir, set before Hydra starts.
user_config_dir: str | None = None
# The exit code of the sweep that this process ran; Hydra drops what a sweeper returns.
sweep_exit_code: int | None = None
# Whether another process speaks for this process: the first rank of several.
silent = False
# Whether a run has changed what a user's modules and classes share: the next one would differ.
stale = False
# Whether sweeps are planned and shown only (decoderlab-plan), and whether that is shown as JSON.
plan_only = False
plan_as_json = False

# The SIGINTs that came within `telling_interrupts`.
_interrupts: list[int] = []

LOOK_SECONDS = 0.1
# For a run whose parent has died, to save what it has.
ORPHAN_SECONDS = 1.5
PR_SET_PDEATHSIG = 1  # of Linux
SAFE_PATH = "PYTHONSAFEPATH"  # of Python
TRAINER_VARIABLES = "PL_TRAINER_"  # of Lightning: an argument of its Trainer each
# By these, libraries compute float32 in another precision, with the values that change nothing.
# They are read when torch is imported, or at the first product.
PRECISION_VARIABLES = {
    "DNNL_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "NVIDIA_TF32_OVERRIDE": ("",),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("", "0"),
}


class ProcessExit(RuntimeError):
    """Code of a run wanted to end the whole process."""


class _Unread(io.FileIO):
    """What is written to a standard stream, dropped once that takes nothing any more.

    Args:
        number: of the stream.
        errors: of the system's after which nothing is written; all if there are none.
        stream: which it stands for, and which would be closed if nobody kept it.
    """

    def __init__(self, number: int, errors: tuple[int, ...], stream: Any) -> None:
        super().__init__(number, "w", closefd=False)
        self._errors, self._stream = errors, stream

    def write(self, data: Any, /) -> int:
        """Write bytes; return how many there were."""
        try:
            return super().write(data)
        except OSError as error:
            if self._errors and error.errno not in self._errors:
                raise
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())  # for what is not Python's too
            os.close(nothing)
            return memoryview(data).nbytes


def _lenient(stream: Any, number: int, *errors: int) -> Any:
    """Return a stream that drops what cannot be written; the same stream if it is another's."""
    try:
        raw = getattr(stream.buffer, "raw", stream.buffer)
        if stream.fileno() != number or isinstance(raw, _Unread):
            return stream
    except (OSError, ValueError, AttributeError):  # of a test or a notebook
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unread(number, errors, stream)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


# Whoever trains, or draws outputs, has the random numbers of the process to itself.
_turn = threading.RLock()


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """Have the threads of this process take turns in a function, and in all such functions.

    Raises:
        ConfigError: where torch does not compute as every run does; it is called by nobody then.
    """

    @functools.wraps(function)
    def in_turn(*args: P.args, **kwargs: P.kwargs) -> R:
        with _turn:
            check_torch()
            return function(*args, **kwargs)

    return in_turn


def _take_the_turn() -> None:
    """Begin anew in a forked process, whose other threads are gone."""
    global _turn
    _turn = threading.RLock()


os.register_at_fork(after_in_child=_take_the_turn)


# What is frozen when Python ends is never freed: Triton, which comes with torch for GPUs, prints
# pages of it as leaks.
atexit.register(gc.unfreeze)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Search for no garbage in what follows, which makes many objects that stay.

    Importing torch, parsing source and reading examples spend a third of their time on it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def printing_to_anybody() -> Iterator[None]:
    """Go on where nobody reads standard output any more: `| head` has ended, or a terminal."""
    before = sys.stdout
    sys.stdout = _lenient(before, 1, errno.EPIPE, errno.EIO)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


def open_streams() -> None:
    """Open standard streams that the process was started without, on the null device.

    What is said on standard error is dropped where that takes nothing any more: no run ends, or
    fails, because whoever read its messages is gone.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)  # of that number, the lowest that is free
            os.set_inheritable(nothing, True)  # workers want one too
            setattr(sys, name, os.fdopen(nothing, "r" if name == "stdin" else "w"))
    sys.stderr = _lenient(sys.stderr, 2)


def ask_for_sigterm() -> None:
    """Get a SIGTERM when the parent of this process dies; Linux alone does that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_parent(parent: int) -> None:
    """Let this process end when its parent is gone; it has a moment to save.

    Args:
        parent: its id.
    """
    ask_for_sigterm()  # at once, even if no thread of Python's gets to run
    threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def without_trainer_variables() -> Iterator[list[str]]:
    """Keep Lightning's Trainer from taking arguments from the environment; yield their names.

    A run's arguments are those of its config, which names the run and is recorded.

    Raises:
        LaunchError: for a precision that is taken from there, which cannot be undone here.
    """
    if names := precision_variables():
        raise LaunchError(
            f"{', '.join(names)} is set in the environment, so that float32 is computed in another "
            "precision than the run says; unset it before Python starts (a run has "
            "training.precision)"
        )
    names = sorted(name for name in os.environ if name.startswith(TRAINER_VARIABLES))
    taken = {name: os.environ.pop(name) for name in names}
    try:
        yield names
    finally:
        os.environ.update(taken)


def precision_variables() -> list[str]:
    """Return the variables of the environment by which float32 is computed in another precision."""
    return [
        name for name, none in PRECISION_VARIABLES.items() if os.environ.get(name, "") not in none
    ]


def drop_precision_variables() -> list[str]:
    """Let the environment say nothing of the precision, before torch asks; return the names."""
    names = precision_variables()
    for name in names:
        del os.environ[name]
    return names


@contextlib.contextmanager
def without_own_folder() -> Iterator[None]:
    """Keep Python processes that are started from importing what lies in the working directory.

    That may be somebody else's, whose outputs a command looks at or goes on with. Workers, and
    what keeps their semaphores, are started by `python -c` and `-m`, which look there first. What
    is on this process's own path reaches its workers all the same.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = before or "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before


@contextlib.contextmanager
def telling_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for a plain error that follows a SIGINT, and what an error hides.

    C code that is interrupted may clear the KeyboardInterrupt, and raise an error of its own, or
    leave a module half imported, which others then miss something of.
    """
    _interrupts.clear()

    def interrupt(signum: int, frame: Any) -> None:
        _interrupts.append(signum)
        signal.default_int_handler(signum, frame)

    is_main = threading.current_thread() is threading.main_thread()
    watched = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if watched:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if hidden := hidden_interrupt(error):
            raise hidden from None
        own = type(error).__module__ != "builtins" or isinstance(error, OSError)
        if _interrupts and not own:
            raise KeyboardInterrupt from error
        raise
    finally:
        if watched and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if a SIGINT came within `telling_interrupts`.

    Where Hydra composes a config to see whether it is a sweep, it passes over whatever goes wrong,
    an error that hides an interrupt too.
    """
    if _interrupts:
        raise KeyboardInterrupt


def hidden_interrupt(error: BaseException) -> BaseException | None:
    """Return the interrupt while which an error was raised; None if there was none.

    Code that puts things right on its way out may fail at what it had half done: OmegaConf's lists
    hold a None while an item is being set. Its error then stands in place of the interrupt.
    """
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        if not isinstance(now, Exception | GeneratorExit | SystemExit):
            return now
        seen.add(id(now))
        now = now.__cause__ or now.__context__
    return None


def host_name() -> str:
    """Return this machine's name, as the names of incomplete files have it."""
    return socket.gethostname().replace(".", "-")[:64]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
        # One that has ended stays listed until its parent asks for its exit code.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no /proc; no id at all
        return True


@contextlib.contextmanager
def without_exits() -> Iterator[None]:
    """Keep code of a run from ending this process with exit code 0.

    `os._exit` and `os.exec...` raise ProcessExit instead, but in child processes. (What C code does
    cannot be kept: such a run counts as killed.)
    """
    names = ("_exit", "execv", "execve")
    own, real = os.getpid(), {name: getattr(os, name) for name in names}
    inside = True

    def replaced(name: str) -> Any:
        def refuse(*arguments: Any) -> Any:
            if not inside or os.getpid() != own:
                return real[name](*arguments)
            shown = ", ".join(map(repr, arguments))
            raise ProcessExit(f"os.{name}({shown}) was called; a run must not end the process")

        return refuse

    modules = [os, sys.modules[os.name]] if os.name in sys.modules else [os]  # posix
    for name in names:
        for module in modules:
            setattr(module, name, replaced(name))
    try:
        yield
    finally:
        inside = False
        for name in names:
            for module in modules:
                setattr(module, name, real[name])
