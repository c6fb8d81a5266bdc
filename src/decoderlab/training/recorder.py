"""What happens beside training: records, checkpoints, budgets, interruptions."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from decoderlab.config.settings import Evaluation, Run
from decoderlab.records.run_folder import AtomicCheckpointIO, RunFolder, write_text
from decoderlab.training.distributed import Ranks
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.module import EncoderDecoder

Report = Callable[[int, dict[str, float]], None]


class Diverged(Exception):
    """The loss became NaN or infinite, in training or validation."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss was NaN or infinite by update {step}")
        self.step = step


class Recorder(pl.Callback):
    """Writes metrics and checkpoints, remembers the best step, and ends a run when it must end.

    The last of a run's callbacks, so that what the others decide and remember is saved with the
    rest. All that it knows goes into the checkpoint, so that a resumed run goes on as if nothing
    had happened. Records that a killed run wrote after its last checkpoint are cut off on resuming:
    they are about to be written again.

    Args:
        folder: the run's.
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
        run: Run,
        evaluation: Evaluation,
        total_steps: int | None,
        max_seconds: float | None,
        interruption: Interruption,
        report: Report,
        ranks: Ranks,
    ) -> None:
        self.ranks, self.writes = ranks, ranks.rank == 0
        self.folder, self.run, self.evaluation = folder, run, evaluation
        self.total_steps, self.max_seconds = total_steps, max_seconds
        self.interruption, self.report = interruption, report
        self.checkpoint_io = AtomicCheckpointIO()
        self.memory: dict[str, Any] = {
            "best": None,  # step, score, file, metrics of the best validation
            "last": None,  # step and metrics of the last one
            "train_seconds": 0.0,
            "evaluation_seconds": 0.0,
            "examples_seen": 0,
            "tokens_seen": 0,
            "restarts": 0,
            "finished": False,
        }
        self._step = 0
        self._clock = self._last_checkpoint = 0.0

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
        for path in self.folder.checkpoints.glob("*.ckpt"):
            own = re.fullmatch(r"(step|best)-(\d+)", path.stem)
            if own and int(own[2]) > step:
                self.checkpoint_io.remove_checkpoint(path)
        lines = []
        if self.folder.metrics.exists():
            for line in self.folder.metrics.read_text().splitlines(keepends=True):
                try:
                    kept = line.endswith("\n") and json.loads(line)["step"] <= step
                except ValueError:  # the last line of a killed process may be torn
                    kept = False
                if kept:
                    lines.append(line)
        write_text(self.folder.metrics, "".join(lines))
        self._metrics = self.folder.metrics.open("a")

    def close(self) -> None:
        """Close the records."""
        if self.writes:
            self._metrics.close()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._listen()
        self._clock = self._last_checkpoint = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the number of updates, which the batch raises unless more are summed up first."""
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
        now = time.perf_counter()
        self.memory["train_seconds"] += now - self._clock
        self._clock = now
        spent = self.max_seconds is not None and self.memory["train_seconds"] >= self.max_seconds
        old = now - self._last_checkpoint > self.run.checkpoint_every_seconds
        spent, old, signum = self.ranks.highest(spent, old, self.interruption.signum or 0)
        if spent or step == self.total_steps:
            self._log_training(trainer, pl_module)
            self.memory["finished"] = trainer.should_stop = True  # validates once more, then ends
        elif step % self.evaluation.every_steps:
            # Where a validation follows at once, its end is when to save.
            if old or signum:
                self._save(trainer)
            if signum:
                raise Interrupted(signum)

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Let a signal through: the run goes on from the checkpoint before this validation."""
        self.check()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the scores, keep the best weights, and save."""
        model = _ours(pl_module)
        step, scores = trainer.global_step, model.scores
        if not all(map(math.isfinite, scores.values())):
            raise Diverged(step)
        now = time.perf_counter()
        self.memory["evaluation_seconds"] += now - self._clock
        self._write(step, {f"validation/{name}": value for name, value in scores.items()})
        self.memory["last"] = {"step": step, "metrics": scores}
        score = scores[self.evaluation.select]
        best = self.memory["best"]
        task, _ = model.measured()
        chosen_by = task.scores[self.evaluation.select]
        if chosen_by.improves(score, best and best["score"]):
            name = f"best-{step:09d}.ckpt"
            if self.writes:
                state = {key: value.cpu() for key, value in model.state_dict().items()}
                self.checkpoint_io.save_checkpoint(
                    {"state_dict": state, "step": step}, self.folder.checkpoints / name
                )
            self.memory["best"] = {"step": step, "score": score, "file": name, "metrics": scores}
        if trainer.should_stop:  # another callback ends the run here
            self.memory["finished"] = True
        self._save(trainer)
        self._clock = time.perf_counter()
        self.check()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back."""
        self._listen()

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Let a signal through."""
        self.check()

    def check(self) -> None:
        """Raise Interrupted on all ranks if a signal has come to one."""
        (signum,) = self.ranks.highest(self.interruption.signum or 0)
        if signum:
            raise Interrupted(signum)

    def _listen(self) -> None:
        # Lightning's handler of SIGTERM would tell the other ranks at once, by an exchange that
        # meets another one of theirs: they learn of it between two updates. And it would end a run
        # of which the scheduler says more later.
        if self.ranks.world_size > 1 or self.interruption.left:
            self.interruption.listen()

    def _log_training(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step, values = trainer.global_step, _ours(module).log_training()
        if not values:
            return
        if not math.isfinite(values["train/loss"]):
            raise Diverged(step)
        self._write(step, values)
        if step % self.run.log_every_steps:  # at others Lightning hands them on itself
            for logger in trainer.loggers:
                logger.log_metrics(values, step)

    def _write(self, step: int, values: dict[str, float]) -> None:
        if not self.writes:
            return
        seconds = round(self.memory["train_seconds"], 3)
        self._metrics.write(json.dumps({"step": step, "seconds": seconds, **values}) + "\n")
        self._metrics.flush()
        self.report(step, values)

    def _save(self, trainer: pl.Trainer) -> None:
        """Save a checkpoint to resume from; the last two stay, in case one is damaged."""
        if self.writes:
            os.fsync(self._metrics.fileno())
            for logger in trainer.loggers:
                logger.save()
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.flush()
        # Called by all ranks, written by the first; the others wait for it.
        trainer.save_checkpoint(self.folder.checkpoints / f"step-{trainer.global_step:09d}.ckpt")
        self._last_checkpoint = time.perf_counter()
        if not self.writes:
            return
        for pattern in ("step-*.ckpt", "best-*.ckpt"):
            for path in sorted(self.folder.checkpoints.glob(pattern))[:-2]:
                self.checkpoint_io.remove_checkpoint(path)


def _ours(module: pl.LightningModule) -> EncoderDecoder:
    """Return the module that is trained as what it is; Lightning hands on any."""
    if not isinstance(module, EncoderDecoder):
        raise ValueError(
            f"the records are of an EncoderDecoder, but a {type(module).__name__} is trained; "
            "leave the Recorder out of its callbacks"
        )
    return module
