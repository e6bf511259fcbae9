"""The command that gives results to other tools, and models to the Hub: export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import harness
from harness.commands.arguments import results
from harness.errors import HarnessError
from harness.format import plural
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "give finished runs to an experiment tracker, or a kept model to the Hub: as a folder, and uploaded"
    export = commands.add_parser("export", help=about, parents=[offline])
    words = "a results folder, or a run's; with --push alone, a folder that --to hub wrote"
    export.add_argument("results", type=results, nargs="?", default=Path("results"), help=words)
    words = "tensorboard, wandb, trackio or mlflow, and the folder for what it writes; or hub, and a new folder"
    export.add_argument("--to", nargs=2, metavar=("TOOL", "DIR"), help=words)
    export.add_argument("--benchmark", help="only this benchmark")
    export.add_argument(
        "--model", metavar="NAME", help="to the Hub: of a results folder, every kept model of this name"
    )
    export.add_argument("--file", type=usable, help="to the Hub: a benchmarks.yaml, for its own tasks and plugins")
    about = "upload the folder for the Hub to this repository, with your login; a new one is private"
    export.add_argument("--push", metavar="OWNER/NAME", help=about)
    export.add_argument("--public", action="store_true", help="with --push: a new repository is public")
    export.set_defaults(command=command_export)


def command_export(options: argparse.Namespace) -> int:
    from harness.export.trackers import track_records
    from harness.results.store import stores_in

    if options.public and not options.push:
        raise HarnessError("export --public goes with --push OWNER/NAME")
    if options.push and not options.to:
        print(harness.push_model(options.results, options.push, public=options.public))
        return 0
    if not options.to:
        raise HarnessError("export: say where to, as in --to tensorboard FOLDER")
    tool, folder = options.to
    if tool == "hub":
        return export_to_hub(options, usable(folder))
    if options.push:
        raise HarnessError("export --push goes with --to hub FOLDER, or with the folder that it wrote")
    for benchmark, stores in stores_in(options.results, options.benchmark).items():
        count = track_records(stores, [tool], usable(folder) / benchmark, print)
        print(f"{benchmark}: {plural(count, 'run')} to {tool}, in {Path(folder) / benchmark / tool}")
    return 0


def export_to_hub(options: argparse.Namespace, folder: Path) -> int:
    from harness.publish.upload import check_push

    runs = _kept_runs(options, folder)
    if options.push:
        if len(runs) > 1:
            raise HarnessError(
                f"export --push: {len(runs)} models are kept, and a repository holds one: name the folder of a run, "
                "or push their folders one by one"
            )
        check_push(options.push)
    for run, target in runs:
        print(harness.export_model(run, target, file=options.file), flush=True)
        if options.push:
            print(harness.push_model(target, options.push, public=options.public))
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
