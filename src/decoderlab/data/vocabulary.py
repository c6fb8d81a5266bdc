"""Vocabularies: tokens to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from decoderlab.contract import TokenSpace

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


class Vocabulary:
    """A fixed, ordered set of tokens, behind four special ones.

    Args:
        entries: the tokens without the special ones, each once; their order gives their ids.

    Raises:
        ValueError: if an entry stands twice or is spelt like a special token.

    Example:
        >>> vocabulary = Vocabulary(["a", "b"])
        >>> vocabulary.encode(["b", "z"]), vocabulary.decode([5, 2])
        ([5, 3], ['b', '<eos>'])
    """

    def __init__(self, entries: Sequence[str]) -> None:
        clash = [entry for entry in entries if entry in SPECIAL]
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
        self._tokens = SPECIAL + self.entries
        # Without the special ones: a text that holds "<eos>" does not end there.
        self._ids = {
            token: number for number, token in enumerate(self._tokens) if token not in SPECIAL
        }
        self.space = TokenSpace(size=len(self._tokens))

    @classmethod
    def of(cls, sequences: Iterable[Sequence[str]], minimum_count: int = 1) -> Vocabulary:
        """Collect the tokens of `sequences`, in sorted order, dropping the rarer ones."""
        counts = Counter(token for sequence in sequences for token in sequence)
        return cls(sorted(token for token, count in counts.items() if count >= minimum_count))

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens, `unk_id` for unknown ones."""
        return [self._ids.get(token, self.space.unk_id) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of ids, special ones included."""
        return [self._tokens[number] for number in ids]
