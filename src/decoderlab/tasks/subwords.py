"""Pieces of words, learnt from the training texts: few enough for a vocabulary, none unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

BEGINNING = "##"  # of a piece that goes on with a word


def learnt_pieces(texts: Sequence[str], size: int) -> list[str]:
    """Return the pieces of a vocabulary of `size`, in sorted order; those inside words begin "##".

    Paper: Schuster and Nakajima 2012, in the form of Wu et al. 2016, section 4.1
        (https://arxiv.org/abs/1609.08144).
    Differs: pieces are merged by frequency, as in byte-pair encoding (Sennrich et al. 2016,
        https://arxiv.org/abs/1508.07909), which is what the library `tokenizers` does.

    Args:
        texts: of training, words between white space.
        size: pieces at most, each character of the texts among them.

    Raises:
        ValueError: if the library is not installed.
    """
    library = _library()
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=size, show_progress=False, special_tokens=[], min_frequency=1
    )
    tokenizer.train_from_iterator(texts, trainer)
    return sorted(tokenizer.get_vocab())


def segmenter(pieces: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what splits a text into pieces, of each word the longest beginning first.

    A word with a character that is in no piece is unknown as a whole.

    Args:
        pieces: from `learnt_pieces`; the result depends on nothing else.
    """
    library = _library()
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", *pieces])}
    model = library.models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=1000)
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    return lambda text: tokenizer.encode(text).tokens


def _library():  # noqa: ANN202
    try:
        import tokenizers
    except ImportError as error:
        raise ValueError(
            "task.tokens is 'subword', which takes the library tokenizers; run: "
            "pip install 'decoderlab[subword]'"
        ) from error
    return tokenizers
