"""decoderlab-evaluate: test a finished run again, or on another split."""

from __future__ import annotations

import argparse
import json
import os
import sys

from decoderlab.train import guarded


def main() -> None:
    """Run the command line and leave with its exit code; the scores are JSON on standard output."""
    parser = argparse.ArgumentParser(prog="decoderlab-evaluate", description=__doc__)
    parser.add_argument("run", help="folder of a finished run: outputs/runs/...")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="the examples to use (%(default)s)",
    )
    parser.add_argument(
        "--trust", action="store_true", help="build classes from outside decoderlab that it names"
    )
    parser.add_argument("--config-dir", help="folder of those classes, as for decoderlab-train")
    arguments = parser.parse_args()

    def run() -> int:
        if arguments.config_dir is not None:
            sys.path.insert(0, os.path.abspath(arguments.config_dir))
        from decoderlab.loading import load_run
        from decoderlab.metrics import signature
        from decoderlab.runs import evaluate

        loaded = load_run(arguments.run, trust=arguments.trust)
        scores = evaluate(loaded.model, loaded.task, arguments.split, loaded.config)
        data = loaded.task.data
        size = len(data.splits[arguments.split])
        measured = signature(arguments.split, size, data.max_target_length, data.fingerprint)
        print(json.dumps({"metrics": scores, "signature": measured}, indent=2))  # noqa: T201
        return 0

    sys.exit(guarded(run))


if __name__ == "__main__":
    main()
