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
LEFT = {"layout": {"top": {"anchor": "start", "bounds": "full"}}}
"""Of legends: they begin at the left edge of a plot."""
NAMES = {"grid": False, "ticks": False, "labelPadding": 8}
"""Of an axis with names."""
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
        "legend": {**text, "title": None, "orient": "top", "symbolStrokeWidth": 2, "columnPadding": 14, **LEFT},
        "header": {"labelColor": ink, "labelFontSize": 13, "labelFontWeight": "normal", "title": None},
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
        rows: ``model``, ``family``, ``score``, ``low``, ``high`` (times 100), ``merit`` (the score, or less the error),
            ``cost``, and ``effort`` (the cost, or less the rate where more is better).
        cost, score: the titles of the axes.
        log: a logarithmic axis of costs.
    """
    best = {"op": "max", "field": "merit", "as": "best"}
    order = [{"field": "effort", "order": "ascending"}, {"field": "merit", "order": "descending"}]
    scale = {"type": "log", "nice": False, "padding": 60} if log else {"zero": False, "nice": False, "padding": 60}
    axis = {"tickCount": 6, "format": "~s" if log else "~g"}
    x = {"field": "cost", "type": "quantitative", "title": cost, "scale": scale, "axis": axis}
    tall = {"scale": {"zero": False, "padding": 14}, "axis": {"tickCount": 6}}
    y = {"field": "score", "type": "quantitative", "title": score, **tall}
    family = {"field": "family", "type": "nominal"}
    fill = {"condition": {"test": "datum.front", **family}, "value": "transparent"}
    top = {"calculate": "isValid(datum.high) ? datum.high : datum.score", "as": "top"}
    return _spec(
        f"{score} against {cost}: a point for each model, with its 95 % interval; a line joins the Pareto front.",
        rows,
        height=300,
        transform=[
            {"window": [best], "sort": order, "frame": [None, 0]},
            {"joinaggregate": [{"op": "count", "as": "all"}]},
            {"calculate": "datum.merit >= datum.best", "as": "front"},
        ],
        encoding={"x": x, "y": y},
        layer=[
            _layer("line", {}, _filter("datum.front"), strokeDash=[5, 4], strokeWidth=1.2, style="muted", aria=False),
            _interval({"y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": family}, 1.6),
            _layer(
                "point",
                {"color": family, "shape": family, "fill": fill, "tooltip": _score_tooltip()},
                size=110,
                strokeWidth=2,
                opacity=1,
            ),
            _layer(
                "text",
                {"y": {**y, "field": "top"}, "text": {"field": "model"}},
                _filter(f"datum.front || datum.all <= {FEW}"),
                top,
                dy=-10,
                aria=False,
            ),
        ],
    )


def _layer(kind: str, encoding: Spec, *transform: Spec, **mark: Any) -> Spec:
    return {"transform": list(transform), "mark": {"type": kind, **mark}, "encoding": encoding}


def _filter(test: str) -> Spec:
    return {"filter": test}


def _interval(encoding: Spec, width: float, opacity: float = 1.0) -> Spec:
    """A bar from ``low`` to ``high``, where there is an interval."""
    return _layer("rule", encoding, _filter("isValid(datum.low)"), strokeWidth=width, opacity=opacity, aria=False)


def forest(rows: Rows, a: str, b: str) -> Spec:
    """The differences of two models by task, with their intervals.

    Args:
        rows: ``title`` of the task or average, ``estimate``, ``low``, ``high`` (points), ``verdict``, in their order.
        a, b: the models; a less b.
    """
    y = {"field": "title", "type": "nominal", "sort": None, "title": None, "axis": NAMES}
    verdict = {"field": "verdict", "type": "nominal", "scale": {"domain": list(VERDICTS)}}
    x = {"field": "estimate", "type": "quantitative", "title": f"{a} less {b}, points"}
    tooltip = [
        {"field": "title", "title": "Task"},
        _number("estimate", "Difference", "+.1f"),
        _number("low", "95 % from", "+.1f"),
        _number("high", "to", "+.1f"),
        {"field": "verdict", "title": "Verdict"},
    ]
    shape = {**verdict, "scale": {"domain": list(VERDICTS), "range": ["triangle-up", "circle", "triangle-down"]}}
    colours = {name: {"category": [c[2], c[6], c[1]]} for name, c in (("range", LIGHT), ("dark", DARK))}
    zero = _layer("rule", {"x": {"field": "zero", "type": "quantitative"}, "y": None}, style="muted", aria=False)
    return _spec(
        f"Differences of {a} and {b} by task, in points, with 95 % intervals; right of the line {a} is better.",
        rows,
        height={"step": 19},
        encoding={"y": y},
        usermeta=colours,
        layer=[
            {**zero, "data": {"values": [{"zero": 0}]}},
            _interval({"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": verdict}, 1.8),
            _layer(
                "point", {"x": x, "color": verdict, "shape": shape, "tooltip": tooltip}, filled=True, size=70, opacity=1
            ),
        ],
    )


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
    key = {"symbolType": "stroke", "symbolOpacity": 1, "symbolStrokeWidth": 2.5, "symbolSize": 200}
    colour = {"field": "group", "type": "nominal", "legend": key}
    tooltip = [{"field": "model", "title": "Model"}, _number("step", "Step", "d"), _number("value", title, ".3~f")]
    seed = {"field": "seed", "type": "nominal"}
    layer = [
        _layer(
            "line",
            {"detail": [seed, {"field": "model", "type": "nominal"}]},
            _filter("isValid(datum.seed)"),
            strokeWidth=1,
            opacity=0.35,
            aria=False,
        ),
        _layer(
            "line",
            {"tooltip": tooltip, "strokeDash": colour, "detail": {"field": "model", "type": "nominal"}},
            _filter("!isValid(datum.seed)"),
            strokeWidth=2.2,
            point={"size": 26, "filled": True},
        ),
    ]
    words = f"Learning curves: {title} over training steps; thick the mean of each model, thin its seeds."
    inner: Spec = {"encoding": {"x": x, "y": y, "color": colour}, "layer": layer}
    if not facets:
        return _spec(words, rows, height=220, **inner)
    facet = {"field": "task", "type": "nominal", "sort": None}
    spec = _spec(words, rows, facet=facet, columns=3, spec={"width": 180, "height": 110, **inner})
    del spec["width"]
    return {**spec, "resolve": {"scale": {"x": "independent", "y": "independent"}}}


def critical(rows: Rows, tasks: int, difference: float) -> Spec:
    """Mean ranks over tasks; two models differ where their bars do not overlap (Nemenyi's critical difference).

    Args:
        rows: ``model``, ``rank``, ``low``, ``high``, the best first.
        tasks: how many the ranks are over.
        difference: the critical one, which the bars are as long as.
    """
    y = {"field": "model", "type": "nominal", "sort": None, "title": None, "axis": NAMES}
    title = f"Mean rank over {tasks} tasks; critical difference {difference:.2f}"
    x = {"field": "rank", "type": "quantitative", "title": title, "scale": {"zero": False}}
    tooltip = [{"field": "model", "title": "Model"}, _number("rank", "Mean rank", ".2f")]
    return _spec(
        "Mean ranks of models over tasks. Two models differ on tasks in general where their bars do not overlap.",
        rows,
        height={"step": 22},
        encoding={"y": y},
        layer=[
            _interval({"x": {**x, "field": "low"}, "x2": {"field": "high"}}, 5, opacity=0.35),
            _layer("point", {"x": x, "tooltip": tooltip}, filled=True, size=80, opacity=1),
        ],
    )
