"""The battery of recurrent cells: ours pass it, and each planted defect is caught by name."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import State
from decoderlab.layers import LSTM, GRUResetBefore, GRUResetSummary
from decoderlab.testing import ContractViolation, check_cell
from tests.conftest import CELLS, variants

OURS = CELLS | {"gru_reset_summary": GRUResetSummary}


def test_there_is_a_yaml_for_each_cell():
    assert variants("decoder/cell") == sorted(OURS)
    assert variants("encoder/cell") == sorted(CELLS)


@pytest.mark.parametrize("cell", OURS)
def test_it_passes_the_battery(cell):
    check_cell(OURS[cell])


class UndeclaredCell(LSTM):
    has_cell = False


class MorePartsThanDeclared(GRUResetBefore):
    def advance(self, projected, state):
        new = super().advance(projected, state)
        return new._replace(further=(new.hidden,))


class KernelOfAnother(LSTM):
    def advance(self, projected, state):
        new = super().advance(projected, state)
        return State(torch.tanh(new.cell), new.cell)


class Remembers(GRUResetBefore):
    before = 0.0

    def advance(self, projected, state):
        new = super().advance(projected, state)
        self.before = 0.5 * self.before + float(projected[0, 0])
        return State(new.hidden + self.before)


class LooksBesideItself(GRUResetBefore):
    def advance(self, projected, state):
        new = super().advance(projected, state)
        return State(new.hidden + 0.1 * new.hidden.mean(dim=0))


class InPlace(GRUResetBefore):
    def advance(self, projected, state):
        new = super().advance(projected, state)
        with torch.no_grad():
            state.hidden.mul_(0.9)
        return new


class NeverReadsItsMatrix(GRUResetBefore):
    @property
    def further_shapes(self):
        return {"matrix": (2, 2)}

    def advance(self, projected, state):
        return super().advance(projected, state)._replace(further=state.further)


class Detached(GRUResetBefore):
    def advance(self, projected, state):
        return super().advance(projected, State(state.hidden.detach()))


class UnusedWeight(GRUResetBefore):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.unused = torch.nn.Parameter(torch.ones(3))


class NotSaved(GRUResetBefore):
    scale = 1.0

    def advance(self, projected, state):
        return super().advance(self.scale * projected, state)


class LooksAhead(GRUResetBefore):
    def project(self, inputs):
        projected = super().project(inputs)
        return projected + projected.mean(dim=1, keepdim=True)


class SwallowsSettings(GRUResetBefore):
    def __init__(self, *, input_size, hidden_size, **settings):
        super().__init__(input_size=input_size, hidden_size=hidden_size)


class ConstantGateBias(GRUResetBefore):
    """Right: the bias of the update gate begins at 1, so that the old state is kept."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        with torch.no_grad():
            self.bias[self.hidden_size : 2 * self.hidden_size] = 1.0


class GateBiasUnseeded(ConstantGateBias):
    generator = torch.Generator()

    def __init__(self, **sizes):
        super().__init__(**sizes)
        with torch.no_grad():
            self.bias.mul_(torch.rand((), generator=self.generator))


class GateBiasOverwritten(GRUResetBefore):
    """Its weights are meant to be the same for every seed, but training draws them anew."""

    def __init__(self, **sizes):
        torch.manual_seed(3)
        super().__init__(**sizes)


STARTS = "what_the_constructor_sets_is_what_training_starts_from"


@pytest.mark.parametrize(
    ("cell", "check"),
    [
        (UndeclaredCell, "a_step_returns_the_state_that_is_declared"),
        (MorePartsThanDeclared, "a_step_returns_the_state_that_is_declared"),
        (KernelOfAnother, "steps_are_the_sequence"),
        (Remembers, "a_sequence_can_be_cut"),
        (LooksBesideItself, "a_cells_batch_mates_have_no_influence"),
        (LooksBesideItself, "rows_that_have_ended_keep_their_state"),
        (InPlace, "a_step_changes_nothing_in_place"),
        (NeverReadsItsMatrix, "every_part_of_the_state_has_influence"),
        (Detached, "the_cells_gradients_are_right"),
        (UnusedWeight, "every_weight_of_the_cell_gets_a_finite_gradient"),
        (LooksAhead, "both_directions_are_two_cells"),
        (SwallowsSettings, "unknown_settings_are_refused"),
        (GateBiasUnseeded, STARTS),
        (GateBiasOverwritten, STARTS),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_planted_defect_is_caught_by_name(cell, check):
    with pytest.raises(ContractViolation) as caught:
        check_cell(cell)
    assert check in {one.check for one in caught.value.failures}


def test_a_cell_may_begin_with_a_constant():
    check_cell(ConstantGateBias)


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        (GateBiasUnseeded, "bias differs between two models of one seed"),
        (GateBiasOverwritten, "sets .*, but training starts from other values"),
    ],
)
def test_what_a_cells_constructor_sets_is_not_lost_in_silence(cell, seen):
    with pytest.raises(ContractViolation, match=f"{STARTS}: .*{seen}"):
        check_cell(cell)


def test_what_a_saved_cell_loses_is_caught():
    values = iter(range(1, 100))

    def make(**sizes):
        cell = NotSaved(**sizes)
        cell.scale = float(next(values))
        return cell

    with pytest.raises(ContractViolation, match="the_cell_saved_and_loaded_is_the_same"):
        check_cell(make)
