"""The code of runs is what it was: a run that is finished stays one that was made by this code."""

from __future__ import annotations

import json

import pytest

from tests.golden.code import CODE, observed_code, python


def test_the_code_of_runs_is_what_it_was():
    recorded = json.loads(CODE.read_text())
    if recorded["python"] != python():
        pytest.skip(f"recorded with Python {recorded['python']}, whose syntax trees are others")
    before, now = recorded["code"], observed_code()["code"]
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    assert not changed, (
        "runs of before would be said to be made by other code. If that is meant, write it into "
        "CHANGELOG.md and run scripts/regenerate_golden.py --code; a private name can be kept"
    )
