"""decoderlab-export: write a finished run as files that can be used without decoderlab.

Written are, as torch.export (.pt2) and ONNX (.onnx), the programs encode, start, step, reorder and
features (the encoder alone: summary and memory); the weights (model.safetensors and
encoder.safetensors); vocabulary.json; and run.py, which predicts with onnxruntime and NumPy alone.
The transformer, ctc and feedforward decoders cannot be exported; their weights can.

Examples:
  decoderlab-export outputs/runs/RUN --to exported
  python exported/run.py "a source"
  decoderlab-export outputs/runs/RUN --to exported --weights-only
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoderlab.cli.app import add_own_folder, guarded
from decoderlab.common.escapes import terminal_line


def main() -> None:
    """Run the command line and leave with its exit code."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="folder of a finished run: outputs/runs/...")
    parser.add_argument("--to", metavar="FOLDER", help="new folder to write (./RUN-export)")
    parser.add_argument(
        "--weights-only", action="store_true", help="write weights and vocabulary only"
    )
    parser.add_argument(
        "--trust", action="store_true", help="allow the run to use classes from outside decoderlab"
    )
    parser.add_argument("--config-dir", help="folder of these classes, with --trust")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: _run(arguments)))


def _run(arguments: argparse.Namespace) -> int:
    add_own_folder(arguments)
    from decoderlab.training.loading import load_run
    from decoderlab.usage.run_export import export_run

    loaded = load_run(arguments.run, data=False, trust=arguments.trust)
    folder = Path(arguments.to or f"{Path(arguments.run).resolve().name}-export")
    for path in export_run(loaded, folder, weights_only=arguments.weights_only):
        sys.stdout.write(f"{terminal_line(path)}\n")
    if not arguments.weights_only:
        runner = shlex.quote(str(folder / "run.py"))
        source = json.loads((folder / "vocabulary.json").read_text())["source"]
        sys.stderr.write(f"try it with: python {terminal_line(runner)} {_example(source)}\n")
    search = loaded.module.search.signature
    if search != "greedy" and not arguments.weights_only:
        sys.stderr.write(f"note: run.py is greedy, decoderlab-predict of this run {search}\n")
    return 0


def _example(source: Mapping[str, Any]) -> str:
    """Return a source that the runner reads, quoted for a shell."""
    if source["kind"] == "values":  # three positions
        return shlex.quote(" ".join([",".join(["0.5"] * len(source["mean"]))] * 3))
    return {"tokens": "'a source'", "images": "image.npy"}[source["kind"]]


if __name__ == "__main__":
    main()
