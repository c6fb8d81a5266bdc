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
