"""What is said of the cells of a study that cannot run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common.errors import ConfigError
from decoderlab.common.process import hidden_interrupt
from decoderlab.config.early_checks import check_before_imports
from decoderlab.config.messages import explain
from decoderlab.studies.design.composed_cells import Composed
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.row_labels import varied_keys

UNFIT = (ConfigError, HydraException, OmegaConfBaseException)


def why_unfit(error: Exception, cell: GridCell) -> str:
    """Return why a cell cannot run; raise the interrupt that the error hides."""
    if hidden := hidden_interrupt(error):
        raise hidden
    return str(error) if isinstance(error, ConfigError) else explain(error, cell.overrides)


def impossible(reasons: Mapping[str, Sequence[str]], others_can: bool = False) -> ConfigError:
    """Return what names every cell that cannot run.

    Args:
        reasons: each with its cells, as `GridCell.text` has them.
        others_can: whether there are cells that can run.
    """
    lines = []
    for reason, cells in reasons.items():
        shown = "; ".join(cells[:3]) + ("; ..." if len(cells) > 3 else "")
        where = f"the cell {shown}" if len(cells) == 1 else f"{len(cells)} cells: {shown}"
        lines.append(f"{reason} (in {where})" if any(cells) else reason)
    if others_can:
        lines.append("nothing was started; correct them, or leave them out by study.exclude")
    return ConfigError("\n".join(lines))


def refuse_before_imports(
    cells: Sequence[GridCell], compose: Callable[[Sequence[str]], Composed]
) -> None:
    """Raise what `make_plan` would, as far as that can be known before seconds of imports.

    Args:
        cells: of the grid.
        compose: from overrides to a config.

    Raises:
        ConfigError: if no cell can run.
    """
    reasons: dict[str, list[str]] = {}
    varied = varied_keys([cell.named for cell in cells])
    for cell in cells:
        try:
            check_before_imports(compose(cell.overrides).config)
        except UNFIT as error:
            reasons.setdefault(why_unfit(error, cell), []).append(cell.text(varied))
        else:
            return  # the others are looked at in the plan
    raise impossible(reasons)
