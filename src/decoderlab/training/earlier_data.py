"""What the encoder of a run was trained on in the runs that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.part_building import targets_in
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import encoder_weights, parent_id
from decoderlab.config.strangers import refuse_foreign
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.records.opened_run import OpenedRun
from decoderlab.training.assembly import build_task
from decoderlab.training.parents import checked_parent, open_parent

SEEN = "test_sources_that_the_encoder_was_trained_on"
NOT_KNOWN = "earlier_training_data_not_known"
# What must not be known of each split of a run: training adapts to examples, validation chooses.
APART = {"validation": ("train",), "test": ("train", "validation")}


def checked_start(config: RunConfig, task: Task, identity: Mapping[str, Any]) -> dict[str, int]:
    """Return how many test sources a run's encoder was trained on before, as counts of its data.

    An encoder may come from another task (an autoencoder, say) on the same sources: these are
    counted. An example, source and target, that it was trained on is no test of anything.

    Args:
        config: of the run.
        task: with its data.
        identity: of the run.

    Raises:
        ConfigError: for a parent that the run cannot begin with, that was trained on examples of
            its validation or test split, or chosen on those of its test split.
    """
    parent = checked_parent(config, task, identity)
    if parent is None:
        return {}
    own, counts = task.data, dict[str, int]()
    for earlier in _earlier_runs(parent, own.fingerprint):
        data = earlier and _data_of(earlier, config)
        if not earlier or not data:
            counts[NOT_KNOWN] = counts.get(NOT_KNOWN, 0) + 1
            continue
        _refuse_known_examples(earlier, data, own)
        counts[SEEN] = max(counts.get(SEEN, 0), own.num_test_sources_in(data))
    return counts


def _earlier_runs(parent: OpenedRun, fingerprint: str) -> Iterator[OpenedRun | None]:
    """Yield the runs on other data that a run comes from, the last one first; None ends them.

    It stands for one that is not there any more, and all before it. Another run may lie there now.
    """
    known = {fingerprint}
    while True:
        if parent.result.data.fingerprint not in known:
            yield parent
        known.add(parent.result.data.fingerprint)
        start = _start(parent.config)
        if start is None:
            return
        try:
            earlier = open_parent(*start)
        except ConfigError:
            earlier = None
        if earlier is None or not _is_named(earlier, parent.manifest.identity):
            yield None
            return
        parent = earlier


def _is_named(parent: OpenedRun, identity: Mapping[str, Any]) -> bool:
    """Whether it is with this run that a run of an identity began."""
    if (named := parent_id(identity)) is not None:
        return parent.manifest.run_id == named
    return parent.manifest.files[parent.manifest.best].sha256 == encoder_weights(identity)


def _start(config: RunConfig) -> tuple[str, str] | None:
    """Return the setting that names the run which a run begins with, and its folder."""
    if config.training.from_run is not None:
        return "training.from_run", config.training.from_run
    if config.encoder_start.from_run is not None:
        return "encoder.from_run", config.encoder_start.from_run
    return None


def _data_of(parent: OpenedRun, config: RunConfig) -> TaskData | None:
    """Return the data of a run; None where they are not there, or of a class of nobody's."""
    settings = parent.config.task.to_dict()
    try:
        named = {target for _, target in targets_in(settings)}
        if not named <= {target for _, target in targets_in(config.task.to_dict())}:
            refuse_foreign({"task": settings}, parent.folder.config)
        data = build_task(parent.config).data
    except (ConfigError, Invalid):
        return None
    return data if data.fingerprint == parent.result.data.fingerprint else None


def _refuse_known_examples(parent: OpenedRun, data: TaskData, own: TaskData) -> None:
    for split, splits in APART.items():
        known = own.examples_apart(data, splits)
        number = sum(example in known for example in own.known_examples(split))
        if number:
            chosen = ", or its weights were chosen," if "validation" in splits else ""
            raise ConfigError(
                f"{parent.folder.path} was trained{chosen} on {number:,} of the "
                f"{len(own.splits[split]):,} examples of this run's {split} split; what is tested "
                "must not be trained on: give the data that it was trained on, divided as there "
                "(task.data_seed), or an encoder that was trained on other examples"
            )
