"""The examples of an objective and of a schedule of one's own: chosen, checked and recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from decoderlab.common import torch_settings
from decoderlab.contract import Batch, TokenSpace, ValueSpace
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.loading import load_run
from decoderlab.training.objective import negative_log_likelihood
from tests.integration.cli import in_process, tiny_arguments

PLUGINS = Path(__file__).parents[2] / "examples/plugins"
STEPS = ("training.max_steps=2", "evaluation.every_steps=1")


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    """Forget the folders that --config-dir has put on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("focal", "warm_restarts"):
        sys.modules.pop(name, None)


def given(kind: str, name: str, *more: str) -> tuple[str, ...]:
    return ("--config-dir", str(PLUGINS / kind), f"training/{kind}={name}", *STEPS, *more)


def folders(output_dir: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in (output_dir / "runs").iterdir()]


def losses(folder: RunFolder, kind: str) -> list[float]:
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [line[f"{kind}/loss"] for line in lines if f"{kind}/loss" in line]


def test_the_focal_objective_trains_and_the_measured_loss_stays_the_likelihood(
    monkeypatch, tmp_path, capsys
):
    for number, focus in enumerate((0.0, 2.0)):
        arguments = given("objective", "focal", f"training.objective.focus={focus}")
        assert in_process(monkeypatch, *tiny_arguments(tmp_path / str(number), *arguments)) == 0
    assert in_process(monkeypatch, *tiny_arguments(tmp_path / "plain", *STEPS)) == 0
    zero, focal, plain = (folders(tmp_path / name)[0] for name in ("0", "1", "plain"))
    assert losses(zero, "train") == pytest.approx(losses(plain, "train"), rel=1e-5)
    assert losses(focal, "train")[0] < losses(plain, "train")[0]
    # The first update of all three is Adam's, which only sees the gradient's sign.
    assert losses(focal, "validation")[0] == pytest.approx(losses(plain, "validation")[0], rel=0.02)
    assert zero.path.name != focal.path.name, "another objective is another run"
    with pytest.raises(ValueError, match="trust"):
        load_run(focal.path)
    model = load_run(focal.path, trust=True).module
    assert type(model.objective).__name__ == "Focal"
    arguments = given("objective", "focal", "training.objective.focus=-1")
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *arguments)) == 2
    assert "training.objective: focus is -1" in capsys.readouterr().err


def test_focal_of_focus_0_is_the_likelihood(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS / "objective"))
    from focal import Focal

    space, outputs = TokenSpace(7), torch.randn(2, 3, 7, dtype=torch.float64)
    target = torch.tensor([[4, 5, 2], [6, 2, 0]])
    batch = Batch(target, torch.tensor([3, 2]), target, torch.arange(2))
    expected = negative_log_likelihood(outputs, target, space)
    torch.testing.assert_close(Focal(target_space=space, focus=0.0)(outputs, batch), expected)
    p = outputs.softmax(-1).gather(2, target[..., None]).squeeze(-1)
    by_hand = (-((1 - p) ** 2) * p.log())[target != 0].sum()
    torch.testing.assert_close(Focal(target_space=space)(outputs, batch)[0], by_hand)
    with pytest.raises(ValueError, match="targets are real values"):
        Focal(target_space=ValueSpace(2))


def test_the_schedule_with_restarts_sets_the_rate_of_every_update(monkeypatch, tmp_path, capsys):
    rates = []
    real = torch.optim.Adam.step

    def spy(self, *arguments, **keywords):
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments, **keywords)

    monkeypatch.setattr(torch_settings, "LIBRARIES", torch_settings.LIBRARIES | {"tests"})
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    more = (
        "training.schedule.first_steps=2",
        "training.max_steps=5",
        "training.learning_rate=1e-3",
    )
    arguments = given("schedule", "warm_restarts", *more)
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *arguments)) == 0
    (folder,) = folders(tmp_path)
    assert folder.result().steps == 5
    factors = [1, 0.5, 1, (1 + 0.5**0.5) / 2, 0.5]
    assert rates[-5:] == pytest.approx([1e-3 * factor for factor in factors])
    arguments = given("schedule", "warm_restarts", "training.schedule.growth=0")
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *arguments)) == 2
    assert "training.schedule: growth is 0" in capsys.readouterr().err
