"""Predict with an exported run, without decoderlab: python run.py "a source" ... (or lines in)."""

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np


def read_tokens(line, source):
    """Return the ids of a line's tokens, (1, S)."""
    text = unicodedata.normalize("NFC", line) if source["nfc"] else line
    tokens = list(text if source["split"] == "" else filter(None, text.split(source["split"])))
    if unknown := sorted(set(tokens) - source["ids"].keys()):
        warn(f"never seen in training, read as unknown: {ascii(unknown[:5])[1:-1]}")
    return np.array([[source["ids"].get(token, source["unk_id"]) for token in tokens]])


def read_values(line, source):
    """Return positions with spaces, their numbers with commas between, as (1, S, C)."""
    rows = np.array([[float(number) for number in at.split(",")] for at in line.split()])
    return np.array([(rows - source["mean"]) / source["deviation"]], np.float32)


def read_images(line, source):
    """Return a file of NumPy's, (channels, height, width) from 0 to 1, as a batch of one."""
    return np.array([np.load(line)], np.float32)


def write_tokens(run, state, target, max_length, length):
    """Return the most probable token at each step, until the end."""
    written, before = [], np.array([target["bos_id"]])
    while len(written) < max_length:
        outputs, *state = run("step", before, *state)
        outputs[:, target["never_generated"]] = -np.inf
        if (before := outputs.argmax(axis=-1))[0] == target["eos_id"]:
            break
        written.append(target["tokens"][before[0]])
    return target["join"].join(written).replace(target.get("glue", ""), "")


def write_values(run, state, target, max_length, length):
    """Return the numbers of each step, written as positions are read."""
    written, before = [], np.zeros((1, target["size"]), np.float32)
    while len(written) < (min(max_length, length) if target["length"] == "source" else max_length):
        outputs, *state = run("step", before, *state)
        before = outputs[:, : target["size"]]
        numbers = before[0] * target["deviation"] + target["mean"]
        shown = zip(numbers, target["digits"], strict=True)
        written.append(",".join(f"{number:.{digits}g}" for number, digits in shown))
    return " ".join(written)


def greedy_output(line, run, *, source, target, max_length, run_id=None, notes=()):
    """Return the greedy output for a line; `run` calls a program by its name."""
    array = globals()[f"read_{source['kind']}"](line, source)
    state = run("start", *run("encode", array))
    return globals()[f"write_{target['kind']}"](run, state, target, max_length, array.shape[1])


def warn(text):
    """Print a warning."""
    print(f"warning: {text}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(print(__doc__))  # noqa: T201
    from onnxruntime import InferenceSession

    here = Path(__file__).parent
    about = json.loads((here / "vocabulary.json").read_text(encoding="utf-8"))
    names = ("encode", "start", "step")
    programs = {name: InferenceSession(here / f"{name}.onnx") for name in names}

    def _run(name, *arrays):
        inputs = [item.name for item in programs[name].get_inputs()]
        return programs[name].run(None, dict(zip(inputs, arrays, strict=True)))

    for note in about["notes"]:
        warn(note)
    for line in sys.argv[1:] or (line.rstrip("\r\n") for line in sys.stdin):
        output = greedy_output(line, _run, **about) if line.strip() else ""
        print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in output))  # noqa: T201
