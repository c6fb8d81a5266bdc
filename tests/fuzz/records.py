"""A small study that was really run, what its commands print, and the same after damage."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from decoderlab.cli.app import guarded
from decoderlab.records.run_folder import RunFolder
from tests.conftest import TASKS, TINY
from tests.drawing import no_drawing
from tests.fuzz import guard
from tests.fuzz.cheap import Figures
from tests.fuzz.damage import damage, files

DECODERS, SEEDS = ("repeat_vector", "luong"), (0, 1)
SOURCES = b"1 2 3\n4 0\n5 5 5 5\n"
IN_PROCESS = ["hydra/launcher=basic"]
RECORDS = (0, 1, 2)
SECONDS = ("train_seconds", "evaluation_seconds")  # another run of the same has others
IN_FIGURES = ("metrics.jsonl", "predictions.jsonl", "probes.npz", "result.json")


def settings() -> list[str]:
    """Return what all runs of the study share."""
    sizes = [
        f"{group}.{name}_size=4"
        for group in ("encoder", "decoder")
        for name in ("hidden", "embedding")
    ]
    return [*TASKS["echo"], *TINY, *sizes]


@dataclass
class Small:
    """A finished study in a folder, with what the commands say of it.

    Args:
        root: with `outputs` in it, and `elsewhere`, which nothing may touch.
        runs: the names of the run folders, by decoder and seed.
        said: what commands print, by the command and the run.
        report: the report's files by name.
        figures: of its reports.
        timed: whether its runs take the seconds that they took.
    """

    root: Path
    runs: dict[tuple[str, int], str] = field(default_factory=dict)
    said: dict[tuple[str, str], str] = field(default_factory=dict)
    report: dict[str, str] = field(default_factory=dict)
    figures: Figures = Figures.MADE
    timed: bool = True

    @classmethod
    def made(cls, root: Path) -> Small:
        """Train the runs, one after the other in forks of this process, and report on them."""
        guard.warm_up()
        made = cls(root)
        (root / "elsewhere").mkdir(parents=True)
        (root / "elsewhere/secret.txt").write_text("nobody writes here\n")
        for decoder in DECODERS:
            for seed in SEEDS:
                made.do("train", [*settings(), f"decoder={decoder}", f"seed={seed}"], (0,))
        for launcher in ([], IN_PROCESS):
            made.do("train", [*made.sweep(), *launcher], (0,))
        for path in sorted((root / "outputs/runs").iterdir()):
            decoder = next(name for name in DECODERS if f"-{name}-" in path.name)
            made.runs[decoder, int(path.name.split("-s")[-1].split("-")[0])] = path.name
        for name in made.runs.values():
            made.said["predict", name] = made.predict(name).out
            made.said["evaluate", name] = made.evaluate(name).out
        made.do("report", ["fuzz"], (0,))
        for name, words in (("status", ["fuzz"]), ("doctor", ["outputs"])):
            made.do(name, words, (0,))
        made.report = made.reported()
        for name in made.runs.values():
            made.do("export", made.to_export(name), (0,))
            made.said["export", name] = _contents(made.root / f"outputs/{name}-exported")
            shutil.rmtree(made.root / f"outputs/{name}-exported")
            made.said["load_run", name] = made.loaded(name).out
        made.said["plan", ""] = made.do("plan", made.sweep(), (0,)).out
        return made

    @classmethod
    def undrawn(cls, root: Path) -> Small:
        """Do what `made` does, with empty figures."""
        with no_drawing():
            return cls.made(root)

    def copied(self, to: Path, figures: Figures) -> Small:
        """Return a copy in another folder, to be damaged."""
        shutil.copytree(self.root / "outputs", to / "outputs")
        shutil.copytree(self.root / "elsewhere", to / "elsewhere")
        return Small(to, self.runs, self.said, self.report, figures)

    def sweep(self) -> list[str]:
        """Return the study's command line."""
        seeds = ",".join(map(str, SEEDS))
        return [
            "-m",
            *settings(),
            f"decoder={','.join(DECODERS)}",
            f"seed={seeds}",
            "study.name=fuzz",
        ]

    def run(
        self, name: str, arguments: list[str], stdin: bytes = b"", learn: bool = False
    ) -> guard.Outcome:
        """Run a command; it may write to `outputs` alone."""
        return guard.command(
            name,
            arguments,
            folder=self.root,
            writable=[self.root / "outputs"],
            stdin=stdin,
            figures=self.figures,
            learn=learn,
        )

    def do(self, name: str, arguments: list[str], allowed: tuple[int, ...]) -> guard.Outcome:
        """Run a command that has to go well."""
        ended = self.run(name, arguments, learn=True)
        if wrong := ended.wrong(allowed):
            raise AssertionError(f"decoderlab-{name} {arguments}: {wrong}\n{ended.out}{ended.err}")
        return ended

    def predict(self, run: str) -> guard.Outcome:
        """Predict with a run."""
        return self.run("predict", [f"outputs/runs/{run}"], SOURCES, not self.said)

    def evaluate(self, run: str) -> guard.Outcome:
        """Test a run again."""
        return self.run("evaluate", [f"outputs/runs/{run}", "--json"])

    def to_export(self, run: str) -> list[str]:
        """Return the command line that exports a run."""
        return [f"outputs/runs/{run}", f"--to=outputs/{run}-exported", "--weights-only"]

    def loaded(self, run: str) -> guard.Outcome:
        """Load a run from Python, and print what its weights sum up to."""
        folder = self.root / "outputs/runs" / run

        def load() -> int:
            from decoderlab.training.loading import load_run

            def ask() -> int:
                weights = load_run(folder, data=False).module.state_dict()
                print({name: value.double().sum().item() for name, value in weights.items()})
                return 0

            return guarded(ask)

        return guard.forked(load, folder=self.root, writable=[self.root / "outputs"])

    def begin_again(self, run: str) -> None:
        """Leave of a run what it had when it was interrupted, just before its end."""
        folder = RunFolder(self.root / "outputs/runs" / run)
        folder.manifest.unlink()
        folder.result_file.unlink()
        folder.set_status("INTERRUPTED", reason="by SIGTERM")
        self.timed = False

    def reported(self) -> dict[str, str]:
        """Return the report as it lies there."""
        folder = self.root / "outputs/studies/fuzz"
        names = ("report.md", "results.csv")
        return {name: (folder / name).read_text() for name in names if (folder / name).is_file()}


def damaged(small: Small, random: Random, folder: Path, drawn: bool = False) -> str:
    """Damage a file, give commands that read it, and return what is wrong with what they do.

    Each is looked at by a command that writes nothing, in turn; then comes, in turn, another that
    reads it. Some runs have been interrupted just before their end, and go on.

    Args:
        small: what is damaged, in a copy.
        random: which file, how, and for which commands.
        folder: an empty folder.
        drawn: whether figures are drawn, and not only made if they show what is in the file.
    """
    undone = random.random() < 0.15
    name = random.choice(files(small.root / "outputs"))
    undrawn = Figures.MADE if name.name in IN_FIGURES else Figures.NONE
    copy = small.copied(folder, Figures.DRAWN if drawn else undrawn)
    outputs = folder / "outputs"
    going_on = ["report", "report", "sweep"]
    if name.parts[0] == "runs":
        going_on = ["report", "train", "predict", "evaluate", "export", "load_run"]
        if undone and name.name not in ("manifest.json", "result.json", "status.json"):
            copy.begin_again(name.parts[1])
            going_on = ["train", "sweep"]
    done = damage(outputs, name, random)
    elsewhere = guard.snapshot(folder / "elsewhere")
    for command in (random.choice(("doctor", "status", "plan")), random.choice(going_on)):
        wrong = CHECKS[command](copy, name, random)
        if guard.snapshot(folder / "elsewhere") != elsewhere:
            wrong = wrong or "something elsewhere was changed"
        if wrong:
            return f"{command} after {name}: {done}: {wrong}"
    return ""


def _reported(copy: Small, name: Path, random: Random) -> str:
    for path in (copy.root / "outputs/studies/fuzz").glob("report.*"):
        if path.is_file() and not path.is_symlink() and name.name != path.name:
            path.unlink()
    ended = copy.run("report", ["fuzz"])
    wrong = ended.wrong(RECORDS)
    return wrong and _with(wrong, ended) or _compared(copy, ended, ended.code)


def _compared(copy: Small, ended: guard.Outcome, code: int | None) -> str:
    """Return where a report says other numbers without saying so."""
    now = copy.reported()
    shown = _without_history if copy.timed else _untimed
    before, after = shown(copy.report), shown(now)
    if code == 0 and after != before:
        return _with("exit code 0 with another report", ended)
    if code != 1 or "results.csv" not in now:
        return ""
    before = _rows(before["results.csv"])
    for key, row in _rows(after["results.csv"]).items():
        if key not in before:
            return _with(f"a row that nobody ran: {key}", ended)
        if row["status"].upper() == "FINISHED" and row != before[key]:
            changed = {name: (before[key].get(name), row[name]) for name in row}
            changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
            return _with(f"{key} says other numbers: {changed}", ended)
    return ""


def _without_history(report: dict[str, str]) -> dict[str, str]:
    """Return a report without the lines that name a plan which was replaced: they say so."""
    lines = report.get("report.md", "").splitlines()
    kept = [line for line in lines if not re.search(r"plan-[0-9]{3}\.json", line)]
    return report | {"report.md": "\n".join(kept)}


def _untimed(report: dict[str, str]) -> dict[str, str]:
    """Return the rows of a report without the seconds of its runs, which its text has in tables."""
    rows = _rows(report.get("results.csv", "")).values()
    kept = [{key: row[key] for key in row if key not in SECONDS} for row in rows]
    table = io.StringIO()
    writer = csv.DictWriter(table, kept[0] if kept else [])
    writer.writeheader()
    writer.writerows(kept)
    return {"results.csv": table.getvalue()}


def _rows(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text))
    return {(row["variant"], row["task"], row["seed"]): row for row in rows}


def _status(copy: Small, name: Path, random: Random) -> str:
    ended = copy.run("status", ["fuzz"] if random.random() < 0.7 else [])
    wrong = ended.wrong(RECORDS)
    return wrong and _with(wrong, ended)


def _looked_through(copy: Small, name: Path, random: Random) -> str:
    ended = copy.run("doctor", ["outputs"])
    wrong = ended.wrong((0, 1))
    return wrong and _with(wrong, ended)


def _swept(copy: Small, name: Path, random: Random) -> str:
    """Give the study's command again: it ends with the same report, or says why not."""
    pool = copy.figures is Figures.DRAWN  # whose workers begin with half a minute of imports
    ended = copy.run("train", [*copy.sweep(), *([] if pool else IN_PROCESS)])
    wrong = ended.wrong(RECORDS)
    return wrong and _with(wrong, ended) or _compared(copy, ended, ended.code)


def _trained(copy: Small, name: Path, random: Random) -> str:
    """Give the command of a run again: it ends with the same result, or says why not."""
    (decoder, seed), run = random.choice(sorted(copy.runs.items()))
    for key, own in copy.runs.items():
        if own in name.parts:
            (decoder, seed), run = key, own
    result = copy.root / f"outputs/runs/{run}/result.json"
    ended = copy.run("train", [*settings(), f"decoder={decoder}", f"seed={seed}"])
    if wrong := ended.wrong(RECORDS):
        return _with(wrong, ended)
    if ended.code == 0:
        if not result.is_file():
            return _with("exit code 0 without a result", ended)
        again = copy.evaluate(run)
        if again.code == 0 and again.out != copy.said["evaluate", run]:
            return _with(f"another result: {again.out[:300]}", ended)
    return ""


def _planned(copy: Small, name: Path, random: Random) -> str:
    """Plan the study again: nothing is written, and what is reused is said to be so."""
    before = guard.snapshot(copy.root / "outputs")
    ended = copy.run("plan", copy.sweep())
    wrong = ended.wrong(RECORDS)
    if not wrong and guard.snapshot(copy.root / "outputs") != before:
        wrong = "it wrote something, which planning does not"
    return wrong and _with(wrong, ended)


def _exported(copy: Small, name: Path, random: Random) -> str:
    """Export a run: the same files, or it says why not and leaves none."""
    run = name.parts[1]
    ended = copy.run("export", copy.to_export(run))
    if wrong := ended.wrong(RECORDS):
        return _with(wrong, ended)
    folder = copy.root / f"outputs/{run}-exported"
    if ended.code == 0 and _contents(folder) != copy.said["export", run]:
        return _with("other files are exported", ended)
    return _with("a folder is left", ended) if ended.code and folder.exists() else ""


def _contents(folder: Path) -> str:
    seals = {Path(path).name: seal for path, seal in guard.snapshot(folder).items()}
    for path in folder.glob("*.safetensors"):  # which has its metadata in any order
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.dumps(json.loads(content[8:end]), sort_keys=True)
        seals[path.name] = f"{header} {hashlib.sha256(content[end:]).hexdigest()}"
    return str(seals)


def _loaded(copy: Small, name: Path, random: Random) -> str:
    """Load a run from Python: the same weights, or one of our errors."""
    run = name.parts[1]
    ended = copy.loaded(run)
    if wrong := ended.wrong(RECORDS):
        return _with(wrong, ended)
    if ended.code == 0 and ended.out != copy.said["load_run", run]:
        return _with(f"prints something else: {ended.out[:300]}", ended)
    return ""


def _predicted(copy: Small, name: Path, random: Random) -> str:
    return _asked(copy, name, "predict")


def _evaluated(copy: Small, name: Path, random: Random) -> str:
    return _asked(copy, name, "evaluate")


def _asked(copy: Small, name: Path, command: str) -> str:
    run = name.parts[1]
    ended = copy.predict(run) if command == "predict" else copy.evaluate(run)
    if wrong := ended.wrong(RECORDS):
        return _with(wrong, ended)
    if ended.code == 0 and ended.out != copy.said[command, run]:
        return _with(f"prints something else: {ended.out[:300]}", ended)
    return ""


def _with(wrong: str, ended: guard.Outcome) -> str:
    return f"{wrong}\nexit code {ended.code}\n{ended.err[-2500:]}"


CHECKS = {
    "doctor": _looked_through,
    "sweep": _swept,
    "report": _reported,
    "status": _status,
    "train": _trained,
    "predict": _predicted,
    "evaluate": _evaluated,
    "export": _exported,
    "load_run": _loaded,
    "plan": _planned,
}
