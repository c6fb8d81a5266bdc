"""How long commands take until they answer, beside `python -c "import torch"`.

    python scripts/benchmark_start.py --repeats 5
    python scripts/benchmark_start.py --page docs/performance.md

All take turns, with one thread each, and nothing else should run. The median of the seconds on the
clock is printed, and that of the ratios to the import of torch just before. `the first update` is
the time until decoderlab-train has recorded the first update of a run of defaults. With `--page`
the figures go into `start.csv` beside the page, and from there into its table.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring.arguments import existing_file, positive, script_parser
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures

FIGURES = "start.csv"
MARKS = Marks("<!-- start -->", "<!-- end of start -->")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
NAMES = ("train", "plan", "status", "report", "predict", "evaluate", "doctor", "check", "schema")


def command(name: str, *words: str) -> list[str]:
    """Return the command line of an entry point."""
    return [sys.executable, "-m", f"decoderlab.cli.{name}", *words]


def answered(words: list[str], folder: Path, codes: tuple[int, ...] = (0,)) -> float:
    """Return the seconds until a command has ended."""
    start = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return seconds


def updated(folder: Path) -> float:
    """Return the seconds until the first update of a run is recorded."""
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        words = command("train", f"run.output_dir={outputs}", "logger=none")
        start = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not any(
                path.stat().st_size for path in Path(outputs).glob("runs/*/metrics.jsonl")
            ):
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def measured(folder: Path) -> dict[str, Callable[[], float]]:
    """Return what is measured, by name; a study of one tiny run is made for it."""
    tiny = ("task=echo", "task.num_train=50", "task.num_validation=9", "task.num_test=9")
    small = ("encoder.hidden_size=8", "decoder.hidden_size=8", "training.max_steps=2")
    rest = ("evaluation.every_steps=1", "logger=none", "hydra/launcher=basic", "study.name=s")
    sweep = command("train", "-m", "seed=0", *tiny, *small, *rest)
    answered(sweep, folder)
    made: dict[str, Callable[[], float]] = {}
    for name in NAMES:
        made[f"{name} --help"] = partial(answered, command(name, "--help"), folder)
    for name, words in {"a name": "decoder=luongg", "a value": "training.max_steps=-3"}.items():
        wrong = command("train", words)
        made[f"train, {name} wrong"] = partial(answered, wrong, folder, (2,))
    made["train, a study that is finished"] = partial(answered, sweep, folder)
    made["status s"] = partial(answered, command("status", "s"), folder)
    words = command("complete", "--words", "bash", "1", "decoderlab-train", "deco")
    made["the tab key"] = partial(answered, words, folder)
    made["the first update"] = partial(updated, folder)
    return made


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table in Markdown."""
    rows = [[row["command"], row["seconds"], row["ratio"]] for row in read_figures(figures)]
    return markdown(["until it has answered", "seconds", "over `import torch`"], rows)


def main() -> None:
    """Measure in turns, and print a line for each; write them where that is asked for."""
    parser = script_parser(__doc__)
    parser.add_argument("--repeats", type=positive, default=5, help="of each (%(default)s)")
    parser.add_argument("--only", default="", help="those with this text in their name")
    parser.add_argument("--page", type=existing_file, help="write the figures of all into it")
    options = parser.parse_args()
    if options.page and options.only:
        parser.error("a page has all commands; leave --only or --page out")
    torch = [sys.executable, "-c", "import torch"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        chosen = {name: run for name, run in measured(folder).items() if options.only in name}
        if not chosen:
            parser.error(f"--only {options.only!r} is in no name")
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        ratios: dict[str, list[float]] = {name: [] for name in chosen}
        imports: list[float] = []
        for _ in range(options.repeats):
            for name, run in chosen.items():
                imports.append(answered(torch, folder))
                seconds[name].append(run())
                ratios[name].append(seconds[name][-1] / imports[-1])
    print(f"import torch: {statistics.median(imports):.2f} s")
    rows: list[Row] = [
        {
            "command": name,
            "seconds": f"{statistics.median(seconds[name]):.2f}",
            "ratio": f"{statistics.median(ratios[name]):.2f}",
        }
        for name in chosen
    ]
    for row in rows:
        print(f"{row['command']}: {row['seconds']} s, {row['ratio']} of import torch")
    if options.page:
        write_figures(options.page, FIGURES, rows, table, MARKS)


if __name__ == "__main__":
    main()
