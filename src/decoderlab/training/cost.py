"""What a model costs: parameters, floating-point operations, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from decoderlab.contract import Batch
from decoderlab.data.batches import Split, by_length
from decoderlab.layers.equations import count
from decoderlab.training.module import EncoderDecoder


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of trained parameters of each child module, and their `total`."""
    counts = {name: count(child) for name, child in model.named_children()}
    counts = {name: number for name, number in counts.items() if number}
    return counts | {"total": sum(counts.values())}


def recurrent_flops(layers: nn.RNNBase, num_rows: int, num_steps: int) -> int:
    """Return the operations of a forward pass: 2 g H (I + H) for each layer, direction and step.

    A multiplication and an addition count as two; element-wise work is left out, as in torch's
    own counter. g is the number of gates, as many as the weights have rows (LSTM 4 H,
    GRU 3 H), I the layer's input width.

    Example:
        >>> recurrent_flops(nn.LSTM(3, 5), num_rows=1, num_steps=1) == 2 * 4 * 5 * (3 + 5)
        True
    """
    directions = 2 if layers.bidirectional else 1
    hidden = layers.hidden_size
    gates = dict(layers.named_parameters())["weight_hh_l0"].shape[0] // hidden
    per_step = sum(
        2 * gates * hidden * (width + hidden) * directions
        for width in [layers.input_size] + [hidden * directions] * (layers.num_layers - 1)
    )
    return per_step * num_rows * num_steps


@torch.no_grad()
def count_flops(model: EncoderDecoder, batch: Batch) -> int:
    """Return the operations of one forward pass with loss over a batch.

    torch's counter sees 0 in the fused recurrent kernels of the CPU; whatever it sees in them is
    replaced by the analytic count.
    """
    counter = FlopCounterMode(display=False)
    correction: Counter[str] = Counter()

    def before(layers: nn.RNNBase, inputs: tuple) -> None:
        correction["recurrent"] += counter.get_total_flops()

    def after(layers: nn.RNNBase, inputs: tuple, outputs: Any) -> None:
        correction["recurrent"] -= counter.get_total_flops()
        data = inputs[0]
        if isinstance(data, nn.utils.rnn.PackedSequence):
            correction["recurrent"] += recurrent_flops(layers, len(data.data), 1)
        else:
            correction["recurrent"] += recurrent_flops(layers, *data.shape[:2])

    handles = []
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after))
    training = model.training
    model.eval()
    try:
        with counter:
            model.loss(batch)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return counter.get_total_flops() + correction["recurrent"]


def flops_per_example(model: EncoderDecoder, split: Split, num_examples: int = 128) -> float:
    """Return the operations of a forward pass, averaged over the first examples of a split.

    Args:
        model: on the CPU, or on the meta device, where nothing is computed.
        split: the same for all variants that are compared.
        num_examples: at most; they are batched by the length of their sources, whose padding does
            not count; targets are padded to the longest of their batch, as in training, and that
            does.
    """
    total = sum(count_flops(model, batch) for batch in _first_batches(model, split, num_examples))
    return total / min(num_examples, len(split))


def _first_batches(model: EncoderDecoder, split: Split, num_examples: int) -> Iterator[Batch]:
    """Yield the first examples of a split where a model is, batched by length."""
    order, device = np.arange(min(num_examples, len(split))), next(model.parameters()).device
    for index in by_length(split.source.lengths.numpy(), num_examples, order):
        batch = split.batch(torch.from_numpy(index))
        yield model.transfer_batch_to_device(batch, device, 0)


def unread_weights(model: EncoderDecoder, split: Split, num_examples: int = 128) -> dict[str, int]:
    """Return the trained weights that the loss does not depend on, each with its numbers.

    Args:
        model: on the CPU, or on the meta device.
        split: examples to look at.
        num_examples: at most.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    training = model.training
    model.eval()
    try:
        for batch in _first_batches(model, split, num_examples):
            if not weights:
                break
            loss, _ = model.loss(batch)
            if not loss.requires_grad:
                continue
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            weights = {
                name: weight
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
                if gradient is None
            }
    except RuntimeError:  # of somebody's module; whoever reads a batch with it says so
        return {}
    finally:
        model.train(training)
    return {name: weight.numel() for name, weight in weights.items()}


def reset_peak_memory() -> None:
    """Begin a new measurement of the process's peak memory, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peak of the whole process is reported then


def peak_memory() -> int | None:
    """Return the peak of the process's resident memory in bytes, None where it is not known."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024
