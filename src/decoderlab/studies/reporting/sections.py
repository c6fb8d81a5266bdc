"""The parts of a report, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decoderlab.common.safe_names import plain_name
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.answer import answer
from decoderlab.studies.reporting.appendix import sample_predictions, settings_and_equations
from decoderlab.studies.reporting.blocks import Block, Bullets, FigureBlock, Paragraph, Section
from decoderlab.studies.reporting.cautions import cautions, failures, warnings
from decoderlab.studies.reporting.factor_effects import factor_effects
from decoderlab.studies.reporting.figures import Picture
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.legend import legend
from decoderlab.studies.reporting.provenance import provenance
from decoderlab.studies.reporting.seed_sections import solved_section, variance_section
from decoderlab.studies.reporting.tables import score_tables
from decoderlab.studies.reporting.undrawn_figures import undrawn
from decoderlab.studies.reporting.wider_results import over_all_tasks, published_values


def sections(analysis: Analysis, drawn: Sequence[Picture], output_dir: Path) -> list[Section]:
    """Return the whole report.

    Args:
        analysis: of the study.
        drawn: its figures.
        output_dir: as in `run.output_dir`.
    """
    by_name = {picture.name: picture for picture in drawn}
    scores = by_name.pop(plain_name(analysis.metric))
    forest = by_name.pop("forest", None)
    interaction = by_name.pop("interaction", None)
    variance, solved = by_name.pop("variance", None), by_name.pop("solved", None)
    first = [Paragraph(text) for text in headline(analysis)]
    columns = Paragraph(legend(analysis), folded="How to read the columns")
    table: list[Block] = [
        *warnings(analysis),
        *score_tables(analysis),
        *cautions(analysis),
        columns,
    ]
    parts = [
        Section("Answer", [*first, *_figure(forest or scores).blocks]),
        Section("Table", table),
        Section("Answer in full", [Paragraph(text) for text in answer(analysis)]),
        _figure(scores) if forest else None,
        factor_effects(analysis, interaction),
        variance_section(analysis, variance),
        solved_section(analysis, solved, output_dir),
        over_all_tasks(analysis),
        published_values(analysis),
        failures(analysis),
        *map(_figure, by_name.values()),
        undrawn(analysis, output_dir),
        settings_and_equations(analysis, output_dir),
        sample_predictions(analysis, output_dir),
        Section("Where the numbers come from", [Bullets(provenance(analysis, output_dir))]),
    ]
    return [part for part in parts if part is not None and part.blocks]


def _figure(picture: Picture) -> Section:
    return Section(picture.title, [FigureBlock(picture), Paragraph(picture.caption)])
