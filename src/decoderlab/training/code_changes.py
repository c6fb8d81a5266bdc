"""Changes between the code that made a run and the present code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import read_json
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.config.code_identity import code_of, foreign_code
from decoderlab.config.environment import versions
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import classes_in, digest_of
from decoderlab.records.run_folder import RunFolder, sealed, write_json

# Changed definitions that a message names before it only counts them.
SHOWN = 8
MAKER = {"code", "versions"}
UNKNOWN = "the code that began it, which is not known"
ADVICE = (
    "which code made the run is not known; delete its folder to train it again, or take it as it "
    "is with study.allow_changes=true, which is recorded"
)


def made_here(config: RunConfig, *groups: str) -> dict[str, Any]:
    """Return the present code of a run: the definitions that its result depends on, and versions.

    Of a class from outside, its source counts as one definition.

    Args:
        config: of the run.
        groups: whose classes alone are looked at, see `classes_in`.

    Raises:
        ConfigError: for a class that may run other code than its file holds, see `foreign_code`.
    """
    ours = {name: version for name, version in versions().items() if name != "decoderlab"}
    classes = frozenset(classes_in(config.scientific(), *groups))
    own = {
        f"{kind.__module__}.{kind.__qualname__}": code[:16]
        for kind in classes
        if (code := foreign_code(kind)) is not None
    }
    return {"code": code_of(classes) | own, "versions": ours}


def code_digest(config: RunConfig) -> str:
    """Return the sha256 of the present code of a run."""
    return digest_of(made_here(config))


def sign(folder: RunFolder, config: RunConfig) -> list[str]:
    """Record in a run's folder which code continues it; return how it differs from before.

    Code whose work left no checkpoint is not compared: the run begins anew.
    """
    now = made_here(config)
    try:
        makers, lost = (_makers(folder) if folder.has_work() else []), []
    except Unreadable:
        raise
    except Invalid:  # the caller has asked for it, see `changed_code`
        makers, lost = [], [UNKNOWN]
    if not makers or makers[-1] != now:
        makers = [*makers, now]
    write_json(folder.made_by, sealed({"makers": makers}))
    changed = [change for before in makers for change in changes(before, now)]
    return list(dict.fromkeys([*lost, *changed]))


def changed_code(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return what has changed since a run was made or begun; nothing if it left nothing to keep.

    Raises:
        Invalid: if the record of who made it is damaged, so that nobody can tell.
    """
    if not folder.has_work():
        return []
    return changes(_makers(folder)[-1], made_here(config))


def changed_since_parent(config: RunConfig) -> list[str]:
    """Return what has changed since the run was made that another one goes on from, or begins with.

    Of its code that counts which is of both: their objectives may differ, and of a run that gave
    its encoder alone, what is of the encoder. Nothing is imported that its folder names.

    Args:
        config: of the run that goes on.

    Raises:
        Invalid: if the record of who made it is damaged.
    """
    changed = []
    if config.training.from_run is not None:
        changed += _since(config.training.from_run, made_here(config))
    start = config.encoder_start.from_run
    # A run that has begun needs its encoder's run no more.
    if start is not None and Path(start).expanduser().is_dir():
        changed += _since(start, made_here(config, "encoder"))
    return list(dict.fromkeys(changed))


def changed_since_made(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return what has changed, since a run was made, of what reads its data and generates.

    Nothing else that its config names is imported, such as callbacks and loggers.

    Args:
        folder: of the run.
        config: of the run.

    Raises:
        Invalid: if the record of who made it is damaged.
    """
    return _changes_of_both(_makers(folder)[-1], made_here(config, "task", "encoder", "decoder"))


def _since(run: str, now: dict[str, Any]) -> list[str]:
    """Return what a run's own changes were, and what is now otherwise of the code of both."""
    parent = RunFolder(Path(run).expanduser())
    result = parent.result()
    own = [] if result is None else result.code_changes
    return [*own, *_changes_of_both(_makers(parent)[-1], now)]


def _changes_of_both(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the changes of definitions that both have, and of versions."""
    shared = before["code"].keys() & now["code"].keys()
    old, new = (
        {**made, "code": {name: made["code"][name] for name in shared}} for made in (before, now)
    )
    return changes(old, new)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the definitions and versions that differ.

    Example:
        >>> changes(
        ...     {"code": {"Head": "1", "Bridge": "2"}, "versions": {"torch": "2.12"}},
        ...     {"code": {"Head": "3", "Gate": "4"}, "versions": {"torch": "2.13"}},
        ... )
        ['Head', 'Gate (added)', 'Bridge (removed)', 'torch 2.12 -> 2.13']
    """
    old, new = before["code"], now["code"]
    differing = [
        *(name for name in sorted(new) if name in old and old[name] != new[name]),
        *(f"{name} (added)" for name in sorted(new) if name not in old),
        *(f"{name} (removed)" for name in sorted(old) if name not in new),
    ]
    if len(differing) > SHOWN:
        more = len(differing) - SHOWN
        differing = [*differing[:SHOWN], f"{more} more definitions"]
    return differing + [
        f"{name} {version} -> {now['versions'].get(name)}"
        for name, version in before["versions"].items()
        if now["versions"].get(name) != version
    ]


def _makers(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the processes that have worked on a run, the latest last."""
    try:
        record = read_json(folder.made_by)
    except Invalid as error:
        raise error.advised(ADVICE) from error
    makers = record.get("makers")
    if sealed(record) == record and isinstance(makers, list) and makers:
        if all(isinstance(entry, dict) and set(entry) == MAKER for entry in makers):
            return makers
    raise Invalid(folder.made_by, "is damaged, or of an older version", ADVICE)
