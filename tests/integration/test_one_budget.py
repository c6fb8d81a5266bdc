"""A budget of training that is given replaces one of another kind in a YAML."""

from __future__ import annotations

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import RunConfig
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.grid import as_value
from decoderlab.studies.design.plan_file import read_configs, read_plan
from tests.integration.cli import in_process, tiny_arguments


def given_budgets(config: RunConfig) -> dict[str, float]:
    kinds = ("max_steps", "max_epochs", "max_seconds")
    return {kind: value for kind in kinds if (value := getattr(config.training, kind)) is not None}


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["training.max_epochs=2"], "max_epochs", 2.0),
        (["training.max_seconds=9"], "max_seconds", 9.0),
        (["training.max_seconds=9", "training.max_epochs=null"], "max_seconds", 9.0),
        (["preset=keras_addition", "training.max_steps=20"], "max_steps", 20),
        (["preset=keras_addition", "++training.max_seconds=3"], "max_seconds", 3.0),
    ],
)
def test_a_budget_replaces_that_of_a_yaml(words, kind, value):
    assert given_budgets(compose_config(words)) == {kind: value}


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    "words",
    [["training.max_steps=3", "training.max_epochs=2"], ["training.max_steps=null"]],
)
def test_two_budgets_or_none_are_refused(words):
    with pytest.raises(ConfigError, match="give exactly one of max_steps, max_epochs"):
        compose_config(words)


@pytest.mark.usefixtures("undrawn")
def test_variants_of_a_study_have_budgets_of_their_own(monkeypatch, tmp_path):
    budgets = {"a": {"max_epochs": 1.0}, "b": {"max_steps": 3}, "c": {"max_seconds": 0.1}}
    variants = {
        name: {f"training.{kind}": value for kind, value in budget.items()}
        for name, budget in budgets.items()
    }
    words = [word for word in tiny_arguments(tmp_path) if not word.startswith("training.max")]
    words += [f"study.variants={as_value(variants)}", "study.name=s", "hydra/launcher=basic"]
    assert in_process(monkeypatch, "-m", *words) == 0
    configs = read_configs(tmp_path / "studies" / "s" / "plan.json")
    for cell in read_plan(tmp_path, "s").cells:
        assert given_budgets(configs[cell.run_id]) == budgets[cell.variant]
        assert RunFolder(tmp_path / cell.folder).status()["status"] == "FINISHED"


@pytest.mark.fault(5)
def test_a_budget_that_is_given_replaces_none_of_a_studys_own(monkeypatch, capfd, tmp_path):
    words = [word for word in tiny_arguments(tmp_path) if not word.startswith("training.max")]
    words += ["study.factors={training.max_steps: [3, 4]}", "study.name=s"]
    assert in_process(monkeypatch, "-m", *words, "training.max_epochs=1") == 2
    assert "give exactly one of max_steps, max_epochs" in capfd.readouterr().err
