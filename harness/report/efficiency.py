"""What models take: costs of a row's runs, and their efficiency side by side, as a page, as CSV and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.format import (
    MISSING,
    Table,
    count,
    duration,
    escape,
    flops,
    markdown_table,
    memory,
    milliseconds,
    percent,
    plural,
    rate,
    short,
    to_csv,
)
from harness.report.leaderboard import Cost, Efficiency, Leaderboard
from harness.results.record import Record


@dataclass(frozen=True)
class Measure:
    """A column: the key of its numbers, its title, how they look, and its title in the table of ratios ("": none).

    An ``optional`` one is shown where some run has it.
    """

    key: str
    title: str
    show: Callable[[float], str]
    ratio: str = ""
    optional: bool = False


MEASURES = (
    Measure("parameters_total", "Params", count, "Params"),
    Measure("parameters_active", "Active", count, "Active"),
    Measure("flops_per_example", "FLOPs/ex", flops, "FLOPs/ex"),
    Measure("train_examples_per_second", "Train ex/s", rate, "Train ex/s"),
    Measure("train_tokens_per_second", "Train tok/s", rate),
    Measure("train_share_of_matrix_rate", "MFU", lambda share: f"{percent(share)} %"),
    Measure("batch_examples_per_second", "Infer ex/s", rate, "Infer ex/s"),
    Measure("latency_p50_seconds", "p50 ms", milliseconds, "Latency p50"),
    Measure("latency_p95_seconds", "p95 ms", milliseconds),
    Measure("peak_process_bytes", "Memory", memory, "Memory"),
    Measure("peak_device_bytes", "GPU memory", memory, "GPU memory", optional=True),
    Measure("startup_seconds", "Startup s", "{:.2f}".format),
    Measure("compile_seconds", "Compile s", short, optional=True),
    Measure("energy_joules", "Wh/run", lambda joules: short(joules / 3600), "Energy", optional=True),
)


# From records ----------------------------------------------------------------------------------------------------


def cost_of(records: Sequence[Record]) -> Cost:
    """What finished runs took."""

    def values(measure: str) -> list[float]:
        numbers = (getattr(record.efficiency, measure) for record in records)
        return [float(number) for number in numbers if number is not None]

    def mean(measure: str) -> float | None:
        return statistics.fmean(values(measure)) if values(measure) else None

    def largest(parameters: str) -> int | None:
        return max((r.parameters[parameters] for r in records if parameters in r.parameters), default=None)

    shares: dict[str, list[float]] = {}
    for record in records:
        for task, of_split in record.invalid.items():
            shares.setdefault(task, []).extend(of_split.values())
    seconds = values("train_seconds")
    return Cost(
        runs=len(records),
        trained=largest("trained"),
        total=largest("total"),
        train_seconds_mean=mean("train_seconds"),
        train_seconds_total=sum(seconds) if seconds else None,
        train_rate=mean("train_examples_per_second"),
        inference_rate=mean("inference_examples_per_second"),
        invalid={task: statistics.fmean(of_task) for task, of_task in shares.items() if of_task} or None,
    )


def efficiency_of(name: str, architecture: str, runs: Mapping[str, Mapping[int, Record | None]]) -> Efficiency | None:
    """What the finished runs of a row took, by task; None where there is no finished run.

    Args:
        name: the row's.
        runs: its records by task and seed.
    """
    finished = {task: [r for r in of_seed.values() if r and r.finished] for task, of_seed in runs.items()}
    tasks = {task: _means([numbers_of(record) for record in records]) for task, records in finished.items() if records}
    if not tasks:
        return None
    every = [record for records in finished.values() for record in records]
    machines = dict.fromkeys(filter(None, map(_machine, every)))
    sizes = {record.efficiency.inference_batch_size for record in every}
    return Efficiency(name, architecture, tasks, tuple(machines), tuple(sorted(size for size in sizes if size)))


def numbers_of(record: Record) -> dict[str, float]:
    """The measures that a record has."""
    parameters = {f"parameters_{key}": value for key, value in record.parameters.items()}
    numbers = {**record.efficiency.measured(), **parameters}
    return {measure.key: float(numbers[measure.key]) for measure in MEASURES if measure.key in numbers}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure, over the rows that have it."""
    values = {measure.key: [row[measure.key] for row in rows if measure.key in row] for measure in MEASURES}
    return {key: statistics.fmean(numbers) for key, numbers in values.items() if numbers}


def _machine(record: Record) -> str:
    """Where and how a run was made, in words."""
    made, recipe = record.provenance, record.settings.recipe
    if "device" not in made:
        return ""
    names = [str(made["device"]) if made["device"] != "cpu" else "", str(made.get("processor", ""))]
    nouns = {"cores": ("core", "s"), "threads": ("thread", "s"), "processes": ("process", "es")}
    sizes = [plural(int(made[key]), *noun) for key, noun in nouns.items() if made.get(key)]
    precision = f"{recipe['precision']}{', compiled' if recipe.get('compile') else ''}" if "precision" in recipe else ""
    return ", ".join(filter(None, [*names, *sizes, precision, f"PyTorch {made['torch']}" if "torch" in made else ""]))


# Costs -----------------------------------------------------------------------------------------------------------


def cost_table(board: Leaderboard) -> Table:
    """What the runs of each row took; the share of invalid predictions only where some model generates."""
    headers = ["Model", "Params (trained)", "Time per run", "All runs", "Train ex/s", "Infer ex/s"]
    rows = []
    for row in board.rows:
        cost = row.cost
        if cost is None or not cost.runs:
            continue
        total = f"{duration(cost.train_seconds_total)} ({plural(cost.runs, 'run')})"
        parameters = f"{count(cost.total)} ({count(cost.trained)})"
        cells = [row.name, parameters, duration(cost.train_seconds_mean), total]
        cells += [rate(cost.train_rate), rate(cost.inference_rate)]
        rows.append([*cells, _invalid(cost, board)] if board.generates else cells)
    return ([*headers, "Invalid"] if board.generates else headers), rows


def _invalid(cost: Cost, board: Leaderboard) -> str:
    """The mean share of invalid predictions over tasks, and the task with the largest."""
    if cost.invalid is None:
        return "n/a"
    worst, share = max(cost.invalid.items(), key=lambda item: item[1])
    mean = f"{percent(cost.invalid_mean)} %"
    return f"{mean} (worst: {board.title(worst)} {percent(share)} %)" if share else mean


# Means and ratios ------------------------------------------------------------------------------------------------


def common_tasks(rows: Sequence[Efficiency]) -> list[str]:
    """The tasks that all rows have, in their order."""
    return [task for task in rows[0].tasks if all(task in row.tasks for row in rows)] if rows else []


def mean_of(row: Efficiency, tasks: Sequence[str]) -> dict[str, float]:
    """Means over tasks."""
    return _means([row.tasks[task] for task in tasks])


def baseline(rows: Sequence[Efficiency]) -> Efficiency:
    """The row that the others are compared with: the first T5, or else the first."""
    return next((row for row in rows if row.architecture == "t5"), rows[0])


def ratios(row: Efficiency, base: Efficiency, tasks: Sequence[str]) -> dict[str, float]:
    """The geometric mean over tasks of each measure, divided by the baseline's."""
    pairs = [(row.tasks[task], base.tasks[task]) for task in tasks]
    quotients = {
        m.key: [own[m.key] / other[m.key] for own, other in pairs if own.get(m.key) and other.get(m.key)]
        for m in MEASURES
        if m.ratio
    }
    return {key: statistics.geometric_mean(values) for key, values in quotients.items() if values}


# Tables ----------------------------------------------------------------------------------------------------------


def summary_table(board: Leaderboard) -> Table:
    """A row per model: means over the tasks that all models did; no rows where there are none."""
    rows, tasks = board.efficiency, common_tasks(board.efficiency)
    return _table(["Model"], _shown(rows), [([row.name], mean_of(row, tasks)) for row in rows if tasks])


def ratio_table(board: Leaderboard) -> Table:
    """A row per model: how many times the baseline's; no rows where there is nothing to compare."""
    rows, tasks = board.efficiency, common_tasks(board.efficiency)
    if len(rows) < 2 or not tasks:
        return [], []
    by_row = [ratios(row, baseline(rows), tasks) for row in rows]
    measures = [measure for measure in MEASURES if any(measure.key in values for values in by_row)]
    cells = [
        [row.name, *(f"{values[m.key]:.2f}" if m.key in values else MISSING for m in measures)]
        for row, values in zip(rows, by_row, strict=True)
    ]
    return ["Model", *(measure.ratio for measure in measures)], cells


def task_table(board: Leaderboard) -> Table:
    """A row per task and model."""
    columns = [column.task for column in board.columns]
    tasks = dict.fromkeys([*columns, *(task for row in board.efficiency for task in row.tasks)])
    rows = [
        ([board.title(task), row.name], row.tasks[task])
        for task in tasks
        for row in board.efficiency
        if task in row.tasks
    ]
    return _table(["Task", "Model"], _shown(board.efficiency), rows)


def _shown(rows: Sequence[Efficiency]) -> list[Measure]:
    """The columns; an optional one where some run has another number than zero."""
    measured = {key for row in rows for values in row.tasks.values() for key, value in values.items() if value}
    return [measure for measure in MEASURES if not measure.optional or measure.key in measured]


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


def definitions(board: Leaderboard) -> str:
    """What the columns are."""
    sizes = sorted({size for row in board.efficiency for size in row.batch_sizes})
    batches = f" in batches of {' or '.join(map(str, sizes))}" if sizes else " in batches"
    return (
        "Params: all parameters. Active: those that inference computes with, without tables of which it looks up rows. "
        "FLOPs/ex: FLOPs of the matrix products of one answer to an example of mean length, all that is generated "
        "included. Train ex/s and tok/s: without the first update and those in which something was compiled (Startup), "
        "and without padding. MFU: FLOPs of training (three times a forward pass) per second, as a share of the "
        "machine's measured matrix rate, which is that of a large matrix product of the same precision. "
        f"Infer ex/s:{batches}. p50 and p95: the time to answer a single example. Memory: the most that the process "
        "had in use. FLOPs, latency and Infer ex/s are measured once for each task, model and recipe, with the model "
        "of the first seed."
    )


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
    blocks += [*map(escape, machine_words(board)), definitions(board)]
    headers, rows = ratio_table(board)
    if rows:
        name = escape(baseline(board.efficiency).name)
        blocks += [f"## Compared with {name}", markdown_table(headers, rows)]
        blocks.append(f"Each number divided by that of {name}: geometric mean over the same tasks.")
    blocks += ["## By task", markdown_table(*task_table(board))]
    return "\n\n".join(filter(None, blocks)) + "\n"


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
