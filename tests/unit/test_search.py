"""Every search against a plain reference, on decoders whose outputs depend on the whole prefix."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Encoded, TokenSpace, ValueSpace
from decoderlab.generation import (
    Search,
    beam,
    diverse_beam,
    exact,
    greedy,
    least_risk,
    roll_forward,
    sample,
)

TOKENS = TokenSpace(6)
PAD, EOS = TOKENS.pad_id, TOKENS.eos_id
ALLOWED = [EOS, 4, 5]
PENALTIES = (-1.5, 0.0, 0.6, 4.0)
SIX = {"tokens": TOKENS, "max_length": 6}
NEVER = -math.inf


class Table:
    """Random logits for every source and prefix; the ids that are never generated look best."""

    def __init__(self, seed=0, scale=1.0, end=0.0):
        self.seed, self.scale, self.end = seed, scale, end
        self.known, self.calls = {}, 0

    def logits(self, source, prefix):
        key = (source, *prefix)
        if key not in self.known:
            logits = np.random.default_rng([self.seed, *key]).normal(size=TOKENS.size) * self.scale
            logits[TOKENS.never_generated] += 9
            logits[EOS] += self.end
            self.known[key] = torch.from_numpy(logits).float()
        return self.known[key]

    def start(self, encoded):
        return encoded.summary.long()

    def step(self, previous, state):
        self.calls += 1
        state = torch.cat([state, previous[:, None]], dim=1)  # source, BOS, prefix
        return torch.stack([self.logits(row[0], row[2:]) for row in state.tolist()]), state

    def reorder(self, state, index):
        return state[index]


class Recurrent(nn.Module):
    """A small GRU; float64, since the last bits of a product depend on the batch size."""

    def __init__(self, seed=0):
        super().__init__()
        self.cell, self.head = nn.GRUCell(TOKENS.size, 8), nn.Linear(8, TOKENS.size)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.double()

    def start(self, encoded):
        return torch.sin(encoded.summary.double() + torch.arange(8))

    def step(self, previous, state):
        state = self.cell(nn.functional.one_hot(previous, TOKENS.size).double(), state)
        return self.head(state), state

    def reorder(self, state, index):
        return state[index]


class Constant:
    """The same outputs at each step of each row."""

    def __init__(self, *outputs):
        self.outputs = torch.tensor(outputs)

    def start(self, encoded):
        return None

    def step(self, previous, state):
        # Not a copy: whoever writes into it changes the decoder.
        return self.outputs.expand(len(previous), -1), state

    def reorder(self, state, index):
        return state


class Autoregression:
    """x_t = 0.5 x_{t-1} + c, with standard deviations exp(-0.1 t) where asked."""

    def __init__(self, gaussian=False):
        self.gaussian = gaussian

    def start(self, encoded):
        return encoded.summary, 0

    def step(self, previous, state):
        constant, t = state
        mean = 0.5 * previous + constant
        deviation = torch.full_like(mean, -0.1 * t)
        return torch.cat([mean, deviation], 1) if self.gaussian else mean, (constant, t + 1)


def encoded(*sources):
    rows, summary = len(sources), torch.tensor(sources).float()[:, None]
    return Encoded(torch.zeros(rows, 1, 1), torch.ones(rows, 1).bool(), summary, None)


def unpadded(rows):
    """Return lists of tokens, once it is sure that nothing stands after padding."""
    kept = [list(itertools.takewhile(lambda token: token != PAD, row)) for row in rows.tolist()]
    assert all(set(row[len(one) :]) <= {PAD} for one, row in zip(kept, rows.tolist(), strict=True))
    return kept


def continuations(decoder, source, prefix, log_probability):
    """Return every (prefix + token, log-probability), by the definition of softmax."""
    logits = {token: float(decoder.logits(source, prefix)[token]) for token in ALLOWED}
    total = math.log(sum(map(math.exp, logits.values())))
    return [((*prefix, token), log_probability + logit - total) for token, logit in logits.items()]


def all_sequences(decoder, source, max_length, prefix=(), log_probability=0.0):
    if len(prefix) == max_length or prefix[-1:] == (EOS,):
        return [(prefix, log_probability)]
    return itertools.chain.from_iterable(
        all_sequences(decoder, source, max_length, *one)
        for one in continuations(decoder, source, prefix, log_probability)
    )


def plain_beam(decoder, source, max_length, width):
    """Search one row in lists; return all that ended."""
    live, ended = [((), 0.0)], []
    for _ in range(max_length):
        continued = [two for one in live for two in continuations(decoder, source, *one)]
        best = sorted(continued, key=lambda one: -one[1])[:width]
        ended += [one for one in best if one[0][-1] == EOS]
        live = [one for one in best if one[0][-1] != EOS]
    return ended + live


def check(found, row, ended, penalty):
    """Compare row `row` of a beam's findings with the best of what ended."""
    expected = [(list(one), p / ((5 + len(one)) / 6) ** penalty, p) for one, p in ended]
    expected.sort(key=lambda one: -one[1])
    missing = found.scores.shape[1] - len(expected)
    expected = expected[: found.scores.shape[1]] + [([], NEVER, NEVER)] * missing
    tokens, scores, log_probabilities = (list(one) for one in zip(*expected, strict=True))
    assert unpadded(found.tokens[row]) == tokens
    assert found.scores[row].tolist() == pytest.approx(scores)
    assert found.log_probabilities[row].tolist() == pytest.approx(log_probabilities)


def test_greedy_takes_the_best_until_all_have_ended():
    for decoder, length in itertools.product([Table(s, end=-0.5) for s in range(9)], (1, 4, 9)):
        expected, decoder.calls = [], 0
        for source in (0, 1):
            best = ((), 0.0)
            while len(best[0]) < length and best[0][-1:] != (EOS,):
                best = max(continuations(decoder, source, *best), key=lambda one: one[1])
            expected.append(list(best[0]))
        generated = greedy(decoder, encoded(0, 1), tokens=TOKENS, max_length=length)
        assert unpadded(generated) == expected
        assert decoder.calls == generated.shape[1] == max(map(len, expected))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("num_best", [1, 5, 40])
def test_a_beam_that_holds_everything_finds_the_best_of_everything(penalty, num_best):
    decoder, settings = Table(seed=3), {"tokens": TOKENS, "max_length": 4, "num_best": num_best}
    found = beam(decoder, encoded(0, 1), beam_width=40, length_penalty=penalty, **settings)
    for row in (0, 1):
        everything = list(all_sequences(decoder, row, 4))
        assert len(everything) == 31
        check(found, row, everything, penalty)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("width", [2, 3, 5])
def test_beam_is_the_plain_one(width, penalty):
    settings = SIX | {"beam_width": width, "num_best": width, "length_penalty": penalty}
    for seed in range(15):
        decoder = Table(seed, scale=1.5, end=-1.0)
        found = beam(decoder, encoded(0, 1, 2), **settings)
        for row in range(3):
            check(found, row, plain_beam(decoder, row, 6, width), penalty)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_beam_of_width_one_is_greedy(penalty):
    source = encoded(0, 1, 2, 3)
    for seed in range(40):
        for decoder in (Table(seed, scale=0.1 + seed % 5), Recurrent(seed)):
            found = beam(decoder, source, beam_width=1, length_penalty=penalty, **SIX)
            assert torch.equal(found.tokens[:, 0], greedy(decoder, source, **SIX))


@pytest.mark.thinned
@pytest.mark.long
@pytest.mark.parametrize("penalty", [*PENALTIES, -6.0, 1.0])
@pytest.mark.parametrize(("width", "num_best"), [(1, 1), (3, 1), (3, 3), (6, 2)])
def test_early_stop_saves_steps_and_changes_nothing(penalty, width, num_best):
    settings = {"beam_width": width, "num_best": num_best, "length_penalty": penalty}
    settings |= {"tokens": TOKENS, "max_length": 8}
    steps, source = [], encoded(0, 1)
    for seed in range(25):
        decoder = Table(seed, scale=0.5 + seed % 4, end=seed % 3 - 1)
        early = beam(decoder, source, **settings)
        steps.append(decoder.calls)
        late = beam(decoder, source, early_stop=False, **settings)
        assert all(map(torch.equal, early, late))
        steps[-1] = steps[-1] / (decoder.calls - steps[-1])
    # A beam of 1 ends with its hypothesis, and under the largest penalty length pays to the end.
    assert width == 1 or penalty == 4 or np.mean(steps) < 0.95


def test_of_equals_the_lower_index_wins():
    settings = {"tokens": TOKENS, "max_length": 2, "beam_width": 4, "num_best": 4}
    found = beam(Constant(*[0.0] * 6), encoded(0), **settings)
    # After EOS alone come all continuations of 4, and no place is left for those of 5.
    assert found.tokens[0].tolist() == [[2, 0], [4, 2], [4, 4], [4, 5]]


def by_greedy(decoder, source, rows, **settings):
    return greedy(decoder, source, **settings)


def by_beam(decoder, source, rows, **settings):
    return beam(decoder, source, beam_width=3, length_penalty=0.6, **settings).tokens[:, 0]


def by_sample(decoder, source, rows, **settings):
    return sample(decoder, source, seed=7, rows=torch.tensor(rows), top_p=0.9, **settings)


@pytest.mark.parametrize("decoder", [Table(scale=1.5, end=-1.0), Recurrent()])
@pytest.mark.parametrize("find", [by_greedy, by_beam, by_sample])
def test_batch_mates_and_batch_size_have_no_influence(find, decoder):
    sources = list(range(12))
    together = unpadded(find(decoder, encoded(*sources), sources, **SIX))
    assert len({tuple(row) for row in together}) > 3
    assert len({len(row) for row in together}) > 1
    backwards = unpadded(find(decoder, encoded(*sources[::-1]), sources[::-1], **SIX))
    assert backwards[::-1] == together
    for source in sources:
        assert unpadded(find(decoder, encoded(source), [source], **SIX)) == [together[source]]


@pytest.mark.parametrize("find", [by_greedy, by_beam, by_sample])
def test_no_forbidden_id_no_end_and_logits_left_alone(find):
    decoder = Constant(9.0, 9.0, NEVER, 9.0, 1.0, 0.0)
    before = decoder.outputs.clone()
    generated = find(decoder, encoded(0, 1, 2), [0, 1, 2], **SIX)
    assert generated.shape == (3, 6)
    assert set(generated.flatten().tolist()) <= {4, 5}
    assert torch.equal(decoder.outputs, before)


@pytest.mark.parametrize(("gaussian", "seed"), [(False, None), (True, None), (True, 5)])
def test_roll_forward_feeds_back_what_it_returns(gaussian, seed):
    decoder, rows = Autoregression(gaussian), torch.tensor([4, 0, 7])
    settings = {"values": ValueSpace(2), "sample_seed": seed}
    forecast = roll_forward(decoder, encoded(1, -2, 3), num_steps=9, rows=rows, **settings)
    assert forecast.dtype == torch.float32
    for row, (constant, name) in enumerate([(1, 4), (-2, 0), (3, 7)]):
        noise, value = np.zeros((9, 2)), np.zeros(2)
        if seed is not None:
            noise = numpy_generator(seed, "decoding", name).standard_normal((9, 2))
        for t in range(9):
            value = 0.5 * value + constant + math.exp(-0.1 * t) * noise[t]
            assert forecast[row, t].tolist() == pytest.approx(value, rel=1e-5, abs=1e-5)
    alone = roll_forward(decoder, encoded(3), num_steps=3, rows=rows[2:], **settings)
    assert torch.equal(alone[0], forecast[2, :3])


def test_search_runs_what_its_signature_says():
    decoder, source, rows = Table(scale=0.5, end=-1.0), encoded(*range(8)), torch.arange(8) + 3
    drawn = {"temperature": 1.5, "top_k": 2, "top_p": 0.6, "seed": 4}
    floored = {"temperature": 3.0, "min_p": 0.5}
    wide = {"beam_width": 3, "length_penalty": 2}
    diverse = {"beam_width": 6, "beam_groups": 3, "diversity_penalty": 2.0}
    draw = partial(sample, decoder, source, rows=rows, **SIX)
    expected = {
        "greedy": (Search(), greedy(decoder, source, **SIX)),
        "beam:3|length_penalty:2.0": (
            Search(**wide),
            beam(decoder, source, **wide, **SIX).tokens[:, 0],
        ),
        "sample:temperature:1.5|top_k:2|top_p:0.6|seed:4": (Search(**drawn), draw(**drawn)),
        "sample:temperature:3.0|min_p:0.5|seed:0": (Search(**floored), draw(seed=0, **floored)),
        "sample:temperature:1.0|seed:0": (Search(temperature=1), draw(seed=0)),
        "sample:temperature:1.0|mbr_samples:9|seed:4": (
            Search(temperature=1, mbr_samples=9, seed=4),
            least_risk(decoder, source, rows=rows, num_samples=9, seed=4, **SIX),
        ),
        "beam:6|length_penalty:0.0|groups:3|diversity:2.0": (
            Search(**diverse),
            diverse_beam(decoder, source, **diverse, **SIX).tokens[:, 0],
        ),
        "exact:500|beam:2": (
            Search(exact_steps=500, beam_width=2),
            exact(decoder, source, max_steps=500, beam_width=2, **SIX).tokens,
        ),
    }
    for signature, (one, tokens) in expected.items():
        assert one.signature == signature
        assert torch.equal(one.generate(decoder, source, rows=rows, **SIX), tokens)
    assert len({str(tokens.tolist()) for _, tokens in expected.values()}) == len(expected)


token_search = {"decoder": Table(), "encoded": encoded(0, 1), "tokens": TOKENS, "max_length": 3}
roll = partial(roll_forward, encoded=encoded(1, 2), values=ValueSpace(2))


@pytest.mark.parametrize(
    ("call", "settings", "message"),
    [
        (Search, {"beam_width": 0}, "beam_width is 0; it must be at least 1"),
        (Search, {"beam_width": 2, "length_penalty": 11}, "length_penalty is 11; it must be bet"),
        (Search, {"beam_width": 2, "length_penalty": math.nan}, "length_penalty is nan; it must"),
        (Search, {"length_penalty": 0.6}, "length_penalty is 0.6; .* only with a wider beam"),
        (Search, {"temperature": 0.0}, "temperature is 0.0; it must be a positive number"),
        (Search, {"temperature": 1.0, "top_k": 0}, "top_k is 0; it must be at least 1"),
        (Search, {"temperature": 1.0, "top_p": 0.0}, "top_p is 0.0; it must be above 0"),
        (Search, {"temperature": 1.0, "top_p": 1.1}, "top_p is 1.1; .* and at most 1"),
        (Search, {"top_k": 3}, "top_k is 3; .* only with a temperature"),
        (Search, {"top_p": 0.5}, "top_p is 0.5; .* only with a temperature"),
        (Search, {"min_p": 0.5}, "min_p is 0.5; .* only with a temperature"),
        (Search, {"temperature": 1.0, "min_p": 0.0}, "min_p is 0.0; it must be above 0"),
        (Search, {"mbr_samples": 5}, "mbr_samples is 5; .* only with a temperature"),
        (Search, {"temperature": 1.0, "mbr_samples": 1}, "mbr_samples is 1; it must be at least 2"),
        (Search, {"temperature": 1.0, "beam_width": 2}, "temperature is 1.0; .* with beam_width 1"),
        (Search, {"exact_steps": 0}, "exact_steps is 0; it must be at least 1"),
        (
            Search,
            {"exact_steps": 9, "temperature": 1.0},
            "temperature is 1.0 and exact_steps 9",
        ),
        (
            Search,
            {"exact_steps": 9, "beam_width": 2, "length_penalty": 1},
            "length_penalty is 1 and exact_steps 9, but an exact",
        ),
        (greedy, token_search | {"max_length": 0}, "max_length is 0"),
        (beam, token_search | {"max_length": 0, "beam_width": 1}, "max_length is 0"),
        (beam, token_search | {"beam_width": 0}, "beam_width is 0"),
        (beam, token_search | {"beam_width": 2, "num_best": 3}, "num_best is 3; take 1 to 2, or"),
        (beam, token_search | {"beam_width": 2, "num_best": 0}, "num_best is 0"),
        (beam, token_search | {"beam_width": 2, "length_penalty": -11}, "length_penalty is -11"),
        (sample, token_search | {"seed": 0, "max_length": -1}, "max_length is -1"),
        (sample, token_search | {"seed": 0, "temperature": -1.0}, "temperature is -1.0"),
        (sample, token_search | {"seed": 0, "top_k": 0}, "top_k is 0"),
        (sample, token_search | {"seed": 0, "top_p": 1.5}, "top_p is 1.5"),
        (sample, token_search | {"seed": 0, "min_p": -0.1}, "min_p is -0.1"),
        (exact, token_search | {"max_length": 0}, "max_length is 0"),
        (exact, token_search | {"max_steps": 0}, "max_steps is 0"),
        (exact, token_search | {"together": 0}, "together is 0"),
        (exact, token_search | {"beam_width": 0}, "beam_width is 0"),
        (sample, token_search | {"seed": 0, "rows": torch.arange(3)}, r"shape \(3,\); .* \(2,\)"),
        (roll, {"decoder": Autoregression(), "num_steps": 0}, "num_steps is 0"),
        (roll, {"decoder": Constant(1.0, 1.0, 1.0), "num_steps": 1}, "have 3 .* be 2 means, or 4"),
        (
            roll,
            {"decoder": Autoregression(), "num_steps": 1, "sample_seed": 0},
            "have 2 numbers .* leave sample_seed out",
        ),
    ],
)
def test_what_is_refused(call, settings, message):
    with pytest.raises(ValueError, match=message):
        call(**settings)
