"""How much each family trains on each task of GLUE and SuperGLUE: the tables of docs/fairness.md.

    python scripts/training_amounts.py --data FOLDER --vocabulary FOLDER

The numbers of examples are the official ones. How many examples T5's ``batch_tokens`` hold is counted in the training
data under ``--data`` with the T5 tokenizer in ``--vocabulary``; of a part of a data set it is an estimate (``about``).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.config.benchmark import BenchmarkFile, read_benchmarks
from harness.config.schema import BenchmarkSpec, Recipe
from harness.data.datasets import open_examples
from harness.data.features import Features
from harness.errors import HarnessError
from harness.models import architecture_class
from harness.models.tokenizers import load_tokenizer
from harness.task.task import Task
from harness.training.batching import TrainingPlan
from harness.training.update import batch_size_of, steps_of

BENCHMARKS = ("glue", "superglue")
MODELS = {"EncT5": "enct5-base", "T5": "t5-base", "BERT": "bert-base"}
NOT_COUNTED = "not counted"
T5_EXAMPLES = {"wsc": 259}
"""Where T5 does not learn from every example: of WSC only the true ones say what T5 writes."""
TITLES = ("Task", "Examples", *(f"{name} {column}" for name in MODELS for column in ("batch", "updates", "seen")))
ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with official files, or parts of them")
    parser.add_argument("--vocabulary", type=Path, required=True, help="a folder with the tokenizer of T5")
    options = parser.parse_args()
    file = read_benchmarks(ROOT / "benchmarks.yaml")
    for name in BENCHMARKS:
        spec = file.benchmarks[name]
        batches = {task: t5_batch(file, task, options.data, options.vocabulary) for task in spec.trained}
        print("\n".join([*table(spec, batches), ""]))


def t5_batch(file: BenchmarkFile, task: str, data: Path, vocabulary: Path) -> str:
    """The examples in an update of T5: ``47``; ``about 47`` from incomplete data; or that there is none."""
    for partial in (False, True):
        for folder in (data, *sorted(data.glob("*-part"))):
            try:
                features = t5_features(file, task, folder, vocabulary, partial)
            except HarnessError:
                continue
            size = batch_size_of(features, file.models[MODELS["T5"]].recipe)
            return f"about {size}" if partial else str(size)
    return NOT_COUNTED


def t5_features(file: BenchmarkFile, name: str, folder: Path, vocabulary: Path, partial: bool = False) -> Features:
    """A task's training data as T5 reads it; arguments as for `t5_batch`.

    Raises:
        HarnessError: the data is not in ``folder``, or not all of it although it need not be ``partial``.
    """
    task, model = file.tasks[name], file.models[MODELS["T5"]]
    examples = open_examples(task, folder, str(task.train_split), allow_partial=partial)
    tokenizer = load_tokenizer(vocabulary, "T5", "t5")
    architecture = architecture_class(model)(model, None, tokenizer, task, model.recipe.max_length, 0.0)
    return architecture.features(list(examples), training=True)


def table(spec: BenchmarkSpec, t5_batches: Mapping[str, str]) -> list[str]:
    """The lines of a benchmark's table in Markdown.

    Args:
        spec: a benchmark with `MODELS`.
        t5_batches: what `t5_batch` gives for each trained task.
    """
    rows = [row(spec, spec.catalogue[name], t5_batches[name]) for name in spec.trained]
    return [f"| {' | '.join(cells)} |" for cells in (TITLES, ["---"] * len(TITLES), *rows)]


def row(spec: BenchmarkSpec, task: Task, t5_batch: str) -> list[str]:
    """A task's cells: the most updates and, counted again in each epoch, the examples in them."""
    [count] = task.files[str(task.train_split)].rows
    cells = [task.title, f"{count:,}"]
    for family, model in MODELS.items():
        recipe = spec.recipe_for(task.name, model)
        examples = T5_EXAMPLES.get(task.name, count) if family == "T5" else count
        batch = t5_batch if recipe.batch_tokens else str(recipe.batch_size)
        size = int(batch.split()[-1]) if batch != NOT_COUNTED else None
        updates, seen = amounts(examples, size or 1, recipe)
        cells += [batch, f"{updates:,}", NOT_COUNTED if size is None else in_short(seen)]
    return cells


def amounts(examples: int, batch_size: int, recipe: Recipe) -> tuple[int, int]:
    """The updates of a whole training, and the examples in them."""
    plan = TrainingPlan(np.ones(examples), np.ones(examples, dtype=int), batch_size, seed=0)
    steps = steps_of(plan, recipe)
    epochs, rest = divmod(steps, plan.updates_per_epoch)
    return steps, epochs * examples + rest * batch_size


def in_short(number: int) -> str:
    """``750``, ``25.7 k``, ``12.3 M``."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)


if __name__ == "__main__":
    main()
