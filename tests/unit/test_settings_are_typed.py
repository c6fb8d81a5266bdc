"""Settings are read from `RunConfig` and its sections; no other room looks them up by strings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.run_config import RunConfig

PACKAGE = Path(__file__).parents[2] / "src" / "decoderlab"
FILES = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE / "config"
}
FILES["hydra_plugins"] = PACKAGE.parent / "hydra_plugins/decoderlab_plugins/__init__.py"
# Whoever looks a setting up begins with its group, or with the name of its class.
GROUPS = {field.name for field in fields(RunConfig)}
NAMES = GROUPS | {"_target_", *EncoderStart._fields}
# Ways to read a composed config, or a typed one as dictionaries.
READERS = {"select", "to_container", "to_object"}

# Keys that are called as settings are, and what they are keys of.
ALLOWED = {
    "cli/check.py": ({"encoder", "decoder"}, "the classes that are checked"),
    "cli/described_config.py": (
        {"_target_", "to_container"},
        "any config is described, also one that is not checked",
    ),
    "common/part_choice.py": ({"_target_"}, "parts are built below the config"),
    "common/part_building.py": ({"_target_"}, "parts are built below the config"),
    "studies/claims/judgement.py": ({"seed", "task"}, "the columns of a results.csv"),
    "studies/analysis/seed_variance.py": ({"task"}, "the names of factors"),
    "studies/design/row_labels.py": ({"task"}, "the names of rows and columns"),
    "studies/design/preparation.py": ({"task"}, "the names of rows and columns"),
    "studies/design/sealed_plan.py": (
        {"task", "study", "budget"},
        "a plan.json that is not checked yet: its sections become typed here",
    ),
    "studies/design/timing.py": ({"training"}, "what takes no time is left out of a key"),
    "studies/execution/sweep.py": ({"study"}, "the choices that Hydra notes"),
    "studies/claims/copied_results.py": ({"study", "task", "seed"}, "the columns of a CSV"),
    "studies/execution/tuning.py": ({"decoder"}, "the words of a command line"),
    "studies/reporting/row_parts.py": (
        {"decoder", "_target_", "budget"},
        "any setting may differ: configs are compared whole",
    ),
    "studies/reporting/variant_diagrams.py": ({"decoder"}, "the equations of a result"),
    "training/continued_training.py": ({"callbacks"}, "a checkpoint of Lightning's"),
    "training/loading.py": ({"seed"}, "the keywords of a function"),
    "training/resumption.py": ({"callbacks"}, "a checkpoint of Lightning's"),
    "training/shared_training.py": ({"callbacks"}, "a checkpoint of Lightning's"),
    "training/train_and_test.py": ({"callbacks"}, "a checkpoint of Lightning's"),
}


def looked_up(tree: ast.AST) -> Iterator[str]:
    """Yield the names of settings that a file looks up by strings."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(key)), ctx=ast.Load()):
                keys = [key]
            case (
                ast.Call(
                    func=ast.Attribute(attr="get" | "pop"), args=[ast.Constant(value=str(key)), *_]
                )
                | ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(key)), *_])
            ):
                keys = [key]
            case ast.Call(func=ast.Name(id="setting_in" | "setting_of"), args=[_, ast.Constant()]):
                keys = ["a literal name: the typed config has it"]
            case ast.Attribute(attr=attribute, value=ast.Name(id="OmegaConf")):
                keys = [attribute] if attribute in READERS else []
            case (
                ast.Subscript(value=ast.Call(func=ast.Attribute(attr="to_dict")))
                | ast.Attribute(value=ast.Call(func=ast.Attribute(attr="to_dict")), attr="get")
            ):
                keys = ["to_dict"]
            case _:
                continue
        for key in keys:
            named = key in NAMES or (key.partition(".")[0] in GROUPS and "." in key)
            if named or key in READERS or key == "to_dict" or key.startswith("a literal"):
                yield key


def test_settings_are_read_from_the_typed_config():
    keys = {name: {*looked_up(ast.parse(path.read_text()))} for name, path in FILES.items()}
    allowed = {name: names for name, (names, _) in ALLOWED.items()}
    assert {name: keys[name] for name in keys if keys[name] - allowed.get(name, set())} == {}
    assert {name: allowed[name] for name in allowed if allowed[name] - keys[name]} == {}


@pytest.mark.parametrize(
    "line",
    [
        'config.encoder.to_dict().get("from_run")',
        'settings["training"].get("max_seconds")',
        'config.get("training.max_seconds")',
        'getattr(config, "seed")',
        'OmegaConf.select(composed, "decoder")',
        "OmegaConf.to_container(composed.study, resolve=True)",
        'setting_in(record, "decoder.hidden_size")',
    ],
)
def test_each_way_to_look_a_setting_up_is_seen(line):
    assert [*looked_up(ast.parse(line))]
