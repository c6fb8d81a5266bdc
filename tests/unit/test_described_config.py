"""The help shows every setting with what the docstring of its class says of it."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml
from omegaconf import OmegaConf

from decoderlab.cli.described_config import described_config
from decoderlab.config.argument_schemas import argument_texts
from decoderlab.config.argument_texts import ArgumentTexts, arguments_in
from decoderlab.tasks import TSVTask
from tests.conftest import composed, variants

# One YAML of each at a time: a config takes a while to compose.
TOGETHER = ("task", "encoder", "training/optimizer", "training/objective", "training/schedule",
            "logger", "callbacks")  # fmt: skip
# Names of loggers, callbacks and scores, which are no settings.
NAMES = {*variants("logger"), *variants("callbacks"), *variants("metric"), "metrics"}


ARGUMENTS = """A part.

Args:
    a,
        b (int): numbers.
    *further: x.
        y

Raises:
    c: d
"""
MINE = '''
from decoderlab.tasks import EchoTask
raise SystemExit("imported")


class Mine(EchoTask):
    """Mine.

    Args:
        shift: places, at least 0.
    """
'''


def settings(*overrides: str):
    config = composed(*overrides)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def undescribed(*overrides: str) -> set[str]:
    """Return the settings without a description in the help of some overrides."""
    config = settings(*overrides)
    shown = described_config(config, width=120)
    assert yaml.safe_load(shown) == yaml.safe_load(OmegaConf.to_yaml(config))
    assert max(map(len, shown.splitlines())) <= 130
    lines = [line for line in shown.splitlines() if re.match(r" *\w+:", line)]
    return {line.strip() for line in lines if "  # " not in line}


ROWS = [
    [f"{group}={name}" for group, name in zip(TOGETHER, row, strict=True) if name]
    for row in itertools.zip_longest(*map(variants, TOGETHER))
]


@pytest.mark.thinned
@pytest.mark.long
@pytest.mark.parametrize("overrides", ROWS, ids=" ".join)
def test_every_setting_of_tasks_encoders_and_training_is_described(overrides):
    assert {line.split(":")[0] for line in undescribed(*overrides)} <= NAMES


@pytest.mark.thinned
@pytest.mark.long
@pytest.mark.parametrize("name", variants("decoder"))
def test_every_setting_of_decoders_is_described(name):
    assert {line.split(":")[0] for line in undescribed(f"decoder={name}")} <= NAMES


def test_what_a_class_leaves_to_another_is_said_in_its_words():
    texts = ArgumentTexts()
    assert texts.of("decoderlab.tasks.TSVTask")["data_seed"].startswith("seed of the split alone")
    assert texts.of("decoderlab.decoders.heads.LinearHead")["tied"].startswith("whether")
    assert texts.of("torch.optim.Adam")["betas"].startswith("coefficients used")
    assert texts.of("decoderlab.tasks.NoSuchTask") == texts.of("nosuch.Thing") == {}
    assert argument_texts(TSVTask)["path"] == "the file."
    wanted = {"a": "numbers.", "b": "numbers.", "further": "x. y"}
    assert arguments_in(ARGUMENTS) == wanted


def test_a_class_of_a_users_folder_is_described_without_importing_it(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("class Mine(:\n")

    def shown(**task: str | int) -> list[str]:
        config = OmegaConf.create({"task": task})
        text = described_config(config, width=100, config_dir=str(tmp_path))
        return [line.partition("  # ")[2] for line in text.splitlines()[1:]]

    inherited = ArgumentTexts().of("decoderlab.tasks.EchoTask")["data_seed"].rstrip(".")
    own = shown(_target_="mine.Mine", shift=1, data_seed=0, other=2)
    assert own == ["Mine", "places, at least 0", inherited, ""]
    assert shown(_target_="broken.Mine", shift=1) == ["", ""]


def test_a_description_is_one_line_of_the_width():
    budget = settings().budget
    shown = described_config(OmegaConf.create({"budget": budget}), width=80)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.splitlines()[1].endswith("...")
    assert "match: updates" in shown
