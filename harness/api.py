"""What the command line does, from Python: `run` and `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.report import Leaderboard


def run(
    file: str | Path = "benchmarks.yaml",
    benchmarks: Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    results: str | Path = "results",
    settings: Mapping[str, str] | None = None,
    progress: bool = False,
) -> dict[str, Leaderboard]:
    """Train and evaluate what a benchmark file describes and is not done yet; write its leaderboards.

    Args:
        file: a benchmarks.yaml.
        benchmarks: names of benchmarks in it (default: its ``default``).
        tasks, models, seeds, data: take only these of each benchmark.
        results: the folder that holds ``<benchmark>/leaderboard.md`` and the records.
        settings: changes to every recipe, as ``--set`` makes them: ``{"recipe.learning_rate": "1e-4"}``.
        progress: show what goes on.

    Returns:
        A `Leaderboard` by benchmark name. Runs that failed are in it as failed.

    Raises:
        HarnessError: mistakes in the file, its data or its checkpoints, found before any training.

    Example:
        >>> boards = harness.run("benchmarks.yaml", ["sample"], tasks=["cola"], models=["bert-tiny"])  # doctest: +SKIP
        >>> print(boards["sample"].markdown)  # doctest: +SKIP
    """
    from harness.benchmark import narrow, read_benchmarks
    from harness.runner import run_benchmark

    loaded = read_benchmarks(file, overrides=settings or {})
    boards = {}
    for name in benchmarks or [loaded.default]:
        spec = narrow(loaded.benchmark(name), tasks=tasks, models=models, seeds=seeds, data=data)
        boards[name], _ = run_benchmark(loaded, spec, Path(results), progress=progress)
    return boards


def report(
    results: str | Path | Sequence[str | Path] = "results",
    benchmark: str | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    references: bool = False,
    **options: Any,
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
    from harness.report import report_folders

    folders = [results] if isinstance(results, (str, Path)) else list(results)
    return report_folders([Path(f) for f in folders], benchmark, plugins=plugins, references=references, **options)
