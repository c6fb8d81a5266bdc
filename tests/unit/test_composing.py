"""What tests compose faster is what Hydra composes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from decoderlab.common.folders import conf_dir

LINES = (
    ["decoder=luong"],
    ["decoder=luong", "decoder.hidden_size=3"],
    ["decoder=luong", "decoder/cell=gru"],
    ["preset=cho2014"],
    ["study=context_routes"],
    ["task=tsv", "+metric@task.metrics.x=distinct"],
    ["~task"],
    ["decoder=[luong,peek]"],
    ["decoder=nothing"],
)
PLAIN = """
import json, sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from decoderlab.common.folders import conf_dir
said = []
for words in json.loads(sys.argv[1]):
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            said.append(OmegaConf.to_yaml(compose("train", words, return_hydra_config=True)))
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


def said(words: list[str]) -> str:
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return OmegaConf.to_yaml(compose("train", words, return_hydra_config=True))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.slow
def test_configs_are_those_of_hydra_once_and_again():
    command = [sys.executable, "-c", PLAIN, json.dumps(LINES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout)
    assert [said(words) for words in LINES] == expected
    assert [said(words) for words in LINES] == expected  # of what was kept
    assert len(set(expected)) == len(LINES)
