"""The checks of objectives; each is named after what it demands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.contract import Batch, TokenSpace
from decoderlab.testing.checked_modules import ObjectiveModule
from decoderlab.testing.differences import (
    Seen,
    Skipped,
    check_following,
    check_gradients,
    check_saving,
    gap_between,
    gradient_of,
    unchanged,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.objective_subjects import (
    NUM_ROWS,
    NUM_STEPS,
    ObjectiveCase,
    ObjectiveSubject,
)
from decoderlab.testing.part_subjects import normal, refuse_spare
from decoderlab.testing.subjects import unknown_settings_are_refused

CLOSE = 1e-10  # relative: sums in another order are not the same to the last bit
RAISED = 1e-3  # by so little that strong label smoothing still wants more
CONFIDENT = 120.0  # of which exponentials are 0 or infinite in float32


def the_loss_is_a_finite_number_and_its_count_that_of_the_positions(
    subject: ObjectiveSubject,
) -> None:
    """Two tensors without axes: a finite sum, and the number of positions that are no padding."""
    for case in subject.cases:
        for dtype in (torch.float64, torch.float32):
            batch = case.batch(case.target(dtype=dtype))
            returned = case.subject.build(dtype)(case.outputs().to(dtype), batch)
            if not (isinstance(returned, tuple) and len(returned) == 2):
                raise Seen(f"it returns {type(returned).__name__}; return (sum, count)")
            for name, value in zip(("sum", "count"), returned, strict=True):
                if not isinstance(value, Tensor) or value.dim():
                    shape = tuple(value.shape) if isinstance(value, Tensor) else value
                    raise Seen(
                        f"over {case.name}, the {name} is {shape}, not a tensor without axes"
                    )
            total, count = returned
            if not (total.is_floating_point() and total.isfinite()):
                raise Seen(f"over {case.name}, the sum is {total}, not a finite number")
            if count != case.real.sum():
                raise Seen(
                    f"over {case.name}, the count is {count}, but {case.real.sum()} positions of "
                    "the target are no padding"
                )


def its_tensors_are_parameters_or_buffers(subject: ObjectiveSubject) -> None:
    """What it holds goes to the model's device and type, and into its checkpoint."""
    for case in subject.cases:
        objective: Any = case.subject.build()
        parts = objective.modules() if isinstance(objective, nn.Module) else [objective]
        for part in parts:
            for name, value in getattr(part, "__dict__", {}).items():
                if isinstance(value, Tensor):
                    raise Seen(
                        f"{name} is a tensor that stays on its device and is not saved; extend "
                        "torch.nn.Module and take register_buffer or a parameter"
                    )


def padding_has_no_influence_on_the_loss(subject: ObjectiveSubject) -> None:
    """Outputs at padding, and how much there is of it, change neither sum nor gradient.

    What is drawn may be longer than the target: then outputs there count.
    """
    cases = [(case, case.space) for case in subject.cases if isinstance(case.space, TokenSpace)]
    if not cases:
        raise Skipped("values have no padding")
    for case, space in cases:
        longer = nn.functional.pad(case.target(), (0, 3), value=space.pad_id)
        nothing = _total(case, case.outputs(), torch.full_like(case.target(), space.pad_id))
        if nothing:
            raise Seen(f"where all is padding the sum is {float(nothing):.4g}, not 0")
        if case.subject.looks_at_whole_outputs:
            total, expected = (_total(case, case.outputs(), target) for target in (longer, None))
            _check_total(total, expected, "with 3 more positions of padding")
            continue
        expected, gradient = _gradient(case, case.outputs())
        if gradient[~case.real].any():
            raise Seen("gradient reaches outputs at padding")
        for width in (1.0, 100.0):
            rubbish = width * normal(*gradient.shape, seed=4)
            outputs = torch.where(case.real.unsqueeze(-1), case.outputs(), rubbish)
            total, other = _gradient(case, outputs.detach().requires_grad_())
            _check_total(total, expected, "with other outputs at padding")
            if gap_between(other, gradient) > CLOSE:
                raise Seen("what stands at padding changes the gradient elsewhere")
        outputs = torch.cat([case.outputs(), 9 * normal(NUM_ROWS, 3, case.width)], dim=1)
        _check_total(_total(case, outputs, longer), expected, "with 3 more positions of padding")


def a_finite_gradient_reaches_every_position(subject: ObjectiveSubject) -> None:
    """Outputs at every position of the target get a gradient, finite for confident ones too.

    Unknown tokens may be left to chance, and so may any position where outputs are drawn, and the
    end with an objective that says by `without_eos` that it leaves it out.
    """
    for case in subject.cases:
        reached = torch.zeros(NUM_ROWS, NUM_STEPS, dtype=torch.float64)
        for outputs in (case.outputs(), case.outputs(seed=5), case.even()):
            _, gradient = _gradient(case, outputs)
            if not gradient.isfinite().all():
                raise Seen(f"over {case.name}, the gradient is not finite")
            reached += gradient.abs().sum(dim=-1)
        known = _learnt(case)
        if case.subject.looks_at_whole_outputs:
            if not reached.any():
                raise Seen("no gradient reaches any output")
            known &= False
        for row, step in (known & (reached == 0)).nonzero().tolist():
            raise Seen(f"over {case.name}, no gradient reaches position {step} of row {row}")
        for sign, name in ((1, "right"), (-1, "wrong")):
            even = case.even().detach()
            sure = (even + sign * CONFIDENT * case.towards(even)).float().requires_grad_()
            total, gradient = _gradient(case, sure, case.target(dtype=torch.float32))
            if not (total.isfinite() and gradient.isfinite().all()):
                raise Seen(
                    f"over {case.name}, sum or gradient is not finite in float32 where outputs are "
                    f"confident and {name}; take logarithms of probabilities from log_softmax"
                )


def _learnt(case: ObjectiveCase) -> Tensor:
    """Return which positions of the target must count, (B, T): no padding, no unknown token.

    Nor an end, where the objective says by `without_eos` that it leaves it out.
    """
    learnt, space = case.real.clone(), case.space
    if isinstance(space, TokenSpace):
        learnt &= case.target() != space.unk_id
        if getattr(case.subject.build(), "without_eos", False):
            learnt &= case.target() != space.eos_id
    return learnt


@torch.no_grad()
def rows_add_up(subject: ObjectiveSubject) -> None:
    """The sum of a batch is the sum of its rows' alone, in any order, and so is the count."""
    for case in subject.cases:
        objective, outputs, batch = case.subject.build(), case.outputs().detach(), case.batch()
        expected, number = objective(outputs, batch)
        rows = [_rows(objective, outputs, batch, [row]) for row in range(NUM_ROWS)]
        alone, counts = (torch.stack(parts).sum() for parts in zip(*rows, strict=True))
        _check_total(alone, expected, f"over {case.name}, added up of single rows")
        if counts != number:
            raise Seen(f"over {case.name}, rows count {counts}, and {number} together")
        turned, _ = _rows(objective, outputs, batch, list(reversed(range(NUM_ROWS))))
        _check_total(turned, expected, f"over {case.name}, with rows in another order")


def rows_of_an_objective_have_no_influence_on_each_other(subject: ObjectiveSubject) -> None:
    """The gradient of a row is the same alone and beside others."""
    for case in subject.cases:
        _, expected = _gradient(case, case.outputs())
        for row in range(NUM_ROWS):
            outputs = case.outputs()
            total, _ = _rows(case.subject.build(), outputs, case.batch(), [row])
            if total.requires_grad:
                total.backward()
            gap = gap_between(gradient_of(outputs)[row], expected[row])
            if gap > CLOSE:
                raise Seen(f"over {case.name}, other rows change a row's gradient by {gap:.1e}")


def it_falls_when_what_is_right_becomes_likelier(subject: ObjectiveSubject) -> None:
    """Raising the right token, or moving a mean to the target, lowers the sum, at any position.

    See `a_finite_gradient_reaches_every_position` for what may be left out.
    """
    if any(case.subject.looks_at_whole_outputs for case in subject.cases):
        raise Skipped(
            "it looks at whole outputs, of which no position alone says how good they are"
        )
    for case in subject.cases:
        outputs = case.even()
        total, gradient = _gradient(case, outputs)
        ways = case.towards(outputs)
        for row, step in _learnt(case).nonzero().tolist():
            way = torch.zeros_like(ways)
            way[row, step] = ways[row, step]
            moved = float(_total(case, (outputs + RAISED * way).detach()) - total)
            slope = float((gradient * way).sum())
            for name, change in (("the sum changes", moved), ("its slope is", slope)):
                if not change < 0:
                    raise Seen(
                        f"over {case.name}, where position {step} of row {row} comes nearer to the "
                        f"target, {name} {change:+.1e}; what is right must cost less"
                    )


@torch.no_grad()
def the_same_is_worth_the_same_at_every_call(subject: ObjectiveSubject) -> None:
    """Nothing is drawn but from streams of the step's, and nothing stays of the batches before."""
    for case in subject.cases:
        objective, totals = case.subject.build(), []
        for seed in range(4):
            torch.default_generator.manual_seed(seed)
            totals.append(objective(case.outputs(), case.batch())[0])
            objective(case.outputs(seed=7), case.batch(case.target(seed=8)))
        if any(gap_between(total, totals[0]) for total in totals):
            raise Seen(
                f"over {case.name}, the same outputs and targets have another sum at another call; "
                "an objective keeps nothing, and what it draws is of the seed of its at_step"
            )


def what_an_objective_is_given_stays_as_it_is(subject: ObjectiveSubject) -> None:
    """Outputs and batch are not changed in place."""
    for case in subject.cases:
        for outputs in (case.outputs().detach(), case.outputs() * 1.0):
            batch = case.batch()
            with unchanged({"outputs": outputs, **batch._asdict()}):
                case.subject.build()(outputs, batch)


def every_weight_of_the_objective_gets_a_finite_gradient(subject: ObjectiveSubject) -> None:
    """No trained parameter is without effect."""
    without: list[list[str]] = []
    for case in _with_weights(subject):
        objective = case.subject.build()
        total, _ = objective(case.outputs(), case.batch())
        if total.requires_grad:
            total.backward()
        without.append(check_gradients(objective))
    refuse_spare([name for name in without[0] if all(name in names for names in without)])


def the_objective_saved_and_loaded_is_the_same(subject: ObjectiveSubject) -> None:
    """A state dict holds all there is; two objectives of the same settings are the same."""
    for case in subject.cases:
        if not isinstance(case.subject.build(), nn.Module):
            totals = [_total(case, case.outputs().detach()) for _ in range(2)]
            if gap_between(*totals):
                raise Seen(f"over {case.name}, two objectives of the same settings differ")
            continue

        def outputs(objective: ObjectiveModule, case: ObjectiveCase = case) -> list[Tensor]:
            return [objective.train()(case.outputs().detach(), case.batch())[0]]

        with torch.no_grad():
            check_saving(case.subject.draw, outputs)
            check_following(case.subject.draw, outputs)


def what_the_objectives_constructor_sets_is_what_training_starts_from(
    subject: ObjectiveSubject,
) -> None:
    """Weights that are constant stay, all others are the same for the same seed."""
    for case in _with_weights(subject):
        what_the_constructor_sets_is_what_training_starts_from(case.subject)


def _total(case: ObjectiveCase, outputs: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the sum of a new objective."""
    total, _ = case.subject.build(outputs.dtype)(outputs, case.batch(target))
    return total.detach()


def _gradient(
    case: ObjectiveCase, outputs: Tensor, target: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the sum of a new objective, and its gradient by the outputs."""
    total, _ = case.subject.build(outputs.dtype)(outputs, case.batch(target))
    if total.requires_grad:
        total.backward()
    return total.detach(), gradient_of(outputs)


def _rows(
    objective: ObjectiveModule, outputs: Tensor, batch: Batch, rows: list[int]
) -> tuple[Tensor, Tensor]:
    """Return sum and count of some rows, in this order."""
    return objective(outputs[rows], Batch(*(part[rows] for part in batch)))


def _with_weights(subject: ObjectiveSubject) -> Iterator[ObjectiveCase]:
    """Yield the cases; raise Skipped for an objective without parameters."""
    for case in subject.cases:
        objective = case.subject.build()
        if not isinstance(objective, nn.Module) or not any(True for _ in objective.parameters()):
            raise Skipped("it has no weights")
        yield case


def _check_total(total: Tensor, expected: Tensor, how: str) -> None:
    if not abs(total - expected) <= CLOSE * max(1.0, float(expected.abs())):
        raise Seen(f"the sum is {float(total):.6g} {how}, and {float(expected):.6g} otherwise")


OBJECTIVE_CHECKS = (
    the_loss_is_a_finite_number_and_its_count_that_of_the_positions,
    unknown_settings_are_refused,
    its_tensors_are_parameters_or_buffers,
    padding_has_no_influence_on_the_loss,
    a_finite_gradient_reaches_every_position,
    rows_add_up,
    rows_of_an_objective_have_no_influence_on_each_other,
    it_falls_when_what_is_right_becomes_likelier,
    the_same_is_worth_the_same_at_every_call,
    what_an_objective_is_given_stays_as_it_is,
    every_weight_of_the_objective_gets_a_finite_gradient,
    the_objective_saved_and_loaded_is_the_same,
    what_the_objectives_constructor_sets_is_what_training_starts_from,
)
