"""The LightningModule: how any encoder and decoder are trained and evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from decoderlab.contract import Batch, TokenSpace
from decoderlab.distributed import Ranks
from decoderlab.metrics import SequenceMetrics
from decoderlab.objective import negative_log_likelihood, num_positions
from decoderlab.randomness import stream_seed
from decoderlab.search import Search


class EncoderDecoder(pl.LightningModule):
    """Trains with teacher forcing where the decoder has it; measures what it generates freely.

    Args:
        encoder, decoder: anything that keeps the contract.
        tokens: the target's token ids.
        max_target_length: tokens to generate at most, EOS included.
        seed: the run's seed, from which each step's randomness is drawn.
        make_optimizer: from the parameters to an optimizer and its schedule (or None), stepped
            once an update.
        targets_end: whether the task's targets end in EOS.
        gradient_clip_norm: largest L2 norm of the gradient; None for no clipping.
        label_smoothing: in training, see `negative_log_likelihood`.
        search: how targets are generated.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        tokens: TokenSpace,
        max_target_length: int,
        seed: int = 0,
        make_optimizer: Callable[[Any], tuple[Any, Any | None]] | None = None,
        targets_end: bool = True,
        gradient_clip_norm: float | None = None,
        label_smoothing: float = 0.0,
        search: Search | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.tokens, self.max_target_length, self.seed = tokens, max_target_length, seed
        self.make_optimizer = make_optimizer
        self.gradient_clip_norm, self.label_smoothing = gradient_clip_norm, label_smoothing
        self.search = search or Search()
        self.ranks = Ranks()
        self.metrics = SequenceMetrics(targets_end=targets_end)
        self.gradient_norm: Tensor | None = None
        self.accepted: Callable[[int], Any] | None = None
        self.predictions: list[tuple[int, list[int], bool]] = []
        self._loss_sum = self._loss_tokens = 0.0

    def forward(
        self, source: Tensor, source_lengths: Tensor, rows: Tensor | None = None
    ) -> list[list[int]]:
        """Generate target ids, without EOS, as `search` says.

        Args:
            source: see `Batch`.
            source_lengths: see `Batch`.
            rows: (B,) numbers of the examples; what sampling draws for one depends on that alone.
        """
        encoded = self.encoder(source, source_lengths)
        generated = self.search.generate(
            self.decoder,
            encoded,
            tokens=self.tokens,
            max_length=self.max_target_length,
            rows=rows,
        )
        return [strip(row, self.tokens) for row in generated.tolist()]

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood in nats, and the number of target tokens."""
        outputs = self.decoder(self.encoder(batch.source, batch.source_lengths), batch.target)
        smoothing = self.label_smoothing if self.training else 0.0
        return negative_log_likelihood(outputs, batch.target, self.tokens, smoothing)

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Move a batch; lengths and row numbers stay on the CPU (Lightning's hook)."""
        if device.type == "cpu":
            return batch
        return batch._replace(
            source=batch.source.to(device, non_blocking=True),
            target=batch.target.to(device, non_blocking=True),
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Key the step's randomness by (seed, step): a resumed run draws what it would have."""
        keys = (self.global_step, *self.ranks.keys)
        seed = stream_seed(self.seed, "dropout", *keys)
        # torch.manual_seed would note a stack trace for each kind of device that is not there,
        # which takes as long as a small model's update.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        if hasattr(self.decoder, "at_step"):
            self.decoder.at_step(self.global_step, stream_seed(self.seed, "feedback", *keys))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss in nats per target token; 0 for a batch without any.

        Of several ranks each returns its part of it times their number, so that the mean of their
        gradients is the gradient of the whole batch.
        """
        if self.ranks.world_size == 1:
            total, num_tokens = self.loss(batch)
            return total / num_tokens.clamp(min=1)
        share, counts = self.ranks.share(batch)
        total, _ = self.loss(share)
        num_tokens = num_positions(batch.target, self.tokens)
        return total * counts * self.ranks.world_size / num_tokens.clamp(min=1)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and keep what it was for the records (Lightning's hook)."""
        if self.gradient_clip_norm is not None:
            self.gradient_norm = nn.utils.clip_grad_norm_(
                self.parameters(), self.gradient_clip_norm
            )

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self.metrics.reset()
        self.predictions = []
        self._loss_sum = self._loss_tokens = 0.0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Generate freely, and add the teacher-forced loss beside it."""
        if not len(batch.index):  # there are fewer batches left than ranks
            self.metrics.update([], [])
            return
        total, num_tokens = self.loss(batch)
        self._loss_sum += float(total)
        self._loss_tokens += float(num_tokens)
        generated = self(batch.source, batch.source_lengths, batch.index)
        rows = batch.index.tolist()
        references = [self.accepted(row) for row in rows]
        self.metrics.update(generated, references)
        self.predictions += [
            (row, prediction, tuple(prediction) in accepted)
            for row, prediction, accepted in zip(rows, generated, references, strict=True)
        ]

    def on_validation_epoch_end(self) -> None:
        """Bring together what the ranks have found."""
        found = self.ranks.gathered((self._loss_sum, self._loss_tokens, self.predictions))
        if len(found) > 1:
            sums, counts, predictions = zip(*found, strict=True)
            self._loss_sum, self._loss_tokens = sum(sums), sum(counts)
            self.predictions = [one for part in predictions for one in part]

    def evaluated(self) -> dict[str, float]:
        """Return the metrics of the evaluation that has just ended."""
        return self.metrics.compute() | {"loss": self._loss_sum / max(self._loss_tokens, 1.0)}

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end
    test_step = validation_step

    def configure_optimizers(self) -> Any:
        """Return the optimizer and, if there is one, its schedule per update."""
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        optimizer, scheduler = self.make_optimizer(trained)
        if scheduler is None:
            return optimizer
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def strip(generated: list[int], tokens: TokenSpace) -> list[int]:
    """Return generated ids up to the first EOS, without it.

    Example:
        >>> strip([7, 8, 2, 0], TokenSpace(9))
        [7, 8]
    """
    end = generated.index(tokens.eos_id) if tokens.eos_id in generated else len(generated)
    return generated[:end]
