"""Checkpoints: written atomically, and read only if their sha256 agrees."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor, nn

from decoderlab.common.bounded_archives import check_checkpoint
from decoderlab.common.bounded_reading import LOOK, MIB, check_bytes, read_text
from decoderlab.common.digests import MAX_FILE_BYTES, file_sha256
from decoderlab.common.errors import Invalid, Missing, Unreadable, lacks_memory
from decoderlab.records.run_folder import set_aside, write_atomic, write_text

# Of a checkpoint to resume from, beside the weights: the optimizer's averages, and ours of them.
WEIGHTS_SIZES = 8
BESIDE_WEIGHTS = 64 * MIB
SHOWN = 3
OF_THE_SHELL = "TORCH_FORCE"  # in what torch says of a variable, and not of the file


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoints that are written atomically, each with its sha256 beside it."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint, then its hash; without the hash it counts as damaged."""
        path = Path(path)
        write_atomic(path, lambda file: torch.save(checkpoint, file))
        write_text(hash_file(path), file_sha256(path) + "\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = True) -> Any:
        """Read a checkpoint that agrees with its hash; nothing in it is executed."""
        path = Path(path)
        verify(path, recorded_sha256(path), MAX_FILE_BYTES)
        return _loaded(path, MAX_FILE_BYTES, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its hash; a folder of its name is renamed."""
        for entry in (Path(path), hash_file(Path(path))):
            if entry.is_dir() and not entry.is_symlink():
                set_aside(entry)
            else:
                entry.unlink(missing_ok=True)


def hash_file(path: Path) -> Path:
    """Return where the sha256 of a checkpoint lies."""
    return path.with_suffix(path.suffix + ".sha256")


def recorded_sha256(path: Path) -> str:
    """Return the sha256 that lies beside a checkpoint.

    Raises:
        Invalid: if it cannot be read, or is none.
    """
    text = read_text(hash_file(path), MIB).strip()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise Invalid(hash_file(path), "is damaged: it holds no sha256")
    return text


def verify(path: Path, sha256: str, limit: int) -> None:
    """Raise Invalid unless a checkpoint is a file of at most `limit` bytes with a sha256."""
    if file_sha256(path, limit) != sha256:
        raise Invalid(path, "does not agree with its sha256: it is damaged, or of another run")


def checkpoint_limit(model: nn.Module) -> int:
    """Return the largest size of a checkpoint of a model, in bytes."""
    sizes = (tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return WEIGHTS_SIZES * sum(sizes) + BESIDE_WEIGHTS


def load_checkpoint_of(model: nn.Module, path: Path, sha256: str) -> dict[str, Any]:
    """Return a checkpoint whose weights are those of a model; nothing of it is loaded into that.

    Args:
        model: that is to have the weights.
        path: of the checkpoint.
        sha256: that it must have.

    Raises:
        Missing: if it is not there.
        Invalid: if it is damaged, holds anything but tensors and plain values, or is of another
            model; what differs is named.
    """
    limit = checkpoint_limit(model)
    try:
        verify(path, sha256, limit)
    except (Missing, Unreadable):
        raise
    except Invalid as error:
        check_bytes(path, path.stat().st_size, limit)
        raise Invalid(path, error.what + _foreign(model, path, limit)) from error
    checkpoint = _loaded(path, limit)
    if foreign := weight_differences(model, checkpoint):
        raise Invalid(path, f"is of another model: {foreign}")
    return checkpoint


def _foreign(model: nn.Module, path: Path, limit: int) -> str:
    """Return more about a checkpoint that differs from what was written."""
    try:
        mismatches = weight_differences(model, _loaded(path, limit))
    except Invalid as error:
        return f" ({error.what})"
    return f" (it is of another model: {mismatches})" if mismatches else ""


def _loaded(path: Path, limit: int, map_location: Any = "cpu") -> Any:
    check_checkpoint(path, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch answers a damaged file with almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, OSError) or lacks_memory(error) or OF_THE_SHELL in reason:
            raise Unreadable(path, f"cannot be read: {reason}", LOOK) from error
        raise Invalid(path, f"is not a checkpoint: {reason}") from error


def weight_differences(model: nn.Module, checkpoint: Any) -> str:
    """Return the weights in which a checkpoint differs from a model; nothing if in none."""
    given = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(given, Mapping):
        return "it has no state_dict"
    own = model.state_dict()
    mismatches = []
    for name in dict.fromkeys([*own, *given]):
        if name not in given:
            mismatches.append(f"{name} is missing")
        elif name not in own:
            mismatches.append(f"{name} is not in the config's model")
        elif (given_kind := _kind(given[name])) != (own_kind := _kind(own[name])):
            mismatches.append(f"{name} is {given_kind}, where the config's model has {own_kind}")
    more = f" and {len(mismatches) - SHOWN} more" if len(mismatches) > SHOWN else ""
    return ", ".join(mismatches[:SHOWN]) + more


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return f"a {type(value).__name__}"
    return f"{'x'.join(map(str, value.shape)) or 'one number'} {value.dtype}".replace("torch.", "")
