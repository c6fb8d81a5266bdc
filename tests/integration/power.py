"""What a disk may hold after the power has failed.

A file system keeps what was synced and is free with the rest: names that were made, replaced or
removed since the last fsync of their folder may be there or not, each by itself; bytes that were
written since the last fsync of their file may be missing, cut off, or zeros.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

Names = dict[str, int]  # from names in a folder to files, by number; a folder is FOLDER
FOLDER = 0


class Disk:
    """Watches a folder, and says what would be left of it without power.

    Args:
        root: the folder.
        look: called with this whenever something was synced, renamed or removed.
    """

    def __init__(self, root: Path, look: Callable[[Disk], None]) -> None:
        self.root, self.look = root, look
        self.synced: dict[Path, Names] = defaultdict(dict)
        self.pending: dict[Path, list[Names]] = defaultdict(list)  # -1: the name is gone
        self.seen: dict[Path, Names] = {}
        self.whole: dict[int, bytes] = {}  # what was synced of each file
        self.versions: dict[Path, set[bytes]] = defaultdict(set)  # that had a name and were synced
        self._open: dict[int, int] = {}  # a file stays while this has it open, and so its number

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Follow what this process does to the folder."""
        for name in ("fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
            monkeypatch.setattr(os, name, self._followed(getattr(os, name), name))

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._open.values():
            os.close(descriptor)

    def _followed(self, call: Callable, name: str) -> Callable:
        def followed(*arguments, **more):
            self._scan()
            done = call(*arguments, **more)
            if name == "fsync":
                self._sync(arguments[0])
            self._scan()
            self.look(self)
            return done

        return followed

    def _scan(self) -> None:
        """Note what changed in each folder since the last look, as one change."""
        now = {}
        for folder, folders, files in os.walk(self.root):
            names = dict.fromkeys(folders, FOLDER)
            names |= {name: self._number(Path(folder, name)) for name in files}
            now[Path(folder)] = names
        for folder, names in now.items():
            before = self.seen.get(folder, {})
            change = {name: file for name, file in names.items() if before.get(name) != file}
            change |= dict.fromkeys(before.keys() - names.keys(), -1)
            if change:
                self.pending[folder].append(change)
            for name, file in names.items():
                if file in self.whole:
                    self.versions[folder / name].add(self.whole[file])
        self.seen = now

    def _number(self, path: Path) -> int:
        number = path.stat().st_ino
        if number not in self._open:
            self._open[number] = os.open(path, os.O_RDONLY)
        return number

    def _sync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path in self.seen:
            self.synced[path] = dict(self.seen[path])
            self.pending[path].clear()
        elif self.root in path.parents:
            self.whole[os.fstat(descriptor).st_ino] = self._bytes(os.fstat(descriptor).st_ino)

    def _bytes(self, file: int) -> bytes:
        return os.pread(self._open[file], os.fstat(self._open[file]).st_size, 0)

    def left(self, chance: random.Random) -> dict[Path, bytes]:
        """Return one of the states that the disk may be in, as files with their content."""
        files, folders = {}, [self.root]
        while folders:
            folder = folders.pop()
            names = dict(self.synced[folder])
            for change in self.pending[folder]:
                if chance.random() < 0.5:
                    names |= change
            for name, file in names.items():
                if file == FOLDER:
                    folders.append(folder / name)
                elif file != -1:
                    files[folder / name] = self._left_of(file, chance)
        return files

    def _left_of(self, file: int, chance: random.Random) -> bytes:
        whole, now = self.whole.get(file, b""), self._bytes(file)
        if whole == now:
            return now
        kept = len(whole) if now.startswith(whole) else 0
        cut = chance.randint(kept, len(now))
        zeros = chance.choice([0, len(now) - cut])
        return now[:cut] + bytes(zeros)
