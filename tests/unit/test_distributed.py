"""Ranks: who takes what of a batch, and what is refused."""

from __future__ import annotations

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.data.batches import EvaluationBatches
from decoderlab.training.assembly import build_model
from decoderlab.training.distributed import Ranks
from decoderlab.training.prepared_run import check_machine
from tests.conftest import composed


def ranks(monkeypatch, world_size: int) -> list[Ranks]:
    made = []
    for rank in range(world_size):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        made.append(Ranks(world_size))
    return made


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_mean_gradient_of_the_ranks_is_that_of_the_whole_batch(tiny, monkeypatch, size):
    prepared = tiny("decoder=luong")
    model = build_model(prepared.config, prepared.task)
    # Targets of different lengths: a rank's tokens are no fixed share of the batch's.
    batch = prepared.task.data.splits["train"].batch(torch.arange(size))

    def gradient(world: list[Ranks]) -> torch.Tensor:
        model.zero_grad()
        for one in world:
            model.ranks = one
            (model.training_step(batch, 0) / len(world)).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    whole = gradient([Ranks()])
    assert whole.norm() > 0
    for world_size in (2, 3):
        assert torch.allclose(gradient(ranks(monkeypatch, world_size)), whole, atol=1e-6)


def test_ranks_divide_an_evaluation_into_equally_many_batches(tiny):
    split = tiny().task.data.splits["test"]
    whole = EvaluationBatches(split, batch_size=3)
    parts = [EvaluationBatches(split, batch_size=3, rank=rank, world_size=5) for rank in range(5)]
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) * 5 > len(whole)  # the case of a rank that has nothing left
    seen = [row for part in parts for batch in part for row in batch.index.tolist()]
    assert sorted(seen) == list(range(20))


def test_the_randomness_of_the_first_rank_is_that_of_a_process_alone(monkeypatch):
    assert [one.keys for one in (Ranks(), *ranks(monkeypatch, 3))] == [(), (), (1,), (2,)]


def test_ranks_on_several_machines_are_counted_through(monkeypatch):
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (Ranks(4, 2).rank, Ranks(4, 2).world_size) == (5, 8)


def test_what_cannot_work_is_refused(tiny, monkeypatch):
    for given, message in (
        ("run.devices=0", "devices is 0; it must be at least 1"),
        ("run.num_nodes=0", "num_nodes is 0; it must be at least 1"),
        ("run.strategy=dpp", "Did you mean ddp"),
    ):
        with pytest.raises(ConfigError, match=message):
            tiny(given)
    assert tiny("run.devices=2").run_id == tiny().run_id
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="torchrun started 3 processes"):
        tiny("run.devices=2")


def test_a_process_that_something_else_started_cannot_start_others(monkeypatch):
    monkeypatch.setattr("sys.argv", ["decoderlab-train", "run.devices=2"])
    with pytest.raises(ConfigError, match="use decoderlab-train or torchrun"):
        Ranks(2).broadcast(None)


def test_several_machines_have_to_know_where_to_meet(monkeypatch):
    monkeypatch.setenv("NODE_RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="MASTER_ADDR, MASTER_PORT is not in the environment"):
        Ranks(1, 2).terminal("FINISHED")


def test_the_ranks_of_a_sweep_are_refused(tiny):
    config = tiny("run.devices=2").config
    with pytest.raises(ConfigError, match="the runs of a sweep have one process each"):
        check_machine(config, sweeping=True)
    assert composed().run.devices == 1
