"""The loggers of a run: made so that they write into its folder, and go on where it goes on."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from torch import Tensor

from decoderlab.common.completion import find_target
from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import BUILT, RunConfig

# Of each class that needs a package which we do not install: its distributions, and our extra.
PACKAGES = {
    "WandbLogger": (("wandb",), "wandb"),
    "MLFlowLogger": (("mlflow", "mlflow-skinny"), "mlflow"),
}
TAG = "decoderlab.run_id"


def check_loggers(config: RunConfig) -> None:
    """Raise ConfigError for a logger whose package is not installed."""
    for name, settings in config.logger.items():
        packages, extra = PACKAGES.get(settings.target.split(".")[-1], ((), ""))
        if packages and not any(map(_is_installed, packages)):
            raise ConfigError(
                f"logger.{name} needs the package {packages[0]}, which is not installed; install "
                f"it: pip install 'decoderlab[{extra}]', or take another logger: logger=tensorboard"
            )


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def make_loggers(config: RunConfig, folder: Path, run_id: str, step: int) -> list[Logger]:
    """Return the loggers of a run that is about to go on from a step.

    What TensorBoard and CSV files hold of later steps is cut off: it is about to be written again.
    W&B and MLflow cannot forget; they get the same values a second time.

    Args:
        config: of the run.
        folder: of the run; loggers write there unless their settings say otherwise.
        run_id: of the run.
        step: 0 for a run that begins.

    Raises:
        ConfigError: if a logger cannot be made.
    """
    made = []
    for name, settings in config.logger.items():
        target = find_target(f"logger.{name}", settings.target)
        given = settings.arguments()
        try:
            logger = target(**_filled(target, given, folder, run_id, step) | given)
            if isinstance(logger, CSVLogger):
                _cut(logger, step)
        except Exception as error:  # whatever a logger of somebody's answers
            raise ConfigError(
                f"logger.{name}: {settings.target} cannot be made: {type(error).__name__}: {error}"
            ) from error
        if isinstance(logger, TensorBoardLogger):  # `write_summary` adds them to its HPARAMS
            logger.hparams.update(hyperparameters(config))
        else:
            logger.log_hyperparams(hyperparameters(config))
        made.append(logger)
    return made


def hyperparameters(config: RunConfig) -> dict[str, Any]:
    """Return what a run's result depends on, as plain values by dotted name."""
    scientific = config.scientific()
    plain = {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for group in (*BUILT, "training", "trainer", "callbacks")
        for name, value in _flat(group, scientific.get(group, {}))
        if not name.endswith("._target_")
    }
    return config.choices._asdict() | plain | {"seed": config.seed}


def _filled(
    target: Any, given: Mapping[str, Any], folder: Path, run_id: str, step: int
) -> dict[str, Any]:
    """Return what a logger takes from its run, besides its settings."""
    taken = inspect.signature(target).parameters
    filled: dict[str, Any] = {"save_dir": str(folder)} if "save_dir" in taken else {}
    kind = target if inspect.isclass(target) else object
    if issubclass(kind, TensorBoardLogger):
        filled["purge_step"] = step + 1 if step else None
    elif issubclass(kind, MLFlowLogger):
        uri = given.get("tracking_uri") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        tags = {TAG: run_id} | dict(given.get("tags") or {})
        filled |= {"tracking_uri": uri, "run_name": folder.name, "tags": tags}
        filled["run_id"] = _known_to_mlflow(uri, given.get("experiment_name"), run_id)
    elif target.__name__ == "WandbLogger":
        filled |= {"name": folder.name, "id": run_id[:32]}
        if not given.get("offline"):
            filled["resume"] = "allow"
    return filled


@rank_zero_only
def _known_to_mlflow(uri: str, experiment_name: str | None, run_id: str) -> str | None:
    """Return MLflow's own id of a run that it has seen before."""
    # An extra, see PACKAGES: it need not be there for the checker.
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(experiment_name or "lightning_logs")
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{run_id}'")
    return runs[0].info.run_id if runs else None


@rank_zero_only
def _cut(logger: CSVLogger, step: int) -> None:
    """Take over the lines of an earlier process up to a step; the logger deletes its file."""
    path = Path(logger.log_dir) / "metrics.csv"
    if not path.exists():
        return
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    path.unlink()
    for line in lines:
        values: dict[str, Tensor | float] = {
            key: float(value) for key, value in line.items() if value and key != "step"
        }
        # The last line of a killed process may be torn.
        if (line["step"] or "").isdigit() and int(line["step"]) <= step:
            logger.log_metrics(values, int(line["step"]))
    logger.save()


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value
