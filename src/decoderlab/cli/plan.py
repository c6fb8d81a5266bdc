"""decoderlab-plan: print what decoderlab-train would run with the same settings.

Nothing is written except the picture of `--diagram`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.common import process
from decoderlab.common.errors import ConfigError
from decoderlab.common.progress import output, plain
from decoderlab.common.safe_names import inside, plain_name
from decoderlab.config.command_line import as_given
from decoderlab.config.messages import training_notes
from decoderlab.studies.reporting.route_diagrams import diagram
from decoderlab.studies.reporting.route_facts import route_facts

if TYPE_CHECKING:
    from decoderlab.training.prepared_run import Prepared

EQUATIONS, DIAGRAM, JSON = "--equations", "--diagram", "--json"


def main() -> None:
    """Run the command line and leave with its exit code."""
    process.plan_as_json = JSON in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != JSON]
    asked = [flag for flag in (EQUATIONS, DIAGRAM) if flag in sys.argv]
    sys.argv = [argument for argument in sys.argv if argument not in asked]
    sweeps = any(
        argument in ("-m", "--multirun") or argument.startswith("study=") for argument in sys.argv
    )
    if asked and sweeps:
        sys.exit(guarded(lambda: _one_model_at_a_time(asked[0])))
    process.plan_only = True
    equations, draw = EQUATIONS in asked, DIAGRAM in asked
    sys.exit(
        guarded(lambda: with_hydra(lambda config: show_run(config, equations=equations, draw=draw)))
    )


def _one_model_at_a_time(flag: str) -> int:
    raise ConfigError(f"{flag} is for one model; leave -m and study=... out")


def show_run(config: DictConfig, *, equations: bool, draw: bool = False) -> str:
    """Print one run: where it lies, its data, its parameters and, if asked, its equations.

    Args:
        config: as composed by Hydra.
        equations: whether to write the recurrences of the modules, with widths and parameters.
        draw: whether to draw where the decoder gets what from.

    Raises:
        ConfigError: if the config is wrong.
    """
    from decoderlab.data.task_data import counts_text
    from decoderlab.layers.equations import as_text, count, equations_of
    from decoderlab.training.prepared_run import prepare

    choices = HydraConfig.get().runtime.choices
    prepared = prepare(config, choices)
    if process.plan_as_json:
        record = _record(prepared, equations=equations)
        record |= {"diagram": _drawn(prepared)[0].removeprefix("diagram: ")} if draw else {}
        print(json.dumps(record, indent=2))  # noqa: T201
        return "FINISHED"
    data, lines = prepared.task.data, [prepared.title]
    if (paper := prepared.config.paper) is not None:
        lines += [f"after {paper.authors} {paper.year}: {paper.title}, {paper.url}"]
        lines += [f"  differs: {difference}" for difference in paper.differs]
        given = [
            override
            for override in as_given(HydraConfig.get().overrides.task)
            if not override.startswith("preset=")
        ]
        lines += [f"  further overrides: {', '.join(given)}"] if given else []
        lines.append(f"  the paper's task: {paper.task}; this one: {prepared.config.choices.task}")
    lines.append(f"folder: {prepared.folder.path} ({prepared.folder.status()['status'].lower()})")
    lines.append(f"data: {counts_text(data.counts)}")
    every, objective = prepared.config.evaluation.every_steps, prepared.config.training.objective
    lines += training_notes(prepared.total_steps, every, objective)
    for group, network in zip(("encoder", "decoder"), prepared.networks, strict=True):
        choice = getattr(prepared.config.choices, group)
        name = type(network).__name__
        lines.append(f"{group} {choice} ({name}): {count(network):,} trained parameters")
        if equations:
            text = as_text(equations_of(network))
            lines += ["", *(f"  {line}" for line in text.splitlines()), ""]
    if equations:
        lines.append(
            "each line: what is computed, its width for one position, its parameters (torch keeps "
            "two vectors for a recurrent bias; a cell's weights are counted in its first line)"
        )
    if draw:
        lines += _drawn(prepared)
    output().print(*map(plain, lines), sep="\n")
    return "FINISHED"


def _record(prepared: Prepared, *, equations: bool) -> dict[str, Any]:
    """Return what `--json` prints of one run."""
    from decoderlab.layers.equations import count, equations_of

    record: dict[str, Any] = {
        "title": prepared.title,
        "run_id": prepared.run_id,
        "folder": str(prepared.folder.path),
        "status": prepared.folder.status()["status"],
        "data": dict(prepared.task.data.counts),
        "steps": prepared.total_steps,
    }
    for group, network in zip(("encoder", "decoder"), prepared.networks, strict=True):
        record[group] = {
            "choice": getattr(prepared.config.choices, group),
            "class": type(network).__name__,
            "parameters": count(network),
        }
        if equations:
            lines = equations_of(network)
            record[group]["equations"] = [f"{line.left} = {line.right}" for line in lines]
    return record


def _drawn(prepared: Prepared) -> list[str]:
    """Write the route diagram of the decoder, and return where it is and what it shows."""
    from decoderlab.layers.equations import equations_of
    from decoderlab.records.run_folder import write_text

    facts = route_facts(
        [(equation.left, equation.right) for equation in equations_of(prepared.networks[1])]
    )
    decoder = prepared.config.choices.decoder
    text = diagram(facts, decoder)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{plain_name(decoder)}-{digest}.svg"
    output_dir = prepared.config.run.output_dir
    path = inside(output_dir, "diagrams", name, setting="the decoder's name")
    write_text(path, text)
    return [f"diagram: {path}", *(f"  {said}" for said in facts.sentences)]


if __name__ == "__main__":
    main()
