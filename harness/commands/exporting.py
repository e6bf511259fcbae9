"""The command that gives results to other tools, and models to the Hub: export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "give finished runs to an experiment tracker, or a kept model to the Hub as a folder"
    export = commands.add_parser("export", help=about, parents=[offline])
    export.add_argument("results", type=usable, nargs="?", default=Path("results"), help="a results folder, or a run's")
    words = "tensorboard, wandb, trackio or mlflow, and the folder for what it writes; or hub, and a new folder"
    export.add_argument("--to", nargs=2, metavar=("TOOL", "DIR"), help=words)
    export.add_argument("--benchmark", help="only this benchmark")
    export.add_argument(
        "--model", metavar="NAME", help="to the Hub: of a results folder, every kept model of this name"
    )
    export.add_argument("--file", type=usable, help="to the Hub: a benchmarks.yaml, for its own tasks and plugins")
    export.set_defaults(command=command_export)


def command_export(options: argparse.Namespace) -> int:
    from harness.export.trackers import track_records
    from harness.results.store import stores_in

    if not options.to:
        raise HarnessError("export: say where to, as in --to tensorboard FOLDER")
    tool, folder = options.to
    if tool == "hub":
        return export_to_hub(options, usable(folder))
    for benchmark, stores in stores_in(options.results, options.benchmark).items():
        count = track_records(stores, [tool], usable(folder) / benchmark, print)
        print(f"{benchmark}: {count} runs to {tool}, in {Path(folder) / benchmark / tool}")
    return 0


def export_to_hub(options: argparse.Namespace, folder: Path) -> int:
    import harness

    for run, target in _kept_runs(options, folder):
        print(harness.export_model(run, target, file=options.file))
    return 0


def _kept_runs(options: argparse.Namespace, folder: Path) -> list[tuple[Path, Path]]:
    """The folders of the runs whose models are asked for, and where each goes."""
    from harness.results.kept import kept_of
    from harness.results.store import stores_in

    if (options.results / "record.json").is_file():
        return [(options.results, folder)]
    if options.model is None:
        raise HarnessError("export --to hub: name the folder of a run, or a results folder and --model NAME")
    runs = []
    for [store] in stores_in(options.results, options.benchmark).values():
        for task, model, seed, record in store.current():
            if model == options.model and record and record.finished and record.folder and kept_of(record):
                runs.append((record.folder, folder / f"{model}-{task}-seed{seed}"))
    if not runs:
        raise HarnessError(f"no model '{options.model}' was kept in {options.results}: see 'keep' of a benchmark")
    return runs
