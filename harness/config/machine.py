"""What a benchmark file names on this machine, looked at before anything is run: folders, and the rows of own files."""

from __future__ import annotations

import os
from collections.abc import Iterable

from harness.config.mistakes import Problems
from harness.config.schema import BenchmarkSpec, Model
from harness.config.yaml import Where
from harness.data.custom import row_problems
from harness.task.task import Task

CONFIG = "config.json"


def check_machine(
    models: Iterable[Model], benchmarks: Iterable[BenchmarkSpec], tasks: Iterable[Task], problems: Problems
) -> None:
    """Report folders of checkpoints, tokenizers and data that are not here, and what is wrong in those that are.

    Args:
        models, benchmarks, tasks: of the file.
        problems: takes all mistakes.
    """
    paths: dict[Where, str | None] = {
        ("models", model.name, key): getattr(model, key) for model in models for key in ("checkpoint", "tokenizer")
    }
    for spec in benchmarks:
        sources = {"": spec.data} if isinstance(spec.data, str) else spec.data
        paths |= {("benchmarks", spec.name, "data", name): source for name, source in sources.items()}
    for where, path in paths.items():
        if path is None or not os.path.isabs(path):
            continue
        if not os.path.isdir(path):
            problems.add(where, f"{where[2]}: no such folder: {path!r}")
        elif where[2] == "checkpoint" and not os.path.isfile(os.path.join(path, CONFIG)):
            problems.add(where, f"checkpoint: no {CONFIG} in {path!r}: it is no checkpoint in the form of transformers")
    for task in tasks:
        for problem in row_problems(task):
            problems.add(("tasks", task.name), f"task '{task.name}': {problem}")
