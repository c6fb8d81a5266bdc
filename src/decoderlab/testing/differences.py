"""How the checks see differences, gradients and randomness."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from decoderlab.contract import Encoded
from decoderlab.testing.checked_modules import DropsOut, SomeModule
from decoderlab.testing.encoder_outputs import floats

TINY = 1e-10
OVER_THE_BATCH = "is something computed over the batch, such as a mean, a maximum or a batch norm?"


class Seen(Exception):  # noqa: N818 - not an error of the battery
    """A violation that a check saw."""


class Skipped(Exception):  # noqa: N818 - not an error either
    """Why a check does not apply."""


def gap_between(value: Tensor, other: Tensor) -> float:
    """Return the largest difference; infinite where a value is not a number."""
    if value.shape != other.shape:
        raise Seen(f"shapes {tuple(value.shape)} and {tuple(other.shape)} should be equal")
    if not value.numel():
        return 0.0
    same = (value == other) & value.isinf()  # a logit of -inf is what it is
    gap = float((value - other).masked_fill(same, 0.0).detach().abs().max())
    return gap if gap == gap else float("inf")


def encoded_gap(value: Encoded, other: Encoded) -> float:
    """Return the largest difference between two encodings."""
    return max(gap_between(*parts) for parts in zip(floats(value), floats(other), strict=True))


def scalar(values: Tensor) -> Tensor:
    """Return a number that depends on every value, with different weights."""
    values = values.masked_fill(values.isinf(), 0.0)
    weights = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).reshape(values.shape)
    return (values.square() * weights).sum() + (values * weights.flip(-1)).sum()


def scalar_of_all(parts: Iterable[Tensor]) -> Tensor:
    """Return a number that depends on every value of several tensors."""
    return sum((scalar(part) for part in parts), torch.zeros(()))


def dense(gradient: Tensor) -> Tensor:
    """Return a gradient as a dense tensor: that of a sparse embedding is sparse."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def gradient_of(leaf: Tensor) -> Tensor:
    """Return the gradient that reached a leaf: zeros where none did."""
    return torch.zeros_like(leaf) if leaf.grad is None else dense(leaf.grad)


def carries(leaf: Tensor) -> bool:
    """Whether any gradient reached a leaf."""
    return bool(gradient_of(leaf).abs().sum() > 0)


def check_gradients(module: nn.Module) -> list[str]:
    """Return the trained parameters without a gradient; raise Seen for one that is not finite."""
    without = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if not gradient_of(parameter).isfinite().all():
            raise Seen(f"the gradient of {name} is not finite")
        if not carries(parameter):
            without.append(name)
    return without


def check_saving(
    build: Callable[[int], SomeModule], outputs: Callable[[SomeModule], Sequence[Tensor]]
) -> None:
    """Raise Seen if a module with the saved weights of another gives something else.

    Args:
        build: makes a module, drawing with a seed; the second module has another seed.
        outputs: all that is compared, in evaluation first and then in training.
    """
    module, file = build(0), io.BytesIO()
    torch.default_generator.manual_seed(101)  # what is drawn at the first call is not drawn again
    outputs(module)  # what is gathered in training must be saved as well
    torch.save(module.eval().state_dict(), file)
    file.seek(0)
    other = build(1)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.default_generator.manual_seed(202)
    if any(map(gap_between, outputs(other), outputs(module))):
        raise Seen(
            "another module with the saved weights gives other outputs; is something drawn or "
            "gathered that is no parameter and no persistent buffer?"
        )


def check_following(
    build: Callable[[int], SomeModule], outputs: Callable[[SomeModule], Sequence[Tensor]]
) -> None:
    """Raise Seen unless new weights have all the effect that they have in a new module."""
    module, fresh = build(0), build(1)
    for mode in (True, False):
        outputs(seeded(module.train(mode)))
    values = fresh.state_dict()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(values[name])
    for name, buffer in module.named_buffers():
        if name in values:
            buffer.copy_(values[name])
    if any(map(gap_between, outputs(module), outputs(fresh.eval()))):
        raise Seen(
            "after the weights have changed, outputs are not those of the new weights; compute "
            "what depends on weights at each call"
        )


def check_batch_before(
    build: Callable[[], SomeModule], outputs: Callable[[SomeModule, int], Sequence[Tensor]]
) -> None:
    """Raise Seen if outputs in training depend on which batch was read before.

    Statistics of batches that are kept for evaluation alone, such as a running mean, are not seen.

    Args:
        build: makes the module, with the same weights each time.
        outputs: of the module and the batch with a seed.
    """
    after = []
    for before in (3, 4):
        module = build().train()
        outputs(seeded(module), before)
        after.append(outputs(seeded(module), 1))
    gap = max(map(gap_between, *after))
    if gap > TINY:
        raise Seen(
            f"in training, another batch before changes the outputs by {gap:.1e}; a batch's "
            "contents may go into a buffer that evaluation reads, but training must not read it"
        )


def check_evaluates(module: nn.Module) -> None:
    """Raise Seen if a module that was in evaluation mode is in training mode now."""
    for name, part in module.named_modules():
        if part.training:
            raise Seen(
                f"{name or 'it'} puts itself into training mode while it is evaluated; leave modes "
                "to the caller"
            )


def cast(module: SomeModule, dtype: torch.dtype) -> SomeModule:
    """Return the module with its floating numbers in a precision, complex ones in as much."""

    def converted(value: Tensor) -> Tensor:
        if value.is_complex():
            return value.to(dtype.to_complex())
        return value.to(dtype) if value.is_floating_point() else value

    return module._apply(converted)


def with_buffers_held(module: SomeModule) -> SomeModule:
    """Return the module, which puts its saved buffers back to what they are now at each call.

    A mean over training or the iteration of a norm is another at each update, and is saved: that
    is not something that leaks from one input to another.
    """
    saved = module.state_dict()
    kept = {name: value.clone() for name, value in module.named_buffers() if name in saved}

    def put_back(called: nn.Module, given: tuple) -> None:
        with torch.no_grad():
            for name, buffer in called.named_buffers():
                if name in kept and not torch.equal(buffer, kept[name]):
                    buffer.copy_(kept[name])

    if kept:
        module.register_forward_pre_hook(put_back)
    return module


def without_dropout(module: SomeModule) -> SomeModule:
    """Return the module with torch's own dropout off."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(part, DropsOut) and isinstance(part.dropout, float):
            part.dropout = 0.0
    return module


def seeded(
    module: SomeModule, step: int = 1, seed: int = 7, noise: int | None = None
) -> SomeModule:
    """Return the module as it is before the update after `step` others, its randomness seeded.

    With the same inputs, two calls then drop out the same. `noise` is the seed of torch's own
    generator, if it is to be another seed.
    """
    torch.default_generator.manual_seed(seed if noise is None else noise)
    at_step = getattr(module, "at_step", None)
    if at_step is not None:
        at_step(step, seed=seed)
    return module


class _InsideDropout(TorchFunctionMode):
    """Knows whether a function of torch's that drops out is running."""

    inside = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, D105
        drops = "dropout" in getattr(func, "__name__", "")
        self.inside += drops
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.inside -= drops


class SteadyNoise(TorchDispatchMode):
    """Noise on features, dropout above all, is the same at each call; coins fall as they like.

    A coin is a draw of one number a batch, a row, or a position.

    Args:
        sizes: of batch and sequences; a draw of no other sizes than these is one of coins.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = {1, *sizes, sizes[0] * sizes[1]}
        self.dropout = _InsideDropout()

    def __enter__(self) -> SteadyNoise:
        """Look at functions as well as at what they are made of."""
        self.dropout.__enter__()
        return super().__enter__()

    def __exit__(self, *given: Any) -> None:
        """Look no longer."""
        super().__exit__(*given)
        self.dropout.__exit__(*given)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, D105
        made = func(*args, **(kwargs or {}))
        drawn = made[0] if isinstance(made, tuple) else made
        if torch.Tag.nondeterministic_seeded not in func.tags or not isinstance(drawn, Tensor):
            return made
        given = [*args, *(kwargs or {}).values()]
        coin = self.sizes >= set(drawn.shape) and not self.dropout.inside
        if coin or any(isinstance(argument, torch.Generator) for argument in given):
            return made
        after = torch.get_rng_state()
        torch.default_generator.manual_seed(11)
        made = func(*args, **(kwargs or {}))
        torch.set_rng_state(after)
        return made


def check_randomness(
    module: SomeModule, outputs: Callable[[SomeModule], Sequence[Tensor]], sizes: tuple[int, ...]
) -> None:
    """Raise Seen for draws in evaluation, or coins in training that no seed was given for."""
    module.eval()
    before = outputs(module)
    for _ in range(3):
        if any(map(gap_between, outputs(module), before)):
            raise Seen(
                "in evaluation, the same inputs give other outputs at each call; dropout and noise "
                "belong to training alone, and nothing may be counted"
            )
    with_buffers_held(module).train()
    before = outputs(seeded(module))
    for _ in range(3):
        if any(map(gap_between, outputs(seeded(module)), before)):
            raise Seen(
                "in training, outputs are not the same again with the same step, seed and seed of "
                "torch; at_step must say what a schedule depends on, and seed what it draws"
            )
    check_generators(module, outputs)
    with SteadyNoise(*sizes):
        before = outputs(seeded(module, noise=0))
        for noise in range(1, 6):
            if any(map(gap_between, outputs(seeded(module, noise=noise)), before)):
                raise Seen(
                    "in training, a coin falls that nobody declared: something is drawn per batch, "
                    "row or position; draw it from a generator that at_step seeds"
                )


@torch.no_grad()
def check_many_rows(
    outputs: Callable[[Sequence[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor]
) -> None:
    """Raise Seen for a row of a large batch that is not what it is alone, call after call.

    Args:
        outputs: from inputs whose first axis is the batch, to what has that axis too.
        inputs: of the batch.
    """
    together = outputs(inputs)
    for row in range(len(inputs[0])):
        own = slice(row, row + 1)
        alone = outputs([leaf[own] for leaf in inputs])
        gap = max(gap_between(mine, all_[own]) for mine, all_ in zip(alone, together, strict=True))
        if gap > TINY:
            raise Seen(
                f"row {row} alone and in a batch of {len(inputs[0])} differ by {gap:.1e}; "
                f"{OVER_THE_BATCH}"
            )


def check_generators(module: SomeModule, outputs: Callable[[SomeModule], Sequence[Tensor]]) -> None:
    """Raise Seen for a module that seeds a generator that is not its own, in either mode."""
    for mode in (module.train(), module.eval(), module.train()):
        after = []
        kept = random.getstate()
        for number in (1, 2):
            random.seed(number)
            outputs(seeded(mode, noise=number))
            after.append((torch.get_rng_state().tolist(), random.getstate()))
        random.setstate(kept)
        for name, mine, other in zip(("torch", "Python"), *after, strict=True):
            if mine == other:
                raise Seen(
                    f"the generator of {name} itself is seeded, and so whatever the process draws "
                    "from it afterwards; take a generator of your own"
                )


@contextmanager
def unchanged(what: dict[str, Any]) -> Iterator[None]:
    """Raise Seen if any of the tensors that are named is changed in place."""
    before = {name: tensor.clone() for name, tensor in what.items()}
    yield
    for name, tensor in what.items():
        if not torch.equal(tensor, before[name]):
            raise Seen(f"{name} is changed in place; work on a copy of what was handed in")


def declared_feedback(decoder: nn.Module) -> Any:
    """Return the declared `Feedback`, None where there is none."""
    return getattr(decoder, "feedback", None)
