"""Ranks: who takes what of a batch, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.data.batches import EvaluationBatches
from decoderlab.training.assembly import build_model
from decoderlab.training.distributed import Ranks
from decoderlab.training.prepared_run import check_machine
from tests.conftest import composed


def ranks(world_size: int) -> list[Ranks]:
    return [Ranks(rank, world_size) for rank in range(world_size)]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_mean_gradient_of_the_ranks_is_that_of_the_whole_batch(tiny, size):
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
        assert torch.allclose(gradient(ranks(world_size)), whole, atol=1e-6)


def test_ranks_divide_an_evaluation_into_equally_many_batches(tiny):
    split = tiny().task.data.splits["test"]
    whole = EvaluationBatches(split, batch_size=3)
    parts = [EvaluationBatches(split, batch_size=3, rank=rank, world_size=5) for rank in range(5)]
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) * 5 > len(whole)  # the case of a rank that has nothing left
    seen = [row for part in parts for batch in part for row in batch.index.tolist()]
    assert sorted(seen) == list(range(20))


def test_the_randomness_of_the_first_rank_is_that_of_a_process_alone():
    assert [one.keys for one in (Ranks(), *ranks(3))] == [(), (), (1,), (2,)]


def test_ranks_that_nobody_started_say_that_they_cannot_meet():
    assert Ranks().broadcast("x") == "x"
    with pytest.raises(ValueError, match="there are 2 ranks, but no address for them to meet at"):
        Ranks(0, 2).broadcast("x")


def test_ranks_are_those_that_torchrun_or_slurm_started(tiny, monkeypatch):
    trainer = tiny().config.trainer
    assert (Ranks.of(trainer).rank, Ranks.of(trainer).world_size) == (0, 1)
    several = replace(trainer, devices=4, num_nodes=2)
    with monkeypatch.context() as patch:
        for name, value in {
            "SLURM_NTASKS": "8",
            "SLURM_NTASKS_PER_NODE": "4",
            "SLURM_PROCID": "5",
        }.items():
            patch.setenv(name, value)
        assert (Ranks.of(several).rank, Ranks.of(several).world_size) == (5, 8)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "RANK": "6"}.items():
        monkeypatch.setenv(name, value)
    assert (Ranks.of(several).rank, Ranks.of(several).world_size) == (6, 8)


def test_what_cannot_work_is_refused(tiny, monkeypatch):
    for given, message in (
        ("trainer.devices=0", "devices is 0; it must be at least 1"),
        ("trainer.num_nodes=0", "num_nodes is 0; it must be at least 1"),
        ("trainer.strategy=dpp", "Did you mean ddp"),
    ):
        with pytest.raises(ConfigError, match=message):
            tiny(given)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    prepared = tiny("trainer.devices=2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="torchrun started 3 processes"):
        tiny("trainer.devices=2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert prepared.run_id != tiny().run_id  # each rank draws its own dropout


def test_the_command_that_starts_several_processes_is_said(tiny, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/decoderlab-train", "task=echo", "trainer.devices=4"])
    started = "-m decoderlab.cli.train task=echo trainer.devices=4"
    with pytest.raises(ConfigError, match=f"with torchrun --nproc-per-node=4 {started}"):
        tiny("trainer.devices=4")
    with pytest.raises(ConfigError, match="on each machine with torchrun --nnodes=2 .*node=4 -m"):
        tiny("trainer.devices=4", "trainer.num_nodes=2")
    monkeypatch.setattr("sys.argv", ["notebook.py", "x"])
    with pytest.raises(ConfigError, match="-m decoderlab.cli.train SETTINGS"):
        tiny("trainer.devices=4")


def test_the_ranks_of_a_sweep_are_refused(tiny):
    config = tiny().config
    several = replace(config, trainer=replace(config.trainer, devices=2))
    with pytest.raises(ConfigError, match="the runs of a sweep have one process each"):
        check_machine(several, sweeping=True)
    assert composed().trainer.devices == 1


def test_the_number_of_processes_counts_for_the_id_but_not_where_they_run(tiny):
    config = tiny().config
    alone = config.scientific()
    ids = {}
    for devices, num_nodes in ((4, 1), (2, 2), (2, 1)):
        trainer = replace(config.trainer, devices=devices, num_nodes=num_nodes, accelerator="gpu")
        ids[devices, num_nodes] = replace(config, trainer=trainer).scientific()
    assert ids[4, 1] == ids[2, 2] != ids[2, 1]
    assert alone not in ids.values()
    elsewhere = replace(config.trainer, accelerator="gpu", strategy="ddp")
    assert replace(config, trainer=elsewhere).scientific() == alone
