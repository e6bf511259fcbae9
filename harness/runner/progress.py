"""What a person sees while runs go on: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from harness.results.record import Record


class Display:
    """Silent: the processes other than the main one, and callers from Python, see nothing."""

    def plan(self, total: int, done: int) -> None:
        """How many runs the benchmark has, and how many of them have a record already."""

    def message(self, text: str) -> None:
        """A line about what happens outside the runs."""

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        """A run begins its training; ``trial`` are its values in a sweep."""

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        """The loss and speed at a step."""

    def evaluated(self, step: int, scores: Mapping[str, float], selection_score: float) -> None:
        """The scores at a step."""

    def run_finished(self, record: Record) -> None:
        """A run left its record."""

    def run_failed(self, record: Record) -> None:
        """A run failed; its record says why."""

    def close(self) -> None:
        """Nothing more will be shown."""


def score_text(scores: Mapping[str, float]) -> str:
    """``accuracy 87.5, f1 91.2``."""
    return ", ".join(f"{name} {100 * value:.1f}" for name, value in scores.items())


def duration(seconds: float) -> str:
    """``4 s``, ``3:05`` or ``2:03:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


class Lines(Display):
    """One line for each event that matters; for logs and pipes."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.total = self.done = self.finished = 0
        self.title = ""

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, flush=True)

    def plan(self, total: int, done: int) -> None:
        self.total, self.done, self.finished = total, done, 0
        self.started = time.monotonic()
        runs = f"{total} run{'' if total == 1 else 's'}"
        self.say(f"{runs}, {done} of them done" if done else runs)

    def message(self, text: str) -> None:
        self.say(text)

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        self.title = " · ".join(filter(None, (task, model, f"seed {seed}", trial)))

    def run_finished(self, record: Record) -> None:
        self.finished += 1
        self.say(f"{self.place()} {self.title}: {summary(record)}{self.eta()}")

    def run_failed(self, record: Record) -> None:
        self.finished += 1
        self.say(f"{self.place()} {self.title or record.task}: FAILED: {record.error}")

    def place(self) -> str:
        """``[3/18]``."""
        return f"[{self.done + self.finished}/{self.total}]"

    def eta(self) -> str:
        """The time that the remaining runs will take at the mean pace so far."""
        left = self.total - self.done - self.finished
        if not left or not self.finished:
            return ""
        return f"; {duration((time.monotonic() - self.started) / self.finished * left)} to go"


def summary(record: Record) -> str:
    """Scores of the trained task, time and speed of a finished run, in one line."""
    texts = [score_text(values) for values in record.scores.get(record.task, {}).values()]
    seconds, speed = record.efficiency.total_seconds or 0.0, record.efficiency.train_examples_per_second or 0.0
    return f"{' / '.join(texts)} in {duration(seconds)} ({speed:,.0f} examples/s)"


class LiveView(Lines):
    """A panel that stays at the bottom: all runs with the time to go, and the current run's step, loss and scores."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.all_runs = Progress(
            TextColumn("[bold]runs"),
            BarColumn(40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
        )
        self.one_run = Progress(
            TextColumn("[cyan]{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self.overall: TaskID | None = None
        self.current: TaskID | None = None
        self.state = {"loss": "", "speed": "", "score": ""}
        self.note = Text("", style="dim")
        self.live = Live(
            Group(self.note, self.one_run, self.all_runs), console=console, refresh_per_second=4, transient=True
        )
        self.live.start()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def message(self, text: str) -> None:
        self.note.plain = text

    def plan(self, total: int, done: int) -> None:
        self.note.plain = ""
        super().plan(total, done)
        if self.overall is not None:
            self.all_runs.remove_task(self.overall)
        self.overall = self.all_runs.add_task("runs", total=total, completed=done, eta="")

    def run_started(self, task: str, model: str, seed: int, steps: int, trial: str = "") -> None:
        self.title = " · ".join(filter(None, (task, model, f"seed {seed}", trial)))
        self.state = {"loss": "", "speed": "", "score": ""}
        self.current = self.one_run.add_task(self.title, total=steps, state="")

    def progress(self, step: int, loss: float, examples_per_second: float) -> None:
        self.state |= {"loss": f"loss {loss:.3f}", "speed": f"{examples_per_second:,.0f} examples/s"}
        self._show(step)

    def evaluated(self, step: int, scores: Mapping[str, float], selection_score: float) -> None:
        self.state["score"] = f"{score_text(scores)} at step {step}"
        self._show(step)

    def run_finished(self, record: Record) -> None:
        super().run_finished(record)
        self._advance()

    def run_failed(self, record: Record) -> None:
        super().run_failed(record)
        self._advance()

    def close(self) -> None:
        self.live.stop()

    def _show(self, step: int) -> None:
        if self.current is not None:
            text = " · ".join(part for part in self.state.values() if part)
            self.one_run.update(self.current, completed=step, state=text)

    def _advance(self) -> None:
        if self.current is not None:
            self.one_run.remove_task(self.current)
            self.current = None
        if self.overall is not None:
            self.all_runs.update(self.overall, advance=1, eta=self.eta().removeprefix("; "))


def make_display() -> Display:
    """The display that fits where the output goes."""
    if sys.stdout.isatty():
        return LiveView(Console())
    return Lines()
