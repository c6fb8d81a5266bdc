"""docs/diagrams: where each decoder that ships gets what from, drawn from its own equations.

    python scripts/draw_diagrams.py

`make test` fails if one of them is missing or out of date.
"""

from __future__ import annotations

from pathlib import Path

from decoderlab.common.folders import conf_dir
from decoderlab.config.composition import compose_config
from decoderlab.contract import TokenSpace
from decoderlab.layers.equations import equations_of
from decoderlab.studies.reporting.route_diagrams import diagram
from decoderlab.studies.reporting.route_facts import route_facts
from decoderlab.training.assembly import build_networks
from measuring.arguments import own_folder, script_parser

FOLDER = Path(__file__).parents[1] / "docs" / "diagrams"
TOKENS = TokenSpace(9)  # what they read and write has no influence on their routes


def main() -> None:
    """Write the pictures."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--folder", type=own_folder, default=FOLDER, help="to write to (%(default)s)"
    )
    folder = parser.parse_args().folder
    for name, picture in diagrams().items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")


def diagrams() -> dict[str, str]:
    """Return the picture of each decoder that ships, by its name."""
    names = sorted(path.stem for path in (conf_dir() / "decoder").glob("*.yaml"))
    drawn = {}
    for name in names:
        config = compose_config([f"decoder={name}"])
        _, decoder = build_networks(config, TOKENS, TOKENS)
        lines = [(one.left, one.right) for one in equations_of(decoder)]
        drawn[name] = diagram(route_facts(lines), name, named=True)
    return drawn


if __name__ == "__main__":
    main()
