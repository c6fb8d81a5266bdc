"""The LightningModule: how any encoder and decoder are trained and evaluated."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from decoderlab.common.randomness import seed_process, stream_seed
from decoderlab.contract import (
    Batch,
    Decoder,
    Encoded,
    Encoder,
    Objective,
    TokenSpace,
    ValueSpace,
    with_source,
)
from decoderlab.data.batches import copied, left_alone
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_values
from decoderlab.data.task_scores import scored_ids, shown_sources, written_texts
from decoderlab.generation import Search, roll_forward
from decoderlab.generation.greedy_search import strip
from decoderlab.metrics.metric_collection import BatchedMetrics
from decoderlab.training.checkpoint_loading import model_of_checkpoint
from decoderlab.training.distributed import Ranks
from decoderlab.training.objective import Likelihood, negative_log_likelihood, num_positions


class EncoderDecoder(pl.LightningModule):
    """Trains with teacher forcing where the decoder has it; measures what it generates freely.

    Any Trainer of Lightning's trains, tests and predicts with it, and with a task as the data
    module: `Trainer().test(module, datamodule=task)`. It logs `train/loss`, `train/learning_rate`
    and `train/gradient_norm` every `log_every_n_steps` updates of the Trainer, and at the end of an
    evaluation `validation/...` or `test/...`, each at the number of updates done.

    Args:
        encoder, decoder: modules that keep the contract.
        target_space: what the decoder writes.
        max_target_length: tokens to generate at most, EOS included, or positions of values.
        task: says which predictions are right, and what they are measured by; None for a model
            that is not to be evaluated.
        seed: the run's seed, from which each step's randomness is drawn.
        make_optimizer: from the parameters to an optimizer and its schedule (or None), which
            advances once an update.
        gradient_clip_norm: largest L2 norm of the gradient; None for no clipping.
        objective: what training makes small; None for the negative log-likelihood.
        search: how tokens are generated; values are rolled forward, see `roll_forward`.
        validation_search: how they are generated in validation; None for `search`.
    """

    encoder: Encoder
    decoder: Decoder
    task: Task | None
    metrics: BatchedMetrics | None

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        target_space: TokenSpace | ValueSpace,
        max_target_length: int,
        task: Task | None = None,
        seed: int = 0,
        make_optimizer: Callable[[Any], tuple[Any, Any | None]] | None = None,
        gradient_clip_norm: float | None = None,
        objective: Objective | None = None,
        search: Search | None = None,
        validation_search: Search | None = None,
    ) -> None:
        super().__init__()
        # No type of Python's says that they are modules and keep the contract too.
        self.encoder, self.decoder = cast("Encoder", encoder), cast("Decoder", decoder)
        self.target_space, self.max_target_length = target_space, max_target_length
        self.seed = seed
        self.make_optimizer = make_optimizer
        self.gradient_clip_norm, self.objective = gradient_clip_norm, objective
        self.search, self.validation_search = search or Search(), validation_search
        self.task = task
        self.metrics = None if task is None else task.measure()
        self.ranks = Ranks()
        self.losses: list[Tensor] = []  # of the updates since they were logged
        self.learning_rate = 0.0
        self.gradient_norm: Tensor | None = None
        self.scores: dict[str, float] = {}  # of the last evaluation
        self.predictions: list[tuple[int, Any, bool | None]] = []  # of the last evaluation
        self._split, self._searched = "test", self.search
        self._step_before = 0
        self._loss_sum = self._loss_tokens = 0.0

    @classmethod
    def load_from_checkpoint(  # pyright: ignore[reportIncompatibleMethodOverride] - no hyperparameters
        cls, checkpoint_path: Any, map_location: Any = None, **how: Any
    ) -> EncoderDecoder:
        """Return the model of a finished run; see `training.checkpoint_loading`."""
        return model_of_checkpoint(checkpoint_path, map_location, **how)

    @property
    def writes_values(self) -> bool:
        """Whether targets are real values, not tokens."""
        return isinstance(self.target_space, ValueSpace)

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        rows: Tensor | None = None,
        num_steps: int | None = None,
        target: Tensor | None = None,
        search: Search | None = None,
    ) -> list[list[int]] | Tensor:
        """Generate target ids, without EOS, as `search` says; or values (B, T, F).

        Args:
            source: see `Batch`.
            source_lengths: see `Batch`.
            rows: (B,) numbers of the examples; what sampling draws for one depends on that alone.
            num_steps: positions T of values, which have no end; None for `max_target_length`.
            target: see `Batch`; only its lengths count, with a `search` that asks for them.
            search: how tokens are generated; None for the module's.
        """
        encoded, space = self.encode(source, source_lengths), self.target_space
        if isinstance(space, ValueSpace):
            num_steps = num_steps or self.max_target_length
            return roll_forward(self.decoder, encoded, values=space, num_steps=num_steps)
        limit: dict[str, Any] = {"tokens": space, "max_length": self.max_target_length}
        generate = (search or self.search).generate
        generated = generate(self.decoder, encoded, rows=rows, target=target, **limit)
        return [strip(row, space) for row in generated.tolist()]

    def with_settings(
        self,
        *,
        search: Search | None = None,
        max_target_length: int | None = None,
        task: Task | None = None,
    ) -> EncoderDecoder:
        """Return a module with the same weights, not copies of them, that generates otherwise.

        This module stays as it is, its last evaluation included.

        Args:
            search: see the class; None for this module's.
            max_target_length: see the class; None for this module's.
            task: whose data and metrics it is evaluated by; None for this module's.
        """
        changed = copy(self)
        for name, value in vars(self).items():  # torch keeps submodules and hooks in dictionaries
            if isinstance(value, dict | list):
                changed.__dict__[name] = copy(value)
        changed.search = search or self.search
        changed.validation_search = None if search else self.validation_search
        changed.max_target_length = max_target_length or self.max_target_length
        changed.task = task or self.task
        changed.metrics = deepcopy(self.metrics) if task is None else task.measure()
        return changed

    def met_limit(self, generated: Sequence[Any]) -> bool:
        """Whether an output was cut: as long as it may be, without the end that targets have.

        Args:
            generated: ids without EOS, or values, which have no end.
        """
        ends = not self.writes_values and (self.task is None or self.task.append_eos)
        return ends and len(generated) >= self.max_target_length

    def encode(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Return what the encoder reads, and the source's ids beside it."""
        return with_source(self.encoder(source, source_lengths), source)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum of the training objective, and the number of target positions.

        In training mode it is the decoder's own objective, where it has one, or else `objective`
        with a further term of the decoder's, where it has that; in evaluation mode the negative
        log-likelihood in nats, so that all runs compare.
        """
        encoded = self.encode(batch.source, batch.source_lengths)
        if self.training and (own := getattr(self.decoder, "training_loss", None)) is not None:
            return own(encoded, batch)
        if self.training and (whole := getattr(self.objective, "sequence_loss", None)) is not None:
            return whole(self.decoder, encoded, batch)
        further = getattr(self.decoder, "with_further_loss", None) if self.training else None
        if further is not None:
            outputs, term = further(encoded, batch.target)
            total, count = self._objective(outputs, batch)
            return total + term, count
        return self._objective(self.decoder(encoded, batch.target), batch)

    def _objective(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what `loss` does, of a decoder's outputs."""
        density = getattr(self.decoder, "negative_log_density", None)
        plain = self.objective is None or (density and isinstance(self.objective, Likelihood))
        if self.training and self.objective is not None and not plain:
            return self.objective(outputs, batch)
        return negative_log_likelihood(outputs, batch.target, self.target_space, density=density)

    def setup(self, stage: str) -> None:
        """Ask the trainer for the other processes of this training (Lightning's hook)."""
        self.ranks = Ranks(self.trainer.global_rank, self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Move a batch; lengths and row numbers stay on the CPU (Lightning's hook)."""
        if device.type != "cpu":
            batch = batch._replace(
                source=batch.source.to(device, non_blocking=True),
                target=batch.target.to(device, non_blocking=True),
            )
        if self.dtype == torch.float64:
            tensors = {"source": batch.source, "target": batch.target}
            values = {name: each for name, each in tensors.items() if each.is_floating_point()}
            batch = batch._replace(**{name: each.double() for name, each in values.items()})
        return batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Key the step's randomness by (seed, step): a resumed run draws what it would have."""
        # Afterwards the learning rate is already that of the next update.
        self.learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._step_before = self.global_step
        keys: tuple[int | str, ...] = (self.global_step, *self.ranks.keys)
        if part := batch_idx % self.trainer.accumulate_grad_batches:  # of several for an update
            keys += (f"part {part}",)
        seed_process(stream_seed(self.seed, "dropout", *keys), cuda=self.device.type == "cuda")
        if (at_step := getattr(self.decoder, "at_step", None)) is not None:
            at_step(self.global_step, stream_seed(self.seed, "feedback", *keys))
        if (at_step := getattr(self.objective, "at_step", None)) is not None:
            at_step(self.global_step, stream_seed(self.seed, "objective", self.global_step))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss in nats per target position; 0 for a batch without any.

        Of several ranks each returns its part of it times their number, so that the mean of their
        gradients is the gradient of the whole batch.
        """
        if self.ranks.world_size == 1:
            with left_alone(batch):
                total, num_tokens = self.loss(batch)
            loss = total / num_tokens.clamp(min=1)
        else:
            share, counts = self.ranks.share(batch)
            total, _ = self.loss(share)
            num_tokens = num_positions(batch.target, self.target_space)
            loss = total * counts * self.ranks.world_size / num_tokens.clamp(min=1)
        self.losses.append(loss.detach())
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and keep what it was for the records (Lightning's hook)."""
        if (limit := self.gradient_clip_norm) is not None:
            self.gradient_norm = nn.utils.clip_grad_norm_(self.parameters(), limit)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log every `run.log_every_steps` updates (Lightning's hook)."""
        step = self.global_step
        # Lightning sets it from outside of the class, where no checker sees it.
        every = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if step > self._step_before and step % every == 0:
            self.log_training()

    def log_training(self) -> dict[str, float]:
        """Log the mean loss since the last time, and return what was logged; {} if that was now."""
        if not self.losses:
            return {}
        loss = float(self.ranks.mean(torch.stack(self.losses)).mean())
        self.losses.clear()
        values = {"train/loss": loss, "train/learning_rate": self.learning_rate}
        if self.gradient_norm is not None:
            norm = float(self.gradient_norm)
            values["train/gradient_norm"] = norm if math.isfinite(norm) else sys.float_info.max
        self._log_at_step(values)
        return values

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses that are not logged yet (Lightning's hook)."""
        if self.losses:  # a checkpoint is all ranks', so its losses are too
            self.losses = list(self.ranks.mean(torch.stack(self.losses)))
        checkpoint["losses"] = [float(loss) for loss in self.losses]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the losses that are not logged yet (Lightning's hook)."""
        kept = checkpoint.get("losses", [])
        self.losses = [torch.tensor(loss, device=self.device) for loss in kept]

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._begin(self.trainer.val_dataloaders, "validation", self.validation_search)

    def on_test_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._begin(self.trainer.test_dataloaders, "test", None)

    def _begin(self, batches: Any, split: str, search: Search | None) -> None:
        # Fresh ones: `reset` leaves the attributes of which a metric of anybody's did not tell it.
        self.metrics = self.measured()[0].measure().to(self.device)
        self._split, self._searched = getattr(batches, "name", None) or split, search
        seed = stream_seed(self.seed, "decoding", self._split, *self.ranks.keys)
        seed_process(seed, cuda=self.device.type == "cuda")
        self.scores, self.predictions = {}, []
        self._loss_sum = self._loss_tokens = 0.0

    def measured(self) -> tuple[Task, BatchedMetrics]:
        """Return the task, and the metrics of its predictions.

        Raises:
            ValueError: for a model that was made without a task.
        """
        if self.task is None or self.metrics is None:
            raise ValueError(
                "this model was made without a task, so it cannot be evaluated; give `task`"
            )
        return self.task, self.metrics

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Generate freely, and add the teacher-forced loss beside it."""
        task, metrics = self.measured()
        if not len(batch.index):  # there are fewer batches left than ranks
            nothing = batch.target[:0] if self.writes_values else []
            metrics.update(nothing, nothing)
            return
        total, num_tokens = map(float, self.loss(copied(batch)))
        self._loss_sum, self._loss_tokens = self._loss_sum + total, self._loss_tokens + num_tokens
        generated, rows = self.generated(copied(batch), self._searched), batch.index.tolist()
        sources = shown_sources(task, self._split, rows) if metrics.reads_source else []
        if isinstance(generated, Tensor):
            metrics.update(generated, batch.target, sources)
            values = zip(rows, generated.float().cpu().numpy(), strict=True)
            self.predictions += [(row, value, None) for row, value in values]
            return
        generated = scored_ids(task, self._split, rows, generated)
        references = [task.accepted(self._split, row) for row in rows]
        metrics.update(generated, references, sources)
        self.predictions += [
            (row, prediction, tuple(prediction) in accepted)
            for row, prediction, accepted in zip(rows, generated, references, strict=True)
        ]

    def on_validation_epoch_end(self) -> None:
        """Gather the predictions of all ranks, and log the scores."""
        self._log_scores("validation")

    def on_test_epoch_end(self) -> None:
        """Gather the predictions of all ranks, and log the scores."""
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        parts = self.ranks.gathered((self._loss_sum, self._loss_tokens, self.predictions))
        if len(parts) > 1:
            sums, counts, predictions = zip(*parts, strict=True)
            self._loss_sum, self._loss_tokens = sum(sums), sum(counts)
            self.predictions = [prediction for part in predictions for prediction in part]
        loss = self._loss_sum / max(self._loss_tokens, 1.0)
        predictions = [(row, generated) for row, generated, _ in self.predictions]
        task, metrics = self.measured()
        beside = task.scores_beside(self._split, predictions, loss)
        self.scores = metrics.compute() | {"loss": loss} | beside
        self._log_at_step({f"{stage}/{name}": value for name, value in self.scores.items()})

    def _log_at_step(self, values: dict[str, float]) -> None:
        # Lightning would count from 0; `step` is its way to say at what number a value belongs.
        self.log_dict(values | {"step": float(self.global_step)})

    test_step = validation_step

    def predict_step(self, batch: Batch, batch_idx: int) -> list[str] | Tensor:
        """Return what is generated for each example: a text, or values (B, T, F) in their units."""
        generated, (task, _) = self.generated(batch), self.measured()
        if isinstance(generated, Tensor):
            vocabulary = of_values(task.data.target_vocabulary)
            return torch.as_tensor(vocabulary.decode(generated.cpu().numpy()))
        batches = getattr(self._trainer, "predict_dataloaders", None)  # None without a trainer
        return written_texts(task, batches, batch, generated)

    def generated(self, batch: Batch, search: Search | None = None) -> list[list[int]] | Tensor:
        """Return what `forward` generates for a batch."""
        steps, target = batch.target.shape[1], batch.target
        return self(batch.source, batch.source_lengths, batch.index, steps, target, search)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and, if there is one, its schedule per update.

        Raises:
            ValueError: if the model was made without an optimizer.
        """
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.make_optimizer is None:
            raise ValueError("this model was made without an optimizer; give `make_optimizer`")
        optimizer, scheduler = self.make_optimizer(trained)
        schedule = {"scheduler": scheduler, "interval": "step"}
        return optimizer if scheduler is None else ([optimizer], [schedule])
