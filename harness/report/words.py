"""What tables say of a leaderboard, in words that the page and the terminal share."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

from harness.format import MISSING, plural, score_number
from harness.leaderboard.board import Cell, Column, Leaderboard, Row, Section
from harness.leaderboard.build import BASELINE
from harness.leaderboard.differences import best_of_words
from harness.results.record import CaveatKind
from harness.task.metrics import ERRORS

if TYPE_CHECKING:
    from harness.statistics.comparison import Comparison

SAMPLE = "Sample data: the numbers show the machinery; compare them with nothing published."
SHORT = {
    "accuracy": "acc",
    "balanced_accuracy": "balanced acc",
    "f1": "F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "matthews_correlation": "MCC",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
    "auroc": "AUROC",
    "average_precision": "AP",
    "mae": "MAE ↓",
    "rmse": "RMSE ↓",
    "r2": "R2",
    "f1_a": "F1a",
    "f1_m": "F1m",
    "exact_match": "EM",
    "entity_f1": "entity F1",
    "surface_f1": "surface F1",
    "gender_parity": "parity",
    "matched": "m",
    "mismatched": "mm",
}
MANY_COLUMNS = 6
"""A table with more columns of scores has its tasks as rows, where these are more than the models."""
SOURCES = {"hub": "the Hugging Face Hub", "files": "local files", "sample": "the built-in sample"}


def metric_words(column: Column) -> str:
    """What a column's numbers are: ``acc``, ``F1/acc``, ``acc m/mm``."""
    metrics = "/".join(dict.fromkeys(SHORT.get(metric, metric) for _, metric in column.parts))
    splits = list(dict.fromkeys(split for split, _ in column.parts))
    if len(splits) == 1:
        return metrics
    return f"{metrics} {'/'.join(map(_split_word, splits))}"


def score_words(column: Column) -> str:
    """What the one number of a column is: ``MCC``, ``mean of F1 and acc``, ``acc, mean of m and mm``."""
    metrics = [SHORT.get(metric, metric) for metric in dict.fromkeys(metric for _, metric in column.counted)]
    splits = [_split_word(split) for split in dict.fromkeys(split for split, _ in column.counted)]
    words = metrics[0] if len(metrics) == 1 else f"mean of {_listed(metrics)}"
    return words if len(splits) == 1 else f"{words}, mean of {_listed(splits)}"


def scored_title(board: Leaderboard, task: str) -> str:
    """A task's name with its one number: ``MRPC (mean of F1 and acc)``."""
    words = [score_words(column) for column in board.columns if column.task == task]
    return f"{board.title(task)} ({words[0]})" if words else board.title(task)


def counting_words(board: Leaderboard) -> str:
    """What a column with several numbers counts as."""
    columns = [column for shown in filter(None, (board, board.tests)) for column in shown.columns]
    chosen = {c.title: score_words(c) for c in columns if {m for _, m in c.parts} > {m for _, m in c.counted}}
    means = any(len(column.counted) > 1 for column in columns) or not chosen
    words = ["where a column has two numbers, their mean counts in the average"] if means else []
    if chosen:
        which = ", ".join(f"{metric} of {title}" for title, metric in chosen.items())
        words.append(f"of several metrics {'else ' if means else ''}one counts: {which}")
    return "; ".join(words)


def _split_word(split: str) -> str:
    name = split.removeprefix("validation_").removeprefix("test_")
    return SHORT.get(name, name)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def tasks_as_rows(columns: Sized, rows: Sized) -> bool:
    """Whether a table of so many columns of scores, and rows, is easier to read the other way round."""
    return len(columns) > MANY_COLUMNS and len(columns) > len(rows)


def means(cell: Cell) -> str:
    """``88.9/84.1``, ``failed`` or a dash."""
    if not cell.done:
        return "failed" if cell.status == "failed" else MISSING
    parts = zip(cell.parts, cell.metrics or [""] * len(cell.parts), strict=True)
    return "/".join(score_number(value.mean if value else None, metric) for value, metric in parts)


def deviations(cell: Cell, spread: str) -> str:
    """`` ± 0.4/0.6``: standard deviations, or half of the 95 % intervals; empty where there are none."""
    metrics = cell.metrics or [""] * len(cell.parts)
    if spread == "ci":
        return f" ± {'/'.join(map(half_width, cell.intervals, metrics))}" if cell.intervals else ""
    stds = [value.std if value else None for value in cell.parts]
    return "" if all(std is None for std in stds) else f" ± {'/'.join(map(score_number, stds, metrics))}"


def deviation(cell: Cell, spread: str) -> str:
    """The same of the score."""
    if spread == "ci":
        return f" ± {half_width(cell.interval, cell.scored)}" if cell.interval else ""
    return f" ± {score_number(cell.score.std, cell.scored)}" if cell.score and cell.score.std is not None else ""


def half_width(interval: Comparison | None, metric: str = "") -> str:
    """By how much the interval is wider on each side than its middle; a dash where there is none."""
    return MISSING if interval is None else score_number((interval.high - interval.low) / 2, metric)


def statistics_words(board: Leaderboard) -> list[str]:
    """What stands behind a mean, what bold is, and by which test."""
    several = any(len(row.seeds) > 1 for row in board.rows)
    words = []
    if board.spread == "ci":
        words.append("Mean ± half of its 95 % interval, over seeds and examples.")
    elif several:
        words.append("Mean ± sample standard deviation over seeds.")
    if board.rankings:
        test = "Student's t, variance over seeds and examples crossed" if several else "McNemar or permutation test"
        claim = "" if several else "; one seed: a claim about these checkpoints, not about models"
        words.append(
            "Bold: the best of a column and those next to it that cannot be told from it, unless these are all "
            f"({test}, {_seeds_of(board)}; Holm over all pairs of a column, 5 %{claim})."
        )
    return words


def _seeds_of(board: Leaderboard) -> str:
    counts = sorted({len(row.seeds) for row in board.rows})
    spread = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{spread} seed{'' if spread == '1' else 's'}"


def seeds_done(cell: Cell) -> str:
    """`` (2/5 seeds)`` where not all are done."""
    return f" ({cell.done}/{len(cell.planned)} seeds)" if 0 < cell.done < len(cell.planned) else ""


def about(board: Leaderboard) -> list[str]:
    """Sentences that hold for all numbers."""
    models, seeds = len({row.model for row in board.rows}), {len(row.seeds) for row in board.rows}
    spread = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}" if seeds else "0"
    source = " and ".join(SOURCES.get(name, name) for name in board.sources)
    sizes = (
        f"{plural(models, 'model')}, {plural(len(board.columns), 'task')}, {spread} seed{'' if spread == '1' else 's'}"
    )
    sentences = [f"Benchmark {board.benchmark}: {sizes}{f'; data from {source}' if source else ''}."]
    for caveat in board.caveats:
        sample = caveat.kind is CaveatKind.SAMPLE_DATA
        sentences.append(SAMPLE if sample else f"All rows: {caveat.explained}.")
    if board.evaluations:
        sentences.append(f"All rows: {best_of_words(board.evaluations)}.")
    if any(metric in ERRORS for column in board.columns for metric in column.metrics):
        sentences.append("↓: an error in the unit of the labels, of which less is better.")
    return sentences


def lacking_words(section: Section) -> list[str]:
    """Why averages have no column."""
    titles: dict[tuple[str, ...], list[str]] = {}
    for title, tasks in section.lacking.items():
        titles.setdefault(tasks, []).append(title)
    errors = {column.task for column in section.columns}  # a task that is here, and lacking, has no score to average
    reasons = {tasks: "an error" if errors.issuperset(tasks) else "not in this benchmark" for tasks in titles}
    return [
        f"No {' and no '.join(which)}: {', '.join(tasks)} {'is' if len(tasks) == 1 else 'are'} {reasons[tasks]}."
        for tasks, which in titles.items()
    ]


def shown_references(board: Leaderboard, section: Section) -> list[Row]:
    """The published rows that have a score in a section."""
    return [row for row in board.references if any(row.cells[column.task].done for column in section.columns)]


def baseline_words(board: Leaderboard) -> list[str]:
    """What the row of constant answers is."""
    if not board.baselines:
        return []
    return [
        f"The row {BASELINE} is no model: it gives the answer that is the most frequent one in the training data "
        "(regression: their mean) to every example."
    ]
