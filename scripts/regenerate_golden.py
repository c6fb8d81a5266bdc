"""Write tests/golden/golden.json again, where results change on purpose.

    OMP_NUM_THREADS=1 python scripts/regenerate_golden.py
    python scripts/regenerate_golden.py --code    # tests/golden/code.json: the code of runs

The change belongs into CHANGELOG.md under "Results changed".
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from measuring.arguments import script_parser

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    """Train all golden runs, or those named, and write what they leave."""
    parser = script_parser(__doc__)
    parser.add_argument("name", nargs="*", help="golden runs (default: all)")
    parser.add_argument("--code", action="store_true", help="write the code of runs alone")
    arguments = parser.parse_args()
    if arguments.code:
        from tests.golden.code import CODE, observed_code

        CODE.write_text(json.dumps(observed_code(), indent=0) + "\n")
        return
    names = arguments.name

    from tests.golden.runs import GOLDEN, RUNS, observed

    if unknown := set(names) - set(RUNS):
        parser.error(f"{', '.join(unknown)} is no golden run; take of {', '.join(RUNS)}")
    golden = json.loads(GOLDEN.read_text()) if names else {}
    for name in names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            golden[name] = observed(name, Path(folder))
        print(f"{name}: {golden[name]['losses'][-1]:.4f}", flush=True)
    ordered = {name: golden[name] for name in RUNS if name in golden}
    GOLDEN.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
