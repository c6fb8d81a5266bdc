"""The transformer's parts against the paper's formulas and torch's own modules."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from decoderlab.contract import Encoded, EncoderShape, ImageSpace, TokenSpace, ValueSpace
from decoderlab.decoders.transformer_decoder import TransformerDecoder, TransformerDecoderLayer
from decoderlab.encoders.transformer_encoder import TransformerEncoder, TransformerEncoderLayer
from decoderlab.layers.attention_blocks import MultiHeadAttention, ScaledEmbedding, feed_forward
from decoderlab.layers.drawn_weights import initialise, watched
from decoderlab.layers.positions import sinusoidal_positions

NORM_FIRST = pytest.mark.parametrize("norm_first", [False, True])
LAYER = {"hidden_size": 8, "num_heads": 2, "feedforward_size": 12, "dropout": 0.0}


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_positions_are_those_of_the_paper(size):
    positions = sinusoidal_positions(5, size, first=3, like=torch.zeros(1).double())
    assert positions.dtype == torch.float64
    for row in range(5):
        for column in range(size):
            angle = (3 + row) / 10000 ** (column // 2 * 2 / size)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert positions[row, column].item() == pytest.approx(expected, abs=1e-12)


def test_positions_are_as_exact_as_half_precision_can_say():
    exact = sinusoidal_positions(600, 8, like=torch.zeros(1).double())
    half = sinusoidal_positions(600, 8, like=torch.zeros(1).bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).abs().max() < 2**-8


def test_the_table_starts_as_large_as_the_positions_and_knows_no_padding():
    with watched() as drawn:
        table = ScaledEmbedding(space=TokenSpace(2000), size=64)
    initialise(table, drawn, seed=0)
    vectors = table(torch.arange(2000))
    assert vectors[1:].std().item() == pytest.approx(1, abs=0.02)
    assert (vectors[0] == 0).all()
    assert torch.equal(vectors, table.weight * 8)


@torch.no_grad()
def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    # Their keys keep the random bias that ours lack: it must make no difference.
    maps = (ours.query, ours.key, ours.value)
    weights = (
        theirs.in_proj_weight.chunk(3)
        if theirs.in_proj_weight is not None
        else (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    )
    theirs.in_proj_bias.normal_()
    theirs.out_proj.bias.normal_()
    for linear, weight, bias in zip(maps, weights, theirs.in_proj_bias.chunk(3), strict=True):
        linear.weight.copy_(weight)
        if linear.bias is not None:
            linear.bias.copy_(bias)
    ours.output.load_state_dict(theirs.out_proj.state_dict())


@torch.no_grad()
def copy_rest(ours: nn.Module, theirs: nn.Module, names: list[str]) -> None:
    for number, name in enumerate(names, start=1):
        norm = getattr(theirs, f"norm{number}")
        norm.weight.normal_()
        norm.bias.normal_()
        getattr(ours, f"{name}_residual").norm.load_state_dict(norm.state_dict())
    ours.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward[2].load_state_dict(theirs.linear2.state_dict())


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours = MultiHeadAttention(query_size=8, memory_size=5, num_heads=2).double()
    theirs = nn.MultiheadAttention(8, 2, kdim=5, vdim=5, batch_first=True).double()
    copy_attention(ours, theirs)
    query, memory = torch.randn(3, 4, 8).double(), torch.randn(3, 6, 5).double()
    mask = torch.arange(6) < torch.tensor([[6], [1], [4]])
    found = ours(query, *ours.keys_and_values(memory), mask[:, None, None])
    expected, _ = theirs(query, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_equation_one_is_torchs_fused_attention():
    torch.manual_seed(0)
    attention = MultiHeadAttention(query_size=8, memory_size=8, num_heads=2).double()
    attention.output = nn.Identity()
    inputs = torch.randn(3, 4, 8).double()
    keys, values = attention.keys_and_values(inputs)
    queries = attention.query(inputs).reshape(3, 4, 2, 4).transpose(1, 2)
    expected = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    found = attention(inputs, keys, values, torch.ones(4, 4).bool().tril())
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(2))


def test_the_counter_of_operations_sees_all_of_attention():
    attention = MultiHeadAttention(query_size=8, memory_size=8, num_heads=2)
    inputs, keys = torch.zeros(3, 4, 8), torch.zeros(3, 2, 6, 4)
    with FlopCounterMode(display=False) as counter:
        attention(inputs, keys, keys, torch.ones(1).bool())
    # Query and output maps, then scores and their weighted sum.
    assert counter.get_total_flops() == 2 * (2 * 3 * 4 * 8 * 8) + 2 * (2 * 3 * 4 * 6 * 8)


@NORM_FIRST
def test_an_encoder_layer_is_torchs(norm_first):
    torch.manual_seed(0)
    ours = TransformerEncoderLayer(**LAYER, norm_first=norm_first).double()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0, batch_first=True, norm_first=norm_first
    ).double()
    copy_attention(ours.attention, theirs.self_attn)
    copy_rest(ours, theirs, ["attention", "feed_forward"])
    inputs = torch.randn(3, 6, 8).double()
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    outputs, expected = (
        ours(inputs, mask[:, None, None]),
        theirs(inputs, src_key_padding_mask=~mask),
    )
    torch.testing.assert_close(outputs[mask], expected[mask], atol=1e-6, rtol=0)


@NORM_FIRST
def test_a_decoder_layer_is_torchs(norm_first):
    torch.manual_seed(0)
    ours = TransformerDecoderLayer(**LAYER, memory_size=8, norm_first=norm_first).double()
    theirs = nn.TransformerDecoderLayer(
        8, 2, 12, dropout=0, batch_first=True, norm_first=norm_first
    ).double()
    copy_attention(ours.self_attention, theirs.self_attn)
    copy_attention(ours.memory_attention, theirs.multihead_attn)
    copy_rest(ours, theirs, ["self_attention", "memory_attention", "feed_forward"])
    inputs, memory = torch.randn(3, 5, 8).double(), torch.randn(3, 6, 8).double()
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    causal = torch.ones(5, 5).bool().tril()
    outputs, _ = ours(inputs, ours.start(memory), causal, mask[:, None, None])
    expected = theirs(inputs, memory, tgt_mask=~causal, memory_key_padding_mask=~mask)
    torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=0)


def encoding(memory_size: int = 5) -> Encoded:
    memory = torch.randn(3, 6, memory_size).double()
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    return Encoded(
        memory.masked_fill(~mask.unsqueeze(-1), 0), mask, torch.zeros(3, 2).double(), None
    )


@NORM_FIRST
def test_the_cache_may_grow_by_any_number_of_positions(norm_first):
    torch.manual_seed(0)
    decoder = TransformerDecoder(
        target_space=TokenSpace(9),
        encoder_shape=EncoderShape(memory_size=5, summary_size=2),
        hidden_size=8,
        num_layers=2,
        norm_first=norm_first,
    ).double()
    encoded, target = encoding(), torch.randint(4, 9, (3, 7))
    previous = torch.cat([torch.full((3, 1), 1), target[:, :-1]], dim=1)
    fused = decoder(encoded, target)
    for widths in ([1] * 7, [3, 4], [1, 5, 1]):
        state, logits = decoder.start(encoded), []
        for part in previous.split(widths, dim=1):
            more, state = decoder._advance(part, state)
            logits.append(more)
        assert (torch.cat(logits, dim=1) - fused).abs().max() <= 1e-10
    assert state.layers[1].keys.shape == (3, 2, 7, 4)


@NORM_FIRST
def test_the_whole_is_embedding_and_positions_through_the_layers_and_one_last_norm(norm_first):
    torch.manual_seed(0)
    settings = {"hidden_size": 8, "num_layers": 2, "norm_first": norm_first}
    encoder = TransformerEncoder(source_space=TokenSpace(9), **settings).double()
    decoder = TransformerDecoder(
        target_space=TokenSpace(9), encoder_shape=encoder.shape, **settings
    ).double()
    source, target = torch.randint(4, 9, (2, 5)), torch.randint(4, 9, (2, 3))
    mask = torch.ones(1, 1, 1, 5).bool()
    positions = sinusoidal_positions(5, 8, like=encoder.embedding.weight)

    hidden = encoder.embedding(source) + positions
    for layer in encoder.layers:
        hidden = layer(hidden, mask)
    memory = functional.layer_norm(hidden, (8,)) if norm_first else hidden
    encoded = encoder(source, torch.tensor([5, 5]))
    torch.testing.assert_close(encoded.memory, memory)
    torch.testing.assert_close(encoded.summary, memory.mean(1))

    hidden = decoder.embedding(torch.cat([torch.ones(2, 1).long(), target[:, :2]], dim=1))
    hidden = hidden + positions[:3]
    for layer in decoder.layers:
        hidden, _ = layer(hidden, layer.start(memory), torch.ones(3, 3).bool().tril(), mask)
    hidden = functional.layer_norm(hidden, (8,)) if norm_first else hidden
    torch.testing.assert_close(decoder(encoded, target), decoder.head(hidden))


def test_the_feed_forward_part_is_four_times_as_wide_if_nothing_else_is_said():
    assert [linear.weight.shape for linear in [*feed_forward(8, None)][::2]] == [(32, 8), (8, 32)]


def test_order_matters_through_the_positions_alone():
    torch.manual_seed(0)
    encoder = TransformerEncoder(source_space=TokenSpace(9), hidden_size=8).double()
    source, lengths = torch.tensor([[4, 5, 6, 7]]), torch.tensor([4])
    ahead, back = encoder(source, lengths), encoder(source.flip(1), lengths)
    assert (ahead.summary - back.summary).abs().max() > 1e-3
    hidden = encoder.embedding(source)
    everything = torch.ones(1, 1, 1, 4).bool()
    ahead, back = (encoder.layers[0](inputs, everything) for inputs in (hidden, hidden.flip(1)))
    torch.testing.assert_close(ahead, back.flip(1))


def test_values_are_mapped_and_not_scaled():
    encoder = TransformerEncoder(source_space=ValueSpace(3), hidden_size=8, norm_first=True)
    assert isinstance(encoder.embedding, nn.Linear)
    memory = encoder(torch.randn(2, 4, 3), torch.tensor([4, 2])).memory
    assert memory.shape == (2, 4, 8)
    assert (memory[1, 2:] == 0).all()


def test_the_initialiser_reaches_every_weight_but_the_constants_of_the_norms():
    sizes = {"hidden_size": 8, "num_layers": 2}
    with watched() as drawn:
        encoder = TransformerEncoder(source_space=TokenSpace(9), **sizes)
        spaces = {"target_space": TokenSpace(9), "encoder_shape": encoder.shape}
        decoder = TransformerDecoder(**spaces, **sizes)
    for model in (encoder, decoder):
        before = {name: value.clone() for name, value in model.named_parameters()}
        initialise(model, drawn, seed=3)
        kept = {
            name for name, value in model.named_parameters() if torch.equal(value, before[name])
        }
        assert kept == {name for name in before if "norm." in name}
        after = dict(model.named_parameters())
        assert not torch.equal(
            after["layers.0.feed_forward.0.weight"], after["layers.1.feed_forward.0.weight"]
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_heads": 3}, r"hidden_size is 8 and num_heads is 3.*multiple of num_heads"),
        ({"num_heads": 0}, r"num_heads is 0"),
        ({"num_layers": 0}, r"num_layers is 0"),
        ({"hidden_size": 0}, r"hidden_size is 0"),
        ({"feedforward_size": 0}, r"feedforward_size is 0"),
        ({"dropout": -0.1}, r"dropout is -0.1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    shape = EncoderShape(memory_size=5, summary_size=2)
    for kind, spaces in (
        (TransformerEncoder, {"source_space": TokenSpace(7)}),
        (TransformerDecoder, {"target_space": TokenSpace(7), "encoder_shape": shape}),
    ):
        with pytest.raises(ValueError, match=message):
            kind(**spaces, **{"hidden_size": 8} | setting)


def test_what_they_cannot_read_or_write_is_refused():
    with pytest.raises(ValueError, match=r"images.*encoder=image_cnn"):
        TransformerEncoder(source_space=ImageSpace(1, 8, 8), hidden_size=8)
    with pytest.raises(ValueError, match=r"summary is 'first'"):
        TransformerEncoder(source_space=TokenSpace(7), hidden_size=8, summary="first")
    with pytest.raises(ValueError, match=r"writes tokens.*real values.*decoder=luong"):
        TransformerDecoder(
            target_space=ValueSpace(2), encoder_shape=EncoderShape(5, 2), hidden_size=8
        )
