"""Memory does not grow with the number of examples."""

import subprocess
import sys
from pathlib import Path

import pytest

GROWTH = """
import resource, sys
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from harness.models import bert, enct5, t5
from harness.config.benchmark import read_benchmarks
from harness.runner.resources import Resources
from harness.training.update import Training

folder, size = Path(sys.argv[1]), int(sys.argv[2])


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ready(name):
    # Everything from the file to the first batch of a training.
    file = read_benchmarks(folder / "benchmarks.yaml")
    spec = file.benchmark(name)
    session = Resources(spec, folder / "cache")
    task, model = file.tasks[name], file.models["m"]
    recipe = spec.recipe_for(name, "m")
    session.data(task, ("train", "validation"))
    architecture = session.architecture(model, task, recipe)
    features = session.features(architecture, task, "train", training=True)
    evaluated = session.features(architecture, task, "validation", training=False)
    assert len(session.examples(task, "validation")) == len(evaluated)
    training = Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))
    training.update()
    return features


ready("small")
before = peak()
features = ready("big")
assert len(features) == size, len(features)
assert isinstance(features.columns["input_ids"].values, np.memmap)
print(peak() - before)
"""

BENCHMARKS = """
tasks:
  small: {{problem_type: single_label_classification, text: text, train: small.{form}, labels: ["no", "yes"]}}
  big: {{problem_type: single_label_classification, text: text, train: big.{form}, labels: ["no", "yes"]}}
models:
  m: {{architecture: {architecture}, config: {config}, tokenizer: sample}}
benchmarks:
  small: {{tasks: small, models: m, selection: {selection}, recipe: {{precision: fp32, batch_size: 8}}}}
  big: {{tasks: big, models: m, selection: {selection}, recipe: {{precision: fp32, batch_size: 8}}}}
"""

CONFIGS = {
    "bert": "{model_type: bert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "t5": "{d_model: 16, num_layers: 1, num_heads: 2, d_kv: 8, d_ff: 16}",
}

ROWS = {"tsv": "{}\t{}\n", "csv": '"{}",{}\n', "jsonl": '{{"text": "{}", "label": "{}"}}\n'}


def write(path: Path, rows: int) -> None:
    form = path.suffix[1:]
    with open(path, "w") as file:
        if form != "jsonl":
            file.write(ROWS[form].replace('"', "").format("text", "label"))
        for i in range(rows):
            file.write(
                ROWS[form].format(f"the farmer sees {i} {'old' if i % 3 else 'new'} boats", ("no", "yes")[i % 2])
            )


def growth(folder: Path, rows: int, form: str, architecture: str, selection: str) -> float:
    """By how many MB a process grows when it makes a task of so many rows ready, after it did the same with few."""
    write(folder / f"small.{form}", 3000)
    write(folder / f"big.{form}", rows)
    settings = {"form": form, "architecture": architecture, "config": CONFIGS[architecture], "selection": selection}
    (folder / "benchmarks.yaml").write_text(BENCHMARKS.format(**settings))
    kept = rows - 1000 - (2000 if selection == "holdout" else 0)
    command = [sys.executable, "-c", GROWTH, str(folder), str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@pytest.mark.parametrize(
    ("form", "architecture", "selection"),
    [("tsv", "bert", "validation"), pytest.param("jsonl", "t5", "holdout", marks=pytest.mark.slow)],
)
def test_memory_hardly_grows_with_the_number_of_examples(tmp_path, form, architecture, selection):
    assert growth(tmp_path, 100_000, form, architecture, selection) < 40


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_two_million_examples_take_less_than_300_mb(tmp_path, form):
    assert growth(tmp_path, 2_000_000, form, "bert", "validation") < 300
