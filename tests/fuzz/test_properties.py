"""What holds for any text and any value: they are read, or one message says why not."""

from __future__ import annotations

import contextlib
import io
import json
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import complete
from decoderlab.config.command_line import check_words
from decoderlab.config.plain_values import check_plain
from decoderlab.config.run_config import RunConfig, section
from decoderlab.config.study_settings import Study
from decoderlab.config.user_yaml import read_user_yaml
from decoderlab.data.reading import decoded
from tests.conftest import composed
from tests.fuzz.commands import BROKEN, SCALARS
from tests.fuzz.commands import settings as names

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=3)
)
KEYS = st.one_of(
    st.text(max_size=9), st.integers(), st.none(), st.sampled_from(["_target_", "seed"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner)), max_leaves=8
)
RECORD = RunConfig.from_composed(composed("task=echo", "decoder=luong")).to_dict()
FIELDS = sorted(RECORD["study"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.tuples(
                st.sampled_from(["", "+", "++", "~"]),
                st.sampled_from(names()),
                st.text(max_size=20),
            ).map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"),
            st.sampled_from(BROKEN),
            st.sampled_from(SCALARS).map("seed={}".format),
        ),
        max_size=3,
    )
)
@example(["task=[1e400]"])
@example(["a=" + "[" * 5000])
def test_any_words_are_read_or_named(words):
    with contextlib.suppress(ConfigError):
        check_words(words)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_passes_as_a_value_can_be_written_and_read_again(config):
    try:
        check_plain(config)
    except ConfigError:
        return
    assert json.loads(json.dumps(config, allow_nan=False).encode()) == config


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FIELDS), VALUES)
@example("published", [{"row": "a", "value": 1, "tolerance": "a/b", "source": "x"}])
@example("published", [1])
@example("tuning", {"space": {"x": {"low": math.nan, "high": 1}}, "trials": 1, "seeds": [1]})
def test_any_setting_of_a_study_is_taken_or_named(field, value):
    with contextlib.suppress(ConfigError):
        section("study", Study, RECORD["study"] | {field: value})


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(RECORD)), VALUES)
def test_any_part_of_a_config_is_taken_or_named(group, value):
    with contextlib.suppress(ConfigError):
        RunConfig.from_dict(RECORD | {group: value})


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(str.encode),
        VALUES.map(repr).map(str.encode),
    )
)
@example(b"defaults: 3")
@example(b"a: &a [*a]")
def test_any_bytes_are_a_yaml_or_named(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    try:
        _, read = read_user_yaml(path)
    except ConfigError as error:
        said, read = str(error), {}
    else:
        said = str(path)
    assert str(path) in said
    assert isinstance(read, dict)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_lines_or_named(content):
    try:
        content.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="^it is not UTF-8"):
            list(decoded(io.BytesIO(content), "it"))
    else:
        lines = list(decoded(io.BytesIO(content), "it"))
        assert len(lines) == len(content.split(b"\n")) - (content[-1:] in (b"\n", b""))


def of(*, sizes: list[int], shares: dict[str, float] | None = None):
    return sizes, shares


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"sizes": [1, "a"]}, r"g.sizes\[1\] is 'a' \(str\); it must be int"),
        ({"sizes": [True]}, r"g.sizes\[0\] is True"),
        ({"sizes": [1], "shares": {"x": "y"}}, "g.shares.x is 'y'"),
    ],
)
def test_entries_of_lists_and_mappings_are_typed(given_, message):
    with pytest.raises(ConfigError, match=message):
        complete("g", of, given_)
    assert complete("g", of, {"sizes": [1], "shares": {"x": 1}})["shares"] == {"x": 1.0}
