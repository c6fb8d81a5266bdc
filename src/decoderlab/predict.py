"""decoderlab-predict: one prediction per line of standard input."""

from __future__ import annotations

import sys
import warnings
from itertools import islice

from decoderlab.train import add_to_path, guarded, run_parser

CHUNK = 256


def main() -> None:
    """Run the command line and leave with its exit code."""
    arguments = run_parser("decoderlab-predict", __doc__).parse_args()

    def run() -> int:
        add_to_path(arguments.config_dir)
        from decoderlab.loading import load_run, predict

        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)  # noqa: T201
        loaded = load_run(arguments.run, data=False, trust=arguments.trust)
        # A person who types wants an answer after each line, a pipe wants speed.
        chunk = 1 if sys.stdin.isatty() else CHUNK
        lines = (line.rstrip("\r\n") for line in sys.stdin)
        while batch := list(islice(lines, chunk)):
            sys.stdout.writelines(f"{text}\n" for text in predict(loaded, batch))
            sys.stdout.flush()
        return 0

    sys.exit(guarded(run))


if __name__ == "__main__":
    main()
