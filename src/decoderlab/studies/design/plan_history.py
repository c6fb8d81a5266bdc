"""The plans of a study before the one that stands: kept beside it, checked, and told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import read_json, read_text
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.config.study_settings import Study
from decoderlab.records.run_folder import sealed, write_text
from decoderlab.studies.design.sealed_plan import check_plan, plan_settings

# What a study declares before its first run, and what would be moving the goal posts after it.
DECLARED = ("question", "metric", "minimum_effect", "baseline", "family", "published")
# What makes and names its rows.
ROWS = ("factors", "variants", "references", "exclude")
# By which a run stands in the table of a study.
LABEL_FIELDS = ("variant", "task", "factors")


def older_plans(plan: Path) -> dict[int, Path]:
    """Return the older plans of a study by their numbers, in order."""
    by_number = {
        int(number[1]): path
        for path in plan.parent.glob("plan-*.json")
        if (number := re.fullmatch(r"plan-([0-9]{3,9})\.json", path.name)) and path.is_file()
    }
    return dict(sorted(by_number.items()))


def keep(path: Path, text: str, older: Mapping[str, str]) -> dict[str, str]:
    """Keep a plan that is about to be replaced beside it; return the plans before the new one.

    Args:
        path: of the plan.
        text: of the plan.
        older: the plans before it.
    """
    numbers = older_plans(path)
    last = numbers[max(numbers)] if numbers else None
    # A launch that was killed has kept it already.
    if last is None or last.name in older or read_text(last) != text:
        last = path.with_name(f"plan-{max(numbers, default=0) + 1:03d}.json")
        write_text(last, text)
    return {**older, last.name: file_sha256(last)}


def damaged_older(path: Path, older: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the plans beside a plan: changed, gone, or of after it."""
    damage = []
    there = {file.name: file for file in older_plans(path).values()}
    for name, sha256 in older.items():
        if name not in there or file_sha256(there[name]) != sha256:
            damage.append(
                f"{path.with_name(name)} is missing, or was changed since it was kept: put it "
                "back, or give the study another name"
            )
    for name in sorted(there.keys() - older.keys()):
        if file_sha256(there[name]) != file_sha256(path):  # a launch was killed just then
            damage.append(
                f"{there[name]} is not a plan that {path.name} names as one before it: an older "
                "plan was put back, two studies were copied over each other, or its history was "
                "taken out; move it out of the folder if it is not of this study, or give the "
                "study another name"
            )
    return damage


@lru_cache(maxsize=4)
def planned_before(older: tuple[tuple[str, str], ...]) -> dict[str, list[dict[str, Any]]]:
    """Return as what older plans have planned runs, by run id, see `plan_file.as_planned`.

    Args:
        older: path and sha256 of each.
    """
    planned: dict[str, list[dict[str, Any]]] = {}
    for path, _ in older:
        try:
            record = read_json(Path(path))
            check_plan(Path(path), record)
        except Invalid:
            continue
        settings = {name: record[name] for name in ("study", "budget")}
        for cell in record["cells"]:
            planned.setdefault(cell["run_id"], []).append({"cell": cell, **settings})
    return planned


def amended(plan: Path) -> Iterator[str]:
    """Yield how the plan of a study has changed since its first version, a line each time.

    Args:
        plan: its file.
    """
    before: tuple[dict[str, Any], Study, str] | None = None
    for path in [*older_plans(plan).values(), plan]:
        try:
            record = read_json(path)
            check_plan(path, record)
            if sealed(record) != record:
                raise Invalid(path, "was changed after it was written")
            has = {
                cell["run_id"]: [cell[name] for name in LABEL_FIELDS] for cell in record["cells"]
            }
            now = plan_settings(record)[0]
        except (Invalid, ConfigError, ValueError, TypeError, LookupError) as error:
            what = error.what if isinstance(error, Invalid) else str(error)
            yield f"{path.name} {what}: what it changed is not known"
            continue
        if before is not None:
            had, was, name_before = before
            changed = [key for key in (*DECLARED, *ROWS) if getattr(was, key) != getattr(now, key)]
            named = sum(had[run_id] != has[run_id] for run_id in had.keys() & has.keys())
            if had.keys() != has.keys() or changed or named:
                yield (
                    f"amended after {name_before}: {len(has.keys() - had.keys())} runs added, "
                    f"{len(had.keys() - has.keys())} left out"
                    f"{f', {named} renamed' if named else ''}"
                    f"{''.join(f', {key} changed' for key in changed)}; what was added "
                    "after a look at results is exploratory"
                )
        before = has, now, path.name
