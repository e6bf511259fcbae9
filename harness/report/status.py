"""What a results folder is doing: runs that are done, under way, failed and waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from harness.format import duration, plural, score_text
from harness.planning.estimate import Rates, forecast, observed
from harness.planning.work import Work, read_plan
from harness.results.live import UnderWay, live_log, under_way
from harness.results.manifest import Key
from harness.results.record import Record
from harness.results.store import Store, benchmarks_in, results_folder

SILENT = 60.0
"""Seconds without a sign of life from which on a holder is said to be silent."""


@dataclass
class BenchmarkStatus:
    """The runs of a benchmark by what they are; a run that is under way is neither failed nor waiting."""

    name: str
    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    running: list[UnderWay] = field(default_factory=list)
    stopped: list[UnderWay] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    plan: Sequence[Work] = ()
    """What the runs compute, as the last command that does them says."""

    @property
    def finished(self) -> bool:
        """Whether nothing is under way or waits."""
        return not (self.running or self.stopped or self.waiting)

    @property
    def seconds_left(self) -> float | None:
        """Until all is done, as fast as the runs that are; None where nothing tells.

        The more runs are done, the better it is: see `harness.planning.estimate`.
        """
        times = [record.efficiency.total_seconds for record in self.done]
        known = [seconds for seconds in times if seconds]
        if not known or self.finished:
            return None
        at_once = max(record.efficiency.at_once or 1 for record in self.done)
        mean = sum(known) / len(known)
        now = [mean if run.seconds_left is None else run.seconds_left for run in self.running]
        begun = {run.about.title for run in self.stopped}
        titles = begun | set(self.waiting)
        left = forecast(
            [work for work in self.plan if title(work.key) in titles], Rates(observed(self.done, self.plan))
        )
        unknown = len(titles) - len(left.works) + left.unknown
        later = left.device_seconds + unknown * mean / at_once
        if not now:
            return later
        return sum(now) / len(now) + later / max(1.0, len(now) / at_once)


def statuses(results: Path, benchmark: str | None = None) -> list[BenchmarkStatus]:
    """The status of each benchmark of a results folder, or of one of them, as its last command asked for it.

    Raises:
        HarnessError: it is not there, or cannot be read.
    """
    results = results_folder(results)
    names = [name for name in benchmarks_in(results) if benchmark in (None, name)]
    begun = under_way(results / ".work")
    return [_status(Store(results, name), begun) for name in names]


def _status(store: Store, begun: Mapping[str, UnderWay]) -> BenchmarkStatus:
    status = BenchmarkStatus(store.benchmark, plan=read_plan(store.folder))
    for fingerprint, key, record in store.asked_for():
        run = begun.get(fingerprint or "")
        if record is not None and record.finished:
            status.done.append(record)
        elif run is not None:
            (status.running if run.holder else status.stopped).append(run)
        elif record is not None:
            status.failed.append(record)
        else:
            status.waiting.append(title(key))
    return status


def title(key: Key) -> str:
    """``rte · bert-base · seed 1``, as `About.title` has it."""
    task, model, seed = key
    return f"{task} · {model} · seed {seed}"


def status_text(benchmarks: Sequence[BenchmarkStatus], most: int = 10) -> str:
    """The statuses as a text; of the waiting runs at most so many are named."""
    return "\n\n".join(_benchmark_text(status, most) for status in benchmarks)


def _benchmark_text(status: BenchmarkStatus, most: int) -> str:
    names = ("done", "running", "stopped", "failed", "waiting")
    counts = {name: len(getattr(status, name)) for name in names}
    total = sum(counts.values())
    parts = [f"{count} {name}" for name, count in counts.items() if count or name == "done"]
    seconds = status.seconds_left
    left = "" if seconds is None else f"; about {duration(seconds)} {'to go' if status.running else 'of work left'}"
    lines = [f"{status.name}: {plural(total, 'run')}: {', '.join(parts)}{left}"]
    if status.running:
        rows = [_row(run) for run in status.running]
        lines += ["", tabulate(rows, ["running", "step", "loss", "last scores", "since", "to go", "by"], "simple")]
    lines += [f"stopped: {run.about.title}, step {run.step:,} of {run.about.steps:,}" for run in status.stopped]
    lines += [f"failed: {r.task} · {r.model} · seed {r.seed}: {r.error}" for r in status.failed]
    lines += [f"waiting: {title}" for title in status.waiting[:most]]
    if len(status.waiting) > most:
        lines.append(f"... and {len(status.waiting) - most} more")
    return "\n".join(lines)


def _row(run: UnderWay) -> list[str]:
    silent = f", silent for {duration(run.silent)}" if run.silent > SILENT else ""
    return [
        run.about.title,
        f"{run.step:,} of {run.about.steps:,}",
        "" if run.loss is None else f"{run.loss:.3f}",
        " / ".join(score_text(scores) for scores in run.scores.values()),
        duration(run.seconds),
        "" if run.seconds_left is None else duration(run.seconds_left),
        run.holder + silent,
    ]


def running_text(results: Path, benchmark: str) -> str:
    """A line for each run of a benchmark that is under way; "" where none is."""
    runs = [run for run in under_way(results / ".work").values() if run.about.benchmark == benchmark and run.holder]
    return "\n".join(f"running: {run.about.title}, step {run.step:,} of {run.about.steps:,}" for run in runs)


def begun_text(folder: Path) -> str:
    """A run that is under way, by its checkpoint directory: where it stands, and its log; "" where none is there."""
    run = under_way(folder.parent).get(folder.name)
    if run is None:
        return ""
    state = "running" if run.holder else "stopped"
    table = tabulate([_row(run)], [state, "step", "loss", "last scores", "since", "to go", "by"], "simple")
    return "\n".join([table, "", *live_log(folder)])
