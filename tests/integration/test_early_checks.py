"""A wrong value is said before torch is imported, in the words that the full check has for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.config.early_checks import check_before_imports
from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design import impossible_cells
from tests.conftest import variants
from tests.integration.cli import in_process

WRONG = [
    "decoder.hidden_size=abc",
    "decoder.num_layers=2.5",
    "encoder.hidden_size=true",
    "encoder.hidden_size=99999999",
    "task.num_train=x",
    "task.num_digits=[1]",
    "training.max_steps=-3",
    "training.batch_size=many",
    "training.precision=float16",
    "evaluation.beam_width=0",
    "evaluation.top_k=3",
    "run.threads=0",
    "budget.match=size",
    "seed=-1",
]


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", list(overrides))


def said(check, config):
    with pytest.raises(ConfigError) as error:
        check(config)
    return str(error.value)


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_is_said_early_as_the_full_check_says_it(override):
    config = composed(override)
    assert said(check_before_imports, config) == said(RunConfig.from_composed, config)


@pytest.mark.parametrize(
    "override",
    [
        "evaluation.select=null",
        "encoder.hidden_size=null",
        "training.optimizer=null",
        "training/initial_weights=keras",
        "training.uniform_range=0.1",
        "~training.objective",
    ],
)
def test_what_only_the_classes_can_tell_is_left_to_the_full_check(override):
    check_before_imports(composed(override))


def test_a_task_of_a_users_own_may_give_any_null_a_meaning():
    config = composed("training.max_steps=null")
    assert "give exactly one of max_steps" in said(check_before_imports, config)
    OmegaConf.update(config, "task._target_", "mine.Task")
    check_before_imports(config)


@pytest.mark.parametrize("group", ["task", "encoder", "decoder", "preset"])
def test_every_yaml_that_ships_is_let_pass(group):
    for name in variants(group):
        config = composed(f"{group}={name}")
        for missing in sorted(OmegaConf.missing_keys(config)):
            OmegaConf.update(config, missing, "given")
        check_before_imports(config)


EARLY = """
import sys
sys.argv = ["decoderlab-train", *sys.argv[1:]]
from decoderlab.cli import train
try:
    train.main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.thinned(3)
@pytest.mark.parametrize("sweep", [(), ("-m", "encoder=lstm,gru")], ids=["a run", "a sweep"])
@pytest.mark.parametrize("override", ["decoder.hidden_size=abc", "training.max_steps=-3"])
def test_the_command_says_it_without_torch(override, sweep, tmp_path):
    words = [sys.executable, "-c", EARLY, *sweep, override]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    name, _, value = override.partition("=")
    assert done.returncode == 2
    assert name.partition(".")[2] in done.stderr
    assert value in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "swept",
    [
        ("training.max_steps=0",),
        ("decoder=luong,peek", "encoder.hidden_size=x"),
        ("seed=0,1", "evaluation.beam_width=0,-1"),
        ("decoder=luong,no_such_decoder", "evaluation.top_k=3"),
        ("decoder.no_such_setting=1,2",),
        ("study.factors={decoder:[luong,peek]}", "training.batch_size=many"),
    ],
    ids=" ".join,
)
def test_a_sweep_says_it_early_as_its_plan_says_it(monkeypatch, capfd, tmp_path, swept):
    command = ["-m", f"run.output_dir={tmp_path / 'outputs'}", *swept]
    assert in_process(monkeypatch, *command) == 2
    early = capfd.readouterr().err
    monkeypatch.setattr(impossible_cells, "refuse_before_imports", lambda *_: None)
    assert in_process(monkeypatch, *command) == 2
    assert early == capfd.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("given", "group", "settings"),
    [
        (("-m", "task=echo,reverse", "task.num_values=60"), "task", {"num_values": 60}),
        (("study=length_generalisation_20", "task.num_values=60"), "task", {"num_values": 60}),
        (
            ("study=length_generalisation_20", "task.num_values=6", "task.max_length=9"),
            "task",
            {"num_values": 6, "max_length": 9},
        ),
        (
            (
                "study=length_generalisation_20",
                "seed=0,1",
                "task.num_values=6",
                "task.min_length=2",
            ),
            "task",
            {"num_values": 6, "min_length": 2},
        ),
        (
            ("study=length_generalisation_20", "task.num_values=range(6,8)", "task.max_length=9"),
            "task",
            {"max_length": 9},
        ),
        (("-m", "encoder=cnn", "seed=0,1", "encoder.kernel_size=5"), "encoder", {"kernel_size": 5}),
        (
            ("-m", "task=echo,copy", "task.min_length=3", "task.max_length=9"),
            "task",
            {"min_length": 3, "max_length": 9},
        ),
    ],
)
def test_a_setting_that_all_choices_of_a_sweep_have_is_set(
    monkeypatch, tmp_path, given, group, settings
):
    """Hydra composes a sweep with its default choice first, which may lack the setting."""
    seen = []

    def looked_at(cells, compose):
        seen.extend(compose(cell.overrides).config for cell in cells)
        raise ConfigError("seen")

    monkeypatch.setattr(impossible_cells, "refuse_before_imports", looked_at)
    assert in_process(monkeypatch, f"run.output_dir={tmp_path / 'outputs'}", *given) == 2
    assert len(seen) >= 2
    for config in seen:
        assert {name: config[group][name] for name in settings} == settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("task=echo,reverse", "task.num_valuse=6"),
            "task.num_valuse is not a setting; task has num_values, min_",
        ),
        (("task=echo,addition", "task.num_values=60"), "task has num_terms, num_digits"),
        (("seed=0,1", "task.num_values=6"), "task has num_terms, num_digits"),
    ],
)
def test_a_setting_that_a_choice_has_not_is_refused_by_what_it_has(
    monkeypatch, capfd, tmp_path, given, said
):
    assert in_process(monkeypatch, "-m", f"run.output_dir={tmp_path / 'outputs'}", *given) == 2
    assert said in capfd.readouterr().err


def test_cells_of_which_some_can_run_are_left_to_the_plan(monkeypatch, capfd, tmp_path):
    command = ["-m", f"run.output_dir={tmp_path / 'outputs'}", "training.max_steps=1,-1"]
    assert in_process(monkeypatch, *command) == 2
    assert "leave them out by study.exclude" in capfd.readouterr().err
