"""The command that begins: init."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.io import disk_errors, usable, write_file

FILE = "benchmarks.yaml"


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    """The options of these commands."""
    init = commands.add_parser("init", help="write a short benchmarks.yaml to begin with")
    init.add_argument("folder", nargs="?", type=usable, default=Path(), help="where (default: here)")
    init.set_defaults(command=command_init)


def command_init(options: argparse.Namespace) -> int:
    """Write the file, never over one that is there.

    Raises:
        HarnessError: there is one; or what the disk says.
    """
    path = options.folder / FILE
    with disk_errors(path):
        if path.exists() or path.is_symlink():
            raise HarnessError(f"{path} is there already: it is left as it is")
    write_file(path, files("harness.config").joinpath("first.yaml").read_bytes())
    print(f"written: {path}\n")
    print(f"python -m harness run {path}              built-in sample data, tiny models, no network; a minute")
    print(f"python -m harness run {path} first-glue   real data and checkpoints from the Hub; best on a GPU")
    return 0
