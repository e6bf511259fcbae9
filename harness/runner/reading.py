"""What is said about data while it is read: by `run` before the first step, and by ``validate --data`` without one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from harness.config.benchmark import BenchmarkFile
from harness.data.datasets import load_examples
from harness.data.features import pack
from harness.data.summary import data_summary
from harness.errors import HarnessError
from harness.runner.plan import Run, expand
from harness.runner.resources import Resources

SAMPLE = 1000
"""The training examples of which ``validate --data`` counts those that are longer than ``max_length``."""


def summary_of(resources: Resources, run: Run) -> str:
    """The line about a task's examples: those that are trained on, and those of the splits that are evaluated."""
    splits = [str(run.task.train_split), *(split for task, split in run.evaluated if task.name == run.task.name)]
    return data_summary(run.task, {split: resources.open(run.task, split, run.model) for split in splits})


def too_long(run: Run, total: int, number: int) -> str | None:
    """The line about training texts that lose tokens; None where none does."""
    if not number:
        return None
    share = f"{100 * number / total:.{0 if number / total >= 0.1 else 1}f} %"
    longest = f"max_length ({run.recipe.max_length})"
    return f"{run.task.name}, {run.model.name}: {share} of the training texts are longer than {longest}: they are cut"


def describe_data(file: BenchmarkFile) -> Iterator[str]:
    """The lines about the data of all benchmarks of a file, each task once; nothing is trained or kept.

    Raises:
        HarnessError: all that is wrong in the data, after the lines about the other tasks.
    """
    told: set[str] = set()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as cache:
        for spec in file.benchmarks.values():
            yield from _of_benchmark(file, Resources(spec, Path(cache)), told, problems)
    if problems:
        raise HarnessError("\n".join(problems))


def _of_benchmark(file: BenchmarkFile, resources: Resources, told: set[str], problems: list[str]) -> Iterator[str]:
    try:
        every = expand(file, resources, torch.device("cpu"))
        runs = {(*run.pair, run.recipe.max_length): run for run in every}.values()
    except HarnessError as error:
        problems += [line for line in str(error).splitlines() if line not in problems]
        return
    for run in runs:
        try:
            lines = [summary_of(resources, run), _too_long_of_sample(resources, run)]
        except HarnessError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
            continue
        yield from (line for line in lines if line and line not in told)
        told.update(filter(None, lines))


def _too_long_of_sample(resources: Resources, run: Run) -> str | None:
    split, source, partial = str(run.task.train_split), resources.source(run.task), resources.spec.allow_partial
    examples = load_examples(run.task, source, split, allow_partial=partial, limit=SAMPLE)
    features = pack(resources.architecture(run.model, run.task, run.recipe).groups(examples, training=True))
    return too_long(run, len(features), features.truncated)
