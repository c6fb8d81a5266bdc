"""What all tests share: tiny configs, composed in the process, on temporary paths."""

from __future__ import annotations

import copy
import gc
import os
import signal
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anything imports keras

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import absl.logging
import pytest
import torch
from hydra import compose, initialize_config_dir

from decoderlab.common import process
from decoderlab.common.folders import conf_dir
from decoderlab.config import given_methods
from decoderlab.layers import (
    GRU,
    LSTM,
    RNN,
    GRUResetBefore,
    LSTMLayerNorm,
    MatrixLSTM,
    MinGRU,
    MinLSTM,
    ScalarLSTM,
    StackRNN,
)
from decoderlab.training.prepared_run import Prepared, prepare
from decoderlab.training.run_lifecycle import execute
from tests.composing import compose_faster
from tests.drawing import no_drawing

# A shell starts `make test &` with SIGINT ignored, which the commands would rightly leave at that:
# what the tests send is to arrive, here and in the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
# A worker of pytest has millions of objects, most of which stay: to look through them as often as
# Python does takes a seventh of the time.
gc.set_threshold(100_000, 50, 100)
os.fsync = lambda file: None  # nobody cuts the power; test_power.py has it that somebody does
# Whoever sets up logging anew (Hydra, submitit) has the handler that TensorBoard brings close its
# stream: what was standard error when it was made, pytest's capture.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
compose_faster()
given_methods.MAY_GIVE_METHODS.add("tests")  # who injects faults into runs

TASKS = {
    "echo": ("task=echo", "task.num_values=6", "task.min_length=2", "task.max_length=4"),
    "shapes": ("task=shapes", "task.num_places=2"),
}
DRAWN = ("task.num_train=200", "task.num_validation=20", "task.num_test=20")
TINY = (
    *DRAWN,
    "training.batch_size=16",
    "training.max_steps=12",
    "evaluation.every_steps=5",
    "run.log_every_steps=1",
    "logger=none",
)


# By the names of their YAMLs, but for the one that reads a summary.
CELLS = {
    "lstm": LSTM,
    "lstm_single_bias": partial(LSTM, bias="single"),
    "gru": GRU,
    "rnn_tanh": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
    "gru_reset_before": GRUResetBefore,
    "lstm_layer_norm": LSTMLayerNorm,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "mlstm": MatrixLSTM,
    "slstm": ScalarLSTM,
    "stack": StackRNN,
}


# The tests that prove each row of docs/reliability.md, once all tests are collected.
FAULTS = pytest.StashKey[dict[int, set[str]]]()
NUM_FAULTS = 63


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their marks
@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark slow cases; note which promises each test proves, for its record and the page."""
    _thin(items)
    proofs: dict[int, set[str]] = {}
    for item in items:
        for mark in item.iter_markers("fault"):
            if not mark.args or not set(mark.args) <= set(range(1, NUM_FAULTS + 1)):
                raise pytest.UsageError(f"{item.nodeid}: fault{mark.args}: give 1 to {NUM_FAULTS}")
            name = item.nodeid.split("[")[0]
            item.user_properties += [("fault", number) for number in mark.args]
            item.user_properties.append(("test", name))
            for number in mark.args:
                proofs.setdefault(number, set()).add(name)
    config.stash[FAULTS] = proofs


def _thin(items: list[pytest.Item]) -> None:
    """Mark as slow all cases but every third, or so, of tests that are `thinned`."""
    seen: Counter[str] = Counter()
    for item in items:
        if mark := item.get_closest_marker("thinned"):
            name = item.nodeid.split("[")[0]
            if seen[name] % (mark.args or (3,))[0]:
                item.add_marker("slow")
            seen[name] += 1


def pytest_collection_finish() -> None:
    """Have Python look for garbage among what tests make alone, not among modules and tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Undo it: what hypothesis imports, as late as now, looks for who refers to it."""
    gc.unfreeze()


def variants(group: str) -> list[str]:
    """Return the names of all YAMLs of a config group: a new one brings its own tests."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


SMALL = {"embedding_size": 4, "position_size": 4, "num_heads": 2, "summary_size": 8}


@cache
def _composed_group(group: str, name: str):
    return composed(f"{group}={name}")[group]


def small(group: str, name: str) -> list[str]:
    """Return the overrides that make a variant small; the states of all encoders are as wide."""
    yaml = _composed_group(group, name)
    sizes = SMALL | {"hidden_size": 4 if yaml.get("bidirectional") else 8}
    chosen = {key: size for key, size in sizes.items() if yaml.get(key) is not None}
    return [f"{group}={name}"] + [f"{group}.{key}={size}" for key, size in chosen.items()]


def composed(*overrides: str):
    """Compose a config as the command line would; of our YAMLs alone, the same overrides once."""
    make = _composed if process.user_config_dir is None else _composed.__wrapped__
    return copy.deepcopy(make(overrides))


@cache
def _composed(overrides: tuple[str, ...]):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Prepared]:
    """Prepare a run of seconds below a temporary folder."""

    def make(*overrides: str, output_dir: Path = tmp_path, task: str = "echo") -> Prepared:
        named = {"encoder": "lstm", "decoder": "repeat_vector"}
        named |= dict(one.split("=", 1) for one in overrides if one.split("=")[0] in named)
        sizes = [one for group, name in named.items() for one in small(group, name)]
        settings = TASKS[task] + TINY if task in TASKS else (f"task={task}", *TINY[len(DRAWN) :])
        config = composed(*settings, *sizes, "run.output_dir=there", *overrides)
        if not any(one.startswith("run.output_dir=") for one in overrides):
            config.run.output_dir = str(output_dir)
        return prepare(config, config.hydra.runtime.choices)

    return make


def version(distribution: str) -> str | None:
    """Return the version of an installed package, None of one that is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def needs(package: str) -> pytest.MarkDecorator:
    """Leave a test out without a package, but not in `make test-extras`, which has them all."""
    there = find_spec(package) is not None or "ALL_EXTRAS" in os.environ
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


@pytest.fixture
def hide(monkeypatch) -> Callable[..., None]:
    """Make packages look as if they were not installed: those named, or all."""
    found = metadata.distribution

    def hidden(*names: str) -> None:
        def distribution(name: str) -> metadata.Distribution:
            if not names or name in names:
                raise metadata.PackageNotFoundError(name)
            return found(name)

        monkeypatch.setattr("decoderlab.data.reading.metadata.distribution", distribution)

    return hidden


@pytest.fixture
def drawn() -> None:
    """Have a test's reports drawn although its module asks for `undrawn`."""


@pytest.fixture
def undrawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out what takes most of the time of a report, see `tests.drawing`."""
    with nullcontext() if "drawn" in request.fixturenames else no_drawing():
        yield


def run(prepared: Prepared, retry: bool = True) -> str:
    """Bring a run to its end without showing anything."""
    return execute(prepared, report=lambda step, values: None, retry=retry)


def weights(prepared: Prepared) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint of a run."""
    newest = prepared.folder.resume_checkpoints()[0]
    return torch.load(newest, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
