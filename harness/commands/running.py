"""The command that trains: run."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

import harness
from harness.commands.arguments import (
    INTERVAL,
    add_choice,
    add_results,
    positive,
    print_board,
    print_once,
    results_of,
    settings,
)
from harness.commands.clusters import add_cluster_options, cluster_of

RUN_EXAMPLE = """name a benchmark file, for example: python -m harness run benchmarks.yaml
(python -m harness init writes one to begin with)"""


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "train and evaluate what is not done yet, and make the leaderboards"
    run = commands.add_parser("run", help=about, parents=[offline])
    run.example = RUN_EXAMPLE
    add_choice(run)
    add_results(run, "go")
    run.add_argument("--dry-run", action="store_true", help="list the runs and which are done; train nothing")
    run.add_argument("--retrain", action="store_true", help="train again where test predictions need a lost model")
    run.add_argument("--interval", choices=harness.api.INTERVALS, help=INTERVAL)
    about = "seconds without a sign of life after which another process counts as dead (default: 180)"
    run.add_argument("--patience", type=float, default=180.0, metavar="SECONDS", help=about)
    about = "runs at a time, each in a process of its own (default: auto, as many as this machine has room for)"
    run.add_argument("--jobs", type=jobs, metavar="N|auto", help=about)
    about = "on GPUs, runs at a time on each (default: 1)"
    run.add_argument("--runs-per-gpu", type=positive, default=1, metavar="K", help=about)
    run.add_argument("--wait", action="store_true", help="wait for a Hub that cannot be reached (default: end at once)")
    add_cluster_options(run)
    run.set_defaults(command=command_run)


def jobs(text: str) -> int | None:
    """``auto``, which is None, or a whole number from 1 on."""
    return None if text == "auto" else positive(text)


def command_run(options: argparse.Namespace) -> int:
    narrowing: dict[str, Any] = {name: getattr(options, name) for name in ("tasks", "models", "seeds", "data")}
    narrowing["settings"] = settings(options.set)
    file, specs = harness.api.read(options.file, options.benchmark, interval=options.interval, **narrowing)
    from harness.results.leases import check_patience

    check_patience(options.patience)
    results, cluster, failed = results_of(options), cluster_of(options), 0
    if options.dry_run and cluster is None:
        return command_dry_run(file, specs, options)
    from harness.runner.planned import dry_run
    from harness.runner.runner import run_benchmark
    from harness.workers.job import Job
    from harness.workers.local import workers_for

    how: dict[str, Any] = {"progress": True, "retrain": options.retrain, "patience": options.patience}
    for spec in specs:
        job = Job(str(options.file), spec.name, str(results), **narrowing, patience=options.patience)
        engine = workers_for(replace(job, offline=options.offline), options.jobs, options.runs_per_gpu, cluster)
        if options.dry_run:
            print_once(dry_run(file, spec, results, engine))
            continue
        print_once(f"results: {os.path.abspath(results / spec.name)}")
        board, failures = run_benchmark(file, spec, results, **how, engine=engine)
        print_board(board)
        failed += failures
    if not (options.benchmark or options.dry_run) and file.default == "sample" and "glue" in file.benchmarks:
        print_once(f"\nThe real thing: python -m harness run {options.file} glue")
    leave_group()
    return 1 if failed else 0


def command_dry_run(file: Any, specs: Any, options: argparse.Namespace) -> int:
    """Print what would be done; nothing is asked of the network."""
    from harness.data.hub_access import network
    from harness.runner.planned import dry_run

    with network(offline=True):
        for spec in specs:
            print_once(dry_run(file, spec, results_of(options)))
    return 0


def leave_group() -> None:
    """End the connections between processes in order: one that is still open at exit can abort the process."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
