"""Fair budgets: every variant gets what the baseline of its task has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import find_target
from decoderlab.config.part_settings import PartSettings
from decoderlab.config.run_config import RunConfig
from decoderlab.data.task import Task
from decoderlab.layers.equations import count as num_parameters
from decoderlab.training.prepared_run import meta_networks

if TYPE_CHECKING:
    from decoderlab.studies.design.draft import Draft

Model = Callable[[RunConfig, Task], tuple[int, float]]
MAX_TRIES = 200  # models built in search of a width


class Matcher:
    """Changes the configs of a study so that all variants have the baseline's budget.

    Paper: equal parameter counts as in Melis et al. 2018 (arXiv 1707.05589) and Narang et al.
    2021 (EMNLP); none of it is part of a run's identity but through the settings that it changes.

    Args:
        drafts: of the study, measured.
        model: from a config and its task to parameters and operations an example.

    Raises:
        ConfigError: if the study has no baseline, or the baseline has no rows.
    """

    def __init__(self, drafts: Sequence[Draft], model: Model) -> None:
        self.model = model
        self.budget = drafts[0].config.budget
        self.solved: dict[tuple[str, str, str], int] = {}
        self.seconds: dict[str, float] = {}
        baseline, match = drafts[0].config.study.baseline, self.budget.match
        self.baselines: dict[str, dict[int, Draft]] = {}  # by task and seed
        for draft in drafts:
            if draft.row == baseline:
                self.baselines.setdefault(draft.column, {})[draft.config.seed] = draft
        if match != "seconds" and baseline is None:
            raise ConfigError(
                f"budget.match is {match!r}, but the study has no baseline to match; name a row of "
                "the table: study.baseline=VARIANT"
            )
        missing = sorted({draft.column for draft in drafts} - set(self.baselines))
        if match != "seconds" and missing:
            raise ConfigError(
                f"study.baseline is {baseline!r}, which has no run on {', '.join(missing)}; the "
                f"rows are {', '.join(dict.fromkeys(draft.row for draft in drafts))}"
            )

    def match(self, draft: Draft, task: Task) -> None:
        """Change the config of a draft.

        Raises:
            ConfigError: if it cannot be matched within the tolerance.
        """
        match self.budget.match:
            case "parameters":
                self._parameters(draft, task)
            case "flops":
                self._flops(draft, task)
            case "seconds":
                self._seconds(draft)

    def _baseline(self, draft: Draft) -> Draft:
        """Return the baseline of a draft's task and seed.

        Raises:
            ConfigError: if the seed has none, and those of other seeds are not all alike.
        """
        by_seed = self.baselines[draft.column]
        sizes = {(each.parameters, each.flops) for each in by_seed.values()}
        if draft.config.seed not in by_seed and len(sizes) > 1:
            raise ConfigError(
                f"budget.match is {self.budget.match!r}, but the baseline has no seed "
                f"{draft.config.seed} on {draft.column}, and its sizes differ between seeds; give "
                "all rows the same seeds"
            )
        return by_seed.get(draft.config.seed) or next(iter(by_seed.values()))

    def _seconds(self, draft: Draft) -> None:
        own = draft.config.training.max_seconds
        if own is None:
            raise ConfigError(
                "budget.match is 'seconds', but training.max_seconds is null; give the time of "
                "each run: training.max_seconds=60"
            )
        first = self.seconds.setdefault(draft.column, own)
        if own != first:
            raise ConfigError(
                f"budget.match is 'seconds', but training.max_seconds is {own:g} here and "
                f"{first:g} before; give all runs of a task one training.max_seconds"
            )

    def _parameters(self, draft: Draft, task: Task) -> None:
        baseline = self._baseline(draft)
        if draft.row == baseline.row:
            return
        frozen = [each.config.encoder_start.frozen for each in (draft, baseline)]
        if frozen[0] != frozen[1]:
            raise ConfigError(
                "budget.match is 'parameters', but encoder.frozen is true of one and false of the "
                "other: what is frozen is not counted, so that a decoder would be widened by it; "
                "freeze the encoder of both, or take budget.match=updates or seconds"
            )
        wanted = baseline.parameters
        key = (draft.row, draft.column, task.data.fingerprint)
        if key not in self.solved:
            self.solved[key] = self._width(draft.config, task, wanted)
        draft.config = self._widened(draft.config, self.solved[key])
        draft.parameters, draft.flops = self.model(draft.config, task)

    def _widened(self, config: RunConfig, width: int) -> RunConfig:
        """Return a config with another width."""
        for name in self.budget.widths:
            config = config.with_setting(name, width)
        return config

    def _width(self, config: RunConfig, task: Task, wanted: int) -> int:
        """Return the width whose parameter count is nearest to the wanted count.

        Not every width can be built (heads of attention divide it, say): those are passed over.
        """
        names = self.budget.widths
        counts: dict[int, int | None] = {}
        reasons: dict[int, str] = {}

        def count(width: int) -> int | None:
            if width not in counts and len(counts) < MAX_TRIES:
                try:
                    counts[width] = num_parameters(
                        *meta_networks(self._widened(config, width), task)
                    )
                except ConfigError as error:
                    counts[width], reasons[width] = None, str(error)
            return counts.get(width)

        def next_known(width: int, step: int, limit: int = 32) -> int | None:
            """Return the nearest width from here on that can be built."""
            tried = range(width, max(width + step * limit, 0), step)
            return next((width for width in tried if count(width) is not None), None)

        for name in names:
            before = config.get(name)
            if isinstance(before, bool) or not isinstance(before, int):
                raise ConfigError(
                    f"budget.width has {name!r}, which is {before!r} here; name a whole number "
                    "that widens the decoder: budget.width=decoder.NAME"
                )
        low, high = next_known(1, 1), config.get(names[0])
        while high is not None and (count(high) or 0) < wanted:
            low, high = high, next_known(2 * high, 1)
        while low is not None and high is not None and high - low > 1:
            middle = next_known((low + high) // 2, 1, high - (low + high) // 2)
            if middle is None or middle == high:
                middle = next_known((low + high) // 2, -1, (high - low) // 2)
            if middle is None or middle == low:
                break
            low, high = (middle, high) if (count(middle) or 0) < wanted else (low, middle)
        there = {width: number for width, number in counts.items() if number is not None}
        nearest = min(there, key=lambda width: abs(there[width] - wanted), default=None)
        if nearest is None or abs(there[nearest] / wanted - 1) > self.budget.tolerance:
            reason = next(iter(reasons.values()), "widths are whole numbers")
            closest = "" if nearest is None else f"; the nearest is {nearest}: {there[nearest]:,}"
            raise ConfigError(
                f"no {' = '.join(names)} gives {wanted:,} parameters, as the baseline has, within "
                f"{self.budget.tolerance:.2%}{closest} ({reason}); take another baseline, larger "
                "models, or a larger budget.tolerance"
            )
        return nearest

    def _flops(self, draft: Draft, task: Task) -> None:
        baseline = self._baseline(draft)
        if draft.row == baseline.row:
            return
        batches = task.train_dataloader().batches_per_epoch
        steps = baseline.config.total_steps(batches)
        configs = (draft.config, baseline.config)
        sizes = {each.training.batch_size * each.trainer.accumulated for each in configs}
        if steps is None or len(sizes) > 1:
            raise ConfigError(
                f"budget.match is 'flops', which wants a budget in updates or epochs (it is "
                f"{baseline.config.training.max_seconds} seconds) and equal batches (an update "
                f"has {sizes} examples); give training.max_steps, and one training.batch_size and "
                "trainer.accumulate_grad_batches"
            )
        _check_counted(*configs)
        own = max(round(steps * baseline.flops / draft.flops), 1)
        if abs(own * draft.flops / (steps * baseline.flops) - 1) > self.budget.tolerance:
            raise ConfigError(
                f"{own} updates are not the baseline's operations within "
                f"{self.budget.tolerance:.2%}; give a larger training.max_steps"
            )
        training = replace(draft.config.training, max_steps=own, max_epochs=None)
        draft.config = replace(draft.config, training=training)


def _check_counted(config: RunConfig, baseline: RunConfig) -> None:
    """Raise ConfigError where training differs in operations that a forward pass has not."""
    objectives = [each.training.objective for each in (config, baseline)]
    what = ""
    if objectives[0].to_dict() != objectives[1].to_dict() and any(map(_draws, objectives)):
        what = f"{' and '.join(each.target for each in objectives)} differ in what they draw"
    if any(each.training.from_run for each in (config, baseline)):
        what = "training.from_run names a run whose updates may have been larger or smaller"
    if config.encoder_start.frozen != baseline.encoder_start.frozen:
        what = "encoder.frozen is true of one and false of the other, whose gradient takes more"
    if what:
        raise ConfigError(
            f"budget.match is 'flops', but {what}, which is not counted: operations are those of "
            "one forward pass; take one way to train, or budget.match=updates or seconds"
        )


def _draws(objective: PartSettings) -> bool:
    """Whether an objective looks at outputs that it has the decoder write."""
    return hasattr(find_target("training.objective", objective.target), "sequence_loss")
