"""Writing a plan over the one before it, so that a launch that is killed leaves nothing damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from decoderlab.common.bounded_reading import parse_json, read_text
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import sorted_json
from decoderlab.records.run_folder import lock_held, sealed, write_text
from decoderlab.studies.design import plan_history
from decoderlab.studies.design.sealed_plan import (
    FORMAT,
    check_plan,
    digest_of_plan,
    job_line,
    read_jobs,
    says,
)


def jobs_file(plan: Path) -> Path:
    """Return the file of the configs of a plan's runs."""
    return plan.with_name("configs.jsonl")


def write_plan(
    path: Path, record: dict[str, Any], configs: Mapping[str, RunConfig], *, keep: bool
) -> None:
    """Write a plan and the configs of its runs.

    Args:
        path: of the plan.
        record: of the plan, without the plans before it.
        configs: by run id.
        keep: whether the plan that it replaces stays beside it, if it says something else.

    Raises:
        Unreadable: if what is there cannot be read now, so that it cannot be kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_held(path.with_name(".lock")):
        replaced = _Replaced.at(path)
        older = replaced.older
        if replaced.text and keep and replaced.says != says(record):
            older = plan_history.keep(path, replaced.text, older)
        record = {**record, "older": older}
        digest = digest_of_plan(record)
        _write_jobs(path, record["cells"], configs, [replaced.digest, digest])
        write_text(path, json.dumps(sealed({"format": FORMAT, **record}), indent=1) + "\n")
        if replaced.digest not in ("", digest):  # the old plan is not a plan of this study now
            _write_jobs(path, record["cells"], configs, [digest, digest])


class _Replaced(NamedTuple):
    """The plan that is about to be replaced.

    Args:
        text: of its file; empty where there is none.
        older: the sha256 of each plan before it.
        digest: of it; empty where it is not a plan.
        says: what it says.
    """

    text: str
    older: dict[str, str]
    digest: str = ""
    says: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def at(cls, path: Path) -> _Replaced:
        beside = {file.name: file_sha256(file) for file in plan_history.older_plans(path).values()}
        try:
            text = read_text(path)
        except Unreadable:  # it may be whole, and is to be kept
            raise
        except Invalid:
            return cls("", beside)
        try:
            record = parse_json(text, path)
            check_plan(path, record)
            return cls(text, record["older"], digest_of_plan(record), says(record))
        except (Invalid, ValueError, TypeError, LookupError, AttributeError):
            return cls(text, beside)


def _write_jobs(
    plan: Path,
    cells: Sequence[dict[str, Any]],
    configs: Mapping[str, RunConfig],
    plans: Sequence[str],
) -> None:
    """Write the config of each run of a plan, beside those of plans before it.

    Args:
        plan: its file.
        cells: of the plan.
        configs: by run id.
        plans: that are right, see `job_line`.
    """
    before = read_jobs(jobs_file(plan), surely=True)[0]
    jobs = dict(before)
    for cell in cells:
        identity = cell["run_id"]
        jobs[identity] = {
            "run_id": identity,
            "cell": cell,
            "config": configs[identity].to_dict(),
        }
    lines = [
        sorted_json(
            job_line(job, plans, before[identity]["plans"] if identity in before else plans)
        )
        for identity, job in jobs.items()
    ]
    write_text(jobs_file(plan), "".join(f"{line}\n" for line in lines))
