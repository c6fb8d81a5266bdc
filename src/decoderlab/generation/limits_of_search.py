"""The ranges of the settings of beam search and sampling."""

from __future__ import annotations

from decoderlab.common import require


def check_sampling(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    """Raise ValueError for a setting out of range."""
    require.positive("temperature", temperature)
    if top_k is not None:
        require.at_least("top_k", top_k, 1)
    for name, share in (("top_p", top_p), ("min_p", min_p)):
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"{name} is {share}; it must be above 0 and at most 1")


def _check_beam(beam_width: int, length_penalty: float, coverage_penalty: float) -> None:
    require.at_least("beam_width", beam_width, 1)
    require.between("length_penalty", length_penalty, -10, 10)
    require.between("coverage_penalty", coverage_penalty, 0, 10)


def check_groups(beam_width: int, beam_groups: int, diversity_penalty: float) -> None:
    """Raise ValueError for groups that do not divide the beams, or a penalty out of range."""
    require.at_least("beam_groups", beam_groups, 1)
    require.at_least("diversity_penalty", diversity_penalty, 0)
    if beam_width % beam_groups:
        raise ValueError(
            f"beam_width is {beam_width} and beam_groups {beam_groups}, but groups are of equal "
            f"size; take a width of {beam_groups * max(round(beam_width / beam_groups), 1)}"
        )
