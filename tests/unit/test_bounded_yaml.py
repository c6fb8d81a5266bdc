"""YAMLs from anybody: what their numbers are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from decoderlab.common.bounded_yaml import parse_yaml
from decoderlab.common.errors import Invalid

PATH = Path("own.yaml")


@pytest.mark.parametrize(
    ("number", "read"),
    [("010", 8), ("-010", -8), ("007", 7), ("0_7", 7), ("1:40", 100), ("1:00:00", 3600)],
)
def test_a_number_that_yaml_reads_to_another_base_is_refused(number, read):
    assert yaml.safe_load(number) == read
    for text in (f"seed: {number}", f"a: 1\nseeds: [1, {number}]"):
        with pytest.raises(Invalid, match=f"has {number} in line .*reads as {read}: write that"):
            parse_yaml(text, PATH)
    assert parse_yaml(f"seed: '{number}'", PATH) == {"seed": number}
    assert parse_yaml(OmegaConf.to_yaml({"seed": number}), PATH) == {"seed": number}


@pytest.mark.parametrize("number", ["0", "10", "1_000", "0x10", "0.10", "1e-3", "08", "-0", "00:a"])
def test_other_values_are_read_as_ever(number):
    assert "a" in parse_yaml(f"a: {number}", PATH)
