"""The models whose equations are checked, built small: every YAML, and the options that show."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from decoderlab.common.part_building import taken_by
from decoderlab.contract import Encoded, EncoderShape, ImageSpace, Space, State, TokenSpace
from decoderlab.contract import ValueSpace as Values
from decoderlab.layers import MatrixLSTM
from tests.conftest import variants
from tests.contracts.pairs import settings

TOKENS = TokenSpace(9)
# No two widths are equal, so that no letter fits where another belongs.
SHAPE = EncoderShape(5, 6, 7, state_num_layers=3, has_cell=True)
EQUAL = EncoderShape(8, 8, 8, state_num_layers=3, has_cell=True)
NO_STATE = EncoderShape(5, 6)
STACKED = EncoderShape(5, 6, 8, state_num_layers=3, further_shapes=((4, 3),))


class Case(NamedTuple):
    """A variant, with overrides as on the command line.

    Args:
        group: decoder or encoder.
        name: of the YAML.
        overrides: without the group's name before them; `/part=NAME` chooses a part.
        space: of the targets, or of the sources.
        shape: what the encoder offers a decoder.
    """

    group: str
    name: str
    overrides: tuple[str, ...] = ()
    space: Space = TOKENS
    shape: EncoderShape = SHAPE

    def __str__(self) -> str:
        """Return a name for the test."""
        space = "" if self.space == TOKENS else f"-{self.space.kind}"
        shape = {EQUAL: "-equal", NO_STATE: "-no_state", STACKED: "-stacked"}.get(self.shape, "")
        return "-".join((self.group, self.name, *self.overrides)) + space.replace(" ", "_") + shape


WRITES = 1.5  # added to log i of an mLSTM
# Overrides of decoder YAMLs, a line each, as on the command line.
DENSE = "/bridge=dense"
DECODERS: dict[str, list[str]] = {
    "initial_state": [
        f"{DENSE}",
        f"{DENSE} bridge.cell=zero",
        f"{DENSE} bridge.cell=hidden /cell=lstm_single_bias",
        f"{DENSE} num_layers=2",
        f"{DENSE} num_layers=4 /cell=gru",
        f"{DENSE} bridge.source=summary num_layers=2",
        f"{DENSE} bridge.source=first /cell=rnn_tanh routes=[every_input]",
        "/bridge=dense_nonlinear /cell=rnn_relu",
        "/bridge=dense_nonlinear bridge.source=summary",
        "/bridge=mean",
        "/bridge=mean num_layers=2 /cell=gru_reset_before",
        f"{DENSE} /cell=mingru num_layers=2",
        f"{DENSE} /cell=mingru /feedback=none",
        f"{DENSE} /cell=minlstm num_layers=2",
        f"{DENSE} /cell=slstm num_layers=2",
        f"{DENSE} /cell=slstm /feedback=none head.rank=2",
        f"{DENSE} /cell=mlstm num_layers=2",
        f"{DENSE} /cell=stack num_layers=2 cell.depth=4 cell.width=3",
        f"{DENSE} /cell=stack /feedback=none cell.depth=2",
        f"{DENSE} /cell=lstm_layer_norm",
        f"{DENSE} /cell=lstm_layer_norm num_layers=2 /feedback=none",
        f"{DENSE} /cell=lstm_layer_norm /feedback=none",
        f"{DENSE} /cell=gru /feedback=none",
        f"{DENSE} /cell=gru_reset_before num_layers=2 /feedback=none",
        f"{DENSE} /head=tanh head.size=3",
        f"{DENSE} /head=maxout head.size=3 head.rank=2",
        f"{DENSE} head.rank=2 head.sees_previous=true",
        f"{DENSE} head.tied=true",
        f"{DENSE} head.tied=true embedding_size=8",
        f"{DENSE} /head=maxout head.state=previous head.tied=true",
        f"{DENSE} embedding_size=null",
        f"{DENSE} /feedback=scheduled_sampling feedback.schedule=linear",
    ],
    "every_input": [
        "/bridge=learned",
        "/bridge=learned bridge.cell=hidden num_layers=2",
        "/bridge=learned bridge.cell=zero",
        "combine=add",
        "combine=mul /cell=gru",
        "/cell=gru_reset_summary num_layers=2",
        "/cell=gru_reset_summary routes=[first_input,every_input] num_layers=2",
        "/cell=gru_reset_summary routes=[first_input,every_input] /feedback=none",
    ],
    "first_input": [
        "num_layers=2 /cell=gru",
        "/cell=mlstm",
        "routes=[first_input,output] combine=mul",
    ],
    "output": ["combine=add head.sees_previous=true", "combine=mul head.state=previous"],
    "all_routes": [
        f"{DENSE} combine=add",
        f"{DENSE} combine=mul /head=tanh head.sees_previous=true",
        f"{DENSE} /feedback=none num_layers=2",
    ],
    "luong": [
        f"{DENSE} /attention=general",
        f"{DENSE} /attention=additive attention.size=3",
        f"{DENSE} /attention=concat attention.size=3",
        f"{DENSE} attention.mixing=none",
        f"{DENSE} attention.mixing=deep",
        f"{DENSE} attention.query=previous",
        f"{DENSE} attention.query=previous attention.mixing=none head.state=previous",
        f"{DENSE} attention.query=previous attention.input_feeding=true num_layers=2",
        f"{DENSE} attention.query=previous attention.input_feeding=true attention.mixing=deep",
        f"{DENSE} attention.query=between",
        f"{DENSE} attention.query=between attention.input_feeding=true num_layers=2 /cell=gru",
        f"{DENSE} attention.query=between /cell=gru_reset_before attention.mixing=none "
        "head.state=previous",
        f"{DENSE} attention.query=between /cell=slstm num_layers=2 routes=[first_input]",
        f"{DENSE} attention.query=between /cell=rnn_tanh",
        f"{DENSE} attention.query=between /cell=lstm_layer_norm /attention=coverage",
        f"{DENSE} attention.query=between /cell=mingru /feedback=none",
        f"{DENSE} /attention=concat attention.hops=3 attention.query=previous",
        f"{DENSE} /attention=location_aware attention.hops=2",
        "routes=[] /bridge=zero /feedback=none attention.input_feeding=true",
        "routes=[] /bridge=zero /feedback=none attention.query=previous",
        f"{DENSE} /attention=location",
        f"{DENSE} /attention=local_monotonic attention.score.half_width=1",
        f"{DENSE} /attention=local_predicted attention.score.half_width=1 attention.query=previous",
        f"{DENSE} /attention=location_aware attention.score.filter_width=3 attention.size=3",
        f"{DENSE} /attention=coverage attention.size=3 attention.query=previous",
        f"{DENSE} /attention=monotonic attention.input_feeding=true",
        f"{DENSE} /attention=entmax attention.score.temperature=2",
        f"{DENSE} /attention=sparsemax attention.query=previous",
        f"{DENSE} /head=pointer",
        f"{DENSE} /head=pointer attention.mixing=none head.sees_previous=true head.rank=2",
        f"{DENSE} /head=pointer head.tied=true /attention=coverage",
    ],
    "hard_attention": [f"{DENSE} num_layers=2 /cell=gru", f"{DENSE} /cell=mingru"],
    "hard_monotonic": [f"{DENSE} num_layers=2", f"{DENSE} embedding_size=null"],
    "ctc": ["upsampling=1", "hidden_size=5"],
    "luong_input_feeding": [
        f"{DENSE} attention.mixing=none",
        f"{DENSE} attention.mixing=deep",
        f"{DENSE} routes=[initial_state,every_input,output] combine=add num_layers=2",
        f"{DENSE} routes=[initial_state,every_input] combine=mul /attention=additive",
        "routes=[first_input] /attention=concat /cell=gru",
    ],
    "softmax_feedback": [DENSE, f"{DENSE} embedding_size=null"],
    "bahdanau2015": ["attention.input_feeding=false", "head.state=current head.rank=2"],
    "cho2014": ["num_layers=2", "head.rank=2"],
    "feedforward": ["num_layers=1", "embedding_size=null"],
    "transformer": ["norm_first=false", "num_layers=1 feedforward_size=3", "num_heads=4"],
}
# Where widths must be equal: what is copied, and dot products.
SQUARE: dict[str, list[str]] = {
    "initial_state": [
        "",
        "num_layers=2",
        "bridge.source=summary",
        "bridge.source=first routes=[every_input]",
        "bridge.cell=hidden",
        "bridge.cell=zero",
        "/bridge=copy_all num_layers=2",
    ],
    "luong": [
        "/attention=dot",
        "/attention=scaled_dot attention.query=previous",
        "/attention=dot attention.heads=4",
        "/attention=additive attention.heads=2 attention.size=4",
        "/attention=coverage attention.heads=2 attention.hops=2",
        "/attention=monotonic attention.heads=2 attention.query=previous",
        "/attention=local_predicted attention.score.half_width=1 attention.heads=2 "
        "attention.hops=2",
        "/attention=entmax attention.heads=2 attention.input_feeding=true",
    ],
}
STATELESS: dict[str, list[str]] = {"initial_state": [DENSE, f"{DENSE} /cell=gru num_layers=2"]}
COPIED = "/bridge=copy_all /cell=stack cell.depth=4 cell.width=3"
STACKS: dict[str, list[str]] = {"initial_state": [COPIED, f"{COPIED} num_layers=2"]}
OF_VALUES: dict[str, list[str]] = {
    "initial_state": [
        f"{DENSE} head.distribution=point",
        f"{DENSE} embedding_size=null head.distribution=gaussian",
    ],
    "free_running": [f"{DENSE} head.distribution=gaussian /head=tanh"],
    "luong_input_feeding": [f"{DENSE} head.distribution=point"],
}
ENCODERS: dict[str, list[str]] = {
    "lstm": [
        "num_layers=2",
        "reverse_source=true",
        "embedding_size=null summary_size=3",
        "summary=mean",
    ],
    "bilstm": [
        "num_layers=2",
        "reverse_source=true summary=backward",
        "summary=backward summary_size=3",
        "num_layers=3 residual=true",
        "num_layers=2 /cell=lstm_layer_norm summary=max",
        "num_layers=2 /cell=slstm",
        "num_layers=2 zoneout=0.25",
        "/cell=gru zoneout=0.25 variational_dropout=0.5",
        "num_layers=2 variational_dropout=0.5",
        "num_layers=2 /cell=stack cell.depth=3",
        "num_layers=2 /cell=mlstm",
        "/cell=minlstm residual=true num_layers=2",
    ],
    "gru": ["num_layers=2", "bidirectional=true", "/cell=mingru bidirectional=true"],
    "bahdanau2015": ["num_layers=2 residual=true"],
    "lstm_residual": ["reverse_source=true", "summary=max /cell=gru"],
    "rnn": ["/cell=rnn_relu"],
    "cnn": ["kernel_size=5 summary=mean", "num_layers=1", "embedding_size=8", "kernel_size=1"],
    "image_cnn": [
        "summary=mean",
        "summary=max layer_norm=true",
        "layer_norm=true",
        "num_layers=1",
    ],
    "transformer": ["norm_first=false summary=max", "num_layers=1 feedforward_size=3"],
}
VALUE_ENCODERS: dict[str, list[str]] = {
    "lstm": ["", "embedding_size=null"],
    "cnn": ["embedding_size=null"],
    "transformer": [""],
}


def decoder_cases() -> list[Case]:
    """Return every decoder YAML, and the tables above."""
    made = [Case("decoder", name, shape=EQUAL) for name in variants("decoder")]
    for table, space, shape in (
        (DECODERS, TOKENS, SHAPE),
        (SQUARE, TOKENS, EQUAL),
        (STATELESS, TOKENS, NO_STATE),
        (STACKS, TOKENS, STACKED),
        (OF_VALUES, Values(2), SHAPE),
    ):
        made += [
            Case("decoder", name, tuple(one.split()), space, shape)
            for name, rows in table.items()
            for one in rows
        ]
    return list(dict.fromkeys(made))


def encoder_cases() -> list[Case]:
    """Return every encoder YAML, and the tables above."""
    images = ImageSpace(channels=2, height=7, width=4)
    made = [
        Case("encoder", name, (), images if name == "image_cnn" else TOKENS)
        for name in variants("encoder")
    ]
    for table, space in ((ENCODERS, TOKENS), (VALUE_ENCODERS, Values(2))):
        made += [
            Case("encoder", name, tuple(row.split()), images if name == "image_cnn" else space)
            for name, rows in table.items()
            for row in rows
        ]
    return list(dict.fromkeys(made))


@cache
def built(case: Case) -> nn.Module:
    """Build a case in float64, all its numbers drawn at random."""
    overrides = [
        f"{case.group}{one}" if one.startswith("/") else f"{case.group}.{one}"
        for one in case.overrides
    ]
    target, chosen = settings(case.group, case.name, *overrides)
    if case.group == "decoder":
        known = taken_by(target, {"source_space": TOKENS, "alignment": torch.tensor(ALIGNMENT)})
        module = target(target_space=case.space, encoder_shape=case.shape, **known, **chosen)
    else:
        module = target(source_space=case.space, **chosen)
    generator = torch.Generator().manual_seed(1)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() * 0.6)
        for cell in module.modules():
            if isinstance(cell, MatrixLSTM):  # so that |n q| is above 1 in some steps, not in all
                cell.bias_gates[0] += WRITES
    return module


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters of a module as arrays."""
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


LENGTHS = [4, 2]
SOURCE = torch.tensor([[5, 7, 4, 8], [6, 5, 0, 0]])
# Of each source id the target id of the same token, -1 where targets lack it.
ALIGNMENT = [-1, -1, -1, -1, 6, 4, -1, 4, 8]


def _normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def encoded(shape: EncoderShape) -> Encoded:
    """Return something for a decoder of this shape to read, two rows of 4 and 2 positions."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    memory = _normal(2, max(LENGTHS), shape.memory_size) * mask[..., None]
    state = None
    if shape.state_size is not None:
        size = (shape.state_num_layers, 2, shape.state_size)
        further = tuple(_normal(*size[:2], *rest) for rest in shape.further_shapes)
        cell = _normal(*size, 1)[..., 0] if shape.has_cell else None
        state = State(_normal(*size), cell, further)
    return Encoded(memory, mask, _normal(2, shape.summary_size, 1)[..., 0], state, SOURCE)


def target(space: Any) -> Tensor:
    """Return two targets of three positions, without special ids."""
    if isinstance(space, TokenSpace):
        return torch.tensor([[5, 7, 4], [8, 4, 6]])
    return _normal(2, 3, space.size)


def source(space: Any) -> tuple[Tensor, Tensor]:
    """Return two sources of `LENGTHS`, and their lengths."""
    lengths = torch.tensor(LENGTHS)
    if isinstance(space, TokenSpace):
        return SOURCE, lengths
    if isinstance(space, ImageSpace):
        return _normal(2, space.channels, space.height, space.width), torch.ones(2).long()
    values = _normal(2, max(LENGTHS), space.size)
    return values * (torch.arange(max(LENGTHS)) < lengths[:, None])[..., None], lengths
