"""Commands about leaderboards' files: submit, check-submission."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import harness
from harness.commands.arguments import results
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "write the file that a leaderboard takes from test predictions"
    submit = commands.add_parser("submit", help=about, parents=[offline])
    submit.add_argument("results", type=results, help="a results folder")
    submit.add_argument("benchmark", help="a benchmark in it, run with 'predict: [test]'")
    submit.add_argument("--model", required=True, help="whose predictions")
    which = submit.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="of this seed (default: the only one)")
    which.add_argument("--best", action="store_true", help="for each task, the seed with the best validation score")
    submit.add_argument("--suite", choices=["glue", "superglue"], help="needed where the benchmark has both")
    submit.add_argument("--output", type=usable, default=Path(), help="folder or zip file (default: here)")
    submit.add_argument("--fill-majority", action="store_true", help="fill tasks without predictions with one class")
    submit.add_argument("--data", help="hub or the folder of the official data, to count majorities in")
    submit.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")
    submit.set_defaults(command=command_submit)

    check = commands.add_parser("check-submission", help="re-read a submission, ours or another tool's: every defect")
    check.add_argument("file", type=usable, help="a zip file")
    check.set_defaults(command=command_check_submission)


def command_submit(options: argparse.Namespace) -> int:
    written = harness.submit(
        options.results,
        options.benchmark,
        options.model,
        seed=options.seed,
        best=options.best,
        suite=options.suite,
        output=options.output,
        fill_majority=options.fill_majority,
        data=options.data,
        plugins=options.plugins,
    )
    print(f"{written.path}: {', '.join(written.written)}")
    for name, count in written.invalid.items():
        print(f"{name}: {count} predictions are no answer; the first class stands for them")
    if written.filled:
        print(f"filled with the majority class, not predicted: {', '.join(written.filled)}")
    if written.missing:
        print(f"INCOMPLETE: no test predictions for {', '.join(written.missing)}; --fill-majority fills them")
        return 1
    return 0


def command_check_submission(options: argparse.Namespace) -> int:
    from harness.submission.check import check_submission

    defects = check_submission(options.file)
    print("\n".join(defects) if defects else f"{options.file}: no defects found")
    return 1 if defects else 0
