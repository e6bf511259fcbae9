"""What the command line does, from Python: `run`, `report`, `compare`, `show` and the others that `harness` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.definitions import definitions
from harness.errors import HarnessError, did_you_mean
from harness.io import usable

if TYPE_CHECKING:
    from harness.config.benchmark import BenchmarkFile
    from harness.config.schema import BenchmarkSpec
    from harness.inspection.audit import Audit
    from harness.leaderboard.board import Leaderboard
    from harness.report.compare_text import CompareReport
    from harness.submission.write import Submission
    from harness.workers.job import OnRay, OnSlurm

INTERVALS = ("auto", "std", "ci")
"""What tables show behind a mean: the standard deviation over seeds, the 95 % interval, or this from three seeds on."""


def read(
    file: str | Path | Mapping[str, Any] = "benchmarks.yaml",
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
    file: str | Path | Mapping[str, Any] = "benchmarks.yaml",
    benchmarks: str | Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    results: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    retrain: bool = False,
    patience: float = 180.0,
    progress: bool = False,
    offline: bool = False,
    interval: str | None = None,
    jobs: int | None = 1,
    on: OnRay | OnSlurm | None = None,
) -> dict[str, Leaderboard]:
    """Train and evaluate what a benchmark file describes and is not done yet; write its leaderboards.

    Args:
        file: a benchmarks.yaml, or a mapping with its content.
        benchmarks: a name or names of benchmarks in it (default: its ``default``).
        tasks, models, seeds, data: take only these of each benchmark.
        results: the folder that holds ``<benchmark>/leaderboard.md`` and the records (default: ``results`` beside the
            file; of a mapping, in the current folder).
        settings: changes to every recipe, as ``--set`` makes them: ``{"recipe.learning_rate": "1e-4"}``.
        retrain: train runs again that lack test predictions and whose models were not kept.
        patience: seconds without a sign of life after which another process counts as dead: a command that works on the
            same results folder, or a process of the same launch; at least 45.
        progress: show the progress of the runs.
        offline: use no network: what is on the Hub comes from its cache.
        interval: what tables show behind a mean: ``std``, ``ci`` (95 % interval) or ``auto`` (default: benchmark's).
        jobs: runs at a time, each in a process of its own; 1: in this process; None: as many as there is room for.
        on: the cluster that does them, as many at a time as it has room for.

    Returns:
        A `Leaderboard` by benchmark name. Runs that failed are in it as failed.

    Raises:
        HarnessError: mistakes in the file, its data or its checkpoints, found before any training.

    Example:
        >>> boards = harness.run("benchmarks.yaml", ["sample"], tasks=["cola"], models=["bert-tiny"])  # doctest: +SKIP
        >>> print(boards["sample"].markdown)  # doctest: +SKIP
    """
    from harness.data.hub_access import network
    from harness.results.index import results_beside
    from harness.results.leases import check_patience
    from harness.runner.runner import run_benchmark
    from harness.workers.job import Job
    from harness.workers.local import workers_for

    check_patience(patience)
    chosen: dict[str, Any] = {"tasks": tasks, "models": models, "seeds": seeds, "data": data, "settings": settings}
    loaded, specs = read(file, benchmarks, interval=interval, **chosen)
    folder = results_beside(file) if results is None else Path(results)
    how: dict[str, Any] = {"progress": progress, "retrain": retrain, "patience": patience}
    boards = {}
    with network(offline):
        for spec in specs:
            job = Job(
                file if isinstance(file, Mapping) else str(file),
                spec.name,
                str(folder),
                **chosen,
                patience=patience,
                offline=offline,
            )
            engine = workers_for(job, jobs if on is None or jobs != 1 else None, on=on)
            boards[spec.name], _ = run_benchmark(loaded, spec, folder, **how, engine=engine)
    return boards


def report(
    results: str | Path | Sequence[str | Path] = "results",
    benchmark: str | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    references: bool = False,
    interval: str | None = None,
    long: bool = False,
    plots: Sequence[str] = (),
    texts: bool = False,
    export: Sequence[str] = (),
) -> dict[str, Leaderboard]:
    """Make the leaderboards and the page again from the records of one or several results folders.

    The files are written into the first folder that has the benchmark.

    Args:
        results: folder or folders that `run` wrote; with several, each model has a row for each folder that has it.
        benchmark: only this one (default: all).
        plugins: folders with task plugins; a task that no plugin defines is shown as the records describe it.
        references: add published rows also where the benchmark does not ask for them.
        interval: what tables show behind a mean: ``std``, ``ci`` or ``auto`` (default: as the benchmark says).
        long: write ``scores.csv``, too: a line for each score of each run.
        plots: write the plots into ``plots/``, too, as these of svg, pdf and png.
        texts: the page shows the texts of its examples, where the data is at hand.
        export: write files for other tools, too: ``lm-eval``, ``eee`` (Every Eval Ever).

    Returns:
        A `Leaderboard` by benchmark name.

    Raises:
        HarnessError: a folder that does not exist, no results, no such benchmark; plots without the extra ``plots``.
    """
    from harness.page.pictures import check_formats
    from harness.reports import Files, reports_of

    check_interval(interval)
    files = Files(long, check_formats(plots), texts, export)
    boards = {}
    for made in reports_of(results, benchmark, plugins, references=references, interval=interval):
        made.write(files)
        boards[made.stores[0].benchmark] = made.board
    return boards


def show(run: str | Path) -> str:
    """Everything about one run, as text.

    Args:
        run: its folder, ``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>``, or, while it is under
            way, its checkpoint directory, ``results/.work/<fingerprint>``.

    Raises:
        HarnessError: no record there, or one that was altered or cut short.
    """
    from harness.config.effective import default_settings
    from harness.report.show import show_run
    from harness.report.status import begun_text
    from harness.results.folder import read_record

    if text := begun_text(Path(run)):
        return text
    record = read_record(run)
    return show_run(record, default_settings(record.architecture))


def show_task(name: str, file: str | Path | None = None, data: str | Path = "sample") -> str:
    """One example of a task as BERT, EncT5 and T5 read it, and the answer that they learn, as a Markdown table.

    Args:
        name: of a task.
        file: a benchmarks.yaml, for its own tasks and plugins.
        data: ``sample``, ``hub`` or a folder of official files; the user's own data files are read whatever it is.

    Raises:
        HarnessError: no such task, or no data.
    """
    from harness.inspection.forms import shown_task

    tasks = definitions(file, ()).tasks
    if name not in tasks:
        raise HarnessError(f"there is no task '{name}'.{did_you_mean(name, tasks)} Tasks: {', '.join(tasks)}")
    return shown_task(tasks[name], data)


def compare(
    a: str | Path | None = None,
    b: str | Path | None = None,
    results: str | Path | Sequence[str | Path] = "results",
    *,
    benchmark: str | None = None,
    tasks: Sequence[str] = (),
    show: int = 0,
    friedman: bool = False,
    data: str | Path | None = None,
    file: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> CompareReport:
    """Compare two models on every task: the difference, its 95 % interval, whether it can be told from chance.

    Args:
        a, b: two models of a benchmark, or the folders of two runs; without them all pairs of models.
        results: folder or folders that `run` wrote.
        benchmark: which benchmark, where several have both models.
        tasks: only these tasks or suites (default: all).
        show: so many examples of each task on which the two disagree most.
        friedman: with all pairs: do models rank differently on tasks in general (Friedman, Nemenyi)?
        data: where the data is here, to show their texts (default: where the benchmark read it; never the network).
        file: a benchmarks.yaml, for its own tasks.
        plugins: folders with task plugins.

    Returns:
        A `CompareReport`: ``comparison`` with all numbers, and ``text(form)`` as md, csv, json or tex.

    Raises:
        HarnessError: no such model, run, task or benchmark.
    """
    from harness.inspection.sides import compare_all_rows, compare_named, compare_runs
    from harness.report.compare_text import CompareReport
    from harness.results.store import stores_in

    defined = definitions(file, plugins)
    if a is None or b is None:
        if a is not None or b is not None:
            raise HarnessError("compare takes two models or runs, or none for all pairs")
        return CompareReport(compare_all_rows(stores_in(results, benchmark), defined, tasks, friedman))
    if friedman:
        raise HarnessError("--friedman is asked of all models: leave the two names out")
    if all((usable(side) / "record.json").is_file() for side in (a, b)):
        return CompareReport(compare_runs(a, b, defined, tasks, show, data))
    stores = stores_in(results, benchmark)
    return CompareReport(compare_named(str(a), str(b), stores, defined, tasks, show, data))


def show_errors(
    where: str | Path,
    benchmark: str | None = None,
    *,
    tasks: Sequence[str] = (),
    label: str | None = None,
    predicted: str | None = None,
    limit: int = 20,
    data: str | Path | None = None,
    file: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> str:
    """What a run gets wrong, or what every run of a benchmark gets wrong, as Markdown.

    Args:
        where: the folder of a run, or a results folder.
        benchmark: which benchmark of a results folder, where there are several.
        tasks: only these.
        label, predicted: of a run, only examples of this label, only answers of this label.
        limit: how many examples to show of each split.
        data, file, plugins: as of `compare`.

    Raises:
        HarnessError: no such run, task or label.
    """
    from harness.inspection.errors import hardest, run_errors
    from harness.inspection.source import source_of
    from harness.results.folder import read_record
    from harness.results.store import Store, stores_in

    defined = definitions(file, plugins)
    if (usable(where) / "record.json").exists():
        folder = Path(where).resolve()
        source = source_of(Store(folder.parents[4], folder.parents[3].name), defined.tasks, data)
        return run_errors(read_record(where), source, tasks=tasks, label=label, predicted=predicted, limit=limit)
    if label is not None or predicted is not None:
        raise HarnessError("--label and --predicted are asked of a run: name its folder")
    stores = stores_in(where, benchmark)
    if len(stores) > 1:
        raise HarnessError(f"{where}: there are benchmarks {', '.join(stores)}: choose with --benchmark")
    [(store,)] = stores.values()
    runs = {(t, m, s): record for t, m, s, record in store.current() if record and record.finished}
    return hardest(runs, source_of(store, defined.tasks, data), tasks=tasks, limit=limit)


def audit(
    results: str | Path | Sequence[str | Path] = "results",
    benchmark: str | None = None,
    *,
    data: str | Path | None = None,
    file: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> Audit:
    """Compute every score again from the predictions, and every table from the records.

    Args:
        results: folder or folders that `run` wrote; tables are those of the first, made of all.
        benchmark: only this one (default: all).
        data, file, plugins: as of `compare`; without the data, the labels are those that the predictions have.

    Returns:
        An `Audit`: ``differences``, ``unchecked``, ``text``.

    Raises:
        HarnessError: no results, no such benchmark.
    """
    from harness.inspection.audit import Audit, audit_records, audit_tables, options_of
    from harness.inspection.source import source_of
    from harness.report.boards import leaderboard_of
    from harness.results.store import stores_in

    defined = definitions(file, plugins)
    total = Audit()
    for stores in stores_in(results, benchmark).values():
        for store in stores:
            total += audit_records(store, source_of(store, defined.tasks, data))
        board = leaderboard_of(stores, defined.tasks, defined.suites, **options_of(stores[0]))
        total += audit_tables(stores[0], board)
    return total


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
    from harness.results.store import Store, results_folder
    from harness.submission.predictions import majorities, test_predictions
    from harness.submission.write import submission_files, write_submission

    store = Store(results_folder(results), benchmark)
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
