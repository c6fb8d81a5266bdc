"""Learning to execute: read a short program character by character, write what it prints."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.curriculum import Curriculum, CurriculumBatches
from decoderlab.data.example import Example
from decoderlab.data.splits import check_split_sizes
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens
from decoderlab.data.vocabulary import Vocabulary

KINDS = ("program", "addition", "memorisation")
OPERATIONS = ("sum", "product", "variable", "condition", "loop")
NAMES = string.ascii_lowercase.replace("x", "")  # of variables; x counts the rounds of a loop
LINE_END = ";"  # between the lines of a program, so that it is one line of text
AGAIN = "|"  # between a source and its repetition
BLOCK = 4096  # numbers drawn at a time; part of what a seed means
STEPS, MIX_RATIO = 1500, 0.2  # of a curriculum, where no other are given
TRIES = 20  # draws for each example wanted, before the level is called too small

Draw = Callable[[int], int]


class LearningToExecuteTask(Task):
    """Programs in, what they print out; or two easier tasks of the same paper.

    The kinds of sources, each as hard as `length` and `nesting` say:

    * program: `nesting` operations, each but the first on the result of the one before, and on
      integers from 1 to 10 ** length - 1: sums and differences, products with and loops of at most
      4 * length, variables, conditions. The target is what Python prints.
    * addition: `print(12+34)`, two integers of exactly `length` digits.
    * memorisation: `length` random digits, to be repeated.

    A level is a pair (length, nesting). The training split has `num_train` examples of each level
    up to the target level, in the order (1, 1), (2, 1), ..., (length, nesting); validation and test
    are of the target level alone. The curriculum says when which level is trained on, and nothing
    else, so that runs with different curricula share their data and can be compared.

    Paper: Zaremba and Sutskever 2014, Learning to Execute (https://arxiv.org/abs/1410.4615).
    Differs: exact match of what is generated is the metric; the paper's is the accuracy of single
        characters under teacher forcing (token_accuracy is nearest to it, but without teacher
        forcing). A fixed training set instead of fresh examples. Targets end in EOS, not in a
        point. Every operation does something (the authors' code can also pass a value on), and a
        program has one length of constants (their code draws it for each), which are below
        10 ** length. Lines end in `;`, so that a program is one line. No held-out program is in
        training, even with other variable names, and no held-out sum with its terms swapped.
        See `Curriculum` for the schedules.

    Args:
        kind: `program`, `addition` or `memorisation`.
        length: digits, 1 to 15, for memorisation 1 or more; of the target level.
        nesting: operations that are combined, 1 to 20; of the target level. 1 for other kinds.
        num_train: examples of each level, at least 1; of easy levels many are repeated.
        num_validation, num_test: examples of the target level, at least 1, all different.
        reverse_source: read the source backwards. The data are others then; to compare the two
            ways in a study, take `encoder.reverse_source`, and never both.
        double_source: read the source twice.
        curriculum: `baseline`, `naive`, `mix` or `combined`.
        curriculum_steps: batches until naive and combined arrive at the target level, at least 1.
        mix_ratio: 0 to 1, see `Curriculum`.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for settings out of range, or more examples than there are.

    Example:
        >>> task = LearningToExecuteTask(kind="addition", length=2, nesting=1, num_train=9,
        ...                              num_validation=2, num_test=2, curriculum="mix")
        >>> task.data.counts["train"], len(task.data.splits["test"])
        (18, 2)
    """

    def __init__(
        self,
        *,
        kind: str,
        length: int,
        nesting: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        reverse_source: bool = False,
        double_source: bool = False,
        curriculum: str = "baseline",
        curriculum_steps: int = STEPS,
        mix_ratio: float = MIX_RATIO,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.choice("kind", kind, KINDS)
        if kind == "memorisation":
            require.at_least("length", length, 1)
        else:
            require.between("length", length, 1, 15)
        require.between("nesting", nesting, 1, 20)
        if kind != "program" and nesting != 1:
            raise ValueError(f"nesting is {nesting}, but kind {kind!r} has no nesting; make it 1")
        check_split_sizes(num_train, num_validation, num_test)
        self.kind, self.data_seed = kind, data_seed
        self.num_train, self.num_validation, self.num_test = num_train, num_validation, num_test
        self.reverse_source, self.double_source = reverse_source, double_source
        # Length rises first and begins again at 1 with each nesting, as in the authors' code.
        self.levels = [
            (digits, of) for of in range(1, nesting + 1) for digits in range(1, length + 1)
        ]
        self.curriculum = Curriculum(curriculum, len(self.levels), curriculum_steps, mix_ratio)

    @staticmethod
    def normalised(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with what has no effect at its default: equal curricula are one run."""
        name = settings["curriculum"]
        Curriculum(name, 1, settings["curriculum_steps"], settings["mix_ratio"])  # which checks
        unused = {} if name in ("naive", "combined") else {"curriculum_steps": STEPS}
        return {**settings, **unused, **({} if name == "combined" else {"mix_ratio": MIX_RATIO})}

    def evenly_trained(self, train: list[Example]) -> list[Example]:
        """Return the training examples of the target level, which are those of `baseline`.

        Raises:
            ValueError: for another curriculum.
        """
        if self.curriculum.name != "baseline":
            raise ValueError(
                f"curriculum is {self.curriculum.name!r}, but the task that has this one as a part "
                "trains on all its examples alike; make it baseline: the target level alone"
            )
        return train[-self.num_train :]

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return all characters that there can be, whether or not they came up in training."""
        characters = {
            "program": string.digits + string.ascii_lowercase + " ()*+-:<=>" + LINE_END,
            "addition": string.digits + "()+inprt",
            "memorisation": string.digits,
        }[self.kind]
        again = AGAIN * self.double_source
        sign = "-" * (self.kind == "program")
        return Vocabulary(characters + again), Vocabulary(string.digits + sign)

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw sources and run them."""
        counts = {"dropped_held_out": 0, "repeated_train": 0}
        number = self.num_validation + self.num_test
        held_out: dict[str, str] = {}
        for text in self._drawn(self.levels[-1], "held_out"):
            held_out.setdefault(self._group(text), text)
            if len(held_out) == number:
                break
        # What is likely comes early: shuffled, so that both splits have as much of it.
        order = numpy_generator(self.data_seed, "data", "execute", "split").permutation(number)
        texts = list(held_out.values())
        held = [self._example(texts[index]) for index in order]
        train: list[Example] = []
        for level in self.levels:
            known: dict[str, Example] = {}
            wanted = len(train) + self.num_train
            for text in self._drawn(level, "train"):
                if text in known:
                    counts["repeated_train"] += 1
                elif self._group(text) in held_out:
                    counts["dropped_held_out"] += 1
                    continue
                else:
                    known[text] = self._example(text)
                train.append(known[text])
                if len(train) == wanted:
                    break
        splits = {"validation": held[: self.num_validation], "test": held[self.num_validation :]}
        return {"train": train} | splits, counts

    def train_dataloader(self) -> CurriculumBatches:
        """Return the stream of training batches, from the trainer's step on."""
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        return CurriculumBatches(
            self.data.splits["train"],
            replace(self.curriculum, num_steps=self.curriculum.num_steps * accumulated),
            batch_size=self.batch_size,
            seed=self.seed,
            first_step=self.first_batch,
            group_by_target_length=self.group_by_target_length,
        )

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return rules that calculate nothing, and for memorisation the one that is always right.

        A program's first or last number is right where it is the chosen branch of a condition.
        """
        vocabulary = of_tokens(self.data.target_vocabulary)
        train = self.data.splits["train"]
        first = len(train) - len(train) // len(self.levels)  # of the target level alone
        seen = Counter(tuple(train.target[row][:-1]) for row in range(first, len(train)))
        test = range(len(self.data.splits["test"]))
        rules: dict[str, Sequence[Any]] = {}
        rules["the most frequent target"] = [list(seen.most_common(1)[0][0])] * len(test)
        numbers = [re.findall(r"\d+", self.shown_source("test", row)) for row in test]
        if self.kind == "memorisation":
            rules["the source"] = [vocabulary.encode(some[0]) for some in numbers]
        elif self.kind == "program":
            rules["the first number"] = [vocabulary.encode(some[0]) for some in numbers]
            rules["the last number"] = [vocabulary.encode(some[-1]) for some in numbers]
        return rules

    def source_tokens(self, text: str) -> str:
        """Return the characters as the encoder reads them: backwards or twice, as the task says."""
        text = text.strip()
        if self.reverse_source:
            text = text[::-1]
        return f"{text}{AGAIN}{text}" if self.double_source else text

    def source_text(self, tokens: Sequence[str]) -> str:
        """Return the source as it is written, forwards and once."""
        if self.double_source:
            tokens = tokens[: len(tokens) // 2]
        return "".join(tokens[::-1] if self.reverse_source else tokens)

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join the characters."""
        return "".join(tokens)

    def _drawn(self, level: tuple[int, int], use: str) -> Iterator[str]:
        """Yield sources of a level; raise ValueError if far more are taken than were wanted."""
        draw = integer_drawer(numpy_generator(self.data_seed, "data", "execute", use, *level))
        length, nesting = level
        number = self.num_train if use == "train" else self.num_validation + self.num_test
        for _ in range(TRIES * number):
            if self.kind == "program":
                yield random_program(draw, length, nesting)
            elif self.kind == "addition":
                least = 10 ** (length - 1)
                yield f"print({least + draw(9 * least)}+{least + draw(9 * least)})"
            else:
                yield "".join(str(draw(10)) for _ in range(length))
        what = "num_train" if use == "train" else "num_validation + num_test"
        raise ValueError(
            f"{what} is {number}, but among {TRIES * number} sources of length {length} and "
            f"nesting {nesting} there were not as many that can be used; make length or nesting "
            "larger, or num_validation and num_test smaller"
        )

    def _group(self, text: str) -> str:
        """Return what is equal for sources that are the same but for names or swapped terms."""
        if self.kind == "addition":
            return "+".join(sorted(re.findall(r"\d+", text)))
        names: dict[str, str] = {}
        return re.sub(
            rf"\b[{NAMES}]\b", lambda match: names.setdefault(match[0], NAMES[len(names)]), text
        )

    def _example(self, text: str) -> Example:
        target = text if self.kind == "memorisation" else printed(text)
        return Example(self.source_tokens(text), target, (), self._group(text))


def integer_drawer(generator: np.random.Generator) -> Draw:
    """Return a function from n to an integer drawn from 0 to n - 1, n at most 10 ** 15."""

    def numbers() -> Iterator[float]:
        while True:
            yield from generator.random(BLOCK).tolist()

    stream = numbers()
    return lambda n: int(next(stream) * n)


def random_program(draw: Draw, length: int, nesting: int) -> str:
    """Return a program; see `LearningToExecuteTask`.

    Args:
        draw: from n to an integer from 0 to n - 1.
        length: digits of the largest constant.
        nesting: how many operations.

    Example:
        >>> random_program(lambda n: n - 1, length=2, nesting=1)
        'z=99;for x in range(8):z-=99;print(z)'
    """
    lines, names, value = [], list(NAMES), None
    for _ in range(nesting):
        operation = OPERATIONS[draw(len(OPERATIONS))]
        number = {"product": 1, "condition": 4}.get(operation, 2)
        operands = [str(1 + draw(10**length - 1)) for _ in range(number)]
        if value is not None:
            operands[draw(number)] = value
        sign = "+-"[draw(2)]
        small = 1 + draw(4 * length)
        match operation:
            case "sum":
                value = f"({operands[0]}{sign}{operands[1]})"
            case "product":
                terms = [operands[0], str(small)]
                value = f"({'*'.join(terms[:: 2 * draw(2) - 1])})"
            case "condition":
                yes, left, right, no = operands
                value = f"({yes} if {left}{'<>'[draw(2)]}{right} else {no})"
            case "variable":
                name = names.pop(draw(len(names)))
                lines.append(f"{name}={operands[0]}")
                value = f"({name}{sign}{operands[1]})"
            case "loop":
                name = names.pop(draw(len(names)))
                lines.append(f"{name}={operands[0]}")
                lines.append(f"for x in range({small}):{name}{sign}={operands[1]}")
                value = name
    return LINE_END.join([*lines, f"print({value})"])


def printed(program: str) -> str:
    """Return what a program of ours prints; Python runs it.

    Example:
        >>> printed("a=4;for x in range(3):a-=2;print((a*5))")
        '-10'
    """
    shown: list[int] = []
    # Only texts that random_program and addition wrote come here: never what a user types.
    code = program.replace(LINE_END, "\n")
    exec(code, {"__builtins__": {}, "range": range, "print": shown.append})
    return str(shown[0])
