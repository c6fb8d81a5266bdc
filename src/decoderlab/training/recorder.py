"""What happens beside training: records, checkpoints, budgets, interruptions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from decoderlab.common.progress import say
from decoderlab.common.stopwatch import Stopwatch
from decoderlab.config.run_sections import Evaluation, Run
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.records.checkpoints import AtomicCheckpointIO, recorded_sha256
from decoderlab.records.held_folder import FolderGone, HeldFolder
from decoderlab.records.metrics_file import EMPTY, MetricsFile
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.distributed import Ranks
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.unsaved_state import UnsavedState

ProgressReport = Callable[[int, dict[str, float]], None]


# A loss on validation above these, in nats, is no model's: so many times that of a guess in which
# every token is as probable; and for values, whose Gaussian may rightly be narrow, a number.
GUESSES = 1000.0
WORST_OF_VALUES = 1e12


class Diverged(Exception):
    """The loss became NaN, infinite or absurd, in training or validation."""

    def __init__(self, step: int, loss: float = math.nan) -> None:
        was = f"{loss:.3g} on validation" if math.isfinite(loss) else "NaN or infinite"
        super().__init__(f"the loss was {was} by update {step}")
        self.step = step


def worst_loss(space: TokenSpace | ValueSpace) -> float:
    """Return the loss in nats per target position above which training has diverged.

    Example:
        >>> round(worst_loss(TokenSpace(30)))
        3401
    """
    if isinstance(space, ValueSpace):
        return WORST_OF_VALUES
    return GUESSES * math.log(space.size)


class Recorder(pl.Callback):
    """Writes metrics and checkpoints, remembers the best step, and ends a run when it must end.

    The last of a run's callbacks, so that what the others decide and remember is saved with the
    rest. All that it knows goes into the checkpoint, so that a resumed run goes on as if nothing
    had happened. Records that a killed run wrote after its last checkpoint are cut off on resuming:
    they are about to be written again.

    Args:
        folder: the run's.
        run_id: of the run.
        run, evaluation: settings.
        total_steps: the budget in updates, or None.
        max_seconds: the budget in seconds of training, or None.
        interruption: asked between two updates.
        report: called with a line of progress as (step, values).
        ranks: the processes of the run; all but the first keep no records.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        run_id: str,
        run: Run,
        evaluation: Evaluation,
        total_steps: int | None,
        max_seconds: float | None,
        interruption: Interruption,
        report: ProgressReport,
        ranks: Ranks,
    ) -> None:
        self.ranks, self.writes = ranks, ranks.rank == 0
        self.folder, self.run, self.evaluation = folder, run, evaluation
        self.total_steps, self.max_seconds = total_steps, max_seconds
        self.interruption, self.report = interruption, report
        self.checkpoint_io = AtomicCheckpointIO()
        self.memory: dict[str, Any] = {
            "run_id": run_id,
            "metrics": dict(EMPTY),  # of the lines so far
            "best": None,  # step, score, file, its sha256 and metrics of the best validation
            "last": None,  # step and metrics of the last one
            "train_seconds": 0.0,
            "evaluation_seconds": 0.0,
            "examples_seen": 0,
            "tokens_seen": 0,
            "restarts": 0,
            "finished": False,
            "unsaved": [],  # what a user's classes keep beside a checkpoint
        }
        self._weights: dict[str, Tensor] | None = None
        self._step = self._signum = 0
        self._clock = self._last_checkpoint = 0.0
        self._stopwatch = Stopwatch()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return dict(self.memory)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what a checkpoint kept, and count the restart."""
        self.memory = state_dict | {"restarts": state_dict["restarts"] + 1}

    def open(self, step: int) -> None:
        """Open the records at a step: what was written later is cut off, and written anew."""
        if not self.writes:
            return
        for kind in ("step", "best"):
            for path in self.folder.numbered(kind):
                if int(path.stem.partition("-")[2]) > step:
                    self.checkpoint_io.remove_checkpoint(path)
        self._metrics = MetricsFile(self.folder.metrics, self.memory["metrics"]["bytes"])
        self._held = HeldFolder(self.folder)

    def close(self) -> None:
        """Close the records."""
        if self.writes:
            self._metrics.close()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._listen()
        self._clock = self._last_checkpoint = time.perf_counter()
        self._stopwatch = Stopwatch(self.memory["train_seconds"], trainer.global_step)
        self._unsaved = UnsavedState(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the number of updates, which the batch raises unless more are summed up first.

        Raises:
            Interrupted: after the update in which a signal arrived, of which all is logged by now.
        """
        if self._signum:
            raise Interrupted(self._signum)
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log, stop at the end of the budget, and save between validations."""
        step = trainer.global_step
        self.memory["examples_seen"] += len(batch.index)
        self.memory["tokens_seen"] += batch.target.numel()
        if step == self._step:
            return
        if (
            step % self.run.log_every_steps == 0
            or step % self.evaluation.every_steps == 0  # what is validated has not diverged
        ):
            self._log_training(trainer, pl_module)
        now = self._clock = time.perf_counter()
        self.memory["train_seconds"] = self._stopwatch.lap()
        spent = self.max_seconds is not None and self.memory["train_seconds"] >= self.max_seconds
        old = now - self._last_checkpoint > self.run.checkpoint_every_seconds
        spent, old, signum = self.ranks.highest(spent, old, self.interruption.signum or 0)
        if spent or step == self.total_steps:
            self.memory["finished"] = trainer.should_stop = True  # validates once more, then ends
            self._log_training(trainer, pl_module)
        elif step % self.evaluation.every_steps:
            # Where a validation follows at once, its end is when to save: a run that went on from
            # before it would leave it out.
            if old or signum:
                self._save(trainer)
                self._stopwatch.start()  # saving is no training
            self._signum = signum

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the weights that are validated: a callback may put back others before the end."""
        if batch_idx == 0:
            self._weights = copied_weights(pl_module) if has_others(trainer) else None

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise Interrupted if a signal has come: the run goes on from the checkpoint before."""
        self.check()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the scores, keep the best weights, and save.

        Raises:
            Diverged: if the loss is not finite, or too large.
            ValueError: if this update was validated before.
        """
        model = _ours(pl_module)
        step, scores = trainer.global_step, model.scores
        if self.memory["last"] is not None and step <= self.memory["last"]["step"]:
            raise ValueError(
                f"update {step} was validated twice, or training went back to it; leave out the "
                "callback that trains or validates by itself"
            )
        if not all(map(math.isfinite, scores.values())):
            raise Diverged(step)
        if scores["loss"] > worst_loss(model.target_space):
            raise Diverged(step, scores["loss"])
        now = time.perf_counter()
        self.memory["evaluation_seconds"] += now - self._clock
        self._write(step, {f"validation/{name}": value for name, value in scores.items()})
        self.memory["last"] = {"step": step, "metrics": scores}
        score = scores[self.evaluation.select]
        best = self.memory["best"]
        task, _ = model.measured()
        if best is None or is_ahead(task.scores[self.evaluation.select], scores, best):
            name = f"best-{step:09d}.ckpt"
            if self.writes:
                weights = model.state_dict() if self._weights is None else self._weights
                state = {key: value.cpu() for key, value in weights.items()}
                self.checkpoint_io.save_checkpoint(
                    {"state_dict": state, "step": step}, self.folder.checkpoints / name
                )
            self.memory["best"] = {"step": step, "score": score, "file": name, "metrics": scores}
            if self.writes:
                path = self.folder.checkpoints / name
                self.memory["best"]["sha256"] = recorded_sha256(path)
        if trainer.should_stop:  # another callback ends the run here
            self.memory["finished"] = True
        self._weights = None
        self._save(trainer)
        self._clock = time.perf_counter()
        self._stopwatch.start()
        self.check()

    def hold(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the weights that are to be tested, and looked at afterwards."""
        self._weights = copied_weights(module) if has_others(trainer) else None

    def put_back(self, module: pl.LightningModule) -> None:
        """Load the weights of `hold` again, where a callback has exchanged them."""
        own, held = module.state_dict(), self._weights or {}
        if any(not torch.equal(own[name], value.to(own[name])) for name, value in held.items()):
            module.load_state_dict(held)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals again."""
        self._listen()

    def on_test_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Test the weights that were chosen on validation, whatever a callback puts there."""
        if batch_idx == 0:
            self.put_back(pl_module)

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise Interrupted if a signal has come."""
        self.check()

    def check(self) -> None:
        """Raise Interrupted on all ranks if a signal has come to one."""
        (signum,) = self.ranks.highest(self.interruption.signum or 0)
        if signum:
            raise Interrupted(signum)

    def _listen(self) -> None:
        # Lightning's handler of SIGTERM would tell the other ranks at once, by an exchange that
        # meets another one of theirs: they learn of it between two updates. And it would end a run
        # of which the scheduler says more later, or that was started to ignore the signal.
        if self.ranks.world_size > 1 or self.interruption.left:
            self.interruption.listen()

    def _log_training(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step, values = trainer.global_step, _ours(module).log_training()
        if not values:
            return
        if not math.isfinite(values["train/loss"]):
            raise Diverged(step)
        self._write(step, values)
        # At others, and at the last, Lightning hands them on itself.
        if step % self.run.log_every_steps and not trainer.should_stop:
            for logger in trainer.loggers:
                logger.log_metrics(values, step)

    def _write(self, step: int, values: dict[str, float]) -> None:
        if not self.writes:
            return
        self._check_files()
        seconds = round(self.memory["train_seconds"], 3)
        self._metrics.write({"step": step, "seconds": seconds, **values})
        self.report(step, values)

    def _check_files(self) -> None:
        """Raise FolderGone unless what is written here stays in the run's folder."""
        self._held.check()
        if not self._metrics.in_its_place():
            raise FolderGone(f"{self.folder.metrics} was deleted while the run was training")

    def _save(self, trainer: pl.Trainer) -> None:
        """Save a checkpoint to resume from; the last two stay, in case one is damaged."""
        if self.writes:
            self._check_files()
            self.memory["metrics"] = self._metrics.sync()
            for logger in trainer.loggers:
                logger.save()
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.flush()
        before, self.memory["unsaved"] = self.memory["unsaved"], self._unsaved.changed()
        if self.writes and self.memory["unsaved"] and not before:
            say(
                f"note: no checkpoint has {self.memory['unsaved'][0]}, so that an interrupted run "
                "starts again from update 0; give the class state_dict and load_state_dict, or "
                "watches_only = True if no result depends on it"
            )
        # Called by all ranks, written by the first; the others wait for it.
        trainer.save_checkpoint(self.folder.checkpoints / f"step-{trainer.global_step:09d}.ckpt")
        self._last_checkpoint = time.perf_counter()
        if not self.writes:
            return
        for kind in ("step", "best"):
            for path in self.folder.numbered(kind)[2:]:
                self.checkpoint_io.remove_checkpoint(path)


def has_others(trainer: pl.Trainer) -> bool:
    """Whether a trainer has callbacks beside the recorder, which may exchange weights."""
    # Lightning sets them from outside of the class, where no checker sees it.
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return any(not isinstance(callback, Recorder) for callback in callbacks)


def copied_weights(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return a copy of a module's weights."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def is_ahead(selected: MetricScore, scores: dict[str, float], best: dict[str, Any]) -> bool:
    """Whether a validation is ahead of the best so far.

    Of equal scores the lower loss is ahead, of equal losses the later step: where no output is
    right yet, weights that have learned something go before those of the first validation.
    """
    score, loss = scores[selected.name], scores["loss"]
    if score != best["score"]:
        return selected.improves(score, best["score"])
    return loss <= best["metrics"]["loss"]


def _ours(module: pl.LightningModule) -> EncoderDecoder:
    """Return the module that is trained as what it is; Lightning hands on any."""
    if not isinstance(module, EncoderDecoder):
        raise ValueError(
            f"the records are of an EncoderDecoder, but a {type(module).__name__} is trained; "
            "leave the Recorder out of its callbacks"
        )
    return module
