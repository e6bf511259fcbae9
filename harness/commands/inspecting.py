"""Commands that look into records: compare, errors, audit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
from harness.commands.arguments import RESULTS_FOLDER, definitions, names, print_page, results
from harness.errors import HarnessError
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "compare two models or runs on every task, or all pairs of models: is a difference more than chance?"
    compare = commands.add_parser("compare", help=about)
    words = "two models, or the folders of two runs; without them all pairs; then results folders (default: results)"
    compare.add_argument("words", nargs="*", metavar="A B [RESULTS ...]", help=words)
    compare.add_argument("--show", type=int, default=0, metavar="N", help="N examples of each task where they disagree")
    compare.add_argument("--friedman", action="store_true", help="all pairs: a claim about tasks in general, too")
    compare.add_argument("--format", choices=["md", "csv", "json", "tex"], help="default: md, in a terminal as text")
    compare.set_defaults(command=command_compare)

    errors = commands.add_parser("errors", help="what a run gets wrong, or what every run of a benchmark gets wrong")
    errors.add_argument("where", type=results, metavar="RUN", help="the folder of a run, or a results folder")
    errors.add_argument("--label", help="only examples of this label")
    errors.add_argument("--predicted", help="only answers of this label")
    errors.add_argument("--limit", type=int, default=20, help="examples shown of each split (default: 20)")
    errors.set_defaults(command=command_errors)

    about = "compute every score again from the predictions, and every table from the records: what differs?"
    audit = commands.add_parser("audit", help=about)
    audit.add_argument("results", nargs="*", type=results, default=[Path("results")], help=RESULTS_FOLDER)
    audit.set_defaults(command=command_audit)

    for command in (compare, errors):
        command.add_argument("--tasks", type=names, default=[], help="only these, separated by commas")
    for command in (compare, errors, audit):
        command.add_argument("--benchmark", help="only this benchmark")
        command.add_argument("--data", help="where the data is here (default: where the benchmark read it)")
        command.add_argument("--file", type=usable, help="a benchmarks.yaml, for its own tasks and plugins")
        command.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")


def command_compare(options: argparse.Namespace) -> int:
    pair, folders = sides(options.words)
    asked = {"tasks": options.tasks, "show": options.show, "friedman": options.friedman, **definitions(options)}
    report = harness.compare(*pair, folders, **asked)
    if options.format:
        print(report.text(options.format), end="")
    else:
        print_page(report.text())
    return 0


def sides(words: Sequence[str]) -> tuple[tuple[str | None, str | None], list[Path]]:
    """What ``compare`` is given: two names, unless the first is a results folder, and results folders."""
    from harness.results.store import benchmarks_in, results_folder

    pair: tuple[str | None, str | None] = (None, None)
    if words and not (results_folder(words[0]).is_dir() and benchmarks_in(results_folder(words[0]))):
        if len(words) < 2:
            raise HarnessError(f"compare {words[0]}: name two models or runs, or none for all pairs")
        pair, words = (words[0], words[1]), words[2:]
    return pair, [results_folder(word) for word in words] or [Path("results")]


def command_errors(options: argparse.Namespace) -> int:
    chosen = {name: getattr(options, name) for name in ("tasks", "label", "predicted", "limit")}
    print_page(harness.show_errors(options.where, **chosen, **definitions(options)))
    return 0


def command_audit(options: argparse.Namespace) -> int:
    found = harness.audit(options.results, **definitions(options))
    print(found.text)
    return 1 if found.differences else 0
