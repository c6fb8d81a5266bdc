"""Cases in a process that is forked for each of them, and has imported nothing but what they need.

A fork takes the longer the larger a process is, and one of pytest's has imported all tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Server:
    """Such a process; with it leaves what it has made."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def failures(self, kind: str, seed: int, numbers: range, below: Path) -> list[str]:
        """Return what `cases.failures` finds there."""
        request = {"kind": kind, "seed": seed, "numbers": [numbers.start, numbers.stop]}
        self.process.stdin.write(json.dumps(request | {"below": str(below)}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process of the cases ended: {self.process.wait()}"
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def main() -> None:
    """Answer requests, a line each, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed here
    from tests.fuzz import cases, records

    with tempfile.TemporaryDirectory() as own:
        small = cache(lambda: records.Small.undrawn(Path(own) / "small"))
        for line in sys.stdin:
            request: dict[str, Any] = json.loads(line)
            kind, numbers = request["kind"], range(*request["numbers"])
            given = small() if kind in cases.FOLDERS else None
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # as pytest does
                found = cases.failures(
                    kind, request["seed"], numbers, Path(request["below"]), given
                )
            print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
