"""Curricula: which level of difficulty the training batch of a step is taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Batch
from decoderlab.data.batches import Ragged, Split, TrainingBatches, as_ragged

CURRICULA = ("baseline", "naive", "mix", "combined")
BLOCK = 1024  # steps whose levels are drawn at a time; part of what a seed means


@dataclass(frozen=True)
class Curriculum:
    """A schedule over levels, numbered from the easiest, 0, to the target.

    * baseline: the target level only.
    * naive: from the easiest level to the target, each for the same number of batches.
    * mix: any level, uniformly.
    * combined: what mix would take with the probability `mix_ratio`, what naive would otherwise.

    Paper: Zaremba and Sutskever 2014 (https://arxiv.org/abs/1410.4615).
    Differs: naive goes on after a number of updates, not when the validation score no longer rises,
        so that all decoders of a seed see the same batches; a level is drawn for each batch, not
        for each example, since all sources of a batch have one length. The default of mix_ratio is
        that of the code which the authors released.

    Args:
        name: one of `CURRICULA`.
        num_levels: at least 1.
        num_steps: batches until naive has passed all levels; it stays at the last one.
        mix_ratio: 0 to 1, for combined.

    Raises:
        ValueError: for an unknown name or a number out of range.

    Example:
        >>> Curriculum("naive", num_levels=3, num_steps=6).levels(seed=0, block=0)[:8].tolist()
        [0, 0, 1, 1, 2, 2, 2, 2]
    """

    name: str
    num_levels: int
    num_steps: int
    mix_ratio: float = 0.2

    def __post_init__(self) -> None:
        require.choice("curriculum", self.name, CURRICULA)
        require.at_least("num_levels", self.num_levels, 1)
        require.at_least("curriculum_steps", self.num_steps, 1)
        require.between("mix_ratio", self.mix_ratio, 0, 1)

    def levels(self, seed: int, block: int) -> np.ndarray:
        """Return the levels of the steps from `block` * BLOCK on, (BLOCK,) integers."""
        last = self.num_levels - 1
        if self.name == "baseline":
            return np.full(BLOCK, last)
        steps = block * BLOCK + np.arange(BLOCK)
        naive = np.minimum(steps * self.num_levels // self.num_steps, last)
        if self.name == "naive":
            return naive
        generator = numpy_generator(seed, "order", "curriculum", block)
        mix = generator.integers(self.num_levels, size=BLOCK)
        if self.name == "mix":
            return mix
        return np.where(generator.random(BLOCK) < self.mix_ratio, mix, naive)


class CurriculumBatches:
    """The endless stream of training batches of a curriculum; a function of (seed, step).

    Each level is a stream of epochs of its own, as `TrainingBatches` makes them, which stands still
    while other levels are trained on.

    Args:
        split: the training examples, equally many of each level, from the easiest to the target.
        curriculum: which level is when.
        batch_size: examples a batch at most; all of one level and one source length.
        seed: the run's seed.
        first_step: called when iteration begins; the number of batches to pass over.
        group_by_target_length: see `TrainingBatches`.
    """

    def __init__(
        self,
        split: Split,
        curriculum: Curriculum,
        *,
        batch_size: int,
        seed: int,
        first_step: Callable[[], int],
        group_by_target_length: bool = False,
    ) -> None:
        self.split, self.curriculum, self.seed = split, curriculum, seed
        self.first_step = first_step
        self.level_size = len(split) // curriculum.num_levels
        self.parts = [
            TrainingBatches(
                _rows(split, level * self.level_size, (level + 1) * self.level_size),
                batch_size=batch_size,
                seed=seed,
                first_step=lambda: 0,
                group_by_target_length=group_by_target_length,
            )
            for level in range(curriculum.num_levels)
        ]
        # An epoch is as many batches as hold all examples that the curriculum uses once.
        used = self.parts[-1:] if curriculum.name == "baseline" else self.parts
        self.batches_per_epoch = sum(part.batches_per_epoch for part in used)

    def __iter__(self) -> Iterator[Batch]:
        block, begun = divmod(self.first_step(), BLOCK)
        taken = np.zeros(len(self.parts), dtype=np.int64)  # batches of each level so far
        for earlier in range(block):
            taken += self._counted(self.curriculum.levels(self.seed, earlier))
        taken += self._counted(self.curriculum.levels(self.seed, block)[:begun])
        epochs: dict[int, tuple[int, list[np.ndarray]]] = {}  # the current one of each level
        while True:
            for level in self.curriculum.levels(self.seed, block)[begun:].tolist():
                part = self.parts[level]
                number, batch_index = divmod(int(taken[level]), part.batches_per_epoch)
                if level not in epochs or epochs[level][0] != number:
                    epochs[level] = number, part.epoch(number)
                index = level * self.level_size + epochs[level][1][batch_index]
                yield self.split.batch(torch.from_numpy(index))
                taken[level] += 1
            block, begun = block + 1, 0

    def _counted(self, levels: np.ndarray) -> np.ndarray:
        return np.bincount(levels, minlength=len(self.parts))


def _rows(split: Split, first: int, last: int) -> Split:
    """Return some neighbouring rows of a split; their values are shared, not copied."""

    def part(ragged: Ragged) -> Ragged:
        return Ragged(ragged.values, ragged.lengths[first:last], ragged.starts[first:last])

    return Split(part(as_ragged(split.source)), part(split.target))
