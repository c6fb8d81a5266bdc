"""Names of files and folders: no name leads out of its folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from decoderlab.common.errors import ConfigError

MAX_BYTES = 255  # of a name, on every file system that we know
MAX_PATH_BYTES = 2048


def inside(root: str | os.PathLike[str], *names: str, setting: str = "a name") -> Path:
    """Return the path of a name in a folder.

    Whoever writes or reads a file that a record, a config or a command line names makes its path
    here. The folder itself may be a link, as a user may want; a link in it that leads out of it is
    refused.

    Args:
        root: the folder.
        names: in it, one within the other; `/` in a name stands for a further folder.
        setting: what the last name is called in messages.

    Raises:
        ConfigError: for a name that is none, or a path that leaves the folder.

    Example:
        >>> inside("outputs", "studies", "mine").as_posix()
        'outputs/studies/mine'
        >>> inside("outputs", "studies", "../../elsewhere")
        Traceback (most recent call last):
        decoderlab.common.errors.ConfigError: a name is '../../elsewhere', which ...
    """
    for name in names:
        check_name(name, setting)
    path = Path(root, *names)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigError(f"{setting} is {names[-1][:80]!r}..., which makes too long a path")
    stay_below(path, root)
    return path


def plain_name(text: str) -> str:
    """Return a text as the name of a file, without characters special to any format.

    Example:
        >>> plain_name("exact_match"), plain_name("../a b)<c>")
        ('exact_match', 'a_b_c')
    """
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[:80] or "unnamed"


def refuse_links_out(folder: str | os.PathLike[str]) -> None:
    """Raise ConfigError if anything in a folder is a link that leads out of it.

    Args:
        folder: which may be a link itself; it need not be there.
    """
    for path in links_out(folder):
        stay_below(path, folder)


def links_out(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the links in a folder that lead out of it; none is followed.

    Args:
        folder: which may be a link itself; it need not be there.
    """
    own = os.path.realpath(folder)
    for where, folders, files in os.walk(own):
        for name in sorted((*folders, *files)):
            path = os.path.join(where, name)
            if os.path.islink(path) and not _is_below(path, own):
                yield os.path.join(folder, os.path.relpath(path, own))


def stay_below(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> None:
    """Raise ConfigError for a path that leads out of a folder, which may be a link itself."""
    if not _is_below(path, root):
        raise ConfigError(
            f"{path} is a link, or lies behind one, that leads out of {os.path.realpath(root)}, to "
            f"{os.path.realpath(path)!r}; nothing is read or written there: name that folder "
            "itself, or remove the link"
        )


def _is_below(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    real, own = os.path.realpath(path), os.path.realpath(root)
    return real == own or real.startswith(own.rstrip(os.sep) + os.sep)


def check_name(name: object, setting: str = "a name") -> str:
    """Return a name of a file, or names with `/` between them; raise ConfigError for any other.

    Args:
        name: to check.
        setting: what it is called in messages.

    Example:
        >>> check_name("tuning/best-1.ckpt")
        'tuning/best-1.ckpt'
    """
    if complaint := _complaint(name):
        raise ConfigError(
            f"{setting} is {ascii(str(name)[:120])}, which {complaint}; give a plain name of a file"
        )
    return str(name)


def _complaint(name: object) -> str | None:
    if not isinstance(name, str):
        return "is not a text"
    if not name:
        return "is empty"
    if name.startswith(("/", "~")) or "\\" in name or name[1:2] == ":":
        return "leads to another folder"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "has a control character in it, or half a character"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "leads to another folder"
        if part[0] == "-":
            return "begins like an option"
        if part != part.strip():
            return "begins or ends with a space"
        if len(part.encode()) > MAX_BYTES:
            return f"has more than {MAX_BYTES} bytes"
    return None
