"""Pairs of texts: one policy for tokens, lengths, odd lines and splits, whatever they come from."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence
from copy import copy
from itertools import chain
from typing import NamedTuple, Self

from decoderlab.common import require
from decoderlab.common.progress import counted
from decoderlab.data.example import SPLITS, Example, text_of_example
from decoderlab.data.splits import examples_of, split_by_group, split_by_source
from decoderlab.data.subwords import Segmenter, learnt_pieces
from decoderlab.data.task import Task
from decoderlab.data.task_data import Kind
from decoderlab.data.task_scores import ids_of_texts
from decoderlab.data.unknown_slots import check_slots
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary

TOKENS = ("character", "word", "subword", "separator")


class Pair(NamedTuple):
    """A source and a target as texts.

    Args:
        source, target: the texts.
        group: what must not stand in two splits; None for the source itself.
        split: the split that it belongs to; None for one to be drawn.
    """

    source: str
    target: str
    group: Hashable = None
    split: str | None = None


class PairsTask(Task):
    """Pairs of texts. Subclasses implement `pairs`, and `held_out` or `shares`.

    The policy, every part of it counted:

    * Texts are brought to Unicode's form NFC (`normalised`: pairs that this changed). What stands
      between two tokens counts once, be it white space or the separator, so that texts of the same
      tokens are the same. Nothing else is changed: case, punctuation and odd characters stay.
    * Pairs with an empty side, or one of white space alone, and pairs over a maximum length are
      dropped (`dropped_empty`, `dropped_too_long`), and so are repeated pairs, of one group where
      there are groups (`repeated_pairs`).
    * Tokens that training has never, or less than `minimum_count` times, become `<unk>`
      (`test_unknown_source_tokens` and so on); an unknown token is never generated. With
      `unknown_slots` those of a source have ids of their own, and can be.
    * Without groups no source is in two splits. If a source has several targets, each is an example
      of training; in validation and test they are one example, all of them count as right, and the
      first gives the teacher-forced loss. With groups no group is in two splits, and the targets of
      a source are those of its group.

    Args:
        tokens: `character` (a token each), `word` (split at white space), `subword` (pieces of
            words, see `decoderlab.data.subwords`) or `separator` (split at `separator`).
        separator: the text between tokens, with `tokens: separator` only.
        vocabulary_size: pieces of each side, with `tokens: subword` only; at least 1.
        minimum_count: tokens seen less often in training become `<unk>`, at least 1.
        unknown_slots: how many of a source's unknown tokens, from the left, have an id of their own
            there and in its targets, so that they can be written; see
            `decoderlab.data.unknown_slots`. 0 for none; it needs a `minimum_count` above 1.
        max_source_length, max_target_length: longest pair to keep, in tokens, for subwords in
            words; None for no limit. They bound memory.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: for settings out of range or at odds with each other.
    """

    shares: tuple[float, ...]
    # The split that all pairs belong to, whatever the data say; None for what they say.
    only_split: str | None = None

    def __init__(
        self,
        *,
        tokens: str,
        separator: str | None = None,
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.choice("tokens", tokens, TOKENS)
        for name, value, kind in (
            ("separator", separator, "separator"),
            ("vocabulary_size", vocabulary_size, "subword"),
        ):
            if (tokens == kind) != bool(value):
                raise ValueError(
                    f"tokens is {tokens!r} and {name} is {value!r}; give a {name} exactly "
                    f"when tokens is {kind!r}"
                )
        for name, value in (
            ("minimum_count", minimum_count),
            ("max_source_length", max_source_length),
            ("max_target_length", max_target_length),
        ):
            if value is not None:
                require.at_least(name, value, 1)
        self.tokens, self.separator = tokens, separator
        self.vocabulary_size = vocabulary_size
        self.minimum_count, self.data_seed = minimum_count, data_seed
        check_slots(unknown_slots, self._nothing_unknown())
        self.unknown_slots = unknown_slots
        self.limits = (max_source_length, max_target_length)
        self._segmenters: dict[str, Segmenter] = {}

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Yield the pairs of the data, raw.

        Args:
            counts: to which what the reading drops is to be added, by reason.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement pairs()")

    def as_test(self) -> Self:
        """Return a copy of this task, without data yet, all of whose pairs are test examples."""
        whole = copy(self)
        whole.only_split, whole._data, whole._segmenters = "test", None, {}
        return whole

    def held_out(self, number: int) -> tuple[int, int]:
        """Return how many of `number` sources, or groups, are for validation and for test.

        By default those of the two `shares` that a subclass sets.
        """
        num_validation, num_test = (max(1, round(share * number)) for share in self.shares)
        return num_validation, num_test

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the pairs and split them.

        Raises:
            ValueError: for fewer pairs than splits, splits that are too large, or wrong
                names of splits.
        """
        counts = {"pairs": 0, "normalised": 0, "dropped_empty": 0, "dropped_too_long": 0}
        counts["repeated_pairs"] = 0
        targets: dict[str | None, dict[Hashable, dict[str, list[str]]]] = {}
        grouped = False
        for pair in counted(self.pairs(counts), "reading the pairs"):
            if self.only_split is not None:
                pair = pair._replace(split=self.only_split, group=None)
            counts["pairs"] += 1
            source, target = map(self.tidied, ("source", "target"), self._normalised(pair, counts))
            lengths = len(self.words("source", source)), len(self.words("target", target))
            if not (all(lengths) and source.strip() and target.strip()):
                counts["dropped_empty"] += 1
                continue
            if any(
                limit is not None and length > limit
                for length, limit in zip(lengths, self.limits, strict=True)
            ):
                counts["dropped_too_long"] += 1
                continue
            group = pair.group
            if isinstance(group, str):  # one name, however it was typed
                group = " ".join(unicodedata.normalize("NFC", group).split())
            grouped |= group is not None
            of_group = targets.setdefault(pair.split, {}).setdefault(group, {})
            of_group.setdefault(source, []).append(target)
        parts = (sources for groups in targets.values() for sources in groups.values())
        for several in chain.from_iterable(sources.values() for sources in parts):
            if len(several) > 1:
                before = len(several)
                several[:] = dict.fromkeys(several)
                counts["repeated_pairs"] += before - len(several)
        if set(targets) - {None}:
            return self._as_given(targets), counts
        groups = targets.get(None, {})
        number = len(groups if grouped else groups.get(None, ()))
        if number < 3:
            what = "groups" if grouped else "sources"
            raise ValueError(
                f"{self.described()}: {number} different {what} are left ({counts}); at least 3 "
                "are needed, one for each split"
            )
        num_validation, num_test = self.held_out(number)
        sizes = {"num_validation": num_validation, "num_test": num_test}
        if grouped:
            return split_by_group(groups, **sizes, data_seed=self.data_seed), counts
        return split_by_source(groups[None], **sizes, data_seed=self.data_seed), counts

    def copied(self, sources: Iterable[Sequence[str]]) -> list[list[int]]:
        """Return the tokens of sources as predictions: a rule where targets resemble them.

        Tokens that have no id in targets are left out: nothing can write them.

        Args:
            sources: the tokens of all test examples, in their order.
        """
        return ids_of_texts(self, sources)

    def described(self) -> str:
        """Return what a message calls the data."""
        return "the data"

    def vocabularies(self, train: list[Example]) -> tuple[Kind, Vocabulary | Values]:
        """Return the tokens seen at least `minimum_count` times in training."""
        targets = [text_of_example(example.target) for example in train]
        return self.source_vocabulary(train), self.vocabulary("target", targets)

    def source_vocabulary(self, train: list[Example]) -> Kind:
        """Return the source vocabulary alone."""
        return self.vocabulary("source", [text_of_example(example.source) for example in train])

    def vocabulary(self, side: str, texts: list[str]) -> Vocabulary:
        """Return the vocabulary of one side of the training pairs.

        Raises:
            ValueError: if no token is as frequent as `minimum_count`.
        """
        if self.tokens == "subword":
            size = require.given("vocabulary_size", self.vocabulary_size)
            vocabulary = Vocabulary(learnt_pieces(texts, size))
            self._segmenters[side] = Segmenter(vocabulary.entries)
            return vocabulary
        vocabulary = Vocabulary.of((self.words(side, text) for text in texts), self.minimum_count)
        if not vocabulary.entries:
            raise ValueError(
                f"minimum_count is {self.minimum_count}, but no {side} token of training is "
                "there so often; take a smaller one"
            )
        return vocabulary

    def pieces(self, side: str, sequence: str) -> Sequence[str]:
        """Split the text of an example into tokens, as the vocabularies have them."""
        if self.tokens != "subword":
            return self.words(side, sequence)
        if side not in self._segmenters:  # of a run that was opened without its data
            vocabulary = getattr(self.data, f"{side}_vocabulary")
            self._segmenters[side] = Segmenter(vocabulary.entries)
        return self._segmenters[side](sequence)

    def source_tokens(self, text: str) -> Sequence[str]:
        """Split a line as the data are split."""
        return self.pieces("source", unicodedata.normalize("NFC", text))

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join tokens as the data have them."""
        if self.tokens == "subword":
            return " ".join(tokens).replace(" ##", "")
        joint = {"character": "", "word": " ", "separator": self.separator}[self.tokens]
        return joint.join(tokens)

    source_text = target_text

    def tidied(self, side: str, text: str) -> str:
        """Return a text in the form that all texts of the same tokens share."""
        if self.tokens == "character":
            return text
        return (self.separator or " ").join(PairsTask.words(self, side, text))

    def words(self, side: str, text: str) -> Sequence[str]:
        """Split a text into tokens, or into the words that are cut into pieces later."""
        if self.tokens == "character":
            return text
        # Splitting at a separator leaves empty strings where two of them meet; they say nothing.
        return [token for token in text.split(self.separator) if token]

    def _nothing_unknown(self) -> str | None:
        """Return why training has no unknown token, and what to do; None where it can have some."""
        if self.tokens == "subword":
            return "with tokens 'subword' hardly any word is unknown; take tokens: word"
        if self.minimum_count == 1:
            return "minimum_count is 1, so that training has no unknown token; give 2 or more"
        return None

    def _normalised(self, pair: Pair, counts: dict[str, int]) -> tuple[str, str]:
        texts = pair.source, pair.target
        if all(unicodedata.is_normalized("NFC", text) for text in texts):
            return texts
        counts["normalised"] += 1
        source, target = (unicodedata.normalize("NFC", text) for text in texts)
        return source, target

    def _as_given(
        self, targets: dict[str | None, dict[Hashable, dict[str, list[str]]]]
    ) -> dict[str, list[Example]]:
        """Return the examples of splits that the data name themselves."""
        wrong = [str(name) for name in targets if name not in SPLITS]
        if wrong:
            raise ValueError(
                f"{self.described()}: a pair belongs to the split {wrong[0]!r}; the splits are "
                f"{', '.join(SPLITS)}, and either all pairs name their split or none does"
            )
        return {
            name: [
                example
                for group, sources in targets.get(name, {}).items()
                for source, several in sources.items()
                for example in examples_of(name, source, several, group)
            ]
            for name in SPLITS
        }
