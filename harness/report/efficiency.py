"""Efficiency tables: what the models of a benchmark take, side by side, as a page, for a spreadsheet, for programs."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.format import MISSING, count, memory, operations, percent, rate, short
from harness.report.leaderboard import Efficiency, Leaderboard
from harness.results.record import Record

Table = tuple[list[str], list[list[str]]]
"""Headers and rows."""


@dataclass(frozen=True)
class Measure:
    """A column: where its numbers are, how they look, and its name in the table of ratios (none: it has no place)."""

    key: str
    title: str
    show: Callable[[float], str]
    ratio: str = ""
    optional: bool = False


MEASURES = (
    Measure("parameters_total", "Params", lambda value: count(round(value)), "Params"),
    Measure("parameters_active", "Active", lambda value: count(round(value)), "Active"),
    Measure("flops_per_example", "FLOP/ex", operations, "FLOP/ex"),
    Measure("train_examples_per_second", "Train ex/s", rate, "Train ex/s"),
    Measure("train_tokens_per_second", "Train tok/s", rate),
    Measure("train_share_of_matrix_rate", "Of peak", lambda value: f"{percent(value)} %"),
    Measure("batch_examples_per_second", "Infer ex/s", rate, "Infer ex/s"),
    Measure("latency_p50_seconds", "p50 ms", lambda value: short(1000 * value), "Latency p50"),
    Measure("latency_p95_seconds", "p95 ms", lambda value: short(1000 * value)),
    Measure("peak_process_bytes", "Memory", memory, "Memory"),
    Measure("peak_device_bytes", "GPU memory", memory, "GPU memory", optional=True),
    Measure("startup_seconds", "Startup s", "{:.2f}".format),
    Measure("compile_seconds", "Compile s", short, optional=True),
    Measure("energy_joules", "Wh/run", lambda value: short(value / 3600), "Energy", optional=True),
)


def efficiency_of(name: str, architecture: str, runs: Mapping[str, Iterable[Record | None]]) -> Efficiency | None:
    """What the finished runs of a row took, by task; None where there is no finished run."""
    finished = {task: [record for record in records if record and record.finished] for task, records in runs.items()}
    tasks = {task: _means([_numbers(record) for record in records]) for task, records in finished.items() if records}
    if not tasks:
        return None
    every = [record for records in finished.values() for record in records]
    machines = dict.fromkeys(filter(None, map(_machine, every)))
    sizes = {record.efficiency.inference_batch_size for record in every}
    return Efficiency(name, architecture, tasks, tuple(machines), tuple(sorted(size for size in sizes if size)))


def _numbers(record: Record) -> dict[str, float]:
    """All that a record says of the measures; an older one says less."""
    parameters = {f"parameters_{key}": value for key, value in record.parameters.items()}
    numbers = {**record.efficiency.measured(), **parameters}
    return {measure.key: float(numbers[measure.key]) for measure in MEASURES if measure.key in numbers}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure, over those that have it."""
    values = {measure.key: [row[measure.key] for row in rows if measure.key in row] for measure in MEASURES}
    return {key: statistics.fmean(found) for key, found in values.items() if found}


def _machine(record: Record) -> str:
    """Where and how a run was made, in words."""
    made, recipe = record.provenance, record.settings.recipe
    if "device" not in made:
        return ""
    names = [str(made["device"]) if made["device"] != "cpu" else "", str(made.get("processor", ""))]
    counts = [(made.get("cores"), "core"), (made.get("threads"), "thread"), (made.get("processes"), "process")]
    words = [f"{n} {word}{'' if n == 1 else 'es' if word == 'process' else 's'}" for n, word in counts if n]
    precision = f"{recipe['precision']}{', compiled' if recipe.get('compile') else ''}" if "precision" in recipe else ""
    return ", ".join(filter(None, [*names, *words, precision, f"PyTorch {made['torch']}" if "torch" in made else ""]))


# Means and ratios ------------------------------------------------------------------------------------------------


def common_tasks(rows: Sequence[Efficiency]) -> list[str]:
    """The tasks that all rows have, in their order."""
    return [task for task in rows[0].tasks if all(task in row.tasks for row in rows)] if rows else []


def mean_of(row: Efficiency, tasks: Sequence[str]) -> dict[str, float]:
    """Means over tasks."""
    return _means([row.tasks[task] for task in tasks])


def baseline(rows: Sequence[Efficiency]) -> Efficiency:
    """What the others are compared with: the first T5, or the first row."""
    return next((row for row in rows if row.architecture == "t5"), rows[0])


def ratios(row: Efficiency, base: Efficiency, tasks: Sequence[str]) -> dict[str, float]:
    """The geometric mean over tasks of each measure, divided by the baseline's."""
    pairs = [(row.tasks[task], base.tasks[task]) for task in tasks]
    found = {
        m.key: [own[m.key] / other[m.key] for own, other in pairs if own.get(m.key) and other.get(m.key)]
        for m in MEASURES
        if m.ratio
    }
    return {key: statistics.geometric_mean(values) for key, values in found.items() if values}


# Tables ----------------------------------------------------------------------------------------------------------


def summary_table(board: Leaderboard) -> Table:
    """A row per model: means over the tasks that all models did."""
    rows, tasks = board.efficiency, common_tasks(board.efficiency)
    measures = _measures(rows)
    means = {row.name: mean_of(row, tasks) for row in rows} if tasks else {}
    return _table(["Model"], measures, [([row.name], means[row.name]) for row in rows if tasks])


def ratio_table(board: Leaderboard) -> Table:
    """A row per model: how many times the baseline's."""
    rows, tasks = board.efficiency, common_tasks(board.efficiency)
    if len(rows) < 2 or not tasks:
        return [], []
    found = [ratios(row, baseline(rows), tasks) for row in rows]
    measures = [measure for measure in MEASURES if any(measure.key in values for values in found)]
    cells = [
        [row.name, *(f"{values[m.key]:.2f}" if m.key in values else MISSING for m in measures)]
        for row, values in zip(rows, found, strict=True)
    ]
    return ["Model", *(measure.ratio for measure in measures)], cells


def task_table(board: Leaderboard) -> Table:
    """A row per task and model."""
    titles = {column.task: column.title for section in board.sections for column in section.columns}
    tasks = dict.fromkeys([*titles, *(task for row in board.efficiency for task in row.tasks)])
    rows = [
        ([titles.get(task, task), row.name], row.tasks[task])
        for task in tasks
        for row in board.efficiency
        if task in row.tasks
    ]
    return _table(["Task", "Model"], _measures(board.efficiency), rows)


def _measures(rows: Sequence[Efficiency]) -> list[Measure]:
    """The columns: those that must be there, and those that some run has anything but zeros in."""
    there = {key for row in rows for values in row.tasks.values() for key, value in values.items() if value}
    return [measure for measure in MEASURES if not measure.optional or measure.key in there]


def _table(
    heads: list[str], measures: Sequence[Measure], rows: Sequence[tuple[list[str], Mapping[str, float]]]
) -> Table:
    cells = [
        [*names, *(m.show(values[m.key]) if m.key in values else MISSING for m in measures)] for names, values in rows
    ]
    return [*heads, *(measure.title for measure in measures)], cells


def machine_words(board: Leaderboard) -> list[str]:
    """On what the numbers were measured: one line, or one for each model."""
    machines = dict.fromkeys(machine for row in board.efficiency for machine in row.machines)
    if not machines:
        return []
    if len(machines) == 1:
        return [f"Measured on: {next(iter(machines))}."]
    lines = [f"{row.name} measured on: {'; '.join(row.machines)}." for row in board.efficiency if row.machines]
    return ["These numbers are not from one machine, one precision and one set of libraries:", *lines]


def words(board: Leaderboard) -> str:
    """What the columns are."""
    sizes = sorted({size for row in board.efficiency for size in row.batch_sizes})
    batches = f" in batches of {' or '.join(map(str, sizes))}" if sizes else " in batches"
    return (
        "Params: all parameters. Active: those that inference computes with, without tables of which it looks up rows. "
        "FLOP/ex: operations in the matrix products of one answer to an example of mean length, all that is generated "
        "included. Train ex/s and tok/s: without the first update and those in which something was compiled (Warm-up), "
        "and without padding. Of peak: operations of training (three times a forward pass) per second, divided by what "
        f"the machine reaches in a large matrix product of the same precision. Infer ex/s:{batches}. p50 and p95: the "
        "time to answer a single example. Memory: the most that the process had in use. Operations, latency and "
        "Infer ex/s are measured once for each task, model and recipe, with the model of the first seed."
    )


def page(
    board: Leaderboard, table: Callable[[Sequence[str], Sequence[Sequence[str]]], str], escape: Callable[[str], str]
) -> str:
    """The content of efficiency.md; ``table`` and ``escape`` write a table and a text as Markdown."""
    blocks = [f"# Efficiency: {escape(board.benchmark)}"]
    headers, rows = summary_table(board)
    tasks = common_tasks(board.efficiency)
    titles = {column.task: column.title for section in board.sections for column in section.columns}
    if rows:
        names = escape(", ".join(titles.get(task, task) for task in tasks))
        number = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        blocks += [
            f"Means over the {number} that all models have finished ({names}), and over seeds.",
            table(headers, rows),
        ]
    else:
        blocks.append("No task is finished by all models: see them by task.")
    blocks += [*map(escape, machine_words(board)), words(board)]
    headers, rows = ratio_table(board)
    if rows:
        name = escape(baseline(board.efficiency).name)
        blocks += [f"## Compared with {name}", table(headers, rows)]
        blocks.append(f"Each number divided by that of {name}: geometric mean over the same tasks.")
    headers, rows = task_table(board)
    blocks += ["## By task", table(headers, rows)]
    return "\n\n".join(filter(None, blocks)) + "\n"


# Numbers for programs --------------------------------------------------------------------------------------------


def csv_text(board: Leaderboard) -> str:
    """A line per model and task, in the units of efficiency.json."""
    stream = io.StringIO()
    fields = ["model", "architecture", "task", *(measure.key for measure in MEASURES), "machine"]
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    for row in board.efficiency:
        names = {"model": row.name, "architecture": row.architecture, "machine": "; ".join(row.machines)}
        for task, values in row.tasks.items():
            whole = {key: int(value) if value.is_integer() else value for key, value in values.items()}
            writer.writerow({**names, "task": task, **whole})
    return stream.getvalue()


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The content of efficiency.json beside the leaderboard."""
    rows, tasks = board.efficiency, common_tasks(board.efficiency)
    base = baseline(rows)
    return {
        "schema": 1,
        "benchmark": board.benchmark,
        "common_tasks": tasks,
        "baseline": base.name,
        "rows": [
            {
                "model": row.name,
                "architecture": row.architecture,
                "machines": row.machines,
                "mean": mean_of(row, tasks),
                "ratio": ratios(row, base, tasks),
                "tasks": row.tasks,
            }
            for row in rows
        ],
    }
