"""The command line: parses the arguments, calls what a Python program would call, and prints."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import harness
from harness.commands import (
    exporting,
    inspecting,
    preparing,
    reading,
    running,
    starting,
    submitting,
    using,
    watching,
)
from harness.errors import HarnessError
from harness.output import complain, guarded_code

SPEAKS_FIRST = 30.0
"""Seconds that the other processes of a machine wait before they print an error: it is the same in all of them, the
first process prints it at once, and its launcher then ends the others."""

TAKES_BENCHMARKS = (running.command_run, preparing.command_plan, preparing.command_download)
NO_DOCSTRINGS = (
    "python -OO (or PYTHONOPTIMIZE=2) removes the docstrings, from which transformers makes models and this program "
    "its help: start Python without it, or with -O"
)

EXAMPLES = """examples:
  python -m harness run benchmarks.yaml                    the default benchmark: built-in sample data, tiny models
  python -m harness run benchmarks.yaml glue --data PATH   the real thing, from official files
  python -m harness run benchmarks.yaml glue --tasks rte,mrpc --models bert-base --seeds 1,2
  python -m harness run benchmarks.yaml glue --set recipe.learning_rate=3e-5 --dry-run
  python -m harness report results                         make the tables again, from the records"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0; 1 when a run failed or not all could be printed; 2 for a mistake that the user can put right;
        130 when interrupted.
    """
    return guarded_code(lambda: _command(arguments))


def _command(arguments: Sequence[str] | None) -> int:
    from harness.data.hub_access import network

    if sys.flags.optimize > 1:
        complain(NO_DOCSTRINGS)
        return 2
    top = parser()
    try:
        options, rest = top.parse_known_args(arguments)
    except HarnessError as error:  # a path
        complain(str(error))
        return 2
    if options.command in TAKES_BENCHMARKS and not any(word.startswith("-") for word in rest):
        options.benchmark += rest  # names after an option
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with network(offline=getattr(options, "offline", False), wait=getattr(options, "wait", False)):
            return int(options.command(options))
    except HarnessError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(SPEAKS_FIRST)
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes where this one ended", file=sys.stderr)
        return 130


class Parser(argparse.ArgumentParser):
    """Shows after a mistake what a right command looks like, where it has an example."""

    example = ""

    def error(self, message: str) -> NoReturn:
        """End with code 2, the usage, what is wrong and the example."""
        super().error(f"{message}\n{self.example}" if self.example else message)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="python -m harness",
        description="Fine-tune and compare EncT5, T5 and BERT on GLUE, SuperGLUE and your own tasks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"harness {harness.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    offline = argparse.ArgumentParser(add_help=False)
    offline.add_argument("--offline", action="store_true", help="use no network: take from the Hub's cache, or fail")
    for module in (starting, preparing, running, watching, reading, inspecting, using, submitting, exporting):
        module.add_options(commands, offline)
    return top
