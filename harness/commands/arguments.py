"""What several commands share: the types of their arguments, options, and printing from several processes."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.io import usable
from harness.results.index import results_beside

if TYPE_CHECKING:
    from harness.leaderboard.board import Leaderboard

NARROWEST = 40
"""Columns of the narrowest terminal that tables are made for."""
RESULTS_FOLDER = "results folders, or benchmark files that these lie beside (default: results)"
INTERVAL = "behind a mean: standard deviation, 95 %% interval, or this from three seeds on (default: the benchmark's)"


def names(text: str) -> list[str]:
    """``a,b`` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seeds(text: str) -> list[int]:
    """``1,2,3`` as a list of numbers."""
    try:
        return [int(seed) for seed in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 1,2,3") from None


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` arguments as a mapping."""
    for pair in pairs:
        if "=" not in pair:
            raise HarnessError(f"--set {pair}: write recipe.KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def definitions(options: argparse.Namespace) -> dict[str, Any]:
    """The options that say where data and tasks are."""
    return {name: getattr(options, name) for name in ("benchmark", "data", "file", "plugins")}


def print_board(board: Leaderboard) -> None:
    """Print a leaderboard's tables, no wider than the terminal; once, as `print_once`."""
    from harness.report.terminal import terminal_table

    print_once(terminal_table(board, terminal_width()) if sys.stdout.isatty() else board.text)


def print_page(page: str) -> None:
    """Print a page in Markdown: as it is into a file, as plain text no wider than the terminal there."""
    from harness.report.terminal import terminal_page

    print(terminal_page(page, terminal_width()) if sys.stdout.isatty() else page, end="")


def terminal_width() -> int:
    """The characters of a line."""
    from harness.report.terminal import WIDTH

    return min(WIDTH, max(NARROWEST, shutil.get_terminal_size().columns))


def print_once(text: str) -> None:
    """Print from the only process of a launch, or from the first of several."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def add_choice(command: argparse.ArgumentParser) -> None:
    """What names runs: a file, benchmarks in it, and which part of these."""
    command.add_argument("file", type=usable, help="benchmarks.yaml")
    command.add_argument(
        "benchmark", nargs="*", default=[], help="names of benchmarks in the file (default: its 'default')"
    )
    command.add_argument("--tasks", type=names, help="only these tasks or suites, separated by commas")
    command.add_argument("--models", type=names, help="only these models")
    command.add_argument("--seeds", type=seeds, help="these seeds, e.g. 1,2,3")
    command.add_argument("--data", help="hub, sample, or a folder of official files")
    command.add_argument("--set", action="append", default=[], metavar="recipe.KEY=VALUE", help="change every recipe")


def results(text: str) -> Path:
    """The results folder that is meant, as `harness.results.store.results_folder` finds it."""
    from harness.results.store import results_folder

    return results_folder(text)


def add_results(command: argparse.ArgumentParser, purpose: str) -> None:
    """Where the results of a benchmark file are; `results_of` gives the folder."""
    about = f"where results {purpose} (default: results, beside the file)"
    command.add_argument("--results", type=usable, help=about)


def results_of(options: argparse.Namespace) -> Path:
    """The results folder of a command that takes a benchmark file."""
    return options.results or results_beside(options.file)


def number(text: str) -> float:
    """A number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
