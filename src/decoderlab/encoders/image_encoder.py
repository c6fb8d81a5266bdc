"""An encoder of images: convolutions, whose last grid is the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, ImageSpace, Space
from decoderlab.layers.equations import Equation, Letters, count
from decoderlab.layers.pooling import Pooling, build_pooling


class ImageEncoder(nn.Module):
    """Reads an image with convolutions of stride 2; each place of the last grid is a memory vector.

    Paper: a convolutional network as the encoder, Vinyals et al. 2015, section 3
        (https://arxiv.org/abs/1411.4555); its grid as the memory that attention looks at, Xu et al.
        2015, section 3.1.1 (https://arxiv.org/abs/1502.03044).
    Differs: the papers take a deep network that was trained on ImageNet; this one is small and
        learns with the decoder. `mean` is the vector from which Xu et al. start their decoder
        (section 3.1.2); `max`, `flatten` and `layer_norm` are ours.

    Args:
        source_space: images.
        hidden_size: channels of each layer, width of the memory and of the summary, at least 1.
        num_layers: convolutions 3x3, each of which halves height and width (rounded up), at
            least 1 and no more than it takes to come to a single place.
        summary: of the grid: `mean` or `max` over its places, or `flatten`, an affine map of the
            whole grid, which alone knows where something was; or a class, see `Pooling`.
        layer_norm: normalise each memory vector, and the summary (Ba et al. 2016). Without it the
            summary has no bound; in the first updates it can grow to hundreds, whatever the image,
            and a decoder that starts from it then learns nothing of the image.

    Shapes:
        source: (B, C, height, width) floats; source_lengths is not looked at.
        Returns Encoded: memory (B, S, H), the grid row by row; memory_mask (B, S) bool, all True;
        summary (B, H); no state.

    Raises:
        ValueError: if the sources are no images, for a size out of range, or an unknown `summary`.

    Example:
        >>> encoder = ImageEncoder(source_space=ImageSpace(1, 8, 6), hidden_size=5, num_layers=2)
        >>> encoded = encoder(torch.zeros(2, 1, 8, 6), torch.ones(2).long())
        >>> encoded.memory.shape, encoded.summary.shape
        (torch.Size([2, 4, 5]), torch.Size([2, 5]))
    """

    OWN_NAMES: ClassVar[dict[str, Sequence[str]]] = {"summary": ("flatten",)}

    def __init__(
        self,
        *,
        source_space: Space,
        hidden_size: int,
        num_layers: int = 2,
        summary: str | Callable[..., Pooling] = "mean",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(source_space, ImageSpace):
            raise ValueError(
                f"the encoder reads images, but the sources are {source_space.kind}; take a task "
                "with images, such as task=shapes, or encoder=lstm"
            )
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        self.pool = build_pooling(summary, hidden_size, own=self.OWN_NAMES["summary"])
        height, width = source_space.height, source_space.width
        layers = []
        channels = source_space.channels
        for layer in range(num_layers):
            if height == width == 1:
                raise ValueError(
                    f"num_layers is {num_layers}, but an image of {source_space.height} by "
                    f"{source_space.width} is a single pixel after {layer}; take at most that many"
                )
            layers += [nn.Conv2d(channels, hidden_size, 3, stride=2, padding=1), nn.ReLU()]
            channels, height, width = hidden_size, -(-height // 2), -(-width // 2)
        self.layers = nn.Sequential(*layers)
        self.grid = (height, width)
        self.flat = None
        if self.pool is None:
            self.flat = nn.Linear(height * width * hidden_size, hidden_size)
        # Separate, so that the scale of what is looked at is not that of what is started from.
        self.norm_memory = nn.LayerNorm(hidden_size) if layer_norm else nn.Identity()
        size = hidden_size if self.pool is None else self.pool.size
        self.norm_summary = nn.LayerNorm(size) if layer_norm else nn.Identity()
        self.shape = EncoderShape(memory_size=hidden_size, summary_size=size)

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch of images."""
        grid = self.layers(source)
        memory = self.norm_memory(grid.flatten(2).transpose(1, 2))
        memory_mask = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        if self.flat is not None:
            summary = self.flat(memory.flatten(1))
        else:
            summary = require.given("the pooling", self.pool)(memory, memory_mask)
        return Encoded(memory, memory_mask, self.norm_summary(summary), None)

    def equations(self) -> list[Equation]:
        """Return what is computed; see `decoderlab.layers.equations`."""
        size, number = self.shape.memory_size, len(self.layers) // 2
        grid = f"{self.grid[0]} x {self.grid[1]}"
        summary = f"W_c m + b_c, all {self.grid[0] * self.grid[1]} places side by side"
        if self.pool is not None:
            summary = self.pool.right_side()
        own = count(self.flat, self.pool, self.norm_summary)
        memory = f"place j of g^{number}, {grid}"
        if isinstance(self.norm_memory, nn.LayerNorm):
            memory, summary = f"LN({memory})", f"LN({summary})"
        return [
            Equation("g^0", "the image"),
            Equation(
                f"g^l, l = 1..{number}",
                "max(0, W_l * g^{l-1} + b_l), 3 x 3, every second place",
                size,
                count(self.layers),
            ),
            Equation("m_j", memory, size, count(self.norm_memory)),
            Equation(
                "c",
                summary,
                self.shape.summary_size,
                own,
            ),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "g^l": {"W_l": "layers.{even}.weight", "b_l": "layers.{even}.bias"},
            "m_j": {"LN": "norm_memory"},
            "c": {"W_c": "flat.weight", "b_c": "flat.bias", "LN": "norm_summary"},
        }
