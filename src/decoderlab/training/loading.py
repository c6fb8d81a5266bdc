"""Opening finished runs: from a run folder back to model and task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from decoderlab.common.bounded_reading import read_json
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.folders import own_folder
from decoderlab.common.part_building import call
from decoderlab.common.process import one_at_a_time
from decoderlab.common.progress import say
from decoderlab.common.safe_names import refuse_links_out
from decoderlab.config.bounds import check_bounds, check_parameters
from decoderlab.config.run_config import RunConfig
from decoderlab.config.strangers import refuse_foreign
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.generation import Search
from decoderlab.generation.coverage_penalty import refuse_unseen
from decoderlab.generation.search import OF_BEAMS, OF_SAMPLING, PENALTIES
from decoderlab.layers.equations import count
from decoderlab.records.opened_run import open_run
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import RunResult
from decoderlab.training.assembly import build_model, build_task, construct_task
from decoderlab.training.code_changes import changed_since_made
from decoderlab.training.model_evaluation import load_best
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import meta_networks

WEIGHTS = "delete {} and give the command of the run or sweep again, which repairs what it can"


class OpenedModel(EncoderDecoder):
    """The model of a finished run, which is in evaluation mode until a Trainer trains it again.

    Lightning trains a module in the mode that it has: there would be no dropout.
    """

    def on_fit_start(self) -> None:
        """Train with dropout (Lightning's hook)."""
        self.train()

    def on_fit_end(self) -> None:
        """Generate without dropout, as before (Lightning's hook)."""
        self.eval()


class LoadedRun(NamedTuple):
    """A finished run: `module` with the weights chosen on validation, ready to generate.

    Both are Lightning's: `pl.Trainer().test(run.module, datamodule=run.task)` measures as the run
    was measured, `.predict` returns texts, and `.fit` goes on from the weights with a new
    optimizer; give it `pl.Trainer(max_steps=...)`, since training batches never end.

    Args:
        module: the LightningModule.
        task: the data module.
        config: of the run.
        result: of the run.
        code_changes: definitions and versions that are others than when the run was made.
    """

    module: EncoderDecoder
    task: Task
    config: RunConfig
    result: RunResult
    code_changes: Sequence[str] = ()


@one_at_a_time
def load_run(
    path: str | Path,
    *,
    data: bool = True,
    trust: bool = False,
    config_dir: str | Path | None = None,
) -> LoadedRun:
    """Open a finished run. Nothing outside the run is changed: no random state, no threads.

    Args:
        path: the run folder.
        data: load or make the task's data too, and check that they are those of the run; without
            them the task has its vocabularies alone, which is enough to predict.
        trust: build whatever classes the folder's config names. A config that comes from somewhere
            can name any code on the Python path: trust it only if it is yours. Without it, only
            classes that ship in conf are built, each for its own setting. Nothing outside the
            folder is read but, with `data`, the files that the task names. Nothing is written.
        config_dir: with `trust`, the folder of your own classes that the run was trained with, as
            `--config-dir`; None for none. The Python path is afterwards as before.

    Returns:
        The run, its module in evaluation mode.

    Raises:
        ConfigError: if the folder is not a finished run, names foreign code without `trust`, or its
            data have changed; if `config_dir` is not there, or given without `trust`.
        Invalid: if anything in the folder is damaged, missing, or of another run.
    """
    if config_dir is not None and not trust:
        raise ConfigError(
            f"config_dir is {str(config_dir)!r:.200}, but no class of your own is built without "
            "trust; give trust=True too if the run is yours, or leave config_dir out"
        )
    with own_folder(config_dir):
        return _opened(path, data, trust)


def _opened(path: str | Path, data: bool, trust: bool) -> LoadedRun:
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ConfigError(
            f"{path} does not exist; give the folder of a run: outputs/runs/... (those of a study "
            "stand in its results.csv)"
        )
    if not trust:
        refuse_links_out(folder.path)
    # Asking whether a process is at the run would write its lock.
    if (status := folder.recorded_status()["status"]) != "FINISHED":
        raise ConfigError(f"{path} is not the folder of a finished run (its status is {status})")
    opened = open_run(folder)  # which imports nothing that its config names
    if not trust:
        refuse_foreign(opened.config.to_dict(), folder.config)
    config, result, manifest = opened.config, opened.result, opened.manifest
    if data:
        task = build_task(config)
        if task.data.fingerprint != result.data.fingerprint:
            raise ConfigError(f"the data of {path} have changed since it was trained")
    else:
        task = construct_task(config)
        try:
            record = read_json(folder.vocabularies)
            _check_length(record.get("max_target_length"))
            task.adopt(TaskData.recorded(record))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Invalid(folder.vocabularies, f"is damaged ({error})") from error
        if task.data.fingerprint != result.data.fingerprint:
            raise Invalid(folder.vocabularies, "is of other data than the run's result")
    check_parameters(count(*meta_networks(config, task)))
    model = build_model(config, task)
    try:
        load_best(model, folder.path / manifest.best, manifest.files[manifest.best].sha256)
    except Invalid as error:
        raise error.advised(WEIGHTS.format(folder.manifest)) from error
    model.__class__ = OpenedModel  # it has no further state
    if changed := changed_since_made(folder, config):
        say(
            f"warning: {path} was made by other code: {', '.join(changed)}; it may now compute "
            "something else than its records say"
        )
    return LoadedRun(model.eval(), task, config, result, changed)


def _check_length(length: object) -> None:
    """Raise ValueError unless a length of targets is a whole number above 0."""
    if type(length) is not int or length < 1:
        raise ValueError(f"max_target_length is {length!r:.40}; it must be an integer above 0")
    check_bounds({"task": {"max_target_length": length}})


def search_with(run: LoadedRun, **settings: Any) -> LoadedRun:
    """Return a run that generates as `decoderlab.generation.Search` says.

    Args:
        run: from `load_run`; it generates as before.
        settings: of `Search`; the others stay as the run was evaluated, but that a temperature, a
            beam and an exact search replace each other.

    Returns:
        A run with the same weights, not copies of them; all else is of the same run.

    Raises:
        ConfigError: for settings out of range, or without effect beside the others.
    """
    if settings and run.module.writes_values:
        raise ConfigError(
            f"{', '.join(settings)} say how to search among tokens, but this run writes real "
            "values, which are rolled forward; leave them out"
        )
    before = asdict(run.module.search)
    of_beams = not settings.keys().isdisjoint(OF_BEAMS)
    plain = {**dict.fromkeys(PENALTIES, 0.0), "beam_groups": None, "diversity_penalty": None}
    if "temperature" in settings or of_beams:
        before["exact_steps"] = None
    if "temperature" in settings:
        before |= {"beam_width": 1, **plain}
    elif "exact_steps" in settings:
        before |= {**plain, **dict.fromkeys(("temperature", *OF_SAMPLING))}
    elif of_beams:
        before |= dict.fromkeys(("temperature", *OF_SAMPLING))
    if settings.get("beam_width") == 1:
        before |= plain
    check_bounds({"generation": before | settings})
    search = call("generation", Search, **before | settings)
    members = getattr(run.module.decoder, "members", None)  # of an ensemble all have to show it
    for decoder in members if isinstance(members, nn.ModuleList) else [run.module.decoder]:
        call("generation", refuse_unseen, decoder=decoder, factor=search.coverage_penalty)
    if "seed" in settings and search.temperature is None:
        raise ConfigError(
            f"--seed is {settings['seed']}, but nothing is drawn without a temperature; give "
            "--temperature 1.0, or leave --seed out"
        )
    # Lengths that are given are those of the data, whatever limit the run was evaluated with.
    longest = run.task.data.max_target_length if search.oracle_length else None
    module = run.module.with_settings(search=search, max_target_length=longest)
    return run._replace(module=module)
