"""The route diagram of each variant in a report that opens in a browser."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from decoderlab.common.escapes import html_text
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.route_diagrams import HEIGHT, STYLE, WIDTH, diagram_shapes
from decoderlab.studies.reporting.route_facts import RouteFacts, equation_lines, route_facts
from decoderlab.studies.reporting.route_icons import HEIGHT as ICON_HEIGHT
from decoderlab.studies.reporting.route_icons import WIDTH as ICON_WIDTH
from decoderlab.studies.reporting.route_icons import icon_shapes

BASELINE = " (baseline)"  # what a table writes behind the name
# Lines are brighter on a dark page, where an icon is small.
PAGE_STYLE = """
.rd-icon { --rd-bold: 1; width: 4.4rem; height: auto; vertical-align: middle; margin-right: 8px; }
.rd-sprite { position: absolute; }
.rd-large { width: 100%; max-width: 32rem; height: auto; display: block; }
.rd .rd-box { stroke-width: calc(1.2px * var(--rd-bold, 1)); } .rd .rd-own { stroke-width: calc(2.2px * var(--rd-bold, 1)); }
@media screen and (prefers-color-scheme: dark) { .rd { --rd-soft: #c8c8c8; --rd-box: #3d3d3d; --rd-summary: #7cc8f5; --rd-memory: #4fe0ae; --rd-back: #ffb866; } .rd .rd-unused { opacity: 0.5; } }
"""  # noqa: E501


def variant_facts(analysis: Analysis) -> dict[str, RouteFacts]:
    """Return what the decoder of each variant gets where, as its first finished run states it."""
    facts: dict[str, RouteFacts] = {}
    for row in analysis.rows:
        text = row.result.equations.get("decoder") if row.result is not None else None
        if text and row.cell.variant not in facts:
            facts[row.cell.variant] = route_facts(equation_lines(text))
    return facts


class VariantDiagrams:
    """Diagrams that are drawn once in a page, and shown wherever a variant is named.

    Args:
        facts: of each variant; variants without any have no diagram.
    """

    def __init__(self, facts: Mapping[str, RouteFacts]) -> None:
        distinct = list(dict.fromkeys(facts.values()))
        self._number = {variant: distinct.index(routes) for variant, routes in facts.items()}
        self._facts = distinct

    @property
    def style(self) -> Markup:
        """The style sheet."""
        return Markup(STYLE + PAGE_STYLE if self._facts else "")

    @property
    def sprite(self) -> Markup:
        """What the diagrams refer to, once in a page."""
        symbols = "".join(
            # The class again: what is shown elsewhere does not see what stands around it here.
            f'<g id="rd-{number}" class="rd">{diagram_shapes(routes)}</g>'
            f'<g id="rd-icon-{number}" class="rd">{icon_shapes(routes)}</g>'
            f'<desc id="rd-words-{number}">{html_text(" ".join(routes.sentences))}</desc>'
            for number, routes in enumerate(self._facts)
        )
        hidden = '<svg class="rd rd-sprite" width="0" height="0">'
        return Markup(f"{hidden}<defs>{symbols}</defs></svg>" if symbols else "")

    def icon(self, cell: str) -> Markup:
        """Return the icon of the variant that a cell of a table names, if it does."""
        return self._shown(cell, "rd-icon", "rd-icon-", ICON_WIDTH, ICON_HEIGHT)

    def large(self, variant: str) -> Markup:
        """Return the diagram of a variant with its words, if there is one."""
        shown = self._shown(variant, "rd-large", "rd-", WIDTH, HEIGHT)
        if not shown:
            return shown
        words = " ".join(self._facts[self._number[variant]].sentences)
        return shown + Markup(f"<p>{html_text(words)}</p>")

    def _shown(self, cell: str, kind: str, shape: str, width: int, height: int) -> Markup:
        number = self._number.get(cell, self._number.get(cell.removesuffix(BASELINE)))
        if number is None:
            return Markup("")
        return Markup(
            f'<svg class="rd {kind}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="rd-words-{number}"><use href="#{shape}{number}"/></svg>'
        )
