"""Pooling, and the encoders that convolve over sequences and over images."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import ImageSpace, TokenSpace, ValueSpace
from decoderlab.encoders.convolutional_encoder import ConvolutionalEncoder
from decoderlab.encoders.image_encoder import ImageEncoder
from decoderlab.layers.equations import count
from decoderlab.layers.pooling import length_mask, masked_max, masked_mean


def test_pooling_sees_real_positions_only():
    memory = torch.tensor(
        [[[-5.0, 2.0], [-1.0, 4.0], [0.0, 0.0]], [[-3.0, 7.0], [9.0, 9.0], [9.0, 9.0]]]
    )
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_max(memory, mask).tolist() == [[-1.0, 4.0], [-3.0, 7.0]]
    assert masked_mean(memory, mask).tolist() == [[-3.0, 3.0], [-3.0, 7.0]]


@pytest.mark.parametrize("pool", [masked_max, masked_mean])
def test_not_even_nan_at_padding_gets_through_in_either_direction(pool):
    mask = torch.tensor([[True, True, False]])
    memory = torch.tensor([[[1.0], [2.0], [torch.nan]]], requires_grad=True)
    pooled = pool(memory, mask)
    pooled.sum().backward()
    assert pooled.isfinite().all()
    assert memory.grad[0, 2] == 0
    assert memory.grad.sum() == 1


def test_the_mask_is_made_of_lengths():
    mask = length_mask(torch.tensor([1, 3]), 3, torch.device("cpu"))
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def counting(num_layers: int, summary: str = "max") -> ConvolutionalEncoder:
    """Return an encoder of one number a place: kernels (1, 10, 100), bias 0.5, nothing embedded."""
    encoder = ConvolutionalEncoder(
        source_space=ValueSpace(1), hidden_size=1, num_layers=num_layers, summary=summary
    ).double()
    for layer in encoder.layers:
        layer.load_state_dict(
            {"weight": torch.tensor([[[1.0, 10, 100]]]), "bias": torch.tensor([0.5])}
        )
    return encoder


def test_a_convolution_is_what_the_hand_computes_with_zeros_beyond_the_ends():
    source = torch.tensor([[1.0, 2, 3], [4.0, 7, 7]]).double().unsqueeze(-1)  # 7: padding
    memory, mask, summary, state, _ = counting(num_layers=1)(source, torch.tensor([3, 1]))
    # 1 + ReLU(0 + 10 + 200 + 0.5), ...; the second row sees no 7, and is alone with its zeros.
    assert memory.squeeze(-1).tolist() == [[211.5, 323.5, 35.5], [44.5, 0, 0]]
    assert summary.tolist() == [[323.5], [44.5]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert state is None
    mean = counting(num_layers=1, summary="mean")(source, torch.tensor([3, 1])).summary
    assert mean.tolist() == [[(211.5 + 323.5 + 35.5) / 3], [44.5]]


def test_a_second_layer_finds_zeros_where_the_first_left_its_bias():
    source = torch.tensor([[4.0, 7, 7]]).double().unsqueeze(-1)
    memory = counting(num_layers=2)(source, torch.tensor([1])).memory
    assert memory[0, 0, 0] == 44.5 + (445 + 0.5)


def test_a_negative_convolution_adds_nothing():
    source = torch.tensor([[-1.0, -2]]).double().unsqueeze(-1)
    memory = counting(num_layers=1)(source, torch.tensor([2])).memory
    assert memory.squeeze(-1).tolist() == [[-1.0, -2.0]]


@pytest.mark.parametrize(("num_layers", "kernel_size", "reach"), [(1, 3, 1), (2, 3, 2), (2, 5, 4)])
def test_a_position_knows_so_many_neighbours(num_layers, kernel_size, reach):
    torch.manual_seed(0)
    encoder = ConvolutionalEncoder(
        source_space=ValueSpace(2), hidden_size=16, num_layers=num_layers, kernel_size=kernel_size
    )
    source = torch.randn(1, 11, 2, requires_grad=True)
    encoder(source, torch.tensor([11])).memory[0, 5].sum().backward()
    seen = source.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == list(range(5 - reach, 5 + reach + 1))


def test_the_memory_is_the_grid_row_by_row():
    encoder = ImageEncoder(source_space=ImageSpace(1, 4, 6), hidden_size=1, num_layers=1).double()
    only_the_middle = torch.zeros(1, 1, 3, 3)
    only_the_middle[0, 0, 1, 1] = 1
    encoder.layers[0].load_state_dict({"weight": only_the_middle, "bias": torch.zeros(1)})
    image = torch.arange(24.0).reshape(1, 1, 4, 6).double()
    memory, mask, summary, state, _ = encoder(image, torch.tensor([1]))
    assert memory.flatten().tolist() == [0, 2, 4, 12, 14, 16]  # rows 0 and 2, columns 0, 2 and 4
    assert (encoder(-image, torch.tensor([1])).memory == 0).all()  # the ReLU
    assert mask.shape == (1, 6)
    assert mask.all()
    assert summary.tolist() == [[8.0]]
    assert state is None


@pytest.mark.parametrize(
    ("height", "width", "num_layers", "places"), [(8, 8, 2, 4), (28, 28, 3, 16), (5, 3, 2, 2)]
)
@pytest.mark.parametrize("summary", ["mean", "max", "flatten"])
def test_each_layer_halves_the_grid_rounded_up(height, width, num_layers, places, summary):
    encoder = ImageEncoder(
        source_space=ImageSpace(3, height, width),
        hidden_size=5,
        num_layers=num_layers,
        summary=summary,
    )
    encoded = encoder(torch.randn(2, 3, height, width), torch.ones(2).long())
    assert encoded.memory.shape == (2, places, encoder.shape.memory_size)
    assert encoded.summary.shape == (2, encoder.shape.summary_size)


def test_only_flattening_knows_where_something_was():
    image = torch.zeros(2, 1, 8, 8)
    image[0, 0, 2:4, 2:4] = image[1, 0, 4:6, 4:6] = 1  # the same, one place of the grid apart
    for summary, differs in (("mean", False), ("max", False), ("flatten", True)):
        torch.manual_seed(0)
        encoder = ImageEncoder(
            source_space=ImageSpace(1, 8, 8), hidden_size=8, num_layers=1, summary=summary
        )
        one, other = encoder(image, torch.ones(2).long()).summary
        assert torch.allclose(one, other, atol=1e-6) != differs


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kernel_size": 4}, r"kernel_size is 4; it must be odd.*take 3 or 5"),
        ({"kernel_size": 0}, r"kernel_size is 0; it must be at least 1"),
        ({"num_layers": 0}, r"num_layers is 0"),
        ({"hidden_size": 0}, r"hidden_size is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0"),
        ({"summary": "last"}, r"summary is 'last'; it must be one of max, mean"),
        ({"source_space": ImageSpace(1, 8, 8)}, r"images.*encoder=image_cnn"),
    ],
)
def test_bad_settings_of_the_sequence_encoder_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionalEncoder(**{"source_space": TokenSpace(7), "hidden_size": 4} | setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"source_space": TokenSpace(7)}, r"reads images.*are tokens.*or encoder=lstm"),
        ({"source_space": ValueSpace(7)}, r"reads images.*are real values"),
        ({"num_layers": 4}, r"num_layers is 4.*8 by 8 is a single pixel after 3"),
        ({"num_layers": 0}, r"num_layers is 0"),
        ({"hidden_size": 0}, r"hidden_size is 0"),
        ({"summary": "flat"}, r"summary is 'flat'.*flatten, max, mean"),
    ],
)
def test_bad_settings_of_the_image_encoder_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder(**{"source_space": ImageSpace(1, 8, 8), "hidden_size": 4} | setting)


def test_layer_norm_gives_memory_and_summary_of_images_one_scale():
    sizes = {"source_space": ImageSpace(3, 8, 8), "hidden_size": 6, "summary": "flatten"}
    torch.manual_seed(0)
    plain, normal = ImageEncoder(**sizes), ImageEncoder(**sizes, layer_norm=True)
    normal.load_state_dict(plain.state_dict(), strict=False)
    images = 1000 * torch.rand(4, 3, 8, 8)
    before, after = (one(images, torch.ones(4).long()) for one in (plain, normal))
    for large, small in ((before.memory, after.memory), (before.summary, after.summary)):
        assert large.std() > 2
        assert torch.allclose(small.mean(-1), torch.zeros(small.shape[:-1]), atol=1e-5)
        assert torch.allclose(small.std(-1, correction=0), torch.ones(small.shape[:-1]), atol=0.05)
    assert count(normal) - count(plain) == 4 * 6
    assert sum(one.parameters for one in normal.equations()) == count(normal)
    assert any("LN(" in one.right for one in normal.equations())
