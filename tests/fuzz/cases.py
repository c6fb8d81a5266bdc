"""Cases by seed and number: each makes its own folder, runs one command, and says what is wrong."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from random import Random

from tests.drawing import no_drawing
from tests.fuzz import commands, guard, yamls
from tests.fuzz.hostile import opened
from tests.fuzz.records import Small, damaged

SETTINGS = (0, 2)  # exit codes of what is about settings alone
DRAWN = 100  # most of the time of a report is that of its figures: so many cases draw them once


def settings(random: Random, folder: Path) -> str:
    """Plan what a random command line says."""
    words = commands.command_line(random)
    return _planned(words, folder)


def study(random: Random, folder: Path) -> str:
    """Plan a damaged study of one's own."""
    yamls.place(folder / "own/study/fuzzed.yaml", yamls.study(random), random)
    more = random.choice(((), (), ("-m",), ("seed=3",), ("study.seeds=[1]",)))
    return _planned([f"--config-dir={folder / 'own'}", "study=fuzzed", *more], folder)


def group(random: Random, folder: Path) -> str:
    """Plan a run with a damaged YAML of any group."""
    name, content = yamls.group(random)
    yamls.place(folder / f"own/{name}/fuzzed.yaml", content, random)
    package = "@task.metrics.fuzzed" if name == "metric" else ""
    chosen = f"{'+' if package else ''}{name}{package}=fuzzed"
    quick = () if name in ("task", "preset") else commands.QUICK
    decoder = ("decoder=luong",) if name == "decoder/attention" else ()
    words = [f"--config-dir={folder / 'own'}", *quick, *decoder, chosen]
    return _planned(words, folder)


def table(random: Random, folder: Path) -> str:
    """Plan a run on a damaged file of pairs."""
    yamls.place(folder / "pairs.tsv", yamls.table(random), random)
    words = ["task=tsv", "task.path=pairs.tsv", *commands.QUICK[4:]]
    more = (
        "task.split_column=split",
        "task.tokens=word",
        "task.tokens=subword",
        "task.sources=values",
    )
    more += (
        "task.sources=images",
        "task.source_size=2",
        "task.tokens=separator",
        "task.separator=''",
    )
    more += ("task.validation_share=0.9", "task.max_source_length=1", "task.minimum_count=9")
    words += [one for one in more if random.random() < 0.15]
    return _planned(words, folder)


def _planned(words: Sequence[str], folder: Path) -> str:
    before = guard.snapshot(folder)
    ended = guard.command("plan", words, folder=folder)
    wrong = ended.wrong(SETTINGS)
    if not wrong and guard.snapshot(folder) != before:
        wrong = "it wrote something, which planning does not"
    return wrong and f"{wrong}\n{list(words)!r:.2000}\n{ended.err[-3000:]}"


KINDS: dict[str, Callable[[Random, Path], str]] = {
    one.__name__: one for one in (settings, study, group, table)
}


FOLDERS: dict[str, Callable[[Small, Random, Path, bool], str]] = {
    "damaged": damaged,
    "opened": opened,
}


@cache
def _rehearse() -> None:
    """Have what planning imports late imported in this process."""
    with tempfile.TemporaryDirectory() as below:
        folder = Path(below) / "rehearsal"
        folder.mkdir()
        words = ["study=task_echo", *commands.QUICK[1:], "seed=0"]
        ended = guard.command("plan", words, folder=folder, learn=True)
    if wrong := ended.wrong((0,)):
        raise AssertionError(f"{wrong}: {ended.err}")


def failures(
    kind: str, seed: int, numbers: range, below: Path, small: Small | None = None
) -> list[str]:
    """Return what went wrong in cases of a kind, each with how to repeat it alone.

    Args:
        kind: a name of `KINDS` or `FOLDERS`.
        seed: of the random numbers; a case depends on it and on its own number alone.
        numbers: of the cases.
        below: an empty folder.
        small: a study, for `FOLDERS`.
    """
    guard.warm_up()
    if small is None:
        _rehearse()
    found = []
    for number in numbers:
        folder, random = below / f"{kind}-{number}", Random(f"{kind} {seed} {number}")
        folder.mkdir()
        if small is None:
            wrong = KINDS[kind](random, folder)
        else:
            drawn = number % DRAWN == 0
            with nullcontext() if drawn else no_drawing():
                wrong = FOLDERS[kind](small, random, folder, drawn)
        if wrong:
            found.append(f"{kind}, seed {seed}, case {number}: {wrong}")
        shutil.rmtree(folder)
        shutil.rmtree(below / f".{folder.name}.printed", ignore_errors=True)
    return found
