"""Every decoder YAML, with every encoder YAML, keeps the contract."""

from __future__ import annotations

import io
from itertools import combinations, product

import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.recurrent import FEEDBACKS, ROUTES
from decoderlab.search import greedy
from tests.conftest import variants
from tests.contracts.pairs import LENGTHS, TARGET, all_pairs, batch, build

PAIRS = pytest.mark.parametrize(("encoder_name", "decoder_name"), all_pairs())
DECODERS = pytest.mark.parametrize("name", variants("decoder"))


def stepwise(decoder, encoded, target):
    """Return the logits of the step loop that generation uses."""
    state = decoder.start(encoded)
    token = torch.full_like(target[:, 0], TARGET.bos_id)
    logits = []
    for t in range(target.shape[1]):
        step_logits, state = decoder.step(token, state)
        logits.append(step_logits)
        token = target[:, t]
    return torch.stack(logits, dim=1)


@PAIRS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_all_steps_at_once_equal_step_by_step(encoder_name, decoder_name, dtype, tolerance):
    encoder, decoder = build(encoder_name, decoder_name, dtype=dtype)
    source, target = batch()
    encoded = encoder(source, LENGTHS)
    difference = decoder(encoded, target) - stepwise(decoder, encoded, target)
    assert difference.abs().max() <= tolerance


@DECODERS
def test_the_future_has_no_influence(name):
    encoder, decoder = build("lstm", name)
    source, target = batch()
    encoded = encoder(source, LENGTHS)
    before = decoder(encoded, target)
    for t in range(target.shape[1]):
        changed = target.clone()
        changed[:, t:] = (changed[:, t:] + 1 - 4) % (TARGET.size - 4) + 4
        after = decoder(encoded, changed)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])
        if decoder.sees_output and t + 1 < target.shape[1]:
            assert not torch.allclose(after[:, t + 1 :], before[:, t + 1 :])


@PAIRS
def test_padding_and_batch_mates_have_no_influence(encoder_name, decoder_name):
    encoder, decoder = build(encoder_name, decoder_name)
    source, target = batch()
    together = decoder(encoder(source, LENGTHS), target)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(source[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(decoder(alone, target[row : row + 1])[0], together[row])


@DECODERS
def test_masked_memory_has_no_influence(name):
    encoder, decoder = build("lstm", name)
    source, target = batch()
    encoded = encoder(source, LENGTHS)
    noise = torch.randn_like(encoded.memory).masked_fill(encoded.memory_mask.unsqueeze(-1), 0.0)
    disturbed = encoded._replace(memory=encoded.memory + 100 * noise)
    assert torch.equal(decoder(disturbed, target), decoder(encoded, target))


@PAIRS
def test_every_parameter_gets_a_finite_gradient(encoder_name, decoder_name):
    encoder, decoder = build(encoder_name, decoder_name)
    source, target = batch()
    logits = decoder(encoder(source, LENGTHS), target)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@DECODERS
def test_reorder_moves_everything_a_row_knows(name):
    encoder, decoder = build("lstm", name)
    source, target = batch()
    state = decoder.start(encoder(source, LENGTHS))
    _, state = decoder.step(target[:, 0], state)
    index = torch.tensor([2, 0, 0])
    expected, _ = decoder.step(target[:, 1], state)
    moved, _ = decoder.step(target[index, 1], decoder.reorder(state, index))
    torch.testing.assert_close(moved, expected[index])


@DECODERS
def test_no_state_stays_in_the_module(name):
    encoder, decoder = build("lstm", name)
    source, target = batch()
    first = decoder(encoder(source, LENGTHS), target)
    decoder(encoder(source.flip(0), LENGTHS.flip(0)), target)
    assert torch.equal(decoder(encoder(source, LENGTHS), target), first)


@DECODERS
def test_saved_and_loaded_it_is_the_same(name):
    encoder, decoder = build("lstm", name)
    source, target = batch()
    encoded = encoder(source, LENGTHS)
    buffer = io.BytesIO()
    torch.save(decoder.state_dict(), buffer)
    buffer.seek(0)
    _, other = build("lstm", name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(encoded, target), decoder(encoded, target))


@DECODERS
def test_loss_falls_on_one_batch(name):
    encoder, decoder = build("lstm", name, dtype=torch.float32)
    source, target = batch()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    losses = []
    for _ in range(150):
        logits = decoder(encoder(source, LENGTHS), target)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3


@DECODERS
def test_greedy_does_not_depend_on_batch_mates(name):
    encoder, decoder = build("lstm", name)
    source, _ = batch()
    together = greedy(decoder, encoder(source, LENGTHS), tokens=TARGET, max_length=7)
    for row, length in enumerate(LENGTHS.tolist()):
        encoded = encoder(source[row : row + 1, :length], LENGTHS[row : row + 1])
        alone = greedy(decoder, encoded, tokens=TARGET, max_length=7)[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert (together[row, len(alone) :] == TARGET.pad_id).all()


def every_setting():
    """Yield all combinations of routes, feedback and attention; refused ones among them."""
    sets = [list(some) for n in range(5) for some in combinations(ROUTES, n)]
    attentions = [
        {},
        {"attention_score": "general"},
        {"attention_score": "dot", "attention_mixing": "none"},
        {"attention_score": "general", "input_feeding": True},
        {"attention_score": "dot", "attention_mixing": "none", "input_feeding": True},
    ]
    for routes, feedback, attention in product(sets, FEEDBACKS, attentions):
        bridge = "dense" if "initial_state" in routes else "zero"
        yield {"routes": routes, "feedback": feedback, "bridge": bridge, **attention}


def makes_sense(setting) -> bool:
    if "attention_score" in setting:
        return True
    if not setting["routes"]:
        return False
    return setting["feedback"] != "none" or setting["routes"] != ["output"]


def make(setting, cell="lstm", num_layers=1) -> RecurrentDecoder:
    torch.manual_seed(0)
    return RecurrentDecoder(
        tokens=TokenSpace(6),
        encoder_shape=EncoderShape(3, 3, state_size=3, state_num_layers=1, has_cell=True),
        cell=cell,
        hidden_size=3,
        num_layers=num_layers,
        embedding_size=2,
        **setting,
    ).double()


def encoding() -> Encoded:
    generator = torch.Generator().manual_seed(2)

    def values(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    mask = torch.tensor([[True, True, True], [True, True, False]])
    return Encoded(values(2, 3, 3), mask, values(2, 3), State(values(1, 2, 3), values(1, 2, 3)))


@pytest.mark.parametrize("setting", list(every_setting()), ids=str)
def test_exactly_the_routes_that_are_on_carry_gradient(setting):
    if not makes_sense(setting):
        with pytest.raises(ValueError, match=r"routes|summary"):
            make(setting)
        return
    encoded = encoding()
    target = torch.tensor([[4, 5, 4], [5, 5, 2]])
    make(setting)(encoded, target).square().sum().backward()

    def carries(*values) -> bool:
        return any(value.grad is not None and value.grad.abs().sum() > 0 for value in values)

    # The state has no other way in than the bridge, the summary none but the other three routes.
    assert carries(*encoded.state) == ("initial_state" in setting["routes"])
    assert carries(encoded.summary) == bool(set(setting["routes"]) - {"initial_state"})
    assert carries(encoded.memory) == ("attention_score" in setting)


@pytest.mark.parametrize("setting", [s for s in every_setting() if makes_sense(s)], ids=str)
def test_gradients_are_right(setting):
    decoder, encoded = make(setting), encoding()
    target = torch.tensor([[4, 5], [5, 2]])

    def logits(memory, summary, hidden, cell):
        return decoder(Encoded(memory, encoded.memory_mask, summary, State(hidden, cell)), target)

    inputs = (encoded.memory, encoded.summary, *encoded.state)
    assert torch.autograd.gradcheck(logits, inputs, fast_mode=True)


@pytest.mark.parametrize("setting", [s for s in every_setting() if makes_sense(s)], ids=str)
@pytest.mark.parametrize(("cell", "num_layers"), [("lstm", 2), ("gru", 1)])
def test_all_settings_agree_step_by_step(setting, cell, num_layers):
    decoder, encoded = make(setting, cell, num_layers), encoding()
    target = torch.tensor([[4, 5, 4], [5, 5, 2]])
    difference = decoder(encoded, target) - stepwise(decoder, encoded, target)
    assert difference.abs().max() <= 1e-10
