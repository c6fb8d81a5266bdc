"""SCAN: commands such as 'jump twice after walk left', to the actions that carry them out."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import Example
from decoderlab.data.task import Task
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks.scan_splits import AT_RANDOM_TRAINED, TEMPLATE_SPLITS

AT_RANDOM = ("simple", "published")
TEMPLATES = ("right", "opposite_right", "around_right", "jump_around_right")
KINDS = (*AT_RANDOM, "length", "add_jump", "turn_left", *TEMPLATES)
VERBS = {"walk": "I_WALK", "look": "I_LOOK", "run": "I_RUN", "jump": "I_JUMP"}
TURNS = {"left": "I_TURN_LEFT", "right": "I_TURN_RIGHT"}
OTHERS = ("turn", "opposite", "around", "twice", "thrice", "and", "after")
SIMPLE_SHARE = 0.8
LONGEST = 22  # actions in the training split of `length`; no command has 23
# A primitive that is trained on alone, and how often the published files repeat it (10 %).
PRIMITIVES = {"add_jump": ("jump", 1467), "turn_left": ("turn left", 2189)}

Actions = tuple[str, ...]


class ScanTask(Task):
    """All 20,910 commands of the SCAN grammar, word by word, to actions.

    Paper: Lake and Baroni 2018, section 2 and supplement (https://arxiv.org/abs/1711.00350).
    Source: generated from the grammar; the actions are named as in the published files.
    Differs: validation commands are taken out of the training commands, where the paper has no
        validation split: num_validation different commands less to train on, the repeated
        primitive stays. The split `simple` is drawn anew; the others are the published ones, in
        another order.

    Args:
        split: `simple`: at random; `published`: the random splits of the published files;
            `length`: up to 22 actions to train on, 24 to 48 to test on (16,990 and 3,920
            commands); `add_jump`: all commands without `jump` and 1,467 times `jump` alone to
            train on, those with `jump` to test on (14,670 and 7,706); `turn_left`: the same with
            `turn left`, 2,189 times (21,890 and 1,208). Four of Loula et al. 2018
            (https://arxiv.org/abs/1807.07545): `jump_around_right` tests all commands with that
            (18,528 and 1,173); `right`, `opposite_right` and `around_right` those in which a verb
            has this direction, and train on none of them (15,225 and 4,476). Commands that turn in
            this direction are in neither.
        num_validation: different commands taken out of training, at least 1.
        train_share: of all commands, for training and validation, with `simple` and `published`
            only; None for 0.8 (16,728 and 4,182). The published ones are 0.01, 0.02, 0.04, 0.08,
            0.16, 0.32, 0.64 and 0.8.
        num_test: commands to test on; None for all that the split has. With `simple` they are the
            same whatever the share.
        data_seed: seed of the split and of the validation commands, so that the runs of all seeds
            share them.

    Raises:
        ValueError: for numbers out of range, or more commands than the split has.

    Example:
        >>> task = ScanTask(split="add_jump", num_validation=1000)
        >>> [task.data.counts[name] for name in ("train", "validation", "test")]
        [13670, 1000, 7706]
    """

    def __init__(
        self,
        *,
        split: str,
        num_validation: int,
        train_share: float | None = None,
        num_test: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.choice("split", split, KINDS)
        require.at_least("num_validation", num_validation, 1)
        if num_test is not None:
            require.at_least("num_test", num_test, 1)
        if train_share is not None:
            require.ratio("train_share", train_share)
            if split not in AT_RANDOM:
                raise ValueError(
                    f"train_share is {train_share} and split is {split!r}; only the splits at "
                    "random, 'simple' and 'published', have a share, so leave train_share out"
                )
            if split == "published":
                require.choice("train_share", str(train_share), list(AT_RANDOM_TRAINED))
        self.split, self.num_validation, self.num_test = split, num_validation, num_test
        self.train_share = SIMPLE_SHARE if train_share is None else train_share
        self.data_seed = data_seed

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return all 13 words and 6 actions, whether or not they came up in training."""
        words = sorted([*VERBS, *TURNS, *OTHERS])
        return Vocabulary(words), Vocabulary(sorted([*VERBS.values(), *TURNS.values()]))

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Write all commands and split them.

        Raises:
            ValueError: if a split is larger than the number of commands allows.
        """
        actions = commands()
        order = numpy_generator(self.data_seed, "data", "scan").permutation(len(actions))
        names = list(actions)
        known, held_out, repeated = self._parts([names[index] for index in order], actions)
        if self.num_validation >= len(known):
            raise ValueError(
                f"num_validation is {self.num_validation}, but there are only {len(known)} "
                "different commands for training and validation; make it smaller"
            )
        if self.num_test is not None and self.num_test > len(held_out):
            raise ValueError(
                f"num_test is {self.num_test}, but there are only {len(held_out)} commands to test "
                "on; make it smaller, or null for all"
            )
        chosen = {
            "train": known[self.num_validation :] + repeated,
            "validation": known[: self.num_validation],
            # From the end: with `simple`, these are to test on whatever the share.
            "test": held_out[-(self.num_test or len(held_out)) :],
        }
        counts = {"commands": len(actions), "repetitions_of_the_primitive": len(repeated)}
        return {
            name: [Example(command.split(), actions[command]) for command in some]
            for name, some in chosen.items()
        }, counts

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return what rules predict: those of all tasks and, of `simple`, `the other way round`.

        It looks up "b and a" for "a after b", and "b after a" for "a and b", in training, and has
        nothing for what is not there. In the other splits it never is.
        """
        rules = super().baseline_predictions()
        if self.split not in AT_RANDOM:
            return rules
        train, test = self.data.splits["train"], self.data.splits["test"]

        def command(split: str, row: int) -> str:
            return self.source_text(self.decoded_source(split, row))

        known: dict[str | None, Sequence[int]] = {
            command("train", row): self.accepted("train", row)[0] for row in range(len(train))
        }
        asked = [other_way_round(command("test", row)) for row in range(len(test))]
        return rules | {"the other way round": [known.get(text, ()) for text in asked]}

    def _parts(
        self, names: list[str], actions: dict[str, Actions]
    ) -> tuple[list[str], list[str], list[str]]:
        """Return the commands to train on, those to test on, and the repeated primitive."""
        if self.split == "simple":
            number = round(self.train_share * len(names))
            return names[:number], names[number:], []
        if self.split == "published":
            trained = trained_at_random(str(self.train_share))
            known = [name for name in names if name in trained]
            return known, [name for name in names if name not in trained], []
        if self.split in TEMPLATES:
            parts = template_split(self.split)
            known, tested = ([name for name in names if name in part] for part in parts)
            return known, tested, []
        if self.split == "length":
            primitive, times = "", 0
            tested = {name for name in names if len(actions[name]) > LONGEST}
        else:
            primitive, times = PRIMITIVES[self.split]
            tested = {name for name in names if primitive in name and name != primitive}
        known = [name for name in names if name not in tested and name != primitive]
        return known, [name for name in names if name in tested], [primitive] * times


def trained_at_random(share: str) -> frozenset[str]:
    """Return the training commands of a published random split.

    Source: the files of Lake and Baroni 2018, https://github.com/brendenlake/SCAN.

    Args:
        share: of all commands, of `AT_RANDOM_TRAINED`.

    Example:
        >>> len(trained_at_random("0.8"))
        16728
    """
    return _chosen(AT_RANDOM_TRAINED[share])


def template_split(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the training and the test commands of a split of Loula et al. 2018.

    Args:
        name: of `TEMPLATES`.

    Example:
        >>> [len(names) for names in template_split("jump_around_right")]
        [18528, 1173]
    """
    trained, tested = TEMPLATE_SPLITS[name]
    return _chosen(trained), _chosen(tested)


def _chosen(text: str) -> frozenset[str]:
    """Return the commands whose bits are set; see `scan_splits`."""
    names = np.array(sorted(commands()))
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    bits = np.unpackbits(raw, bitorder="little")[: len(names)].astype(bool)
    return frozenset(names[bits].tolist())


def commands() -> dict[str, Actions]:
    """Return the actions of every command of the grammar.

    A command is one or two sentences joined by `and` or `after`; a sentence is a phrase, once,
    `twice` or `thrice`; a phrase is a verb, with or without a direction.

    Example:
        >>> commands()["jump left after walk twice"]
        ('I_WALK', 'I_WALK', 'I_TURN_LEFT', 'I_JUMP')
    """
    phrases: dict[str, Actions] = {verb: (action,) for verb, action in VERBS.items()}
    acts = phrases | {"turn": ()}  # to turn is the direction's action alone
    for (verb, act), (direction, turn) in product(acts.items(), TURNS.items()):
        phrases[f"{verb} {direction}"] = (turn, *act)
        phrases[f"{verb} opposite {direction}"] = (turn, turn, *act)
        phrases[f"{verb} around {direction}"] = (turn, *act) * 4
    times = {"": 1, " twice": 2, " thrice": 3}
    sentences = {
        phrase + word: act * number
        for (phrase, act), (word, number) in product(phrases.items(), times.items())
    }
    joined = {}
    for (sentence, first), (other, second) in product(sentences.items(), repeat=2):
        joined[f"{sentence} and {other}"] = first + second
        joined[f"{sentence} after {other}"] = second + first
    return sentences | joined


def other_way_round(command: str) -> str | None:
    """Return the command that asks for the same with its parts the other way round.

    Example:
        >>> other_way_round("jump after turn left"), other_way_round("jump")
        ('turn left and jump', None)
    """
    for word, other in (("and", "after"), ("after", "and")):
        first, joined, second = command.partition(f" {word} ")
        if joined:
            return f"{second} {other} {first}"
    return None
