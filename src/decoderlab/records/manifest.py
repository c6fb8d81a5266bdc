"""The manifest of a finished run: its id, its identity, and the sha256 of its files.

It is written last, before the status FINISHED. A file that was changed, or is another run's, does
not agree with it; and as the run id is the sha256 of the settings and the data, other settings and
data do not agree with it even where somebody has written a manifest that suits them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from decoderlab.common.bounded_reading import LINES_BYTES, MIB, opened, read_json
from decoderlab.common.digests import file_sha256, sha256_of
from decoderlab.common.errors import Invalid
from decoderlab.config.run_identity import digest_of
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.records.run_result import RunResult

FORMAT = 1
MANIFEST_BYTES = 4 * MIB
# What every finished run has. Beside them: its pictures, where they could be had, and its weights.
FILES = (
    "config.yaml",
    "vocabularies.json",
    "metrics.jsonl",
    "predictions.jsonl",
    "made_by.json",
    "result.json",
)
PROBES = "probes.npz"
MOVED = "it was copied or renamed by hand: give it the name of its own run again, or move it away"
BEST = re.compile(r"checkpoints/best-\d+\.ckpt")


class FileSeal(NamedTuple):
    """The size in bytes and the sha256 of a file."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """What a finished run consists of.

    Args:
        run_id: of the run.
        identity: what that is the sha256 of, see `config.run_identity.identity`.
        files: by their names in the folder.
    """

    run_id: str
    identity: dict[str, Any]
    files: dict[str, FileSeal]

    @property
    def best(self) -> str:
        """The name of the checkpoint with the weights chosen on validation."""
        return next(name for name in self.files if BEST.fullmatch(name))


def write_manifest(folder: RunFolder, identity: Mapping[str, Any], result: RunResult) -> None:
    """Write the manifest of a run whose files are all there.

    Args:
        folder: of the run.
        identity: of the run.
        result: of the run.
    """
    names = [*FILES, *([PROBES] if result.probes is not None else []), result.best_checkpoint]
    files = {
        name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for name in names
        for path in [folder.path / name]
    }
    record = {"format": FORMAT, "run_id": digest_of(identity), "identity": dict(identity)}
    write_json(folder.manifest, sealed(record | {"files": files}))


def read_manifest(folder: RunFolder) -> Manifest:
    """Return the manifest of a run, whose id agrees with its identity; its files are not read.

    Raises:
        Missing: if there is none.
        Invalid: if it is damaged, of another version or of another folder.
    """
    path = folder.manifest
    record = read_json(path, limit=MANIFEST_BYTES)
    if record.get("format") != FORMAT:
        raise Invalid(path, f"is of format {record.get('format')!r}; this version reads {FORMAT}")
    if sealed(record) != record:
        raise Invalid(path, "does not agree with its own sha256")
    run_id, identity, files = (record.get(name) for name in ("run_id", "identity", "files"))
    if (
        not isinstance(identity, dict)
        or not isinstance(run_id, str)
        or digest_of(identity) != run_id
    ):
        raise Invalid(path, "holds settings or data that are not those of its run id")
    named = re.search("-([0-9a-f]{12})$", folder.path.absolute().name)
    if named and named[1] != run_id[:12]:
        what = f"is of run {run_id[:12]}, but the folder is of run {named[1]}"
        raise Invalid(path, what, MOVED)
    seals = _seals(path, files)
    wanted = {*FILES} - seals.keys()
    best = [name for name in seals if BEST.fullmatch(name)]
    others = seals.keys() - {*FILES, PROBES, *best}
    if wanted or others or len(best) != 1:
        raise Invalid(path, "does not name the files of a run")
    return Manifest(run_id, identity, seals)


def _seals(path: Path, files: Any) -> dict[str, FileSeal]:
    if not isinstance(files, dict):
        raise Invalid(path, "names no files")
    seals = {}
    for name, record in files.items():
        size, sha256 = (
            (record.get("bytes"), record.get("sha256")) if isinstance(record, dict) else (None, "")
        )
        if type(size) is not int or not isinstance(sha256, str):
            raise Invalid(path, f"has no size and sha256 of {name}")
        seals[name] = FileSeal(size, sha256)
    return seals


def check_file(folder: RunFolder, name: str, seal: FileSeal) -> None:
    """Raise Invalid unless a file of a run is the one that its manifest names.

    Args:
        folder: of the run.
        name: of the file.
        seal: of the manifest.
    """
    path = folder.path / name
    with opened(path, LINES_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        same = size == seal.size
        if same and sha256_of(file) == seal.sha256:
            return
    lost = "" if same else f": it has {size:,} bytes, where {seal.size:,} were written"
    raise Invalid(path, f"is not what the run has written (see manifest.json){lost}")
