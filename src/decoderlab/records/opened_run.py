"""Opening finished runs: every record is checked, and an error names what is damaged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from decoderlab.common.bounded_yaml import read_yaml
from decoderlab.common.errors import ConfigError, Invalid, Missing
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import departure
from decoderlab.config.scientific import scientific_of
from decoderlab.records.agreement import check_agreement
from decoderlab.records.manifest import PROBES, Manifest, check_file, read_manifest
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import RunResult

ADVICE = (
    "give the command of the run, or of its sweep, again: it repairs what it can from what is "
    "intact"
)


class OpenedRun(NamedTuple):
    """A finished run whose records agree with each other and with its id.

    Args:
        folder: of the run.
        manifest: of the run.
        config: of the run; nothing that it names is imported.
        result: of the run.
    """

    folder: RunFolder
    manifest: Manifest
    config: RunConfig
    result: RunResult


def open_run(folder: RunFolder, run_id: str | None = None) -> OpenedRun:
    """Open a finished run; all but its weights is read and checked.

    Args:
        folder: of the run.
        run_id: that it must have; None where that is not known.

    Raises:
        Invalid: for the first thing that is damaged, missing, or of another run.
    """
    try:
        return _opened(folder, run_id)
    except Invalid as error:
        raise error.advised(ADVICE) from error


def _opened(folder: RunFolder, run_id: str | None) -> OpenedRun:
    try:
        manifest = read_manifest(folder)
    except Missing as error:
        what = "is missing: it was deleted, or an older version has made the run"
        raise Missing(folder.manifest, what) from error
    if run_id is not None and manifest.run_id != run_id:
        what = f"is of run {manifest.run_id[:12]}; expected run {run_id[:12]}"
        raise Invalid(folder.manifest, what)
    settings = _settings(folder, manifest)
    check_file(folder, folder.config.name, manifest.files[folder.config.name])
    try:
        config = RunConfig.from_dict(settings)
    except (ConfigError, ValueError, TypeError, LookupError, AttributeError) as error:
        what = f"is damaged: it is not the config of a run ({error})"
        raise Invalid(folder.config, what) from error
    result = folder.result()
    if result is None:
        raise Missing(folder.result_file, "is missing")
    _check_result(folder, manifest, config, result)
    for name, seal in manifest.files.items():
        if name not in (folder.config.name, manifest.best):
            check_file(folder, name, seal)
    check_agreement(folder, config, result)
    return OpenedRun(folder, manifest, config, result)


def _settings(folder: RunFolder, manifest: Manifest) -> dict[str, Any]:
    """Return the contents of `config.yaml`, if they agree with the run's identity."""
    settings = read_yaml(folder.config)
    try:
        mismatch = departure(manifest.identity, scientific_of(settings))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        what = f"is damaged: it is not the config of a run ({type(error).__name__}: {error})"
        raise Invalid(folder.config, what) from error
    if mismatch:
        raise Invalid(folder.config, f"is not the config of run {manifest.run_id[:12]}: {mismatch}")
    return settings


def _check_result(
    folder: RunFolder, manifest: Manifest, config: RunConfig, result: RunResult
) -> None:
    """Raise Invalid for a result that is not of the run: swapped, copied or edited."""
    wanted = {
        "run_id": manifest.run_id,
        "seed": config.seed,
        "data.fingerprint": manifest.identity.get("data"),
        "best_checkpoint": manifest.best,
        "choices": config.choices._asdict(),
        "budget": asdict(config.budget),
    }
    said = {
        "run_id": result.run_id,
        "seed": result.seed,
        "data.fingerprint": result.data.fingerprint,
        "best_checkpoint": result.best_checkpoint,
        "choices": result.choices,
        "budget": asdict(result.budget),
    }
    for name, value in said.items():
        if value != wanted[name]:
            what = f"is of another run: its {name} is {value!r:.90}; expected {wanted[name]!r:.90}"
            raise Invalid(folder.result_file, what)
    if (result.probes is None) == (PROBES in manifest.files):
        raise Invalid(
            folder.probes, "does not agree with the result about which figures the run has"
        )


def finished(folder: RunFolder, run_id: str | None = None) -> bool:
    """Whether a run is finished and all of its records are whole.

    Args:
        folder: of the run.
        run_id: that it must have; None where that is not known.
    """
    try:
        if folder.status()["status"] != "FINISHED":
            return False
        open_run(folder, run_id)
    except Invalid:
        return False
    return True
