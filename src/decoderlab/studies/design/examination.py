"""An output folder that is checked: all runs, all studies, and files that belong to neither."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.progress import track
from decoderlab.common.safe_names import refuse_links_out, stay_below
from decoderlab.records.findings import Finding, left_behind, outward_links, run_findings
from decoderlab.records.planned_as import runs_of_studies
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import (
    Plan,
    StudyCell,
    plan_file,
    read_configs,
    read_plan,
    study_names,
)
from decoderlab.studies.design.planned_and_run import standing

LEAST_FREE = 200 * 2**20  # bytes: less, and a checkpoint of a small model may not fit
SHOWN = 3
# Which cells of which plans a folder of a run belongs to, by its name.
PlannedAs = tuple[StudyCell, Plan]
Planned = dict[str, list[PlannedAs]]


class Examined(NamedTuple):
    """What was checked, and the findings.

    Args:
        num_runs, num_studies: checked.
        findings: in the order of their paths, notes last.
    """

    num_runs: int
    num_studies: int
    findings: list[Finding]


def examine(output_dir: Path) -> Examined:
    """Look through an output folder; nothing is changed, and no link out of it is followed.

    Whatever is wrong with a run or a study, the others are checked.

    Args:
        output_dir: as in `run.output_dir`.

    Raises:
        ConfigError: if it is not a folder.
    """
    if not output_dir.is_dir():
        raise ConfigError(f"{output_dir} is not a folder; give one as run.output_dir: outputs")
    findings: list[Finding] = [*_space(output_dir), *_unreadable(output_dir)]
    planned: Planned = {}
    names = []
    if root := _own(output_dir, "studies", findings):
        findings += [*outward_links(root), *left_behind(root)]
        names = study_names(root)
        own_runs = _own(output_dir, "runs", [])
        said = runs_of_studies(own_runs) if own_runs and names else {}
        for name in names:
            findings += _all_of(root / name, _study(output_dir, name, said, planned))
    runs, alone = 0, []
    root = _own(output_dir, "runs", findings)
    for entry in track(_entries(root) if root else [], "checking the runs"):
        path = Path(entry.path)
        if entry.is_symlink() or not entry.is_dir():
            advice = "it is ignored; move it elsewhere"
            findings.append(Finding(path, "is not a folder of a run", advice))
            continue
        runs += 1
        findings += _all_of(path, _run(path, output_dir, planned.get(entry.name, [])))
        if entry.name not in planned:
            alone.append(path)
    if alone:
        findings.append(_alone(output_dir / "runs", alone))
    ordered = sorted(findings, key=lambda finding: (finding.note, str(finding.path)))
    return Examined(runs, len(names), [_below(output_dir, finding) for finding in ordered])


def _unreadable(output_dir: Path) -> Iterator[Finding]:
    """Yield the folders that cannot be looked into: what is in them has not been checked."""
    errors: list[OSError] = []
    for _ in os.walk(output_dir, onerror=errors.append):
        pass
    for error in errors:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # it has just gone
            what = f"cannot be read: {error.strerror}; what is in it was not checked"
            yield Finding(Path(error.filename), what, "give yourself the permission to read it")


def _own(output_dir: Path, name: str, findings: list[Finding]) -> Path | None:
    """Return a folder of an output folder; None, with a finding, where it is none or leads out."""
    path = output_dir / name
    if not os.path.lexists(path):
        return None
    try:
        stay_below(path, output_dir)
    except ConfigError:
        what = f"is a link to outside of the folder: {os.path.realpath(path)}"
        findings.append(Finding(path, what, "remove it; nothing is read or written there"))
        return None
    if not path.is_dir():
        findings.append(Finding(path, "is not a folder", "move it elsewhere"))
        return None
    return path


def _all_of(path: Path, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings; one more where looking ends early, whatever is in the folder."""
    try:
        yield from findings
    except Exception as error:
        what = f"cannot be checked: {type(error).__name__}: {error}"
        yield Finding(path, what, "check it, or move it elsewhere")


def _below(output_dir: Path, finding: Finding) -> Finding:
    """Return a finding whose mending looks again whether it stays in the output folder."""
    if finding.mend is None:
        return finding
    mend = finding.mend

    def guarded() -> None:
        stay_below(finding.path.parent, output_dir)
        if finding.path.is_dir():
            refuse_links_out(finding.path)
        mend()

    return replace(finding, mend=guarded)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError:  # which is a finding already
        return []


def _run(path: Path, output_dir: Path, planned: Sequence[PlannedAs]) -> Iterator[Finding]:
    """Yield what is wrong with a run: in itself, or else as what studies say that it is."""
    cell = planned[0][0] if planned else None
    findings = list(run_findings(RunFolder(path), cell and cell.run_id))
    yield from findings
    if any(not finding.note for finding in findings):
        return
    for cell, plan in planned:
        if cell.run_id in plan.invalid:  # said of the study
            continue
        folder = RunFolder(path)
        if plan.kept and not os.path.lexists(folder.planned):
            what = f"is missing: it says as what the study {plan.name} has planned the run"
            again = f"launch the study {plan.name} again, by the same command, which writes it"
            yield Finding(folder.planned, what, again)
        status, reason, _ = standing(cell, plan, output_dir)
        if status == "INVALID":
            what, _, advice = re.sub(rf"^{re.escape(str(path))} ", "", reason).partition("; ")
            yield Finding(path, f"{what} (study {plan.name})", advice)


def _study(
    output_dir: Path, name: str, said: Mapping[str, Mapping[str, str]], planned: Planned
) -> Iterator[Finding]:
    """Yield what is wrong with a study; its runs are added to `planned`."""
    again = f"launch the study {name} again, by the same command"
    try:
        path = plan_file(output_dir, name)
        plan = read_plan(output_dir, name, said)
    except (ConfigError, Invalid) as error:
        where = output_dir / "studies" / name / "plan.json"
        what = re.sub(rf"^{re.escape(str(where))} ", "", str(error)).split("; ")[0]
        yield Finding(where, what, again)
        return
    for cell in plan.cells:
        planned.setdefault(os.path.basename(cell.folder), []).append((cell, plan))
    for text in (*plan.damage, *dict.fromkeys(plan.invalid.values())):
        yield Finding(path.parent, f"has changed since it was written: {text}", again)
    try:
        configs = read_configs(path, {cell.run_id for cell in plan.cells})
        if lost := sum(cell.run_id not in configs for cell in plan.cells):
            what = f"lacks the configs of {lost} of {len(plan.cells)} runs"
            yield Finding(path.with_name("configs.jsonl"), what, again)
    except (Invalid, OSError, ValueError, KeyError, TypeError) as error:
        what = f"is damaged ({type(error).__name__}: {error})"
        yield Finding(path.with_name("configs.jsonl"), what, again)
    gone = [cell.folder for cell in plan.cells if not (output_dir / cell.folder).is_dir()]
    if gone:
        more = ", ..." if len(gone) > SHOWN else ""
        what = (
            f"plans {len(plan.cells)} runs, of which {len(gone)} are not there: they were not "
            f"started, or were deleted ({', '.join(gone[:SHOWN])}{more})"
        )
        yield Finding(path.parent, what, again)


def _alone(runs: Path, alone: list[Path]) -> Finding:
    more = ", ..." if len(alone) > SHOWN else ""
    named = ", ".join(path.name for path in alone[:SHOWN])
    what = f"has {len(alone)} runs that no study has planned ({named}{more})"
    return Finding(
        runs,
        what,
        "they are single runs, were planned before a study was amended, or their study was deleted",
        note=True,
    )


def _space(output_dir: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(output_dir).free
    if free < LEAST_FREE:
        what = f"lies on a disk with {free / 2**20:,.0f} MiB free"
        yield Finding(output_dir, what, f"make room: {LEAST_FREE / 2**20:,.0f} MiB are needed")
