"""What the commands share: exit codes, Hydra, and the options about one finished run."""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from decoderlab.common import process
from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.folders import add_to_path, conf_dir
from decoderlab.config.messages import explain


def guarded(command: Callable[[], int]) -> int:
    """Run a command; return its exit code, with one clear message for what went wrong.

    0 all is well, 1 some run failed, 2 the config is wrong, 130 and 143 interrupted.
    """
    from decoderlab.training.interruption import Interrupted

    # Hydra logs what cannot be imported besides raising it, which would be said twice.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    try:
        code = command()
        sys.stdout.flush()
        return code
    except Interrupted as error:
        _say(f"{error}; the same command goes on from here")
        return 128 + error.signum
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except ConfigError as error:
        _say(f"error: {error}")
    except LaunchError as error:
        _say(f"error: {error}")
        return 1
    except YAMLError as error:
        _say(f"error: a YAML cannot be read: {' '.join(str(error).split())}")
    except (HydraException, OmegaConfBaseException) as error:
        _say(f"error: {explain(error)}")
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 128 + signal.SIGPIPE
        _say(f"error: {error}")
    return 2


def _nobody_reads() -> bool:
    """Whether who reads what is printed has seen enough, as `head` has; nothing is printed then."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError):  # not on Windows, and not where standard output is no file
        return False
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _say(text: str) -> None:
    if not process.silent:
        print(text, file=sys.stderr)  # noqa: T201


def with_hydra(single: Callable[[DictConfig], str]) -> int:
    """Compose what the command line says, and hand every config of it to `single`.

    Args:
        single: brings one run to a status, which is FINISHED if all is well.

    Returns:
        The exit code.
    """
    # Hydra would turn every exception into exit code 1 and a cut traceback.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.captureWarnings(True)
    # Hydra's parser wants all flags on one side of the settings.
    words = sys.argv[1:]
    settings = [word for word in words if re.match(r"[~+]*[A-Za-z_][\w./@]*=", word)]
    sys.argv[1:] = [word for word in words if word not in settings] + settings
    arguments = get_args_parser().parse_args()
    process.user_config_dir = add_to_path(arguments.config_dir)
    process.sweep_exit_code = None
    statuses: list[str] = []
    errors: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
    def start(config: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            single(config)
            return
        try:
            statuses.append(single(config))
        except Exception as error:  # raised below: Hydra would print a line of its own before it
            errors.append(error)

    start()
    if errors:
        raise errors[0]
    if process.sweep_exit_code is not None:
        return process.sweep_exit_code
    return int(any(status != "FINISHED" for status in statuses))


def run_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command about one finished run; see `add_to_path`."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("run", help="folder of a finished run: outputs/runs/...")
    parser.add_argument(
        "--trust", action="store_true", help="build classes from outside decoderlab that it names"
    )
    parser.add_argument("--config-dir", help="folder of those classes, as for decoderlab-train")
    search = parser.add_argument_group("generation (default: as the run was evaluated)")
    search.add_argument("--beam-width", type=int, metavar="K", help="beam search; 1: greedy")
    search.add_argument("--length-penalty", type=float, metavar="A", help="of the beam (0: none)")
    search.add_argument(
        "--temperature", type=float, metavar="T", help="sample; wanted by what follows"
    )
    search.add_argument("--top-k", type=int, metavar="K", help="of sampling: the K most probable")
    search.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="of sampling: this much probability",
    )
    search.add_argument("--seed", type=int, help="of sampling")
    return parser


def search_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the generation settings that were given on the command line of `run_parser`."""
    names = ("beam_width", "length_penalty", "temperature", "top_k", "top_p", "seed")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}
