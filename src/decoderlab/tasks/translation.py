"""Translation: what all tasks of corresponding sentences share, and your own two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from decoderlab.common import require
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.reading import lines_of
from decoderlab.metrics.overlap import TOKENIZERS
from decoderlab.tasks.words import JOINT, join_words, split_words

PLAIN = "a UTF-8 file of plain text with one sentence in each line"
COPIED = "copying the source (as far as the vocabulary goes)"


class TranslationTask(PairsTask):
    """Pairs of sentences, to be scored by BLEU and chrF. Subclasses implement `pairs`, `held_out`.

    Whole texts are scored: what was generated is joined to a sentence, and compared with the
    references as the data have them, words unknown to the vocabulary included. The texts of
    validation and test are kept with the data for that. Pairs with several references are scored
    against all of theirs.

    Args:
        tokens: `word` (words and punctuation, see `split_words`), `subword` or `character`.
        vocabulary_size, minimum_count, unknown_slots, max_source_length, max_target_length,
            data_seed: see `PairsTask`; lengths are in words and punctuation for subwords too.
    """

    metric = "bleu"
    bleu_tokenizer = "13a"  # how sacrebleu splits the texts for BLEU
    keeps_texts = True

    def __init__(
        self,
        *,
        tokens: str,
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        require.choice("tokens", tokens, ("word", "subword", "character"))
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join tokens to a sentence."""
        return join_words(tokens) if self.tokens == "word" else super().target_text(tokens)

    source_text = target_text

    def tidied(self, side: str, text: str) -> str:
        """Return a text in the form that all texts of the same tokens share."""
        if self.tokens == "character":
            return text
        return " ".join(text.replace(JOINT, "").split())

    def words(self, side: str, text: str) -> Sequence[str]:
        """Split a text into characters, or into words and punctuation."""
        return text if self.tokens == "character" else split_words(text)

    def baseline_predictions(self) -> dict[str, Sequence[Sequence[int]]]:
        """Return the most frequent target, and the source as it is."""
        sources = (self.pieces("target", source) for source, _ in self.data.splits["test"].texts)
        return super().baseline_predictions() | {COPIED: self.copied(sources)}


class FilesTranslationTask(TranslationTask):
    """Your own sentences: two UTF-8 files of plain text, line by line translations of each other.

    Windows line ends and a byte-order mark are fine. Lines that are empty in both files are passed
    over (`empty_lines`); for all else see `PairsTask`. No source is in two splits.

    Args:
        source_path, target_path: the files.
        validation_share, test_share: shares of the different sources, above 0, below 1 together.
        bleu_tokenizer: how sacrebleu splits texts for BLEU: 13a (its own default), intl, zh, char.
        tokens, vocabulary_size, minimum_count, unknown_slots, max_source_length, max_target_length,
            data_seed: see `PairsTask`.

    Raises:
        ValueError: for a file that is missing or not UTF-8, and for files with different numbers
            of lines.
    """

    def __init__(
        self,
        *,
        source_path: str,
        target_path: str,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        bleu_tokenizer: str = "13a",
        tokens: str = "word",
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        require.choice("bleu_tokenizer", bleu_tokenizer, TOKENIZERS)
        self.bleu_tokenizer = bleu_tokenizer
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        self.paths = {
            "source_path": Path(source_path).expanduser(),
            "target_path": Path(target_path).expanduser(),
        }

    def described(self) -> str:
        """Return what a message calls the data."""
        return " and ".join(f"{name} {path}" for name, path in self.paths.items())

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read both files side by side.

        Raises:
            ValueError: if a file cannot be read, or they have different numbers of
                lines.
        """
        counts["empty_lines"] = 0
        for source, target in zip_longest(
            *(lines_of(*setting, PLAIN) for setting in self.paths.items())
        ):
            if source is None or target is None:
                numbers = [
                    sum(1 for _ in lines_of(*setting, PLAIN)) for setting in self.paths.items()
                ]
                raise ValueError(
                    f"{self.described()} have {numbers[0]} and {numbers[1]} lines; each line must "
                    "be the translation of the line at its place in the other file"
                )
            if source.strip() or target.strip():
                yield Pair(source, target)
            else:
                counts["empty_lines"] += 1
