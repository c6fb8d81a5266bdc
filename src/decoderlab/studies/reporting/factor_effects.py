"""What the factors of a grid do, alone and together."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.studies.analysis.factorial import Factorial, LevelContrast
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, FigureBlock, Grid, Paragraph, Section
from decoderlab.studies.reporting.figures import Picture
from decoderlab.studies.reporting.table_texts import difference_text, p_text

MAX_STEPS = 60


def _named(factors: Sequence[str]) -> str:
    return " x ".join(factors)


def factor_effects(analysis: Analysis, picture: Picture | None) -> Section | None:
    """Return the analysis of the factors with its figure; None without a grid of two."""
    blocks: list[Block] = []
    for task, factorial in analysis.factorials.items():
        if isinstance(factorial, Factorial):
            blocks += _factorial(task, factorial)
    if not blocks and len(analysis.grid[1]) < 2:
        return None
    blocks += [
        Paragraph(f"{task} is not analysed: {reason}.")
        for task, reason in analysis.factorials.items()
        if isinstance(reason, str)
    ]
    if picture is not None:
        blocks = [FigureBlock(picture), Paragraph(picture.caption), *blocks]
    blocks.append(
        Paragraph(
            "Repeated-measures analysis of variance with the seed as block; p with Greenhouse and "
            "Geisser's correction, adjusted by Holm over the effects of the task; beside it the "
            "exact test that flips the signs of each seed's contrasts. An effect is certain if "
            "both are below 0.05. In size: one level of a factor against its first, seed by seed, "
            "over the mean of all else (main effects; Holm over those of the task) or with all "
            "else held (simple effects; Holm over those of the factor)."
        )
    )
    return Section("Factors", blocks)


def _factorial(task: str, factorial: Factorial) -> list[Block]:
    effects = [
        [
            _named(effect.factors),
            f"{effect.f:.2f}",
            p_text(effect.p_holm, bare=True),
            f"{effect.partial_eta_squared:.3f}",
            "yes" if effect.real else "no",
            f"{effect.freedom * effect.epsilon:.1f}, {effect.freedom_error * effect.epsilon:.1f}",
            p_text(effect.p, bare=True),
            p_text(effect.p_sign_flip, bare=True),
        ]
        for effect in factorial.effects
    ]
    header = ["effect", "F", "p Holm", "partial eta squared", "certain", "df", "p", "p sign flip"]
    blocks: list[Block] = [Grid(header, effects, f"{task}: effects", main=5)]
    if factorial.left_out:
        blocks.append(Paragraph(f"Seeds left out: {', '.join(map(str, factorial.left_out))}.", ""))
    if len(factorial.levels) > 1:
        blocks += _steps(factorial.main, f"{task}: main effects in size")
        if factorial.interactions:
            blocks += _steps(factorial.simple, f"{task}: simple effects")
    return blocks


def _steps(steps: Sequence[LevelContrast], title: str) -> list[Block]:
    rows = [
        [
            step.factor,
            f"{step.level} against {step.against}",
            ", ".join(step.held.values()) or "mean over all",
            difference_text(step.difference),
            p_text(step.p_holm, bare=True),
            p_text(step.difference.p, bare=True),
        ]
        for step in steps[:MAX_STEPS]
    ]
    header = ["factor", "level", "held", "difference [95 % CI]", "p Holm", "p"]
    blocks: list[Block] = [Grid(header, rows, title, main=5)]
    if len(steps) > MAX_STEPS:
        blocks.append(Paragraph(f"{len(steps) - MAX_STEPS} more are not shown."))
    return blocks
