"""Loggers of other people really write, offline, where their packages are installed."""

from __future__ import annotations

import importlib.util
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import run

pytestmark = pytest.mark.filterwarnings("ignore")  # of these packages' own
BLOCK, FULL, LAST = 2**15, 1, 4


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


def records(content: bytes) -> Iterator[bytes]:
    """Yield what stands in a file of W&B's: blocks of 32 KB, parts with crc, length and kind."""
    assert content[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # what is left of a block has no room for another
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""


@needs("wandb")
def test_wandb_writes_every_step_offline_into_the_folder_of_the_run(tiny, monkeypatch):
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    prepared = tiny("logger=wandb")
    assert run(prepared) == "FINISHED"
    import wandb

    wandb.finish()
    wandb.teardown()  # a process of its own writes the file
    (file,) = (prepared.folder.path / "wandb").glob("offline-run-*/run-*.wandb")
    end = time.monotonic() + 60
    while not (wrote := written(file.read_bytes(), wandb_internal_pb2.Record)) >= set(range(1, 13)):
        assert time.monotonic() < end, wrote
        time.sleep(0.2)
    assert {"train/loss", "validation/loss", "validation/exact_match"} <= wrote


def written(content: bytes, kind: Any) -> set[Any]:
    """Return the updates that have a line of history, and the names in it."""
    seen: set[Any] = set()
    for data in records(content):
        record = kind()
        record.ParseFromString(data)
        keys = {item.key or ".".join(item.nested_key): item for item in record.history.item}
        seen |= set(keys)
        if "trainer/global_step" in keys:
            seen.add(int(keys["trainer/global_step"].value_json))
    return seen


@needs("mlflow")
def test_mlflow_writes_every_step_into_a_file_of_the_folder_of_the_run(tiny):
    prepared = tiny("logger=mlflow")
    assert run(prepared) == "FINISHED"
    with closing(sqlite3.connect(prepared.folder.path / "mlflow.db")) as database:
        rows = database.execute("select key, step from metrics").fetchall()
        (name,) = database.execute("select name from runs").fetchone()
    assert name == prepared.folder.path.name
    assert {step for key, step in rows if key == "train/loss"} == set(range(1, 13))
    assert "validation/exact_match" in {key for key, _ in rows}
