"""What this process knows besides its config.

Kept separate from the Hydra plug-in that uses it: Hydra executes plug-in modules a second time when
it scans for them, which would forget it.
"""

from __future__ import annotations

import os
import signal
import time
import warnings

# The YAMLs of conf/hydra/launcher are named as the launchers' own schemas, so Hydra checks them
# against those, and says in each of their processes that it will not do so for ever.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against")

# The user's own --config-dir, set before Hydra starts.
user_config_dir: str | None = None
# The exit code of the sweep that this process ran; Hydra drops what a sweeper returns.
sweep_exit_code: int | None = None
# Whether another process speaks for this process: the first rank of several.
silent = False
# Whether sweeps are planned and shown only: decoderlab-plan.
plan_only = False


def end_with(parent: int, grace_seconds: float) -> None:
    """Wait until a parent process is gone, then end this process too, whatever it is at.

    Args:
        parent: its id.
        grace_seconds: between SIGTERM, which lets a run save what it has, and SIGKILL.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os.kill(os.getpid(), signal.SIGKILL)
