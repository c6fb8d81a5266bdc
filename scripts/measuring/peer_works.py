"""What is compared with peers: each work with our sides, and those of the peers that do it.

A work is opened when it is measured: that builds the models, starts the peers' processes, and
warms all of them up, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from measuring.environments import Environment
from measuring.our_sides import BareLoop, OurOutputs, OurRun, trained_model, write_pairs
from measuring.peer_process import PeerProcess
from measuring.timed_runs import prepared_run
from measuring.turns import Side, Turn

Say = Callable[[str], None]
# Before outputs are timed, models are trained for so long that they end their outputs.
TRAINED = 300
GRADIENT_NORM = 5.0


class Peer(NamedTuple):
    """How a peer is installed and started.

    Args:
        title: in tables.
        environment: with its packages.
        script: in scripts/peers.
        variables: of its process.
    """

    title: str
    environment: Environment
    script: str
    variables: dict[str, str]


class PeerSide:
    """A peer's process as one of those that take turns."""

    def __init__(self, process: PeerProcess, do: str, **values: Any) -> None:
        self.name, self.process, self.do, self.values = process.name, process, do, values

    def turn(self) -> Turn:
        """Let the peer do its work once."""
        answer = self.process.ask(self.do, **self.values)
        return Turn(answer["amount"], answer["seconds"], answer.get("note", ""))


class Sides(NamedTuple):
    """Those that take turns at a work."""

    ours: list[Side]
    peers: list[Side]


@dataclass(frozen=True)
class Setting:
    """What a work needs to be opened.

    Args:
        peers: those that were asked for and take part, by name.
        updates: of a turn; None for the work's own number.
        folder: for files.
        say: is given lines of progress.
    """

    peers: dict[str, Peer]
    updates: int | None
    folder: Path
    say: Say


@dataclass(frozen=True)
class Work:
    """A row, or several, of the comparison.

    Args:
        name: short, for `--only`.
        title: in the table.
        unit: of the amounts.
        peers: names of those that can do it.
        sides: makes them, in a block that ends the peers' processes.
    """

    name: str
    title: str
    unit: str
    peers: tuple[str, ...]
    sides: Callable[[Setting, ExitStack], Sides]

    @contextmanager
    def opened(self, setting: Setting) -> Iterator[Sides]:
        """Build and warm up all sides; the peers' processes end with the block."""
        kept = {name: peer for name, peer in setting.peers.items() if name in self.peers}
        with ExitStack() as stack:
            yield self.sides(Setting(kept, setting.updates, setting.folder, setting.say), stack)


def processes_of(setting: Setting, stack: ExitStack, settings: dict[str, Any]) -> list[PeerProcess]:
    """Return the processes of all peers of a work, each ready before the next is started."""
    processes = []
    for name, peer in setting.peers.items():
        process = PeerProcess(
            name=peer.title,
            python=peer.environment.python(),
            script=peer.script,
            settings=settings,
            log=setting.folder / f"{name}.log",
            environment=peer.variables,
        )
        processes.append(stack.enter_context(process))
        process.wait_until_ready(setting.say)
    return processes


@dataclass(frozen=True)
class Addition:
    """The article's model on characters of fixed numbers, as one-hot vectors.

    Args:
        task: overrides that give the data.
        size: characters, for Keras; ours has those of its task.
        batch_size, hidden_size, source, target: samples, units and lengths.
    """

    task: tuple[str, ...]
    size: int
    batch_size: int
    hidden_size: int
    source: int
    target: int

    @property
    def overrides(self) -> list[str]:
        """The same for decoderlab-train; Keras clips no gradient."""
        return [
            *self.task,
            "encoder=lstm",
            "decoder=repeat_vector",
            "encoder.embedding_size=null",
            f"encoder.hidden_size={self.hidden_size}",
            f"decoder.hidden_size={self.hidden_size}",
            f"training.batch_size={self.batch_size}",
            "training.gradient_clip_norm=null",
        ]

    def settings(self, does: str) -> dict[str, Any]:
        """The same for scripts/peers/keras_peer.py."""
        names = ("size", "batch_size", "hidden_size", "source", "target")
        return {name: getattr(self, name) for name in names} | {"does": does}


SMALL = Addition(("task=addition", "task.padding=right"), 12, 32, 128, 7, 4)
LARGE = Addition(
    (
        "task=copy",
        "task.num_values=36",
        "task.min_length=20",
        "task.max_length=20",
        "task.pad_target=true",
    ),
    *(40, 64, 256, 20, 20),
)


def training(model: Addition, updates: int, setting: Setting, stack: ExitStack) -> Sides:
    """Return the sides that train the article's model; a bare loop is a peer too."""
    updates = setting.updates or updates
    setting.say("  building and warming up ours")
    run = OurRun("a run", [*model.overrides, "task.num_test=10"], updates=updates)
    bare = BareLoop("a bare loop of PyTorch", run.prepared, updates=updates)
    processes = processes_of(setting, stack, model.settings("train"))
    keras = [PeerSide(process, "train", updates=updates) for process in processes]
    return Sides([run], [bare, *keras])


def writing(do: str, decoder: str, rows: int, setting: Setting, stack: ExitStack) -> Sides:
    """Return the sides that write outputs, Keras as its examples do: a call a row, or a token."""
    overrides = [*SMALL.overrides, f"decoder={decoder}", "decoder.embedding_size=null"]
    setting.say(f"  training ours for {TRAINED} updates, that outputs end")
    prepared = prepared_run(overrides, TRAINED, Path("unused"))
    model = trained_model(prepared, TRAINED)
    ours = OurOutputs("batches of 64", prepared.task, model, batch_size=64)
    processes = processes_of(setting, stack, SMALL.settings(do))
    return Sides([ours], [PeerSide(process, do, rows=rows) for process in processes])


G2P = (
    "task=g2p",
    "encoder=bilstm",
    "encoder.hidden_size=128",
    "encoder.embedding_size=128",
    "decoder.hidden_size=256",
    "decoder.embedding_size=128",
    "training.batch_size=64",
    f"training.gradient_clip_norm={GRADIENT_NORM}",
)


def yoyodyne_settings(kind: str, paths: dict[str, str], longest: int, folder: Path) -> dict:
    """Return the settings of scripts/peers/yoyodyne_peer.py that are those of G2P."""
    return {
        "kind": kind,
        "paths": paths,
        "folder": str(folder),
        "batch_size": 64,
        "embedding_size": 128,
        "encoder_size": 128,
        "decoder_size": 256,
        "gradient_clip_norm": GRADIENT_NORM,
        "max_target_length": longest,
        "warm_up": 20,
    }


def pronouncing(
    kind: str, decoders: dict[str, str], updates: int, setting: Setting, stack: ExitStack
) -> Sides:
    """Return the sides that train on words and validate on two words an update, as 500 on 1,000."""
    updates = setting.updates or updates
    setting.say("  building and warming up ours")
    counts = (f"task.num_validation={2 * updates}", "task.num_test=10")
    runs = [
        OurRun(name, [*G2P, f"decoder={decoder}", *counts], updates=updates, validated=True)
        for name, decoder in decoders.items()
    ]
    task = runs[0].prepared.task
    paths = write_pairs(task, setting.folder)
    settings = yoyodyne_settings(kind, paths, task.data.max_target_length, setting.folder)
    processes = processes_of(setting, stack, settings)
    return Sides([*runs], [PeerSide(process, "train", updates=updates) for process in processes])


def decoding(beam_width: int, setting: Setting, stack: ExitStack) -> Sides:
    """Return the sides that write the pronunciations of 1,000 words."""
    overrides = [*G2P, "decoder=every_input", "task.num_validation=10", "task.num_test=1000"]
    setting.say(f"  training each for {TRAINED} updates, that outputs end")
    prepared = prepared_run(overrides, TRAINED, Path("unused"))
    task = prepared.task
    model = trained_model(prepared, TRAINED)
    ours = OurOutputs(
        "batches of 64", task, model, batch_size=64, beam_width=beam_width, spaced=True
    )
    paths = write_pairs(task, setting.folder)
    settings = yoyodyne_settings("lstm", paths, task.data.max_target_length, setting.folder)
    processes = processes_of(setting, stack, settings | {"warm_up": TRAINED})
    peers = [PeerSide(process, "predict", beam_width=beam_width) for process in processes]
    for peer in peers:
        peer.turn()  # warm-up
    return Sides([ours], [*peers])


KERAS, YOYODYNE = ("keras_jax", "keras_tensorflow"), ("yoyodyne",)
PEERS = {
    "keras_jax": Peer(
        "Keras on JAX",
        Environment("keras_jax", ("keras", "jax"), ("keras", "jax")),
        "keras_peer.py",
        {"KERAS_BACKEND": "jax"},
    ),
    "keras_tensorflow": Peer(
        "Keras on TensorFlow",
        Environment("keras_tensorflow", ("keras", "tensorflow-cpu"), ("keras", "tensorflow-cpu")),
        "keras_peer.py",
        {"KERAS_BACKEND": "tensorflow"},
    ),
    "yoyodyne": Peer(
        "yoyodyne",
        Environment("yoyodyne", ("yoyodyne",), ("yoyodyne", "torch", "lightning")),
        "yoyodyne_peer.py",
        {},
    ),
}
# What `--peers` takes, and which of the above that is.
ASKED = {"keras": KERAS, "yoyodyne": YOYODYNE}
ATTENTIVE = {"luong": "luong", "input feeding": "luong_input_feeding"}
WORKS: Sequence[Work] = (
    Work(
        "article_small",
        "the article's model: B 32, H 128, T 7 to 4",
        "samples",
        KERAS,
        partial(training, SMALL, 300),
    ),
    Work(
        "article_large",
        "the article's model: B 64, H 256, T 20 to 20, V 40",
        "samples",
        KERAS,
        partial(training, LARGE, 50),
    ),
    Work(
        "g2p",
        "G2P without attention, validation included",
        "words",
        YOYODYNE,
        partial(pronouncing, "lstm", {"every input": "every_input"}, 250),
    ),
    Work(
        "g2p_attention",
        "G2P with attention, validation included",
        "words",
        YOYODYNE,
        partial(pronouncing, "attentive_lstm", ATTENTIVE, 250),
    ),
    Work(
        "decoding_greedy",
        "1,000 words, batches of 64, greedy",
        "words",
        YOYODYNE,
        partial(decoding, 1),
    ),
    Work(
        "decoding_beam",
        "1,000 words, batches of 64, beam of 5",
        "words",
        YOYODYNE,
        partial(decoding, 5),
    ),
    Work(
        "addition_outputs",
        "outputs of the small model; Keras a call a row, as `addition_rnn`",
        "samples",
        KERAS,
        partial(writing, "predict_rows", "repeat_vector", 30),
    ),
    Work(
        "token_outputs",
        "outputs token by token; Keras a call a token, as `lstm_seq2seq`",
        "samples",
        KERAS,
        partial(writing, "predict_tokens", "initial_state", 10),
    ),
)
