"""Settings that no computer could carry out are refused before work starts."""

from __future__ import annotations

import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from decoderlab.common.errors import ConfigError
from decoderlab.config.bounds import check_bounds, check_parameters, count_limit
from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design.grid import grid, swept_values
from tests.conftest import composed, variants
from tests.unit.studies import STUDY

ABSURD = [
    "run.threads=1000000000",
    "run.evaluation_batch_size=1000000000",
    "run.num_samples=1000000000",
    "training.batch_size=1000000000000",
    "trainer.devices=1000000000",
    "trainer.num_nodes=1000000000",
    "+trainer.accumulate_grad_batches=1000000000",
    "encoder.hidden_size=1000000000000",
    "encoder.num_layers=1000000000",
    "encoder.embedding_size=1000000000000",
    "decoder.hidden_size=1000000000000",
    "decoder.num_layers=1000000000",
    "decoder.head.size=1000000000000",
    "evaluation.beam_width=1000000000",
    "evaluation.mbr_samples=1000000000",
    "evaluation.exact_steps=1000000000",
    "task.num_train=1000000000000",
    "task.num_values=1000000000000",
    "task.max_length=1000000000",
    "training.max_steps=1" + "0" * 400,
    "decoder.attention.hops=1000000000",
    "decoder.attention.heads=1000000000",
    "encoder.cell.depth=1000000000",
    "encoder.cell.width=1000000000",
    "evaluation.beam_groups=1000000000",
    "training.objective.num_samples=1000000000",
    "training.objective.length_ratio=1e308",
]
# Where a setting is of a part that is not there by default.
PARTS = {"encoder.cell": "encoder/cell=stack", "training.objective": "training/objective=reinforce"}


@pytest.mark.long
@pytest.mark.parametrize("setting", ABSURD, ids=lambda setting: setting.split("=")[0])
@pytest.mark.fault(4)
def test_absurd_counts_are_refused_at_once(setting):
    parts = [part for name, part in PARTS.items() if setting.startswith(name)]
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=rf"{setting.split('=')[0].lstrip('+')} is .* at most"):
        compose_config(["task=echo", "decoder=luong", "decoder/head=tanh", *parts, setting])
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"task": {"x": 2**64}}, "at most"),
        ({"task": {"x": -(2**64)}}, "at most"),
        ({"task": {"of": {"of": {"num_train": 10**12}}}}, "task.of.of.num_train"),
        ({"decoder": {"attention": {"size": 10**9}}}, "decoder.attention.size"),
        ({"decoder": {"attention": {"hops": 10**5}}}, "decoder.attention.hops"),
        ({"decoder": {"attention": {"heads": 10**5}}}, "decoder.attention.heads"),
        ({"decoder": {"cell": {"depth": 10**9}}}, "decoder.cell.depth"),
        ({"encoder": {"cell": {"width": 10**9}}}, "encoder.cell.width"),
        ({"generation": {"beam_groups": 5000}}, "generation.beam_groups"),
        ({"training": {"objective": {"num_samples": 10**9}}}, "objective.num_samples"),
        ({"training": {"objective": {"length_ratio": 1e308}}}, "length_ratio is 1e.308; it must"),
    ],
)
@pytest.mark.fault(12)
def test_what_no_computer_holds_is_refused(record, message):
    with pytest.raises(ConfigError, match=message):
        check_bounds(record)


@pytest.mark.long
@pytest.mark.parametrize("preset", variants("preset"))
def test_papers_are_within_the_bounds(preset):
    check_bounds(RunConfig.from_composed(composed(f"preset={preset}")).to_dict())


def test_a_model_is_counted_before_it_is_built(tiny):
    check_parameters(10**9)
    width = count_limit("decoder.hidden_size")
    with pytest.raises(ConfigError, match="parameters; it must have at most"):
        tiny(f"decoder.hidden_size={width}", f"encoder.hidden_size={width}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=range(0,1000000000)"],
        ["seed=range(0,1,0.000000000001)"],
        ["seed=shuffle(range(0,1000000000))"],
        ["seed=range(0,1000)", "task.num_train=range(1,1002)"],
        ["seed=range(0,50000)", "decoder=luong,peek,repeat_vector"],
    ],
)
@pytest.mark.fault(10)
def test_sweeps_are_counted_before_they_are_made(arguments):
    started = time.perf_counter()
    with pytest.raises(
        ConfigError, match="a sweep has at most 100,000 runs|above 5 times study.max_runs"
    ):
        grid(STUDY, {}, arguments, OverridesParser.create().parse_overrides)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "number"), [("seed=range(0,10)", 10), ("seed=1,2", 2), ("seed=range(10,0,-2)", 5)]
)
def test_ordinary_sweeps_are_made(text, number):
    (override,) = OverridesParser.create().parse_overrides([text])
    assert len(swept_values(override)) == number
