"""One command in a process of its own, forked from this one, with a watch on what it does.

What it opens for writing, starts and imports is seen by an audit hook in that process, so that a
write outside its folder and code that is executed are found whether or not they leave a trace.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import cheap

LIMIT_SECONDS = 20.0  # of computing, of which a report with all of its figures takes 10
PATIENCE = 6  # so many times longer on the clock, on a busy machine
LARGE = 256 * 2**20
COMMANDS = ("train", "plan", "report", "status", "predict", "evaluate", "doctor", "export")
# Words of Python's own messages: who reads them learns nothing about the setting or the file.
RAW = re.compile(
    r"object has no attribute|unsupported operand|not subscriptable|positional argument"
    r"|unhashable type|unexpected keyword|not iterable|object is not callable|not supported between"
    r"|could not convert|invalid literal for|indices must be|codec can't|has no len\(\)"
    r"|'str' object|'int' object|'list' object|'dict' object|'NoneType'|argument must be"
    r"|list index out of range|recursion depth|too many values to unpack|not enough values|Errno"
)
CANARY = "canary"
# What Python, ourselves and the pool of processes ask the system with.
HARMLESS = ("git", "uname", "pgrep")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Args:
        code: its exit code; None if it did not end in time or was killed.
        out, err: what it printed.
        events: what it should not have done: writes outside, processes, imports of a canary.
        seconds: of computing that it took.
    """

    code: int | None
    out: str
    err: str
    events: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def wrong(self, allowed: Sequence[int]) -> str:
        """Return what is wrong with it; nothing if all is well."""
        text = self.out + self.err
        if self.code is None:
            return f"did not end within {LIMIT_SECONDS * PATIENCE:g} s, or died"
        if self.seconds > LIMIT_SECONDS:
            return f"took {self.seconds:.1f} s of computing"
        if self.events:
            return "; ".join(self.events)
        if "Traceback (most recent call last)" in text:
            return "a traceback"
        if "internal error" in text:
            return "an internal error"
        if self.code not in allowed:
            return f"exit code {self.code}, not {' or '.join(map(str, allowed))}"
        if self.code == 2 and not self.err.strip():
            return "exit code 2 without a message"
        if self.code == 2 and (raw := RAW.search(self.err)):
            return f"a message of Python's own: {raw[0]}"
        return ""


def warm_up() -> None:
    """Import what the commands need, once for all that are forked."""
    for name in (
        *(f"cli.{command}" for command in COMMANDS),
        "training.run_lifecycle",
        "training.loading",
        "training.train_and_test",
        "studies.execution.sweep",
        "studies.reporting.tensorboard_study",
    ):
        importlib.import_module(f"decoderlab.{name}")
    cheap.prepare()


def command(
    name: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    writable: Sequence[Path] = (),
    stdin: bytes = b"",
    limit: float = LIMIT_SECONDS * PATIENCE,
    figures: cheap.Figures = cheap.Figures.DRAWN,
    learn: bool = False,
) -> Outcome:
    """Run decoderlab-NAME in a folder.

    Args:
        name: of the command.
        arguments: of its command line.
        folder: where it runs; what it prints is kept beside it.
        writable: folders that it may write to; none: `folder`.
        stdin: its standard input.
        limit: seconds until it counts as hanging, and is killed.
        figures: of a report.
        learn: whether what it does is kept here, for others that are forked.
    """

    def run() -> int:
        sys.argv = [f"decoderlab-{name}", *arguments]
        try:
            importlib.import_module(f"decoderlab.cli.{name}").main()
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        return 0

    return forked(
        run,
        folder=folder,
        writable=writable or [folder],
        stdin=stdin,
        limit=limit,
        figures=figures,
        learn=learn,
    )


def forked(
    run: Callable[[], int],
    *,
    folder: Path,
    writable: Sequence[Path],
    stdin: bytes = b"",
    limit: float = LIMIT_SECONDS * PATIENCE,
    figures: cheap.Figures = cheap.Figures.DRAWN,
    learn: bool = False,
) -> Outcome:
    """Run a function in a process of its own; see `command`."""
    own = folder.parent / f".{folder.name}.printed"
    own.mkdir(exist_ok=True)
    (own / "in").write_bytes(stdin)
    sys.stdout.flush()
    sys.stderr.flush()
    deadline = time.monotonic() + limit
    with warnings.catch_warnings():  # Python warns of threads, which a test's worker has
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        cheap.in_child(figures, learn)
        _child(run, folder, own, [str(path.resolve()) for path in writable], learn)
    code, seconds = _ended(pid, deadline)
    if learn:
        cheap.learn(own / "kept")
    events = [line for line in _text(own / "events").splitlines() if line]
    return Outcome(code, _text(own / "out"), _text(own / "err"), events, seconds)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _ended(pid: int, deadline: float) -> tuple[int | None, float]:
    watched = os.pidfd_open(pid)
    ended, _, _ = select.select([watched], [], [], max(deadline - time.monotonic(), 0))
    os.close(watched)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
    return code, used.ru_utime + used.ru_stime


def _child(
    run: Callable[[], int], folder: Path, own: Path, writable: list[str], learn: bool
) -> None:
    code, before = 70, set(sys.modules) if learn else set()
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    kept = os.open(own / "kept", create)
    try:
        os.setsid()
        os.dup2(os.open(own / "in", os.O_RDONLY), 0)
        os.dup2(os.open(own / "out", create), 1)
        os.dup2(os.open(own / "err", create), 2)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        os.chdir(folder)
        sys.dont_write_bytecode = True
        _watch(os.open(own / "events", create), writable)
        code = run()
    except BaseException:
        traceback.print_exc()
    finally:
        if learn:
            os.write(kept, cheap.kept(before))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                code = 71
        os._exit(code)


def _watch(events: int, writable: list[str]) -> None:
    """Write to a descriptor what a hook of this process sees."""
    roots = [f"{path}{os.sep}" for path in (*writable, "/dev", "/proc")]

    def outside(path: object) -> bool:
        if isinstance(path, int) or path is None:
            return False
        # A link is changed where it lies; what it points to is not.
        parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))  # type: ignore[arg-type]
        text = os.path.join(os.path.realpath(parent), name, "")
        return not any(text.startswith(root) for root in roots)

    def hook(event: str, arguments: tuple) -> None:
        said = ""
        if event == "open":
            path, _, flags = arguments
            # A file without a name is opened by its folder, and is gone with its process.
            if flags & WRITES and outside(path) and not os.path.isdir(path):
                said = f"writes {path!r}"
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):
            return
        elif event in CHANGES:
            paths = arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments
            if any(outside(path) for path in paths[:2] if isinstance(path, str | bytes)):
                said = f"{event} {paths[:2]!r}"
        elif event in PROCESSES and not str(arguments[0]).endswith(HARMLESS):
            said = f"{event} {arguments[:2]!r}"
        elif event == "import" and CANARY in str(arguments[0]):
            said = f"imports {arguments[0]}"
        if said:
            os.write(events, said[:300].encode(errors="replace") + b"\n")

    sys.addaudithook(hook)


def snapshot(*folders: Path) -> dict[str, str]:
    """Return every file, link and folder below some folders with what is in it."""
    seen = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                seen[str(path)] = f"link to {os.readlink(path)}"
            elif path.is_file() and path.stat().st_size > LARGE:  # sparse
                seen[str(path)] = f"{path.stat().st_size} bytes"
            elif path.is_file():
                seen[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                seen[str(path)] = "folder" if path.is_dir() else "special"
    return seen
