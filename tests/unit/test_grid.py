"""Which cells a study consists of, and that composing them fast changes nothing."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import make_dataclass, replace

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design.composed_cells import Composer, ConfigMaker, ReadOnce
from decoderlab.studies.design.grid import as_value, grid
from tests.composing import LOAD
from tests.unit.studies import STUDY


def parse(overrides: list[str]):
    return OverridesParser.create().parse_overrides(overrides)


def cells(*arguments: str, params: dict | None = None, **study):
    return grid(replace(STUDY, **study), params or {}, arguments, parse)


def test_factors_and_seeds_make_a_grid():
    made = cells(factors={"decoder": ["luong", "peek"], "task": "echo,g2p"}, seeds=[0, 1])
    assert [cell.given for cell in made] == [
        {"decoder": decoder, "task": task, "seed": seed}
        for decoder in ("luong", "peek")
        for task in ("echo", "g2p")
        for seed in ("0", "1")
    ]


def test_the_command_line_takes_the_place_of_what_the_study_says():
    study = {"factors": {"decoder": ["luong", "peek"]}, "seeds": "range(0,3)"}
    made = cells("seed=7,8", "decoder=output", "training.max_steps=5", **study)
    assert [cell.overrides for cell in made] == [
        ["decoder=output", f"seed={seed}", "training.max_steps=5"] for seed in (7, 8)
    ]
    swept = cells("seed=1", params={"decoder": "a,b"})
    assert [cell.given["decoder"] for cell in swept] == ["a", "b"]


@given(st.text("\\'\"ab ,=[{}].\t\n").filter(lambda text: "${" not in text))
@example("a\\b")
@example("\\d+'\\")
def test_a_text_of_a_study_reaches_its_runs_as_it_is(text):
    (made,) = cells(variants={"a": {"task.separator": text}}, seeds=[0])
    (override,) = parse([one for one in made.overrides if one.startswith("task.")])
    assert override.value() == text
    (nested,) = parse([f"a={as_value({'b': [text]})}"])
    assert nested.value() == {"b": [text]}


def test_a_variant_is_a_bundle_and_goes_by_its_name():
    variants = {
        "small": {"decoder": "luong", "decoder.hidden_size": 8},
        "wide": {"decoder": "peek", "decoder.routes": ["initial_state", "output"]},
    }
    made = cells("training.max_steps=5,6", variants=variants, seeds=[0])
    assert len(made) == 4
    assert made[0].named == {"variant": "small", "seed": "0", "training.max_steps": "5"}
    assert made[2].overrides == [
        *("seed=0", "training.max_steps=5"),
        *("decoder=peek", "decoder.routes=[initial_state,output]"),
    ]
    # What is given on the command line holds for all bundles.
    same = cells("decoder.hidden_size=9", variants=variants, seeds=[0])
    assert [cell.given["decoder.hidden_size"] for cell in same] == ["9", "9"]


def test_names_may_be_numbers_and_settings_may_be_forced():
    made = cells("++seed=0,1", variants={64: {"a": 1, "seed2": 3}})
    assert [cell.named for cell in made] == [{"variant": "64", "seed": seed} for seed in "01"]
    assert made[0].overrides == ["++seed=0", "a=1", "seed2=3"]
    forced = cells("++decoder.hidden_size=9", variants={"b": {"decoder.hidden_size": 8}})
    assert forced[0].overrides == ["++decoder.hidden_size=9"]


def test_exclusions_leave_combinations_out():
    study = {"factors": {"decoder": ["a", "b"], "task": ["x", "y"]}, "seeds": [0, 1]}
    made = cells(exclude=[{"decoder": "a", "task": "x"}, {"decoder": "b", "seed": [0, 1]}], **study)
    assert {tuple(cell.given.values()) for cell in made} == {("a", "y", "0"), ("a", "y", "1")}
    variants = {"one": {"decoder": "a"}, "two": {"decoder": "b"}}
    left = cells(variants=variants, exclude=[{"variant": "one"}], seeds=[0])
    assert [cell.variant for cell in left] == ["two"]
    digits = {"8_tokens": {"decoder": "a"}, "two": {"decoder": "b"}}
    left = cells(variants=digits, exclude=[{"variant": "8_tokens"}], seeds=[0])
    assert [cell.variant for cell in left] == ["two"]
    # A sweep that is narrowed on the command line need not have what is excluded.
    narrow = cells("task=y", exclude=[{"decoder": "a", "task": "x"}], **study)
    assert {cell.given["task"] for cell in narrow} == {"y"}
    for exclude, message in (
        ([{"decodr": "a"}], "Did you mean decoder"),
        ([{"decoder": ["a", "c"]}], "has c, which is none of a, b"),
        (["a"], "give a mapping"),
        ([{}], "give a mapping"),
        ([{"decoder": ["a", "b"]}], "leaves no run"),
    ):
        with pytest.raises(ConfigError, match=message):
            cells(exclude=exclude, **study)


@pytest.mark.parametrize(
    ("arguments", "study", "message"),
    [
        (["study.name=a,b"], {}, "a sweep is one study"),
        (["budget.match=updates,flops"], {}, "a sweep is one study"),
        (["study=a,b"], {}, "a sweep is one study"),
        (["study.seeds=range(0,6)"], {}, "on the command line these are seed=0,1,2"),
        (["x=interval(0,1)"], {}, "has no list of values"),
        (["run.output_dir=a,b"], {}, "varies run"),
        pytest.param([], {"seeds": []}, "is an empty list", marks=pytest.mark.fault(8)),
        pytest.param([], {"seeds": "range(0,0)"}, "has no values", marks=pytest.mark.fault(8)),
        ([], {"variants": {"a": {"run.output_dir": "x"}}}, "varies run"),
        ([], {"variants": {"a": {"seed": 1}}}, "without seed"),
        ([], {"variants": {"a": "luong"}}, "give a mapping"),
    ],
)
def test_what_is_no_grid_is_refused(arguments, study, message):
    with pytest.raises(ConfigError, match=message):
        cells(*arguments, **study)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.001, 1e-7, "luong", "a b", "it's", "1", "null", [1, ["a,b"]], {"a": "b=c"}],
)
def test_a_value_means_on_the_command_line_what_it_means_in_yaml(value):
    (override,) = parse([f"key={as_value(value)}"])
    assert override.value() == value


CELLS = [
    ["decoder=luong", "seed=3"],
    ["decoder=luong", "seed=4", "training.learning_rate=0.1"],
    ["preset=bahdanau2015", "encoder.hidden_size=8", "decoder.attention.size=4"],
    ["encoder=bilstm", "decoder={hidden_size: 7}", "++decoder.attention.input_feeding=true"],
    ["study=context_routes", "debug=fast", "~training.weight_decay"],
]


@pytest.mark.long
@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_fast_composing_gives_what_hydra_gives(cell):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", ["+x=1,2"], run_mode=RunMode.MULTIRUN)
        compose = Composer(loader, master)
        for _ in range(2):  # the second time from what was kept
            composed = compose(cell)
        whole = loader.load_sweep_config(master, cell)
    assert composed.choices == dict(whole.hydra.runtime.choices)
    names = [name for name in whole if name != "hydra"]
    assert OmegaConf.to_container(composed.config) == OmegaConf.to_container(
        OmegaConf.masked_copy(whole, names)
    )


@pytest.mark.long
def test_each_yaml_is_read_once_and_no_cell_sees_what_hydra_made_of_it_for_another(monkeypatch):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", ["+x=1,2"], run_mode=RunMode.MULTIRUN)
        before = [OmegaConf.to_container(Composer(loader, master)(cell).config) for cell in CELLS]
        read: Counter[str] = Counter()
        load = ConfigRepository.load_config

        def counted(self, config_path):
            read[config_path] += 1
            return load(self, config_path)

        monkeypatch.setattr(ConfigRepository, "load_config", counted)
        compose = Composer(loader, master)
        composed = [OmegaConf.to_container(compose(cell).config) for cell in CELLS]
        assert set(read.values()) == {1}
        Composer(loader, master)(CELLS[0])
        assert read["train"] == 2
    assert composed == before


def test_a_config_of_a_class_that_cannot_be_pickled_is_read_each_time(monkeypatch):
    monkeypatch.setattr(ConfigRepository, "load_config", LOAD)
    store = ConfigStore.instance()
    kept = copy.deepcopy(store.repo)
    store.store("odd", make_dataclass("Odd", [("x", int, 3)]), group="hydra/launcher")
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            reader = ReadOnce(loader.repository)
            assert reader.load_config("hydra/launcher/odd").config.x == 3
            assert reader.load_config("hydra/launcher/odd").config.x == 3
            assert reader.load_config("task/no_such_task") is None
    finally:
        store.repo = kept


FOLLOWING = [
    ["decoder=luong"],
    ["decoder=luong", "task.data_seed=${seed}"],
    ["decoder=luong", "task.data_seed=${oc.select:seed}"],
    ["decoder=luong", "task.data_seed=${training.batch_size}"],
    ["decoder=luong", "seed=7"],
]


@pytest.mark.long
@pytest.mark.parametrize("cell", FOLLOWING, ids=" ".join)
def test_cells_that_differ_in_their_seeds_have_the_configs_that_each_alone_has(cell):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", ["+x=1,2"], run_mode=RunMode.MULTIRUN)
        config_of = ConfigMaker(Composer(loader, master))
        for seed in ("seed=1", "seed=2", "seed=0"):
            composed = Composer(loader, master)([*cell, seed])
            alone = RunConfig.from_composed(composed.config, composed.choices)
            assert config_of([*cell, seed]) == alone
        for seed in ("seed=99999999999", "seed=03"):  # Hydra takes the latter for a text
            with pytest.raises(ConfigError, match="seed is"):
                config_of([*cell, seed])


def test_levels_with_names_are_a_grid_beside_which_references_stand():
    made = cells(
        factors={
            "route": {"every": {"a.routes": ["x"]}, "first": {"a.routes": ["y"]}},
            "feedback": {"without": {"a.feedback": "none"}, "with": {}},
            "task": ["one", "two"],
        },
        references={"attention": {"decoder": "luong"}},
        seeds=[0, 1],
        exclude=[{"route": "first", "task": "two"}],
    )
    assert len(made) == 2 * 2 * 2 * 2 + 2 * 2 - 2 * 2
    assert made[0].named == {"route": "every", "feedback": "without", "task": "one", "seed": "0"}
    assert made[0].given["a.routes"] == "[x]"
    beside = [cell for cell in made if cell.variant == "attention"]
    assert [cell.named["task"] for cell in beside] == ["one", "one", "two", "two"]
    assert all(cell.given["decoder"] == "luong" and not cell.levels for cell in beside)
    assert not any(
        cell.levels.get("route") == "first" for cell in made if cell.given["task"] == "two"
    )
    given = cells("a.feedback=other", factors={"feedback": {"without": {"a.feedback": "none"}}})
    assert given[0].given["a.feedback"] == "other", "the command line holds for all levels"


def test_tasks_may_have_names_and_references_stand_beside_each():
    made = cells(
        factors={
            "route": {"every": {"a.routes": ["x"]}, "first": {"a.routes": ["y"]}},
            "task": {"near": {"task": "echo", "task.n": 9}, "far": {"task": "echo", "task.n": 16}},
        },
        references={"attention": {"decoder": "luong"}},
        seeds=[0, 1],
    )
    assert len(made) == 2 * 2 * 2 + 2 * 2
    assert made[0].named == {"route": "every", "task": "near", "seed": "0"}
    beside = [cell for cell in made if cell.variant == "attention"]
    assert [cell.named["task"] for cell in beside] == ["near", "near", "far", "far"]
    assert [cell.given["task.n"] for cell in beside] == ["9", "9", "16", "16"]


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (
            {"factors": {"one": {"x": {"a": 1}}, "two": {"y": {"a": 2}}}},
            "study.factors.two.y sets a, which another factor",
        ),
        ({"factors": {"one": {}}}, "at least one level by name"),
        ({"factors": {"a.b": {"x": {"a": 1}}}}, "under a name of its own"),
        ({"factors": {"seed": {"x": {"a": 1}}}}, "under a name of its own"),
        (
            {"factors": {"task": {"x": {"task": "echo"}}, "two": {"y": {"task": "copy"}}}},
            "study.factors.two.y sets task, which another factor",
        ),
        ({"factors": {"one": {"x": 3}}}, "study.factors.one.x is 3; give a mapping"),
        (
            {"variants": {"same": {"a": 1}}, "references": {"same": {"a": 2}}},
            "study.references and study.variants both have",
        ),
    ],
)
def test_levels_and_references_that_make_no_sense_are_refused(study, message):
    with pytest.raises(ConfigError, match=message):
        cells(**study)
