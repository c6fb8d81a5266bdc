"""Slots: ids of an example's own for the unknown words of its source, so that they can be written.

The first N distinct tokens of a source, from the left, that its vocabulary lacks are `<unk1>` to
`<unkN>` there, and the same in the example's targets, where these have the token too. So training
shows how an unknown word is carried over, and what is written can be read with the example's words.
A word of a slot that the target vocabulary has as well can be written in two ways, which count as
the same.

Paper: the copyable model of Luong et al. 2015, section 3.1 (https://arxiv.org/abs/1410.8206). With
    a pointer it is the extended vocabulary of See et al. 2017, section 2.2
    (https://arxiv.org/abs/1704.04368).
Differs: tokens are matched by their spelling, without alignments. Each slot has an embedding and
    an output of its own, so that it can be generated too, where See et al. give an example's words
    the embedding of the unknown token and a probability by copying alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from decoderlab.common import require
from decoderlab.data.batches import Images, Ragged, Split
from decoderlab.data.example import SPLITS
from decoderlab.data.task_data import Kind
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import MAX_SLOTS, Vocabulary

SIDES = ("source", "target")


def check_slots(number: int, unknown: str | None) -> None:
    """Raise ValueError for a number of slots that is out of range, or that nothing would fill.

    Args:
        number: of slots, 0 for none.
        unknown: why training has no unknown token, and what to do; None where it can have some.
    """
    require.between("unknown_slots", number, 0, MAX_SLOTS)
    if number and unknown is not None:
        raise ValueError(f"unknown_slots is {number}, but {unknown}, or leave unknown_slots out")


def with_slots(
    number: int, source: Kind, target: Vocabulary | Values
) -> tuple[Kind, Vocabulary | Values]:
    """Return the vocabularies of a task with so many slots; as they are for none.

    Raises:
        ValueError: unless both are of tokens, or for an entry that is spelt like a slot.
    """
    if not number:
        return source, target
    if not isinstance(source, Vocabulary) or not isinstance(target, Vocabulary):
        raise ValueError(
            f"unknown_slots is {number}, but slots are for tokens, and these sources or targets "
            "are values or images; leave unknown_slots out"
        )
    return Vocabulary(source.entries, number), Vocabulary(target.entries, number)


def words_of_slots(tokens: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the words of a source that have a slot, from the first slot on.

    Args:
        tokens: of the source.
        vocabulary: of sources.

    Example:
        >>> words_of_slots("Ur to Uz to Ur to Ai".split(), Vocabulary(["to"], unknown_slots=2))
        ('Ur', 'Uz')
    """
    unknown = (token for token in tokens if token not in vocabulary)
    words = dict.fromkeys(token for token in unknown if token not in vocabulary.reserved)
    return tuple(words)[: vocabulary.unknown_slots]


def by_slot(ids: Sequence[int], words: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """Return what was written with the slots of an example in place of tokens spelt the same.

    Args:
        ids: that were written.
        words: of the example's slots.
        vocabulary: of targets.

    Example:
        >>> by_slot([4, 5], ["Ur"], Vocabulary(["Ur", "to"], unknown_slots=2))
        [6, 5]
    """
    slots = {
        number: slot
        for slot, (word, number) in enumerate(
            zip(words, vocabulary.encode(words), strict=True), vocabulary.first_slot
        )
        if word in vocabulary
    }
    return [slots.get(number, number) for number in ids]


def slots_used(splits: Mapping[str, Split], source: Kind, target: Kind) -> dict[str, int]:
    """Return how many tokens of each split have a slot, by what they are; {} without slots."""
    vocabularies = zip(SIDES, (source, target), strict=True)
    return {
        f"{name}_{side}_tokens_with_slot": _number(getattr(splits[name], side), vocabulary)
        for side, vocabulary in vocabularies
        if isinstance(vocabulary, Vocabulary) and vocabulary.unknown_slots
        for name in SPLITS
    }


def check_learnt(number: int, counts: Mapping[str, int]) -> None:
    """Raise ValueError if no source of training fills a slot.

    Args:
        number: of slots.
        counts: from `slots_used`.
    """
    if number and not counts["train_source_tokens_with_slot"]:
        raise ValueError(
            f"unknown_slots is {number}, but no source of training has an unknown token, so that "
            "no slot would be learnt; give a larger minimum_count or unknown_share, or leave "
            "unknown_slots out"
        )


def _number(rows: Ragged | Images, vocabulary: Vocabulary) -> int:
    return int((rows.values >= vocabulary.first_slot).sum())
