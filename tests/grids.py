"""Help for the tests of workers: a small grid of runs, and whether another way of doing it leaves the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from running import Bench, content, tiny

from harness.results.live import under_way
from harness.results.store import Store

RECIPE = {"max_steps": 12, "eval_every": 4}


def grid(folder: Path, cache: Path) -> Bench:
    """Six runs of two models, two of which start from others."""
    bench = Bench(folder, cache)
    bench.models = {name: tiny(name, dropout=0.1) for name in ("bert", "t5")}
    bench.write(RECIPE, tasks=["mnli", "rte", "cola"], models=["bert", "t5"], init_from={"rte": "mnli"})
    return bench


def searches(folder: Path, cache: Path) -> Bench:
    """A search of nine recipes in three rounds, of which some are pruned, and a second seed of the best one."""
    bench = Bench(folder, cache)
    recipe = {"max_steps": 20, "evaluations": 10, "learning_rate": 1e-3}
    sweep = {"trials": 9, "learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}
    bench.write(recipe, tasks=["rte"], models=["bert"], seeds=[1, 2], sweep=sweep)
    return bench


def elsewhere(bench: Bench, cache: Path, name: str) -> Path:
    """Another results folder for the same benchmark."""
    results = bench.folder / name
    shutil.copytree(cache / "tokenizers", results / ".cache" / "tokenizers")
    return results


def check_bytes(bench: Bench, results: Path, measured: bool = True, models: Sequence[str] = ("bert", "t5")) -> None:
    """The records are those of the benchmark's own results folder, but for efficiency and logs; no state is left.

    Drafts of killed processes may be: the next command removes them; and, until they are measured, weights that wait.
    """
    ours, theirs = content(results / "b" / "runs"), content(bench.results / "b" / "runs")
    theirs = {name: value for name, value in theirs.items() if Path(name).parts[1] in models}
    assert len(theirs) >= len(models) * 3 * 4 and ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    hidden = (".",) if measured else (".", "answers-")
    assert [path.name for path in (results / ".work").iterdir() if not path.name.startswith(hidden)] == []


def check_searched(bench: Bench, results: Path) -> None:
    """The trials are those of the search's own results folder, and so is what was chosen; some were pruned."""
    expected = content(bench.results / "b" / "runs")
    assert content(results / "b" / "runs") == expected and len(expected) >= 10 * 4
    (ours,), (theirs,) = Store(results, "b").choices(), bench.store.choices()
    assert ours.winner.values == theirs.winner.values
    statuses = [trial.record.status for trial in ours.trials if trial.record]
    assert len(statuses) == 9 and "pruned" in statuses


def signal_runs(results: Path, number: int = signal.SIGKILL, most: int = 1) -> list[int]:
    """Send a signal to processes that do a run and have evaluated it; gives their ids."""
    sent = list[int]()
    for fingerprint, run in under_way(results / ".work").items():
        for lease in (results / ".work" / fingerprint).glob("lease.*"):
            process = int(lease.name.split(".")[2])
            if len(sent) < most and run.scores and process != os.getpid():
                os.kill(process, number)
                sent.append(process)
    return sent
