"""What in a prediction differs from its target: inserted, deleted and substituted tokens."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

MOST_TOKENS = 5000  # of a text: to compare longer ones takes memory and time beyond any bound
MARK_OF_OPERATION = {
    "equal": "same",
    "insert": "insert",
    "delete": "delete",
    "replace": "substitute",
}


def marked_pieces(target: str, prediction: str) -> list[tuple[str, str, str]]:
    """Return a prediction in pieces: kind, its text, and the text of the target there.

    Texts with a space are compared word by word, others letter by letter. What is missing in the
    prediction is a piece too, with the target's text. What is too long is not compared.

    Args:
        target: what is right.
        prediction: what was generated.

    Example:
        >>> marked_pieces("a b c", "a x c d")
        [('same', 'a ', 'a'), ('substitute', 'x', 'b'), ('same', ' c ', 'c'), ('insert', 'd', '')]
        >>> marked_pieces("abc", "ac")
        [('same', 'a', 'a'), ('delete', 'b', 'b'), ('same', 'c', 'c')]
    """
    between = " " if " " in target or " " in prediction else ""
    sides = [text.split(" ") if between else list(text) for text in (target, prediction)]
    sides = [[] if side == [""] else side for side in sides]
    if max(map(len, sides)) > MOST_TOKENS:
        return [("same" if target == prediction else "substitute", prediction, target)]
    pieces: list[tuple[str, str, str]] = []
    for step in Levenshtein.opcodes(*sides):
        there = between.join(sides[0][step.src_start : step.src_end])
        here = between.join(sides[1][step.dest_start : step.dest_end])
        pieces.append((MARK_OF_OPERATION[step.tag], there if step.tag == "delete" else here, there))
    if not between:
        return pieces
    # The spaces between pieces belong to what is the same.
    last = len(pieces) - 1
    return [
        (
            kind,
            f"{' ' if index and kind == 'same' else ''}{text}"
            f"{' ' if index < last and (kind == 'same' or pieces[index + 1][0] != 'same') else ''}",
            there,
        )
        for index, (kind, text, there) in enumerate(pieces)
    ]
