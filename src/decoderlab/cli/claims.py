"""decoderlab-claims: run the studies of published claims, and say which of them hold.

Without names it takes all claims. Finished runs are not run again; an interrupted study goes on.
Results, claims.md and claims.csv are written to the folder of --to.

Examples:
  decoderlab-claims --list                 (names, minutes and verdicts; runs nothing)
  decoderlab-claims scan_length            (run its study, print the verdict)
  decoderlab-claims --no-run --to docs     (only judge the results that docs/studies has)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decoderlab.cli.app import guarded
from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.process import ask_for_sigterm
from decoderlab.common.progress import output, plain, say
from decoderlab.config.study_settings import MAX_JOBS
from decoderlab.studies.claims.declared_claim import Claim, all_claims, chosen_claims
from decoderlab.studies.design.grid import as_value

if TYPE_CHECKING:
    from decoderlab.studies.claims.judgement import Judgement


def main() -> None:
    """Run the command line and leave with its exit code: 0 well, 1 a run failed or is missing."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a claim (default: all)")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--list", action="store_true", help="list the claims; run nothing")
    doing.add_argument(
        "--no-run", action="store_true", help="judge the results that are there; run nothing"
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("outputs/claims"),
        metavar="FOLDER",
        help="of claims.md, claims.csv and studies/STUDY/results.csv (%(default)s)",
    )
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one per core)")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="of the runs (%(default)s)"
    )
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: _claims(arguments)))


def _check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for what a study would refuse later, or take for something else."""
    if arguments.jobs is not None and not 0 < arguments.jobs < MAX_JOBS:
        raise ConfigError(f"--jobs is {arguments.jobs}; it must be above 0 and below {MAX_JOBS:,}")
    if "${" in str(arguments.output_dir):
        raise ConfigError(
            f"--output-dir is {str(arguments.output_dir)!r:.200}, but a config takes ${{...}} for "
            "a reference to a setting; take a folder of another name"
        )


def _claims(arguments: argparse.Namespace) -> int:
    from decoderlab.studies.claims.claims_page import write_page
    from decoderlab.studies.claims.copied_results import committed_tables
    from decoderlab.studies.claims.judgement import judge_all

    _check(arguments)
    claims = all_claims()
    chosen, every = chosen_claims(arguments.names, claims), list(claims.values())
    names = {claim.name for claim in chosen}
    if arguments.list:
        judgements = judge_all(every, committed_tables(arguments.to, every))
        _print_list([each for each in judgements if each.claim.name in names])
        return 0
    code = 0
    if not arguments.no_run:
        for study in dict.fromkeys(claim.study for claim in chosen):
            code = max(code, run_study(study, arguments.output_dir, arguments.to, arguments.jobs))
    judgements = write_page(arguments.to, every)
    shown = [each for each in judgements if each.claim.name in names]
    _print_verdicts(shown)
    say(f"written to {arguments.to / 'claims.md'} and claims.csv")
    damaged = dict.fromkeys(each.reason for each in judgements if each.word == "not run")
    for reason in filter(None, damaged):
        say(f"damaged: {reason}")
    return max(code, int(any(damaged) or any(each.word == "not run" for each in shown)))


def run_study(study: str, output_dir: Path, to: Path, jobs: int | None = None) -> int:
    """Run a study as decoderlab-train does, and copy its results; return its exit code.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.
        to: where `studies/STUDY` goes.
        jobs: runs at a time; None for one per core.

    Raises:
        LaunchError: if the study was interrupted or refused, after its own message.
    """
    from decoderlab.studies.claims.copied_results import copy_results

    words = [f"study={study}", f"run.output_dir={as_value(str(output_dir))}"]
    words += [] if jobs is None else [f"hydra.launcher.jobs={jobs}"]
    say(f"study {study}")
    code = launched(words)
    if code not in (0, 1):
        raise LaunchError(f"the study {study} ended with exit code {code}; nothing was judged")
    copy_results(study, output_dir, to)
    return code


def launched(words: Sequence[str]) -> int:
    """Run decoderlab-train in a process of its own; return its exit code.

    Args:
        words: of its command line.
    """
    command = [sys.executable, "-m", "decoderlab.cli.train", *words]
    # Whoever ends this command ends the study too, which can be given again.
    return subprocess.run(command, check=False, preexec_fn=ask_for_sigterm).returncode


def _print_list(judgements: Sequence[Judgement]) -> None:
    from rich.table import Table

    table = Table("no.", "name", "claim", "study", "minutes", "verdict")
    for each in judgements:
        claim: Claim = each.claim
        cells = (claim.number, claim.name, claim.statement, claim.study, claim.minutes, each.word)
        table.add_row(*(plain(f"{cell:g}" if isinstance(cell, float) else cell) for cell in cells))
    output().print(table)
    minutes = {each.claim.study: each.claim.minutes for each in judgements}
    say(f"{len(judgements)} claims, {len(minutes)} studies; {sum(minutes.values()):g} minutes")


def _print_verdicts(judgements: Sequence[Judgement]) -> None:
    from rich.table import Table

    from decoderlab.studies.claims.claims_page import ours_text, published_text

    table = Table("no.", "name", "published", "ours [95 % CI]", "seeds", "verdict")
    for each in judgements:
        word = f"{each.word}: {each.reason}" if each.reason else each.word
        cells = (
            each.claim.number,
            each.claim.name,
            published_text(each.claim),
            ours_text(each),
            each.seeds or "",
            word,
        )
        table.add_row(*map(plain, cells))
    output().print(table)


if __name__ == "__main__":
    main()
