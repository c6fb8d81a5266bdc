"""Damage at random to any file of runs and studies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        10**400,
        "",
        "x",
        "1e400",
        [],
        {},
        [None],
        {"a": 1},
        "../../elsewhere",
    ),
    *(
        float("nan"),
        float("inf"),
        "\ud800",
        "\x1b[31m",
        "\x00",
        "y" * 5000,
        "FINISHED",
        [[]],
        "0.5",
    ),
)
SPARSE = 40 * 2**30


def files(outputs: Path) -> list[Path]:
    """Return every file of the runs and studies, as paths below `outputs`."""
    found = (path for path in outputs.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(path.relative_to(outputs) for path in found)


def damage(outputs: Path, name: Path, random: Random) -> str:
    """Damage one file; return what was done to it."""
    path = outputs / name
    ways = [one for one in WAYS if one not in JSONS or _json(path) is not None]
    way = random.choice(ways)
    said = way(path, random)
    return f"{way.__name__.strip('_')} {said or ''}"


def _flipped(path: Path, random: Random) -> str:
    content = bytearray(path.read_bytes() or b"x")
    at, bit = random.randrange(len(content)), random.randrange(8)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {at}"


def _truncated(path: Path, random: Random) -> str:
    content = path.read_bytes()
    length = random.choice((0, 1, len(content) // 2, max(len(content) - 1, 0)))
    path.write_bytes(content[:length])
    return f"to {length} of {len(content)}"


def _inserted(path: Path, random: Random) -> str:
    content = path.read_bytes()
    at = random.randrange(len(content) + 1)
    more = random.choice(
        (b"\x00", b"\n", b"{}\n", b"\xff\xfe", b"NaN", b"9" * 400, b"[" * 3000, b"\t")
    )
    path.write_bytes(content[:at] + more + content[at:])
    return f"{more[:10]!r} at byte {at}"


def _line_lost(path: Path, random: Random) -> str:
    lines = path.read_bytes().splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    return f"{at} of {len(lines)}"


def _line_twice(path: Path, random: Random) -> str:
    lines = path.read_bytes().splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    path.write_bytes(b"".join([*lines[:at], lines[at], *lines[at:]]))
    return f"{at} of {len(lines)}"


def _digit_changed(path: Path, random: Random) -> str:
    content = path.read_bytes()
    digits = [at for at, one in enumerate(content) if 48 <= one <= 57]
    if not digits:
        return _flipped(path, random)
    at = random.choice(digits)
    digit = bytes([random.choice([one for one in range(48, 58) if one != content[at]])])
    path.write_bytes(content[:at] + digit + content[at + 1 :])
    return f"at byte {at}: {content[max(at - 20, 0) : at + 5]!r} to {digit!r}"


def _of_another(path: Path, random: Random) -> str:
    """Exchange it with the file of that name of another run, or take that file's contents."""
    run = next((one for one in path.parents if one.parent.name in ("runs", "studies")), None)
    if run is None:
        return _truncated(path, random)
    inner = path.relative_to(run)
    others = sorted(one / inner for one in run.parent.iterdir() if (one / inner).is_file())
    others = [one for one in others if one != path]
    if not others:
        return _truncated(path, random)
    other = random.choice(others)
    own, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    if exchanged := random.random() < 0.5:
        other.write_bytes(own)
    return f"{'exchanged with' if exchanged else 'copied from'} {other.parent.name}"


def _deleted(path: Path, random: Random) -> None:
    path.unlink()


def _folder_deleted(path: Path, random: Random) -> None:
    shutil.rmtree(path.parent)


def _a_pipe(path: Path, random: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _a_folder(path: Path, random: Random) -> None:
    path.unlink()
    path.mkdir()


def _a_link(path: Path, random: Random) -> str:
    path.unlink()
    target = random.choice(("nowhere", path.name, "/dev/zero", "../../../elsewhere/secret.txt"))
    path.symlink_to(target)
    return f"to {target}"


def _sparse(path: Path, random: Random) -> None:
    os.truncate(path, SPARSE)


def _random_bytes(path: Path, random: Random) -> None:
    path.write_bytes(random.randbytes(200))


def _as_another_encoding(path: Path, random: Random) -> None:
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def _value_changed(path: Path, random: Random) -> str:
    return _edited(path, random, lambda holder, key: holder.__setitem__(key, random.choice(VALUES)))


def _number_changed(path: Path, random: Random) -> str:
    def change(holder: Any, key: Any) -> None:
        value = holder[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        holder[key] = value + random.choice((1, -1, 0.001)) if number else 0.5

    return _edited(path, random, change)


def _key_lost(path: Path, random: Random) -> str:
    return _edited(path, random, lambda holder, key: holder.__delitem__(key))


def _key_added(path: Path, random: Random) -> str:
    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[random.choice(("x", "_target_", "sha256", "schema", "name"))] = random.choice(
                VALUES
            )
        else:
            holder.append(random.choice(VALUES))

    return _edited(path, random, change)


def _edited(path: Path, random: Random, change: Callable[[Any, Any], object]) -> str:
    """Change something in a JSON file, or in one line of several."""
    lines = path.read_text().splitlines()
    whole = path.suffix == ".json"
    at = 0 if whole else random.randrange(len(lines))
    record = json.loads("\n".join(lines) if whole else lines[at])
    places = list(_places(record)) or [([record], 0)]
    holder, key = random.choice(places)
    before = json.dumps(holder)[:60]
    change(holder, key)
    text = json.dumps(record)
    path.write_text(text if whole else "\n".join([*lines[:at], text, *lines[at + 1 :]]) + "\n")
    return f"line {at}: {key!r} in {before} -> {json.dumps(holder)[:60]}"


def _places(node: Any) -> list[tuple[Any, Any]]:
    places: list[tuple[Any, Any]] = []
    if isinstance(node, dict | list):
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in entries:
            places += [(node, key), *_places(value)]
    return places


def _json(path: Path) -> Any:
    if path.suffix not in (".json", ".jsonl") or not path.stat().st_size:
        return None
    return True


JSONS = (_value_changed, _number_changed, _key_lost, _key_added)
WAYS: tuple[Callable[[Path, Random], str | None], ...] = (
    *(_flipped, _flipped, _truncated, _inserted, _line_lost, _line_twice, _digit_changed),
    *(_digit_changed, _of_another, _of_another, _deleted, _folder_deleted, _a_pipe, _a_folder),
    *(_a_link, _sparse, _random_bytes, _as_another_encoding),
    *JSONS,
    *JSONS,
)
