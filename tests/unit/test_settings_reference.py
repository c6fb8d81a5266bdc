"""The reference of settings has a row for whatever a YAML of conf/ can say."""

from __future__ import annotations

import functools
import re

import pytest
import yaml

from decoderlab.common.folders import conf_dir
from decoderlab.config.group_schemas import GroupSchemas
from decoderlab.config.settings_reference import HEAD, settings_reference, tables_of

GROUPS = GroupSchemas([conf_dir()]).groups
OF_SEVERAL = ("debug", "preset")
# Settings that a class takes beside those of its constructor.
OPEN = {"hydra/launcher": "settings of plug-ins", "hydra/sweeper": "Hydra's own"}


@functools.cache
def sections() -> dict[str, str]:
    """Return the part of the page for each group, without the YAMLs."""
    text = re.sub(r"```yaml.*?```", "", settings_reference(conf_dir()), flags=re.DOTALL)
    parts = re.split(r"^## (\S+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(group: str) -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in sections()[group].splitlines()
        if line.startswith("| `")
    ]
    assert all(len(row) == len(HEAD) for row in cells)
    return {row[0].strip("`"): row for row in cells}


def test_every_group_has_a_section_in_order():
    assert list(sections()) == ["train", *GROUPS]


@pytest.mark.parametrize("group", [name for name in GROUPS if name not in (*OF_SEVERAL, *OPEN)])
def test_whatever_a_yaml_gives_has_a_row(group):
    given = set()
    for path in (conf_dir() / group).glob("*.yaml"):
        content = yaml.safe_load(path.read_text()) or {}
        if "@package _global_" in path.read_text():
            continue
        if group in ("logger", "callbacks"):
            content = {key: value for part in content.values() for key, value in part.items()}
        given |= {key for key in content if not key.startswith("_")}
    if group == "encoder":  # of every encoder, said in train.yaml
        given |= {"from_run", "frozen"}
    assert given - {"defaults"} <= set(rows(group))


@pytest.mark.parametrize("group", ["budget", "decoder", "encoder", "evaluation", "run", "study",
                                   "task", "training", "trainer"])  # fmt: skip
def test_our_own_settings_have_a_type_and_a_meaning(group):
    without = [name for name, row in rows(group).items() if not (row[1] and row[4])]
    assert without == (["metrics"] if group == "task" else [])


def test_types_ranges_choices_and_defaults_are_those_of_the_classes():
    dropout = rows("decoder")["dropout"]
    assert dropout[1:4] == ["number", "`0.0`", "≥ 0, < 1"]
    assert rows("budget")["match"][1:4] == [
        "text", '`"updates"`', "`updates`, `parameters`, `flops`, `seconds`"
    ]  # fmt: skip
    bridge = rows("decoder")["bridge"]
    assert bridge[1:4] == ["class", "", "of the group `decoder/bridge`"]
    assert rows("training")["max_epochs"][1] == "number or null"
    assert rows("train")["seed"][3] == "≥ 0, ≤ 4,294,967,295"
    assert rows("callbacks")["patience"][4]


def test_parts_that_no_group_has_are_there_too():
    titles = [title for title, _ in tables_of(GroupSchemas([conf_dir()]), "decoder/attention")]
    assert "score: decoderlab.decoders.attention.EntmaxScore" in titles
    assert not [title for title in titles if "mixing" in title]
