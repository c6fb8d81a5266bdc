"""What a worker of the pool does first.

It imports nothing heavy: a worker that is still importing torch must end with its parent too.
"""

from __future__ import annotations

import signal

from decoderlab.common import process
from decoderlab.common.folders import add_to_path
from decoderlab.training.interruption import Interruption


def prepare_worker(config_dir: str | None, parent: int) -> None:
    """Set a new worker process up.

    Args:
        config_dir: folder of the user's own classes.
        parent: the process to end with.
    """
    process.end_with_parent(parent)
    # The parent passes on what a terminal sends to all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Interruption.patient = True
    process.user_config_dir = add_to_path(config_dir)
