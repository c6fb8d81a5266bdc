"""Imports that are slow and that no run needs, or that read the working directory, are kept off."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType, SimpleNamespace
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


COMPILER = "torch._dynamo"


class LeanCompiler(MetaPathFinder, Loader):
    """Gives whoever imports torch's compiler a stand-in, until something is compiled.

    Lightning looks whether a model is compiled, and torch's optimizers keep themselves from being
    compiled: both import the compiler, which takes longer than torch itself, and use nothing of it
    where nothing is compiled. Whoever asks the stand-in for more gets the real compiler.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import the stand-in, and for its parts the compiler's; else None."""
        if fullname.startswith(f"{COMPILER}."):
            folders = _real_compiler().__path__
            if fullname in sys.modules:
                return ModuleSpec(fullname, _FoundMeanwhile(sys.modules[fullname]))
            return PathFinder.find_spec(fullname, folders)
        return ModuleSpec(COMPILER, self, is_package=True) if fullname == COMPILER else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the stand-in."""
        return _NothingCompiled(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is."""


class _FoundMeanwhile(Loader):
    """Gives a module that was imported while it was looked for.

    A second copy of a part of the compiler would have errors of its own, which its other parts do
    not catch.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__
        vars(module)["__spec__"] = None  # else Python follows it, and imports the module again

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it was."""
        vars(module)["__spec__"] = self.spec


class _CompiledModule(type):
    """The class of the class of compiled modules, of which there is none before the compiler."""

    def __instancecheck__(cls, instance: object) -> bool:
        there = _compiler()
        return there is not None and isinstance(instance, there.OptimizedModule)


class _NothingCompiled(ModuleType):
    """What stands for the compiler; for any other name the real one is imported."""

    OptimizedModule = _CompiledModule("OptimizedModule", (), {})

    @staticmethod
    def graph_break(*given: Any, **named: Any) -> None:
        """Break no graph."""

    @staticmethod
    def disable(fn: Any = None, *given: Any, **named: Any) -> Any:
        """Keep a function from being compiled as soon as there is a compiler."""
        if not isinstance(fn, FunctionType):
            return _real_compiler().disable(fn, *given, **named)
        disabled: list[Callable] = []

        @functools.wraps(fn)
        def called(*arguments: Any, **settings: Any) -> Any:
            if not disabled and (there := _compiler()) is not None:
                disabled.append(there.disable(fn, *given, **named))
            return (disabled[0] if disabled else fn)(*arguments, **settings)

        return called

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real_compiler(), name)


def _compiler() -> Any:
    """Return torch's compiler where it has been imported, None before."""
    module = sys.modules.get(COMPILER)
    return None if isinstance(module, _NothingCompiled) else module


def _real_compiler() -> Any:
    """Import torch's compiler."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, LeanCompiler)]
    if _compiler() is None:
        sys.modules.pop(COMPILER, None)
        package, _, name = COMPILER.rpartition(".")
        vars(sys.modules[package]).pop(name, None)
    return importlib.import_module(COMPILER)


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
    for finder in (LeanTorchmetrics, LeanCompiler, AwayFromHere):
        if not any(isinstance(other, finder) for other in sys.meta_path):
            sys.meta_path.insert(0, finder())
