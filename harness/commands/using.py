"""Commands that use trained models: predict."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import harness
from harness.io import usable


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    predict = commands.add_parser("predict", help="what a kept model says of the rows of a file")
    predict.add_argument("where", type=usable, metavar="RUN|FOLDER", help="the folder of a run, or of its kept model")
    predict.add_argument("source", type=usable, metavar="FILE", help="csv, tsv, jsonl, parquet or conll")
    predict.add_argument("--output", type=usable, metavar="FILE", help="its ending says the format (default: printed)")
    predict.add_argument("--file", type=usable, help="a benchmarks.yaml, for its own tasks and plugins")
    predict.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")
    predict.set_defaults(command=command_predict)


def command_predict(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    how: dict[str, Any] = {"file": options.file, "plugins": options.plugins}
    number = harness.predict_file(options.where, options.source, options.output, **how)
    if options.output is not None:
        print(f"{options.output}: {number} rows in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return 0
