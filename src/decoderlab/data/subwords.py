"""Pieces of words, learnt from the training texts: few enough for a vocabulary, none unknown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BEGINNING = "##"  # of a piece that goes on with a word
UNKNOWN = "<unk>"
REMEMBERED = 100_000  # words whose pieces are kept


def learnt_pieces(texts: Sequence[str], size: int) -> list[str]:
    """Return the pieces of a vocabulary of `size`, in sorted order; those inside words begin "##".

    Every character of the texts is a piece, at the beginning of words and inside them, so that any
    word of known characters can be written.

    Paper: Schuster and Nakajima 2012, in the form of Wu et al. 2016, section 4.1
        (https://arxiv.org/abs/1609.08144).
    Differs: pieces are merged by frequency, as in byte-pair encoding (Sennrich et al. 2016,
        https://arxiv.org/abs/1508.07909), which is what the library `tokenizers` does.

    Args:
        texts: of training, words between white space.
        size: pieces at most.

    Raises:
        ValueError: if the library is not installed, or there are more characters than pieces.

    Example:
        >>> learnt_pieces(["low low lower", "newer new"], 18)[-6:]
        ['lower', 'n', 'new', 'o', 'r', 'w']
    """
    library = _library()
    characters = sorted(
        {character for text in texts for word in text.split() for character in word}
    )
    if size < 2 * len(characters):
        raise ValueError(
            f"vocabulary_size is {size}, but the training texts have {len(characters)} different "
            f"characters, each a piece at the beginning of words and inside them; give at least "
            f"{2 * len(characters)}"
        )
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=size,
        show_progress=False,
        min_frequency=1,
        # Named here, they get their numbers in sorted order. Left to itself the library numbers
        # them as it walks through a hash table, and breaks ties between merges by these numbers:
        # other pieces in each process (https://github.com/huggingface/tokenizers/issues/1794).
        special_tokens=[BEGINNING + character for character in characters],
    )
    # The library's white space is not quite Python's.
    with _one_thread():
        tokenizer.train_from_iterator((" ".join(text.split()) for text in texts), trainer)
    # The word "##" is not written as a piece, which would look like the beginning of one.
    return sorted(set(tokenizer.get_vocab()) - {BEGINNING})


class Segmenter:
    """Splits a text into pieces, of each word the longest beginning first.

    A word with a character that is in no piece is unknown as a whole.

    Args:
        pieces: from `learnt_pieces`, in any order; the result depends on nothing else.

    Example:
        >>> Segmenter(["a", "##b", "##bc", "c"])("abc cab abd")
        ['a', '##bc', '<unk>', '<unk>']
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = frozenset(pieces)
        self.longest = max(map(len, pieces))
        self._remembered: dict[str, tuple[str, ...]] = {}

    def __call__(self, text: str) -> list[str]:
        """Return the pieces of a text."""
        return [piece for word in text.split() for piece in self._word(word)]

    def _word(self, word: str) -> tuple[str, ...]:
        if word not in self._remembered:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[word] = tuple(self._split(word)) or (UNKNOWN,)
        return self._remembered[word]

    def _split(self, word: str) -> list[str]:
        pieces: list[str] = []
        start = 0
        while start < len(word):
            # A word that begins with "##" itself begins with "#" alone: no first piece has "##".
            first = 1 if not start and word.startswith(BEGINNING) else self.longest
            for end in range(min(start + first, len(word)), start, -1):
                piece = word[start:end] if start == 0 else BEGINNING + word[start:end]
                if piece in self.pieces:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return []
        return pieces


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the library to one thread, as everything here; else it warns when the process forks."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _library():  # noqa: ANN202
    try:
        import tokenizers
    except ImportError as error:
        raise ValueError(
            "task.tokens is 'subword', which takes the library tokenizers; run: "
            "pip install 'decoderlab[subword]'"
        ) from error
    return tokenizers
