"""What the command line does, from Python: `run`, `report` and `submit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.report.leaderboard import Leaderboard
    from harness.submission.write import Submission


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
) -> dict[str, Leaderboard]:
    """Train and evaluate what a benchmark file describes and is not done yet; write its leaderboards.

    Args:
        file: a benchmarks.yaml.
        benchmarks: a name or names of benchmarks in it (default: its ``default``).
        tasks, models, seeds, data: take only these of each benchmark.
        results: the folder that holds ``<benchmark>/leaderboard.md`` and the records.
        settings: changes to every recipe, as ``--set`` makes them: ``{"recipe.learning_rate": "1e-4"}``.
        retrain: train runs again that lack test predictions and whose models were not kept.
        progress: show what goes on.
        offline: use no network: what is on the Hub comes from its cache.

    Returns:
        A `Leaderboard` by benchmark name. Runs that failed are in it as failed.

    Raises:
        HarnessError: mistakes in the file, its data or its checkpoints, found before any training.

    Example:
        >>> boards = harness.run("benchmarks.yaml", ["sample"], tasks=["cola"], models=["bert-tiny"])  # doctest: +SKIP
        >>> print(boards["sample"].markdown)  # doctest: +SKIP
    """
    from harness.config.benchmark import narrow, read_benchmarks
    from harness.data.hub_access import network
    from harness.runner.runner import run_benchmark

    loaded = read_benchmarks(file, overrides=settings or {})
    boards = {}
    names: list[str | None] = [benchmarks] if isinstance(benchmarks, str) else [*benchmarks] or [None]
    with network(offline):
        for name in names:
            spec = narrow(loaded.benchmark(name), tasks=tasks, models=models, seeds=seeds, data=data)
            boards[spec.name], _ = run_benchmark(loaded, spec, Path(results), progress=progress, retrain=retrain)
    return boards


def report(
    results: str | Path | Sequence[str | Path] = "results",
    benchmark: str | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    references: bool = False,
) -> dict[str, Leaderboard]:
    """Make the leaderboards again from the records of one or several results folders.

    Args:
        results: folder or folders that `run` wrote.
        benchmark: only this one (default: every benchmark found).
        plugins: folders with task plugins that the records need.
        references: add published reference rows.

    Returns:
        A `Leaderboard` by benchmark name; the files in the first folder are written again.
    """
    from harness.report.folders import report_folders

    folders = [results] if isinstance(results, (str, Path)) else list(results)
    return report_folders([Path(f) for f in folders], benchmark, plugins=plugins, references=references)


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
