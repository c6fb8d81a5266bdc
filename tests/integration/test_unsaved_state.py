"""A run goes on only from what has all that its callbacks and optimizers keep."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections import deque

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch.optim.swa_utils import AveragedModel

from decoderlab.decoders.heads import LinearHead
from decoderlab.records.run_folder import RunFolder
from tests.conftest import run, same, weights
from tests.interrupting import interrupted


def take_gradients(module) -> None:
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)


class Counting(pl.Callback):
    """Takes the gradients away after some updates, by a number of its own."""

    def __init__(self) -> None:
        self.kept = self.begin()

    def begin(self):
        return 0

    def count(self) -> int:
        self.kept += 1
        return self.kept

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if self.count() > 7:
            take_gradients(pl_module)


class CountingInATensor(Counting):
    def begin(self):
        return torch.zeros(2)

    def count(self) -> int:
        self.kept[1] += 1
        return int(self.kept[1])


class CountingInAList(Counting):
    def begin(self):
        return {"all": [deque()]}

    def count(self) -> int:
        self.kept["all"][0].append(1)
        return len(self.kept["all"][0])


class Counter:
    def __init__(self) -> None:
        self.number = 0


class CountingInAnObject(Counting):
    def begin(self):
        return Counter()

    def count(self) -> int:
        self.kept.number += 1
        return self.kept.number


class Drawing(Counting):
    def begin(self):
        return np.random.default_rng(3)

    def count(self) -> int:
        return 8 * int(self.kept.integers(2))


class DrawingInPython(Drawing):
    def begin(self):
        return random.Random(3)

    def count(self) -> int:
        return 8 * self.kept.randrange(2)


class DrawingAsBefore(Drawing):
    def begin(self):
        return np.random.RandomState(3)  # noqa: NPY002

    def count(self) -> int:
        return 8 * int(self.kept.randint(2))


class CountingByAnIterator(Counting):
    def begin(self):
        return itertools.count(1)

    def count(self) -> int:
        return next(self.kept)


class CountingByAGenerator(CountingByAnIterator):
    def begin(self):
        return (number for number in range(1, 100))


class CountingOnTheClass(Counting):
    number = 0

    def begin(self):
        CountingOnTheClass.number = 0

    def count(self) -> int:
        CountingOnTheClass.number += 1
        return self.number


NUMBERS = []


class CountingInTheModule(Counting):
    def begin(self):
        NUMBERS.clear()

    def count(self) -> int:
        NUMBERS.append(1)
        return len(NUMBERS)


class CountingInASlot(pl.Callback):
    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.kept += 1
        if self.kept > 7:
            take_gradients(pl_module)


class CountingStop(EarlyStopping):
    """One of Lightning's, with a number more."""

    def __init__(self) -> None:
        super().__init__("validation/loss", patience=99)
        self.seen = 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.seen += 1
        if self.seen > 7:
            take_gradients(pl_module)


class Averaging(pl.Callback):
    """Validates the mean of the weights, which it keeps in a model of its own."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.mean = AveragedModel(pl_module.decoder)

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.mean.update_parameters(pl_module.decoder)

    def on_validation_start(self, trainer, pl_module) -> None:
        self.own = {name: value.clone() for name, value in pl_module.decoder.state_dict().items()}
        pl_module.decoder.load_state_dict(self.mean.module.state_dict())

    def on_validation_end(self, trainer, pl_module) -> None:
        pl_module.decoder.load_state_dict(self.own)


class Saving(Counting):
    def state_dict(self):
        return {"kept": self.kept}

    def load_state_dict(self, state_dict) -> None:
        self.kept = state_dict["kept"]


class Watching(pl.Callback):
    """Keeps a number that nothing changes, and whom it watches."""

    def __init__(self) -> None:
        self.limit = 3
        self.lock, self.log, self.twice = threading.Lock(), logging.getLogger(), lambda x: 2 * x

    def on_train_start(self, trainer, pl_module) -> None:
        self.trainer, self.model, self.weights = trainer, pl_module, list(pl_module.parameters())
        self.optimizer, self.itself = trainer.optimizers[0], self


class Noting(pl.Callback):
    """Keeps what it sees, and says that nothing depends on it."""

    watches_only = True

    def __init__(self) -> None:
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_) -> None:
        self.losses.append(float(outputs["loss"]))


class WatchingStop(EarlyStopping):
    """One of Lightning's, whose state is saved."""

    def __init__(self) -> None:
        super().__init__("validation/loss", patience=99)


class CountingSGD(torch.optim.SGD):
    """Halves its rate after some updates, by a number that is not in its state."""

    number = 0

    def step(self, closure=None):
        self.number += 1
        if self.number == 8:
            for group in self.param_groups:
                group["lr"] *= 0.5
        return super().step(closure)


class Lookahead(torch.optim.SGD):
    """Steps by an optimizer within, whose moments are in no state of its own."""

    def __init__(self, params, **settings) -> None:
        params = list(params)
        super().__init__(params, **settings)
        self.inner = torch.optim.Adam(params, lr=0.01)

    def step(self, closure=None):
        loss = None if closure is None else closure()
        self.inner.step()
        return loss


class PlainSGD(torch.optim.SGD):
    pass


class Annealed(LinearHead):
    """Weighs its outputs by a number of updates that it counts itself."""

    def __init__(self, *, features_size, target_space, embedding_size) -> None:
        super().__init__(
            features_size=features_size,
            target_space=target_space,
            embedding_size=embedding_size,
        )
        self.begin()

    def begin(self) -> None:
        self.updates = 0

    def forward(self, *given):
        self.updates += self.training
        return super().forward(*given) / (1 + self.updates)


class AnnealedInABuffer(Annealed):
    def begin(self) -> None:
        self.register_buffer("updates", torch.zeros(()), persistent=False)


class AnnealedAndSaved(Annealed):
    def begin(self) -> None:
        self.register_buffer("updates", torch.zeros(()))


def settings(kind: type) -> tuple[str, ...]:
    """Return those of a run with a callback, a head, or an optimizer."""
    if issubclass(kind, LinearHead):
        return (f"decoder.head._target_={__name__}.{kind.__name__}",)
    if issubclass(kind, pl.Callback):
        return (f"+callbacks.mine._target_={__name__}.{kind.__name__}",)
    return ("training/optimizer=sgd", f"training.optimizer._target_={__name__}.{kind.__name__}")


FORGETFUL = (
    *(Counting, CountingInATensor, CountingInAList, CountingInAnObject),
    *(Drawing, DrawingInPython, DrawingAsBefore, CountingSGD, Lookahead, Averaging, CountingStop),
    *(CountingByAnIterator, CountingByAGenerator, CountingOnTheClass, CountingInTheModule),
    *(CountingInASlot, Annealed, AnnealedInABuffer),
)
LASTING = (Saving, Watching, Noting, WatchingStop, PlainSGD, AnnealedAndSaved)


@pytest.mark.fault(35)
@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", [*FORGETFUL, *LASTING])
def test_a_run_ends_as_one_that_was_not_interrupted(tiny, tmp_path, monkeypatch, capsys, kind):
    whole, broken = (
        tiny(*settings(kind), output_dir=tmp_path / name) for name in ("whole", "broken")
    )
    assert run(whole) == "FINISHED"
    interrupted(broken, monkeypatch, 9)
    capsys.readouterr()
    assert run(broken) == "FINISHED"
    said = capsys.readouterr().err
    assert ("as no checkpoint has it; give the class state_dict" in said) is (kind in FORGETFUL)
    assert ("the run starts again from update 0" in said) is (kind in FORGETFUL)
    assert ("resuming from update 9" in said) is (kind in LASTING)
    assert same(weights(whole), weights(broken))
    first, second = (RunFolder(one.folder.path).result().metrics for one in (whole, broken))
    assert first == second


def test_who_goes_on_from_a_run_is_told_what_it_did_not_keep(tiny, capsys):
    parent = tiny(*settings(Counting))
    assert run(parent) == "FINISHED"
    child = tiny(
        *settings(Counting), f"training.from_run={parent.folder.path}", "training.max_steps=20"
    )
    assert run(child) == "FAILED"
    assert "Counting.kept was by then, as no checkpoint has it" in capsys.readouterr().err
    assert "it is not trained without it" in child.folder.recorded_status()["reason"]
