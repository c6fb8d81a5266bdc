"""Whether exported programs write what the model writes, output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decoderlab.common.errors import ConfigError
from decoderlab.contract import ImageSpace, Space, TokenSpace, ValueSpace
from decoderlab.training.module import EncoderDecoder
from decoderlab.usage.programs import first_input

STEPS = 12
# Of numbers that two ways of computing the same give after so many steps.
TOLERANCE = 1e-3

Run = Callable[[str, Sequence[Tensor]], Sequence[Tensor]]


@torch.no_grad()
def check_predictions(
    model: EncoderDecoder, space: Space, run: Run, sizes: Sequence[tuple[int, int]]
) -> None:
    """Compare programs, one after the other as a runner calls them, with the model they are of.

    Args:
        model: in evaluation mode, on the CPU; not a copy whose layers were exchanged.
        space: of its sources.
        run: calls a program by its name.
        sizes: of each batch of sources that both read: rows, and positions of each.

    Raises:
        ConfigError: if an output differs.
    """
    decoder = model.decoder
    for seed, (rows, positions) in enumerate(sizes):
        source = _drawn(space, rows, positions, seed)
        length = 1 if source.dim() == 4 else positions
        encoded = model.encode(source, torch.full((rows,), length))
        _check("features", run("features", [source]), [encoded.summary, encoded.memory])
        state, made = decoder.start(encoded), run("start", run("encode", [source]))
        previous = first_input(model, encoded, rows)
        backwards = torch.arange(rows).flip(0)
        for step in range(min(STEPS, model.max_target_length)):
            if step == 1:
                state, made = decoder.reorder(state, backwards), run("reorder", [backwards, *made])
                previous = previous[backwards]
            outputs, state = decoder.step(previous, state)
            own, *made = run("step", [previous, *made])
            _check(f"output {step + 1}", [own], [outputs])
            previous = _next(model, outputs)


def _check(what: str, made: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for own, expected in zip(made, wanted, strict=True):
        if not torch.allclose(own, expected, rtol=TOLERANCE, atol=TOLERANCE):
            difference = float((own - expected).abs().max())
            raise ConfigError(
                f"its programs would give other outputs than the run ({what} differs by "
                f"{difference:.3g})"
            )


def _next(model: EncoderDecoder, outputs: Tensor) -> Tensor:
    """Return what a greedy search feeds back."""
    target = model.target_space
    if isinstance(target, TokenSpace):
        never = torch.tensor(target.never_generated)
        return outputs.index_fill(1, never, -torch.inf).argmax(dim=1)
    return outputs[:, : target.size]


def _drawn(space: Space, rows: int, positions: int, seed: int) -> Tensor:
    """Return sources whose positions differ, without special tokens where there are others."""
    generator = torch.Generator().manual_seed(seed)
    match space:
        case TokenSpace():
            special = max(space.pad_id, space.bos_id, space.eos_id, space.unk_id)
            first = min(special + 1, space.size - 1)
            return torch.randint(first, space.size, (rows, positions), generator=generator)
        case ValueSpace():
            return torch.randn(rows, positions, space.size, generator=generator)
        case ImageSpace():
            shape = (rows, space.channels, space.height, space.width)
            return torch.rand(*shape, generator=generator)
