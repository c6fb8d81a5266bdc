"""decoderlab-predict: predictions of a finished run, or an ensemble of runs, for lines or images.

Each line of FILE or standard input gives one line of output; an empty line gives an empty line. For
a run on images, FILE is an image, or has the name of an image in each line.

Examples:
  echo 'hello' | decoderlab-predict outputs/runs/RUN
  decoderlab-predict outputs/runs/RUN sources.txt --json > outputs.jsonl
  decoderlab-predict outputs/runs/RUN sources.txt --beam-width 5 --num-best 3
  decoderlab-predict outputs/runs/SEED0 outputs/runs/SEED1 sources.txt      (an ensemble)
  decoderlab-predict outputs/runs/RUN sources.txt --picture attention.png --example 3
  decoderlab-predict outputs/runs/RUN sources.txt --prefix 'The '            (outputs begin so)
  decoderlab-predict outputs/runs/RUN cat.png
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from decoderlab.cli.app import add_own_folder, guarded, run_parser, search_settings
from decoderlab.common.errors import ConfigError
from decoderlab.common.escapes import piped_text, terminal_line, terminal_text
from decoderlab.common.progress import track
from decoderlab.data.pictures import IMAGE_ENDINGS
from decoderlab.data.reading import decoded, lines_of

if TYPE_CHECKING:
    from decoderlab.training.loading import LoadedRun
    from decoderlab.usage.outputs import Output

# Lines that are sorted by length together; a pipe is answered after so many.
CHUNK = 4096
PIPED = 256
MAX_NAMED = 5  # lines that a warning names


def main() -> None:
    """Run the command line and leave with its exit code."""
    parser = run_parser("decoderlab-predict", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "more",
        nargs="*",
        metavar="RUN or FILE",
        help="further runs with the same vocabulary (their probabilities are averaged), and a file "
        "with one source per line (default: standard input)",
    )
    parser.add_argument(
        "--num-best",
        type=int,
        metavar="N",
        help="print the N best hypotheses of each line: line number, score and text, tab-separated",
    )
    parser.add_argument(
        "--prefix",
        metavar="TEXT",
        help="outputs begin with this text; scores and probabilities are given that",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object per line: outputs with scores and token probabilities",
    )
    parser.add_argument(
        "--attention", action="store_true", help="with --json: attention weights too"
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="also plot the attention of one example as .png, .svg or .pdf",
    )
    parser.add_argument(
        "--example", type=int, metavar="N", help="line number of this example, from 1 (1)"
    )
    arguments = parser.parse_intermixed_args()
    sys.exit(guarded(lambda: _run(arguments)))


def _run(arguments: argparse.Namespace) -> int:
    add_own_folder(arguments)
    _check(arguments)
    runs = [arguments.run, *(path for path in arguments.more if Path(path).is_dir())]
    files = [path for path in arguments.more if not Path(path).is_dir()]
    import torch

    from decoderlab.contract import ImageSpace
    from decoderlab.training.loading import load_run, search_with
    from decoderlab.usage.ensemble import ensemble
    from decoderlab.usage.outputs import with_limit
    from decoderlab.usage.prefixed_outputs import with_prefix

    warnings.showwarning = lambda message, *_: sys.stderr.write(
        terminal_text(f"warning: {message}") + "\n"
    )
    loaded = ensemble([load_run(run, data=False, trust=arguments.trust) for run in runs])
    if arguments.picture is not None:  # before anything is read
        from decoderlab.usage.attention_picture import check_attention, check_picture

        check_picture(Path(arguments.picture))
        check_attention(loaded.module.decoder)
    torch.set_num_threads(loaded.config.run.threads)
    loaded = search_with(loaded, **search_settings(arguments))
    if arguments.max_length is not None:
        loaded = with_limit(loaded, arguments.max_length)
    if arguments.prefix is not None:
        loaded = with_prefix(loaded, arguments.prefix)
    images = isinstance(loaded.task.data.source_vocabulary, ImageSpace)
    if len(files) > 1 and not images:
        raise ConfigError(f"{files[1]} is neither the folder of a run nor a file of sources")
    if images and files and _is_image(files[0]):
        lines, folder = files, None
    elif files and files[0] != "-":
        lines, folder = _lines_of(Path(files[0])), Path(files[0]).parent
    else:
        lines, folder = None, None
    if arguments.picture is not None:  # before the predictions: what cannot be drawn is an error
        lines = list(_lines()) if lines is None else lines
        _draw(loaded, arguments, lines, folder)
    return _predict(loaded, arguments, lines, folder)


def _check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for options that do not go together."""
    if arguments.attention and not arguments.json:
        raise ConfigError("--attention is written as JSON; give --json too, or --picture FILE")
    if arguments.example is not None and arguments.picture is None:
        raise ConfigError("--example says what to draw; give --picture FILE too")


def _predict(
    loaded: LoadedRun,
    arguments: argparse.Namespace,
    lines: Sequence[str] | None,
    folder: Path | None,
) -> int:
    from decoderlab.usage.outputs import predict_outputs

    options = {
        "num_best": arguments.num_best,
        "details": arguments.json,
        "attention": arguments.attention,
        "folder": folder,
    }
    number, cut = 0, []
    written = terminal_line if sys.stdout.isatty() else piped_text
    for batch in _chunks(lines):
        outputs = predict_outputs(loaded, batch, first_row=number, **options)
        for row, (line, several) in enumerate(zip(batch, outputs, strict=True), start=number + 1):
            if any(output.met_limit for output in several):
                cut.append(row)
            for text in _texts(arguments, row, line, several):
                sys.stdout.write(f"{written(text)}\n")
        number += len(batch)
        sys.stdout.flush()
    if cut:
        named = ", ".join(map(str, cut[:MAX_NAMED])) + (", ..." if len(cut) > MAX_NAMED else "")
        message = (
            f"warning: outputs of {len(cut):,} of {number:,} lines were cut at "
            f"{loaded.module.max_target_length} tokens without an end (lines {named}); a greater "
            "length: --max-length N"
        )
        sys.stderr.write(terminal_text(message) + "\n")
    return 0


def _texts(
    arguments: argparse.Namespace, row: int, line: str, several: Sequence[Output]
) -> Iterator[str]:
    """Yield what is printed for one source."""
    if arguments.json:
        record = {"line": row, "source": line, "outputs": [output.record() for output in several]}
        yield json.dumps(record, ensure_ascii=False)
    elif arguments.num_best is not None:
        for output in several:
            mark = "\tcut" if output.met_limit else ""
            yield f"{row}\t{output.score:.4f}\t{output.text}{mark}"
    else:
        # A person sees the mark in the line; a pipe gets the text alone, and the warning.
        cut = any(output.met_limit for output in several)
        mark = "  [cut]" if cut and sys.stdout.isatty() else ""
        yield (several[0].text if several else "") + mark


def _draw(
    loaded: LoadedRun, arguments: argparse.Namespace, lines: Sequence[str], folder: Path | None
) -> None:
    """Draw the attention of one example, and say where."""
    from decoderlab.usage.attention_picture import WITHOUT, draw_attention
    from decoderlab.usage.outputs import predict_outputs
    from decoderlab.usage.sources import source_tokens

    number = 1 if arguments.example is None else arguments.example
    chosen = lines[number - 1 : number] if number > 0 else []
    if not chosen or not chosen[0].strip():
        raise ConfigError(f"--example is {number}, but there is no line {number} with a source")
    (several,) = predict_outputs(
        loaded, chosen, attention=True, first_row=number - 1, folder=folder
    )
    if several[0].attention is None:
        raise ConfigError(WITHOUT)
    if not several[0].attention:
        raise ConfigError(f"the output for line {number} is empty: there is nothing to draw")
    source = source_tokens(loaded, chosen[0])
    draw_attention(Path(arguments.picture), several[0].attention, source, several[0].tokens)
    sys.stderr.write(terminal_text(f"the attention of line {number}: {arguments.picture}") + "\n")


def _chunks(lines: Sequence[str] | None) -> Iterator[list[str]]:
    """Yield lines in chunks; how far it is, is shown for a file that takes long."""
    if lines is None:
        # A person who types wants an answer after each line, a pipe wants speed.
        size, typed = 1 if sys.stdin.isatty() else PIPED, _lines()
        while batch := list(islice(typed, size)):
            yield batch
        return
    chunks = [list(lines[start : start + CHUNK]) for start in range(0, len(lines), CHUNK)]
    yield from track(chunks, f"predicting {len(lines):,} lines")


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_ENDINGS


def _lines_of(path: Path) -> list[str]:
    """Return the lines of a file of sources."""
    try:
        return list(lines_of("the file", path, "the folder of a run, or a UTF-8 file of sources"))
    except ValueError as error:
        raise ConfigError(
            f"{error}; a text itself: echo 'TEXT' | decoderlab-predict RUN"
        ) from error


def _lines() -> Iterator[str]:
    """Yield the lines of standard input."""
    try:
        yield from decoded(sys.stdin.buffer, "standard input")
    except ValueError as error:
        raise ConfigError(str(error)) from error


if __name__ == "__main__":
    main()
