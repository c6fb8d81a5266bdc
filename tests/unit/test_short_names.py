"""Short names of parts that ship, classes of a user's own, and what these declare."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from decoderlab import testing
from decoderlab.common.errors import ConfigError
from decoderlab.config.lightning_settings import changing_callbacks, completed_callbacks
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import run_id
from decoderlab.decoders.attention import MIXINGS
from decoderlab.decoders.combinations import COMBINATIONS, Addition
from decoderlab.decoders.feedback import SCHEDULES
from decoderlab.layers.pooling import POOLINGS, MeanPooling
from decoderlab.training.checkpoint_loading import model_of_checkpoint
from tests.conftest import composed


@pytest.mark.parametrize(
    ("chosen", "short"),
    [
        (["decoder=peek", "decoder/combine=mul"], "decoder.combine=mul"),
        (["decoder=luong", "decoder/attention/mixing=deep"], "decoder.attention.mixing=deep"),
        (["encoder=cnn", "encoder/summary=mean"], "encoder.summary=mean"),
        (["training/initial_weights=keras"], "training.initial_weights=keras"),
    ],
)
def test_a_part_and_its_short_name_are_one_run(chosen, short):
    part, name = (composed(*chosen), composed(*chosen[:-1], short))
    ids = {run_id(RunConfig.from_composed(config), "data") for config in (part, name)}
    assert len(ids) == 1
    setting, _, value = short.partition("=")
    assert RunConfig.from_composed(part).get(setting) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("decoder.combine=gated", "chosen with decoder/combine=gated"),
        ("encoder.summary=men", "one of last, backward, max, mean.*Did you mean mean"),
        ("training.initial_weights=kears", "training/initial_weights=kears.*Did you mean keras"),
        ("trainer.strategy=ddq", "strategy is 'ddq'.*fsdp"),
    ],
)
def test_an_unknown_name_is_answered_with_what_there_is(setting, message):
    from decoderlab.training.assembly import build_networks
    from tests.equations.cases import TOKENS

    with pytest.raises(ConfigError, match=message):
        build_networks(RunConfig.from_composed(composed("decoder=peek", setting)), TOKENS, TOKENS)


def test_whatever_lightning_knows_can_be_chosen():
    config = RunConfig.from_composed(composed("trainer.strategy=fsdp", "trainer.accelerator=cuda"))
    assert (config.trainer.strategy, config.trainer.accelerator) == ("fsdp", "cuda")


class Leaky(Addition):
    def forward(self, values, summary):
        return values + self.project(summary.flip(0))


class SeesPadding(MeanPooling):
    def forward(self, memory, memory_mask):
        return memory.mean(dim=1)


def test_what_ships_passes_its_battery_and_defects_are_caught():
    for checked, kinds in (
        (testing.check_combination, COMBINATIONS),
        (testing.check_mixing, MIXINGS),
        (testing.check_pooling, POOLINGS),
        (testing.check_decay, SCHEDULES),
    ):
        for kind in kinds.values():
            checked(kind)
    with pytest.raises(testing.ContractViolation, match="rows_have_no_influence"):
        testing.check_combination(Leaky)
    with pytest.raises(testing.ContractViolation, match="padding"):
        testing.check_pooling(SeesPadding)


class Looking(pl.Callback):
    watches_only = True


class Training(Looking):
    """It may train: what a base class says of itself does not count for it."""


def test_a_callback_says_itself_that_it_only_watches():
    given = {name: {"_target_": f"{__name__}.{name}"} for name in ("Looking", "Training")}
    completed = completed_callbacks(given, "loss")
    assert completed["Looking"]["watches_only"] is True
    assert set(changing_callbacks(completed)) == {"Training"}
    assert completed_callbacks(completed, "loss") == completed


def test_a_checkpoint_that_is_no_runs_is_refused(tmp_path):
    torch.save({}, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="checkpoints/best-"):
        model_of_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="hidden_size: a model is built as its run says"):
        model_of_checkpoint(tmp_path, hidden_size=3)
