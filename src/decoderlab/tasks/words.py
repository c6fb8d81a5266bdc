"""Sentences split into words and punctuation, so that they can be joined again."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

JOINT = "￭"  # on the side of a token where the text has no space
APOSTROPHES = "'’"
ELIDED_BEFORE = "aeiouyhœæ"  # in French and Italian


def split_words(text: str) -> list[str]:
    r"""Split a text into words and punctuation, so that `join_words` can undo it.

    Every punctuation mark and symbol (the Unicode categories P and S) is a token, but for two of
    them between letters or digits: a hyphen stays in its word, and an apostrophe goes with what
    is before it if a vowel or h follows ("l'été"), else with what follows ("brother's"). The mark
    "￭" says where a text has no space; it sits on the punctuation, so that words stay as they are.

    Source: the marks are those of the OpenNMT tokenizer (Klein et al. 2017,
        https://aclanthology.org/P17-4012).
    Differs: the rules are ours and small, and the same for all languages.

    Example:
        >>> split_words("L'arc-en-ciel (bleu)!"), split_words("Don't!")
        (["L'￭", 'arc-en-ciel', '(￭', 'bleu', '￭)', '￭!'], ['Don', "￭'t", '￭!'])
    """
    return [token for chunk in text.replace(JOINT, "").split() for token in _split(chunk)]


def join_words(tokens: Sequence[str]) -> str:
    """Join what `split_words` split; marks that do not fit are left out.

    Example:
        >>> join_words(["L'￭", "arc-en-ciel", "(￭", "bleu", "￭)", "￭!"])
        "L'arc-en-ciel (bleu)!"
    """
    text = " ".join(tokens)
    return text.replace(f" {JOINT}", "").replace(f"{JOINT} ", "").replace(JOINT, "")


@lru_cache(maxsize=1 << 17)
def _split(chunk: str) -> tuple[str, ...]:
    """Split what stands between two spaces."""
    signs = [unicodedata.category(character)[0] in "PS" for character in chunk]
    inside = [
        sign and 0 < index < len(chunk) - 1 and not (signs[index - 1] or signs[index + 1])
        for index, sign in enumerate(signs)
    ]

    def begins(index: int) -> bool:  # whether a token begins with this character
        for sign in (index - 1, index):
            if inside[sign] and chunk[sign] == "-":
                return False
            if inside[sign] and chunk[sign] in APOSTROPHES:
                follows = unicodedata.normalize("NFD", chunk[sign + 1].lower())[0]
                return (follows in ELIDED_BEFORE) == (sign < index)
        return signs[index - 1] or signs[index]

    edges = [0, *filter(begins, range(1, len(chunk))), len(chunk)]
    tokens = [chunk[first:last] for first, last in pairwise(edges)]
    for index, (left, _) in enumerate(pairwise(edges[1:]), start=1):
        if signs[left]:
            tokens[index] = JOINT + tokens[index]
        else:
            tokens[index - 1] += JOINT
    return tuple(tokens)
