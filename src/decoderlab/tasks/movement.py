"""Movement into commands: what a watch measured on the wrist, to the exercises that were done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import SPLITS, Example
from decoderlab.data.nearest_neighbour import nearest_targets
from decoderlab.data.reading import package_file
from decoderlab.data.splits import check_split_sizes, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary

EXERCISES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
RATE = 50  # readings a second, as recorded


class Recording(NamedTuple):
    """One exercise of one subject with one arm.

    Args:
        readings: (length, 6) float64: acceleration in three directions, and turning.
        exercise: one of `EXERCISES`.
        subject: its number, from 1.
        side: the arm, 0 or 1.
    """

    readings: np.ndarray
    exercise: str
    subject: int
    side: int


class MovementTask(Task):
    """Cuts of recordings of one person's arm, one after the other, to the names of the exercises.

    A source is a few cuts of one subject and one arm, joined; where one ends and how long it is,
    nothing says. No exercise follows itself. No subject is in two splits, so that what is tested is
    how other people move; with two subjects to test on, who they are matters much: draw others with
    `data_seed`.

    Source: the file watch_dataset.npy of the package `seglearn` (BSD), which is not imported: six
        channels of a watch at 50 Hz, 10 subjects, 7 shoulder exercises and both arms, one recording
        each (Burns et al. 2018, https://arxiv.org/abs/1802.01489).
    Differs: the paper classifies windows of one exercise; sequences of them are ours.

    Args:
        num_train, num_validation, num_test: sequences per split, at least 1, all different.
        window_seconds: how long a cut can be, each alike probable; a few lengths alone, since
            batches are of sources of one length.
        num_validation_subjects, num_test_subjects: of the 10 subjects, at least 1 each; the others
            are for training.
        sample_rate: readings a second that the network sees, a divisor of 50: the means of that
            many blocks of the recording.
        min_commands, max_commands: cuts in a sequence, uniform between the two, 1 to 20.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Memory is 24 bytes a reading of six numbers, for all sequences, and a few times that while they
    are made: the longest has max_commands x max(window_seconds) x sample_rate readings.

    Raises:
        ValueError: for a setting out of range, more sequences than there are, a package that is not
            installed, or a file with other data.
    """

    reads = "values"

    def __init__(
        self,
        *,
        num_train: int,
        num_validation: int,
        num_test: int,
        window_seconds: list,
        num_validation_subjects: int = 2,
        num_test_subjects: int = 2,
        sample_rate: int = 10,
        min_commands: int = 2,
        max_commands: int = 4,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = check_split_sizes(num_train, num_validation, num_test)
        self.num_examples: dict[str, int] = dict(zip(SPLITS, sizes, strict=True))
        require.at_least("num_validation_subjects", num_validation_subjects, 1)
        require.at_least("num_test_subjects", num_test_subjects, 1)
        self.num_subjects = {"validation": num_validation_subjects, "test": num_test_subjects}
        require.between("max_commands", max_commands, 1, 20)
        require.between("min_commands", min_commands, 1, max_commands)
        self.num_commands = (min_commands, max_commands)
        if sample_rate not in _divisors(RATE):
            raise ValueError(
                f"sample_rate is {sample_rate}; it must divide the {RATE} readings a second of the "
                f"recordings: one of {', '.join(map(str, _divisors(RATE)))}"
            )
        self.block = RATE // sample_rate  # readings that are averaged into one
        lengths = [seconds * sample_rate for seconds in window_seconds]
        if not lengths or any(
            length < 0.5 or abs(length - round(length)) > 1e-6 for length in lengths
        ):
            raise ValueError(
                f"window_seconds is {list(window_seconds)}; give one or more lengths, each a whole "
                f"number of steps of 1/{sample_rate} s (sample_rate is {sample_rate})"
            )
        self.lengths = sorted({round(length) for length in lengths})
        self.data_seed = data_seed

    def vocabularies(self, train: list[Example]) -> tuple[Values, Vocabulary]:
        """Return the scale of the readings in training, and all exercises."""
        readings = (example.source for example in train)
        scale = Values.of(reading for reading in readings if isinstance(reading, np.ndarray))
        return scale, Vocabulary(EXERCISES)

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Cut and join.

        Raises:
            ValueError: for windows longer than a recording, or more held-out subjects
                than there are.
        """
        recordings = watch_recordings()
        shortest = min(len(recording.readings) for recording in recordings)
        if self.lengths[-1] * self.block > shortest:
            raise ValueError(
                f"window_seconds has {self.lengths[-1] * self.block / RATE:g}, but the shortest "
                f"recording has {shortest / RATE:g} seconds; take shorter windows"
            )
        subjects = sorted({recording.subject for recording in recordings})
        counts = {"recordings": len(recordings), "subjects": len(subjects)}
        examples = {}
        for split, own in self._subjects_of_splits(subjects).items():
            there = [recording for recording in recordings if recording.subject in own]
            examples[split] = self._sequences(split, there)
            counts |= {f"{split}_subjects": len(own), f"{split}_recordings": len(there)}
        return examples, counts

    def _subjects_of_splits(self, subjects: Sequence[int]) -> dict[str, list[int]]:
        """Return the subjects of each split."""
        held_out = sum(self.num_subjects.values())
        if held_out >= len(subjects):
            raise ValueError(
                f"num_validation_subjects + num_test_subjects is {held_out}, but there are only "
                f"{len(subjects)} subjects, and one at least is to train on; make them smaller"
            )
        order = numpy_generator(self.data_seed, "data", "subjects").permutation(len(subjects))
        edges = np.cumsum([self.num_subjects[split] for split in ("validation", "test")])
        parts = np.split(np.array(subjects)[order], edges)
        return {split: parts[(2, 0, 1)[index]].tolist() for index, split in enumerate(SPLITS)}

    def _sequences(self, split: str, recordings: list[Recording]) -> list[Example]:
        """Return distinct sequences, each of one subject and one arm.

        A sequence is drawn as numbers: of the arm, and of each cut its exercise, length and start.
        """
        arms: dict[tuple[int, int], dict[str, Recording]] = {}
        for recording in recordings:
            arms.setdefault((recording.subject, recording.side), {})[recording.exercise] = recording
        by_arm = list(arms.values())
        generator = numpy_generator(self.data_seed, "data", "movement", split)
        low, high = self.num_commands

        def draw(number: int) -> list[tuple]:
            shape = (number, high)
            which = generator.integers(len(by_arm), size=number).tolist()
            used = generator.integers(low, high + 1, size=number).tolist()
            exercises = generator.integers(len(EXERCISES), size=shape)
            # From the second on, steps of 1 to 6 from the one before: never the same again.
            exercises[:, 1:] = generator.integers(1, len(EXERCISES), size=(number, high - 1))
            exercises = (exercises.cumsum(axis=1) % len(EXERCISES)).tolist()
            lengths = generator.choice(self.lengths, size=shape).tolist()
            offsets = generator.random(shape).tolist()
            rows = []
            for row, (arm, num) in enumerate(zip(which, used, strict=True)):
                cuts = []
                for exercise, length, offset in zip(
                    exercises[row][:num], lengths[row], offsets[row], strict=False
                ):
                    readings = by_arm[arm][EXERCISES[exercise]].readings
                    start = int(offset * (len(readings) - length * self.block + 1))
                    cuts.append((exercise, length, start))
                rows.append((arm, *cuts))
            return rows

        examples = []
        for arm, *cuts in distinct_draws(draw, self.num_examples[split]):
            there = by_arm[arm]
            parts = [
                averaged(there[EXERCISES[exercise]].readings[start:], length, self.block)
                for exercise, length, start in cuts
            ]
            names = [EXERCISES[exercise] for exercise, *_ in cuts]
            subject = there[names[0]].subject
            examples.append(Example(np.concatenate(parts), names, group=f"subject {subject}"))
        return examples

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Add the target of the nearest training source of the same length."""
        return super().baseline_predictions() | {
            "the nearest training source": nearest_targets(self)
        }


def averaged(readings: np.ndarray, length: int, block: int) -> np.ndarray:
    """Return the means of the first `length` blocks, (length, F) float32.

    Args:
        readings: (at least length * block, F).
        length: blocks.
        block: readings of each.

    Example:
        >>> averaged(np.array([[1.0], [3.0], [5.0], [7.0], [9.0]]), 2, 2).tolist()
        [[2.0], [6.0]]
    """
    blocks = readings[: length * block].reshape(length, block, -1)
    return blocks.mean(axis=1).astype(np.float32)


def watch_recordings() -> list[Recording]:
    """Return the recordings of the package seglearn.

    The file is a pickle, which can run code when it is read, as importing the package would.

    Raises:
        ValueError: if the package is not installed, or the file holds something else.
    """
    path = package_file("seglearn", "seglearn/data/watch_dataset.npy")
    data = np.load(path, allow_pickle=True).item()
    try:
        rows = zip(data["X"], data["y"], data["subject"], data["side"], strict=True)
        recordings = [
            Recording(readings, data["y_labels"][int(kind)], int(subject), int(side))
            for readings, kind, subject, side in rows
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not the data of seglearn 1.2 ({error!r})") from error
    for subject, side in {(recording.subject, recording.side) for recording in recordings}:
        done = [
            recording.exercise
            for recording in recordings
            if (recording.subject, recording.side) == (subject, side)
        ]
        if sorted(done) != sorted(EXERCISES):
            raise ValueError(
                f"{path}: subject {subject}, side {side} has the exercises {done}; each of "
                f"{', '.join(EXERCISES)} is needed once"
            )
    return recordings


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
