"""Lightning's `load_from_checkpoint`, for models whose config stands in their run's folder.

Lightning builds a model from hyperparameters in its checkpoint. Ours are the run's config, which
names classes: it is read from the folder, and as safely as `decoderlab.load_run` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decoderlab.common.errors import ConfigError
from decoderlab.records.checkpoints import load_checkpoint_of, recorded_sha256

FOLDER = "checkpoints"


def model_of_checkpoint(path: str | Path, map_location: Any = None, **how: Any) -> Any:
    """Return the model of a finished run, with the weights of one of its best checkpoints.

    Args:
        path: of the checkpoint, `RUN/checkpoints/best-....ckpt`, or of the run folder, for the
            weights that were chosen on validation.
        map_location: a device to put the model on; None for the CPU.
        how: `data`, `trust` and `config_dir` of `decoderlab.load_run`.

    Raises:
        ConfigError: for what is no such checkpoint; or as `load_run`.
    """
    import decoderlab  # its `load_run` builds models, so this module lies below it

    path = Path(path)
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    if path != folder and (path.parent.name != FOLDER or not path.name.startswith("best-")):
        raise ConfigError(
            f"{path} is not a checkpoint of a step that was the best on validation; give "
            "RUN/checkpoints/best-....ckpt, or the folder of the run"
        )
    if unknown := how.keys() - {"data", "trust", "config_dir"}:
        raise ConfigError(
            f"{', '.join(sorted(unknown))}: a model is built as its run says; give no more than "
            "data, trust and config_dir, see decoderlab.load_run"
        )
    model = decoderlab.load_run(folder, **how).module
    if path != folder:  # there may be several that were the best for a while
        checkpoint = load_checkpoint_of(model, path, recorded_sha256(path))
        model.load_state_dict(checkpoint["state_dict"])
    return model if map_location is None else model.to(map_location)
