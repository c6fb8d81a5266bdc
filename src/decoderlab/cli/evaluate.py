"""decoderlab-evaluate: test a finished run again, with another search or on another split."""

from __future__ import annotations

import json
import sys

from decoderlab.cli.app import guarded, run_parser, search_settings
from decoderlab.common.folders import add_to_path


def main() -> None:
    """Run the command line and leave with its exit code; the scores are JSON on standard output."""
    parser = run_parser("decoderlab-evaluate", __doc__)
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="the examples to use (%(default)s)",
    )
    arguments = parser.parse_args()

    def run() -> int:
        add_to_path(arguments.config_dir)
        import torch

        from decoderlab.metrics.signature import signature
        from decoderlab.training.loading import load_run, search_with
        from decoderlab.training.model_evaluation import evaluate

        loaded = load_run(arguments.run, trust=arguments.trust)
        torch.set_num_threads(loaded.config.run.threads)
        search_with(loaded, **search_settings(arguments))
        scores = evaluate(loaded.module, loaded.task, arguments.split, loaded.config)
        data = loaded.task.data
        size = len(data.splits[arguments.split])
        signatures = loaded.task.signatures(arguments.split)
        measured = signature(
            arguments.split,
            size,
            data.max_target_length,
            data.fingerprint,
            loaded.module.search.signature,
            signatures,
        )
        record = {"metrics": scores, "signature": measured}
        if signatures:
            record["signatures"] = signatures
        print(json.dumps(record, indent=2))  # noqa: T201
        return 0

    sys.exit(guarded(run))


if __name__ == "__main__":
    main()
