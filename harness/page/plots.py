"""Every plot once, as a Vega-Lite specification: for the page, and for papers.

A specification is plain JSON. Its rows stand in ``data.values``; the page puts others there when the reader chooses.
Colours are those of the theme, so that the same specification is drawn dark and light.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]
Rows = Sequence[dict[str, Any]]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#997700", "#3aa0d8", "#7f7f7f", "#882255")
DARK = ("#56b4e9", "#f2914a", "#3fc79a", "#dd8cc4", "#d9b838", "#8fd0f5", "#a8a8a8", "#e07a9a")
"""After Okabe and Ito 2008, which people who do not see all colours can tell apart; lighter on dark ground."""
FEW = 14
"""Points up to which all are labelled; of more, those of the Pareto front."""
VERDICTS = ("better", "cannot be told apart", "worse")


def theme(dark: bool = False) -> Spec:
    """The configuration of all plots: fonts, colours, quiet axes."""
    ink, quiet, line = ("#e8e6e1", "#a5a39c", "#3a3d42") if dark else ("#1c1d1f", "#5d6066", "#e2e3e6")
    text = {"labelColor": quiet, "titleColor": quiet, "labelFontSize": 11, "titleFontSize": 11}
    axis = {**text, "titleFontWeight": "normal", "domain": False, "tickColor": line, "gridColor": line, "tickSize": 4}
    return {
        "background": None if dark else "white",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {**axis, "labelPadding": 5, "titlePadding": 8, "labelLimit": 220},
        "legend": {**text, "title": None, "orient": "top", "symbolStrokeWidth": 2, "columnPadding": 16},
        "header": {"labelColor": ink, "labelFontSize": 12, "labelFontWeight": "bold", "title": None},
        "text": {"color": ink, "fontSize": 11},
        "rule": {"color": quiet},
        "line": {"color": quiet},
        "range": {"category": list(DARK if dark else LIGHT)},
        "style": {"muted": {"stroke": quiet}, "verdict-point": {"size": 80}},
    }


def _spec(description: str, rows: Rows, **parts: Any) -> Spec:
    return {"$schema": SCHEMA, "description": description, "width": 420, "data": {"values": list(rows)}, **parts}


def _number(name: str, title: str, form: str = ".1f") -> Spec:
    return {"field": name, "type": "quantitative", "title": title, "format": form}


def _score_tooltip() -> list[Spec]:
    return [
        {"field": "model", "title": "Model"},
        _number("score", "Score"),
        _number("low", "95 % from"),
        _number("high", "to"),
        _number("cost", "Cost", ".4~g"),
    ]


def quality_cost(rows: Rows, cost: str, score: str, log: bool = False) -> Spec:
    """Score against cost, with intervals as bars, and the Pareto front: no other model is better and cheaper.

    Args:
        rows: ``model``, ``family``, ``score``, ``low``, ``high`` (times 100), ``cost``, and ``effort``: the cost, or
            less the rate where more is better.
        cost, score: the titles of the axes.
        log: a logarithmic axis of costs.
    """
    best = {"op": "max", "field": "score", "as": "best"}
    order = [{"field": "effort", "order": "ascending"}, {"field": "score", "order": "descending"}]
    front = {"calculate": "datum.score >= datum.best", "as": "front"}
    scale = {"type": "log", "nice": False, "padding": 40} if log else {"zero": False, "nice": False, "padding": 40}
    x = {
        "field": "cost",
        "type": "quantitative",
        "title": cost,
        "scale": scale,
        "axis": {"tickCount": 6, "format": "~s" if log else "~g"},
    }
    y = {
        "field": "score",
        "type": "quantitative",
        "title": score,
        "scale": {"zero": False, "padding": 14},
        "axis": {"tickCount": 6},
    }
    family = {"field": "family", "type": "nominal"}
    labelled = f"datum.front || datum.all <= {FEW}"
    return _spec(
        f"{score} against {cost}: a point for each model, with its 95 % interval; the Pareto front is joined by a line.",
        rows,
        height=300,
        transform=[
            {"window": [best], "sort": order, "frame": [None, 0]},
            {"joinaggregate": [{"op": "count", "as": "all"}]},
            front,
        ],
        encoding={"x": x, "y": y},
        layer=[
            {"transform": [{"filter": "datum.front"}], "mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.2, "style": "muted", "aria": False}},
            {"transform": [{"filter": "isValid(datum.low)"}], "mark": {"type": "rule", "strokeWidth": 1.6, "aria": False}, "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": family}},
            {
                "mark": {"type": "point", "size": 110, "strokeWidth": 2},
                "encoding": {
                    "color": family, "shape": family,
                    "fill": {"condition": {"test": "datum.front", **family}, "value": "transparent"},
                    "tooltip": _score_tooltip(),
                },
            },
            {"transform": [{"filter": labelled}, {"calculate": "isValid(datum.high) ? datum.high : datum.score", "as": "top"}], "mark": {"type": "text", "dy": -10, "aria": False}, "encoding": {"y": {**y, "field": "top"}, "text": {"field": "model"}}},
        ],
    )  # fmt: skip


def forest(rows: Rows, a: str, b: str) -> Spec:
    """The differences of two models by task, with their intervals.

    Args:
        rows: ``title`` of the task or average, ``estimate``, ``low``, ``high`` (points), ``verdict``, in their order.
        a, b: the models; a less b.
    """
    y = {
        "field": "title",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"grid": False, "ticks": False, "labelPadding": 8},
    }
    verdict = {"field": "verdict", "type": "nominal", "scale": {"domain": list(VERDICTS)}}
    x = {"field": "estimate", "type": "quantitative", "title": f"{a} less {b}, points"}
    tooltip = [
        {"field": "title", "title": "Task"}, _number("estimate", "Difference", "+.1f"), _number("low", "95 % from", "+.1f"),
        _number("high", "to", "+.1f"), {"field": "verdict", "title": f"{a} is"},
    ]  # fmt: skip
    shape = {**verdict, "scale": {"domain": list(VERDICTS), "range": ["triangle-up", "circle", "triangle-down"]}}
    colours = {name: {"category": [c[2], c[6], c[1]]} for name, c in (("range", LIGHT), ("dark", DARK))}
    return _spec(
        f"Differences of {a} and {b} by task, in points, with 95 % intervals; right of the line {a} is better.",
        rows,
        height={"step": 19},
        encoding={"y": y},
        usermeta=colours,
        layer=[
            {"data": {"values": [{"zero": 0}]}, "mark": {"type": "rule", "style": "muted", "aria": False}, "encoding": {"x": {"field": "zero", "type": "quantitative"}, "y": None}},
            {"mark": {"type": "rule", "strokeWidth": 1.8, "aria": False}, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": verdict}},
            {"mark": {"type": "point", "filled": True, "size": 70}, "encoding": {"x": x, "color": verdict, "shape": shape, "tooltip": tooltip}},
        ],
    )  # fmt: skip


def curves(rows: Rows, title: str, facets: bool = False) -> Spec:
    """Learning curves over steps: a line for each model, thin ones for its seeds.

    Args:
        rows: ``model``, ``group`` (its colour), ``seed`` (null: the mean), ``step``, ``value``, and with ``facets``
            the ``task``.
        title: what the values are.
        facets: small multiples, one for each task.
    """
    x = {"field": "step", "type": "quantitative", "title": "Step", "axis": {"tickCount": 5, "format": "~s"}}
    y = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}}
    colour = {"field": "group", "type": "nominal"}
    tooltip = [{"field": "model", "title": "Model"}, _number("step", "Step", "d"), _number("value", title, ".3~f")]
    layer: list[Spec] = [
        {
            "transform": [{"filter": "isValid(datum.seed)"}],
            "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.35, "aria": False},
            "encoding": {"detail": {"field": "seed", "type": "nominal"}},
        },
        {
            "transform": [{"filter": "!isValid(datum.seed)"}],
            "mark": {"type": "line", "strokeWidth": 2.2, "point": {"size": 26, "filled": True}},
            "encoding": {"tooltip": tooltip, "strokeDash": colour},
        },
    ]
    words = (
        f"Learning curves: {title} over training steps, a thick line for the mean of each model, thin lines for seeds."
    )
    inner: Spec = {"encoding": {"x": x, "y": y, "color": colour}, "layer": layer}
    if not facets:
        return _spec(words, rows, height=220, **inner)
    facet = {"field": "task", "type": "nominal", "sort": None}
    spec = _spec(words, rows, facet=facet, columns=3, spec={"width": 180, "height": 110, **inner})
    return {
        **{key: value for key, value in spec.items() if key != "width"},
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }


def critical(rows: Rows, tasks: int, difference: float) -> Spec:
    """Mean ranks over tasks; two models differ where their bars do not overlap (Nemenyi's critical difference).

    Args:
        rows: ``model``, ``rank``, ``low``, ``high``, the best first.
        tasks: how many the ranks are over.
        difference: the critical one, which the bars are as long as.
    """
    y = {
        "field": "model",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"grid": False, "ticks": False, "labelPadding": 8},
    }
    title = f"Mean rank over {tasks} tasks (1 is the best); critical difference {difference:.2f}"
    x = {"field": "rank", "type": "quantitative", "title": title, "scale": {"zero": False}}
    tooltip = [{"field": "model", "title": "Model"}, _number("rank", "Mean rank", ".2f")]
    return _spec(
        "Mean ranks of models over tasks. Two models differ on tasks in general where their bars do not overlap.",
        rows,
        height={"step": 22},
        encoding={"y": y},
        layer=[
            {"mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.3, "aria": False}, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 80}, "encoding": {"x": x, "tooltip": tooltip}},
        ],
    )  # fmt: skip
