"""Before a benchmark runs, from Python: what it takes (`plan`), and what it needs of the Hub (`download`)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import read
from harness.errors import HarnessError
from harness.format import duration, memory

if TYPE_CHECKING:
    from harness.runner.planned import Planned
    from harness.workers.job import OnRay, OnSlurm


def plan(
    file: str | Path | Mapping[str, Any] = "benchmarks.yaml",
    benchmarks: str | Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    results: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    rate: float | Mapping[str, float] | None = None,
    on: OnRay | OnSlurm | None = None,
    jobs: int | None = None,
) -> dict[str, Planned]:
    """What is left to do of benchmarks, and what it takes: nothing is trained, and the Hub is not asked.

    Args:
        file, benchmarks, tasks, models, seeds, data, settings: as of `harness.run`.
        results: the results folder, whose records tell what is done and how fast a device is (default: as of `run`).
        rate: FLOP/s that a device reaches, for all models or by model, ``""`` for the others (default: by the records).
        on: the cluster that would do the runs.
        jobs: of a cluster, at most so many runs at a time (default: as many as it has room for).

    Returns:
        A `harness.runner.planned.Planned` by benchmark name: ``works`` of all runs, ``left`` of those that are not
        done, ``forecast`` (``flops``, ``device_seconds``, ``longest``, ``wall_seconds(devices)``), and
        ``text(devices, price)``.

    Raises:
        HarnessError: mistakes in the file; a cluster that cannot be reached, or whose size nothing tells.

    Example:
        >>> harness.plan("benchmarks.yaml", "glue", rate=40e12)["glue"].forecast.wall_seconds(8)  # doctest: +SKIP
    """
    from harness.data.hub_access import network
    from harness.results.index import results_beside
    from harness.runner.planned import planned

    chosen: dict[str, Any] = {"tasks": tasks, "models": models, "seeds": seeds, "data": data, "settings": settings}
    loaded, specs = read(file, benchmarks, **chosen)
    stated = {"": rate} if isinstance(rate, int | float) else rate
    for model in stated or ():
        if model and all(model not in spec.models for spec in specs):
            raise HarnessError(f"--rate {model}: there is no such model in what is planned")
    if on is None and jobs is not None:
        raise HarnessError("--jobs: is asked of a cluster (--on); --devices says on how many devices")
    folder = results_beside(file) if results is None else Path(results)
    engine, at_once = _cluster(file, folder, on, jobs) if on is not None else (None, None)
    with network(offline=True):
        return {spec.name: planned(loaded, spec, folder, stated, engine, at_once) for spec in specs}


def _cluster(file: Any, results: Path, on: OnRay | OnSlurm, jobs: int | None) -> tuple[Any, int]:
    """The engine of a cluster, and how many runs it does at a time."""
    from harness.workers.cluster import OnCluster
    from harness.workers.job import Job
    from harness.workers.local import workers_for

    engine = workers_for(Job(str(file) if not isinstance(file, Mapping) else file, "", str(results)), jobs, on=on)
    assert isinstance(engine, OnCluster)
    try:
        return engine, jobs or engine.slots()
    finally:
        engine.close()


@dataclass(frozen=True)
class Part:
    """A checkpoint or a data set that benchmarks need of the Hub, and that was not here: its name and bytes."""

    title: str
    size: int


def download(
    file: str | Path | Mapping[str, Any] = "benchmarks.yaml",
    benchmarks: str | Sequence[str] = (),
    *,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    settings: Mapping[str, str] | None = None,
    only_sizes: bool = False,
    progress: bool = False,
) -> list[Part]:
    """Fetch what benchmarks need of the Hub and is not in its cache yet; what was begun is taken up.

    Args:
        file, benchmarks, tasks, models, seeds, data, settings: as of `harness.run`.
        only_sizes: say what would be fetched, and fetch nothing.
        progress: print all sizes first, then what is fetched.

    Returns:
        The parts that were not here.

    Raises:
        HarnessError: mistakes in the file, or the Hub's: no network, no such checkpoint, no permission.
    """
    from harness.runner.needs import needs_of

    loaded, specs = read(file, benchmarks, tasks=tasks, models=models, seeds=seeds, data=data, settings=settings)
    needs = list(dict.fromkeys(needed for spec in specs for needed in needs_of(loaded, spec)))
    left = [needed for needed in needs if not needed.is_here()]
    if progress:
        print(f"{len(needs)} parts are needed from the Hub, {len(needs) - len(left)} are here already", flush=True)
    parts = [Part(needed.title, needed.size()) for needed in left]
    if progress:
        _print_sizes(parts, in_all=not only_sizes)
    if not only_sizes:
        for place, (needed, part) in enumerate(zip(left, parts, strict=True), 1):
            with _fetching(f"[{place}/{len(left)}] {part.title}", part) if progress else contextlib.nullcontext():
                needed.fetch()
    return parts


def _print_sizes(parts: Sequence[Part], in_all: bool) -> None:
    for part in parts:
        print(f"  {memory(part.size):>9}  {part.title}", flush=True)
    if parts and in_all:
        print(f"  {memory(sum(part.size for part in parts)):>9}  in all", flush=True)


@contextlib.contextmanager
def _fetching(name: str, part: Part) -> Iterator[None]:
    print(f"{name}, {memory(part.size)} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    yield
    print(f"{name}: here after {duration(time.monotonic() - started)}", flush=True)
