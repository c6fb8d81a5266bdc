"""The bridge that copies the whole of the encoder's state, whatever its cells keep."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.bridges.bridge import Bridge, pairing, pairing_equations
from decoderlab.layers.equations import Equation


class CopyAllBridge(Bridge):
    """s_0 = h, and whatever else the cells keep is the encoder's too: a stack, a matrix, a cell.

    Layers are paired from the top, see `pairing`.

    Paper: Sutskever et al. 2014, section 2 (https://arxiv.org/abs/1409.3215), of hidden and cell.
    Differs: other bridges leave what is neither hidden nor cell at zero.

    Args:
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers; that of the encoder.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state; as the encoder's do.
        further_shapes: of what else the decoder's layers keep; those of the encoder.

    Raises:
        ValueError: for states of different shapes.

    Shapes:
        as in `Bridge`, with `State.further`: (L, B, ...) each.
    """

    carries_further = True

    def __init__(
        self,
        *,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
        further_shapes: Sequence[tuple[int, ...]] = (),
    ) -> None:
        super().__init__()
        theirs = "none"
        if encoder_shape.state_size is not None:
            theirs = _described(
                encoder_shape.state_size, encoder_shape.has_cell, encoder_shape.further_shapes
            )
        ours = _described(hidden_size, has_cell, further_shapes)
        if theirs != ours:
            raise ValueError(
                f"bridge is 'copy_all', but the encoder's state is {theirs} and the decoder's "
                f"{ours}; take one cell with the same settings and hidden_size for both and "
                "encoder.bidirectional=false, or decoder/bridge=dense, which carries no more than "
                "hidden and cell"
            )
        self.hidden_size, self.has_cell = hidden_size, has_cell
        self.pairing = pairing(encoder_shape.state_num_layers, num_layers)

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        state = require.given("the encoder's state, which the bridge copies", encoded.state)
        return state.map(lambda part: part[self.pairing])

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell."""
        cell = [Equation("k_0", "the encoder's last k", self.hidden_size)]
        return [
            Equation("s_0", "the encoder's last h", self.hidden_size),
            *pairing_equations(self.reads, self.pairing),
            *(cell if self.has_cell else []),
        ]


def _described(size: int, has_cell: bool, further: Sequence[tuple[int, ...]]) -> str:
    """Return a state in words, such as `hidden 64, cell 64, further 30 x 8`."""
    named = [("hidden", (size,)), ("cell", (size,) * has_cell)]
    named += [("further", tuple(shape)) for shape in further]
    return ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in named if shape)
