"""Models side by side: differences with intervals, verdicts, costs; two of them, or all pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.comparison.general import InGeneral, in_general
from harness.comparison.observed import Observed, Reader, Unobserved, observed
from harness.errors import HarnessError, did_you_mean
from harness.leaderboard.board import Column, Leaderboard, Row
from harness.leaderboard.build import Runs
from harness.leaderboard.measures import MEASURES, mean_over, numbers_of
from harness.leaderboard.notes import finished
from harness.results.record import Record
from harness.statistics.comparison import Comparison, Interval, Verdict, compare
from harness.statistics.runs import mean_ratio
from harness.statistics.suites import Ranking, holm, improvement, rank, suite_average
from harness.task.metrics import ERRORS


@dataclass(frozen=True)
class Line:
    """Two models on a task or an average: fractions.

    Attributes:
        task: its name; "" for an average.
        metrics: the keys of the scores whose mean is compared.
        a, b: mean scores; None where there is none.
        comparison: of a with b, p corrected over the tasks; None where there is a ``reason`` why not.
    """

    title: str
    task: str
    metrics: tuple[str, ...]
    a: float | None
    b: float | None
    comparison: Comparison | None
    reason: str = ""

    @property
    def error(self) -> bool:
        """Whether it is an error, of which less is better."""
        return bool(self.metrics) and self.metrics[0] in ERRORS

    @property
    def key(self) -> str:
        """The task's name, or the average's title."""
        return self.task or self.title


@dataclass(frozen=True)
class Cost:
    """A measure of two models, and how many times b's is a's: geometric means over tasks."""

    key: str
    title: str
    a: float
    b: float
    ratio: Interval


@dataclass(frozen=True)
class Disagreement:
    """An example that two models answer differently.

    Attributes:
        texts: its fields; () where the data is not at hand.
        a, b: the answers of the runs of each model, and how many gave them.
    """

    task: str
    split: str
    index: int
    texts: tuple[str, ...]
    reference: str
    a: Mapping[str, int]
    b: Mapping[str, int]


@dataclass(frozen=True)
class ModelComparison:
    """Two models: ``a`` compared with ``b``.

    Attributes:
        seeds: the numbers of seeds of the runs behind it, of a and of b, from the least to the most.
        tasks, averages: what is compared.
        improvement: the probability that a run of a beats one of b, over tasks; None where nothing is compared.
        costs: what the runs took.
        notes: what to keep in mind.
        disagreements: the examples on which their errors differ most; None where nobody asked.
    """

    benchmark: str
    a: str
    b: str
    seeds: tuple[tuple[int, int], tuple[int, int]]
    tasks: tuple[Line, ...]
    averages: tuple[Line, ...]
    improvement: Interval | None
    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    disagreements: tuple[Disagreement, ...] | None = None

    @property
    def single(self) -> bool:
        """Whether all that is said is about checkpoints: one run of each."""
        return all(most <= 1 for _, most in self.seeds)


@dataclass(frozen=True)
class Comparisons:
    """All pairs of models of a benchmark.

    Attributes:
        rankings: by task, and by the titles of averages, where all pairs are compared.
        apart: by the same keys, the pairs that can be told apart, by Holm over all pairs.
        general: the claim about tasks in general, where it was asked for.
    """

    benchmark: str
    names: tuple[str, ...]
    pairs: Mapping[tuple[str, str], ModelComparison]
    rankings: Mapping[str, Ranking]
    apart: Mapping[str, frozenset[tuple[str, str]]]
    general: InGeneral | None = None


class Comparer:
    """Compares rows of a leaderboard; what is observed of a row is observed once.

    Args:
        board: without statistics.
        runs: the records of its rows.
        tasks: names of the tasks or suites to compare; empty: all.

    Raises:
        HarnessError: a task or suite that the benchmark does not have.
    """

    def __init__(self, board: Leaderboard, runs: Runs, tasks: Sequence[str] = ()):
        self.board, self.runs, self.reader = board, runs, Reader()
        self.columns = chosen_columns(board, tasks)
        self._seen: dict[tuple[str, str], Observed | str] = {}
        self._costs_of: dict[str, dict[str, dict[str, list[float]]]] = {}

    def row(self, name: str) -> Row:
        """The row of this name.

        Raises:
            HarnessError: there is none.
        """
        rows = {row.name: row for row in self.board.rows}
        alike = [row for row in self.board.rows if row.model == name]
        if name not in rows and len(alike) == 1:
            return alike[0]
        if name not in rows:
            hint = did_you_mean(name, rows)
            raise HarnessError(f"no model '{name}' in these results.{hint} There are: {', '.join(rows)}")
        return rows[name]

    def records(self, row: Row, column: Column) -> dict[int, Record]:
        """The finished runs that have all scores of a column, by seed."""
        score = row.cells[column.task].score
        own = finished(self.runs[row.folder, row.model].get(column.answered_by, {}))
        return {record.seed: record for record in own if score is not None and record.seed in score.seeds}

    def seen(self, row: Row, column: Column) -> Observed | str:
        """The runs of a row on a column, or why they cannot be observed."""
        if (row.name, column.task) not in self._seen:
            self._observe(row)
        return self._seen[row.name, column.task]

    def _observe(self, row: Row) -> None:
        """See all columns of a row, whose records are read once and then forgotten."""
        for column in sorted(self.columns, key=lambda column: column.answered_by):
            key = row.name, column.task
            try:
                self._seen[key] = observed(column, self.records(row, column), self.reader)
            except Unobserved as reason:
                self._seen[key] = str(reason)
        self.reader.forget()

    def compare(self, first: Row, second: Row) -> ModelComparison:
        """One row with another."""
        lines, pairs = [], dict[str, tuple[Observed, Observed]]()
        for column in self.columns:
            line, pair = self._line(column, first, second)
            lines.append(line)
            if pair:
                pairs[column.task] = pair
        compared = [line for line in lines if line.comparison]
        corrected = dict(
            zip([line.task for line in compared], holm([c for x in compared if (c := x.comparison)]), strict=True)
        )
        lines = [_with(line, corrected.get(line.task)) for line in lines]
        own = [column.task for column in self.columns if column.task in pairs and not column.diagnostic]
        errors = {column.task for column in self.columns if column.lower_is_better}
        counts = [sorted(len(pair[side].seeds) for pair in pairs.values()) or [0] for side in (0, 1)]
        return ModelComparison(
            benchmark=self.board.benchmark,
            a=first.name,
            b=second.name,
            seeds=((counts[0][0], counts[0][-1]), (counts[1][0], counts[1][-1])),
            tasks=tuple(lines),
            averages=tuple(self._averages(lines, [task for task in own if task not in errors])),
            improvement=_improvement([pairs[task] for task in own]),
            costs=tuple(self._costs(first, second)),
            notes=tuple(self._notes(first, second)),
        )

    def _line(self, column: Column, first: Row, second: Row) -> tuple[Line, tuple[Observed, Observed] | None]:
        scores = [score.mean if (score := row.cells[column.task].score) else None for row in (first, second)]
        metrics = tuple(dict.fromkeys(metric for _, metric in column.counted))
        line = Line(column.title, column.task, metrics, scores[0], scores[1], None)
        lacking = [row.name for row, score in zip((first, second), scores, strict=True) if score is None]
        if lacking:
            return _with(line, None, f"no score of {' and '.join(lacking)}"), None
        seen = [self.seen(row, column) for row in (first, second)]
        reasons = [reason for reason in seen if isinstance(reason, str)]
        if reasons:
            return _with(line, None, reasons[0]), None
        a, b = (one for one in seen if not isinstance(one, str))
        if a.examples != b.examples:
            return _with(line, None, "they answered different examples, or had other labels"), None
        try:
            return _with(line, compare(a.score, b.score)), (a, b)
        except HarnessError as error:
            return _with(line, None, str(error)), None

    def _averages(self, lines: Sequence[Line], own: Sequence[str]) -> list[Line]:
        """The averages of suites whose tasks are all compared; where there is none, that of the tasks that are."""
        of_task = {line.task: line for line in lines if line.comparison}
        wanted = {
            title: tasks
            for section in self.board.sections
            for title, tasks in section.averages.items()
            if all(task in of_task for task in tasks)
        }
        if not wanted and len(own) > 1:
            wanted = {f"average of {len(own)} tasks": tuple(own)}
        return [_average(title, [of_task[task] for task in tasks]) for title, tasks in wanted.items()]

    def _costs(self, first: Row, second: Row) -> list[Cost]:
        """Ratios over the tasks that both rows have."""
        costs, values = [], [self._measured(row) for row in (first, second)]
        for measure in (measure for measure in MEASURES if measure.ratio):
            sides = [of_row[measure.key] for of_row in values]
            shared = [task for task, of_task in sides[0].items() if of_task and sides[1][task]]
            if shared:
                means = [mean_over(measure, [mean_over(measure, side[task]) for task in shared]) for side in sides]
                ratio = mean_ratio([(sides[0][task], sides[1][task]) for task in shared])
                costs.append(Cost(measure.key, measure.title, means[0], means[1], ratio))
        return costs

    def _measured(self, row: Row) -> dict[str, dict[str, list[float]]]:
        """What the runs of a row took, by measure and task."""
        if row.name not in self._costs_of:
            runs = self.runs[row.folder, row.model]
            trained = dict.fromkeys(column.answered_by for column in self.columns)
            numbers = {task: [numbers_of(record) for record in finished(runs.get(task, {}))] for task in trained}
            self._costs_of[row.name] = {
                measure.key: {task: [run[measure.key] for run in of_task if run.get(measure.key)]
                              for task, of_task in numbers.items()}
                for measure in MEASURES
            }  # fmt: skip
        return self._costs_of[row.name]

    def _notes(self, first: Row, second: Row) -> list[str]:
        notes = [f"{row.name}: {note}" for row in (first, second) for note in row.notes]
        for column in self.columns:
            cells = [row.cells[column.task] for row in (first, second)]
            collapsed = [self.seen(row, column) for row in (first, second)]
            for row, seen in zip((first, second), collapsed, strict=True):
                if isinstance(seen, Observed) and seen.collapsed:
                    seeds = ", ".join(map(str, seen.collapsed))
                    notes.append(f"{column.title}: {row.name} collapsed to nearly one answer with seed {seeds}")
            data = [row.data.get(column.task) for row in (first, second)]
            if all(cell.done for cell in cells) and data[0] != data[1]:
                notes.append(f"{column.title}: trained on other data, chosen in another way, or with other caveats")
        machines = {
            machine
            for row in self.board.efficiency
            if row.name in (first.name, second.name)
            for machine in row.machines
        }
        if len(machines) > 1:
            notes.append("The costs are not from one machine, one precision and one set of libraries.")
        return list(dict.fromkeys(notes))


def compare_all(comparer: Comparer, friedman: bool = False) -> Comparisons:
    """All pairs of rows; ``friedman``: with a claim about tasks in general.

    Raises:
        HarnessError: there is only one row; see `in_general`.
    """
    rows = comparer.board.rows
    if len(rows) < 2:
        raise HarnessError(f"benchmark '{comparer.board.benchmark}' has one model here: there is nothing to compare")
    pairs = {(a.name, b.name): comparer.compare(a, b) for a, b in combinations(rows, 2)}
    rankings, apart = dict[str, Ranking](), dict[str, frozenset[tuple[str, str]]]()
    for key in dict.fromkeys(line.key for pair in pairs.values() for line in (*pair.averages, *pair.tasks)):
        of_pair = {names: comparison for names, pair in pairs.items() if (comparison := comparison_of(pair, key))}
        if len(of_pair) == len(pairs):
            rankings[key] = rank(of_pair)
            corrected = zip(of_pair, holm([*of_pair.values()]), strict=True)
            apart[key] = frozenset(names for names, comparison in corrected if comparison.verdict is not Verdict.TIED)
    general = in_general(comparer.board, comparer.columns) if friedman else None
    return Comparisons(comparer.board.benchmark, tuple(row.name for row in rows), pairs, rankings, apart, general)


def comparison_of(pair: ModelComparison, key: str) -> Comparison | None:
    """The comparison on a task or average."""
    return next((line.comparison for line in (*pair.averages, *pair.tasks) if line.key == key), None)


def chosen_columns(board: Leaderboard, names: Sequence[str]) -> list[Column]:
    """The columns of the named tasks and suites; of all without names.

    Raises:
        HarnessError: a name that is not in the benchmark.
    """
    every = dict.fromkeys(name for column in board.columns for name in (column.task, column.suite) if name)
    for name in names:
        if name not in every:
            hint = did_you_mean(name, every)
            raise HarnessError(f"no task or suite '{name}' in benchmark '{board.benchmark}'.{hint}")
    return [column for column in board.columns if not names or column.task in names or column.suite in names]


def _with(line: Line, comparison: Comparison | None, reason: str = "") -> Line:
    return Line(line.title, line.task, line.metrics, line.a, line.b, comparison, reason or line.reason)


def _average(title: str, lines: Sequence[Line]) -> Line:
    sides = [[line.a for line in lines if line.a is not None], [line.b for line in lines if line.b is not None]]
    means = [math.fsum(0.0 if math.isnan(score) else score for score in side) / len(side) for side in sides]
    comparisons = [comparison for line in lines if (comparison := line.comparison)]
    return Line(title, "", (), means[0], means[1], suite_average(comparisons))


def _improvement(pairs: Sequence[tuple[Observed, Observed]]) -> Interval | None:
    if not pairs:
        return None
    return improvement([a.score.gains for a, _ in pairs], [b.score.gains for _, b in pairs])
