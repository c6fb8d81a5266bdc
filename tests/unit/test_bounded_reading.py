"""Files that anybody may have written: nothing blocks, fills the memory or runs."""

from __future__ import annotations

import io
import os
import pickle
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from decoderlab.common.bounded_archives import check_checkpoint, read_arrays
from decoderlab.common.bounded_reading import read_json, read_json_lines, read_text
from decoderlab.common.bounded_yaml import read_yaml
from decoderlab.common.errors import Invalid, Missing

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
READERS = (read_text, read_json, lambda path: list(read_json_lines(path)), read_yaml)
READERS += (read_arrays, lambda path: check_checkpoint(path, 2**20))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 40 * 2**30)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES = {
    "folder": (Path.mkdir, "is a folder, not a file"),
    "pipe": (os.mkfifo, "is a pipe, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "sparse": (sparse, "has 42,949,672,960 bytes"),
    "loop": (loop, "Too many levels of symbolic links"),
    "nothing": (lambda path: None, "is missing"),
}


@contextmanager
def little() -> Iterator[None]:
    """Demand that what is done takes little time and memory."""
    began = time.process_time()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("make", "said"), NO_FILES.values(), ids=NO_FILES)
@pytest.mark.fault(12, 18)
def test_what_is_no_file_is_refused_at_once(tmp_path, read, make, said):
    make(tmp_path / "file")
    with little(), pytest.raises(Invalid, match=said) as caught:
        read(tmp_path / "file")
    assert caught.value.path == str(tmp_path / "file")
    assert isinstance(caught.value, Missing) == (said == "is missing")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a file of Linux")
@pytest.mark.parametrize("name", ["/proc/self/environ", "/proc/kmsg", "/proc/self/../self/maps"])
@pytest.mark.fault(18)
def test_what_the_system_makes_as_it_is_read_is_no_file(tmp_path, name):
    link = tmp_path / "link"
    link.symlink_to(name)
    for path in (Path(name), link):
        with pytest.raises(Invalid, match="is made by the system|cannot be read"):
            read_text(path)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "a" * 5000])
@pytest.mark.parametrize("read", READERS)
@pytest.mark.fault(17)
def test_what_is_no_name_is_refused(tmp_path, read, name):
    with pytest.raises(Invalid):
        read(tmp_path / name)


JSON = {
    '{"a": NaN}': "holds NaN, which is not a number",
    '{"a": -Infinity}': "holds -Infinity",
    '{"a": 1e400}': "holds 1e400",
    "[" * 100_000: "nests deeper than 64",
    "[" * 70 + "]" * 70: "nests deeper than 64",
    '{"a": "\\ud800"}': "half a character",
    "[1]": "holds a list; expected a mapping",
    "null": "holds null",
    "": "is no JSON",
    '{"a": ' + "9" * 5000 + "}": "is no JSON",
}


@pytest.mark.parametrize(("text", "said"), JSON.items(), ids=range(len(JSON)))
@pytest.mark.fault(54)
def test_json_that_no_record_is(tmp_path, text, said):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(Invalid, match=said):
        read_json(path)
    path.write_text('{"ok": 1}\n' + text + "\n{}\n")
    with pytest.raises(Invalid, match="line 2"):
        list(read_json_lines(path))


@pytest.mark.fault(11)
def test_what_is_not_utf8(tmp_path):
    (tmp_path / "file").write_bytes(b'{"a": "\xff"}\n')
    for read in READERS[:4]:
        with pytest.raises(Invalid, match="is not UTF-8"):
            read(tmp_path / "file")


@pytest.mark.fault(36)
def test_a_torn_line_is_left_out_or_refused(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": "\\ud83d\\ude00"}\n{"b": 1')
    assert list(read_json_lines(path, torn=True)) == [{"a": "😀"}]
    with pytest.raises(Invalid, match="ends in the middle of line 2"):
        list(read_json_lines(path))


YAML = {
    "a: 1" + ":11" * 100_000: "has a number of 300,001 letters",  # in base 60, minutes of computing
    "a: !!int 1" + ":1" * 100_000: "has a number of 200,001 letters",
    "a: 0x" + "f" * 5000: "has a number of 5,002 letters",
    "1" * 5000 + ": a": "has a number of 5,000 letters",
    BOMB: "more than 100,000 values with its aliases",
    "a: &a [*a]": r"alias \*a of nothing",
    "{" * 1000: "nests deeper",
    "a: " + "[" * 5000: "nest",
    "a: !!python/object/apply:os.system [id]": "os.system",
    "a: !!python/object/apply:pathlib.Path [id]": "pathlib",
    "a: .nan": "a: nan",
    "1: 2": "a name that is not a text",
    "[1]": "no mapping",
    "a: 1\na: 2": "duplicate key a",
    'a: "\\ud800"': "Unicode",
    "a: !!binary aGk=": "a bytes",
    "a: " + "9" * 5000: "has a number of 5,000 letters",
}


@pytest.mark.parametrize(("text", "said"), YAML.items(), ids=range(len(YAML)))
@pytest.mark.fault(11, 12)
def test_yaml_that_no_config_is(tmp_path, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with little(), pytest.raises(Invalid, match=said):
        read_yaml(path)


def test_yaml_is_read_as_hydra_reads_it_and_nothing_is_resolved(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {rate: 1e-3, day: 2020-01-01}\nb: *a\nc: ${oc.env:HOME}\n")
    same = {"rate": 0.001, "day": "2020-01-01"}
    assert read_yaml(path) == {"a": same, "b": same, "c": "${oc.env:HOME}"}


@pytest.mark.fault(12)
def test_arrays_that_would_not_fit_are_not_allocated(tmp_path):
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with little(), pytest.raises(Invalid, match="8,000,000,000,000 bytes"):
        read_arrays(tmp_path / "file")


@pytest.mark.fault(52)
def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(Invalid, match="not an array of numbers or texts"):
        read_arrays(tmp_path / "a.npz")


def test_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.array(["x"]))
    found = read_arrays(tmp_path / "a.npz")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == ["x"]


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


class Large:
    """Takes a terabyte when it is unpickled."""

    def __reduce__(self):
        return bytearray, (10**12,)


@pytest.mark.fault(52)
def test_checkpoints_that_hold_code_are_refused_and_not_run(tmp_path):
    path, canary = tmp_path / "a.ckpt", tmp_path / "canary"
    torch.save({"a": torch.zeros(3), "b": [1, 2.0, None, "x"]}, path)
    check_checkpoint(path, 2**20)
    with pytest.raises(Invalid, match="bytes, where at most"):
        check_checkpoint(path, 100)
    for harm, said in (
        (Planted(canary), "names posix.mkdir"),
        (Large(), "bytearray"),
        (OmegaConf.create({"a": 1}), "names NEWOBJ"),
    ):
        torch.save({"a": harm}, path)
        with pytest.raises(Invalid, match=said):
            check_checkpoint(path, 2**20)
    path.write_bytes(pickle.dumps(Planted(canary)))
    with pytest.raises(Invalid, match="is not a checkpoint"):
        check_checkpoint(path, 2**20)
    assert not canary.exists()
