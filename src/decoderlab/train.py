"""decoderlab-train: one run, or with -m or study=... a sweep and its report."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from decoderlab import checks, process
from decoderlab.config import ConfigError, LaunchError


def conf_dir() -> Path:
    """Return the folder of our configs: inside the wheel, or at the top of the checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(guarded(lambda: with_hydra(train)))


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


def add_to_path(config_dir: str | None) -> str | None:
    """Put the user's own folder, if there is one, on the Python path; return it as absolute."""
    if config_dir is None:
        return None
    folder = os.path.abspath(config_dir)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return folder


def guarded(command: Callable[[], int]) -> int:
    """Run a command; return its exit code, with one clear message for what went wrong.

    0 all is well, 1 some run failed, 2 the config is wrong, 130 and 143 interrupted.
    """
    from decoderlab.callbacks import Interrupted

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


def explain(error: Exception) -> str:
    """Return Hydra's message on a wrong config, with a suggestion where one can be made."""
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        return f"{error.override!r} has no '='; write SETTING=VALUE, as in decoder=luong"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read ({str(error).splitlines()[0]}); put a value with "
            "any of = , [ ] { } ( ) or a space in quotes, as in: 'key=\"value\"'"
        )
    ambiguous = re.search(r"Ambiguous value for argument '([^']+)'", str(error))
    if ambiguous:
        return (
            f"{ambiguous[1]!r} has several values, which is a sweep: decoderlab-train -m ... ; "
            "for a list, write [a,b]"
        )
    lines = [str(error).strip()]
    if error.__cause__ is not None and str(error.__cause__) not in lines[0]:
        lines.append(str(error.__cause__).splitlines()[0])
    text = "\n".join(lines)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        # The cause names the very key, where a mapping was given.
        inner = re.search(rf"full_key: ({re.escape(unknown[1])}\.\S+)", str(error.__cause__))
        return _explain_key(inner[1] if inner else unknown[1])
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", text)
    if choice and options:
        names = options[1].split()
        return (
            f"{choice[1]} is {choice[2]!r}; it must be one of {', '.join(names)}."
            + checks.did_you_mean(choice[2], names)
        )
    return text


def _explain_key(key: str) -> str:
    """Return what a key that does not exist might have meant."""
    arguments = [
        argument for argument in sys.argv[1:] if re.match(r"[a-z_]+(/[a-z_]+)?=[^\[{]*$", argument)
    ]
    parent, _, name = key.rpartition(".")
    try:
        groups = [argument for argument in arguments if "." not in argument.split("=")[0]]
        known = [one for one in groups if "," not in one and one.split("=")[0] != key]
        running = GlobalHydra.instance().is_initialized()  # in the midst of a sweep
        with (
            contextlib.nullcontext()
            if running
            else hydra.initialize_config_dir(str(conf_dir()), version_base="1.3")
        ):
            config = hydra.compose("train", overrides=known)
        node, *rest = config, *key.split(".")
        while len(rest) > 1 and rest[0] in node:
            node = node[rest.pop(0)]
            if not isinstance(node, DictConfig):
                given = key.removesuffix("." + ".".join(rest))
                inner = f"{given}={{{rest[0]}: ..., ...}}"
                return f"{given} is {node!r} there, without settings of its own; write '{inner}'"
        name = rest[0]
        parent = key.removesuffix(".".join(rest)).rstrip(".")
        names = [str(one) for one in node if not str(one).startswith("_")]
    except Exception:  # only a suggestion: the message below stands without it
        names = []
    if name in names and parent:
        return (
            f"{parent} is given as a bare value too, which has no {name}; give each of its "
            f"settings by itself: {parent}.{names[0]}=... {key}=..."
        )
    elsewhere = [f"{group}.{key}" for group in config if _has(config[group], key)] if names else []
    if elsewhere:
        return f"{key} is not a setting by itself; write {' or '.join(elsewhere)}"
    text = f"{key} is not a setting"
    if names:
        text += f"; {parent or 'the config'} has {', '.join(names)}"
    return f"{text}.{checks.did_you_mean(name, names)}"


def _has(group: object, name: str) -> bool:
    return isinstance(group, DictConfig) and name in group


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


def train(config: DictConfig) -> str:
    """Bring the run of a composed config to its end and return its status.

    Raises:
        ConfigError: if the config is wrong; nothing has been written then.
    """
    if "cell" in config:  # of a sweep: it was composed when the sweep was planned
        from decoderlab.studies.launchers import train_cell

        return train_cell(config.cell)
    from decoderlab import progress
    from decoderlab.distributed import Ranks
    from decoderlab.runs import execute, prepare
    from decoderlab.settings import Run, Training

    prepared = prepare(config, HydraConfig.get().runtime.choices)
    settings = prepared.config
    process.silent = progress.console.quiet = Ranks.of(Run(**settings["run"])).rank > 0
    if settings["budget"]["match"] in ("parameters", "flops"):
        raise ConfigError(
            f"budget.match is {settings['budget']['match']!r}, but one run has nothing to be "
            "matched with; give a sweep with a baseline: -m decoder=... study.baseline=..."
        )
    if settings.get("paper"):
        paper, task = settings["paper"], settings["choices"]["task"]
        progress.say(
            f"after {paper['authors']} {paper['year']}, whose task is {paper['task']}; {task} here"
        )
    total = Training(**settings["training"]).total_steps(
        prepared.task.train_dataloader().batches_per_epoch
    )
    finished_before = prepared.folder.status()["status"] == "FINISHED"
    status = None
    shown = progress.RunProgress(prepared.title, total, settings["training"]["max_seconds"])
    try:
        with shown:
            drift = settings["study"]["allow_drift"]
            status = execute(prepared, report=shown, retry=True, allow_drift=drift)
    except ConfigError:
        raise
    except BaseException:
        now = prepared.folder.status()["status"]
        progress.print_outcome(prepared.title, now, outcome(prepared.folder))
        raise
    again = "before, nothing to do; " if finished_before else ""
    progress.print_outcome(prepared.title, status, again + outcome(prepared.folder))
    return status


def outcome(folder: Any) -> str:
    """Return what became of a run, in a line.

    Args:
        folder: the `RunFolder`.
    """
    record = folder.status()
    if record["status"] == "INTERRUPTED":
        return f"({folder.path})"
    if record["status"] != "FINISHED":
        more = folder.traceback if folder.traceback.exists() else folder.path
        return f"{record.get('reason', '')} ({more})"
    from decoderlab.metrics import metric_words

    result = folder.result()
    scores = result["metrics"]["test"]
    shown = ", ".join(f"{metric_words(name)} {value:.4g}" for name, value in scores.items())
    return f"test: {shown}; {result['train_seconds']:.0f} s of training ({folder.path})"


if __name__ == "__main__":
    main()
