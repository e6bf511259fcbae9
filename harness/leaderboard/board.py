"""A leaderboard as data: rows of models, columns of tasks, values over seeds, averages, costs, efficiency, notes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.format import plural
from harness.results.manifest import Choice
from harness.results.record import Caveat
from harness.task.metrics import ERRORS
from harness.task.task import MEAN

if TYPE_CHECKING:  # loads scipy, which takes a while
    from harness.statistics.comparison import Comparison
    from harness.statistics.suites import Ranking


@dataclass(frozen=True)
class Value:
    """One number for each seed (fractions; NaN where undefined)."""

    seeds: Mapping[int, float]

    @property
    def n(self) -> int:
        return len(self.seeds)

    @property
    def undefined(self) -> tuple[int, ...]:
        """The seeds whose value is NaN."""
        return tuple(seed for seed, value in self.seeds.items() if math.isnan(value))

    @property
    def mean(self) -> float:
        """The mean over seeds, where NaN counts 0; NaN where every value is."""
        return math.nan if len(self.undefined) == self.n else statistics.fmean(self._counted)

    @property
    def std(self) -> float | None:
        """The sample standard deviation (n - 1); None with one seed or no defined value."""
        return None if self.n < 2 or math.isnan(self.mean) else statistics.stdev(self._counted)

    @property
    def _counted(self) -> list[float]:
        return [0.0 if math.isnan(value) else value for value in self.seeds.values()]


@dataclass(frozen=True)
class Cell:
    """What one row has of one task or average.

    Args:
        planned: the seeds that were asked for.
        parts: a value for each part of the column; None where there is none.
        score: what counts of them (`Column.score`), over the seeds that have it all.
        last: the parts by the last checkpoints; `parts` are by the best ones.
        failed: whether a run behind it failed.
        notes: footnotes.
        undefined_seeds: the seeds of which a part that counts is NaN.
        intervals, interval: of the parts and of the score; none where there are no statistics, of all or of a part.
        collapsed: the seeds whose runs collapsed.
        metrics, scored: of the parts, and of the score; none of an average.
    """

    planned: tuple[int, ...]
    parts: tuple[Value | None, ...]
    score: Value | None
    failed: bool = False
    last: tuple[Value | None, ...] = ()
    notes: tuple[str, ...] = ()
    undefined_seeds: tuple[int, ...] = ()
    intervals: tuple[Comparison | None, ...] = ()
    interval: Comparison | None = None
    collapsed: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()
    scored: str = ""

    @property
    def done(self) -> int:
        """How many seeds have a number."""
        return max((value.n for value in self.parts if value), default=0)

    @property
    def undefined(self) -> bool:
        """Whether every number that there is is NaN."""
        return all(value is None or math.isnan(value.mean) for value in self.parts)

    @property
    def status(self) -> str:
        """``done``, ``partial``, ``failed`` or ``missing``."""
        if self.done:
            complete = self.score is not None and self.score.n == len(self.planned)
            return "done" if complete else "partial"
        return "failed" if self.failed else "missing"


def mean_value(values: Iterable[Value | None]) -> Value | None:
    """The mean of several values for each seed that has them all, where NaN counts 0; None where no seed has."""
    by_value = [value.seeds if value else {} for value in values]
    complete = [seed for seed in by_value[0] if all(seed in seeds for seeds in by_value)]
    means = {seed: statistics.fmean(_defined(seeds[seed]) for seeds in by_value) for seed in complete}
    return Value(means) if means else None


def _defined(score: float) -> float:
    return 0.0 if math.isnan(score) else score


def average(cells: Mapping[str, Cell], tasks: Sequence[str]) -> Cell:
    """The mean over tasks for each seed that has them all; no number where none has."""
    planned = tuple(sorted({seed for task in tasks for seed in cells[task].planned}))
    value = mean_value(cells[task].score for task in tasks)
    seeds = set(value.seeds) if value else set()
    undefined = any(seeds.intersection(cells[task].undefined_seeds) for task in tasks)
    notes = ("an undefined correlation in it counts 0",) if undefined else ()
    return Cell(planned=planned, parts=(value,), score=value, notes=notes)


@dataclass(frozen=True)
class Column:
    """A task as tables show it: ``parts`` are its (split, metric) scores, ``answered_by`` the task that is trained.

    ``selection`` is the metric that counts in averages, ``mean`` where all do; ``test_parts`` are the scores of its
    test splits.
    """

    task: str
    title: str
    suite: str
    parts: tuple[tuple[str, str], ...]
    answered_by: str
    selection: str = MEAN
    test_parts: tuple[tuple[str, str], ...] = ()

    @property
    def counted(self) -> tuple[tuple[str, str], ...]:
        """The parts that count."""
        return tuple(part for part in self.parts if self.selection in (MEAN, part[1])) or self.parts

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric of each part."""
        return tuple(metric for _, metric in self.parts)

    @property
    def lower_is_better(self) -> bool:
        """Whether what counts is an error."""
        return bool(self.counted) and all(metric in ERRORS for _, metric in self.counted)

    def score(self, values: Sequence[Value | None]) -> Value | None:
        """What counts of the values of its parts: the mean of those of the selection metric."""
        return mean_value(self._counting(values))

    def undefined_seeds(self, values: Sequence[Value | None]) -> tuple[int, ...]:
        """The seeds of which a value that counts is NaN."""
        return tuple({seed: None for value in self._counting(values) if value for seed in value.undefined})

    def _counting(self, values: Sequence[Value | None]) -> list[Value | None]:
        return [value for value, part in zip(values, self.parts, strict=True) if part in self.counted]

    @property
    def diagnostic(self) -> bool:
        return self.answered_by != self.task


@dataclass(frozen=True)
class Section:
    """The columns of one suite, and its averages: the tasks behind each, by title.

    ``lacking`` are the averages that have no column: the tasks that they would need beside these.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    averages: Mapping[str, tuple[str, ...]]
    lacking: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Cost:
    """What the finished runs of a row took; None where it was not measured.

    Args:
        runs: how many.
        trained, total: parameters.
        train_seconds_mean, train_seconds_total: of a run, and of all.
        invalid: the share of invalid predictions by task; None where nothing is generated.
        train_rate: examples per second, the mean over the tasks that all rows have finished.
        inference_rates: likewise, by the examples in a batch.
    """

    runs: int
    trained: int | None
    total: int | None
    train_seconds_mean: float | None
    train_seconds_total: float | None
    invalid: Mapping[str, float] | None
    train_rate: float | None = None
    inference_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def invalid_mean(self) -> float | None:
        """The mean share of invalid predictions over tasks."""
        return sum(self.invalid.values()) / len(self.invalid) if self.invalid else None


@dataclass(frozen=True)
class Row:
    """A model; or, with a ``source``, published numbers. Cells with equal ``data`` can be compared.

    ``evaluations`` are the numbers of evaluations that chose its checkpoints, each once.
    """

    model: str
    cells: Mapping[str, Cell]
    averages: Mapping[str, Cell]
    notes: tuple[str, ...] = ()
    folder: str = ""
    architecture: str = ""
    seeds: tuple[int, ...] = ()
    evaluations: tuple[int, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    cost: Cost | None = None
    signature: str = ""
    source: str = ""
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.model} ({self.folder})" if self.folder else self.model

    def cell(self, key: str) -> Cell:
        """The cell of a task name or of an average's title."""
        return self.cells[key] if key in self.cells else self.averages[key]


@dataclass(frozen=True)
class Efficiency:
    """What the finished runs of a row took: ``tasks[task][measure]``, a mean over seeds, in the units of records.

    Args:
        name: the row's.
        runs: the same of each seed, ``runs[task][seed][measure]``.
        machines: where and how they were made, in words; one unless runs differ.
    """

    name: str
    architecture: str
    tasks: Mapping[str, Mapping[str, float]]
    runs: Mapping[str, Mapping[int, Mapping[str, float]]]
    machines: tuple[str, ...] = ()


SCORE_COLUMNS = ("model", "task", "split", "seed", "metric", "value")


@dataclass(frozen=True)
class Leaderboard:
    """All that the tables of a benchmark show.

    Args:
        benchmark: its name.
        sections: the columns, suite by suite.
        rows: the models.
        baselines: what one constant answer scores, chosen by the labels of the training data: a row, or one for each
            folder where they differ.
        references: published rows.
        tests: the same of the test splits that have labels and were predicted; their scores are in no average.
        caveats: those that hold for every number.
        evaluations: how many evaluations chose the checkpoints, where that is the same for all rows.
        sources: where the data came from: ``hub``, ``files``, ``sample``.
        warnings: about records that could not be read.
        sweeps: what sweeps tried and chose, by the names of rows.
        efficiency: what the runs of the rows took.
        spread: what stands behind a mean: ``std``, or ``ci``, the 95 % interval.
        rankings: of the rows by their names, in the tasks and averages where they can be compared.
        pairs: likewise the comparisons of every pair of rows, p corrected by Holm over the pairs of a task or average.
        labels: the content of labels.md; empty where no task is scored label by label.
        markdown: the content of leaderboard.md.
        text: plain tables for a terminal, at most 120 characters wide.
    """

    benchmark: str
    sections: tuple[Section, ...]
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...] = ()
    references: tuple[Row, ...] = ()
    tests: Leaderboard | None = None
    caveats: tuple[Caveat, ...] = ()
    evaluations: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sweeps: tuple[tuple[str, Choice], ...] = ()
    efficiency: tuple[Efficiency, ...] = ()
    spread: str = "std"
    rankings: Mapping[str, Ranking] = field(default_factory=dict)
    pairs: Mapping[str, Mapping[tuple[str, str], Comparison]] = field(default_factory=dict, repr=False)
    labels: str = field(default="", repr=False)
    markdown: str = field(default="", repr=False)
    text: str = field(default="", repr=False)

    def __repr__(self) -> str:
        size = f"{plural(len(self.rows), 'model')} x {plural(len(self.columns), 'task')}"
        return f"Leaderboard '{self.benchmark}': {size}\n\n{self.text}".rstrip()

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.markdown

    def _repr_html_(self) -> str:
        """What a notebook shows that prefers HTML; what stands in it as HTML is shown as text."""
        from markdown_it import MarkdownIt

        return MarkdownIt("js-default").render(self.markdown)

    def to_dataframe(self) -> Any:
        """The `scores` as a `pandas.DataFrame`.

        Raises:
            HarnessError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise HarnessError("to_dataframe needs pandas: pip install pandas") from None
        frame = pandas.DataFrame(self.scores(), columns=list(SCORE_COLUMNS))
        return frame.astype({"seed": "Int64"})

    def scores(self) -> Iterator[dict[str, Any]]:
        """A row for each score of each run, with the keys of `SCORE_COLUMNS`.

        Values are fractions, of validation and of test splits. The baseline has no seed.
        """
        for shown in filter(None, (self, self.tests)):
            for row in (*shown.rows, *shown.baselines):
                for column in shown.columns:
                    for (split, metric), value in zip(column.parts, row.cells[column.task].parts, strict=True):
                        for seed, score in value.seeds.items() if value else ():
                            number = None if row in shown.baselines else seed
                            values = (row.name, column.task, split, number, metric, score)
                            yield dict(zip(SCORE_COLUMNS, values, strict=True))

    @property
    def columns(self) -> list[Column]:
        """The tasks of all suites."""
        return [column for section in self.sections for column in section.columns]

    @property
    def generates(self) -> bool:
        """Whether the predictions of some model are generated text."""
        return any(row.cost is not None and row.cost.invalid is not None for row in self.rows)

    def rows_like(self, row: Row) -> list[Row]:
        """The rows of the same model or baseline, in the same folder."""
        return [own for own in (*self.rows, *self.baselines) if own.name == row.name]

    def title(self, task: str) -> str:
        """A task's name as tables show it."""
        return next((column.title for column in self.columns if column.task == task), task)

    def best(self, key: str) -> set[int]:
        """The rows that are best in a task or average: the tie group, unless all rows with a number are in it."""
        ranking = self.rankings.get(key)
        if ranking is None or len(ranking.tied) == len(ranking.ranks):
            return set()
        return {i for i, row in enumerate(self.rows) if row.name in ranking.tied}

    def comparable(self, key: str) -> list[Row]:
        """The rows with a number in a task or average that can be compared.

        None where fewer than two have one, one of them lacks seeds, or they differ in their caveats or in the data
        behind the column.
        """
        rows = [row for row in self.rows if row.cell(key).done]
        same = len({row.data.get(key) for row in rows}) == 1
        if len(rows) < 2 or not same or any(row.cell(key).status != "done" for row in rows):
            return []
        return [row for row in rows if not row.cell(key).undefined]
