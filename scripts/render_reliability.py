"""docs/reliability.md: what may go wrong, what is promised then, and the tests that prove it.

    python -m pytest -m fault --junitxml faults.xml
    python scripts/render_reliability.py faults.xml

The promises are in tests/reliability/promises.yaml. A test that proves one is marked with its
number, @pytest.mark.fault(12). Several recorded runs may be given: of a test that is in two, the
later counts. If a promise has no test, or a test failed, that is said and no page is written.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import yaml

from measuring.arguments import existing_file, script_parser

ROOT = Path(__file__).parents[1]
PROMISES = ROOT / "tests" / "reliability" / "promises.yaml"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# What may go wrong, and what is promised then

Each promise has tests that bring the fault about. `scripts/render_reliability.py` makes this page
from their recorded results; `make test` fails if a promise has no test, or if the page is out of
date. `decoderlab-doctor` looks through an output folder for what is damaged or left behind.
"""


@dataclass(frozen=True)
class Proof:
    """A test of a promise.

    Args:
        faults: numbers of the promises.
        outcomes: of its cases (passed, failed, skipped), by the case's name.
    """

    faults: set[int] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Write the page."""
    parser = script_parser(__doc__)
    parser.add_argument("recorded", nargs="+", type=existing_file, help="of pytest --junitxml")
    parser.add_argument("--page", type=Path, default=PAGE, help="to write (%(default)s)")
    arguments = parser.parse_args()
    proofs = read(arguments.recorded)
    numbers = [number for part in promises() for number in part["rows"]]
    wrong = [
        *(
            f"fault {n}: no test"
            for n in numbers
            if not any(n in p.faults for p in proofs.values())
        ),
        *(
            f"{name}: failed"
            for name, proof in proofs.items()
            if "failed" in proof.outcomes.values()
        ),
    ]
    if wrong:
        sys.exit("\n".join(wrong))
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    arguments.page.write_text(f"{HEAD}\nRecorded with {commit()}, {versions}.\n{tables(proofs)}")


def promises() -> list[dict]:
    """Return the sections of faults and promises."""
    return yaml.safe_load(PROMISES.read_text())


def read(recorded: Iterable[Path]) -> dict[str, Proof]:
    """Return the marked tests in runs that pytest has recorded, by path and function."""
    proofs: dict[str, Proof] = {}
    for path in recorded:
        for case in ElementTree.parse(path).iter("testcase"):
            told = [(one.get("name"), one.get("value", "")) for one in case.iter("property")]
            faults = {int(value) for name, value in told if name == "fault"}
            if faults:
                proof = proofs.setdefault(dict(told)["test"], Proof())
                proof.faults.update(faults)
                tags = {child.tag for child in case}
                failed = tags & {"failure", "error"}
                outcome = "failed" if failed else "skipped" if "skipped" in tags else "passed"
                proof.outcomes[case.get("name", "")] = outcome
    return proofs


def tables(proofs: Mapping[str, Proof]) -> str:
    """Return the page's tables, a section each."""
    lines = []
    for part in promises():
        lines += ["", f"## {part['section']}", ""]
        lines += ["| | fault | promise | tests | result |", "|---|---|---|---|---|"]
        for number, row in part["rows"].items():
            mine = {name: proof for name, proof in proofs.items() if number in proof.faults}
            counted = Counter(one for proof in mine.values() for one in proof.outcomes.values())
            result = ", ".join(f"{counted[one]} {one}" for one in sorted(counted))
            tests = "<br>".join(link(name) for name in sorted(mine))
            cells = [row["fault"], row["promise"]]
            escaped = [cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells]
            lines.append(f"| {number} | {' | '.join(escaped)} | {tests} | {result} |")
    return "\n".join(lines) + "\n"


def link(name: str) -> str:
    """Return a Markdown link to a test.

    Example:
        >>> link("tests/unit/test_a.py::test_b")
        '[test_b](../tests/unit/test_a.py)'
    """
    path, function = name.split("::", 1)
    return f"[{function}](../{path})"


def commit() -> str:
    """Return the commit that is checked out."""
    ask = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(ask, capture_output=True, text=True)
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else "no commit"


if __name__ == "__main__":
    main()
