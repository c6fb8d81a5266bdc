"""Names of a package whose modules are imported when the names are asked for.

Modules of models import torch, which takes seconds. What lies beside them and needs no torch (the
settings of a search, the meaning of a score) would wait for it if the package imported all that it
names. The package names its modules a second time under `TYPE_CHECKING`, for readers, type
checkers and the code identity of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def names_of(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: its `__name__`.
        modules: the names that each of its modules defines for it.

    Example:
        >>> names_of("decoderlab.common", {"errors": ["ConfigError"]})("ConfigError").__name__
        'ConfigError'
    """
    where = {name: module for module, names in modules.items() for name in names}

    def attribute(name: str) -> Any:
        if name in where:
            return getattr(import_module(f"{package}.{where[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute
