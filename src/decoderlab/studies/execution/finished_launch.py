"""A launch that finds everything as an earlier launch left it: its report is shown again.

To check every run and to draw every figure anew takes many times as long as to see that nothing has
changed. A launch that ends with every run finished leaves `launch.json` beside its report: what it
depended on, and what it printed. The next one prints that, without importing torch, if all of this
is as it was:

* what was asked for: the composed config, the words of the command line, the working directory;
* the code and configs of this package, the user's own YAMLs, the names and versions of what is
  installed, Python and the machine;
* the contents of the study's folder, its report and its tuning among them;
* all files of its runs, and those that settings name, such as data: by inode, size and times.

Nothing is left, so that every launch plans anew, where a class of the user's own is named, which
may read anything; where a config asks for a variable of the environment; where a trial failed.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from decoderlab.common import process
from decoderlab.common.bounded_reading import read_json
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.folders import conf_dir
from decoderlab.common.progress import say
from decoderlab.config.named_files import files_in
from decoderlab.config.run_identity import classes_in, digest_of, sorted_json
from decoderlab.config.study_settings import TUNING
from decoderlab.records.run_folder import INCOMPLETE, sealed, write_json
from decoderlab.studies.design.plan_file import read_plan, study_folder
from decoderlab.studies.reporting.terminal_text import TerminalReport

if TYPE_CHECKING:
    from decoderlab.studies.design.preparation import Planned
    from decoderlab.studies.reporting.build import Report

LAUNCH = "launch.json"
LOCK = ".lock"
PACKAGE = Path(__file__).parents[2]
CODE = (".yaml", *all_suffixes())
INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")
OF_ENVIRONMENT = "oc.env"
State = list[Any]


@dataclass(frozen=True)
class LaunchInputs:
    """The files that a launch and its report were made of, and those of the report.

    Args:
        study: its name; its tuning lies in its folder.
        runs: folders of all runs, of the tuning too, below the output folder.
        files: that settings name, such as data.
    """

    study: str
    runs: Sequence[str]
    files: Sequence[str]

    @classmethod
    def of(cls, planned: Planned) -> LaunchInputs | None:
        """Return those of a plan; None where a class of the user's own is named."""
        from decoderlab.config.code_identity import own_name
        from decoderlab.config.foreign_modules import VERSIONED

        plans, name = [planned.plan], planned.plan.name
        if planned.plan.tuning is not None:
            plans.append(read_plan(planned.output_dir, f"{name}{TUNING}"))
        settings = {
            sorted_json(part): part
            for config in planned.configs.values()
            for part in config.scientific().values()
        }
        kinds = {kind for config in planned.configs.values() for kind in classes_in(config)}
        if not all(own_name(kind) or kind.__module__.split(".")[0] in VERSIONED for kind in kinds):
            return None
        return cls(
            study=name,
            runs=[cell.folder for plan in plans for cell in plan.cells],
            files=sorted({state[0] for state in files_in([*settings.values()])}),
        )

    def state_of_runs(self, output_dir: Path) -> list[State]:
        """Return the state of all files of the runs, and of those that settings name.

        The folders that the latter lie in count too: they change as files come and go.

        Args:
            output_dir: as in `run.output_dir`.
        """
        below = [path for run in self.runs for path in _files_below(output_dir / run)]
        named = {path for file in self.files for path in (Path(file), Path(file).parent)}
        return [[str(path), *_state(path)] for path in (*below, *sorted(named))]

    def state(self, output_dir: Path) -> str | None:
        """Return the sha256 of all this; None where something of a study cannot be read.

        Args:
            output_dir: as in `run.output_dir`.
        """
        try:
            paths = _files_below(study_folder(output_dir, self.study))
            contents = [[str(path), file_sha256(path)] for path in paths if path.name != LAUNCH]
        except (ConfigError, Invalid, OSError):
            return None
        return digest_of([contents, self.state_of_runs(output_dir)])


@dataclass(frozen=True)
class FinishedLaunch:
    """What a launch that has finished everything depended on, and what it printed.

    Args:
        key: see `launch_key`.
        inputs: see there.
        state: of these.
        notes: what it said of its plan.
        announcement: what it said of how many runs there are.
        report: what it printed in the end.
    """

    key: str
    inputs: LaunchInputs
    state: str
    notes: Sequence[str]
    announcement: str
    report: TerminalReport

    @classmethod
    def read(cls, path: Path) -> FinishedLaunch | None:
        """Return what a file says; None for one that is damaged, or of another version."""
        try:
            record = read_json(path)
            if sealed(record) != record:
                return None
            del record["sha256"]
            inputs, report = record.pop("inputs"), record.pop("report")
            return cls(
                **record,
                inputs=LaunchInputs(**inputs),
                report=TerminalReport.from_dict(report),
            )
        except (Invalid, TypeError, LookupError):
            return None

    def write(self, path: Path) -> None:
        """Write it; nothing depends on that it can be."""
        with suppress(OSError):
            write_json(path, sealed(asdict(self)))

    def show(self) -> None:
        """Print what it printed."""
        for note in self.notes:
            say(f"note: {note}")
        say(f"{self.announcement}; nothing has changed since its report was written")
        self.report.print()


class LaunchNote:
    """Leaves what the next launch may show again.

    It is made before the report: what changes while that is made is not what the report is of.

    Args:
        key: see `launch_key`; None for a launch that is never repeated.
        planned: what was planned, and done as far as it could be.
    """

    def __init__(self, key: str | None, planned: Planned) -> None:
        self.key, self.planned = key, planned
        self.inputs = LaunchInputs.of(planned) if key else None
        self.before = self.inputs and self.inputs.state_of_runs(planned.output_dir)

    def leave(self, report: Report, shown: TerminalReport) -> None:
        """Write it beside a report that is complete.

        Args:
            report: that was made of the plan.
            shown: what was printed of it.
        """
        plan, output_dir = self.planned.plan, self.planned.output_dir
        if not (self.key and self.inputs and report.complete):
            return
        same = self.before == self.inputs.state_of_runs(output_dir)
        state = self.inputs.state(output_dir)
        if state and same and report.analysis.plan.cells == plan.cells:
            done = f"study {plan.name}: {len(plan.cells)} runs planned, all finished before"
            launch = FinishedLaunch(self.key, self.inputs, state, self.planned.notes, done, shown)
            launch.write(report.folder / LAUNCH)


def shown_again(key: str | None, output_dir: Path) -> bool:
    """Show the report of a launch that this one would repeat; return whether there was one.

    Args:
        key: of this launch; None for one that is never repeated.
        output_dir: as in `run.output_dir`.
    """
    for path in sorted(output_dir.glob(f"studies/*/{LAUNCH}")) if key else ():
        launch = FinishedLaunch.read(path)
        if launch and launch.key == key and launch.state == launch.inputs.state(output_dir):
            launch.show()
            return True
    return False


def launch_key(master: DictConfig, words: Sequence[str]) -> str | None:
    """Return the sha256 of what a launch depends on beside its runs and their data.

    Args:
        master: the config before any cell is composed.
        words: of the command line.

    Returns:
        None where it depends on what cannot be told from that.
    """
    own = process.user_config_dir
    if master.hydra.searchpath or _asks_environment(words, own):
        return None
    written = Path(master.run.output_dir).resolve()
    trees = [PACKAGE, conf_dir(), PACKAGE.parent / "hydra_plugins" / "decoderlab_plugins"]
    try:
        return digest_of(
            {
                "settings": OmegaConf.to_yaml(master),
                "words": [*words],
                "folder": os.getcwd(),
                "python": [sys.version, *platform.uname()],
                "installed": [*_installed()],
                "code": [[*_code_below(tree)] for tree in trees],
                "own": [*_code_below(Path(own), but=written)] if own else [],
            }
        )
    except OSError:
        return None


def _asks_environment(words: Iterable[str], own: str | None) -> bool:
    """Whether a word, or a YAML of the user's own, asks for a variable of the environment."""
    if any(OF_ENVIRONMENT in word for word in words):
        return True
    yamls = Path(own).rglob("*.yaml") if own else ()
    return any(OF_ENVIRONMENT.encode() in path.read_bytes() for path in yamls if path.is_file())


def _installed() -> Iterator[str]:
    """Yield the names, with versions, of what is installed."""
    for folder in sys.path:
        with suppress(OSError):
            yield from sorted(name for name in os.listdir(folder) if name.endswith(INSTALLED))


def _code_below(folder: Path, but: Path | None = None) -> Iterator[State]:
    """Yield the state of each module and YAML below a folder."""
    for path in _files_below(folder, but):
        if path.name.endswith(CODE):
            yield [str(path), *_state(path)]


def _files_below(folder: Path, but: Path | None = None) -> Iterator[Path]:
    """Yield the files below a folder in order, but locks, and what is still being written."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name != "__pycache__" and Path(parent, name) != but
        )
        for name in sorted(names):
            if name != LOCK and not INCOMPLETE.fullmatch(name):
                yield Path(parent, name)


def _state(path: Path) -> State:
    """Return what changes with a file's contents; empty if there is none."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
