"""decoderlab-check: run the contract battery on a decoder or encoder, ours or yours.

The checks are those of decoderlab.testing. An encoder is checked if one is named. A decoder, if one
is named, reads the encodings of that encoder; without one, random ones of the sizes of the default
encoder.

Example:
    decoderlab-check decoder=mine --config-dir my_conf
    decoderlab-check encoder=image_cnn --source images
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from decoderlab.cli.app import guarded
from decoderlab.common import process
from decoderlab.common.folders import add_to_path, conf_dir


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
        help="as for decoderlab-train: decoder=luong",
    )
    parser.add_argument("--config-dir", help="folder of your own classes and YAMLs")
    parser.add_argument(
        "--source",
        choices=("tokens", "values", "images"),
        default="tokens",
        help="what encoders read (%(default)s)",
    )
    parser.add_argument(
        "--target",
        choices=("tokens", "values"),
        default="tokens",
        help="what decoders write (%(default)s)",
    )
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: check(arguments)))


def check(arguments: argparse.Namespace) -> int:
    """Run the battery on what is named; return the exit code."""
    import hydra

    from decoderlab.common.completion import call, maker
    from decoderlab.common.errors import ConfigError
    from decoderlab.config.run_config import RunConfig
    from decoderlab.contract import ImageSpace, TokenSpace, ValueSpace
    from decoderlab.testing.decoder_checks import DECODER_CHECKS
    from decoderlab.testing.encoder_checks import ENCODER_CHECKS
    from decoderlab.testing.subjects import DecoderSubject, EncoderSubject

    process.user_config_dir = add_to_path(arguments.config_dir)
    named = {setting.split("=")[0] for setting in arguments.settings}
    if not named & {"encoder", "decoder", "preset"}:
        raise ConfigError(
            "nothing to check is named; give decoder=NAME, encoder=NAME or preset=NAME"
        )
    if "preset" in named:
        named |= {"encoder", "decoder"}
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = RunConfig.from_composed(hydra.compose("train", overrides=arguments.settings))
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
        failed += _tell(config.encoder.target, ENCODER_CHECKS, subject)
    if "decoder" in named:
        given = {"target_space": target, "encoder_shape": encoder.shape}
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
        failed += _tell(config.decoder.target, DECODER_CHECKS, subject)
    return int(failed > 0)


def _tell(target: str, checks: tuple, subject: Any) -> int:
    """Run checks and print the verdict of each; return how many failed."""
    from decoderlab.common.progress import output
    from decoderlab.testing import Failure, run_checks

    outcomes = run_checks(checks, subject)
    failed = sum(isinstance(one, Failure) for one in outcomes)
    skipped = sum(one is not None for one in outcomes) - failed
    told = f"{len(checks)} checks, {failed} failed, {skipped} do not apply"
    lines = [f"{target}: {told}"]
    for check, outcome in zip(checks, outcomes, strict=True):
        name = check.__name__.replace("_", " ")
        match outcome:
            case None:
                lines.append(f"  ok {name}")
            case Failure():
                lines.append(f"  FAILED {name}: {outcome.seen}")
            case _:
                lines.append(f"  does not apply: {name} ({outcome})")
    output().print("\n".join(lines), markup=False)
    return failed


if __name__ == "__main__":
    main()
