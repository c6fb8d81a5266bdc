from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.common.part_building import build, complete, targets_in
from decoderlab.config import run_identity
from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import Choices, PartSettings, RunConfig, section
from decoderlab.config.run_identity import classes_in, run_id
from decoderlab.config.strangers import refuse_foreign
from decoderlab.config.study_settings import Study
from tests.conftest import composed, variants


def identity(*overrides: str, data: str = "d") -> str:
    return run_id(RunConfig.from_composed(composed(*overrides)), data)


def test_a_config_is_read_as_it_was_written():
    for overrides in (
        ["task=echo", "decoder=luong"],
        ["preset=cho2014", "evaluation.temperature=0.5"],
        ["task=autoencoder", "+study.tuning={space: {seed2: [1]}, trials: 2, seeds: [7]}"],
        ["study.published=[{row: a, value: 0.5, tolerance: 0.1, source: somebody}]"],
        ["study.factors={decoder: [luong, peek]}", "study.exclude=[{decoder: luong}]"],
    ):
        config = RunConfig.from_composed(composed(*overrides), {"task": "t", "decoder": "d"})
        text = OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))
        again = RunConfig.from_dict(OmegaConf.to_container(OmegaConf.create(yaml.safe_load(text))))
        assert again == config
        assert again.to_dict() == config.to_dict() == pickle.loads(pickle.dumps(config)).to_dict()
        assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
        assert tuple(config.choices) == ("t", "encoder", "d")


def test_a_config_cannot_be_changed():
    config = RunConfig.from_composed(composed("preset=show_and_tell2014"))
    with pytest.raises(FrozenInstanceError):
        config.seed = 3
    with pytest.raises(FrozenInstanceError):
        config.training.max_steps = 3
    with pytest.raises(TypeError):
        config.decoder["hidden_size"] = 3
    assert config.decoder["routes"] == ("first_input",)
    config.to_dict()["decoder"]["routes"].append("output")
    assert config.decoder.to_dict()["routes"] == ["first_input"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "colour is not a setting; the config has task, encoder"),
        ({"encoder": {"hidden_size": 3}}, "encoder has no _target_"),
        ({"training": None}, "training is missing"),
        ({"training": {"max_steps": 3}}, "training.batch_size is missing"),
        ({"seed": -1}, "seed is -1; it must be an integer from 0"),
        ({"paper": {"author": "x"}}, "paper.author is not a setting.*Did you mean authors"),
    ],
)
def test_a_damaged_config_is_named(change, message):
    record = RunConfig.from_composed(composed()).to_dict()
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(record | change)


def test_reading_a_config_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise AssertionError('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    record = RunConfig.from_composed(composed()).to_dict()
    record["decoder"] = {"_target_": "harmful.Decoder", "size": 3}
    config = RunConfig.from_dict(record)
    assert (config.decoder.target, config.decoder.arguments()) == ("harmful.Decoder", {"size": 3})


def test_a_setting_that_a_user_names_is_read_and_replaced():
    config = RunConfig.from_composed(composed("decoder=luong"))
    for name, value in (
        ("decoder.hidden_size", 7),
        ("decoder.bridge.source", "first"),
        ("training.learning_rate", 0.5),
    ):
        changed = config.with_setting(name, value)
        assert changed.get(name) == value != config.get(name)
        assert changed.with_setting(name, config.get(name)) == config
    assert config.get("decoder.no.such") is config.get("nothing.at.all") is None
    for name in ("decoder.no", "decoder.bridge.no", "decoder", "no.thing"):
        with pytest.raises(ConfigError, match=f"{name} is not a setting of this run"):
            config.with_setting(name, 1)
    with pytest.raises(ConfigError, match="training: learning_rate is 0"):
        config.with_setting("training.learning_rate", 0)


def test_a_config_is_composed_without_a_command_line():
    config = compose_config(["task=echo", "decoder=luong", "seed=3"])
    assert tuple(config.choices) == ("echo", "lstm", "luong")
    assert replace(config, choices=Choices()) == RunConfig.from_composed(
        composed("task=echo", "decoder=luong", "seed=3")
    )
    with pytest.raises(ConfigError, match="Did you mean luong"):
        compose_config(["decoder=lunog"])


@pytest.mark.long
def test_a_run_is_named_by_what_its_result_depends_on():
    name = identity()
    for same in (
        ["run.output_dir=elsewhere"],
        ["run.log_every_steps=7", "logger=none"],
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
    assert identity("task=echo", "decoder=luong")[:12] == "21b57bee3ca2"


def test_seed_zero_is_a_seed():
    assert RunConfig.from_composed(composed("seed=0")).seed == 0
    assert identity("seed=0") != identity("seed=1")


def built(*, size: int, ratio: float = 0.5, names: list[str] | None = None):
    return size, ratio, names


def test_settings_are_completed_and_typed():
    assert complete("g", built, {"size": 3, "ratio": 1}) == {
        "size": 3,
        "ratio": 1.0,
        "names": None,
    }
    assert isinstance(complete("g", built, {"size": 3, "ratio": 1})["ratio"], float)


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
@pytest.mark.fault(3)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        complete("g", built, settings)


def test_a_study_without_its_defaults_is_shown_where_they_are():
    with pytest.raises(ConfigError, match=r"begin the YAML with defaults: \[adhoc@study, _self_\]"):
        section("study", Study, {"seeds": [0]})


class Layer:
    """A part that a class of a user's own takes several of."""

    INJECTED = ("width",)

    def __init__(self, *, width: int, depth: int = 2) -> None:
        self.width, self.depth = width, depth


def of_layers(
    *,
    layers: Sequence[Callable[..., Layer]] = (Layer,),
    named: dict[str, Callable[..., Layer]] | None = None,
):
    return [make(width=3) for make in [*layers, *(named or {}).values()]]


def test_parts_in_lists_and_mappings_are_checked_completed_and_built():
    target = f"{__name__}.Layer"
    given = {"layers": [{"_target_": target}], "named": {"top": {"_target_": target, "depth": 7}}}
    settings = complete("g", of_layers, given)
    assert settings["layers"] == [{"_target_": target, "depth": 2}]
    assert complete("g", of_layers, {})["layers"] == ({"_target_": target, "depth": 2},)
    named = {"_target_": f"{__name__}.of_layers", **settings}
    assert [(layer.width, layer.depth) for layer in build("g", named)] == [(3, 2), (3, 7)]
    assert dict(targets_in({"g": named})) == {
        "g._target_": f"{__name__}.of_layers",
        "g.layers[0]._target_": target,
        "g.named.top._target_": target,
    }
    for wrong, message in (
        ({"layers": [{"_target_": target, "dept": 1}]}, r"g.layers\[0\].dept is not a setting"),
        ({"layers": [{"_target_": target, "width": 1}]}, r"g.layers\[0\].width is not a setting"),
        ({"named": {"top": "dense"}}, "g.named.top is 'dense', which names no class"),
    ):
        with pytest.raises(ConfigError, match=message):
            complete("g", of_layers, wrong)


def test_classes_in_lists_count_and_are_refused_of_strangers():
    config = RunConfig.from_composed(composed())
    parts = [
        {"_target_": f"{__name__}.Layer"},
        {"_target_": "decoderlab.decoders.heads.LinearHead"},
    ]
    settings = PartSettings(config.decoder.to_dict() | {"parts": parts})
    config = replace(config, decoder=settings)
    assert Layer in classes_in(config.scientific())
    record = run_identity.identity(config, "data")
    assert [part["_target_"] for part in record["decoder"]["parts"]] == [
        f"{__name__}.Layer",
        "LinearHead",
    ]
    assert record["code"]
    with pytest.raises(ConfigError, match=r"names decoder.parts.\[0\]._target_"):
        refuse_foreign(config.to_dict(), Path("config.yaml"))


def test_injected_keywords_are_not_settings():
    def needs(*, tokens, size: int = 1):
        return tokens, size

    assert complete("g", needs, {}, injected=("tokens",)) == {"size": 1}
    with pytest.raises(ConfigError, match="g.tokens is not a setting"):
        complete("g", needs, {"tokens": 1}, injected=("tokens",))


@pytest.mark.fault(6)
def test_a_missing_value_and_a_broken_interpolation_are_named():
    with pytest.raises(ConfigError, match="task.path"):
        RunConfig.from_composed(composed("task=tsv"))
    config = composed()
    OmegaConf.set_struct(config, False)
    config.decoder.hidden_size = "${encoder.width}"
    with pytest.raises(ConfigError, match="decoder.hidden_size"):
        RunConfig.from_composed(config)


def test_what_a_part_has_no_use_for_names_no_other_run():
    def parts(*overrides):
        return RunConfig.from_composed(composed(*overrides))

    named = parts("decoder/bridge=zero")
    full = parts("decoder/bridge=zero", "decoder.bridge.source=first", "decoder.bridge.cell=hidden")
    assert named.decoder == full.decoder
    assert named.decoder["bridge"] == {"_target_": "decoderlab.decoders.bridges.ZeroBridge"}
    assert len({run_id(one, "data") for one in (named, full)}) == 1
    with pytest.raises(ConfigError, match=r"decoder.bridge.sorce is not a setting.*source"):
        parts("decoder=initial_state", "+decoder.bridge.sorce=state")
    with pytest.raises(ConfigError, match=r"decoder.attention.input_feeding is 1 .*must be bool"):
        parts("decoder=luong", "decoder.attention.input_feeding=1")
    with pytest.raises(ConfigError, match=r"decoder.bridge is 3, .*decoder/bridge=NAME"):
        parts("decoder.bridge=3")
    with pytest.raises(
        ConfigError, match=r"decoder.attention.score is 'dot'.*decoder/attention=dot"
    ):
        parts("decoder=luong", "decoder.attention.score=dot")


@pytest.mark.thinned(4)
@pytest.mark.long
@pytest.mark.parametrize("group", ["attention", "bridge", "head", "feedback"])
def test_every_part_can_be_chosen_under_every_preset(group):
    for preset in ("bahdanau2015", "brownlee2017_attention", "lake2018_scan"):
        for name in variants(f"decoder/{group}"):
            given = [f"preset={preset}", f"decoder/{group}={name}"]
            given += ["task=echo"] if preset != "lake2018_scan" else []
            try:
                decoder = RunConfig.from_composed(composed(*given)).decoder
            except ConfigError as error:  # two settings contradict each other, with the fix
                assert re.search("take|name at least one", str(error))  # noqa: PT017
                continue
            expected = OmegaConf.load(conf_dir() / "decoder" / group / f"{name}.yaml")._target_
            if name in ("mean", "copy_all") and "initial_state" not in decoder["routes"]:
                expected = "decoderlab.decoders.bridges.ZeroBridge"  # they need the route
            assert (decoder[group] or {"_target_": expected})["_target_"] == expected


def test_the_paper_is_no_part_of_the_identity():
    config = RunConfig.from_composed(composed("preset=cho2014"))
    assert config.paper.year == 2014
    assert run_id(config, "data") == run_id(replace(config, paper=None), "data")


class Kind:
    INJECTED = ("width",)


class Plain(Kind):
    def __init__(self, *, width: int, ratio: float = 0.5) -> None:
        self.width, self.ratio = width, ratio


class Model:
    def __init__(
        self,
        *,
        size: int,
        part: Callable[..., Kind] = Plain,
        more: Callable[..., Kind] | None = None,
    ) -> None:
        self.part = part(width=size)


def named(kind: type, **settings) -> dict:
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **settings}


def test_a_part_is_completed_from_its_own_constructor():
    plain = named(Plain, ratio=0.5)
    assert complete("g", Model, {"size": 3}) == {"size": 3, "part": plain, "more": None}
    given = complete("g", Model, {"size": 3, "part": named(Plain, ratio=1), "more": named(Plain)})
    assert given == {"size": 3, "part": named(Plain, ratio=1.0), "more": plain}


def test_a_part_gets_what_the_model_knows():
    settings = {"_target_": f"{__name__}.Model", **complete("g", Model, {"size": 3})}
    settings["part"]["ratio"] = 0.25
    part = build("g", settings).part
    assert (type(part), part.width, part.ratio) == (Plain, 3, 0.25)


def test_a_part_where_the_constructor_takes_none_is_refused():
    with pytest.raises(ConfigError, match=r"g\.names names the class .*Plain, but the constructor"):
        build("g", {"_target_": f"{__name__}.built", "size": 3, "names": named(Plain)})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("plain", "g.part is 'plain', which names no class; choose it: g/part=plain"),
        (None, "g.part is None, which names no class"),
        (
            {"_target_": None},
            "g.part is {'_target_': None}, which names no class; choose it: g/part=",
        ),
        (named(Plain, width=3), "g.part.width is not a setting of Plain; it has ratio"),
        (named(Plain, ratio="x"), "g.part.ratio is 'x'"),
        ({"_target_": "no.Class"}, "g.part._target_ is 'no.Class', which cannot be imported"),
    ],
)
@pytest.mark.fault(2)
def test_a_wrong_part_is_named(part, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        complete("g", Model, {"size": 3, "part": part})
