from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from decoderlab.contract import TokenSpace
from decoderlab.data import reading
from decoderlab.data.batches import Ragged
from decoderlab.metrics import Distinct, Perplexity
from decoderlab.tasks import conversation
from decoderlab.tasks.conversation import ConversationTask, ngram_loss, tokenised
from tests.conftest import version

BOS, EOS, UNK = 1, 2, 3


def chat(*turns: str | list[str]) -> dict:
    """Return a conversation; a turn is one message or several."""
    several = [[turn] if isinstance(turn, str) else turn for turn in turns]
    return {"messages": [[{"text": text} for text in turn] for turn in several], "ratings": {}}


@pytest.fixture
def of(monkeypatch, tmp_path):
    """Make a task of conversations that are given."""

    def make(conversations, **settings) -> ConversationTask:
        path = tmp_path / "dataset.json"
        path.write_text(json.dumps(conversations), encoding="utf-8")
        monkeypatch.setattr(conversation, "package_file", lambda *_: path)
        return ConversationTask(**settings)

    return make


def scored(task: ConversationTask) -> ConversationTask:
    """Return a task with the metrics that its YAML gives it."""
    task.metrics = {**task.metrics, "perplexity": Perplexity(), "distinct": Distinct()}
    return task


def many(number: int = 12) -> dict:
    """Return conversations whose turns name them."""
    return {f"c{n}": chat("Hi!", f"I'm {n}", ["Are you?", f"I am {n}..."]) for n in range(number)}


@pytest.fixture(scope="module")
def real() -> ConversationTask:
    if version("chitchat-dataset") is None:
        pytest.skip("chitchat-dataset is not installed")
    return scored(ConversationTask(max_source_length=10, max_target_length=10))


@pytest.mark.slow
def test_the_data_are_those_that_were_counted(real):
    counts = real.data.counts
    assert counts["conversations"] == 7168
    assert counts["conversations_of_less_than_two_turns"] == 3150
    assert counts["pairs"] + counts["dropped_contact_details"] == 131_569
    assert 10 < counts["messages_with_contact_details"] < 30
    kept = sum(counts[name] for name in ("train", "validation", "test"))
    several = [
        len(real.data.splits[name].accepted(row, 2)) - 1
        for name in ("validation", "test")
        for row in range(counts[name])
    ]
    dropped = sum(counts[f"dropped_{name}"] for name in ("empty", "too_long"))
    assert kept + sum(several) + dropped + counts["repeated_pairs"] == counts["pairs"]
    assert 24_000 < kept < 26_000
    assert counts["test_sources_seen_in_training"] > 100  # greetings
    for split in real.data.splits.values():
        assert int(split.source.lengths.max()) == 10
        assert int(split.target.lengths.max()) == 11


@pytest.mark.slow
def test_pairs_are_turns_in_a_row_of_one_conversation_and_of_one_split(real):
    path = reading.package_file("chitchat-dataset", "chitchat_dataset/dataset.json")
    adjacent: dict[tuple[str, str], set[str]] = {}
    for name, one in json.loads(path.read_text(encoding="utf-8")).items():
        turns = ["".join(m["text"] for m in turn) for turn in one["messages"]]
        turns = ["".join(turn.lower().split()) for turn in turns]
        for pair in zip(turns, turns[1:], strict=False):
            adjacent.setdefault(pair, set()).add(name)
    data, of_split = real.data, {}
    for split in ("train", "validation"):  # all tokens of training are known
        rows = data.splits[split]
        for row in range(0, len(rows), 1 if split == "validation" else 20):
            pair = [
                "".join(data.source_vocabulary.decode(rows.source[row])),
                "".join(data.target_vocabulary.decode(rows.target[row][:-1])),
            ]
            if "<unk>" not in "".join(pair):
                names = adjacent[tuple(pair)]
                if len(names) == 1:
                    of_split.setdefault(split, set()).update(names)
    assert len(of_split["train"]) > 300
    assert len(of_split["validation"]) > 50
    assert not of_split["train"] & of_split["validation"]


def test_messages_of_a_turn_are_joined_and_conversations_stay_together(of):
    examples, _ = of(many()).examples()
    assert [len(examples[name]) for name in ("train", "validation", "test")] == [20, 2, 2]
    for some in examples.values():
        for row in some:
            number = row.group[1:]
            assert (row.source, row.target) in {
                ("hi !", f"i'm {number}"),
                (f"i'm {number}", f"are you ? i am {number} ..."),
            }
    groups = [{row.group for row in some} for some in examples.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 12


def test_contact_details_are_dropped_and_counted(of):
    secret = ["(808) 782-1557", "call 782-1557", "808.782.1557", "me.you@byu.edu", "see @somebody"]
    harmless = ["2014-1016", "999.9999% sure", "10101010101", "yeah@", "1 2 3 4 5 6 7", "@ home"]
    given = many() | {f"s{n}": chat("So?", text, "ok") for n, text in enumerate(secret)}
    given |= {f"h{n}": chat("So?", text, "ok") for n, text in enumerate(harmless)}
    examples, counts = of(given | {"alone": chat("Hello?")}).examples()
    assert counts["messages_with_contact_details"] == len(secret)
    assert counts["dropped_contact_details"] == 2 * len(secret)
    assert counts["conversations_of_less_than_two_turns"] == 1
    groups = Counter(row.group for some in examples.values() for row in some)
    assert all(groups[f"h{n}"] == 2 for n in range(len(harmless)))
    assert not [name for name in groups if name.startswith("s")]


def test_limits_and_rare_words(of):
    given = many() | {"long": chat("a b c d e f", "no"), "empty": chat("hm", " ", "yes")}
    task = of(given, max_source_length=5, max_target_length=5, minimum_count=3)
    counts = task.data.counts
    assert counts["dropped_empty"] == 2
    assert counts["dropped_too_long"] == 1 + 12  # "are you ? i am 3 ..." has 7 tokens
    assert task.data.target_vocabulary.entries == ("i'm",)
    assert task.data.counts["test_unknown_target_tokens"] == len(task.data.splits["test"])


def test_text_goes_in_and_comes_out(real):
    tokens = real.source_tokens("Well,I don\u2019t know... DON'T \u00e1sk!?")
    assert tokens == "well , i don't know ... don't ásk ! ?".split()
    assert real.source_tokens(real.source_text(tokens)) == tokens
    assert tokenised(" ") == ""


def oracle(train: list[list[int]], order: int, size: int):
    """Return p(token | context) by the recursion, in fractions."""

    def probability(context: tuple[int, ...], token: int) -> Fraction:
        if len(context) < order - 1:
            context = (BOS,) * (order - 1 - len(context)) + context
        return backed_off(context[len(context) - order + 1 :], token)

    def backed_off(context: tuple[int, ...], token: int) -> Fraction:
        after = Counter()
        for row in train:
            padded = [BOS] * len(context) + row
            for place, one in enumerate(row):
                if tuple(padded[place : place + len(context)]) == context:
                    after[one] += 1
        lower = backed_off(context[1:], token) if context else Fraction(1, size - 2)
        if not after:
            return lower
        return (after[token] + len(after) * lower) / (after.total() + len(after))

    return probability


def test_unigrams_and_bigrams_by_hand():
    # "a b", "a": 5 tokens with the ends, 3 kinds; a vocabulary of a, b, EOS and UNK.
    a, b, space = 4, 5, TokenSpace(6)
    train = Ragged.of([[a, b, EOS], [a, EOS]])
    unigram = {a: (2 + 3 / 4) / 8, b: (1 + 3 / 4) / 8, EOS: (2 + 3 / 4) / 8, UNK: (3 / 4) / 8}
    assert sum(unigram.values()) == 1
    loss = ngram_loss(train, Ragged.of([[b, UNK, EOS]]), 1, space)
    assert loss == pytest.approx(-sum(math.log(unigram[one]) for one in (b, UNK, EOS)) / 3)
    # After BOS: a twice, one kind. After b: the end once. After UNK: never seen.
    bigram = [(0 + 1 * unigram[b]) / 3, (0 + 1 * unigram[UNK]) / 2, unigram[EOS]]
    loss = ngram_loss(train, Ragged.of([[b, UNK, EOS]]), 2, space)
    assert loss == pytest.approx(-sum(map(math.log, bigram)) / 3)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngrams_follow_the_recursion(order):
    generator = np.random.default_rng(order)
    train, test = (
        [[*generator.integers(3, 8, size=generator.integers(0, 5)).tolist(), EOS] for _ in range(n)]
        for n in (25, 12)
    )
    probability = oracle(train, order, 9)
    wanted = [
        -math.log(probability(tuple(row[:place]), token))
        for row in test
        for place, token in enumerate(row)
    ]
    loss = ngram_loss(Ragged.of(train), Ragged.of(test), order, TokenSpace(9))
    assert loss == pytest.approx(np.mean(wanted))


def test_probabilities_sum_to_one():
    train, space = Ragged.of([[4, 5, 4, EOS], [5, EOS], [4, 4, EOS]]), TokenSpace(7)

    def nats(row: list[int]) -> float:
        return len(row) * ngram_loss(train, Ragged.of([row]), 3, space)

    for context in ([], [4], [5, 4], [6, 6]):
        before = nats(context) if context else 0.0
        total = sum(math.exp(before - nats([*context, token])) for token in (EOS, UNK, 4, 5, 6))
        assert total == pytest.approx(1)


@pytest.mark.slow
def test_ngrams_stand_beside_the_rules(real):
    baselines = real.baselines()
    orders = [baselines[f"{name} of replies"] for name in ("unigrams", "bigrams", "trigrams")]
    perplexities = [scores["perplexity"] for scores in orders]
    assert perplexities == [pytest.approx(math.exp(scores["loss"])) for scores in orders]
    # Every context that a model uses more than the one before it tells something.
    assert len(real.data.target_vocabulary) > perplexities[0] > perplexities[1] > perplexities[2]
    most = baselines["the most frequent target"]
    assert "perplexity" not in most  # one reply has no probability
    assert most["distinct_2"] < most["distinct_1"] < 0.01
    assert real.baselines() is baselines


def test_scores_of_replies(of):
    task = scored(of(many()))
    ids = [task.data.target_vocabulary.encode(text.split()) for text in ("are you", "are you", "?")]
    assert all(min(row) > 3 for row in ids)
    rows = [(0, row) for row in ids]
    scores = task.scores_beside("test", rows, math.log(8))
    assert scores == pytest.approx({"perplexity": 8, "distinct_1": 0.6, "distinct_2": 0.5})
    assert math.isnan(task.scores_beside("test", [(0, ids[0])], math.nan)["perplexity"])
    assert math.isfinite(task.scores_beside("test", [(0, ids[0])], 1e6)["perplexity"])
    assert list(task.scores)[3:] == ["loss", "perplexity", "distinct_1", "distinct_2"]
    filled = ConversationTask.fills({})
    assert filled["evaluation.select"] == filled["study.metric"] == "perplexity"


def test_data_depend_on_the_data_seed_alone(of):
    fingerprint = of(many()).data.fingerprint
    assert of(many()).data.fingerprint == fingerprint
    assert of(many(), data_seed=1).data.fingerprint != fingerprint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "does not hold conversations.*AttributeError"),
        ({"c": {"messages": [[{"message": "hi"}]]}}, "KeyError: 'text'"),
        ({"c": {"messages": None}}, "TypeError"),
    ],
)
def test_a_malformed_file_is_refused(of, given, message):
    with pytest.raises(ValueError, match=message):
        _ = of(given).data


def test_a_file_that_is_no_json_is_refused(of, tmp_path):
    task = of(many())
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="does not hold conversations.*JSONDecodeError"):
        _ = task.data


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minimum_count": 0}, "minimum_count is 0"),
        ({"max_source_length": 0}, "max_source_length is 0"),
        ({"validation_share": 0.0}, "validation_share is 0"),
        ({"validation_share": 0.5, "test_share": 0.5}, "below 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConversationTask(**settings)


def test_too_few_conversations_are_refused(of):
    with pytest.raises(ValueError, match="the conversations: 2 different groups"):
        _ = of(many(2)).data


def test_a_missing_package_names_the_extra(hide):
    hide()
    with pytest.raises(ValueError, match=r"'chitchat-dataset'.*decoderlab\[data\]"):
        _ = ConversationTask().data
