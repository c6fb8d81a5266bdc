"""Imports that are slow and that no run needs, or that read the working directory, are kept off."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar


class _Surrounded(MetaPathFinder, Loader):
    """Imports a package as Python does, while something holds that `around` says.

    Attributes:
        package: its name.
    """

    package: ClassVar[str]

    def around(self) -> AbstractContextManager[None]:
        """Return what holds while the package is imported."""
        raise NotImplementedError

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import the package; None for any other module."""
        if fullname != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Import the package."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        with self.around():
            self.loader.exec_module(module)


class LeanTorchmetrics(_Surrounded):
    """Imports torchmetrics without scipy.signal and matplotlib, which are slow to import.

    torchmetrics, which Lightning imports, looks whether scipy.signal has the name `hamming`, for
    the sake of a package for audio, and names classes of matplotlib in annotations of its plots. It
    finds these names in stand-ins, which are gone as soon as torchmetrics is there: whoever imports
    the modules gets the real ones, and so do its plots when they are drawn.
    """

    package = "torchmetrics"

    @contextmanager
    def around(self) -> Iterator[None]:
        """Put the stand-ins among the modules."""
        stand_ins = {} if "matplotlib" in sys.modules else _matplotlib()
        if "scipy.signal" not in sys.modules:
            stand_ins["scipy.signal"] = _StandIn("scipy.signal", hamming=None)
        sys.modules.update(stand_ins)
        try:
            yield
        finally:
            _remove(stand_ins)


class _StandIn(ModuleType):
    """A module of a few names; for any other one the real module is imported.

    Args:
        name: of the module.
        names: what it has.
    """

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove({self.__name__: self})
        return getattr(importlib.import_module(self.__name__), name)


def _matplotlib() -> dict[str, ModuleType]:
    """Return the modules of matplotlib that torchmetrics names, with what it asks of them."""
    axes = _StandIn("matplotlib.axes", Axes=object)
    pyplot = _StandIn(
        "matplotlib.pyplot", Figure=object, style=SimpleNamespace(context=_style_of_matplotlib)
    )
    parts = {"axes": axes, "pyplot": pyplot, "colors": SimpleNamespace(Colormap=object)}
    modules = (_StandIn("matplotlib", **parts), axes, pyplot)
    return {each.__name__: each for each in modules}


@contextmanager
def _style_of_matplotlib(*given: Any) -> Iterator[None]:
    """Work with a style, when it comes to that."""
    style = importlib.import_module("matplotlib.style")
    with style.context(*given):
        yield


def _remove(stand_ins: Mapping[str, ModuleType]) -> None:
    for name, stand_in in stand_ins.items():
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


class AwayFromHere(_Surrounded):
    """Imports matplotlib without the `matplotlibrc` of the working directory.

    Who looks at a stranger's outputs stands in their folder: what lies there could start LaTeX,
    hang the command, print to the terminal, and change the pictures of a report. A `matplotlibrc`
    that the user's own folders or environment name is read.
    """

    package = "matplotlib"

    @contextmanager
    def around(self) -> Iterator[None]:
        """Let this thread alone not see that file.

        To change the directory meanwhile would harm other threads, such as those that write events
        to files with relative names.
        """
        exists, thread = os.path.exists, threading.get_ident()

        def seen(path: Any) -> bool:
            own = threading.get_ident() == thread
            return not (own and path == "matplotlibrc") and exists(path)

        os.path.exists = seen
        try:
            yield
        finally:
            os.path.exists = exists


@contextmanager
def in_root_folder() -> Iterator[None]:
    """Work in the root folder for a moment, where nobody else puts files."""
    here = os.open(os.curdir, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir(os.sep)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def install() -> None:
    """Keep them off from now on."""
    for finder in (LeanTorchmetrics, AwayFromHere):
        if not any(isinstance(other, finder) for other in sys.meta_path):
            sys.meta_path.insert(0, finder())
