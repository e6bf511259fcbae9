"""What the command line does, from Python: `run`, `report`, `show` and `submit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, did_you_mean

if TYPE_CHECKING:
    from harness.config.benchmark import BenchmarkFile
    from harness.config.schema import BenchmarkSpec
    from harness.report.leaderboard import Leaderboard
    from harness.results.store import Store
    from harness.submission.write import Submission

INTERVALS = ("auto", "std", "ci")
"""What tables show behind a mean: the standard deviation over seeds, the 95 % interval, or this from three seeds on."""


def read(
    file: str | Path = "benchmarks.yaml",
    benchmarks: str | Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    settings: Mapping[str, str] | None = None,
    interval: str | None = None,
) -> tuple[BenchmarkFile, list[BenchmarkSpec]]:
    """A benchmark file, and what is asked for of its benchmarks. The arguments are those of `run`.

    Raises:
        HarnessError: mistakes in the file, or names that are not in it.
    """
    from harness.config.benchmark import narrow, read_benchmarks

    check_interval(interval)
    names: list[str | None] = [benchmarks] if isinstance(benchmarks, str) else [*benchmarks] or [None]
    loaded = read_benchmarks(file, overrides=settings or {})
    specs = [narrow(loaded.benchmark(name), tasks, models, seeds, data) for name in names]
    return loaded, [spec.model_copy(update={"interval": interval}) for spec in specs] if interval else specs


def check_interval(interval: str | None) -> None:
    """Refuse what is no way to show the spread of a score."""
    if interval not in (None, *INTERVALS):
        raise HarnessError(f"interval '{interval}': it is {' or '.join(INTERVALS)}.{did_you_mean(interval, INTERVALS)}")


def run(
    file: str | Path = "benchmarks.yaml",
    benchmarks: str | Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    results: str | Path = "results",
    settings: Mapping[str, str] | None = None,
    retrain: bool = False,
    progress: bool = False,
    offline: bool = False,
    interval: str | None = None,
) -> dict[str, Leaderboard]:
    """Train and evaluate what a benchmark file describes and is not done yet; write its leaderboards.

    Args:
        file: a benchmarks.yaml.
        benchmarks: a name or names of benchmarks in it (default: its ``default``).
        tasks, models, seeds, data: take only these of each benchmark.
        results: the folder that holds ``<benchmark>/leaderboard.md`` and the records.
        settings: changes to every recipe, as ``--set`` makes them: ``{"recipe.learning_rate": "1e-4"}``.
        retrain: train runs again that lack test predictions and whose models were not kept.
        progress: show the progress of the runs.
        offline: use no network: what is on the Hub comes from its cache.
        interval: what tables show behind a mean: ``std``, ``ci`` (the 95 % interval) or ``auto`` (default: as the
            benchmark says).

    Returns:
        A `Leaderboard` by benchmark name. Runs that failed are in it as failed.

    Raises:
        HarnessError: mistakes in the file, its data or its checkpoints, found before any training.

    Example:
        >>> boards = harness.run("benchmarks.yaml", ["sample"], tasks=["cola"], models=["bert-tiny"])  # doctest: +SKIP
        >>> print(boards["sample"].markdown)  # doctest: +SKIP
    """
    from harness.data.hub_access import network
    from harness.runner.runner import run_benchmark

    chosen: dict[str, Any] = {"tasks": tasks, "models": models, "seeds": seeds, "data": data, "settings": settings}
    loaded, specs = read(file, benchmarks, interval=interval, **chosen)
    boards = {}
    with network(offline):
        for spec in specs:
            boards[spec.name], _ = run_benchmark(loaded, spec, Path(results), progress=progress, retrain=retrain)
    return boards


def report(
    results: str | Path | Sequence[str | Path] = "results",
    benchmark: str | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    references: bool = False,
    interval: str | None = None,
) -> dict[str, Leaderboard]:
    """Make the leaderboards again from the records of one or several results folders.

    The files are written into the first folder that has the benchmark.

    Args:
        results: folder or folders that `run` wrote; with several, each model has a row for each folder that has it.
        benchmark: only this one (default: all).
        plugins: folders with task plugins; a task that no plugin defines is shown as the records describe it.
        references: add published rows also where the benchmark does not ask for them.
        interval: what tables show behind a mean: ``std``, ``ci`` or ``auto`` (default: as the benchmark says).

    Returns:
        A `Leaderboard` by benchmark name.

    Raises:
        HarnessError: a folder that does not exist, no results, no such benchmark.
    """
    from harness.report.build import leaderboard_of
    from harness.report.tables import write_leaderboard
    from harness.task.plugins import load_plugins

    check_interval(interval)
    stores = stores_in(results, benchmark)
    loaded = load_plugins(plugins)
    boards = {}
    for name, own in stores.items():
        board = leaderboard_of(own, loaded.tasks, loaded.suites, references=references, interval=interval)
        boards[name] = board
        write_leaderboard(own[0].folder, board)
    return boards


def stores_in(results: str | Path | Sequence[str | Path], benchmark: str | None) -> dict[str, list[Store]]:
    """The benchmarks of results folders by their names, or the one that is asked for: a store for each folder.

    Raises:
        HarnessError: a folder that does not exist, no results, no such benchmark.
    """
    from harness.results.store import Store, benchmarks_in

    folders = [Path(folder) for folder in ([results] if isinstance(results, str | Path) else results)]
    stores: dict[str, list[Store]] = {}
    for folder in dict.fromkeys(folders):
        for name in benchmarks_in(folder):
            stores.setdefault(name, []).append(Store(folder, name))
    if benchmark is not None and benchmark not in stores:
        others = f" There are: {', '.join(sorted(stores))}." if stores else ""
        raise HarnessError(f"no results of benchmark '{benchmark}' here.{did_you_mean(benchmark, stores)}{others}")
    if not stores:
        raise HarnessError(f"{', '.join(map(str, folders))}: no results here; 'run' makes them")
    return {name: stores[name] for name in (sorted(stores) if benchmark is None else [benchmark])}


def show(run: str | Path) -> str:
    """Everything about one run, as text.

    Args:
        run: its folder, ``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>``.

    Raises:
        HarnessError: no record there, or one that was altered or cut short.
    """
    from harness.report.show import show_run
    from harness.results.folder import read_record

    return show_run(read_record(run))


def submit(
    results: str | Path,
    benchmark: str,
    model: str,
    *,
    seed: int | None = None,
    best: bool = False,
    suite: str | None = None,
    output: str | Path = ".",
    fill_majority: bool = False,
    data: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> Submission:
    """Write a leaderboard's submission file from the test predictions of a benchmark.

    Args:
        results: a results folder.
        benchmark: a benchmark in it that ran with ``predict: [test]``.
        model: whose predictions.
        seed: of this seed; None takes the only one there is.
        best: for each task, take the seed with the best validation score.
        suite: ``glue`` or ``superglue``; needed when the benchmark predicted both.
        output: a zip file, or a folder that gets ``GLUE.zip`` or ``SuperGLUE.zip``.
        fill_majority: fill tasks without predictions with their most frequent class.
        data: where the official data is, to fill from.
        plugins: folders with task plugins.

    Returns:
        What was written, filled and missing.

    Raises:
        HarnessError: no test predictions, several seeds without a choice, predictions that do not fit the test set.
    """
    from harness.results.store import Store
    from harness.submission.predictions import majorities, test_predictions
    from harness.submission.write import submission_files, write_submission

    store = Store(results, benchmark)
    predictions = test_predictions(store, model, seed=seed, best=best)
    suites = [
        name for name in ("glue", "superglue") if any((f.task, f.split) in predictions for f in submission_files(name))
    ]
    if suite is None and len(suites) > 1:
        raise HarnessError(f"benchmark '{benchmark}' predicted tasks of both suites: choose with --suite")
    files = submission_files(suite or (suites or ["glue"])[0])
    wanted = {(f.task, f.split): predictions[f.task, f.split] for f in files if (f.task, f.split) in predictions}
    fill = majorities(files, wanted, store, plugins, data) if fill_majority else None
    return write_submission(files[0].suite, wanted, Path(output), fill)
