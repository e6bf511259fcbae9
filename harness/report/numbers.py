"""A leaderboard for programs: leaderboard.csv and leaderboard.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from harness.format import to_csv
from harness.leaderboard.board import Cell, Column, Leaderboard, Row, Value
from harness.leaderboard.measures import SIZES
from harness.report.sweeps import folder_of
from harness.results.manifest import Choice
from harness.statistics import VERSION
from harness.task.metrics import ERRORS

if TYPE_CHECKING:
    from harness.statistics.comparison import Comparison


def csv_text(board: Leaderboard) -> str:
    """The content of leaderboard.csv: a line per model, with scores times 100 and their standard deviations."""
    rows = [_csv_row(row, board) for row in (*board.rows, *board.baselines)]
    return to_csv(rows, list(dict.fromkeys(name for row in rows for name in row)) or ["model"])


def _csv_row(row: Row, board: Leaderboard) -> dict[str, Any]:
    cells: dict[str, Any] = {"model": row.model, "folder": row.folder, "architecture": row.architecture}
    cells["seeds"] = len(row.seeds)
    for section in board.sections:
        for title in section.averages:
            average = row.averages[title]
            cells |= _csv_numbers(title, average.score, average.interval) | _csv_rank(title, title, row, board)
        for column in section.columns:
            cell = row.cells[column.task]
            cells[f"{column.task} status"], cells[f"{column.task} seeds"] = cell.status, cell.done
            splits = len({split for split, _ in column.parts})
            intervals = cell.intervals or [None] * len(cell.parts)
            for (split, metric), value, interval in zip(column.parts, cell.parts, intervals, strict=True):
                name = f"{column.task} {split} {metric}" if splits > 1 else f"{column.task} {metric}"
                cells |= _csv_numbers(name, value, interval, metric)
            cells |= _csv_rank(column.task, column.task, row, board)
    for name, value, interval, metric in _test_values(row, board):
        cells |= _csv_numbers(name, value, interval, metric)
    cost = row.cost
    if cost is not None:
        cells |= {
            "parameters_trained": cost.trained,
            "parameters_total": cost.total,
            "train_seconds_mean": cost.train_seconds_mean,
            "train_seconds_total": cost.train_seconds_total,
            "train_examples_per_second": cost.train_rate,
            **{f"inference_rate_{size}": cost.inference_rates.get(size) for size in SIZES},
            "invalid": None if cost.invalid_mean is None else 100 * cost.invalid_mean,
        }
    return {**cells, "caveats": "; ".join(map(str, (*board.caveats, *row.caveats))), "signature": row.signature}


def _test_values(row: Row, board: Leaderboard) -> Iterable[tuple[str, Value | None, Comparison | None, str]]:
    """The scores of a row on test splits, each with its column of the .csv file and its metric."""
    for tested in board.tests.rows_like(row) if board.tests else ():
        for column in board.tests.columns if board.tests else ():
            cell = tested.cells[column.task]
            intervals = cell.intervals or [None] * len(cell.parts)
            for (split, metric), value, interval in zip(column.parts, cell.parts, intervals, strict=True):
                yield f"{column.task} {split} {metric}", value, interval, metric


def _csv_numbers(
    name: str, value: Value | None, interval: Comparison | None, metric: str = ""
) -> dict[str, float | None]:
    """Times 100; an error as it is."""
    scale = 1 if metric in ERRORS else 100
    low, high = _ends(interval) or (None, None)
    return {
        name: None if value is None else round(scale * value.mean, 6),
        f"{name} std": None if value is None or value.std is None else round(scale * value.std, 6),
        f"{name} low": None if low is None else round(scale * low, 4),
        f"{name} high": None if high is None else round(scale * high, 4),
    }


def _csv_rank(name: str, key: str, row: Row, board: Leaderboard) -> dict[str, str]:
    """``1-2``: the ranks that a row may have."""
    ranks = _ranks(key, row, board)
    return {f"{name} ranks": "-".join(map(str, ranks)) if ranks else ""}


def _ranks(key: str, row: Row, board: Leaderboard) -> tuple[int, int] | None:
    return board.rankings[key].ranks.get(row.name) if key in board.rankings else None


def _ends(interval: Comparison | None) -> tuple[float, float] | None:
    """Rounded, because the last digits of sums of floats are those of a processor."""
    return None if interval is None else (round(interval.low, 6), round(interval.high, 6))


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The content of leaderboard.json: fractions, with the value of every seed."""
    suites = {
        section.name: {
            "title": section.title,
            "averages": section.averages,
            "tasks": [column.task for column in section.columns],
        }
        for section in board.sections
    }
    sweeps = [
        {"row": row, **choice.model_dump(), "trials": _trial_data(choice, board.benchmark)}
        for row, choice in board.sweeps
    ]
    return {
        "schema": 1,
        "benchmark": board.benchmark,
        "caveats": [*map(str, board.caveats)],
        "sources": board.sources,
        "suites": suites,
        "rows": [_row_data(row, board) for row in board.rows],
        "baselines": [_scores_data(row, board) for row in board.baselines],
        **({"tests": _tests_data(board.tests)} if board.tests else {}),
        **({"sweeps": sweeps} if sweeps else {}),
        "statistics": {
            "version": VERSION,
            "interval": board.spread,
            "tie_groups": {key: ranking.tied for key, ranking in board.rankings.items()},
        },
        "references": [_row_data(row, board) for row in board.references],
    }


def _trial_data(choice: Choice, benchmark: str) -> list[dict[str, Any]]:
    """The trials of a sweep; scores are fractions."""
    trials = []
    for trial in choice.trials:
        status = trial.record.status if trial.record else "missing"
        chosen = trial.fingerprint == choice.chosen
        trials.append(
            {
                **trial.model_dump(),
                "record": folder_of(trial, benchmark),
                "status": status,
                "score": trial.score,
                "chosen": chosen,
            }
        )
    return trials


def _tests_data(tests: Leaderboard) -> dict[str, Any]:
    """The scores on test splits."""
    return {
        "rows": [_scores_data(row, tests) for row in tests.rows],
        "baselines": [_scores_data(row, tests) for row in tests.baselines],
    }


def _scores_data(row: Row, board: Leaderboard) -> dict[str, Any]:
    return {
        "model": row.model,
        "folder": row.folder,
        "averages": {
            title: _value_data(cell.score, cell.interval, _ranks(title, row, board))
            for title, cell in row.averages.items()
        },
        "tasks": {
            column.task: _cell_data(column, row.cells[column.task], _ranks(column.task, row, board))
            for column in board.columns
        },
    }


def _row_data(row: Row, board: Leaderboard) -> dict[str, Any]:
    data: dict[str, Any] = {**_scores_data(row, board), "notes": row.notes}
    if row.source:
        return {**data, "source": row.source, "split": "dev"}
    return {
        **data,
        "architecture": row.architecture,
        "seeds": row.seeds,
        "evaluations": row.evaluations,
        "caveats": [*map(str, row.caveats)],
        "signature": row.signature,
        "cost": None if row.cost is None else vars(row.cost),
    }


def _cell_data(column: Column, cell: Cell, ranks: tuple[int, int] | None) -> dict[str, Any]:
    last = _by_split(column, cell.last)
    return {
        "status": cell.status,
        "planned_seeds": cell.planned,
        "score": _value_data(cell.score, cell.interval, ranks),
        "splits": _by_split(column, cell.parts, cell.intervals),
        **({"last_checkpoint": last} if any(cell.last) else {}),
        "collapsed_seeds": cell.collapsed,
        "notes": cell.notes,
    }


def _by_split(
    column: Column, values: Sequence[Value | None], intervals: Sequence[Comparison | None] = ()
) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    shown = zip(column.parts, values, intervals or [None] * len(values), strict=True) if values else ()
    for (split, metric), value, interval in shown:
        splits.setdefault(split, {})[metric] = _value_data(value, interval)
    return splits


def _value_data(
    value: Value | None, interval: Comparison | None = None, ranks: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    if value is None:
        return None
    data: dict[str, Any] = {"mean": value.mean, "std": value.std, "n": value.n, "values": value.seeds}
    data |= {"interval": _ends(interval)} if interval else {}
    return data | ({"ranks": ranks} if ranks else {})
