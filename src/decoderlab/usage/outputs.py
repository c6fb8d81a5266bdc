"""What a finished run predicts: texts, the best of a beam, probabilities, attention."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.errors import ConfigError
from decoderlab.common.process import one_at_a_time
from decoderlab.common.randomness import generators_kept, seed_process, stream_seed
from decoderlab.contract import Encoded, TokenSpace, ValueSpace
from decoderlab.data.task_data import of_tokens, of_values
from decoderlab.generation.coverage_penalty import coverage_score
from decoderlab.generation.greedy_search import allowed, strip
from decoderlab.training.loading import LoadedRun
from decoderlab.training.module import EncoderDecoder
from decoderlab.usage.sources import batches, words_of_lines


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output for a source.

    Args:
        text: as the task writes it.
        met_limit: whether it was cut at the greatest length.
        score: what a beam is ordered by: the log-probability, over the length penalty; None of
            values, and where no details were asked for.
        log_probability: of all its tokens and its end, in nats.
        tokens: without the end.
        probabilities: of each token, given those before it, among those that can be generated.
        end_probability: of the end after the last token; None where it was cut.
        attention: a row of weights for each token or position; None where the decoder has none.
        values: (T, F) in the units of the data; None of tokens.
        ids: of the tokens.
    """

    text: str
    met_limit: bool = False
    score: float | None = None
    log_probability: float | None = None
    tokens: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    end_probability: float | None = None
    attention: list[list[float]] | None = None
    values: list[list[float]] | None = None
    ids: list[int] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return what is known of it, for JSON."""
        record: dict[str, Any] = {"text": self.text, "met_limit": self.met_limit}
        if self.values is not None:
            record["values"] = self.values
        if self.score is not None:
            record |= {"score": self.score, "log_probability": self.log_probability}
            record |= {"tokens": self.tokens, "probabilities": self.probabilities}
            record["end_probability"] = self.end_probability
        return record if self.attention is None else record | {"attention": self.attention}


@one_at_a_time
def predict(
    run: LoadedRun, lines: Sequence[str], first_row: int = 0, folder: Path | None = None
) -> list[str]:
    """Return the prediction for each line of source text; an empty line for an empty one.

    Args:
        run: from `load_run`; it generates as `run.module.search` says.
        lines: source texts as the task writes them; of real values, see `Values.parse`; of images,
            names of files. Tokens that training never saw are read as unknown, with a warning,
            unless the task gives them slots.
        first_row: number of the first line; what sampling draws for a line depends on its number.
        folder: in which images lie; None for the working directory.

    Returns:
        A text for each line.

    Raises:
        ConfigError: if a line of numbers is none, or an image cannot be read.
    """
    by_line = predict_outputs(run, lines, first_row=first_row, folder=folder)
    return [outputs[0].text if outputs else "" for outputs in by_line]


@one_at_a_time
def predict_best(
    run: LoadedRun, lines: Sequence[str], num_best: int
) -> list[list[tuple[str, float]]]:
    """Return the best hypotheses of a beam search for each line, each with its score, best first.

    Args:
        run: from `load_run`; its `module.search` says how wide the beam is.
        lines: as for `predict`.
        num_best: hypotheses at most, 1 to the beam's width.

    Returns:
        For each line its (text, score), where the score is what the beam is ordered by.

    Raises:
        ConfigError: if there are more hypotheses than beams, or the targets are values.
    """
    by_line = predict_outputs(run, lines, num_best=num_best)
    return [[(output.text, output.score or 0.0) for output in outputs] for outputs in by_line]


@one_at_a_time
@torch.no_grad()
def predict_outputs(
    run: LoadedRun,
    lines: Sequence[str],
    *,
    num_best: int | None = None,
    details: bool = False,
    attention: bool = False,
    first_row: int = 0,
    folder: Path | None = None,
) -> list[list[Output]]:
    """Return the outputs for each line, best first; none for an empty line.

    Args:
        run: from `load_run`; it generates as `run.module.search` says.
        lines: as for `predict`.
        num_best: hypotheses of a beam at most; None for the one output of the search.
        details: whether to tell scores and probabilities.
        attention: whether to tell the weights of attention, if there are any.
        first_row: as for `predict`.
        folder: as for `predict`.

    Returns:
        For each line its outputs.

    Raises:
        ConfigError: as `predict` and `predict_best`, and for a run that is told lengths.
    """
    if run.module.search.oracle_length:
        raise ConfigError(
            "this run tells each output the length of its target (oracle_length), but a source "
            "alone has none; give --no-oracle-length (in Python: search_with(run, "
            "oracle_length=False)), or measure it with decoderlab-evaluate"
        )
    _check_num_best(run, num_best)
    with generators_kept(), _precision_of(run):
        # What a class of one's own draws from them is the same each time.
        seed_process(stream_seed(run.config.seed, "decoding", "lines", first_row))
        by_line: list[list[Output]] = [[] for _ in lines]
        words_by_line = words_of_lines(run, lines)
        for index, batch in batches(run, lines, folder, first_row):
            words = [words_by_line[line] for line in index.tolist()]
            if run.module.writes_values:
                outputs = _of_values(run, batch, attention)
            elif num_best is not None:
                outputs = _best(run, batch, num_best, words)
            else:
                generated = run.module(*batch, index + first_row)
                outputs = [
                    [_plain(run, ids, own)] for ids, own in zip(generated, words, strict=True)
                ]
                if details or attention:
                    outputs = _detailed(run, batch, generated, words, attention)
            for row, several in zip(index.tolist(), outputs, strict=True):
                by_line[row] = several
        if num_best is not None and (details or attention):
            return [
                _explained(run, line, several, attention, folder)
                for line, several in zip(lines, by_line, strict=True)
            ]
        return by_line


def _precision_of(run: LoadedRun) -> AbstractContextManager[object]:
    """Return in what a run computes as when it was evaluated; where it cannot, that is said."""
    device = run.module.device.type
    if run.config.training.precision != "bfloat16":
        return nullcontext()
    if device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        warnings.warn(
            "this run was evaluated in bfloat16, which this CPU does not have: float32 is computed "
            "here, and outputs can differ",
            stacklevel=3,
        )
        return nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)


def _check_num_best(run: LoadedRun, num_best: int | None) -> None:
    if num_best is None:
        return
    search = run.module.search
    if run.module.writes_values:
        raise ConfigError("--num-best is for tokens, but this run writes real values; leave it out")
    if search.temperature is not None:
        raise ConfigError(
            "--num-best is for a beam search, which draws nothing; leave --temperature out"
        )
    if search.exact_steps is not None:
        raise ConfigError(
            "--num-best is for a beam search, but an exact search has one output; leave "
            "--exact-steps out and give --beam-width"
        )
    if not 1 <= num_best <= search.beam_width:
        raise ConfigError(
            f"--num-best is {num_best}, but the beam holds {search.beam_width}; take a beam that "
            f"is at least as wide: --beam-width {max(num_best, 1)}"
        )


def _plain(run: LoadedRun, ids: list[int], words: Sequence[str], **more: Any) -> Output:
    text = run.task.text_of(ids, words)
    return Output(text=text, met_limit=run.module.met_limit(ids), ids=ids, **more)


def _of_values(run: LoadedRun, batch: tuple[Tensor, Tensor], attention: bool) -> list[list[Output]]:
    made = run.module(*batch)[:, : run.task.target_length(int(batch[1][0]))]
    vocabulary = of_values(run.task.data.target_vocabulary)
    looked = _looked_at(run.module, run.module.encode(*batch), made) if attention else None
    weights = [None] * len(made) if looked is None else looked.tolist()
    return [
        [
            Output(
                text=run.task.text_of(row),
                values=np.asarray(vocabulary.decode(row)).tolist(),
                attention=of_row,
            )
        ]
        for row, of_row in zip(made.float().cpu().numpy(), weights, strict=True)
    ]


def _looked_at(module: EncoderDecoder, encoded: Encoded, values: Tensor) -> Tensor | None:
    """Return attention (B, T, S) while values (B, T, F) are written; None if there is none."""
    state, weights = module.decoder.start(encoded), []
    before = torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
    for previous in before.unbind(dim=1):
        _, state = module.decoder.step(previous, state)
        if (looked := getattr(state, "attention_weights", None)) is None:
            return None
        weights.append(looked.float())
    return torch.stack(weights, dim=1)


def _best(
    run: LoadedRun, batch: tuple[Tensor, Tensor], num_best: int, words: Sequence[Sequence[str]]
) -> list[list[Output]]:
    module, search = run.module, run.module.search
    space = of_tokens(run.task.data.target_vocabulary).space
    results = search.best(
        module.decoder,
        module.encode(*batch),
        tokens=space,
        max_length=module.max_target_length,
        num_best=num_best,
    )
    parts = (results.tokens.tolist(), results.scores.tolist(), results.log_probabilities.tolist())
    vocabulary = of_tokens(run.task.data.target_vocabulary)
    best = []
    for own, *several in zip(words, *parts, strict=True):
        outputs = []
        for row, score, log_probability in zip(*several, strict=True):
            if score > float("-inf"):
                ids = strip(row, space)
                outputs.append(
                    _plain(
                        run,
                        ids,
                        own,
                        score=score,
                        log_probability=log_probability,
                        tokens=vocabulary.decode(ids, own),
                    )
                )
        best.append(outputs)
    return best


def _explained(
    run: LoadedRun, line: str, several: Sequence[Output], attention: bool, folder: Path | None
) -> list[Output]:
    """Return the hypotheses of one line with probabilities; their scores stay the beam's."""
    if not several:
        return []
    ((_, (source, lengths)),) = batches(run, [line], folder)
    rows = torch.zeros(len(several), dtype=torch.int64)
    generated, words = [output.ids for output in several], words_of_lines(run, [line])
    batch = source[rows], lengths[rows]
    explained = _detailed(run, batch, generated, words * len(several), attention)
    return [
        replace(detailed[0], score=output.score, log_probability=output.log_probability)
        for output, detailed in zip(several, explained, strict=True)
    ]


def _detailed(
    run: LoadedRun,
    batch: tuple[Tensor, Tensor],
    generated: list[list[int]],
    words: Sequence[Sequence[str]],
    attention: bool,
) -> list[list[Output]]:
    """Return outputs with the probability of each token, and what attention looked at."""
    module, vocabulary = run.module, of_tokens(run.task.data.target_vocabulary)
    space, encoded = vocabulary.space, module.encode(*batch)
    cut = [module.met_limit(ids) for ids in generated]
    ends = run.task.append_eos
    whole = [
        ids if met or not ends else [*ids, space.eos_id]
        for ids, met in zip(generated, cut, strict=True)
    ]
    logs, weights = _forced(module, encoded, whole, space)
    outputs = []
    for row, (ids, met) in enumerate(zip(generated, cut, strict=True)):
        length = len(whole[row])
        of_tokens_ = logs[row, : len(ids)].exp().tolist()
        total = float(logs[row, :length].sum())
        penalty = ((5 + length) / 6) ** module.search.length_penalty
        score, factor = total / penalty, module.search.coverage_penalty
        if factor and weights is not None:
            covered = weights[row, :length].double().sum(dim=0)
            score += factor * float(coverage_score(covered, encoded.memory_mask[row]))
        looked = None if weights is None else weights[row, : len(ids)].tolist()
        outputs.append(
            [
                _plain(
                    run,
                    ids,
                    words[row],
                    score=score,
                    log_probability=total,
                    tokens=vocabulary.decode(ids, words[row]),
                    probabilities=of_tokens_,
                    end_probability=None if met or not ends else float(logs[row, len(ids)].exp()),
                    attention=looked if attention else None,
                )
            ]
        )
    return outputs


def _forced(
    module: EncoderDecoder, encoded: Encoded, targets: list[list[int]], space: TokenSpace
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities (B, T) of given tokens, and attention (B, T, S) if there is any."""
    longest = max(map(len, targets))
    padded = [[*ids, *[space.pad_id] * (longest - len(ids))] for ids in targets]
    target = torch.tensor(padded, dtype=torch.int64, device=encoded.summary.device)
    target = target.reshape(len(targets), longest)
    state = module.decoder.start(encoded)
    previous = torch.full_like(target[:, :1], space.bos_id).flatten()
    logs, weights = [], []
    for step in range(longest):
        outputs, state = module.decoder.step(previous, state)
        distribution = allowed(outputs, space).log_softmax(dim=-1)
        previous = target[:, step]
        logs.append(distribution.gather(1, previous[:, None])[:, 0])
        looked = getattr(state, "attention_weights", None)
        if looked is not None:
            weights.append(looked.float())
    stacked = torch.stack(logs, dim=1) if logs else target.new_zeros(len(targets), 0).double()
    return stacked, torch.stack(weights, dim=1) if weights else None


def with_limit(run: LoadedRun, max_length: int) -> LoadedRun:
    """Return a run whose outputs have so many tokens at most, EOS included.

    Args:
        run: from `load_run`; its outputs stay as long as they are.
        max_length: at least 1.

    Raises:
        ConfigError: for values, which have no end, for lengths that are given, and for a length
            out of range.
    """
    if isinstance(run.module.target_space, ValueSpace):
        raise ConfigError("--max-length is for tokens, but this run writes values; leave it out")
    if not 1 <= max_length <= 100_000:
        raise ConfigError(f"--max-length is {max_length}; it must be 1 to 100,000")
    if run.module.search.oracle_length:
        raise ConfigError(
            f"--max-length is {max_length}, but each output is as long as its target "
            "(oracle_length); leave --max-length out, or give --no-oracle-length"
        )
    return run._replace(module=run.module.with_settings(max_target_length=max_length))
