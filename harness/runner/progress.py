"""The progress of a benchmark's runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from harness.format import duration, plural, rate, score_text
from harness.output import standard_output
from harness.results.record import Record

EVERY = 30.0
"""Least seconds between two lines about a run's steps, where there is no terminal; only logged steps are told."""


class Display:
    """Shows nothing: for the processes other than the main one, and for callers from Python."""

    def plan(self, total: int, done: int) -> None:
        """How many runs there are, and how many of them have a record already."""

    def message(self, text: str) -> None:
        """A line about what happens outside the runs."""

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        """A run begins its training; ``trial`` are its values in a sweep."""

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        """The training loss and the speed at a step; 0: not known."""

    def evaluated(self, step: int, scores: Mapping[str, float], selection_score: float) -> None:
        """The scores at a step."""

    def run_finished(self, record: Record) -> None:
        """A run has written its record."""

    def run_failed(self, record: Record) -> None:
        """A run failed; its record says why."""

    def run_stopped(self) -> None:
        """What does the run has ended before it, and another process takes it up."""

    def close(self) -> None:
        """Nothing more will be shown."""

    def lane(self) -> Display:
        """The same display for a process that does runs beside others; they are counted together."""
        return self


@dataclass
class Counts:
    """How many runs there are, how many had a record before, and how many were done since a time."""

    total: int = 0
    done: int = 0
    finished: int = 0
    started: float = 0.0


class Lines(Display):
    """A line for each message, each run that ends and, at most every 30 s, a step of a long one: for logs and pipes."""

    def __init__(self) -> None:
        self.output = standard_output()
        self.counts = Counts(started=time.monotonic())
        self.spoke = self.counts.started
        self.steps = 0
        self.title = ""

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, file=self.output, flush=True)

    def plan(self, total: int, done: int) -> None:
        counts = self.counts
        counts.total, counts.done, counts.finished, counts.started = total, done, 0, time.monotonic()
        self.say(f"{plural(total, 'run')}, {done} of them done" if done else plural(total, "run"))

    def message(self, text: str) -> None:
        self.say(text)

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        self.title = " · ".join(filter(None, (task, model, f"seed {seed}", trial)))
        self.steps = steps
        self.spoke = time.monotonic()

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        if time.monotonic() - self.spoke >= EVERY:
            self.say(f"{self.title}: step {step:,} of {self.steps:,}, loss {loss:.3f}")
            self.spoke = time.monotonic()

    def run_finished(self, record: Record) -> None:
        self.counts.finished += 1
        eta = f"; {self.eta()}" if self.eta() else ""
        self.say(f"{self.position()} {self.title}: {summary(record)}{eta}")

    def run_failed(self, record: Record) -> None:
        self.counts.finished += 1
        self.say(f"{self.position()} {self.title or record.task}: FAILED: {record.error}")

    def position(self) -> str:
        """``[3/18]``."""
        return f"[{self.counts.done + self.counts.finished}/{self.counts.total}]"

    def eta(self) -> str:
        """The time that the remaining runs will take at the mean pace so far."""
        counts = self.counts
        left = counts.total - counts.done - counts.finished
        if left <= 0 or not counts.finished:
            return ""
        return f"{duration((time.monotonic() - counts.started) / counts.finished * left)} to go"

    def lane(self) -> Display:
        own = copy.copy(self)  # the counts are shared
        own.title, own.steps = "", 0
        return own


def summary(record: Record) -> str:
    """Scores of the trained task, time and speed of a finished run, in one line; of a pruned one where it ended."""
    if record.pruned:
        return f"pruned at step {record.steps:,} in {duration(record.efficiency.total_seconds)}"
    texts = [score_text(scores) for scores in record.scores.get(record.task, {}).values()]
    efficiency = record.efficiency
    speed = efficiency.train_examples_per_second
    at_speed = "" if speed is None else f" ({rate(speed)} examples/s)"  # is measured later, where runs share a machine
    return f"{' / '.join(texts)} in {duration(efficiency.total_seconds)}{at_speed}"


class LiveView(Lines):
    """Two bars below the lines: all runs, with the time to go and the current run; its steps, loss and scores."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.bars = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            # The text takes what the other columns leave, so that a narrow terminal cuts nothing else.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=console,
            refresh_per_second=4,
            transient=True,
            expand=True,
        )
        self.all_runs = self.bars.add_task("", total=None)
        self.current: TaskID | None = None
        self.loss = self.scores = ""
        self.bars.start()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def lane(self) -> Display:
        own = cast(LiveView, super().lane())
        own.current = None
        return own

    def message(self, text: str) -> None:
        self.bars.update(self.all_runs, description=text)

    def plan(self, total: int, done: int) -> None:
        super().plan(total, done)
        self.bars.reset(self.all_runs, total=total, completed=done, description="")

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        super().run_started(task, model, seed, steps, trial)
        self.loss = self.scores = ""
        self.current = self.bars.add_task("", total=steps)
        self.message(" · ".join(filter(None, (self.eta(), self.title))))

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        speed = f" · {rate(examples_per_second)} examples/s" if examples_per_second else ""
        self.loss = f"loss {loss:.3f}{speed}"
        self._show(step)

    def evaluated(self, step: int, scores: Mapping[str, float], selection_score: float) -> None:
        self.scores = f"{score_text(scores)} at step {step}"
        self._show(step)

    def run_finished(self, record: Record) -> None:
        super().run_finished(record)
        self._advance()

    def run_failed(self, record: Record) -> None:
        super().run_failed(record)
        self._advance()

    def run_stopped(self) -> None:
        if self.current is not None:
            self.bars.remove_task(self.current)
            self.current = None

    def close(self) -> None:
        self.bars.stop()

    def _show(self, step: int) -> None:
        if self.current is not None:
            text = " · ".join(filter(None, (self.loss, self.scores)))
            self.bars.update(self.current, completed=step, description=text)

    def _advance(self) -> None:
        self.run_stopped()
        self.bars.update(self.all_runs, advance=1, description=self.eta())


def make_display() -> Display:
    """The display that fits where the output goes."""
    output = standard_output()
    return LiveView(Console(file=output)) if output.isatty() else Lines()
