"""The loggers of a run: they write into its folder, and continue when it continues."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from torch import Tensor

from decoderlab.common.bounded_reading import LINE_BYTES, MIB, opened
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.part_building import find_target
from decoderlab.common.progress import say
from decoderlab.config.run_config import BUILT, RunConfig
from decoderlab.config.secret_settings import from_environment, redacted
from decoderlab.records.run_folder import make_way, set_aside
from decoderlab.records.trackio_logger import TrackioLogger

# Of each class that needs a package which we do not install: its distributions, and our extra. The
# classes can be imported without them.
PACKAGES: dict[type, tuple[tuple[str, ...], str]] = {
    WandbLogger: (("wandb",), "wandb"),
    MLFlowLogger: (("mlflow", "mlflow-skinny"), "mlflow"),
    TrackioLogger: (("trackio",), "trackio"),
}
TAG = "decoderlab.run_id"
METRICS = "metrics.csv"  # of Lightning's CSVLogger
CSV_BYTES = 512 * MIB


def check_loggers(config: RunConfig) -> None:
    """Raise ConfigError for a logger whose package is not installed, or whose secret is not set."""
    for name, settings in config.logger.items():
        from_environment(f"logger.{name}", settings.arguments())
        kind = _kind_of(find_target(f"logger.{name}", settings.target))
        for known, (packages, extra) in PACKAGES.items():
            if issubclass(kind, known) and not any(map(_is_installed, packages)):
                raise ConfigError(
                    f"logger.{name} needs the package {packages[0]}, which is not installed; "
                    f"install it: pip install 'decoderlab[{extra}]', or take another logger: "
                    "logger=tensorboard"
                )


def _kind_of(target: Any) -> type:
    """Return the class of loggers that a target makes, as far as that is known."""
    return target if inspect.isclass(target) else object


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def make_loggers(config: RunConfig, folder: Path, run_id: str, step: int) -> list[Logger]:
    """Return the loggers of a run that is about to continue from a step.

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
        given = from_environment(f"logger.{name}", settings.arguments())
        try:
            logger = target(**_filled(target, given, folder, run_id, step) | given)
            _make_way(logger)
            if isinstance(logger, CSVLogger):
                _cut(logger, step)
        except Exception as error:  # whatever a logger of somebody's answers
            raise ConfigError(
                f"logger.{name}: {settings.target} cannot be made: {type(error).__name__}: "
                + redacted(str(error), config.logger)
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
    kind = _kind_of(target)
    filled: dict[str, Any] = {"save_dir": str(folder)} if _takes_folder(target, kind) else {}
    if issubclass(kind, TensorBoardLogger):
        filled["purge_step"] = step + 1 if step else None
    elif issubclass(kind, MLFlowLogger):
        uri = given.get("tracking_uri") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        tags = {TAG: run_id} | dict(given.get("tags") or {})
        filled |= {"tracking_uri": uri, "run_name": folder.name, "tags": tags}
        filled["run_id"] = _known_to_mlflow(uri, given.get("experiment_name"), run_id)
    elif issubclass(kind, WandbLogger):
        filled |= {"name": folder.name, "id": run_id[:32]}
        if not given.get("offline"):
            filled["resume"] = "allow"
    return filled


def _takes_folder(target: Any, kind: type) -> bool:
    """Whether a logger takes `save_dir`: by name, or as a subclass that hands keywords on."""
    taken = inspect.signature(target).parameters
    if "save_dir" in taken or not any(item.kind is item.VAR_KEYWORD for item in taken.values()):
        return "save_dir" in taken
    return issubclass(kind, CSVLogger | TensorBoardLogger | MLFlowLogger | WandbLogger)


@rank_zero_only
def _known_to_mlflow(uri: str, experiment_name: str | None, run_id: str) -> str | None:
    """Return MLflow's own id of a run that it has recorded before."""
    # An extra, see PACKAGES: it need not be there for the checker.
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(experiment_name or "lightning_logs")
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{run_id}'")
    return runs[0].info.run_id if runs else None


@rank_zero_only
def _make_way(logger: Logger) -> None:
    """Set aside what is not a folder or file where a logger of files is about to write."""
    if isinstance(logger, CSVLogger | TensorBoardLogger):
        folder = Path(logger.log_dir)
        make_way(folder, folder=True)
        for name in ("hparams.yaml", METRICS):
            make_way(folder / name, link=False)


@rank_zero_only
def _cut(logger: CSVLogger, step: int) -> None:
    """Take over the lines of an earlier process up to a step.

    The logger deletes its file. Until it has saved the lines, the old file has another name, under
    which the next process looks for it. Lines that are damaged, as the last one of a killed process
    may be, are dropped; a file of which nothing can be read is set aside.
    """
    path = Path(logger.log_dir) / METRICS
    before = path.with_name(f"{METRICS}.before")
    make_way(before, link=False)
    if not before.exists():
        if not path.exists():
            return
        path.rename(before)
    try:
        for number, values in _lines_of(before):
            if number <= step:
                logger.log_metrics(values, number)
    except Invalid as error:
        say(f"{error}; it is now {set_aside(before).name}")
    logger.save()
    before.unlink(missing_ok=True)


def _lines_of(path: Path) -> Iterator[tuple[int, dict[str, Tensor | float]]]:
    """Yield step and values of the lines of a CSV that are whole; say how many are not.

    Raises:
        Invalid: if it cannot be read, or its first line names no step.
    """
    dropped = 0
    with opened(path, CSV_BYTES) as file:
        names = _cells(file.readline(LINE_BYTES))
        if names is None or "step" not in names or len({*names}) < len(names):
            raise Invalid(path, "is damaged: its first line names no step")
        while line := file.readline(LINE_BYTES):
            cells = _cells(line)
            try:
                values = dict(zip(names, cells or (), strict=True))
                number = int(values.pop("step"))
                yield number, {name: float(value) for name, value in values.items() if value}
            except ValueError:
                dropped += 1
    if dropped:
        say(f"{path.name} of {path.parent} has {dropped} damaged lines, which are dropped")


def _cells(line: bytes) -> list[str] | None:
    """Return the cells of a line; None for a line that is torn or no text."""
    try:
        (cells,) = csv.reader([line.decode()])
    except (UnicodeDecodeError, csv.Error, ValueError):
        return None
    return cells if line.endswith(b"\n") else None


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value
