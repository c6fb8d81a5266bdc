"""What the commands share: exit codes, Hydra, and the options about one finished run."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from decoderlab.cli.train_help import train_help
from decoderlab.common import process
from decoderlab.common.disk import RECORD_BYTES, full_message, fullest, is_full
from decoderlab.common.errors import ConfigError, Invalid, LaunchError, lacks_memory
from decoderlab.common.escapes import terminal_text
from decoderlab.common.folders import add_to_path, conf_dir
from decoderlab.config.command_line import (
    check_options,
    check_words,
    left_to_cells,
    with_one_budget,
    without_config_dir,
)
from decoderlab.config.early_checks import check_before_imports
from decoderlab.config.messages import explain, is_about_settings, unfit
from decoderlab.config.secret_settings import redacted
from decoderlab.config.study_settings import PoolSettings
from decoderlab.generation.search import OF_BEAMS, OF_SAMPLING
from decoderlab.training.interruption import Interrupted


def guarded(command: Callable[[], int]) -> int:
    """Run a command; return its exit code, with one clear message for what went wrong.

    0 all is well, 1 some run failed or a record is damaged, 2 the config is wrong, 130 and 143
    interrupted.
    """
    # Hydra logs what cannot be imported besides raising it, which would be said twice.
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)
    process.open_streams()
    if unused := process.drop_precision_variables():
        _say(
            f"note: {', '.join(unused)} of the environment is not used: float32 is computed in the "
            "same way everywhere; a run has training.precision"
        )
    try:
        os.getcwd()
    except OSError:
        _say("error: the folder that you are in was deleted; change to another one: cd FOLDER")
        return 2
    try:
        with process.without_exits(), process.without_own_folder(), process.telling_interrupts():
            code = command()
        sys.stdout.flush()
        return code
    except Interrupted as error:
        _say(f"{error}; give the same command again to resume")
        return 128 + error.signum
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except ConfigError as error:
        _say(f"error: {error}")
    except (LaunchError, Invalid, process.ProcessExit) as error:
        _say(f"error: {error}")
        return 1
    except YAMLError as error:
        _say(f"error: a YAML cannot be read: {' '.join(str(error).split())}")
    except (HydraException, OmegaConfBaseException) as error:
        _say(f"error: {explain(error)}")
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 128 + signal.SIGPIPE
        if is_full(error) and _cannot_print():
            _say(f"error: standard output cannot be written: {error.strerror}; make space there")
            return 1
        named = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        _say(f"error: {_about(error)}")
        return 2 if named or error.errno == errno.ENAMETOOLONG else 1
    except Exception as error:
        return _unexpected(error)
    return 2


def _unexpected(error: Exception) -> int:
    """Say what went wrong where no message was written for it; return the exit code."""
    if _is_of_an_import(error):
        _say(_unloaded(error))
        return 2
    if is_full(error):
        _say(f"error: {full_message(fullest(sys.argv[1:]), RECORD_BYTES)}")
        return 1
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.stdout.encoding:
        letter = error.object[error.start : error.start + 1]
        _say(
            f"error: standard output is {error.encoding}, which does not have {letter!r}; "
            "take UTF-8: export PYTHONIOENCODING=utf-8"
        )
        return 2
    if isinstance(error, ValueError) and "null byte" in str(error):
        _say("error: a setting, or a name in a YAML, has a zero byte in it; leave that out")
        return 2
    if lacks_memory(error):
        _say(
            f"error: no memory is left ({type(error).__name__}): take smaller batches, shorter "
            "lines or a smaller search, or raise the limit (ulimit -v, that of the job); what was "
            "finished is kept"
        )
        return 1
    if not is_about_settings(error):
        _say(_internal(error))
        return 1
    given = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    _say(f"error: {unfit(f'one of {given!r:.300}')}")
    return 2


def _about(error: OSError) -> str:
    """Return what a person needs to know about an error of the system's."""
    if is_full(error):
        words = [os.fsdecode(error.filename)] if error.filename else sys.argv[1:]
        return full_message(fullest(words), RECORD_BYTES)
    if error.errno == errno.ENAMETOOLONG:
        return f"{error.strerror}: {str(error.filename)[:80]!r}...; give a shorter path"
    if not error.filename or not error.strerror:
        return str(error)
    path = Path(os.fsdecode(error.filename))
    if path.suffix == ".tmp":  # what is written first, to be renamed
        path = path.parent
    message = f"{path}: {error.strerror}"
    if isinstance(error, PermissionError):
        message += "; give yourself the permission, or take another folder"
    return message


def _is_of_an_import(error: Exception) -> bool:
    """Whether torch or matplotlib could not be imported."""
    frames = traceback.extract_tb(error.__traceback__)
    beginnings = tuple(os.path.join(name, "__init__.py") for name in ("torch", "matplotlib"))
    return any(frame.name == "<module>" and frame.filename.endswith(beginnings) for frame in frames)


def _unloaded(error: Exception) -> str:
    """Return what to say where a library refuses to be loaded, as for a variable of the shell's."""
    given = sorted(name for name in os.environ if name.startswith(("TORCH", "PYTORCH", "MPL")))
    advice = f"; check what you have set: {', '.join(given)}" if given else ""
    what = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
    return redacted(f"error: a library cannot be loaded: {what}{advice}")


def _cannot_print() -> bool:
    """Whether standard output takes no more; what was to be printed is dropped then."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _internal(error: Exception) -> str:
    """Return what to say of an error that is ours, once its traceback is kept."""
    what = redacted(f"internal error: {type(error).__name__}: {' '.join(str(error).split()):.300}")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="decoderlab-", suffix=".txt", errors="backslashreplace", delete=False
        ) as file:
            file.write(redacted(f"{sys.argv!r}\n{traceback.format_exc()}"))
    except OSError:
        return f"{what}. This is a mistake of decoderlab's; please report the command"
    return (
        f"{what}. This is a mistake of decoderlab's, or of a class of your own: please report it "
        f"with the traceback, which is in {file.name}. What was finished is kept"
    )


def _nobody_reads() -> bool:
    """Whether who reads what is printed has seen enough, as `head` has; nothing is printed then."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError):  # not on Windows, and not where standard output is not a file
        return False
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _say(text: str) -> None:
    if not process.silent:
        print(terminal_text(text), file=sys.stderr)  # noqa: T201


class _Visible(logging.Formatter):
    """Lines in which nothing acts on the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return terminal_text(super().format(record))


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
    if logging.lastResort is not None:  # what prints warnings of libraries
        logging.lastResort.setFormatter(_Visible())
    # Hydra's parser wants all flags on one side of the settings.
    settings = [word for word in sys.argv[1:] if re.match(r"~|[+]*[A-Za-z_][\w./@:]*=", word)]
    flags = [word for word in sys.argv[1:] if word not in settings]
    arguments = get_args_parser().parse_args(flags + settings)
    check_options(arguments)
    process.user_config_dir = add_to_path(arguments.config_dir)
    check_words(arguments.overrides)
    if arguments.help:
        print(train_help(with_one_budget(arguments.overrides)))  # noqa: T201
        return 0
    # A sweep looks at the budget of each of its runs.
    sweep = arguments.multirun or any(word.startswith("study=") for word in settings)
    settings = settings if sweep else with_one_budget(settings)
    process.sweep_exit_code = None
    statuses, errors = list[str](), list[Exception]()

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
    def start(config: DictConfig) -> None:
        process.stop_if_interrupted()
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            single(config)
            return
        try:
            PoolSettings.of_launcher(HydraConfig.get().launcher)  # no less wrong for a single run
            if "cell" not in config:  # of a sweep, which was checked when it was planned
                check_before_imports(config)
            statuses.append(single(config))
        except Exception as error:  # raised below: Hydra would print a line of its own before it
            errors.append(error)
        except SystemExit as error:  # of a class that the run is built from
            errors.append(
                LaunchError(f"code of the run called exit({error.code!r}) before it began")
            )

    with _known_mode(arguments, sweep):
        while True:
            sys.argv[1:] = without_config_dir(flags) + settings  # our plug-in knows the folder
            try:
                start()
                break
            except ConfigCompositionException as error:
                if sweep and not (arguments.cfg or "-m" in flags):
                    flags = ["-m", *flags]  # it had not yet read that the study is a sweep
                else:
                    settings = left_to_cells(settings, error, sweep)
    if errors:
        raise errors[0]
    if process.sweep_exit_code is not None:
        return process.sweep_exit_code
    return int(any(status != "FINISHED" for status in statuses))


def _known_mode(arguments: argparse.Namespace, sweep: bool) -> AbstractContextManager[Any]:
    """Spare Hydra a composition by which it looks whether a config makes itself a sweep.

    Of ours only studies do; a folder of one's own, another config, or a setting of Hydra may too.
    """
    own = arguments.config_dir or arguments.config_name or arguments.config_path
    if sweep or own or any("hydra" in word for word in arguments.overrides):
        return nullcontext()
    return mock.patch.object(Hydra, "get_mode", return_value=None)


def run_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command about one finished run; see `add_to_path`."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("run", help="folder of a finished run: outputs/runs/...")
    parser.add_argument(
        "--trust", action="store_true", help="allow the run to use classes from outside decoderlab"
    )
    parser.add_argument("--config-dir", help="folder of these classes, with --trust")
    _add_search(parser.add_argument_group("generation (default: as the run was evaluated)"))
    return parser


def _add_search(search: argparse._ArgumentGroup) -> None:
    """Add the options that say how to generate."""
    search.add_argument(
        "--beam-width", type=int, metavar="K", help="beam search with K beams; 1: greedy"
    )
    search.add_argument(
        "--length-penalty", type=float, metavar="A", help="of beam search (0: none)"
    )
    search.add_argument(
        "--coverage-penalty",
        type=float,
        metavar="B",
        help="of beam search, for decoders with attention (0: none)",
    )
    search.add_argument(
        "--beam-groups", type=int, metavar="G", help="diverse beam search: K beams in G groups"
    )
    search.add_argument(
        "--diversity-penalty", type=float, metavar="A", help="of the groups, in nats (0.5)"
    )
    _add_sampling(search)
    search.add_argument(
        "--exact-steps",
        type=int,
        metavar="N",
        help="search for the most probable output of all, with N steps of the decoder for a line "
        "at most",
    )
    search.add_argument(
        "--oracle-length",
        action=argparse.BooleanOptionalAction,
        help="tell each output the length of its target, where there is one",
    )
    search.add_argument(
        "--max-length", type=int, metavar="N", help="maximum tokens of an output, with its end"
    )


def _add_sampling(search: argparse._ArgumentGroup) -> None:
    """Add the options of sampling."""
    search.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="sample at this temperature; the options below need it",
    )
    search.add_argument(
        "--top-k", type=int, metavar="K", help="sample from the K most probable tokens"
    )
    search.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="sample from the most probable tokens with a total of this probability",
    )
    search.add_argument(
        "--min-p",
        type=float,
        metavar="P",
        help="sample from the tokens with at least this share of the first one's probability",
    )
    search.add_argument(
        "--mbr-samples",
        type=int,
        metavar="N",
        help="of N samples, take the one most like all of them (minimum Bayes risk)",
    )
    search.add_argument("--seed", type=int, help="seed of sampling")


def add_own_folder(arguments: argparse.Namespace) -> None:
    """Put the folder that `run_parser` takes on the Python path; see `add_to_path`.

    Raises:
        ConfigError: without `--trust`: whatever is imported later could come from that folder.
    """
    if arguments.config_dir is not None and not arguments.trust:
        raise ConfigError(
            f"--config-dir is {arguments.config_dir!r:.200}, but no class of your own is built "
            "without --trust; give --trust too if the run is yours, or leave --config-dir out"
        )
    add_to_path(arguments.config_dir)


def search_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the generation settings that were given on the command line of `run_parser`."""
    names = (*OF_BEAMS, "temperature", *OF_SAMPLING, "exact_steps", "oracle_length", "seed")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}
