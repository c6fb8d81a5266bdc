"""decoderlab-evaluate: evaluate a finished run with other generation, another split or other data.

With --ensemble, give the name of a study: the finished seeds of a row are evaluated as one model,
which predicts by the mean of their probabilities at each step.

With --data, give the data of the run at their new path, or a new test file: all of its lines are
tested, with the vocabularies of the run.

Examples:
  decoderlab-evaluate outputs/runs/RUN --split validation
  decoderlab-evaluate outputs/runs/RUN --beam-width 5 --max-length 60
  decoderlab-evaluate outputs/runs/RUN --data new_pairs.tsv --skip-bad-lines --json
  decoderlab-evaluate first_look --ensemble luong --task g2p
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from decoderlab.cli.app import add_own_folder, guarded, run_parser, search_settings
from decoderlab.common.errors import ConfigError
from decoderlab.common.escapes import terminal_text

if TYPE_CHECKING:
    from decoderlab.data.task import Task
    from decoderlab.training.loading import LoadedRun


def main() -> None:
    """Run the command line and leave with its exit code; the scores go to standard output."""
    parser = run_parser("decoderlab-evaluate", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="split to evaluate (%(default)s)",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help="data instead of the files of the task: its own data, moved, or a new test file",
    )
    parser.add_argument(
        "--skip-bad-lines",
        action="store_true",
        help="with --data: skip invalid lines, and report them",
    )
    parser.add_argument(
        "--ensemble", metavar="VARIANT", help="of the study that is given in place of a run"
    )
    parser.add_argument("--task", help="with --ensemble: of the study, where it has several")
    parser.add_argument(
        "--output-dir",
        default="outputs",
        help="with --ensemble: where the study is (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON, all digits")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: _run(arguments)))


def _run(arguments: argparse.Namespace) -> int:
    add_own_folder(arguments)
    if arguments.skip_bad_lines and not arguments.data:
        raise ConfigError(
            "--skip-bad-lines is about the lines of a file; give --data FILE too (in training: "
            "task.skip_bad_lines=true)"
        )
    if arguments.task is not None and arguments.ensemble is None:
        raise ConfigError("--task is of a study; give --ensemble VARIANT too, or leave it out")
    import torch

    from decoderlab.training.loading import load_run, search_with
    from decoderlab.usage.new_data import load_with
    from decoderlab.usage.outputs import with_limit

    beside: dict[str, Any] = {}
    damage: tuple[str, ...] = ()
    if arguments.ensemble is not None:
        loaded, beside, damage = _ensemble(arguments)
    elif arguments.data:
        opened = load_with(
            arguments.run,
            arguments.data,
            trust=arguments.trust,
            skip_bad_lines=arguments.skip_bad_lines,
        )
        if not opened.moved and arguments.split != "test":
            raise ConfigError(
                f"--split is {arguments.split}, but the file is not the data of the run: all of it "
                "is a test split; leave --split out"
            )
        loaded, beside = opened.run, {"data": opened.record(arguments.data)}
    else:
        try:
            loaded = load_run(arguments.run, trust=arguments.trust)
        except ConfigError as error:
            if "cannot be read" not in str(error):
                raise
            raise ConfigError(f"{error}; where the data of the run are now: --data FILE") from error
    torch.set_num_threads(loaded.config.run.threads)
    loaded = search_with(loaded, **search_settings(arguments))
    if arguments.max_length is not None:
        loaded = with_limit(loaded, arguments.max_length)
    record = _evaluated(loaded, arguments.split) | beside
    if arguments.ensemble is not None and loaded.module.writes_values:
        record["metrics"] = _of_means(record["metrics"], loaded.task)
    print(json.dumps(record, indent=2) if arguments.json else _text(loaded, record))  # noqa: T201
    for line in damage:
        sys.stderr.write(terminal_text(f"damaged: {line}") + "\n")
    return int(bool(damage))


def _of_means(scores: Mapping[str, float], task: Task) -> dict[str, float]:
    """Return the scores of an ensemble that writes values, without those that read a loss."""
    from decoderlab.metrics.task_metric import measured, reads

    readers = [metric for metric in task.metrics.values() if reads(metric) == "loss"]
    names = ["loss", *(score.name for metric in readers for score in measured(metric))]
    sys.stderr.write(
        f"note: no {', '.join(names)} is given: it is of a distribution, an ensemble writes means\n"
    )
    return {name: score for name, score in scores.items() if name not in names}


def _ensemble(
    arguments: argparse.Namespace,
) -> tuple[LoadedRun, dict[str, Any], tuple[str, ...]]:
    """Return the seeds of a row as one run, what the record says of them, and what is damaged."""
    from decoderlab.usage.study_ensemble import row_ensemble

    if arguments.data:
        raise ConfigError("--data is for a run; leave it or --ensemble out")
    row = row_ensemble(
        arguments.run,
        arguments.ensemble,
        arguments.task,
        output_dir=arguments.output_dir,
        trust=arguments.trust,
    )
    for seed, status in row.missing.items():
        sys.stderr.write(f"warning: seed {seed} is {status}, and not in the ensemble\n")
    return row.run, {"seeds": row.seeds}, row.damage


def _text(loaded: LoadedRun, record: Mapping[str, Any]) -> str:
    """Return the scores, a line each, and how they were measured."""
    from decoderlab.data.task_data import counts_text

    known, scores = loaded.task.scores, record["metrics"]
    labels = {name: known[name].label if name in known else name for name in scores}
    width = max(map(len, labels.values()))
    lines = [f"{label:<{width}}  {scores[name]:.4g}" for name, label in labels.items()]
    if data := record.get("data"):
        whose = "the run's own data" if data["data_of_the_run"] else "a new test file"
        lines.append(f"data: {whose}; {counts_text(data['counts'])}")
        lines += _of_training(data)
    if seeds := record.get("seeds"):
        lines.append(f"ensemble of {len(seeds)} seeds: {', '.join(map(str, seeds))}")
    return terminal_text("\n".join([*lines, f"({record['signature']})"]))


def _of_training(data: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of test examples that the run may have been trained on."""
    if data["data_of_the_run"]:
        return []
    number, tested, said = data["trained_on"], data["counts"]["test"], []
    if number is None:
        said.append("trained on: not known, since the run's own data cannot be read any more")
    elif number:
        said.append(
            f"trained on: {number:,} of the {tested:,} sources, which are no test of the run"
        )
    if number is not None and (chosen := data["chosen_on"]):
        said.append(
            f"chosen on: {chosen:,} of the {tested:,} sources are of the validation split, which "
            "chose the run's update"
        )
    if data["began_with"] is not None:
        said.append(f"not looked at: what {data['began_with']} was trained on, which it began with")
    return said


def _evaluated(loaded: LoadedRun, split: str) -> dict[str, Any]:
    """Return the scores on a split, and how they were measured."""
    from decoderlab.metrics.signature import signature
    from decoderlab.training.model_evaluation import evaluate, met_limit, signatures_of

    scores = evaluate(loaded.module, loaded.task, split, loaded.config)
    data = loaded.task.data
    signatures = signatures_of(loaded.task, loaded.config, split)
    measured = signature(
        split,
        len(data.splits[split]),
        loaded.module.max_target_length,
        data.fingerprint,
        loaded.module.search.signature,
        signatures,
    )
    record: dict[str, Any] = {"metrics": scores, "signature": measured}
    if signatures:
        record["signatures"] = signatures
    if loaded.code_changes:
        record["code_changes"] = list(loaded.code_changes)
    if cut := met_limit(loaded.module):
        record["met_limit"] = cut
        sys.stderr.write(
            terminal_text(
                f"warning: {cut:.1%} of the outputs were cut at {loaded.module.max_target_length} "
                "tokens without an end; a greater length: --max-length N"
            )
            + "\n"
        )
    return record


if __name__ == "__main__":
    main()
