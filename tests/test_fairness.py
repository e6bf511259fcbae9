"""docs/fairness.md: its tables are what the shipped recipes make of the official data."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import training_amounts  # noqa: E402
from training_amounts import T5_EXAMPLES, amounts, t5_batch, t5_features, table  # noqa: E402

from harness.config.benchmark import read_benchmarks  # noqa: E402
from harness.training.update import batch_size_of  # noqa: E402

FILE = read_benchmarks(ROOT / "benchmarks.yaml")
PAGE = (ROOT / "docs" / "fairness.md").read_text(encoding="utf-8")


def shown(benchmark: str) -> list[str]:
    """The lines of a benchmark's table on the page."""
    return [part.splitlines() for part in re.findall(r"^\| Task .*\n(?:\|.*\n)+", PAGE, re.MULTILINE)][
        training_amounts.BENCHMARKS.index(benchmark)
    ]


def t5_batches(benchmark: str) -> dict[str, str]:
    """By task, the examples in an update of T5, as the page has them."""
    rows = [line.strip("| ").split(" | ") for line in shown(benchmark)]
    column = rows[0].index("T5 batch")
    return dict(zip(FILE.benchmarks[benchmark].trained, [row[column] for row in rows[2:]], strict=True))


@pytest.mark.parametrize("name", training_amounts.BENCHMARKS)
def test_the_tables_are_those_of_the_recipes(name):
    assert shown(name) == table(FILE.benchmarks[name], t5_batches(name))


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "tokens"), [("cola", 123), ("rte", 689), ("cb", 772), ("copa", 305), ("wnli", 392), ("wsc", 306)]
)
def test_t5_fills_its_batches(data_folder, task, tokens):
    """``tokens`` are what 8 examples hold: the batch that was, of the 4,096 that it should be."""
    features = t5_features(FILE, task, data_folder, data_folder / "vocab" / "t5")
    assert 8 * len(features.columns["input_ids"].values) / len(features) == pytest.approx(tokens, abs=0.5)
    size = batch_size_of(features, FILE.models["t5-base"].recipe)
    assert size == pytest.approx(8 * 4096 / tokens, rel=0.02)
    suite = "superglue" if task in FILE.benchmarks["superglue"].tasks else "glue"
    assert t5_batches(suite)[task] == str(size)
    assert len(features) == T5_EXAMPLES.get(task, FILE.tasks[task].files["train"].rows[0])


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", training_amounts.BENCHMARKS)
def test_the_batches_of_t5_are_those_of_the_data(data_folder, name):
    batches = t5_batches(name)
    assert {task: t5_batch(FILE, task, data_folder, data_folder / "vocab" / "t5") for task in batches} == batches


def test_small_tasks_get_the_updates_of_rte():
    glue, superglue = FILE.benchmarks["glue"], FILE.benchmarks["superglue"]
    for model, updates, without in (("enct5-base", 2000, 200), ("bert-base", 234, 24)):
        rte = glue.recipe_for("rte", model)
        assert amounts(2490, rte.batch_size, rte)[0] == updates
        for task in ("cb", "copa", "wsc"):
            recipe = superglue.recipe_for(task, model)
            count = FILE.tasks[task].files["train"].rows[0]
            assert amounts(count, recipe.batch_size, recipe)[0] == updates
        cb = superglue.recipe_for("cb", model).model_copy(update={"min_steps": None})
        assert amounts(250, cb.batch_size, cb)[0] == without
