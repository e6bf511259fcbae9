"""A leaderboard for programs: leaderboard.csv and leaderboard.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.report.format import to_csv
from harness.report.leaderboard import Cell, Column, Leaderboard, Row, Value
from harness.report.sweeps import folder_of
from harness.results.manifest import Choice


def csv_text(board: Leaderboard) -> str:
    """The content of leaderboard.csv: a line per model, with scores times 100 and their standard deviations."""
    rows = [_csv_row(row, board) for row in (*board.rows, *board.baselines)]
    return to_csv(rows, list(dict.fromkeys(name for row in rows for name in row)) or ["model"])


def _csv_row(row: Row, board: Leaderboard) -> dict[str, Any]:
    cells: dict[str, Any] = {"model": row.model, "folder": row.folder, "architecture": row.architecture}
    cells["seeds"] = len(row.seeds)
    for section in board.sections:
        for title in section.averages:
            cells |= _csv_numbers(title, row.averages[title].score)
        for column in section.columns:
            cell = row.cells[column.task]
            cells[f"{column.task} status"], cells[f"{column.task} seeds"] = cell.status, cell.done
            splits = len({split for split, _ in column.parts})
            for (split, metric), value in zip(column.parts, cell.parts, strict=True):
                name = f"{column.task} {split} {metric}" if splits > 1 else f"{column.task} {metric}"
                cells |= _csv_numbers(name, value)
    for name, value in _test_values(row, board):
        cells |= _csv_numbers(name, value)
    cost = row.cost
    if cost is not None:
        cells |= {
            "parameters_trained": cost.trained,
            "parameters_total": cost.total,
            "train_seconds_mean": cost.train_seconds_mean,
            "train_seconds_total": cost.train_seconds_total,
            "train_examples_per_second": cost.train_rate,
            "inference_examples_per_second": cost.inference_rate,
            "invalid": None if cost.invalid_mean is None else 100 * cost.invalid_mean,
        }
    return {**cells, "caveats": "; ".join(map(str, (*board.caveats, *row.caveats))), "signature": row.signature}


def _test_values(row: Row, board: Leaderboard) -> Iterable[tuple[str, Value | None]]:
    """The scores of a row on test splits, each with its column of the .csv file."""
    for tested in board.tests.rows_like(row) if board.tests else ():
        for column in board.tests.columns if board.tests else ():
            for (split, metric), value in zip(column.parts, tested.cells[column.task].parts, strict=True):
                yield f"{column.task} {split} {metric}", value


def _csv_numbers(name: str, value: Value | None) -> dict[str, float | None]:
    return {
        name: None if value is None else round(100 * value.mean, 6),
        f"{name} std": None if value is None or value.std is None else round(100 * value.std, 6),
    }


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
        "averages": {title: _value_data(cell.score) for title, cell in row.averages.items()},
        "tasks": {column.task: _cell_data(column, row.cells[column.task]) for column in board.columns},
    }


def _row_data(row: Row, board: Leaderboard) -> dict[str, Any]:
    data: dict[str, Any] = {**_scores_data(row, board), "notes": row.notes}
    if row.source:
        return {**data, "source": row.source, "split": "dev"}
    return {
        **data,
        "architecture": row.architecture,
        "seeds": row.seeds,
        "caveats": [*map(str, row.caveats)],
        "signature": row.signature,
        "cost": None if row.cost is None else vars(row.cost),
    }


def _cell_data(column: Column, cell: Cell) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for (split, metric), value in zip(column.parts, cell.parts, strict=True):
        splits.setdefault(split, {})[metric] = _value_data(value)
    return {
        "status": cell.status,
        "planned_seeds": cell.planned,
        "score": _value_data(cell.score),
        "splits": splits,
        "notes": cell.notes,
    }


def _value_data(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"mean": value.mean, "std": value.std, "n": value.n, "values": value.seeds}
