"""Teacher forcing, and no feedback at all."""

from __future__ import annotations

from decoderlab.decoders.feedback.feedback import Feedback


class TeacherForcing(Feedback):
    """Training sees the target's previous token.

    Paper: Williams and Zipser 1989.
    Differs: none.
    """

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        return "in training the target's, in generation what was generated"


class NoFeedback(Feedback):
    """The decoder never sees an output, neither in training nor in generation."""

    sees_output = False
    sees_target = False
