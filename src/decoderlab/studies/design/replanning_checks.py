"""What a study has lost since it was last planned: runs of its own, or the code that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from decoderlab.common.errors import ConfigError, Invalid, Unreadable
from decoderlab.config.code_identity import looking_once
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import Plan, plan_file, read_configs, read_plan
from decoderlab.studies.design.preparation import Planned
from decoderlab.training.code_changes import changed_code

SHOWN_FOLDERS = 3


class Change(NamedTuple):
    """What has changed, and what can be done about it."""

    what: str
    advice: str


def check_changes(planned: Planned) -> Planned:
    """Refuse runs of other code, and a plan that loses runs, unless `study.allow_changes`.

    Returns:
        The same, with the changes that were allowed in its plan.

    Raises:
        ConfigError: naming what has changed.
    """
    with looking_once():
        changes = [*_other_code(planned), *_other_plan(planned)]
    if changes and not planned.plan.study.allow_changes:
        raise ConfigError("\n".join(f"{change.what}; {change.advice}" for change in changes))
    accepted = dict.fromkeys([*planned.plan.accepted_changes, *(change.what for change in changes)])
    return replace(planned, plan=replace(planned.plan, accepted_changes=tuple(accepted)))


def _other_code(planned: Planned) -> list[Change]:
    changes: dict[str, list[Path]] = {}
    damaged: list[Change] = []
    for cell in planned.plan.cells:
        path = planned.output_dir / cell.folder
        config = planned.configs[cell.run_id]
        if not path.is_dir():
            continue
        try:
            changed = changed_code(RunFolder(path), config)
        except Invalid as error:
            if isinstance(error, Unreadable) or not planned.plan.study.allow_changes:
                raise
            damaged.append(Change(f"{error.path} {error.what}", error.advice))
        else:
            if changed:
                changes.setdefault(", ".join(changed), []).append(path)
    return damaged + [
        Change(
            f"{len(paths)} of {len(planned.plan.cells)} runs were made by other code: {what}",
            f"delete their folders ({_shown(paths)}) to train them again, give another "
            "run.output_dir, or take them as they are with study.allow_changes=true, which is "
            "recorded",
        )
        for what, paths in changes.items()
    ]


def _shown(paths: Sequence[Path]) -> str:
    more = ", ..." if len(paths) > SHOWN_FOLDERS else ""
    return ", ".join(map(str, paths[:SHOWN_FOLDERS])) + more


def _other_plan(planned: Planned) -> list[Change]:
    name = planned.plan.name
    path = plan_file(planned.output_dir, name)
    if not path.exists():
        return []
    advice = (
        "give this sweep a name of its own (study.name=NAME), or replace the plan with "
        "study.allow_changes=true (the old one is kept beside it)"
    )
    try:
        before = read_plan(planned.output_dir, name)
    except Unreadable:
        raise
    except Invalid as error:
        return [Change(f"{error.path} {error.what}", advice)]
    kept = {cell.run_id for cell in planned.plan.cells}
    lost = [cell for cell in before.cells if cell.run_id not in kept]
    if not lost or _tries_again(before, planned.plan):
        return []
    return [
        Change(
            f"{len(lost)} of {len(before.cells)} runs that study {name} consists of are not in "
            f"this sweep, {_why(planned, before, path)}",
            advice,
        )
    ]


def _tries_again(before: Plan, now: Plan) -> bool:
    """Whether a search whose journal was lost comes to its own trials again, from the first on."""
    known = {cell.run_id for cell in before.cells}
    rows = {(cell.variant, cell.task) for cell in now.cells}
    return (
        not now.kept
        and before.study.tuning == now.study.tuning
        and all(cell.run_id in known for cell in now.cells)
        and all((cell.variant, cell.task) in rows for cell in before.cells)
    )


def _why(planned: Planned, before: Plan, path: Path) -> str:
    """Return why the first lost run is lost, as far as that can be seen."""
    kept = {cell.run_id for cell in planned.plan.cells}
    lost = next(cell for cell in before.cells if cell.run_id not in kept)
    now = {(cell.variant, cell.task, cell.seed): cell for cell in planned.plan.cells}
    twin = now.get((lost.variant, lost.task, lost.seed))
    try:
        old = read_configs(path, [lost.run_id])[lost.run_id]
    except (Invalid, ValueError, KeyError):
        old = None
    if twin is None or old is None:
        return f"such as {lost.title}"
    changed = _changed(old.scientific(), planned.configs[twin.run_id].scientific())
    return f"since {changed or 'the data, or the source of a class of yours,'} changed"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Return the settings that differ between two configs, with both values."""
    texts = []
    for key in dict.fromkeys([*before, *now]):
        old, new, name = before.get(key), now.get(key), f"{prefix}{key}"
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            texts.append(_changed(old, new, f"{name}."))
        else:
            texts.append(f"{name} {old} -> {new}")
    return ", ".join(texts)
