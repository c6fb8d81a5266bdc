"""Feedback: what a decoder sees of its own output while it is trained."""

from decoderlab.decoders.feedback.decays import (
    SCHEDULES,
    ConstantDecay,
    Decay,
    ExponentialDecay,
    InverseSigmoidDecay,
    LinearDecay,
)
from decoderlab.decoders.feedback.feedback import Feedback, before_each
from decoderlab.decoders.feedback.scheduled_sampling import SCOPES, FreeRunning, ScheduledSampling
from decoderlab.decoders.feedback.softmax_feedback import SoftmaxFeedback
from decoderlab.decoders.feedback.teacher_forcing import NoFeedback, TeacherForcing

__all__ = [
    "SCHEDULES",
    "SCOPES",
    "ConstantDecay",
    "Decay",
    "ExponentialDecay",
    "Feedback",
    "FreeRunning",
    "InverseSigmoidDecay",
    "LinearDecay",
    "NoFeedback",
    "ScheduledSampling",
    "SoftmaxFeedback",
    "TeacherForcing",
    "before_each",
]
