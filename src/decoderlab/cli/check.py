"""decoderlab-check: run the contract battery on decoders, encoders, parts, metrics, objectives.

The checks are those of decoderlab.testing. An encoder is checked if one is named. A decoder, if one
is named, reads the encodings of that encoder; without one, random ones of the sizes of the default
encoder. Of parts, those that are named are checked by the battery of their kind: a decoder's
attention (its score, and its mixing), bridge, head, feedback (and its schedule), cell and
combination, an encoder's cell and summary; and so are metrics and the objective of training.

Example:
    decoderlab-check decoder=mine --config-dir my_conf
    decoderlab-check encoder=image_cnn --source images
    decoderlab-check decoder/attention=mine --config-dir my_conf
    decoderlab-check +metric@task.metrics.mine=mine --config-dir my_conf
    decoderlab-check training/objective=mine --config-dir my_conf
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from decoderlab.cli.app import guarded
from decoderlab.common import process
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import add_to_path, conf_dir
from decoderlab.common.part_building import call, complete_part, maker, part_maker
from decoderlab.common.part_choice import public_name
from decoderlab.common.progress import output, plain
from decoderlab.config.composed_values import setting_of

# The kinds of the parts that can be named, see `decoderlab.testing.part_checks`.
PART_KINDS = {
    "decoder/attention": "attention_score",
    "decoder/bridge": "bridge",
    "decoder/head": "head",
    "decoder/head/distribution": "head",  # that of the head which has it
    "decoder/feedback": "feedback",
    "decoder/cell": "cell",
    "decoder/combine": "combination",
    "decoder/attention/mixing": "mixing",
    "decoder/feedback/schedule": "decay",
    "encoder/summary": "pooling",
    "encoder/cell": "cell",
    "training/objective": "objective",
}
METRIC = "metric@task.metrics."


def main() -> None:
    """Run the command line and leave with its exit code: 0 all checks passed, 1 some failed."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="SETTING=VALUE",
        help="settings as for decoderlab-train: decoder=luong",
    )
    parser.add_argument("--config-dir", help="folder of your own classes and YAMLs")
    parser.add_argument(
        "--source",
        choices=("tokens", "values", "images"),
        default="tokens",
        help="kind of the sources (%(default)s)",
    )
    parser.add_argument(
        "--target",
        choices=("tokens", "values"),
        default="tokens",
        help="kind of the targets (%(default)s)",
    )
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: check(arguments)))


def check(arguments: argparse.Namespace) -> int:
    """Run the batteries on what is named; return the exit code.

    Raises:
        ConfigError: if nothing to check is named, or for wrong settings.
    """
    import hydra

    from decoderlab.config.run_config import RunConfig

    process.user_config_dir = add_to_path(arguments.config_dir)
    named = {setting.split("=")[0].lstrip("+") for setting in arguments.settings}
    parts = [name for name in named if name in PART_KINDS or name.startswith(METRIC)]
    if "preset" in named:
        named |= {"encoder", "decoder"}
    if not (named & {"encoder", "decoder"} or parts):
        raise ConfigError(
            "nothing to check is named; give decoder=NAME, encoder=NAME or preset=NAME, a part as "
            "decoder/attention=NAME, training/objective=NAME, or +metric@task.metrics.NAME=NAME"
        )
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = hydra.compose("train", overrides=arguments.settings)
    failed = sum(_check_part(name, composed) for name in sorted(parts))
    if named & {"encoder", "decoder"}:
        failed += _check_networks(RunConfig.from_composed(composed), named, arguments)
    return int(failed > 0)


def _check_networks(config: Any, named: set[str], arguments: argparse.Namespace) -> int:
    """Check the encoder and the decoder, if they are named; return how many checks failed."""
    from decoderlab.contract import ImageSpace, TokenSpace, ValueSpace
    from decoderlab.testing.decoder_checks import DECODER_CHECKS
    from decoderlab.testing.encoder_checks import ENCODER_CHECKS
    from decoderlab.testing.subjects import DecoderSubject, EncoderSubject, known_to_decoders

    spaces: dict[str, Any] = {
        "tokens": TokenSpace(11), "values": ValueSpace(3), "images": ImageSpace(2, 16, 16)
    }  # fmt: skip
    settings, classes = {}, {}
    for group in ("encoder", "decoder"):
        made = maker(group, getattr(config, group).to_dict())
        classes[group], settings[group] = made.func, made.keywords
    source, target = spaces[arguments.source], spaces[arguments.target]
    encoder = call("encoder", classes["encoder"], source_space=source, **settings["encoder"])
    failed = 0
    if "encoder" in named:
        subject = EncoderSubject(
            classes["encoder"], {"source_space": source}, settings["encoder"], source
        )
        failed += _show(config.encoder.target, ENCODER_CHECKS, subject)
    if "decoder" in named:
        given = known_to_decoders(classes["decoder"], target, encoder.shape, source)
        call("decoder", classes["decoder"], **given, **settings["decoder"])
        subject = DecoderSubject(
            classes["decoder"],
            given,
            settings["decoder"],
            target,
            encoder.shape,
            encoder if "encoder" in named else None,
            source,
        )
        failed += _show(config.decoder.target, DECODER_CHECKS, subject)
    return failed


def _check_part(name: str, composed: Any) -> int:
    """Check a part that is named, as it was composed; return how many checks failed.

    A decoder may normalise away what is not in force beside the rest, such as a bridge without the
    route initial_state: the part is checked as it was chosen all the same.
    """
    from decoderlab.config.run_config import INJECTED
    from decoderlab.decoders.attention import Attention, Mixing
    from decoderlab.decoders.bridges import Bridge
    from decoderlab.decoders.combinations import Combination
    from decoderlab.decoders.feedback import Decay, Feedback
    from decoderlab.decoders.heads import Head
    from decoderlab.layers.cells import Cell
    from decoderlab.layers.pooling import Pooling
    from decoderlab.testing import ContractViolation
    from decoderlab.testing.part_checks import BATTERIES, subject_of

    setting = name.partition("@")[2] if name.startswith(METRIC) else name.replace("/", ".")
    if name == "decoder/head/distribution":
        setting = "decoder.head"
    kind = "metric" if name.startswith(METRIC) else PART_KINDS[name]
    given = setting_of(composed, setting)
    kinds = {
        "attention_score": Attention, "bridge": Bridge, "head": Head, "feedback": Feedback,
        "cell": Cell, "combination": Combination, "mixing": Mixing, "pooling": Pooling,
        "decay": Decay,
    }  # fmt: skip
    if kind == "objective":  # no base class, which would say what it is given
        made = maker(setting, complete_part(setting, given, injected=INJECTED[setting]))
    else:
        made = part_maker(setting, given, kinds.get(kind, object))
    if kind == "attention_score":
        made = made.keywords.get("score")
        if made is None:
            raise ConfigError(
                f"{setting} has no score to check; choose a score: decoder/attention=NAME"
            )
    try:
        subject = subject_of(kind, made.func, made.keywords)
    except ContractViolation as violation:
        raise ConfigError(str(violation)) from violation
    return _show(public_name(made.func), BATTERIES[kind][1], subject)


def _show(target: str, checks: Sequence[Callable], subject: Any) -> int:
    """Run checks and print the verdict of each; return how many failed."""
    from decoderlab.testing import Failure, run_checks

    outcomes = run_checks(checks, subject)
    failed = sum(isinstance(outcome, Failure) for outcome in outcomes)
    skipped = sum(outcome is not None for outcome in outcomes) - failed
    lines = [f"{target}: {len(checks)} checks, {failed} failed, {skipped} do not apply"]
    for check, outcome in zip(checks, outcomes, strict=True):
        name = check.__name__.replace("_", " ")
        match outcome:
            case None:
                lines.append(f"  ok {name}")
            case Failure():
                lines.append(f"  FAILED {name}: {outcome.seen}")
            case _:
                lines.append(f"  does not apply: {name} ({outcome})")
    output().print(*map(plain, lines), sep="\n")
    return failed


if __name__ == "__main__":
    main()
