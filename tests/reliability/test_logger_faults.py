"""What a run finds in its loggers' places when it goes on: torn, damaged, or no files at all."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger

from decoderlab.common.process import host_name
from decoderlab.records import loggers
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.model_evaluation import quiet
from decoderlab.training.prepared_run import Prepared
from tests.conftest import run
from tests.interrupting import broken_off_run

pytestmark = pytest.mark.fault(53)

HEADER = b"b,a,step\n"


def cut(folder: Path, step: int = 2) -> list[dict[str, str]]:
    """Return the lines that a logger goes on with."""
    logger = CSVLogger(folder, name="csv", version="")
    loggers._make_way(logger)
    with quiet():
        loggers._cut(logger, step)
    assert not (folder / "csv" / "metrics.csv.before").exists()
    path = folder / "csv" / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


DAMAGED = [b"0,2,1e-", b"0,2,1\n1,1e-", b"xyz\n", b"1,2\n", b"1,2,3,4\n", b"1,,\n", b"1,x,1\n"]
DAMAGED += [b"9" * 200_000 + b",1,1\n", b"\xff\xfe,1,1\n", b"\0,1,1\n", b'"1,2,3\n', b"\n"]


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: ascii(line)[:12])
def test_a_damaged_line_is_dropped_and_the_others_stay(tmp_path, line):
    (tmp_path / "csv").mkdir()
    whole = [b"1.5,,0\n", b",2.5,1\n"]
    torn = not line.endswith(b"\n")
    text = b"".join([HEADER, *whole, line] if torn else [HEADER, whole[0], line, whole[1]])
    (tmp_path / "csv" / "metrics.csv").write_bytes(text)
    kept = [(one["step"], one["a"], one["b"]) for one in cut(tmp_path)]
    assert kept[:2] == [("0", "", "1.5"), ("1", "2.5", "")]
    assert len(kept) == 2 + line.startswith(b"0,2,1\n")


@pytest.mark.parametrize("text", [b"", b"a,b\n1,2\n", b"\xff", b"step,step\n1,1\n", b"step"])
def test_what_is_no_table_is_set_aside(tmp_path, text, capfd):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_bytes(text)
    assert cut(tmp_path) == []
    (aside,) = (tmp_path / "csv").glob("*.aside-1")
    assert aside.read_bytes() == text
    assert "is damaged" in capfd.readouterr().err


def test_what_a_process_had_not_taken_over_yet_is_not_lost(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv.before").write_bytes(HEADER + b"1,2,0\n3,4,1\n5,6,3\n")
    (tmp_path / "csv" / "metrics.csv").write_bytes(b"a,")
    assert [one["b"] for one in cut(tmp_path)] == ["1.0", "3.0"]


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory) -> Prepared:
    """A run with loggers of files that stopped before its end, which no test changes."""
    return broken_off_run(tmp_path_factory.mktemp("broken"), 7, "logger=[tensorboard,csv]")


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def a_file(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("x")


WAYS: list[tuple[str, Callable[[Path], None]]] = [
    ("csv/metrics.csv", pipe),
    ("csv/metrics.csv", a_folder),
    ("csv/hparams.yaml", pipe),
    ("tensorboard/hparams.yaml", pipe),
    ("tensorboard/hparams.yaml", a_folder),
    ("tensorboard/events.out.tfevents.1", pipe),
    ("csv", a_file),
    ("tensorboard", a_file),
]


@pytest.mark.parametrize(("name", "harm"), WAYS)
def test_a_run_goes_on_whatever_is_in_the_way_of_its_loggers(broken_off, tmp_path, name, harm):
    path = shutil.copytree(broken_off.folder.path, tmp_path / broken_off.folder.path.name)
    single = replace(broken_off, folder=RunFolder(path))
    harm(path / name)
    assert run(single) == "FINISHED"
    assert single.folder.result().restarts == 1


def test_a_run_that_goes_on_deletes_nothing_of_the_users(broken_off, tmp_path):
    path = shutil.copytree(broken_off.folder.path, tmp_path / broken_off.folder.path.name)
    alive = f".x.{host_name()}.{os.getpid()}.tmp"
    kept = [path / "mydata.tar.sha256", path / ".x.tmp", path / alive]
    kept += [path / "checkpoints" / name for name in ("a.ckpt.sha256", "mine.sha256", ".y.tmp")]
    for one in kept:
        one.write_text("x")
    folders = [path / ".a.tmp", path / "x.sha256", path / "checkpoints" / "step-1.ckpt.sha256"]
    for one in folders:
        one.mkdir()
    assert run(replace(broken_off, folder=RunFolder(path))) == "FINISHED"
    assert all(one.read_text() == "x" for one in kept)
    assert all(one.is_dir() for one in folders)
