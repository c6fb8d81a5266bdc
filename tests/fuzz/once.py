"""One case of the fuzzers, again: FUZZ_SEED=SEED python -m tests.fuzz.once KIND NUMBER."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz import cases, records
from tests.fuzz.test_fuzz import SEED


def main() -> None:
    kind, number = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as temporary:
        below = Path(temporary)
        small = records.Small.undrawn(below / "small") if kind in cases.FOLDERS else None
        found = cases.failures(kind, SEED, range(number, number + 1), below, small)
    print("\n".join(found) or "nothing wrong")


if __name__ == "__main__":
    main()
