from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from decoderlab.config.resolution import ConfigError, complete, resolve, run_id
from tests.conftest import composed


def identity(*overrides: str, data: str = "d") -> str:
    return run_id(resolve(composed(*overrides)), data)


def test_a_run_is_named_by_what_its_result_depends_on():
    name = identity()
    for same in (
        ["run.output_dir=elsewhere"],
        ["run.log_every_steps=7", "run.tensorboard=false"],
        ["study.name=x"],
        ["training.learning_rate=1e-3"],
        ["training.learning_rate=0.001"],
    ):
        assert identity(*same) == name, same
    others = {
        identity(*other)
        for other in (
            ["seed=1"],
            ["training.learning_rate=0.002"],
            ["decoder=luong"],
            ["encoder.hidden_size=64"],
            ["task.num_digits=2"],
            ["evaluation.every_steps=7"],
        )
    } | {identity(data="other")}
    assert len(others) == 7
    assert name not in others


def test_a_path_does_not_name_a_run():
    assert identity("task=tsv", "task.path=a.tsv") == identity("task=tsv", "task.path=b/a.tsv")


def test_a_run_id_does_not_change_from_one_version_to_the_next():
    # A golden number: if it changes, raise FORMAT and say so in the changelog.
    assert identity("task=echo", "decoder=luong")[:12] == "0cd164b44a69"


def test_seed_zero_is_a_seed():
    assert resolve(composed("seed=0"))["seed"] == 0
    assert identity("seed=0") != identity("seed=1")


def build(*, size: int, ratio: float = 0.5, names: list[str] | None = None):
    return size, ratio, names


def test_settings_are_completed_and_typed():
    assert complete("g", build, {"size": 3, "ratio": 1}) == {
        "size": 3,
        "ratio": 1.0,
        "names": None,
    }
    assert isinstance(complete("g", build, {"size": 3, "ratio": 1})["ratio"], float)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "g.size is missing; give it as g.size=VALUE"),
        ({"size": True}, r"g.size is True \(bool\); it must be int"),
        ({"size": 1.0}, "must be int"),
        ({"size": 1, "names": "a"}, "must be list"),
        ({"size": 1, "rato": 1}, "Did you mean ratio"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        complete("g", build, settings)


def test_injected_keywords_are_not_settings():
    def needs(*, tokens, size: int = 1):
        return tokens, size

    assert complete("g", needs, {}, injected=("tokens",)) == {"size": 1}
    with pytest.raises(ConfigError, match="g.tokens is not a setting"):
        complete("g", needs, {"tokens": 1}, injected=("tokens",))


def test_a_missing_value_and_a_broken_interpolation_are_named():
    with pytest.raises(ConfigError, match="task.path"):
        resolve(composed("task=tsv"))
    config = composed()
    OmegaConf.set_struct(config, False)
    config.decoder.hidden_size = "${encoder.width}"
    with pytest.raises(ConfigError, match="decoder.hidden_size"):
        resolve(config)


def test_a_part_is_a_name_or_a_mapping_and_becomes_the_same_settings():
    def parts(*overrides):
        return resolve(composed(*overrides))

    named = parts("decoder.bridge=zero")
    written = parts("decoder.bridge={kind: zero}")
    full = parts("decoder.bridge={kind: zero, source: state, cell: encoder}")
    assert named["decoder"] == written["decoder"] == full["decoder"]
    assert named["decoder"]["bridge"] == {"kind": "zero", "source": "state", "cell": "encoder"}
    assert len({run_id(one, "data") for one in (named, written, full)}) == 1
    with pytest.raises(ConfigError, match=r"decoder.bridge.sorce is not a setting.*source"):
        parts("+decoder.bridge.sorce=state")
    with pytest.raises(ConfigError, match=r"decoder.attention.input_feeding is 1 .*must be bool"):
        parts("decoder.attention={score: dot, input_feeding: 1}")
    with pytest.raises(ConfigError, match=r"decoder.bridge.kind is 3 .*must be str"):
        parts("decoder.bridge=3")


def test_the_paper_is_no_part_of_the_identity():
    config = resolve(composed("preset=cho2014"))
    without = {key: value for key, value in config.items() if key != "paper"}
    assert run_id(config, "data") == run_id(without, "data")
