"""CTC: against the sum over all alignments, against torch's loss, and as a product over tokens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.contract import Batch, Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders import CTCDecoder
from decoderlab.generation import beam, exact, greedy
from tests.conftest import run

SPACE = TokenSpace(6)
BLANK, EOS = 0, 2
SIZES = (2, 1)  # memory positions of each row; twice as many frames


@pytest.fixture
def decoder():
    torch.manual_seed(1)
    shape = EncoderShape(3, 3)
    made = CTCDecoder(target_space=SPACE, encoder_shape=shape, hidden_size=4, upsampling=2).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return made.eval()


@pytest.fixture
def encoded():
    memory = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 3)))
    mask = torch.arange(2) < torch.tensor(SIZES)[:, None]
    return Encoded(memory * mask[..., None], mask, memory.sum(dim=1), None)


def probabilities(decoder, encoded):
    """Return p(y) of every output of each row: by all ways to write frames, in NumPy."""
    weights = {name: value.detach().numpy() for name, value in decoder.named_parameters()}
    memory, outputs = encoded.memory.numpy(), []
    for row, size in enumerate(SIZES):
        hidden = np.tanh(memory[row, :size] @ weights["frames.weight"].T + weights["frames.bias"])
        logits = hidden.reshape(size * 2, 4) @ weights["head.weight"].T + weights["head.bias"]
        logits[:, [1, EOS]] = -np.inf
        frames = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        known: dict[tuple[int, ...], float] = {}
        for path in itertools.product([BLANK, 3, 4, 5], repeat=len(frames)):
            written = tuple(token for token, _ in itertools.groupby(path) if token != BLANK)
            way = float(np.prod([frame[token] for frame, token in zip(frames, path, strict=True)]))
            known[written] = known.get(written, 0.0) + way
        assert sum(known.values()) == pytest.approx(1)
        outputs.append(known)
    return outputs


def test_outputs_have_the_probability_of_all_their_alignments(decoder, encoded):
    for row, known in enumerate(probabilities(decoder, encoded)):
        one = Encoded(*(part if part is None else part[row : row + 1] for part in encoded))
        for output, expected in known.items():
            target = torch.tensor([[*output, EOS]])
            log_p = decoder(one, target).detach()[0].gather(1, target.T).sum()
            assert float(log_p.exp()) == pytest.approx(expected, abs=1e-10)


def test_each_step_is_the_share_of_what_begins_so(decoder, encoded):
    known = probabilities(decoder, encoded)[0]

    def beginning(prefix):
        return sum(p for output, p in known.items() if output[: len(prefix)] == prefix)

    for prefix in [(), (4,), (4, 4), (5, 4, 5)]:
        target = torch.tensor([[*prefix, EOS]] * 2)
        outputs = decoder(encoded, target)[0, -1].exp()
        for token in (3, 4, 5):
            share = beginning((*prefix, token)) / beginning(prefix)
            assert outputs[token].item() == pytest.approx(share, abs=1e-10)
        assert outputs[EOS].item() == pytest.approx(known[prefix] / beginning(prefix), abs=1e-10)


def test_training_is_the_likelihood_and_its_gradient(decoder, encoded):
    target = torch.tensor([[4, 4, EOS], [5, EOS, 0]])
    batch = Batch(target, torch.tensor([3, 3]), target, torch.arange(2))
    gradients, totals = [], []
    for own in (True, False):
        decoder.zero_grad()
        if own:
            total, count = decoder.training_loss(encoded, batch)
            assert count == 5
        else:
            outputs = decoder(encoded, target).gather(2, target[..., None]).squeeze(2)
            total = -(outputs * (target != 0)).sum()
        total.backward()
        totals.append(float(total.detach()))
        gradients.append(torch.cat([one.grad.flatten() for one in decoder.parameters()]))
    assert totals[0] == pytest.approx(totals[1], abs=1e-10)
    assert torch.allclose(*gradients, atol=1e-10)
    assert gradients[0].abs().max() > 0.01


def test_the_derivative_of_a_step_is_right(decoder, encoded):
    target = torch.tensor([[4, 4, EOS], [5, EOS, 0]])

    def outputs(memory):
        return decoder(encoded._replace(memory=memory), target)[:, :2, 3:]

    assert torch.autograd.gradcheck(outputs, encoded.memory.clone().requires_grad_())


def test_a_wide_beam_and_an_exact_search_find_the_most_probable_output(decoder, encoded):
    settings = {"tokens": SPACE, "max_length": 5}
    best = exact(decoder, encoded, **settings).tokens
    assert torch.equal(best, beam(decoder, encoded, beam_width=60, **settings).tokens[:, 0])
    narrow = beam(decoder, encoded, beam_width=1, **settings).tokens[:, 0]
    assert torch.equal(greedy(decoder, encoded, **settings), narrow)
    for row, known in enumerate(probabilities(decoder, encoded)):
        written = {output: p for output, p in known.items() if 3 not in output}  # UNK never is
        found = tuple(token for token in best[row].tolist() if token > EOS)
        assert found == max(written, key=written.__getitem__)


def test_the_room_of_an_output_is_all_that_keeps_it_from_being_written(decoder, encoded):
    for row, known in enumerate(probabilities(decoder, encoded)):
        for length in range(1, 6):
            outputs = list(itertools.product([3, 4, 5], repeat=length))
            needed = decoder.room_needed(torch.tensor(outputs))
            can = [output in known for output in outputs]
            assert can == (needed <= 2 * SIZES[row]).tolist()
    ended = torch.tensor([[5, 5, EOS, 0], [4, 5, 4, EOS]])
    assert decoder.room_needed(ended).tolist() == [3, 3]


def test_a_token_without_a_frame_costs_50_nats_and_the_frames_are_read_again(decoder, encoded):
    target = torch.tensor([[4, 4, 5, 5, EOS], [5, 5, 4, EOS, 0]])  # 4 4 5 takes all four frames
    with torch.no_grad():
        outputs = decoder(encoded, target)
        again = decoder(encoded, torch.tensor([[5, EOS], [5, 4]]))
    assert outputs.isfinite().all()
    assert outputs[0, 3, 5] == outputs[1, 1, 5] == -50  # two frames hold no 5 5
    assert outputs[0, 3, EOS].item() == pytest.approx(0, abs=1e-10)  # nothing else is left
    assert torch.allclose(outputs[0, 4], again[0, 1], atol=1e-10)
    assert torch.allclose(outputs[1, 2], again[1, 1], atol=1e-10)


def test_outputs_stay_right_where_frames_are_many_and_sure_of_themselves(decoder):
    memory = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 150, 3)))
    encoded = Encoded(memory, torch.ones(1, 150).bool(), memory.sum(dim=1), None)
    target = torch.tensor([[3, 4, 5, 5] * 30 + [EOS]])
    with torch.no_grad():
        decoder.head.weight *= 20
        nats = -decoder(encoded, target)[0].gather(1, target.T).sum()
        batch = Batch(target, torch.tensor([150]), target, torch.arange(1))
        assert float(nats) == pytest.approx(float(decoder.training_loss(encoded, batch)[0]))
        single = decoder.float()(encoded._replace(memory=memory.float()), target)[0]
    assert float(-single.gather(1, target.T).sum()) == pytest.approx(float(nats), rel=1e-4)


def test_training_data_that_cannot_be_written_are_refused_before_anything_begins(tiny):
    with pytest.raises(ConfigError, match="decoder: upsampling is 1.* give decoder.upsampling=2,"):
        tiny("decoder=ctc", "decoder.upsampling=1")
    assert not hasattr(tiny("decoder=luong").networks[1], "room_needed")
    prepared = tiny("decoder=ctc", "decoder.upsampling=2")
    assert run(prepared) == "FINISHED"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upsampling": 0}, "upsampling is 0"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"target_space": ValueSpace(2)}, "decoder=luong"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    given = {"target_space": SPACE, "encoder_shape": EncoderShape(3, 3), "hidden_size": 4}
    with pytest.raises(ValueError, match=message):
        CTCDecoder(**{**given, **settings})
