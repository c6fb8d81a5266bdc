"""Compare the article's model with Keras: parameter count, and outputs with Keras's weights.

The model is that of Keras's addition_rnn example: LSTM, RepeatVector, LSTM, a dense softmax layer
at each step, on one-hot characters (or, with --embedding-size, on embedded ones). Ours is
`encoder=lstm decoder=repeat_vector`. torch keeps two bias vectors per gate where Keras has one, so
ours has 4H numbers more per LSTM; they are counted apart below, and Keras's bias is copied into the
first of the two while the second is zero.

Runs Keras on its torch backend. Exit code 0 if all agree to the tolerance, else 1.

Example:
    python scripts/compare_with_keras.py --hidden-size 128 --source-length 7 --target-length 4
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import cast

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from hydra import compose, initialize_config_dir

from decoderlab.common.folders import conf_dir
from decoderlab.config.run_config import RunConfig
from decoderlab.contract import TokenSpace
from decoderlab.training.assembly import build_networks
from measuring.arguments import positive, script_parser


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Args:
        keras_parameters, our_parameters: trained numbers of each.
        second_biases: those of ours that are torch's second bias vectors.
        output_difference: largest absolute difference of the logits.
        gradient_difference: largest absolute difference of the gradients of the first layer's
            weights, for the same loss.
    """

    keras_parameters: int
    our_parameters: int
    second_biases: int
    output_difference: float
    gradient_difference: float


def keras_model(
    size: int, hidden: int, source_length: int, target_length: int, embedding_size: int | None
) -> keras.Model:
    """Return Keras's model up to the logits."""
    if embedding_size is None:
        inputs = keras.Input((source_length, size))
        values = inputs
    else:
        inputs = keras.Input((source_length,), dtype="int64")
        values = keras.layers.Embedding(size, embedding_size, name="embedding")(inputs)
    values = keras.layers.LSTM(hidden, name="encoder")(values)
    values = keras.layers.RepeatVector(target_length)(values)
    values = keras.layers.LSTM(hidden, return_sequences=True, name="decoder")(values)
    logits = keras.layers.TimeDistributed(keras.layers.Dense(size), name="head")(values)
    return keras.Model(inputs, logits)


def our_model(size: int, hidden: int, embedding_size: int | None):
    """Return encoder and decoder from the YAMLs that the study uses."""
    overrides = [
        "encoder=lstm",
        "decoder=repeat_vector",
        f"encoder.hidden_size={hidden}",
        f"decoder.hidden_size={hidden}",
        f"encoder.embedding_size={'null' if embedding_size is None else embedding_size}",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = RunConfig.from_composed(compose("train", overrides=overrides))
    return build_networks(config, TokenSpace(size), TokenSpace(size))


def in_torch_order(source: keras.layers.RNN) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return kernel (gates * H, I), recurrent kernel (gates * H, H) and bias of a Keras layer.

    LSTMs have their gates in one order; a GRU's reset gate comes first in torch, second in Keras.
    The bias is (gates * H,), or (2, gates * H) for a GRU with reset_after=True.
    """
    arrays = [torch.from_numpy(array) for array in source.get_weights()]
    if isinstance(source, keras.layers.GRU):
        parts = [array.chunk(3, dim=-1) for array in arrays]
        arrays = [torch.cat([reset, keep, new], dim=-1) for keep, reset, new in parts]
    kernel, recurrent, bias = arrays
    return kernel.T, recurrent.T, bias


@torch.no_grad()
def copy_recurrent(
    source: keras.layers.RNN, target: torch.nn.RNNBase, direction: str = "l0"
) -> None:
    """Copy the weights of a layer; Keras's one bias goes into the first of torch's two."""
    kernel, recurrent, bias = in_torch_order(source)
    first, second = bias if bias.dim() == 2 else (bias, torch.zeros_like(bias))
    getattr(target, f"weight_ih_{direction}").copy_(kernel)
    getattr(target, f"weight_hh_{direction}").copy_(recurrent)
    getattr(target, f"bias_ih_{direction}").copy_(first)
    getattr(target, f"bias_hh_{direction}").copy_(second)


@torch.no_grad()
def copy_dense(source: keras.layers.Layer, target: torch.nn.Linear) -> None:
    """Copy the weights of a Dense layer, or of a TimeDistributed one."""
    kernel, bias = source.get_weights()
    target.weight.copy_(torch.from_numpy(kernel.T))
    target.bias.copy_(torch.from_numpy(bias))


def compare(
    *,
    size: int = 12,
    hidden: int = 128,
    source_length: int = 7,
    target_length: int = 4,
    embedding_size: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Build both, copy the weights, run the same batch through both."""
    keras.utils.set_random_seed(seed)
    theirs = keras_model(size, hidden, source_length, target_length, embedding_size)
    encoder, decoder = our_model(size, hidden, embedding_size)
    read = cast(torch.nn.RNNBase, encoder.get_submodule("rnn.layers.0"))
    write = cast(torch.nn.RNNBase, decoder.get_submodule("rnn.layers.0"))
    head = cast(torch.nn.Linear, decoder.get_submodule("head.output"))
    copy_recurrent(theirs.get_layer("encoder"), read)
    copy_recurrent(theirs.get_layer("decoder"), write)
    copy_dense(theirs.get_layer("head"), head)
    if embedding_size is not None:
        with torch.no_grad():
            table = theirs.get_layer("embedding").get_weights()[0]
            encoder.get_parameter("embedding.weight").copy_(torch.from_numpy(table))

    generator = np.random.default_rng(seed)
    # Not the padding id 0: our learned table keeps its vector at zero, Keras's does not.
    source = torch.from_numpy(generator.integers(1, size, (32, source_length)))
    target = torch.from_numpy(generator.integers(0, size, (32, target_length)))
    their_input = source if embedding_size is not None else torch.eye(size)[source]
    their_logits = theirs(their_input)
    lengths = torch.full((32,), source_length)
    our_logits = decoder(encoder(source, lengths), target)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())

    loss(their_logits).backward()
    loss(our_logits).backward()
    their_gradient = theirs.get_layer("encoder").trainable_weights[0].value.grad.T
    our_gradient = read.get_parameter("weight_ih_l0").grad
    parameters = [*encoder.named_parameters(), *decoder.named_parameters()]
    return Comparison(
        keras_parameters=theirs.count_params(),
        our_parameters=sum(p.numel() for _, p in parameters),
        second_biases=sum(p.numel() for name, p in parameters if "bias_hh" in name),
        output_difference=float((their_logits - our_logits).detach().abs().max()),
        gradient_difference=float((their_gradient - our_gradient).abs().max()),
    )


def main() -> None:
    """Compare, print, and leave with the verdict."""
    parser = script_parser(__doc__)
    parser.add_argument("--size", type=positive, default=12, help="vocabulary (%(default)s)")
    parser.add_argument("--hidden-size", type=positive, default=128, help="(%(default)s)")
    parser.add_argument("--source-length", type=positive, default=7, help="(%(default)s)")
    parser.add_argument("--target-length", type=positive, default=4, help="(%(default)s)")
    parser.add_argument("--embedding-size", type=positive, default=None, help="default: one-hot")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="(%(default)s)")
    arguments = parser.parse_args()
    found = compare(
        size=arguments.size,
        hidden=arguments.hidden_size,
        source_length=arguments.source_length,
        target_length=arguments.target_length,
        embedding_size=arguments.embedding_size,
    )
    same = found.our_parameters - found.second_biases
    print(f"parameters: Keras {found.keras_parameters:,}; ours {found.our_parameters:,}, of which")
    print(f"  {found.second_biases:,} are torch's second bias vectors; without them {same:,}")
    print(f"largest difference of the outputs with Keras's weights: {found.output_difference:.1e}")
    print(f"largest difference of the gradients: {found.gradient_difference:.1e}")
    worst = max(found.output_difference, found.gradient_difference)
    agree = same == found.keras_parameters and worst <= arguments.tolerance
    print("they agree" if agree else "they do NOT agree")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
