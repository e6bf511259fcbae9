"""What the page and the pictures show, computed once; and the rows that plots draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.leaderboard.board import Cell, Column, Leaderboard
from harness.leaderboard.build import Runs
from harness.leaderboard.notes import finished
from harness.page.plots import LIGHT, Rows
from harness.page.qualities import CostMeasure, Quality, costs, headlines, ordered, qualities
from harness.results.readings import ReadingsReader

SEED_CURVES = 600
"""Runs up to which each seed has a curve of its own."""
POINTS, FEW_POINTS = 16, 8
"""Of a curve, and of each of many; more are thinned out."""
RANKED = 20
"""Models whose mean ranks are drawn, the best ones."""
LOG = 8
"""How many times the smallest cost the largest is, from which on the axis is logarithmic."""

Curve = list[tuple[int, float]]
"""(step, value)."""
Curves = dict[str, dict[str, dict[int | None, Curve]]]
"""By task, row and seed; seed None is the mean."""


@dataclass(frozen=True)
class Content:
    """What the page and the pictures show: computed once."""

    board: Leaderboard
    runs: Runs
    shown: list[Quality]
    main: list[Quality]
    costs: dict[CostMeasure, dict[str, float]]
    families: dict[str, str]
    scores: Curves
    losses: Curves
    live: bool

    @property
    def groups(self) -> dict[str, str]:
        """By model, what colours of curves tell apart: models, or families where there are many."""
        few = len(self.board.rows) <= len(LIGHT)
        return {row.name: row.name for row in self.board.rows} if few else self.families

    @property
    def names(self) -> list[str]:
        """The models, the best first."""
        return ordered([row.name for row in self.board.rows], self.main[0] if self.main else None)


def content_of(board: Leaderboard, runs: Runs, live: bool = False) -> Content:
    """All that is shown of a leaderboard and the records of its rows; ``live``: runs are still being done."""
    shown = qualities(board)
    architectures = {row.name: row.architecture for row in board.rows}
    alike = len(set(architectures.values())) == 1 and len(architectures) <= len(LIGHT)
    families = {name: name for name in architectures} if alike else architectures
    curves = curves_of(runs, board.columns)
    return Content(board, runs, shown, headlines(shown), costs(board), families, *curves, live)


def scaled(value: float | None, error: bool = False) -> float | None:
    """A fraction times 100, rounded; an error in its unit; None where undefined."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.4g}") if error else round(100 * value, 2) + 0.0


def score_of(cell: Cell, error: bool) -> tuple[float | None, float | None, float | None]:
    """Mean, and the ends of its 95 % interval, as `scaled`."""
    ends = (cell.interval.low, cell.interval.high) if cell.interval else (None, None)
    return scaled(cell.score.mean, error) if cell.score else None, scaled(ends[0], error), scaled(ends[1], error)


def quality_cost_rows(
    quality: Quality, measure: CostMeasure, values: Mapping[str, float], families: Mapping[str, str]
) -> Rows:
    """Of `plots.quality_cost`: the models that have both numbers."""
    rows = []
    for name, cell in quality.cells.items():
        score, low, high = score_of(cell, quality.error)
        if score is not None and name in values:
            cost = float(f"{values[name]:.4g}")
            own = {"score": score, "low": low, "high": high, "merit": -score if quality.error else score}
            effort = -cost if measure.more else cost
            rows.append({"model": name, "family": families[name], **own, "cost": cost, "effort": effort})
    return rows


def is_log(values: Iterable[float]) -> bool:
    """Whether costs differ so much that their axis is logarithmic."""
    numbers = list(values)
    return max(numbers) > LOG * min(numbers)


def forest_rows(shown: Sequence[Quality], a: str, b: str) -> Rows:
    """Of `plots.forest`: averages first, then tasks that are scored in points."""
    rows = []
    for quality in sorted((q for q in shown if not q.error), key=lambda quality: not quality.average):
        comparison, sign = quality.pairs.get((a, b)), 1
        if comparison is None:
            comparison, sign = quality.pairs.get((b, a)), -1
        if comparison is not None:
            ends = sorted([sign * comparison.low, sign * comparison.high])
            verdict = {1: "better", -1: "worse", 0: "cannot be told apart"}[sign * sign_of(comparison)]
            rows.append(
                {
                    "title": quality.title,
                    "estimate": scaled(sign * comparison.estimate),
                    "low": scaled(ends[0]),
                    "high": scaled(ends[1]),
                    "verdict": verdict,
                }
            )
    return rows


def sign_of(comparison: Any) -> int:
    """1 where the first is better, -1 where it is worse, 0 where they cannot be told apart."""
    return {"better": 1, "worse": -1}.get(str(comparison.verdict), 0)


def rank_rows(board: Leaderboard) -> tuple[Rows, int, float]:
    """Of `plots.critical`: rows, the number of tasks, the critical difference; no rows where there is no such claim."""
    from harness.statistics.suites import friedman  # loads scipy.stats, which takes a second

    columns = [column for column in board.columns if not column.diagnostic and board.comparable(column.task)]
    signs = [-1 if column.lower_is_better else 1 for column in columns]
    scores = [[row.cells[column.task].score for row in board.rows] for column in columns]
    matrix = np.array(
        [[math.nan if s is None else sign * s.mean for s in own] for sign, own in zip(signs, scores, strict=True)]
    )
    if matrix.ndim == 2:
        matrix = matrix[np.isfinite(matrix).all(axis=1)]
    try:
        found = friedman(matrix)
    except (HarnessError, ValueError):
        return [], 0, 0.0
    half, names = found.critical_difference / 2, [row.name for row in board.rows]
    ranked = sorted(zip(found.mean_ranks, names, strict=True))[:RANKED]
    rows = [
        {"model": name, "rank": round(r, 3), "low": round(r - half, 3), "high": round(r + half, 3)}
        for r, name in ranked
    ]
    return rows, len(matrix), found.critical_difference


# Learning curves -------------------------------------------------------------------------------------------------


def curves_of(runs: Runs, columns: Sequence[Column]) -> tuple[Curves, Curves]:
    """The scores that choose checkpoints (times 100), and the losses."""
    number = sum(len(of_seed) for of_task in runs.values() for of_seed in of_task.values())
    tasks = [column.task for column in columns if not column.diagnostic]
    scores, losses = Curves({task: {} for task in tasks}), Curves({task: {} for task in tasks})
    for (folder, model), of_task in runs.items():
        reader = ReadingsReader()
        for task in tasks:
            readings = {record.seed: reader.read(record) for record in finished(of_task.get(task, {}))}
            for curves, read, rounded in (
                (scores, itemgetter("scores"), _score),
                (losses, itemgetter("losses"), _loss),
            ):
                values = {seed: _values(own["steps"], read(own)) for seed, own in readings.items()}
                values = {seed: of_seed for seed, of_seed in values.items() if len(of_seed) > 1}
                if of_row := _curves(values, rounded, many=number > SEED_CURVES):
                    curves[task][f"{model} ({folder})" if folder else model] = of_row
        reader.close()
    return _drawn(scores), _drawn(losses)


def _drawn(curves: Curves) -> Curves:
    """Those of tasks that have some."""
    return {task: of_rows for task, of_rows in curves.items() if of_rows}


def _curves(
    values: Mapping[int, Mapping[int, float]], rounded: Callable[[float], float], many: bool
) -> dict[int | None, Curve]:
    """The mean over seeds at the steps that all have, and with several also each seed."""
    if not values:
        return {}
    common = sorted(set.intersection(*(set(of_seed) for of_seed in values.values())))
    steps = _thinned(common, FEW_POINTS if many else POINTS)
    means = [(step, _mean([rounded(v[step]) for v in values.values()])) for step in steps]
    curves: dict[int | None, Curve] = {None: means}
    if not many and len(values) > 1:
        curves |= {s: [(step, rounded(v[step])) for step in _thinned(sorted(v), POINTS)] for s, v in values.items()}
    return curves


def _values(steps: Sequence[int], values: Sequence[float | None]) -> dict[int, float]:
    """What was read, by step."""
    return {s: value for s, value in zip(steps, values, strict=True) if value is not None and math.isfinite(value)}


def _score(value: float) -> float:
    return round(100 * value, 2) + 0.0


def _loss(value: float) -> float:
    return float(f"{value:.3g}")


def _mean(values: Sequence[float]) -> float:
    return float(f"{math.fsum(values) / len(values):.4g}")


def _thinned(steps: Sequence[int], most: int) -> Sequence[int]:
    """At most so many of them, the first and the last among them."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def curve_rows(of_row: Mapping[str, Mapping[int | None, Curve]], groups: Mapping[str, str], **same: Any) -> Rows:
    """Of `plots.curves`, of one task; ``groups`` by model are told apart by colours."""
    return [
        {"model": name, "group": groups[name], "seed": seed, "step": step, "value": value, **same}
        for name, of_seed in of_row.items()
        for seed, curve in of_seed.items()
        for step, value in curve
    ]
