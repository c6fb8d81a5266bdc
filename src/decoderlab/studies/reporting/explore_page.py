"""The page to explore a study: one file that needs no network, and runs nothing but what it has.

It lies beside `report.html`, which stays small and prints; the charts need their library (0.8 MB).
The policy of the page names its scripts and its style by their SHA-256: nothing else runs, and
nothing is evaluated, as Vega's expressions are interpreted.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.explore_charts import charts
from decoderlab.studies.reporting.explore_data import explore_data
from decoderlab.studies.reporting.render import page_template
from decoderlab.studies.reporting.variant_diagrams import VariantDiagrams, variant_facts

TEMPLATES = "decoderlab.studies.reporting"
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-interpreter.js")
# The interpreter is a module; in a page without a server it has to be a plain script.
MODULE = (
    ("import { ascending, isString, DisallowedObjectProperties } from 'vega-util';",
     "(() => { const { ascending, isString, DisallowedObjectProperties } = vega;"),
    ("export { expression as expressionInterpreter };",
     "globalThis.vegaInterpreter = { expressionInterpreter: expression }; })();"),
)  # fmt: skip


def explore_page(analysis: Analysis, output_dir: Path) -> str | None:
    """Return the page, None of a study without any score.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """
    data = explore_data(analysis, output_dir)
    if not data["runs"]:
        return None
    diagrams = VariantDiagrams(variant_facts(analysis))
    return page(data, diagrams, [diagrams.icon(variant) for variant in analysis.variants])


def page(
    data: dict[str, Any], diagrams: VariantDiagrams | None = None, icons: Sequence[Markup] = ()
) -> str:
    """Return the page that shows some data; the same data give the same bytes.

    Args:
        data: see `explore_data`.
        diagrams: of the routes of the variants.
        icons: of each variant its small diagram; empty where there is none.
    """
    diagrams = diagrams or VariantDiagrams({})
    scripts = [*libraries(), _text("templates", "explore.js")]
    style = _text("templates", "explore.css") + diagrams.style
    return page_template("explore.html.jinja").render(
        data=data,
        sprite=diagrams.sprite,
        icons=icons,
        scripts=[Markup(script) for script in scripts],
        style=Markup(style),
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src {' '.join(map(_source, scripts))}",
                f"style-src {_source(style)}",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        content=Markup(inert_json({"data": data, "charts": charts(data)})),
    )


@cache
def libraries() -> tuple[str, ...]:
    """Return the scripts that draw charts, in the order in which they need each other.

    Raises:
        ValueError: if a script is of another version than is expected.
    """
    texts = [_text("vendor", name) for name in LIBRARIES]
    for before, after in MODULE:
        if texts[-1].count(before) != 1:
            raise ValueError(f"vega-interpreter.js has no line {before!r}")
        texts[-1] = texts[-1].replace(before, after)
    return tuple(texts)


def inert_json(value: Any) -> str:
    r"""Return JSON that no page takes for tags, comments or the end of its element.

    Example:
        >>> inert_json("</script>&")
        '"\\u003c/script\\u003e\\u0026"'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _text(*path: str) -> str:
    return files(TEMPLATES).joinpath(*path).read_text(encoding="utf-8")
