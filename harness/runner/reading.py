"""Reading all data, and what is said about it: by `run` before the first step, by ``validate --data`` without one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from harness.config.benchmark import BenchmarkFile
from harness.data.custom import data_notes
from harness.data.datasets import has_own_files, load_examples
from harness.data.features import pack
from harness.data.summary import data_summary
from harness.errors import HarnessError
from harness.runner.plan import Run, expand
from harness.runner.resources import Context, Resources

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


def read_data(context: Context, runs: Sequence[Run]) -> None:
    """Read, check and tokenise all data before the first step: mistakes in it show now, not in the third hour."""
    resources, problems = context.resources, list[str]()
    tasks: set[str] = set()
    models: set[str] = set()
    with context.accelerator.main_process_first():
        for run in {(*run.pair, run.recipe.max_length): run for run in runs}.values():
            first = run.task.name not in tasks
            tasks.add(run.task.name)
            if first:
                context.display.message(f"reading {run.task.name}")
                for note in data_notes(run.task):
                    context.display.message(note)
                if context.spec.predict and not run.tests:
                    context.display.message(f"{run.task.name}: there is no test split to predict")
            try:
                architecture = resources.architecture(run.model, run.task, run.recipe)
                if run.model.name not in models:
                    models.add(run.model.name)
                    architecture.build()  # a checkpoint that does not fit shows now, too
                features = resources.features(architecture, run.task, str(run.task.train_split), training=True)
                if cut := too_long(run, len(features), features.truncated):
                    context.display.message(cut)
                for task, split in (*run.evaluated, *run.tests):
                    resources.evaluated(architecture, task, split)
                if first:
                    _show_overlaps(context, run)
                    if has_own_files(run.task):
                        context.display.message(summary_of(resources, run))
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        raise HarnessError("\n".join(problems))


def _show_overlaps(context: Context, run: Run) -> None:
    """Warn where a model is evaluated on texts that it is trained on."""
    for (task, split), count in context.resources.overlap(run.task, run.evaluated).items():
        if count:
            total = len(context.resources.examples(context.spec.catalogue.get(task, run.task), split))
            context.display.message(f"{task}: {count} of {total} {split} texts are in the training data, too")
