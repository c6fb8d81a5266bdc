"""Translation of the names of emoji."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from decoderlab.common import require
from decoderlab.data.pairs import Pair
from decoderlab.data.reading import package_file
from decoderlab.tasks.translation import TranslationTask

KEYCAP = "\N{COMBINING ENCLOSING KEYCAP}"


class EmojiTranslationTask(TranslationTask):
    """Names of emoji in one language to those in another: "woman farmer dark skin tone".

    Names are put together from a role, a gender and up to two of five skin tones; what can be
    learnt is to put them together anew. They are no sentences.

    Source: the package `emoji` (BSD); the names are from the Unicode CLDR (Unicode licence).
    Differs: flags (262) and keycaps (12) are left out (`dropped_flags`, `dropped_keycaps`), since
        nobody can know the names of countries from those of others. All skin tones of an emoji are
        one group, known by the English name without its tones: no name of the test split differs
        from one of training by its tones alone. Genders are groups of their own.

    Args:
        target_language: one of `LANGUAGES`.
        source_language: another one.
        tokens, vocabulary_size, minimum_count, unknown_slots: see `PairsTask`; Chinese and Japanese
            have no spaces between words, so that they cannot be split into words.
        flags_and_keycaps: keep them, each a group of its own.
        num_validation, num_test: groups, of 1,651 (1,925 with flags and keycaps), at least 1.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: if the package is not installed, or settings are out of range.
    """

    LANGUAGES = tuple("en ar de es fa fr id it ja ko pt ru tr zh".split())
    UNSPACED = {"ja": "char", "zh": "zh"}  # and how sacrebleu is to split them

    def __init__(
        self,
        *,
        target_language: str,
        source_language: str = "en",
        num_validation: int,
        num_test: int,
        tokens: str = "word",
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        flags_and_keycaps: bool = False,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            data_seed=data_seed,
        )
        self.languages = source_language, target_language
        for name, value in zip(("source_language", "target_language"), self.languages, strict=True):
            require.choice(name, value, self.LANGUAGES)
            if tokens == "word" and value in self.UNSPACED:
                raise ValueError(
                    f"tokens is 'word' and {name} is {value!r}, which is written without spaces; "
                    "use tokens: character"
                )
        if source_language == target_language:
            raise ValueError(f"source_language and target_language are both {source_language!r}")
        require.at_least("num_validation", num_validation, 1)
        require.at_least("num_test", num_test, 1)
        self.num_held_out = num_validation, num_test
        self.flags_and_keycaps = flags_and_keycaps
        self.bleu_tokenizer = self.UNSPACED.get(target_language, self.bleu_tokenizer)

    def held_out(self, number: int) -> tuple[int, int]:
        """Return how many groups are for validation and for test."""
        return self.num_held_out

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the names of all emoji that are fully qualified, one for each."""
        kinds = {"flags": _is_flag, "keycaps": lambda emoji: KEYCAP in emoji}
        counts |= {f"dropped_{kind}": 0 for kind in kinds}
        table = _emoji_file("emoji.json")
        names = {
            language: _emoji_file(f"emoji_{language}.json")
            for language in self.languages
            if language != "en"
        }
        qualified = 2  # in full; other statuses are other spellings of the same emoji
        names["en"] = {
            emoji: entry["en"] for emoji, entry in table.items() if entry["status"] == qualified
        }
        for emoji, english in names["en"].items():
            kind = next((kind for kind, holds in kinds.items() if holds(emoji)), None)
            if kind and not self.flags_and_keycaps:
                counts[f"dropped_{kind}"] += 1
                continue
            source, target = (
                names[language][emoji].strip(":").replace("_", " ") for language in self.languages
            )
            group = re.sub("_(medium-light|medium-dark|medium|light|dark)_skin_tone", "", english)
            yield Pair(source, target, group)


def _is_flag(emoji: str) -> bool:
    """Whether an emoji is the flag of a region: two letters, or a black flag with tags."""
    return any("\U0001f1e6" <= sign <= "\U0001f1ff" or sign == "\U000e007f" for sign in emoji)


def _emoji_file(name: str) -> dict:
    return json.loads(package_file("emoji", f"emoji/unicode_codes/{name}").read_text("utf-8"))
