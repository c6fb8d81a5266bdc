"""Feedback of the decoder's own distribution."""

from __future__ import annotations

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.feedback.feedback import Feedback


class SoftmaxFeedback(Feedback):
    """A step sees no token, but the distribution over tokens of the step before.

    Zeros come before the first. In training and in generation alike, and the gradient passes
    through it.

    Paper: the feedback of the article's AttentionDecoder (Brownlee 2017,
        https://machinelearningmastery.com/encoder-decoder-attention-sequence-to-sequence-prediction-keras/).
    Differs: none.

    Raises:
        ValueError: for real-valued targets, which have no such distribution.
    """

    sees_target = False
    sees_distribution = True

    def __init__(self, *, target_space: TokenSpace | ValueSpace) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError(
                "feedback is 'softmax', but the targets are real values, which have none; take "
                "decoder/feedback=free_running"
            )

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        return (
            "softmax(logits_{t-1}) over what can be generated, in training too; 0 before the first"
        )
