"""Tasks: data with vocabularies and metrics. A task exists when its YAML in conf/task exists."""

from decoderlab.tasks.addition import AdditionTask
from decoderlab.tasks.autoencoder import AutoencoderTask
from decoderlab.tasks.bible import BibleTranslationTask
from decoderlab.tasks.captioning import DigitsTask, EmojiTask
from decoderlab.tasks.conversation import ConversationTask
from decoderlab.tasks.date import DateTask
from decoderlab.tasks.echo import EchoTask
from decoderlab.tasks.emoji_names import EmojiTranslationTask
from decoderlab.tasks.forecasting import ForecastingTask
from decoderlab.tasks.g2p import G2PTask
from decoderlab.tasks.learning_to_execute import LearningToExecuteTask
from decoderlab.tasks.movement import MovementTask
from decoderlab.tasks.scan import ScanTask
from decoderlab.tasks.shapes import ShapesTask
from decoderlab.tasks.spelling import SpellingTask
from decoderlab.tasks.translation import FilesTranslationTask
from decoderlab.tasks.tsv import TSVTask

__all__ = [
    "AdditionTask",
    "AutoencoderTask",
    "BibleTranslationTask",
    "ConversationTask",
    "DateTask",
    "DigitsTask",
    "EchoTask",
    "EmojiTask",
    "EmojiTranslationTask",
    "FilesTranslationTask",
    "ForecastingTask",
    "G2PTask",
    "LearningToExecuteTask",
    "MovementTask",
    "ScanTask",
    "ShapesTask",
    "SpellingTask",
    "TSVTask",
]
