"""Reading data that other packages bring, as files and without importing any of their code."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def package_file(distribution: str, relative: str, extra: str = "data") -> Path:
    """Return where a file of an installed package lies, without importing the package.

    Args:
        distribution: name of the package, as pip knows it.
        relative: path of the file in it.
        extra: of decoderlab, which installs the package.

    Raises:
        ValueError: if the package or the file is not there; the message says how to get it.
    """
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(relative)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise ValueError(
            f"this task reads the package {distribution!r}, which is not installed (or lacks "
            f"{relative}); run: pip install 'decoderlab[{extra}]'"
        )
    return path
