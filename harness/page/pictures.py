"""Plots as pictures, through vl-convert: for papers, and for readers without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import util
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.io import write_file
from harness.page import plots
from harness.page.content import Content, curve_rows, forest_rows, is_log, quality_cost_rows, rank_rows
from harness.page.plots import Spec, theme
from harness.page.qualities import CostMeasure, Quality
from harness.page.verdicts import MODELS

FORMATS = ("svg", "pdf", "png")
VEGA_LITE = "6.4"
"""The version that draws pictures, of those that vl-convert has."""
PNG_SCALE = 3.0
_RESOURCES = re.compile(rb"(?:^ */\w+ \d+ 0 R\n){2,}", re.MULTILINE)
"""The lines of a PDF that name what a page uses."""
KINDS = ("quality-cost", "differences", "learning", "loss", "critical")
"""How the names of plots begin."""


def installed() -> bool:
    """Whether pictures can be drawn here."""
    return util.find_spec("vl_convert") is not None


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats, each once.

    Raises:
        HarnessError: one that is none, or the extra is not installed.
    """
    chosen = list(dict.fromkeys(formats))
    for form in chosen:
        if form not in FORMATS:
            raise HarnessError(f"plots '{form}': they are {', '.join(FORMATS)}.{did_you_mean(form, FORMATS)}")
    if chosen and not installed():
        raise HarnessError("plots need vl-convert, which is not installed: pip install 'enct5-harness[plots]'")
    return chosen


def svg(spec: Spec) -> str:
    """A plot as SVG: short, and without style attributes, which the page's security policy would refuse."""
    drawn = _convert().vegalite_to_svg(themed(spec), vl_version=VEGA_LITE)
    return re.sub(r"(\d\.\d)\d+", r"\1", re.sub(r' (style|aria-roledescription)="[^"]*"', "", drawn))


def themed(spec: Spec) -> Spec:
    """The specification with the light theme and what it says itself of colours."""
    config = theme()
    return {**spec, "config": {**config, "range": spec.get("usermeta", {}).get("range", config["range"])}}


def quality_cost(content: Content, quality: Quality, measure: CostMeasure) -> Spec:
    """The picture of the first screen."""
    values = content.costs[measure]
    rows = quality_cost_rows(quality, measure, values, content.families)
    return plots.quality_cost(rows, f"{measure.title} ({measure.unit})", quality.title, is_log(values.values()))


def figures(content: Content) -> dict[str, Spec]:
    """The plots for papers, by the names of their files; those that the records give."""
    specs: dict[str, Spec] = {}
    for i, quality in enumerate(content.main):
        for measure in list(content.costs)[:1]:
            specs["quality-cost" if i == 0 else f"quality-cost-{i + 1}"] = quality_cost(content, quality, measure)
    for a, b in _forest_pairs(content):
        specs[f"differences-{a}-{b}"] = plots.forest(forest_rows(content.shown, a, b), a, b)
    title, groups = content.board.title, content.groups
    for name, words, curves in (
        ("learning-curves", "Score", content.scores),
        ("loss-curves", "Training loss", content.losses),
    ):
        rows = [row for task, own in curves.items() for row in curve_rows(own, groups, task=title(task))]
        if rows:
            specs[name] = plots.curves(rows, words, facets=True)
    ranks, number, difference = rank_rows(content.board)
    if ranks:
        specs["critical-differences"] = plots.critical(ranks, number, difference)
    return {name.replace("/", "-"): spec for name, spec in specs.items()}


def _forest_pairs(content: Content) -> list[tuple[str, str]]:
    """All pairs of up to four models; of more, the best one and the others."""
    names = [name for name in content.names if any(name in pair for q in content.shown for pair in q.pairs)]
    pairs = list(combinations(names, 2))
    return pairs if len(names) <= MODELS else [pair for pair in pairs if pair[0] == names[0]]


def static(content: Content) -> dict[str, str]:
    """The plots as SVG for readers without JavaScript: the first of each kind."""
    kinds: dict[str, Spec] = {}
    for name, spec in figures(content).items():
        kinds.setdefault(next(kind for kind in KINDS if name.startswith(kind)), spec)
    if "learning" in kinds:
        task, curves = next(iter(content.scores.items()))
        shown = {name: own for name, own in curves.items() if name in content.names[: len(plots.LIGHT)]}
        rows = curve_rows(shown, content.groups)
        kinds["learning"] = plots.curves(rows, f"Score on {content.board.title(task)}")
    return {kind: svg(spec) for kind, spec in kinds.items() if kind != "loss"}


def write_pictures(folder: Path, content: Content, formats: Sequence[str]) -> list[Path]:
    """Write every plot in every format.

    Raises:
        HarnessError: the disk says no.
    """
    paths = []
    for name, spec in figures(content).items() if formats else ():
        for form in formats:
            path = folder / f"{name}.{form}"
            write_file(path, _drawn(_convert(), themed(spec), form))
            paths.append(path)
    return paths


def _drawn(convert: Any, spec: Spec, form: str) -> bytes:
    if form == "svg":
        return str(convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)).encode()
    if form == "png":
        return bytes(convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=PNG_SCALE))
    return in_order(bytes(convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE)))


def in_order(pdf: bytes) -> bytes:
    """A PDF whose resources are named in a fixed order: the same plot in one font is the same bytes.

    Of several fonts, which names in other scripts bring, vl-convert writes any one first.
    """
    return _RESOURCES.sub(lambda names: b"".join(sorted(names[0].splitlines(True))), pdf)


def _convert() -> Any:
    import vl_convert

    return vl_convert
