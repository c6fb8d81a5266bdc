"""Small tasks of translation."""

from __future__ import annotations

import pytest

from decoderlab.metrics import Bleu, ChrF
from decoderlab.tasks.bible import BibleTranslationTask
from decoderlab.tasks.emoji_names import EmojiTranslationTask
from tests.conftest import version

SIZES = {"num_validation": 100, "num_test": 200}


def needs(*distributions: str):
    missing = [name for name in ("sacrebleu", *distributions) if version(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def scored(task):
    """Return a task with the metrics that its YAML gives it."""
    if version("sacrebleu") is not None:
        task.metrics = {**task.metrics, "bleu": Bleu(), "chrf": ChrF()}
    return task


def emoji(**settings) -> EmojiTranslationTask:
    return scored(EmojiTranslationTask(**{"target_language": "fr", **SIZES} | settings))


def bible(**settings) -> BibleTranslationTask:
    return BibleTranslationTask(**{"source_bible": "web", "target_bible": "segond"} | settings)
