"""The command that watches others: status."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from harness.commands.arguments import RESULTS_FOLDER, results
from harness.output import standard_output

LOOK_EVERY, PRINT_EVERY = 2.0, 30.0
"""Seconds between two looks of --watch on a terminal, and elsewhere, where each look is printed."""


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    """The options of these commands."""
    about = "what is done, running (by whom, at which step, how long still), failed and waiting"
    status = commands.add_parser("status", help=about)
    status.add_argument("results", nargs="?", type=results, default=Path("results"), help=RESULTS_FOLDER)
    status.add_argument("--benchmark", help="only this benchmark")
    status.add_argument("--watch", action="store_true", help="look again and again, until all is done")
    status.set_defaults(command=command_status)


def command_status(options: argparse.Namespace) -> int:
    """Print the status once, or until all is done."""
    text, finished = _look(options)
    if not options.watch:
        print(text)
        return 0
    output = standard_output()
    if not output.isatty():
        print(text, flush=True)
        while not finished:
            time.sleep(PRINT_EVERY)
            text, finished = _look(options)
            print(f"\n{text}", flush=True)
        return 0
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(Text(text), console=Console(file=output), auto_refresh=False) as view:
        while not finished:
            time.sleep(LOOK_EVERY)
            text, finished = _look(options)
            view.update(Text(text), refresh=True)
    return 0


def _look(options: argparse.Namespace) -> tuple[str, bool]:
    from harness.report.status import status_text, statuses

    benchmarks = statuses(options.results, options.benchmark)
    return status_text(benchmarks), all(status.finished for status in benchmarks)
