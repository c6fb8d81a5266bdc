"""Every promise of docs/reliability.md has a test, and the page says which."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import FAULTS, NUM_FAULTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "render_reliability.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def proofs(request) -> dict[int, set[str]]:
    """Return the tests of each promise, where all tests were collected."""
    given = {(ROOT / argument.split("::")[0]).resolve() for argument in request.config.args}
    if not given & {ROOT, ROOT / "tests"}:
        pytest.skip("only some tests were collected; run all: python -m pytest tests")
    return request.config.stash[FAULTS]


def page_rows() -> dict[int, list[str]]:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/reliability.md").read_text(), re.M)
    return {int(number): re.split(r"(?<!\\) \| ", rest) for number, rest in rows}


def test_every_promise_has_a_number(script):
    numbers = [number for part in script.promises() for number in part["rows"]]
    assert numbers == list(range(1, NUM_FAULTS + 1))
    assert list(page_rows()) == numbers


def test_every_promise_has_a_test(proofs):
    assert [number for number in range(1, NUM_FAULTS + 1) if not proofs.get(number)] == []


def test_the_page_is_up_to_date(proofs, script):
    """If it is not, record the marked tests and render it; see the script."""
    wanted = {
        name: script.Proof({number for number in proofs if name in proofs[number]})
        for name in sorted(set().union(*proofs.values()))
    }
    rendered = re.findall(r"^\| (\d+) \| (.*) \|$", script.tables(wanted), re.M)
    for number, rest in rendered:
        expected, actual = re.split(r"(?<!\\) \| ", rest), page_rows()[int(number)]
        assert actual[:3] == expected[:3]
        assert re.fullmatch(r"[1-9]\d* passed(, \d+ skipped)?", actual[3]), f"{number}: {actual[3]}"


TESTS = """
import pytest

@pytest.mark.fault(1, 2)
@pytest.mark.parametrize("n", [1, 2])
def test_two(n):
    if n == 2:
        pytest.skip("not here")

@pytest.mark.fault({number})
def test_three():
    assert {what}
"""


@pytest.mark.parametrize(
    ("number", "what", "code", "said"),
    [
        ("3", "False", 1, "test_three: failed"),
        ("3", "True", 1, "fault 4: no test"),
        ("64", "True", 4, "give 1 to 63"),
        ("", "True", 4, "give 1 to 63"),
    ],
)
def test_results_are_those_of_a_recorded_run(
    tmp_path, monkeypatch, script, number, what, code, said
):
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_collection_modifyitems"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault(number): of a row\n")
    test = TESTS.replace("{number}", number).replace("{what}", what)
    file = f"test_{tmp_path.name}.py"  # pytest imports a name once
    (tmp_path / file).write_text(test)
    record = tmp_path / "record.xml"
    given = [
        "-q",
        "-n0",
        "-pno:cacheprovider",
        "-pno:hypothesispytest",  # it warns of what is frozen, see tests.conftest
        "--import-mode=importlib",
        f"--rootdir={tmp_path}",
        f"--junitxml={record}",
    ]
    if pytest.main([*given, str(tmp_path)]) == pytest.ExitCode.USAGE_ERROR:
        assert (code, said) == (4, "give 1 to 63")
        return
    proofs = script.read([record])
    assert {name: sorted(proof.faults) for name, proof in proofs.items()} == {
        f"{file}::test_two": [1, 2],
        f"{file}::test_three": [3],
    }
    assert f"[test_two](../{file}) | 1 passed, 1 skipped |" in script.tables(proofs)
    page = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["script", str(record), "--page", str(page)])
    with pytest.raises(SystemExit, match=said):
        script.main()
    assert not page.exists()
