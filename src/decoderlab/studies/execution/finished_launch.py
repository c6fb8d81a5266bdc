"""A launch that finds everything as an earlier launch left it: its report is shown again.

To check every run and to draw every figure anew takes many times as long as to see that nothing has
changed. A launch that ends with every run finished leaves `launch.json` beside its report: what it
depended on, and what it printed. The next one prints that, without importing torch, if all of this
is as it was:

* what was asked for: the composed config, with what it says of the time, the words of the command
  line, the working directory and the home folder;
* everything in this package and its configs, the YAMLs and modules of the user's own folder, the
  names and versions of what is installed, the Python path, Python and the machine;
* the contents of the study's folder, its report and its tuning among them;
* all files of its runs, by inode, size and times; none has become a link;
* all other files that were read in planning, such as data, by the same: as they were when they were
  opened, see `launch_reads`.

Nothing is left, so that every launch plans anew, where a class of the user's own is named, which
may read anything; where a config asks for a variable of the environment; where a trial failed.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common import process
from decoderlab.common.bounded_reading import read_json
from decoderlab.common.digests import file_sha256
from decoderlab.common.edited_sources import is_installed
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.folders import conf_dir
from decoderlab.common.progress import say
from decoderlab.config.named_files import files_in
from decoderlab.config.run_identity import classes_in, digest_of, sorted_json
from decoderlab.config.study_settings import TUNING
from decoderlab.records.run_folder import INCOMPLETE, sealed, write_json
from decoderlab.studies.design.plan_file import (
    Plan,
    plan_file,
    read_configs,
    read_plan,
    study_folder,
)
from decoderlab.studies.execution.launch_reads import LaunchReads, State, state_of_file
from decoderlab.studies.reporting.terminal_text import TerminalReport

if TYPE_CHECKING:
    from decoderlab.studies.design.preparation import Planned
    from decoderlab.studies.reporting.build import Report

LAUNCH = "launch.json"
LOCK = ".lock"
PACKAGE = Path(__file__).parents[2]
CODE = (".yaml", *all_suffixes())
INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")
MOST_FILES = 20_000  # of a user's own folder


@dataclass(frozen=True)
class FinishedLaunch:
    """What a launch that has finished everything depended on, and what it printed.

    Args:
        key: see `launch_key`.
        study: its name; its tuning lies in its folder.
        runs: folders of all runs, of the tuning too, below the output folder.
        contents: of the study's folder, see `contents_of`.
        state: of the runs, see `state_of_runs`.
        read: other files that it has read, each with its state.
        notes: what it said of its plan.
        announcement: what it said of how many runs there are.
        report: what it printed in the end.
    """

    key: str
    study: str
    runs: Sequence[str]
    contents: str
    state: str
    read: Mapping[str, State]
    notes: Sequence[str]
    announcement: str
    report: TerminalReport

    @classmethod
    def load(cls, path: Path) -> FinishedLaunch | None:
        """Return what a file says; None for one that is damaged, or of another version."""
        try:
            record = read_json(path)
            if sealed(record) != record:
                return None
            del record["sha256"]
            report = TerminalReport.from_dict(record.pop("report"))
            return cls(**record, report=report)
        except (Invalid, TypeError, LookupError):
            return None

    def is_unchanged(self, output_dir: Path) -> bool:
        """Whether all files are as they were."""
        return (
            all(state_of_file(path) == state for path, state in self.read.items())
            and contents_of(output_dir, self.study) == self.contents
            and state_of_runs(output_dir, self.runs) == self.state
        )

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
        reads: what was read in planning.
        notes: what is said of the plan where nothing is left to do.
    """

    def __init__(
        self, key: str | None, planned: Planned, reads: LaunchReads, notes: Sequence[str]
    ) -> None:
        self.planned, self.reads, self.notes = planned, reads, notes
        self.plans = _plans(planned) if key and not reads.asked else None
        self.key = key if self.plans and _all_ours(planned) else None
        self.runs = [cell.folder for plan in self.plans or () for cell in plan.cells]
        self.state = state_of_runs(planned.output_dir, self.runs) if self.key else None

    def leave(self, report: Report, shown: TerminalReport) -> None:
        """Write it beside a report that is complete; nothing depends on that it can be.

        Args:
            report: that was made of the plan.
            shown: what was printed of it.
        """
        plan, output_dir = self.planned.plan, self.planned.output_dir
        if not (self.key and self.state and report.complete and not self.reads.asked):
            return
        if report.analysis.plan.cells != plan.cells:  # planned anew meanwhile
            return
        if state_of_runs(output_dir, self.runs) != self.state:
            return
        number = len(plan.cells)
        launch = FinishedLaunch(
            key=self.key,
            study=plan.name,
            runs=self.runs,
            contents=contents_of(output_dir, plan.name) or "",
            state=self.state,
            read=self._read_elsewhere(output_dir),
            notes=self.notes,
            announcement=f"study {plan.name}: {number} runs planned, {number} finished before",
            report=shown,
        )
        with suppress(OSError):
            write_json(report.folder / LAUNCH, sealed(asdict(launch)))

    def _read_elsewhere(self, output_dir: Path) -> dict[str, State]:
        """Return the files that neither the key nor the study's own folders cover."""
        folders = [output_dir, output_dir / "runs", output_dir / "studies"]
        listed = {os.path.abspath(path) for path in (*folders, *sys.path)}
        own = [
            study_folder(output_dir, self.planned.plan.name),
            *_trees(),
            Path(os.__file__).parent,
        ]
        own += [output_dir / run for run in self.runs]
        covered = {os.path.abspath(path) for path in own}
        read = dict(self.reads.states)  # other threads may go on reading
        for path in _named(self.planned):  # those that this process has read for a sweep before
            read.setdefault(path, state_of_file(path))
        return {
            path: state
            for path, state in read.items()
            if path not in listed
            and not is_installed(Path(path))
            and covered.isdisjoint([path, *map(str, Path(path).parents)])
            and (state or not os.path.exists(path))  # else the launch has made it, as a cache
        }


def _named(planned: Planned) -> list[str]:
    """Return the files that settings name, as absolute paths."""
    tasks = {sorted_json(config.task.to_dict()): config.task for config in planned.configs.values()}
    states = files_in([task.to_dict() for task in tasks.values()])
    return [os.path.abspath(path) for path, *_ in states]


def _plans(planned: Planned) -> list[Plan] | None:
    """Return the plan, and that of its tuning; None where the latter is gone."""
    if planned.plan.tuning is None:
        return [planned.plan]
    try:
        return [planned.plan, read_plan(planned.output_dir, f"{planned.plan.name}{TUNING}")]
    except (ConfigError, Invalid):
        return None


def _all_ours(planned: Planned) -> bool:
    """Whether all classes, of the trials too, are this package's or of a recorded version."""
    from decoderlab.config.code_identity import own_name
    from decoderlab.config.foreign_modules import VERSIONED

    configs = [*planned.configs.values()]
    if planned.plan.tuning is not None:
        trials = plan_file(planned.output_dir, f"{planned.plan.name}{TUNING}")
        configs += read_configs(trials).values()
    kinds = {kind for config in configs for kind in classes_in(config.scientific())}
    return all(own_name(kind) or kind.__module__.split(".")[0] in VERSIONED for kind in kinds)


def shown_again(key: str | None, output_dir: Path) -> bool:
    """Show the report of a launch that this one would repeat; return whether there was one.

    Args:
        key: of this launch; None for one that is never repeated.
        output_dir: as in `run.output_dir`.
    """
    for path in sorted(output_dir.glob(f"studies/*/{LAUNCH}")) if key else ():
        launch = FinishedLaunch.load(path)
        if launch and launch.key == key and launch.is_unchanged(output_dir):
            launch.show()
            return True
    return False


def launch_key(master: DictConfig, swept: Mapping[str, Any], words: Sequence[str]) -> str | None:
    """Return the sha256 of what a launch depends on beside its runs and what it reads.

    Args:
        master: the config before any cell is composed.
        swept: `hydra.sweeper.params`, as Hydra has resolved them.
        words: of the command line.

    Returns:
        None where that cannot be told.
    """
    if master.hydra.searchpath:
        return None
    own, written = process.user_config_dir, Path(master.run.output_dir).absolute()
    sections = OmegaConf.masked_copy(master, [str(name) for name in master if name != "hydra"])
    try:
        return digest_of(
            {
                "settings": [OmegaConf.to_yaml(master), OmegaConf.to_yaml(sections, resolve=True)],
                "words": [{name: str(values) for name, values in swept.items()}, *words],
                "folder": [os.getcwd(), os.path.expanduser("~")],
                "python": [sys.version, *platform.uname(), *sys.path],
                "installed": [*_installed()],
                "code": [
                    [str(path), *state_of_file(path)]
                    for tree in _trees()
                    for path in _files_below(tree)
                ],
                "own": [*_own_code(Path(own), written)] if own else [],
            }
        )
    except (OSError, OmegaConfBaseException):
        return None


def _trees() -> list[Path]:
    """Return the folders of this package: its modules, configs and plug-in."""
    return [PACKAGE, conf_dir(), PACKAGE.parent / "hydra_plugins" / "decoderlab_plugins"]


def _installed() -> Iterator[str]:
    """Yield the names, with versions, of what is installed."""
    for folder in sys.path:
        with suppress(OSError):
            yield from sorted(name for name in os.listdir(folder) if name.endswith(INSTALLED))


def _own_code(folder: Path, but: Path) -> Iterator[State]:
    """Yield the state of each YAML and module of the user's own folder.

    Raises:
        OSError: for more files than can be looked at before each launch.
    """
    for number, path in enumerate(_files_below(folder, but=but, follow=True)):
        if number == MOST_FILES:
            raise OSError(f"{folder} has more than {MOST_FILES:,} files")
        if path.name.endswith(CODE):
            yield [str(path), *state_of_file(path)]


def contents_of(output_dir: Path, study: str) -> str | None:
    """Return the sha256 of all that is in a study's folder; None where that cannot be read.

    Args:
        output_dir: as in `run.output_dir`.
        study: its name.
    """
    try:
        paths = _files_below(study_folder(output_dir, study))
        return digest_of([[str(path), file_sha256(path)] for path in paths if path.name != LAUNCH])
    except (ConfigError, Invalid, OSError):
        return None


def state_of_runs(output_dir: Path, runs: Sequence[str]) -> str | None:
    """Return the sha256 of the state of all files of runs, of where they lie, and beside which.

    None where there are no runs that can be looked at.

    Args:
        output_dir: as in `run.output_dir`.
        runs: their folders, below it.
    """
    folders = [output_dir / run for run in runs]
    below = [
        [str(path), path.is_symlink(), *state_of_file(path)]
        for folder in folders
        for path in _files_below(folder)
    ]
    try:
        names = sorted(
            os.listdir(output_dir / "runs")
        )  # others may say that they are of this study
    except OSError:
        return None
    return digest_of([names, [os.path.realpath(folder) for folder in folders], below])


def _files_below(folder: Path, *, but: Path | None = None, follow: bool = False) -> Iterator[Path]:
    """Yield the files below a folder in order, but locks, and what is still being written.

    Args:
        folder: that is looked through.
        but: a folder that is left out.
        follow: whether links to folders are followed, each folder once; else they are yielded.
    """
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=follow):
        here = [Path(parent, name) for name in sorted(folders)]
        if follow:
            real = os.path.realpath(parent)
            here = [] if real in seen else [path for path in here if path.absolute() != but]
            seen.add(real)
        else:
            yield from (path for path in here if path.is_symlink())
        folders[:] = [path.name for path in here if path.name != "__pycache__"]
        for name in sorted(names):
            if name != LOCK and not INCOMPLETE.fullmatch(name):
                yield Path(parent, name)
