"""decoderlab-plan: what decoderlab-train would do with the same settings; nothing is written."""

from __future__ import annotations

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.common import process
from decoderlab.common.errors import ConfigError

EQUATIONS = "--equations"


def main() -> None:
    """Run the command line and leave with its exit code."""
    equations = EQUATIONS in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != EQUATIONS]
    sweeps = any(one in ("-m", "--multirun") or one.startswith("study=") for one in sys.argv)
    if equations and sweeps:
        sys.exit(guarded(_one_model_at_a_time))
    process.plan_only = True
    sys.exit(guarded(lambda: with_hydra(lambda config: show(config, equations=equations))))


def _one_model_at_a_time() -> int:
    raise ConfigError(f"{EQUATIONS} is for one model; leave -m and study=... out")


def show(config: DictConfig, *, equations: bool) -> str:
    """Print one run: where it lies, its data, its parameters and, if asked, its equations.

    Args:
        config: as composed by Hydra.
        equations: whether to write the recurrences of the modules, with widths and parameters.

    Raises:
        ConfigError: if the config is wrong.
    """
    from decoderlab.common.progress import output
    from decoderlab.data.task_data import counts_text
    from decoderlab.layers.equations import as_text, count, equations_of
    from decoderlab.training.prepared_run import prepare

    choices = HydraConfig.get().runtime.choices
    prepared = prepare(config, choices)
    data, lines = prepared.task.data, [prepared.title]
    if (paper := prepared.config.paper) is not None:
        lines += [f"after {paper.authors} {paper.year}: {paper.title}, {paper.url}"]
        lines += [f"  differs: {one}" for one in paper.differs]
        given = [one for one in HydraConfig.get().overrides.task if not one.startswith("preset=")]
        lines += [f"  given besides: {', '.join(given)}"] if given else []
        lines.append(f"  the paper's task: {paper.task}; this one: {choices['task']}")
    lines.append(f"folder: {prepared.folder.path} ({prepared.folder.status()['status'].lower()})")
    lines.append(f"data: {counts_text(data.counts)}")
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
    output().print("\n".join(lines), markup=False)
    return "FINISHED"


if __name__ == "__main__":
    main()
