"""The JSON Schemas of the YAMLs accept what ships, and refuse mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from omegaconf import OmegaConf

from decoderlab.cli import schema
from decoderlab.common.folders import conf_dir, group_yamls
from decoderlab.config.group_schemas import GroupSchemas

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "plugins").iterdir())
YAMLS = [path for _, path in group_yamls(conf_dir())]


def made(folders: list[Path]) -> dict[str, jsonschema.Draft7Validator]:
    schemas = GroupSchemas(folders)
    by_group = {group: schemas.of_group(group) for group in [*schemas.groups, "train"]}
    for each in by_group.values():
        jsonschema.Draft7Validator.check_schema(each)
    return {group: jsonschema.Draft7Validator(each) for group, each in by_group.items()}


@pytest.fixture(scope="module")
def validators():
    return made([conf_dir()])


def group_of(root: Path, path: Path) -> str:
    group = path.parent.relative_to(root).as_posix().removesuffix("/base")
    return "train" if group == "." else group


def content_of(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


def wrong_in(validators: dict, root: Path) -> list[tuple[str, str, str]]:
    return [
        (str(path), error.json_path, error.message)
        for _, path in group_yamls(root)
        for error in validators[group_of(root, path)].iter_errors(content_of(path))
    ]


def test_every_yaml_is_valid(validators):
    assert not wrong_in(validators, conf_dir())
    assert len(YAMLS) > 180


def test_the_yamls_of_plugins_are_valid_and_their_classes_known(monkeypatch):
    for folder in EXAMPLES:
        monkeypatch.syspath_prepend(folder)
    validators = made([conf_dir(), *EXAMPLES])
    assert not [wrong for folder in EXAMPLES for wrong in wrong_in(validators, folder)]
    task = {"_target_": "dyck.DyckTask", "max_length": 16}
    assert validators["task"].is_valid(task)
    assert not validators["task"].is_valid(task | {"max_lenght": 16})
    assert not validators["task"].is_valid(task | {"max_length": "long"})


# YAMLs whose class takes any keyword, or is of an extra that may not be installed.
ANY_KEYWORD = ("hydra/launcher", "hydra/sweeper", "logger")


def test_a_setting_that_nothing_has_is_a_mistake_in_every_yaml(validators):
    passed = []
    for path in YAMLS:
        group = group_of(conf_dir(), path)
        if group not in ANY_KEYWORD and validators[group].is_valid(
            content_of(path) | {"hiden_size": 3}
        ):
            passed.append(str(path))
    assert not passed


def test_a_number_that_becomes_a_word_or_true_is_a_mistake(validators):
    passed, tried = [], 0
    for path in YAMLS:
        group, content = group_of(conf_dir(), path), content_of(path)
        if group in ANY_KEYWORD:
            continue
        for where in numbers_in(content):
            tried += 1
            mistake = "ten" if tried % 2 else True
            if validators[group].is_valid(changed(content, where, mistake)):
                passed.append((str(path), where, mistake))
    assert not passed
    assert tried > 300


def numbers_in(content: Any, where: tuple = ()) -> list[tuple]:
    """Return the paths of numbers in mappings, but for those in bundles of a study."""
    if isinstance(content, dict):
        inner = (numbers_in(value, (*where, key)) for key, value in content.items())
        return [path for paths in inner for path in paths if "hydra" not in path]
    number = isinstance(content, int | float) and not isinstance(content, bool)
    return [where] if number and "factors" not in where and where[:2] != ("paper", "year") else []


def changed(content: Any, where: tuple, value: Any) -> Any:
    if not where:
        return value
    return content | {where[0]: changed(content[where[0]], where[1:], value)}


MISTAKES = [
    ("decoder", {"hidden_size": 0}),
    ("decoder", {"hidden_size": 2**21}),
    ("decoder", {"dropout": 1.0}),
    ("decoder", {"routes": ["initial_stat"]}),
    ("decoder", {"routes": "every_input"}),
    ("decoder", {"combine": "sum"}),
    ("decoder", {"bridge": {"sorce": "state"}}),
    ("decoder", {"attention": {"mixing": "deap"}}),
    ("decoder", {"encoder_shape": None}),
    ("decoder", {"_target_": "decoderlab.decoders.RecurentDecoder"}),
    ("decoder", {"_target_": "decoderlab.decoders.TransformerDecoder", "routes": []}),
    ("decoder", {"_target_": "no class"}),
    ("decoder", {"defaults": [{"/decoder/bridge@bridge": "coppy"}]}),
    ("decoder/bridge", {"source": "sate"}),
    ("decoder/bridge", {"_target_": "decoderlab.decoders.bridges.ZeroBridge", "hidden_size": 3}),
    ("encoder", {"summary": "first"}),
    ("encoder", {"frozen": "no"}),
    ("task", {"_target_": "decoderlab.tasks.AdditionTask", "num_digits": 16}),
    ("task", {"_target_": "decoderlab.tasks.TSVTask", "test_share": 1.0}),
    ("metric", {"_target_": "decoderlab.metrics.Bleu", "tokeniser": "13a"}),
    ("training", {"batch_size": 0}),
    ("training", {"precision": "float16"}),
    ("training", {"optimizer": {"_target_": "torch.optim.Adam", "epsilon": 1}}),
    ("training/optimizer", {"_target_": "torch.optim.Adam", "lr": 0.1}),
    ("evaluation", {"beam_width": 0}),
    ("evaluation", {"length_penalty": 11}),
    ("run", {"threads": 2000}),
    ("budget", {"match": "time"}),
    ("trainer", {"acelerator": "cpu"}),
    ("trainer", {"max_epochs": 3}),
    ("callbacks", {"early_stopping": {"_target_": "nothing"}}),
    ("logger", {"csv": 3}),
    ("study", {"family": "tasks"}),
    ("study", {"study": {"minimum_effect": 0}}),
    ("study", {"study": {"variants": {"wide": {"decoder": "luonk"}}}}),
    ("study", {"study": {"variants": {"wide": {"decoder.hiden_size": 3}}}}),
    ("study", {"study": {"factors": {"task": ["eco"]}}}),
    ("study", {"study": {"tuning": {"trials": 3}}}),
    ("study", {"study": {"published": [{"row": "a", "value": 1, "source": "b"}]}}),
    ("study", {"defaults": [{"override /decodr": "luong"}]}),
    ("preset", {"paper": {"title": "of nobody"}}),
    ("debug", {"training": {"max_step": 3}}),
    ("train", {"seed": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("group", "content"), MISTAKES, ids=str)
def test_a_mistake_is_refused(validators, group, content):
    assert not validators[group].is_valid(content)


RIGHT = [
    ("decoder", {"_target_": "mine.MyDecoder", "anything": 3}),
    ("decoder", {"hidden_size": "${encoder.hidden_size}", "embedding_size": None}),
    ("study", {"study": {"factors": {"size": {"small": {"decoder.hidden_size": 8}}}}}),
    ("study", {"study": {"variants": {"a": {"+metric@task.metrics.bleu": "bleu", "seed": 3}}}}),
    ("logger", {"mine": {"_target_": "mine.Logger", "anything": 3}}),
]  # fmt: skip


@pytest.mark.parametrize(("group", "content"), RIGHT, ids=str)
def test_what_works_is_not_refused(validators, group, content):
    assert validators[group].is_valid(content)


def test_settings_have_descriptions_defaults_and_ranges(validators):
    definitions = validators["run"].schema["definitions"]
    threads = definitions["run"]["properties"]["threads"]
    assert threads["default"] == 1
    assert "threads of torch per process" in threads["description"]
    assert {"type": "integer", "maximum": 1024, "minimum": 1} in threads["anyOf"]
    union = definitions["run"]["properties"]
    assert all("description" in union[name] for name in union if name != "defaults")


@pytest.mark.parametrize("header", ["", "# @package _global_\n", "\n  #  @package x.y\n\n"])
def test_the_command_writes_schemas_and_the_line(tmp_path, monkeypatch, capsys, header):
    """Of a header Hydra reads what stands before the first other line."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_conf" / "decoder" / "bridge"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"{header}# Mine.\n_target_: mine.Bridge\n")
    for _ in range(2):  # the second time, the line is replaced
        command = ["decoderlab-schema", "--to", "schemas", "my_conf/decoder/bridge/mine.yaml"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as left:
            schema.main()
        assert left.value.code == 0
    text = (folder / "mine.yaml").read_text()
    assert text.startswith(header)
    line, *rest = text.removeprefix(header).splitlines()
    assert line == "# yaml-language-server: $schema=../../../schemas/decoder.bridge.json"
    assert rest == ["# Mine.", "_target_: mine.Bridge"]
    assert (folder / line.partition("=")[2]).resolve().is_file()
    mapping = json.loads((tmp_path / "schemas" / "vscode.json").read_text())["yaml.schemas"]
    for name, globs in mapping.items():
        assert json.loads((tmp_path / name).read_text())["$schema"]
        assert all(glob.startswith("**/") for glob in globs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decoderr"], "Did you mean decoder?"),
        (["--to", "schemas", "nothing.yaml"], "is not a YAML that is there"),
        (["--config-dir", "nowhere"], "which is missing"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["decoderlab-schema", *arguments])
    with pytest.raises(SystemExit) as left:
        schema.main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
