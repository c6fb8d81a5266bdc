"""Run folders by somebody who knows how they are sealed: edited, and sealed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from decoderlab.config.run_identity import FORMAT, _without_paths, digest_of
from decoderlab.config.scientific import scientific_of
from decoderlab.records.manifest import write_manifest
from decoderlab.records.run_folder import RunFolder, sealed, write_json, write_text


def forge(path: Path, config: dict[str, Any] | None = None, **result: Any) -> RunFolder:
    """Edit a run's config and result, and make everything agree with each other again.

    Args:
        path: of the run folder.
        config: groups of the config that are replaced.
        **result: fields of the result that are replaced.

    Returns:
        The folder, which has the name of its new run id.
    """
    folder = RunFolder(path)
    settings = yaml.safe_load(folder.config.read_text()) | (config or {})
    write_text(folder.config, yaml.safe_dump(settings))
    record = json.loads(folder.result_file.read_text()) | result
    identity = {"format": FORMAT, "data": record["data"]["fingerprint"], **scientific_of(settings)}

    identity["task"] = _without_paths(identity["task"])
    record |= {"run_id": digest_of(identity), "seed": settings["seed"]}
    write_json(folder.result_file, sealed(record))
    write_manifest(folder, identity, folder.result())
    return RunFolder(path.rename(path.with_name(f"{path.name[:-12]}{digest_of(identity)[:12]}")))


def reseal(folder: RunFolder) -> None:
    """Write the manifest anew over whatever the folder holds now."""
    manifest = json.loads(folder.manifest.read_text())
    write_manifest(folder, manifest["identity"], folder.result())
