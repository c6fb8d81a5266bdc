"""Imports that are slow and that no run needs, or that read the working directory, are kept off."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class WithoutScipySignal(MetaPathFinder, Loader):
    """Imports torchmetrics without scipy.signal, a fifth of the time until a run starts.

    torchmetrics, which Lightning imports, looks whether scipy.signal has the name `hamming`, for
    the sake of a package for audio. It finds that name in a stand-in, which is gone as soon as
    torchmetrics is there: whoever imports scipy.signal gets the real module.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import torchmetrics; None for any other module."""
        if fullname != "torchmetrics":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None or "scipy.signal" in sys.modules:
            return spec
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Import torchmetrics beside the stand-in."""
        stand_in = ModuleType("scipy.signal")
        stand_in.__dict__["hamming"] = None
        sys.modules["scipy.signal"] = stand_in
        try:
            self.loader.exec_module(module)
        finally:
            if sys.modules.get("scipy.signal") is stand_in:
                del sys.modules["scipy.signal"]


class AwayFromHere(MetaPathFinder, Loader):
    """Imports matplotlib without the `matplotlibrc` of the working directory.

    Who looks at a stranger's outputs stands in their folder: what lies there could start LaTeX,
    hang the command, print to the terminal, and change the pictures of a report. A `matplotlibrc`
    that the user's own folders or environment name is read.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import matplotlib; None for any other module."""
        if fullname != "matplotlib":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Import matplotlib from elsewhere."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        with _elsewhere():
            self.loader.exec_module(module)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in the root folder for a moment, where nobody else puts files."""
    here = os.open(os.curdir, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir(os.sep)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


# The function goes by its old name, which is part of the code of runs.
in_root_folder = _elsewhere


def install() -> None:
    """Keep them off from now on."""
    for finder in (WithoutScipySignal, AwayFromHere):
        if not any(isinstance(other, finder) for other in sys.meta_path):
            sys.meta_path.insert(0, finder())
