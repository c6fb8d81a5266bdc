"""The decoder without recurrence."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders.feedback import FreeRunning, NoFeedback
from decoderlab.decoders.feedforward_decoder import FeedforwardDecoder
from decoderlab.layers.positions import sinusoidal_positions

SHAPE = EncoderShape(memory_size=3, summary_size=5)


def make(**settings) -> FeedforwardDecoder:
    torch.manual_seed(0)
    defaults = {"hidden_size": 8, "position_size": 7}
    defaults |= {"target_space": TokenSpace(9), "encoder_shape": SHAPE}
    return FeedforwardDecoder(**defaults | settings).double()


def encoding() -> Encoded:
    generator = torch.Generator().manual_seed(1)
    summary = torch.randn(2, 5, generator=generator).double()
    return Encoded(torch.zeros(2, 3, 3).double(), torch.ones(2, 3).bool(), summary, None)


def test_it_is_the_network_that_it_says_it_is():
    decoder, encoded = make(num_layers=2), encoding()
    target = torch.tensor([[4, 5, 2], [6, 2, 0]])
    logits = decoder(encoded, target)
    positions = sinusoidal_positions(3, 7, like=encoded.summary)
    for row, tokens in enumerate([[1, 4, 5], [1, 6, 2]]):
        for step, token in enumerate(tokens):
            one_hot = torch.eye(9).double()[token]
            hidden = torch.cat([encoded.summary[row], positions[step], one_hot])
            for layer in decoder.layers:
                hidden = layer(hidden).relu()
            torch.testing.assert_close(logits[row, step], decoder.head(hidden))


@pytest.mark.parametrize("embedding_size", [None, 4])
def test_of_the_prefix_it_sees_the_last_token_and_no_other(embedding_size):
    decoder, encoded = make(embedding_size=embedding_size), encoding()
    logits = decoder(encoded, torch.tensor([[4, 5, 6, 7]] * 2))
    changed = decoder(encoded, torch.tensor([[4, 8, 6, 7]] * 2))
    differs = (logits - changed).abs().amax(dim=(0, 2)) > 1e-6
    assert differs.tolist() == [False, False, True, False]


def test_without_feedback_it_sees_none_and_positions_differ_all_the_same():
    decoder, encoded = make(feedback=NoFeedback), encoding()
    logits = decoder(encoded, torch.tensor([[4, 5, 6, 7]] * 2))
    assert torch.equal(logits, decoder(encoded, torch.tensor([[8, 8, 8, 8]] * 2)))
    assert (logits[:, 1:] - logits[:, :-1]).abs().amax(dim=-1).min() > 1e-3
    assert not any("embedding" in name for name, _ in decoder.named_parameters())


def test_any_length_works_and_steps_count_on():
    decoder, encoded = make(), encoding()
    target = torch.randint(4, 9, (2, 300))
    fused = decoder(encoded, target)
    state, previous = decoder.start(encoded), torch.ones(2).long()
    for step in range(300):
        logits, state = decoder.step(previous, state)
        assert (logits - fused[:, step]).abs().max() <= 1e-10
        previous = target[:, step]
    assert decoder.reorder(state, torch.tensor([1, 1, 0])).num_written == 300


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"target_space": ValueSpace(2)}, r"writes tokens.*real values.*decoder=luong"),
        ({"feedback": FreeRunning}, r"feedback is FreeRunning.*decoder/feedback=teacher_forcing"),
        ({"num_layers": 0}, r"num_layers is 0"),
        ({"hidden_size": 0}, r"hidden_size is 0"),
        ({"position_size": 0}, r"position_size is 0"),
        ({"embedding_size": 0}, r"embedding_size is 0"),
        ({"dropout": 1}, r"dropout is 1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        make(**setting)
