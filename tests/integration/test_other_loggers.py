"""Loggers of other people really write, offline, and Optuna's dashboard opens our journal.

What is not installed is left out; `make test-extras` has all of it, and leaves nothing out.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from decoderlab.studies.execution.journal import open_journal
from tests.conftest import needs, run

pytestmark = pytest.mark.filterwarnings("ignore")  # of these packages' own
BLOCK, FULL, LAST = 2**15, 1, 4


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


@needs("trackio")
def test_trackio_writes_every_step_into_the_folder_of_the_run(tiny, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", "")  # set by the logger, put back by pytest
    prepared = tiny("logger=trackio")
    assert run(prepared) == "FINISHED"
    (file,) = (prepared.folder.path / "trackio").glob("*.db")
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("select run_name, step from metrics").fetchall()
    assert {name for name, _ in rows} == {prepared.folder.path.name}
    assert {step for _, step in rows} == set(range(1, 13))


@needs("optuna_dashboard")
def test_optunas_dashboard_shows_the_journal_of_a_search(tmp_path):
    import optuna
    from optuna_dashboard import wsgi  # pyright: ignore[reportMissingImports]
    from optuna_dashboard._storage_url import get_storage  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = tmp_path / "optuna.journal"
    study = optuna.create_study(
        storage=open_journal(journal), study_name="luong", direction="maximize"
    )
    study.set_user_attr("variant", "decoder=luong")
    study.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=2)
    app = wsgi(get_storage(str(journal)))  # as the command does with its argument

    def page(path: str, query: str = "") -> Any:
        statuses: list[str] = []
        environ = {"PATH_INFO": path, "QUERY_STRING": query}
        setup_testing_defaults(environ)
        content = b"".join(app(environ, lambda status, *_: statuses.append(status)))
        assert statuses == ["200 OK"], content
        return json.loads(content)

    (shown,) = page("/api/studies")["study_summaries"]
    assert shown["study_name"] == "luong"
    details = page(f"/api/studies/{shown['study_id']}", "after=0")
    assert len(details["trials"]) == 2
    assert "decoder=luong" in json.dumps(details["user_attrs"])
