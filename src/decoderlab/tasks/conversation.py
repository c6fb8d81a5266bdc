"""Conversation: what one person says, and what the other answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from decoderlab.common import require
from decoderlab.contract import TokenSpace
from decoderlab.data.batches import Ragged
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.reading import package_file
from decoderlab.data.task_data import of_tokens

TOKEN = re.compile(r"\w+(?:'\w+)*|([^\w\s])\1*")
# An e-mail address, the name of an account, or a telephone number of North America.
CONTACT = re.compile(
    r"\S@\S+\.\w|(?<!\S)@\w"
    r"|(?:\(\d{3}\)\s?|\b\d{3}[\s.-])\d{3}[\s.-]\d{4}\b|\b\d{3}-\d{4}\b"
)
ORDERS = {"unigrams": 1, "bigrams": 2, "trigrams": 3}


class ConversationTask(PairsTask):
    """A turn in, the next turn of the same conversation out, word by word.

    Source: the BYU PCCL Chitchat Dataset (MIT, Myers et al. 2020), 7,168 chats of volunteers, read
        as a file from the package `chitchat-dataset`.
    Differs: Vinyals and Le 2015 (https://arxiv.org/abs/1506.05869) have other conversations, other
        vocabularies and longer contexts, so that their perplexities are not comparable.

    The policy, beside that of `PairsTask`:

    * The messages of one turn are joined by spaces. Each two turns in a row are a pair, whatever
      was said before; no conversation is in two splits.
    * Text is in lower case. A token is a word with its apostrophes (`don't`), or a run of one
      punctuation mark (`...`).
    * Turns with a message that looks like an e-mail address, the name of an account or a telephone
      number are left out, and so are the pairs that they belong to
      (`messages_with_contact_details`, `dropped_contact_details`).

    Perplexity is that of the next token, `<unk>` and the end among them: it falls when
    `minimum_count` grows. What is compared must share the vocabulary, as the n-gram models do that
    stand beside every result. They read the replies alone.

    Args:
        minimum_count: words seen less often in training become `<unk>`, at least 1.
        unknown_slots: see `PairsTask`.
        max_source_length, max_target_length: longest turns to keep, in tokens; None for no limit.
        validation_share, test_share: shares of the conversations, above 0, below 1 together.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: for settings out of range, or if the package is not installed.
    """

    metric = "perplexity"

    def __init__(
        self,
        *,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens="word",
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)

    def described(self) -> str:
        """Return what a message calls the data."""
        return "the conversations"

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the conversations."""
        path = package_file("chitchat-dataset", "chitchat_dataset/dataset.json")
        conversations = read_conversations(path)
        counts["conversations"] = len(conversations)
        counts["conversations_of_less_than_two_turns"] = 0
        counts["messages_with_contact_details"] = counts["dropped_contact_details"] = 0
        for name, turns in conversations.items():
            counts["conversations_of_less_than_two_turns"] += len(turns) < 2
            texts: list[str | None] = []
            for messages in turns:
                number = sum(CONTACT.search(message) is not None for message in messages)
                counts["messages_with_contact_details"] += number
                texts.append(None if number else tokenised(" ".join(messages)))
            for source, target in zip(texts, texts[1:], strict=False):
                if source is None or target is None:
                    counts["dropped_contact_details"] += 1
                else:
                    yield Pair(source, target, name)

    def source_tokens(self, text: str) -> Sequence[str]:
        """Split a line as the data are split."""
        return super().source_tokens(tokenised(text))

    def baselines(self) -> dict[str, dict[str, float]]:
        """Return the scores of rules, and the loss and perplexity of n-gram models."""
        if not self.data.baselines:
            super().baselines()
            train, test = self.data.splits["train"].target, self.data.splits["test"].target
            space = of_tokens(self.data.target_vocabulary).space
            for name, order in ORDERS.items():
                loss = ngram_loss(train, test, order, space)
                scores = {"loss": loss, "perplexity": math.exp(loss)}
                self.data.baselines[f"{name} of replies"] = scores
        return self.data.baselines


def tokenised(text: str) -> str:
    """Return text in lower case, with a space between any two tokens.

    Example:
        >>> tokenised("Haha,I don't know... WHAT?!")
        "haha , i don't know ... what ? !"
    """
    text = text.lower().replace("\u2019", "'")
    return " ".join(match.group() for match in TOKEN.finditer(text))


def read_conversations(path: Path) -> dict[str, list[list[str]]]:
    """Return the messages of each turn of each conversation.

    Raises:
        ValueError: if the file does not hold conversations.
    """
    try:
        with path.open(encoding="utf-8") as file:
            conversations = json.load(file)
        return {
            name: [[message["text"] for message in turn] for turn in record["messages"]]
            for name, record in conversations.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold conversations as chitchat-dataset 0.9 has them "
            f"({type(error).__name__}: {error}); install that release again"
        ) from error


def ngram_loss(train: Ragged, test: Ragged, order: int, space: TokenSpace) -> float:
    """Return the loss of an interpolated n-gram model, in nats per token of `test`.

        p(w | h) = (c(h w) + n(h) p(w | h')) / (c(h) + n(h))

    c(h w) counts w after h in training, n(h) how many different tokens follow h, and h' is h
    without its first token. Below unigrams, all tokens but padding and BOS are equally likely.

    Paper: method C of Witten and Bell 1991, as a recursion in Chen and Goodman 1999
        (https://doi.org/10.1006/csla.1999.0128).
    Differs: none.

    Args:
        train: ids to count, each row with its EOS.
        test: ids whose loss is asked for, likewise.
        order: tokens of an n-gram, at least 1; `space.size ** order` is below 2^63.
        space: of the ids.

    Example:
        >>> rows = Ragged.of([[4, 2]])
        >>> math.isclose(ngram_loss(rows, rows, 1, TokenSpace(6)), math.log(8 / 3))
        True
    """
    probability = np.full(len(test.values), 1 / (space.size - 2))
    seen, asked = np.int64(0), np.int64(0)
    for back in range(order):
        # An n-gram is a number whose digits are ids. Its last token is the last digit, so that
        # dividing by the size leaves its context.
        scale = np.int64(space.size**back)
        seen = seen + scale * _earlier(train, back, space.bos_id)
        asked = asked + scale * _earlier(test, back, space.bos_id)
        grams, counts = np.unique(seen, return_counts=True)
        contexts, inverse = np.unique(grams // space.size, return_inverse=True)
        followed = np.bincount(inverse, weights=counts)
        count = _looked_up(grams, counts, asked)
        total = _looked_up(contexts, followed, asked // space.size)
        kinds = _looked_up(contexts, np.bincount(inverse), asked // space.size)
        known = (count + kinds * probability) / np.maximum(total + kinds, 1)
        probability = np.where(total > 0, known, probability)
    return float(-np.log(probability).mean())


def _earlier(rows: Ragged, back: int, bos_id: int) -> np.ndarray:
    """Return for each position the id `back` positions earlier in its row, BOS before the row."""
    lengths, starts = rows.lengths.numpy(), rows.starts.numpy()
    positions = np.arange(len(rows.values)) - back
    inside = positions >= np.repeat(starts, lengths)
    return np.where(inside, rows.values.numpy()[np.maximum(positions, 0)], bos_id).astype(np.int64)


def _looked_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the values of the keys asked for, 0 for those that are not there; keys are sorted."""
    positions = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[positions] == asked, values[positions], 0)
