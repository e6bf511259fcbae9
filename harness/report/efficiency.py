"""The efficiency of models side by side, as a page, as CSV and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.format import Table, count, duration, escape, markdown_table, percent, plural, rate, to_csv
from harness.leaderboard.board import Cost, Efficiency, Leaderboard
from harness.leaderboard.measures import MEASURES, SIZES, Measure, Ratio, baseline, common_tasks, means, ratios

NOT_MEASURED = "n/a"
SHOWN_SIZES = ("1", "32")  # batches whose inference rates stand in the table of costs


# Tables ----------------------------------------------------------------------------------------------------------


def summary_table(board: Leaderboard, inference: bool = False) -> Table:
    """A row per model: means over the tasks that all models did; no rows where there are none."""
    rows = board.efficiency
    numbers = zip(rows, means(rows), strict=True) if common_tasks(rows) else ()
    return _table(["Model"], _shown(rows, inference), [([row.name], of_row) for row, of_row in numbers])


def ratio_table(board: Leaderboard) -> Table:
    """A row per model: how many times the baseline's; no rows where there is nothing to compare."""
    rows = board.efficiency
    if len(rows) < 2 or not common_tasks(rows):
        return [], []
    by_row = ratios(rows)
    measures = [measure for measure in MEASURES if any(measure.key in values for values in by_row)]
    cells = [
        [row.name, *(_ratio_text(values[m.key]) if m.key in values else NOT_MEASURED for m in measures)]
        for row, values in zip(rows, by_row, strict=True)
    ]
    return ["Model", *(measure.ratio for measure in measures)], cells


def _ratio_text(ratio: Ratio) -> str:
    """``1.91 (1.80 to 2.03)``."""
    interval = "" if ratio.low is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.estimate:.2f}{interval}"


def task_table(board: Leaderboard, inference: bool = False) -> Table:
    """A row per task and model."""
    columns = [column.task for column in board.columns]
    tasks = dict.fromkeys([*columns, *(task for row in board.efficiency for task in row.tasks)])
    rows = [
        ([board.title(task), row.name], row.tasks[task])
        for task in tasks
        for row in board.efficiency
        if task in row.tasks
    ]
    return _table(["Task", "Model"], _shown(board.efficiency, inference), rows)


def _shown(rows: Sequence[Efficiency], inference: bool) -> list[Measure]:
    """The columns; an optional one where some run has another number than zero."""
    measured = {key for row in rows for values in row.tasks.values() for key, value in values.items() if value}
    measures = [measure for measure in MEASURES if (measure.inference if inference else measure.general)]
    return [measure for measure in measures if not measure.optional or measure.key in measured]


def _table(
    heads: list[str], measures: Sequence[Measure], rows: Sequence[tuple[list[str], Mapping[str, float]]]
) -> Table:
    cells = [
        [*names, *(m.show(values[m.key]) if m.key in values else NOT_MEASURED for m in measures)]
        for names, values in rows
    ]
    return [*heads, *(measure.title for measure in measures)], cells


# Words -----------------------------------------------------------------------------------------------------------


def machine_words(board: Leaderboard) -> list[str]:
    """On what the numbers were measured: one line, or one for each model."""
    machines = dict.fromkeys(machine for row in board.efficiency for machine in row.machines)
    if not machines:
        return []
    if len(machines) == 1:
        return [f"Measured on: {next(iter(machines))}."]
    lines = [f"{row.name} measured on: {'; '.join(row.machines)}." for row in board.efficiency if row.machines]
    return ["These numbers are not from one machine, one precision and one set of libraries:", *lines]


DEFINITIONS = (
    "Params: all parameters. Active: those that inference computes with, without tables of which it looks up rows. "
    "FLOPs/ex: FLOPs of the matrix products of one answer to an example of mean length, all that is generated "
    "included. Train ex/s and tok/s: without the first update and those in which something was compiled (Startup), "
    "and without padding. Of matrix rate: FLOPs of training (three times a forward pass) per second, as a share of the "
    "measured matrix rate, which is that of a large matrix product of the same precision. MFU: the same, as a share of "
    "the peak in the GPU's datasheet, where that is known. Infer ex/s @1, @8 and so on: examples answered per second "
    "in batches of so many, the same for all models. Memory: the most that the run added to the memory of its process, "
    "without the pages of files. n/a: not measured; of a batch size also where a batch did not fit in memory or in the "
    "time for measuring, 2 % of the run."
)
INFERENCE = (
    "Tokenise ex/s: examples that become features in a second. Both: answered in a second, with tokenisation before. "
    "p50 and p95: the time to answer a single example, over so many answers after a warm-up; p95 of at least 50."
)
MEANS = "Means over tasks and seeds are geometric, those of Answers, Startup and Compile arithmetic"


def page(board: Leaderboard) -> str:
    """The content of efficiency.md."""
    blocks = [f"# Efficiency: {escape(board.benchmark)}"]
    headers, rows = summary_table(board)
    tasks = common_tasks(board.efficiency)
    if rows:
        names = escape(", ".join(map(board.title, tasks)))
        number = plural(len(tasks), "task")
        blocks += [
            f"Means over the {number} that all models have finished ({names}), and over seeds.",
            markdown_table(headers, rows),
        ]
    else:
        blocks.append("No task is finished by all models: see them by task.")
    blocks += [*map(escape, machine_words(board)), f"{DEFINITIONS} {MEANS}."]
    if rows:
        blocks += ["## Inference", markdown_table(*summary_table(board, inference=True)), INFERENCE]
    blocks += [*_comparison(board), "## By task", markdown_table(*task_table(board))]
    blocks += ["## Inference by task", markdown_table(*task_table(board, inference=True))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _comparison(board: Leaderboard) -> list[str]:
    """The table of ratios, if there is something to compare."""
    headers, rows = ratio_table(board)
    if not rows:
        return []
    name = escape(baseline(board.efficiency).name)
    words = f"Each mean divided by that of {name}, which is the geometric mean of the ratios of the tasks."
    if any("(" in cell for row in rows for cell in row[1:]):
        words += " In parentheses its 95 % interval over seeds of the tasks."
    return [f"## Compared with {name}", markdown_table(headers, rows), words]


# Numbers for programs --------------------------------------------------------------------------------------------


def csv_text(board: Leaderboard) -> str:
    """The content of efficiency.csv: a line per model and task, in the units of efficiency.json."""
    rows = []
    for row in board.efficiency:
        names = {"model": row.name, "architecture": row.architecture, "machine": "; ".join(row.machines)}
        for task, values in row.tasks.items():
            whole = {key: int(value) if value.is_integer() else value for key, value in values.items()}
            rows.append({**names, "task": task, **whole})
    return to_csv(rows, ["model", "architecture", "task", *(measure.key for measure in MEASURES), "machine"])


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The content of efficiency.json."""
    rows = board.efficiency
    numbers, compared = means(rows), ratios(rows)
    return {
        "schema": 2,
        "benchmark": board.benchmark,
        "common_tasks": common_tasks(rows),
        "batch_sizes": [int(size) for size in SIZES],
        "baseline": baseline(rows).name,
        "rows": [
            {
                "model": row.name,
                "architecture": row.architecture,
                "machines": row.machines,
                "mean": numbers[i],
                "ratio": {key: ratio.estimate for key, ratio in compared[i].items()},
                "ratio_interval": {
                    key: [ratio.low, ratio.high] for key, ratio in compared[i].items() if ratio.low is not None
                },
                "tasks": row.tasks,
            }
            for i, row in enumerate(rows)
        ],
    }


def cost_table(board: Leaderboard) -> Table:
    """What the runs of each row took; the share of invalid predictions only where some model generates."""
    headers = ["Model", "Params (trained)", "Time per run", "All runs", "Train ex/s"]
    headers += [f"Infer ex/s @{size}" for size in SHOWN_SIZES]
    rows = []
    for row in board.rows:
        cost = row.cost
        if cost is None or not cost.runs:
            continue
        total = f"{duration(cost.train_seconds_total)} ({plural(cost.runs, 'run')})"
        parameters = f"{count(cost.total)} ({count(cost.trained)})"
        rates = [cost.train_rate, *map(cost.inference_rates.get, SHOWN_SIZES)]
        cells = [row.name, parameters, duration(cost.train_seconds_mean), total]
        cells += ["n/a" if value is None else rate(value) for value in rates]
        rows.append([*cells, _invalid(cost, board)] if board.generates else cells)
    return ([*headers, "Invalid"] if board.generates else headers), rows


def _invalid(cost: Cost, board: Leaderboard) -> str:
    """The mean share of invalid predictions over tasks, and the task with the largest."""
    if cost.invalid is None:
        return "n/a"
    worst, share = max(cost.invalid.items(), key=lambda item: item[1])
    mean = f"{percent(cost.invalid_mean)} %"
    return f"{mean} (worst: {board.title(worst)} {percent(share)} %)" if share else mean
