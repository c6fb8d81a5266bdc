"""decoderlab-predict: one prediction per line of standard input."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from itertools import islice

from decoderlab.cli.app import guarded, run_parser, search_settings
from decoderlab.common.folders import add_to_path

CHUNK = 256


def main() -> None:
    """Run the command line and leave with its exit code."""
    parser = run_parser("decoderlab-predict", __doc__)
    parser.add_argument(
        "--num-best",
        type=int,
        metavar="N",
        help="N hypotheses of a beam for each line: line number, score, text, with tabs between",
    )
    arguments = parser.parse_args()

    def run() -> int:
        add_to_path(arguments.config_dir)
        import torch

        from decoderlab.training.loading import load_run, predict, predict_best, search_with

        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)  # noqa: T201
        loaded = load_run(arguments.run, data=False, trust=arguments.trust)
        torch.set_num_threads(loaded.config.run.threads)
        search_with(loaded, **search_settings(arguments))
        # A person who types wants an answer after each line, a pipe wants speed.
        chunk = 1 if sys.stdin.isatty() else CHUNK
        lines = _lines()
        number = 0
        while batch := list(islice(lines, chunk)):
            if arguments.num_best is None:
                shown = predict(loaded, batch, first_row=number)
            else:
                shown = [
                    f"{line}\t{score:.4f}\t{text}"
                    for line, best in enumerate(
                        predict_best(loaded, batch, arguments.num_best), start=number + 1
                    )
                    for text, score in best
                ]
            number += len(batch)
            sys.stdout.writelines(f"{text}\n" for text in shown)
            sys.stdout.flush()
        return 0

    sys.exit(guarded(run))


def _lines() -> Iterator[str]:
    """Yield the lines of standard input."""
    from decoderlab.common.errors import ConfigError
    from decoderlab.data.reading import decoded

    try:
        yield from decoded(sys.stdin.buffer, "standard input")
    except ValueError as error:
        raise ConfigError(str(error)) from error


if __name__ == "__main__":
    main()
