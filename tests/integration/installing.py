"""An environment that has what a wheel needs, without unpacking it again."""

from __future__ import annotations

import os
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def needed(texts: list[str]) -> dict[str, Distribution]:
    """Return the installed packages that requirements name, and what these require, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(text, "") for text in texts]
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        package = distribution(requirement.name)
        assert requirement.specifier.contains(package.version, prereleases=True), text
        found[package.name] = package
        for wanted in ("", *requirement.extras):
            if (package.name, wanted) not in seen:
                seen.add((package.name, wanted))
                waiting += [(more, wanted) for more in package.requires or []]
    return found


def link(package: Distribution, site: Path) -> None:
    """Have an installed package in another environment too."""
    for path in package.files or []:
        if path.parts[0] != ".." and (source := Path(str(package.locate_file(path)))).is_file():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(source, target)
