"""decoderlab-check: run the contract battery on a decoder or encoder, ours or yours.

The checks are those of decoderlab.testing. An encoder is checked if one is named; a decoder, if one
is named, gets what that encoder (or the default one) offers.

Example:
    decoderlab-check decoder=mine --config-dir my_conf
    decoderlab-check encoder=image_cnn --source images
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from decoderlab import process
from decoderlab.train import add_to_path, conf_dir, guarded


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

    from decoderlab.config import ConfigError, call, find_target, resolve
    from decoderlab.contract import ImageSpace, TokenSpace, ValueSpace
    from decoderlab.testing import decoder_failures, encoder_failures
    from decoderlab.testing.decoders import DECODER_CHECKS
    from decoderlab.testing.encoders import ENCODER_CHECKS

    process.user_config_dir = add_to_path(arguments.config_dir)
    named = {setting.split("=")[0] for setting in arguments.settings}
    if not named & {"encoder", "decoder"}:
        raise ConfigError("nothing to check is named; give decoder=NAME or encoder=NAME")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = resolve(hydra.compose("train", overrides=arguments.settings))
    spaces: dict[str, Any] = {
        "tokens": TokenSpace(11), "values": ValueSpace(3), "images": ImageSpace(2, 16, 16)
    }  # fmt: skip
    settings, classes = {}, {}
    for group in ("encoder", "decoder"):
        settings[group] = dict(config[group])
        classes[group] = find_target(group, settings[group].pop("_target_"))
    source, target = spaces[arguments.source], spaces[arguments.target]
    encoder = call("encoder", classes["encoder"], source_space=source, **settings["encoder"])
    failed = 0
    if "encoder" in named:
        failures = encoder_failures(classes["encoder"], source_space=source, **settings["encoder"])
        failed += _tell("encoder", config, ENCODER_CHECKS, failures)
    if "decoder" in named:
        given = {"target_space": target, "encoder_shape": encoder.shape}
        call("decoder", classes["decoder"], **given, **settings["decoder"])
        failures = decoder_failures(classes["decoder"], **given, **settings["decoder"])
        failed += _tell("decoder", config, DECODER_CHECKS, failures)
    return int(failed > 0)


def _tell(group: str, config: dict[str, Any], checks: tuple, failures: list) -> int:
    """Print every check with its verdict; return how many failed."""
    from decoderlab.progress import output

    seen = {failure.check: failure.seen for failure in failures}
    lines = [f"{group} {config[group]['_target_']}: {len(checks)} checks, {len(seen)} failed"]
    for one in checks:
        name = one.__name__.replace("_", " ")
        verdict = f"FAILED {name}: {seen[one.__name__]}" if one.__name__ in seen else f"ok {name}"
        lines.append(f"  {verdict}")
    output().print("\n".join(lines), markup=False)
    return len(seen)


if __name__ == "__main__":
    main()
