"""A peer as a process of its own, which does its part of a turn when it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, cast

SCRIPTS = Path(__file__).parents[1] / "peers"
# One thread, by the switches of each library that a peer may use.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "TOKENIZERS_PARALLELISM": "false",
}


class PeerFailed(Exception):
    """A peer's process ended, or said that it cannot go on."""


class PeerProcess:
    """A peer's script, started with its own interpreter; it is ended when the block ends.

    Args:
        name: of the peer, for messages.
        python: its interpreter.
        script: in scripts/peers, or a path.
        settings: what it builds, as JSON.
        log: where what it prints is kept.
        environment: variables beside those for one thread.

    Raises:
        PeerFailed: if it ends before it is ready, or in the middle of its work.
    """

    def __init__(
        self,
        *,
        name: str,
        python: Path | str,
        script: Path | str,
        settings: Mapping[str, Any],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, log
        words = [str(python), str(SCRIPTS / script), json.dumps(settings)]
        with log.open("w") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=os.environ | ONE_THREAD | dict(environment or {}),
            )
        self._requests = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self, say: Callable[[str], None]) -> None:
        """Wait until the peer has built its model and warmed up."""
        began = time.perf_counter()
        self._answer()
        seconds = time.perf_counter() - began
        say(f"  {self.name} is ready after {seconds:.0f} s")

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Return the answer to one request."""
        try:
            self._requests.write(json.dumps({"do": do, **values}) + "\n")
            self._requests.flush()
        except BrokenPipeError as error:
            raise self._failed("has ended") from error
        return self._answer()

    def close(self) -> None:
        """Let the process end by itself, as its input ends; end it if it does not."""
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise self._failed("has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise self._failed(f"says {answer['error']}")
        return answer

    def _failed(self, what: str) -> PeerFailed:
        printed = "\n".join(self.log.read_text().strip().splitlines()[-8:])
        return PeerFailed(f"{self.name} {what}; the end of what it printed:\n{printed}")
