"""Small encoders and decoders built from every YAML, and a batch for them."""

from __future__ import annotations

import torch

from decoderlab.assembly import build_networks
from decoderlab.config import resolve
from decoderlab.contract import Encoded, TokenSpace
from tests.conftest import composed, variants

SOURCE, TARGET = TokenSpace(11), TokenSpace(9)
LENGTHS = torch.tensor([5, 3, 4])
# Why a pair of YAMLs cannot work, by (encoder, decoder); strict: each must be refused.
REFUSED: dict[tuple[str, str], str] = {}


def all_pairs() -> list[tuple[str, str]]:
    return [
        (encoder, decoder) for encoder in variants("encoder") for decoder in variants("decoder")
    ]


def build(encoder: str, decoder: str, *overrides: str, dtype=torch.float64):
    """Return an encoder and a decoder of small and equal state widths, with random weights."""
    config = resolve(
        composed(
            f"encoder={encoder}",
            f"decoder={decoder}",
            f"encoder.hidden_size={3 if encoder == 'bilstm' else 6}",
            "decoder.hidden_size=6",
            "encoder.embedding_size=4",
            "decoder.embedding_size=4",
            *overrides,
        )
    )
    torch.manual_seed(0)
    networks = build_networks(config, SOURCE, TARGET)
    return tuple(network.to(dtype) for network in networks)


def batch():
    """Return sources (3, 5) of different lengths and targets (3, 4)."""
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, SOURCE.size, (3, 5), generator=generator)
    source[torch.arange(5) >= LENGTHS.unsqueeze(1)] = SOURCE.pad_id
    target = torch.randint(4, TARGET.size, (3, 4), generator=generator)
    return source, target


def leaf(encoded: Encoded) -> Encoded:
    """Return the same encoding, cut off from the encoder, that collects gradients."""
    state = encoded.state and type(encoded.state)(
        *(None if part is None else part.detach().requires_grad_() for part in encoded.state)
    )
    return Encoded(
        encoded.memory.detach().requires_grad_(),
        encoded.memory_mask,
        encoded.summary.detach().requires_grad_(),
        state,
    )
