"""Virtual environments under build/peers, into which peers are installed by the names of packages.

An environment that is ready is not installed again. What is ready has a file `installed` with the
names that it was made for, which is written last: one that was cut off is made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build/peers"
ASK = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
)


class NotInstalled(Exception):
    """An environment could not be made."""


@dataclass(frozen=True)
class Environment:
    """Packages that are installed together.

    Args:
        name: of its folder.
        packages: as pip takes them.
        shown: packages whose versions are printed, the first of all those in `packages`.
    """

    name: str
    packages: tuple[str, ...]
    shown: tuple[str, ...]

    def python(self, folder: Path = FOLDER) -> Path:
        """Return the interpreter of this environment."""
        return folder / self.name / "bin/python"

    def ready(self, folder: Path = FOLDER) -> bool:
        """Whether it was installed, for these packages."""
        mark = folder / self.name / "installed"
        return mark.is_file() and mark.read_text().split() == list(self.packages)

    def install(self, folder: Path = FOLDER) -> None:
        """Make it, unless it is ready.

        Raises:
            NotInstalled: with what pip says, if the packages cannot be had.
        """
        if self.ready(folder):
            return
        where = folder / self.name
        print(f"installing {', '.join(self.packages)} into {where}: minutes", flush=True)
        pip = [str(self.python(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
        for words in (
            [sys.executable, "-m", "venv", "--clear", str(where)],
            [*pip, "--quiet", *self.packages],
        ):
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
                raise NotInstalled(
                    f"{', '.join(self.packages)} cannot be installed into {where}:\n{said}\n"
                    "look at the network and at pip's settings, or leave this peer out of --peers"
                )
        (where / "installed").write_text("\n".join(self.packages) + "\n")

    def versions(self, folder: Path = FOLDER) -> dict[str, str]:
        """Return the versions of the packages that are shown.

        Raises:
            NotInstalled: if the environment cannot say them.
        """
        words = [str(self.python(folder)), "-c", ASK, *self.shown]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotInstalled(
                f"{folder / self.name} does not answer; delete it to have it made again"
            ) from error
        return json.loads(done.stdout)
