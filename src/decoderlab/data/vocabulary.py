"""Vocabularies: tokens to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from decoderlab.contract import TokenSpace

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
MAX_SLOTS = 10_000


class Vocabulary:
    """A fixed, ordered set of tokens, behind four special ones.

    Args:
        entries: the tokens without the special ones, each once; their order gives their ids.
        unknown_slots: how many tokens `<unk1>`, `<unk2>`, ... stand behind the entries, each for an
            unknown word of an example, see `decoderlab.data.unknown_slots`.

    Raises:
        ValueError: if an entry stands twice or is spelt like a special token or a slot.

    Example:
        >>> vocabulary = Vocabulary(["a", "b"])
        >>> vocabulary.encode(["b", "z"]), vocabulary.decode([5, 2])
        ([5, 3], ['b', '<eos>'])
        >>> vocabulary = Vocabulary(["a", "b"], unknown_slots=2)
        >>> vocabulary.encode(["z", "b", "y"], words=["z"]), vocabulary.decode([6, 7], words=["z"])
        ([6, 5, 3], ['z', '<unk2>'])
    """

    def __init__(self, entries: Sequence[str], unknown_slots: int = 0) -> None:
        slots = tuple(f"<unk{number}>" for number in range(1, unknown_slots + 1))
        self.reserved = frozenset(SPECIAL + slots)
        clash = [entry for entry in entries if entry in self.reserved]
        if clash:
            raise ValueError(
                f"the data contain the token {clash[0]!r}, which is reserved; rename it in the data"
            )
        if len(set(entries)) < len(entries):
            twice = next(entry for entry, count in Counter(entries).items() if count > 1)
            raise ValueError(
                f"the token {twice!r} stands twice in the vocabulary; name each token once"
            )
        self.entries = tuple(entries)
        self.unknown_slots = unknown_slots
        self.first_slot = len(SPECIAL) + len(self.entries)  # its id, where there are slots
        self._tokens = SPECIAL + self.entries + slots
        # Of the entries alone: a text that holds "<eos>" does not end there.
        self._ids = {token: number for number, token in enumerate(self.entries, len(SPECIAL))}
        self.space = TokenSpace(size=len(self._tokens))

    @classmethod
    def of(cls, sequences: Iterable[Sequence[str]], minimum_count: int = 1) -> Vocabulary:
        """Collect the tokens of `sequences`, in sorted order, dropping the rarer ones."""
        counts = Counter(token for sequence in sequences for token in sequence)
        return cls(sorted(token for token, count in counts.items() if count >= minimum_count))

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def encode(self, tokens: Iterable[str], words: Sequence[str] = ()) -> list[int]:
        """Return the ids of tokens, `unk_id` for unknown ones.

        Args:
            tokens: a sequence of them.
            words: of the slots, from the first on; they go before entries that are spelt the same.
        """
        unk_id = self.space.unk_id
        if not words:
            return [self._ids.get(token, unk_id) for token in tokens]
        slots = {word: number for number, word in enumerate(words, self.first_slot)}
        return [slots.get(token) or self._ids.get(token, unk_id) for token in tokens]

    def decode(self, ids: Iterable[int], words: Sequence[str] = ()) -> list[str]:
        """Return the tokens of ids, special ones included.

        Args:
            ids: a sequence of them.
            words: of the slots, from the first on; a slot without a word is named as it is.
        """
        known = dict(enumerate(words, self.first_slot))
        return [known.get(number) or self._tokens[number] for number in ids]

    def written(self, ids: Iterable[int], words: Sequence[str] = ()) -> list[str]:
        """Return the tokens of a text: as `decode`, but `<unk>` for a slot without a word."""
        end, unk_id = self.first_slot + len(words), self.space.unk_id
        return self.decode((unk_id if number >= end else number for number in ids), words)
