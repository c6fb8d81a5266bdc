"""decoderlab-doctor in this process, and what there is for it to find."""

from __future__ import annotations

import json
from pathlib import Path

from decoderlab.cli.doctor import look
from decoderlab.common.process import host_name
from decoderlab.records.run_folder import RunFolder


def doctor(capsys, outputs: Path, *, fix: bool = False) -> tuple[int, list[dict]]:
    code = look(outputs, fix, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert code == int(record["wrong"] > 0)
    return code, record["findings"]


def incomplete(name: str, pid: int, host: str = "") -> str:
    return f".{name}.{host or host_name()}.{pid}.tmp"


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run_in(outputs: Path) -> RunFolder:
    (path,) = (outputs / "runs").iterdir()
    return RunFolder(path)


def cut(path: Path, number: int) -> None:
    path.write_bytes(path.read_bytes()[:-number])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def events(folder: RunFolder) -> Path:
    return sorted(folder.events.glob("events.out.tfevents.*"))[-1]


def unfinished(folder: RunFolder, status: str) -> None:
    """Make a run one that did not end."""
    for path in (folder.manifest, folder.result_file):
        path.unlink()
    folder.set_status(status)
