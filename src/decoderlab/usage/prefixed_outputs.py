"""Outputs that begin with a given text."""

from __future__ import annotations

import unicodedata

import torch

from decoderlab.common.errors import ConfigError
from decoderlab.contract import ValueSpace
from decoderlab.data.task_data import of_tokens
from decoderlab.generation.forced_prefix import ForcedPrefix
from decoderlab.training.loading import LoadedRun


def with_prefix(run: LoadedRun, prefix: str) -> LoadedRun:
    """Return a run whose outputs begin with a text, however it searches; see `ForcedPrefix`.

    Args:
        run: from `load_run`; it generates as before.
        prefix: as the task writes its texts.

    Raises:
        ConfigError: for values, for a text that is empty or that the run has no tokens for, for a
            task that does not write its texts from the left, and for more tokens than an output may
            have.
    """
    if isinstance(run.module.target_space, ValueSpace):
        raise ConfigError("--prefix is for tokens, but this run writes real values; leave it out")
    tokens = _tokens_of(run, unicodedata.normalize("NFC", prefix))
    vocabulary = of_tokens(run.task.data.target_vocabulary)
    ids = vocabulary.encode(tokens)
    unknown = [
        token
        for token, number in zip(tokens, ids, strict=True)
        if number in vocabulary.space.never_generated
    ]
    if unknown:
        so = "no output can have it"
        if vocabulary.unknown_slots:
            so = "only the output of a source with it can have it, and a prefix is for all"
        raise ConfigError(
            f"--prefix is {prefix!r:.200}, but training never saw {unknown[0]!r:.60} in a target, "
            f"so that {so}; take a text of what targets are made of"
        )
    if len(ids) >= run.module.max_target_length:
        raise ConfigError(
            f"--prefix has {len(ids)} tokens, but an output at most "
            f"{run.module.max_target_length}, its end included; take a shorter text, or give "
            f"--max-length {len(ids) + 2} or more"
        )
    module = run.module.with_settings()
    module.decoder = ForcedPrefix(module.decoder, torch.tensor([ids]), vocabulary.space)
    return run._replace(module=module)


def _tokens_of(run: LoadedRun, prefix: str) -> list[str]:
    """Return the target tokens whose text is the prefix."""
    task = run.task
    first = of_tokens(task.data.target_vocabulary).entries[:1]
    for tokens in (list(task.pieces("target", prefix)), list(prefix), prefix.split()):
        text = task.target_text(tokens)
        # Of a text that is written from the left, a beginning stays the beginning.
        goes_on = task.target_text([*tokens, *first]).startswith(text)
        if tokens and goes_on and text in (prefix, prefix.strip()):
            return tokens
    raise ConfigError(
        f"--prefix is {prefix!r:.200}, which is no beginning of a text as this task writes it; "
        "give tokens as its targets have them"
    )
