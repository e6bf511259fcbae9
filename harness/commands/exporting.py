"""The command that gives results to other tools: export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "give finished runs to an experiment tracker: settings, learning curves, scores"
    export = commands.add_parser("export", help=about, parents=[offline])
    export.add_argument("results", type=usable, nargs="?", default=Path("results"), help="a results folder")
    words = "tensorboard, wandb, trackio or mlflow, and the folder for what it writes"
    export.add_argument("--to", nargs=2, metavar=("TOOL", "DIR"), help=words)
    export.add_argument("--benchmark", help="only this benchmark")
    export.set_defaults(command=command_export)


def command_export(options: argparse.Namespace) -> int:
    from harness.export.trackers import track_records
    from harness.results.store import stores_in

    if not options.to:
        raise HarnessError("export: say where to, as in --to tensorboard FOLDER")
    tool, folder = options.to
    for benchmark, stores in stores_in(options.results, options.benchmark).items():
        count = track_records(stores, [tool], usable(folder) / benchmark, print)
        print(f"{benchmark}: {count} runs to {tool}, in {Path(folder) / benchmark / tool}")
    return 0
