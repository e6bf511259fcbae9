"""What models take, as numbers: measures of runs, their means over seeds and tasks, and the ratios of models."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from harness.format import count, flops, memory, milliseconds, percent, plural, rate, short
from harness.leaderboard.board import Efficiency
from harness.results.fields import BatchSize
from harness.results.record import Record

if TYPE_CHECKING:
    from harness.statistics.runs import Interval

SIZES: tuple[str, ...] = get_args(BatchSize)
"""Examples in the batches of which inference is measured."""

Numbers = Mapping[str, float]
"""By the key of a measure."""


@dataclass(frozen=True)
class Measure:
    """A column: the key of its numbers, its title, how they look, and its title in the table of ratios ("": none).

    An ``optional`` one is shown where some run has it. An ``inference`` one stands in the table of inference, a
    ``general`` one in the first. Its means are geometric, unless it may be zero.
    """

    key: str
    title: str
    show: Callable[[float], str]
    ratio: str = ""
    optional: bool = False
    general: bool = True
    inference: bool = False
    geometric: bool = True


def inference_rate(size: str) -> str:
    """The key of the examples per second in batches of a size."""
    return f"inference_rate_{size}"


def _share(share: float) -> str:
    return f"{percent(share)} %"


MEASURES = (
    Measure("parameters_total", "Params", count, "Params"),
    Measure("parameters_active", "Active", count, "Active"),
    Measure("flops_per_example", "FLOPs/ex", flops, "FLOPs/ex"),
    Measure("train_examples_per_second", "Train ex/s", rate, "Train ex/s"),
    Measure("train_tokens_per_second", "Train tok/s", rate),
    Measure("train_share_of_matrix_rate", "Of matrix rate", _share),
    Measure("mfu", "MFU", _share, optional=True),
    *(
        Measure(inference_rate(size), title, rate, title, inference=True, general=size in ("1", "32"))
        for size, title in ((size, f"Infer ex/s @{size}") for size in SIZES)
    ),
    Measure("tokenisation_examples_per_second", "Tokenise ex/s", rate, inference=True, general=False),
    *(
        Measure(f"{inference_rate(size)}_with_tokenisation", f"Both @{size}", rate, inference=True, general=False)
        for size in SIZES
    ),
    Measure("latency_p50_seconds", "p50 ms", milliseconds, "Latency p50", inference=True, general=False),
    Measure("latency_p95_seconds", "p95 ms", milliseconds, inference=True, general=False),
    Measure("latency_examples", "Answers", "{:.0f}".format, inference=True, general=False, geometric=False),
    Measure("peak_memory_bytes", "Memory", memory, "Memory"),
    Measure("peak_device_bytes", "GPU memory", memory, "GPU memory", optional=True),
    Measure("startup_seconds", "Startup s", "{:.2f}".format, geometric=False),
    Measure("compile_seconds", "Compile s", short, optional=True, geometric=False),
    Measure("energy_joules", "Wh/run", lambda joules: short(joules / 3600), "Energy", optional=True),
)


# From records ----------------------------------------------------------------------------------------------------


def efficiency_of(name: str, architecture: str, runs: Mapping[str, Mapping[int, Record | None]]) -> Efficiency | None:
    """What the finished runs of a row took, by task; None where there is no finished run.

    Args:
        name: the row's.
        runs: its records by task and seed.
    """
    finished = {
        task: {seed: record for seed, record in of_seed.items() if record and record.finished}
        for task, of_seed in runs.items()
    }
    numbers = {
        task: {seed: numbers_of(record) for seed, record in of_seed.items()}
        for task, of_seed in finished.items()
        if of_seed
    }
    if not numbers:
        return None
    tasks = {task: _means(list(of_seed.values())) for task, of_seed in numbers.items()}
    machines = dict.fromkeys(filter(None, (_machine(r) for of_seed in finished.values() for r in of_seed.values())))
    return Efficiency(name, architecture, tasks, numbers, tuple(machines))


def numbers_of(record: Record) -> Numbers:
    """The measures that a record has."""
    measured = {key: value for key, value in record.efficiency if value is not None}
    numbers = {**measured, **{f"parameters_{key}": value for key, value in record.parameters.items()}}
    tokenisation = record.efficiency.tokenisation_examples_per_second
    for size, of_size in (record.efficiency.inference_rates or {}).items():
        if of_size:
            numbers[inference_rate(size)] = of_size
            if tokenisation:
                numbers[f"{inference_rate(size)}_with_tokenisation"] = 1 / (1 / of_size + 1 / tokenisation)
    return {
        measure.key: float(numbers[measure.key])
        for measure in MEASURES
        if measure.key in numbers and (numbers[measure.key] > 0 or not measure.geometric)
    }


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


# Means and ratios ------------------------------------------------------------------------------------------------


def mean_over(measure: Measure, values: Sequence[float]) -> float:
    """The mean over seeds or tasks."""
    if measure.geometric and min(values) < max(values):
        return math.exp(statistics.fmean(map(math.log, values)))
    return statistics.fmean(values)


def _means(rows: Sequence[Numbers]) -> Numbers:
    """The mean of each measure, over the rows that have it."""
    values = {measure: [row[measure.key] for row in rows if measure.key in row] for measure in MEASURES}
    return {measure.key: mean_over(measure, numbers) for measure, numbers in values.items() if numbers}


def common_tasks(rows: Sequence[Efficiency]) -> list[str]:
    """The tasks that all rows have, in their order."""
    return [task for task in rows[0].tasks if all(task in row.tasks for row in rows)] if rows else []


def means(rows: Sequence[Efficiency]) -> list[Numbers]:
    """For each row the mean of each measure over tasks, the same tasks for all rows that have the measure."""
    tasks = {measure.key: _tasks_with(measure.key, rows) for measure in MEASURES}
    return [
        {
            measure.key: mean_over(measure, [row.tasks[task][measure.key] for task in tasks[measure.key]])
            for measure in MEASURES
            if tasks[measure.key] and _has(row, measure.key, tasks[measure.key])
        }
        for row in rows
    ]


def _tasks_with(key: str, rows: Sequence[Efficiency]) -> list[str]:
    """The common tasks of which all rows have a measure, but for rows that have it of none."""
    tasks = common_tasks(rows)
    measured = [row for row in rows if any(key in row.tasks[task] for task in tasks)]
    return [task for task in tasks if measured and all(key in row.tasks[task] for row in measured)]


def _has(row: Efficiency, key: str, tasks: Iterable[str]) -> bool:
    return all(key in row.tasks[task] for task in tasks)


def baseline(rows: Sequence[Efficiency]) -> Efficiency:
    """The row that the others are compared with: the first T5, or else the first."""
    return next((row for row in rows if row.architecture == "t5"), rows[0])


@dataclass(frozen=True)
class Ratio:
    """How many times the baseline's mean; ``low`` and ``high`` are its 95 % interval over seeds, if there is one."""

    estimate: float
    low: float | None = None
    high: float | None = None


def ratios(rows: Sequence[Efficiency]) -> list[dict[str, Ratio]]:
    """For each row, its mean of each measure divided by the baseline's."""
    base, of_rows = baseline(rows), means(rows)
    tasks = {measure.key: _tasks_with(measure.key, rows) for measure in MEASURES}
    of_base = of_rows[rows.index(base)]
    return [
        {
            m.key: _ratio(row, base, m.key, tasks[m.key], numbers[m.key] / of_base[m.key])
            for m in MEASURES
            if m.ratio and m.key in numbers and m.key in of_base
        }
        for row, numbers in zip(rows, of_rows, strict=True)
    ]


def _ratio(row: Efficiency, base: Efficiency, key: str, tasks: Sequence[str], estimate: float) -> Ratio:
    """With an interval where both rows have several seeds of each task, and the measure is not the same in all."""
    pairs = [
        tuple([run[key] for run in side.runs[task].values() if key in run] for side in (row, base)) for task in tasks
    ]
    if row is base or any(len(repetitions) < 2 for pair in pairs for repetitions in pair):
        return Ratio(estimate)
    interval = _interval(tuple((tuple(own), tuple(other)) for own, other in pairs))
    return Ratio(estimate, interval.low, interval.high) if interval.low < interval.high else Ratio(estimate)


@functools.lru_cache(maxsize=5_000)
def _interval(pairs: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]) -> Interval:
    """`mean_ratio`, which every form of the tables asks for."""
    from harness.statistics.runs import mean_ratio  # scipy takes a while to load

    return mean_ratio(pairs)
