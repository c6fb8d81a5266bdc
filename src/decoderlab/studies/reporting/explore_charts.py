"""The charts of the page to explore a study: Vega-Lite specs as plain dicts.

The page hands each chart its rows (`rows`) and the signals named here. What is clicked in one is
followed in all of them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from decoderlab.studies.reporting.variant_names import short_names

VEGA_LITE = "https://vega.github.io/schema/vega-lite/v6.json"
Spec = dict[str, Any]
NAME_LETTERS = 22  # of a line of a name beside a chart, about 120 pixels
LINE_HEIGHT = 11  # pixels
# A run that is followed stands out; without one all are alike.
FOLLOWED = "seed === null || datum.seed === seed"
ERRORS = ("right", "1 edit", "2 edits", "3 or more")
# Light and dark alike readable, and told apart by those who see few colours.
ERROR_COLOURS = ("#1b7837", "#7fbf7b", "#af8dc3", "#762a83")


def charts(data: Mapping[str, Any]) -> dict[str, Spec]:
    """Return the specs by the names of their places in the page.

    Args:
        data: see `explore_data`.
    """
    return {
        "differences": _differences(data),
        "learning": _learning(data),
        "positions": _positions(data),
        "errors": _errors(data),
        "examples": _examples(data),
    }


def _chart(description: str, height: Any, **parts: Any) -> Spec:
    return {
        "$schema": VEGA_LITE,
        "description": description,
        "width": "container",
        "height": height,
        "data": {"name": "rows", "values": []},
        **parts,
    }


def _params(**values: Any) -> list[Spec]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _lines(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the name of each variant in lines that fit beside a chart."""
    short = short_names(list(data["variants"]))
    return {
        name: textwrap.wrap(text, NAME_LETTERS, break_on_hyphens=False) or [text]
        for name, text in short.items()
    }


def _step(data: Mapping[str, Any], least: int) -> Spec:
    """Return the height of a row, in pixels: its name has to fit."""
    most = max(map(len, _lines(data).values()), default=1)
    return {"step": max(least, LINE_HEIGHT * most + 4)}


def _variant(data: Mapping[str, Any]) -> Spec:
    lines = json.dumps(_lines(data))
    axis = {
        "labelLimit": 150,
        "labelExpr": f"({lines})[datum.label]",
        "labelLineHeight": LINE_HEIGHT,
        "title": None,
    }
    return {"field": "variant", "type": "nominal", "sort": {"field": "order"}, "axis": axis}


def _colour(data: Mapping[str, Any]) -> Spec:
    scale = {"domain": list(data["variants"]), "range": list(data["colours"])}
    return {"field": "variant", "type": "nominal", "scale": scale, "legend": None}


def _dash(data: Mapping[str, Any]) -> Spec:
    scale = {"domain": list(data["variants"]), "range": list(data["dashes"])}
    return {"field": "variant", "type": "nominal", "scale": scale, "legend": None}


def _differences(data: Mapping[str, Any]) -> Spec:
    """Return every seed's difference to the baseline, with its mean and t interval."""
    margin, means = data["margin"] or 0.0, _means()
    seeds = {
        "mark": {"type": "circle", "size": 70, "cursor": "pointer", "clip": False},
        "encoding": {
            "x": {"field": "difference", "type": "quantitative"},
            "y": _variant(data),
            "yOffset": {"field": "lane", "type": "quantitative", "scale": {"domain": [-1.6, 1.6]}},
            "color": _colour(data),
            "opacity": {"condition": {"test": FOLLOWED, "value": 0.9}, "value": 0.15},
            "tooltip": [
                {"field": name, "type": kind, **more}
                for name, kind, more in (
                    ("variant", "nominal", {}),
                    ("seed", "quantitative", {}),
                    ("score", "quantitative", {"format": ".4f"}),
                    ("difference", "quantitative", {"format": "+.4f"}),
                    ("status", "nominal", {}),
                )
            ],
        },
    }
    bar = {
        "transform": means,
        "mark": {"type": "rule", "strokeWidth": 3, "color": {"expr": "ink"}},
        "encoding": {
            "x": {"field": "low", "type": "quantitative"},
            "x2": {"field": "high"},
            "y": _variant(data),
        },
    }
    middle = {
        "transform": means,
        "mark": {"type": "tick", "thickness": 3, "size": 22, "color": {"expr": "ink"}},
        "encoding": {"x": {"field": "mean", "type": "quantitative"}, "y": _variant(data)},
    }
    band = {
        "data": {"values": [{"from": -margin, "to": margin}]},
        "mark": {"type": "rect", "color": "#888", "opacity": 0.25},
        "encoding": {
            "x": {"field": "from", "type": "quantitative", "axis": {"title": _difference(data)}},
            "x2": {"field": "to"},
        },
    }
    return _chart(
        "Each run's score minus that of the baseline with the same seed",
        _step(data, 44),
        params=_params(seed=None, t=list(data["t"]), ink="#000", most=data["most"]),
        layer=[band, bar, middle, seeds],  # dots can be clicked wherever they lie
    )


def _means() -> list[Spec]:
    """Return what makes means and t intervals of differences."""
    return [
        {
            "aggregate": [
                {"op": "mean", "field": "difference", "as": "mean"},
                {"op": "stdev", "field": "difference", "as": "deviation"},
                {"op": "count", "as": "n"},
            ],
            "groupby": ["variant", "order"],
        },
        # Where all differences are equal there is no t interval, as in the report.
        {
            "calculate": "datum.n > 1 && datum.deviation > 1e-12 ? "
            "t[min(datum.n, length(t) - 1)] * datum.deviation / sqrt(datum.n) : 0",
            "as": "half",
        },
        {"calculate": "max(datum.mean - datum.half, -most)", "as": "low"},
        {"calculate": "min(datum.mean + datum.half, most)", "as": "high"},
    ]


def _difference(data: Mapping[str, Any]) -> list[str]:
    """Return the lines below the axis, short enough for a telephone."""
    return [f"{data['metric']}", "minus the baseline's, same seed"]


def _learning(data: Mapping[str, Any]) -> Spec:
    x = {"field": "update", "type": "quantitative", "title": "update"}
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}}
    runs = {
        "mark": {"type": "line", "strokeWidth": 1.2, "interpolate": "linear"},
        "encoding": {
            "x": x,
            "y": y,
            "detail": {"field": "seed", "type": "nominal"},
            "color": _colour(data),
            "strokeDash": _dash(data),
            "opacity": {"condition": {"test": FOLLOWED, "value": 0.55}, "value": 0.08},
        },
    }
    means = {
        "mark": {"type": "line", "strokeWidth": 3},
        "encoding": {
            "x": x,
            "y": {**y, "aggregate": "mean"},
            "color": _colour(data),
            "strokeDash": _dash(data),
            "opacity": {"condition": {"test": "seed === null", "value": 1}, "value": 0.25},
        },
    }
    return _chart(
        "Learning curves of every seed, and their mean",
        240,
        params=_params(seed=None),
        layer=[runs, means],
    )


def _positions(data: Mapping[str, Any]) -> Spec:
    """Return accuracy by position: a stroke for each variant, thin where true tokens are given."""
    shared = {
        "x": {"field": "position", "type": "quantitative", "axis": {"tickMinStep": 1}},
        "y": {"field": "value", "type": "quantitative", "title": None},
        "color": _colour(data),
    }
    lines = {
        "mark": {"type": "line"},
        "encoding": {
            **shared,
            "strokeDash": _dash(data),
            "strokeWidth": {
                **_how([2.8, 1.2]),
                "legend": {
                    "orient": "bottom",
                    "title": None,
                    "labelLimit": 200,
                    "symbolType": "stroke",
                    "symbolFillColor": "transparent",
                },
            },
        },
    }
    points = {
        "mark": {"type": "point", "filled": True},
        "encoding": {
            **shared,
            "size": {**_how([45, 18]), "legend": None},
            "tooltip": [
                {"field": "variant", "type": "nominal"},
                {"field": "position", "type": "quantitative"},
                {"field": "how", "type": "nominal"},
                {"field": "value", "type": "quantitative", "format": ".3f"},
            ],
        },
    }
    return _chart(
        "Where in the output it goes wrong, by position in the target",
        240,
        params=_params(),
        layer=[lines, points],
    )


def _how(sizes: list[float]) -> Spec:
    """Return how large what is drawn is, of free generation and of given true tokens."""
    scale = {"domain": ["generated freely", "given the true tokens"], "range": sizes}
    return {"field": "how", "type": "nominal", "scale": scale}


def _errors(data: Mapping[str, Any]) -> Spec:
    scale = {"domain": list(ERRORS), "range": list(ERROR_COLOURS)}
    return _chart(
        "How wrong the wrong predictions are, in tokens to insert, delete or exchange",
        _step(data, 30),
        mark={"type": "bar"},
        encoding={
            "y": _variant(data),
            "x": {
                "field": "number",
                "type": "quantitative",
                "aggregate": "sum",
                "stack": "normalize",
                "axis": {"format": "%", "title": "share of the predictions"},
            },
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": scale,
                "legend": {"orient": "bottom", "title": None, "columns": 2},
            },
            "order": {"field": "rank", "type": "quantitative"},
            "tooltip": [
                {"field": "variant", "type": "nominal"},
                {"field": "kind", "type": "nominal"},
                {"field": "number", "type": "quantitative", "aggregate": "sum"},
            ],
        },
    )


def _examples(data: Mapping[str, Any]) -> Spec:
    cells = {
        "mark": {"type": "rect", "cursor": "pointer"},
        "encoding": {
            "x": {"field": "place", "type": "ordinal", "axis": None},
            "y": _variant(data),
            "color": {
                "field": "share",
                "type": "quantitative",
                "scale": {"scheme": "viridis", "domain": [0, 1]},
                "legend": {"orient": "bottom", "title": "seeds right", "format": "%"},
            },
            "tooltip": [
                {"field": "variant", "type": "nominal"},
                {"field": "example", "type": "quantitative"},
                {"field": "right", "type": "quantitative"},
                {"field": "of", "type": "quantitative"},
            ],
        },
    }
    marked = {
        "transform": [{"filter": "datum.place === example"}],
        "mark": {"type": "rect", "filled": False, "stroke": "#ff2d2d", "strokeWidth": 2},
        "encoding": {"x": {"field": "place", "type": "ordinal"}, "y": _variant(data)},
    }
    return _chart(
        "The test examples, easy to hard from left to right, by variant",
        _step(data, 24),
        params=_params(example=None),
        layer=[cells, marked],
    )
