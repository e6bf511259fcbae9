"""The layers of recipes: which value comes out, where it comes from, and how that is shown."""

import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.config.benchmark import narrow, read_benchmarks
from harness.config.effective import effective_recipes
from harness.config.schema import BenchmarkSpec
from harness.errors import HarnessError

ROOT = Path(__file__).parents[2]
FILE = """models:
  m: {{architecture: bert, checkpoint: x{model}}}
  n: {{architecture: bert, checkpoint: y}}
benchmarks:
  b:
    tasks: [rte, mnli, cola, ax]
    models: [m, n]
    {lines}
"""


def read(folder: Path, lines: str = "", model: str = "", **options: str) -> BenchmarkSpec:
    """The benchmark with these lines, where model m has the keys of ``model``; ``options`` are those of ``--set``."""
    path = folder / "benchmarks.yaml"
    path.write_text(FILE.format(lines=lines, model=model and f", {model}"))
    overrides = {f"recipe.{key}": value for key, value in options.items()}
    return narrow(read_benchmarks(path, overrides=overrides).benchmark("b"))


@pytest.mark.parametrize(
    ("model", "lines", "options", "expected"),
    [
        ("", "", {}, (32, 32)),
        ("", "recipe: {batch_size: 2}", {}, (2, 2)),
        ("recipe: {batch_size: 3}", "recipe: {batch_size: 2}", {}, (3, 3)),
        ("recipe: {batch_size: 3}, task_recipes: {rte: {batch_size: 4}}", "recipe: {batch_size: 2}", {}, (4, 3)),
        ("task_recipes: {rte: {batch_size: 4}}", "recipe: {batch_size: 2}", {}, (4, 2)),
        ("task_recipes: {rte: {batch_size: 4}}", "sweep: {batch_size: 5}", {}, (5, 5)),
        ("task_recipes: {rte: {batch_size: 4}}", "overrides: {tasks: {rte: {batch_size: 6}}}", {}, (6, 32)),
        ("task_recipes: {rte: {batch_size: 4}}", "overrides: {models: {m: {batch_size: 7}}}", {}, (7, 7)),
        ("task_recipes: {rte: {batch_size: 4}}", "recipe: {batch_size: 2}", {"batch_size": "8"}, (8, 8)),
    ],
)
def test_the_more_specific_layer_wins(tmp_path, model, lines, options, expected):
    spec = read(tmp_path, lines, model, **options)
    assert tuple(spec.recipes_for(task, "m")[0].batch_size for task in ("rte", "mnli")) == expected


def test_a_setting_with_two_names_is_one(tmp_path):
    spec = read(
        tmp_path,
        "recipe: {batch_tokens: 512, max_steps: 9}\n    overrides: {tasks: {mnli: {batch_size: 4, epochs: 2}}}",
        "recipe: {batch_size: 8}, task_recipes: {cola: {batch_tokens: 100}}",
    )
    of_task = {task: spec.recipe_for(task, "m").deciding() for task in spec.trained}
    sizes = {task: [recipe.get(key) for key in ("batch_size", "batch_tokens")] for task, recipe in of_task.items()}
    assert sizes == {"rte": [8, None], "mnli": [4, None], "cola": [None, 100]}
    lengths = {task: [recipe.get(key) for key in ("epochs", "max_steps")] for task, recipe in of_task.items()}
    assert lengths == {"rte": [None, 9], "mnli": [2, None], "cola": [None, 9]}
    assert spec.recipe_for("rte", "n").deciding()["batch_tokens"] == 512
    whole = read(tmp_path, "recipe: {batch_tokens: 512}", batch_tokens="null")
    assert whole.recipe_for("rte", "n").deciding()["batch_size"] == 32


def test_steps_that_contradict_each_other(tmp_path):
    message = r"benchmarks.yaml:5: 'rte' with 'm': min_steps 10 is above max_steps 9"
    for lines, model in [
        ("recipe: {min_steps: 10, max_steps: 9}", ""),
        ("recipe: {max_steps: 9}", "recipe: {min_steps: 10}"),
        ("recipe: {max_steps: 9}\n    overrides: {tasks: {rte: {min_steps: 10}}}", ""),
        ("recipe: {max_steps: 9}\n    sweep: {min_steps: [3, 10]}", ""),
    ]:
        with pytest.raises(HarnessError, match=message):
            read(tmp_path, lines, model)
    spec = read(tmp_path, "recipe: {max_steps: 9}\n    overrides: {tasks: {rte: {epochs: 1, min_steps: 10}}}")
    assert spec.recipe_for("rte", "m").min_steps == 10
    with pytest.raises(HarnessError, match=r"benchmark 'b': 'rte' with 'm': min_steps 10 is above max_steps 9\n"):
        read(tmp_path, "recipe: {max_steps: 9}", min_steps="10")


def test_max_steps_ends_a_floor_of_a_less_specific_layer(tmp_path):
    spec = read(tmp_path, "", "task_recipes: {rte: {min_steps: 2000, epochs: 100}}", max_steps="4")
    recipe = spec.recipe_for("rte", "m")
    assert (recipe.max_steps, recipe.min_steps) == (4, None)


def test_mistakes_in_task_recipes(tmp_path):
    with pytest.raises(HarnessError) as error:
        read(tmp_path, "", "task_recipes: {rtee: {}, wic: {}, ax: {epochs: 1}, rte: {epoch: 1}}")
    assert {line.partition(":")[2] for line in str(error.value).splitlines()} == {
        "2: unknown task 'rtee'. Did you mean 'rte'?",
        "2: task 'ax' trains nothing, because the model of 'mnli' answers it",
        "2: unknown key 'epoch' in task_recipes.rte. Did you mean 'epochs'?",
    }


def test_recipes_in_words(tmp_path):
    spec = read(
        tmp_path,
        "recipe: {learning_rate: 1e-5, warmup_ratio: 0.5, epochs: 1}\n"
        "    sweep: {learning_rate: [1e-4, 2e-4], models: {n: {epochs: [1, 2], max_steps: [null, 50]}}}\n"
        "    overrides: {tasks: {cola: {batch_size: 32, learning_rate: 7}}}",
        "recipe: {batch_tokens: 4096, patience: 5}, task_recipes: {mnli: {patience: null}, wic: {epochs: 9}}",
        weight_decay="0.01",
    )
    assert effective_recipes(spec) == (
        "recipes; what nothing sets is the default:\n"
        "  m\n"
        "    epochs 1, warmup_ratio 0.5 (benchmark); batch_tokens 4096, patience 5 (model);\n"
        "      learning_rate 0.0001 | 0.0002 (sweep); weight_decay 0.01 (--set)\n"
        "    mnli: patience none (task recipe)\n"
        "    cola: learning_rate 7, batch_size 32 (override)\n"
        "  n\n"
        "    warmup_ratio 0.5 (benchmark); learning_rate 0.0001 | 0.0002, epochs 1 | max_steps 50 | epochs 2 (sweep);\n"
        "      weight_decay 0.01 (--set)\n"
        "    cola: learning_rate 7, batch_size 32 (override)"
    )


def test_models_with_the_same_recipes_share_their_lines(tmp_path):
    assert effective_recipes(read(tmp_path)).splitlines()[1:] == ["  m, n", "    the default"]


def test_a_value_that_an_override_puts_back_to_the_default_is_shown(tmp_path):
    lines = effective_recipes(read(tmp_path, "overrides: {tasks: {rte: {epochs: 3}}}", "recipe: {max_steps: 7}"))
    assert lines.splitlines()[1:] == [
        *("  m", "    max_steps 7 (model)", "    rte: epochs 3 (override)"),
        *("  n", "    the default", "    rte: epochs 3 (override)"),
    ]


def test_validate_and_a_dry_run_print_them(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    example, output = re.findall(r"layers.yaml -->\n```yaml\n(.*?)```.*?```text\n(.*?)```", page, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    Path("layers.yaml").write_text(example)
    assert main(["validate", "layers.yaml"]) == 0
    assert capsys.readouterr().out == f"{output}layers.yaml is valid\n"
    assert main(["run", "layers.yaml", "--tasks", "wnli", "--dry-run", "--set", "recipe.epochs=2"]) == 0
    table, _, recipes = capsys.readouterr().out.partition("\n\nrecipes; ")
    assert "layers: 1 run, 0 done" in table
    assert recipes.splitlines()[2:] == [
        "    learning_rate 0.001, batch_tokens 1024 (model); min_steps 40 (task recipe); max_length 64 (override);",
        "      epochs 2 (--set)",
    ]
