"""A finished run on data that lie elsewhere now, or on a test file that it has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.part_building import find_target, taken_by
from decoderlab.config.named_files import is_path
from decoderlab.config.run_config import PartSettings, RunConfig
from decoderlab.data.batches import Ragged, Split
from decoderlab.data.encoding import unknown_tokens
from decoderlab.data.example import SPLITS
from decoderlab.data.pairs import PairsTask
from decoderlab.data.task import Task
from decoderlab.data.task_data import fingerprint_of
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks.forecasting import ForecastingTask
from decoderlab.training.assembly import build_task, construct_task
from decoderlab.training.loading import LoadedRun, load_run


@dataclass(frozen=True)
class NewData:
    """What a run was opened with.

    Args:
        run: whose task has the data.
        moved: whether they are the data of the run, which lie elsewhere now; else they are new,
            and all of them are its test split.
        counts: examples that were read and left out, and why.
        left_out: reasons of bad lines, by their numbers, of the first ones.
        trained_on: examples of a test file with a source that training had; None where that is not
            known, since the run's own data cannot be read any more. What the run that this one
            began with was trained on is not looked at; `record` names it.
        chosen_on: the same of the validation split, by which the run's update was chosen.
    """

    run: LoadedRun
    moved: bool
    counts: dict[str, int]
    left_out: dict[int, str] = field(default_factory=dict)
    trained_on: int | None = None
    chosen_on: int | None = None

    def record(self, files: Sequence[str]) -> dict[str, Any]:
        """Return what is said of the data, for JSON."""
        record: dict[str, Any] = {"files": list(files), "data_of_the_run": self.moved}
        record |= {"counts": self.counts, "left_out": self.left_out}
        if self.moved:
            return record
        began_with = self.run.config.training.from_run or self.run.config.encoder_start.from_run
        known = {"trained_on": self.trained_on, "chosen_on": self.chosen_on}
        return record | known | {"began_with": began_with}


def load_with(
    path: str | Path, files: Sequence[str], *, trust: bool = False, skip_bad_lines: bool = False
) -> NewData:
    """Open a finished run with other files in the place of those that its task names.

    Where they hold the data of the run, which were only moved, all splits are there. Else every
    line of them is a test example, encoded with the vocabularies of the run.

    Args:
        path: the run folder.
        files: one for each file that the task names, in the order of its settings.
        trust: as for `load_run`.
        skip_bad_lines: leave out, count and name lines that cannot be used.

    Raises:
        ConfigError: if the task reads no files or so many, or they cannot be read.
        Invalid: as `load_run`.
    """
    run = load_run(path, data=False, trust=trust)
    own = config = _with_files(run.config, files)
    if skip_bad_lines:
        config = _without_bad_lines(config)
    task = construct_task(own)  # which leaves out what the run left out
    try:
        if _is_moved(task, run):
            return NewData(_measured(run, task), True, dict(task.data.counts))
        task = _as_test(config, run, path, trust)
    except ValueError as error:
        raise ConfigError(f"--data: {error}") from error
    bad, counts = getattr(task, "bad_lines", None), task.data.counts
    left_out = {} if bad is None else dict(bad.reasons)
    return NewData(_measured(run, task), False, counts, left_out, **_known_sources(run, task))


def _with_files(config: RunConfig, files: Sequence[str]) -> RunConfig:
    names = list(_path_settings(config.task.to_dict()))
    if len(names) != len(files):
        reads = f"reads {', '.join(f'task.{name}' for name in names)}" if names else "reads no file"
        raise ConfigError(
            f"--data names {len(files)} file(s), but the task of this run {reads}; give as many"
        )
    for name, file in zip(names, files, strict=True):
        config = config.with_setting(f"task.{name}", file)
    return config


def _path_settings(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the settings of a task that name files of its data, and those of a task within it."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _path_settings(value, f"{before}{key}.")
        elif is_path(key) and isinstance(value, str):
            yield f"{before}{key}"


def _without_bad_lines(config: RunConfig) -> RunConfig:
    """Return a config whose task leaves out lines that cannot be used."""
    given = {"skip_bad_lines": True}
    if not taken_by(find_target("task", config.task.target), given):
        raise ConfigError("--skip-bad-lines is for task=tsv, but this run has another task")
    return replace(config, task=PartSettings(config.task.to_dict() | given))


def _is_moved(task: Task, run: LoadedRun) -> bool:
    """Whether a task has the data of a run."""
    try:
        return task.data.fingerprint == run.result.data.fingerprint
    except ValueError:  # too few of them for three splits, or tokens of which training had none
        return False


def _as_test(config: RunConfig, run: LoadedRun, path: str | Path, trust: bool) -> Task:
    """Return a task all of whose data are the test split, with the vocabularies of a run."""
    task, known = construct_task(config), run.task.data
    if isinstance(task, ForecastingTask):
        own = load_run(path, trust=trust).task  # whose file says names of columns and naive error
        known = own.data
        examples, counts = task.whole_as_test(cast(ForecastingTask, own))
    elif isinstance(task, PairsTask):
        task = task.as_test()
        splits, counts = task.examples()
        examples = splits["test"]
    else:
        raise ConfigError(
            f"the files are not the data of this run, and {type(task).__name__} cannot read a test "
            "file alone; give the run's own data"
        )
    if not examples:
        raise ValueError(f"nothing of the data is left to test on ({counts})")
    task.adopt(known)
    nothing = Split(Ragged.of([]), Ragged.of([]))
    test = task.encode_split("test", examples, known.source_vocabulary, known.target_vocabulary)
    splits = {name: test if name == "test" else nothing for name in SPLITS}
    vocabularies = known.source_vocabulary, known.target_vocabulary
    unknown_counts = unknown_tokens(splits, *vocabularies)
    unknown = {name: number for name, number in unknown_counts.items() if name.startswith("test_")}
    longest = known.max_target_length
    if isinstance(known.target_vocabulary, Vocabulary):  # of which an oracle tells the length
        longest = max(longest, int(test.target.lengths.max()))
    task.adopt(
        replace(
            known,
            splits=splits,
            max_target_length=longest,
            counts=counts | {"test": len(test)} | unknown,
            fingerprint=fingerprint_of(splits, *vocabularies),
            baselines={},
        )
    )
    return task


def _known_sources(run: LoadedRun, task: Task) -> dict[str, int | None]:
    """Return how many test examples have a source that a run knows, see `NewData`."""
    try:
        own = build_task(run.config).data
    except (ConfigError, Invalid):  # they were moved or deleted
        own = None
    if own is None or own.fingerprint != run.result.data.fingerprint:
        return {"trained_on": None, "chosen_on": None}
    return {
        "trained_on": task.data.num_test_sources_in(own),
        "chosen_on": task.data.num_test_sources_in(own, "validation"),
    }


def _measured(run: LoadedRun, task: Task) -> LoadedRun:
    """Return the run, measured by a task that has other data."""
    # The run's own limit stays, but where each output is told the length of its target.
    longest = task.data.max_target_length if run.module.search.oracle_length else None
    module = run.module.with_settings(task=task, max_target_length=longest)
    return run._replace(module=module, task=task)
