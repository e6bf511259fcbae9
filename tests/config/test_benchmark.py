"""benchmarks.yaml: what it means, and every mistake in it with its line."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.benchmark import BenchmarkFile, Recipe, narrow, read_benchmarks
from harness.errors import HarnessError
from harness.task.plugins import load_tasks

REPOSITORY = Path(__file__).parents[2]
SHIPPED = (REPOSITORY / "benchmarks.yaml").read_text(encoding="utf-8")

FILE = """models:
  m: {architecture: t5, checkpoint: google-t5/t5-small}
  n: {MODEL}
benchmarks:
  b:
    tasks: [rte, mnli]
    models: [m, n]
    BENCHMARK
"""
MODEL = "architecture: bert, checkpoint: bert-base-uncased"
BERT = "architecture: bert, checkpoint: x"
RANDOM = "architecture: bert, config: {}, tokenizer: sample"
T5 = "architecture: t5, checkpoint: x"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "benchmarks.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def read(write):
    """A file with one more line in its benchmark (line 8), another model n (line 3), or other text altogether."""

    def read(benchmark: str = "", *, model: str = MODEL, text: str = FILE, **options) -> BenchmarkFile:
        return read_benchmarks(write(text.replace("BENCHMARK", benchmark).replace("MODEL", model)), **options)

    return read


@pytest.fixture
def mistakes(read, tmp_path):
    """The lines of the error, as ``line: message``."""

    def mistakes(*args, **options) -> list[str]:
        with pytest.raises(HarnessError) as error:
            read(*args, **options)
        return [line.removeprefix(f"{tmp_path / 'benchmarks.yaml'}:") for line in str(error.value).splitlines()]

    return mistakes


# Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("recipe: {epoch: 3}", "unknown key 'epoch' in recipe. Did you mean 'epochs'?"),
        ("reciep: {}", "unknown key 'reciep' in benchmark 'b'. Did you mean 'recipe'?"),
        ("recipe: 3", "recipe must be a mapping, not 3"),
        ("recipe:", "recipe must be a mapping, not nothing"),
        ("recipe: {learning_rate: fast}", "recipe.learning_rate must be a number above 0, not 'fast'"),
        ("recipe: {learning_rate: '1e-4'}", "recipe.learning_rate must be a number above 0, not '1e-4'"),
        ("recipe: {learning_rate: 0}", "recipe.learning_rate must be a number above 0, not 0"),
        ("recipe: {learning_rate: .inf}", "recipe.learning_rate must be a number above 0, not inf"),
        ("recipe: {learning_rate: .nan}", "recipe.learning_rate must be a number above 0, not nan"),
        ("recipe: {learning_rate: true}", "recipe.learning_rate must be a number above 0, not true"),
        ("recipe: {batch_size: 1.5}", "recipe.batch_size must be a whole number from 1 to 10^9, not 1.5"),
        ("recipe: {max_steps: 0}", "recipe.max_steps must be a whole number from 1 to 10^9, or null, not 0"),
        ("recipe: {warmup_ratio: 2}", "recipe.warmup_ratio must be a number from 0 to 1, not 2"),
        ("recipe: {weight_decay: -1}", "recipe.weight_decay must be a number of at least 0, not -1"),
        ("recipe: {max_length: 4}", "recipe.max_length must be a whole number from 8 to a million, not 4"),
        ("recipe: {max_length: 1000001}", "recipe.max_length must be a whole number from 8 to a million, not 1000001"),
        (
            "recipe: {max_steps: 1000000001}",
            "recipe.max_steps must be a whole number from 1 to 10^9, or null, not 1000000001",
        ),
        (
            f"recipe: {{batch_size: {10**30}}}",
            "recipe.batch_size must be a whole number from 1 to 10^9, not 1" + 30 * "0",
        ),
        ("recipe: {epochs: 1e300}", "recipe.epochs must be a number above 0, at most a million, not 1e+300"),
        (f"limit: {{train: {2**63}}}", "limit.train must be a whole number from 1 to 10^9, not 9223372036854775808"),
        ("recipe: {optimizer: adam}", "recipe.optimizer must be adamw or adafactor, not 'adam'. Did you mean 'adamw'?"),
        ("recipe: {schedule: cosine}", "recipe.schedule must be linear or constant, not 'cosine'"),
        ("recipe: {precision: 16}", "recipe.precision must be auto, fp32, tf32, bf16 or fp16, not 16"),
        ("recipe: {compile: yes}", "recipe.compile must be true, false or auto, not 'yes'"),
        (
            "recipe: {eval_every: epochs}",
            "recipe.eval_every must be a whole number from 1 to 10^9, epoch or null, not 'epochs'. "
            "Did you mean 'epoch'?",
        ),
        ("recipe: {batch_tokens: 0}", "recipe.batch_tokens must be a whole number from 1 to 10^9, or null, not 0"),
        ("recipe: {min_steps: 1.5}", "recipe.min_steps must be a whole number from 1 to 10^9, or null, not 1.5"),
        ("recipe: {patience: 0}", "recipe.patience must be a whole number from 1 to 10^9, or null, not 0"),
        ("recipe: {label_smoothing: 1}", "recipe.label_smoothing must be a number from 0 to below 1, not 1"),
        ("overrides: {task: {}}", "unknown key 'task' in overrides. Did you mean 'tasks'?"),
        ("overrides: {tasks: {rte: 3}}", "overrides.tasks.rte must be a mapping, not 3"),
        (
            "overrides: {tasks: {rte: {batch: 3}}}",
            "unknown key 'batch' in overrides.tasks.rte. Did you mean 'batch_size'?",
        ),
        ("overrides: {tasks: {mlni: {}}}", "unknown task 'mlni'. Did you mean 'mnli'?"),
        ("overrides: {tasks: {cola: {}}}", "task 'cola' is not trained in this benchmark"),
        ("overrides: {models: {q: {}}}", "unknown model 'q'. Known: m, n"),
        ("data: hubb", "data: there is no folder 'hubb'. Did you mean 'hub'?"),
        ("data: 3", "data must be hub, sample, a folder, or a mapping from task to these, not 3"),
        ("data: {rtee: hub}", "unknown task or suite 'rtee'. Did you mean 'rte'?"),
        ("seeds: []", "seeds must be a list of whole numbers from 0 to 4294967295, not []"),
        ("seeds: [1, 2, 1]", "seed 1 is listed twice"),
        ("seeds: [1, -2]", "seeds must be a list of whole numbers from 0 to 4294967295, not -2"),
        ("seeds: [1, one]", "seeds must be a list of whole numbers from 0 to 4294967295, not 'one'"),
        ("limit: {}", "limit needs 'train' or 'validation': how many examples to use"),
        ("limit: {train: 0}", "limit.train must be a whole number from 1 to 10^9, not 0"),
        ("limit: {test: 3}", "unknown key 'test' in limit. Known: train, validation"),
        ("allow_partial: no", "allow_partial must be true or false, not 'no'"),
        ("selection: holduot", "selection must be validation or holdout, not 'holduot'. Did you mean 'holdout'?"),
        ("predict: [train]", "predict must be [test] or [], not 'train'"),
        ("init_from: {rte: cola}", "task 'cola' is not trained in this benchmark"),
        ("init_from: rtee", "unknown task 'rtee'. Did you mean 'rte'?"),
        ("init_from: {rte: rte}", "init_from goes in a circle: rte -> rte"),
        ("init_from: {rte: mnli, mnli: rte}", "init_from goes in a circle: mnli -> rte -> mnli"),
        ("description: [x]", "description must be a text, not ['x']"),
        ("data: !hub x", "unknown tag '!hub': only plain YAML values are read"),
    ],
)
def test_mistakes_in_a_benchmark(mistakes, line, message):
    assert mistakes(line) == [f"8: {message}"]


@pytest.mark.parametrize("key", ["name", "catalogue", "model_recipes", "task_recipes"])
def test_what_python_adds_is_no_setting(mistakes, key):
    (found,) = mistakes(f"{key}: x")
    assert found.startswith(f"8: unknown key '{key}' in benchmark 'b'")


def test_duplicate_keys(mistakes):
    assert mistakes("seeds: [1]\n    seeds: [2]") == ["9: duplicate key 'seeds', first on line 8"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("architecture: brt, checkpoint: x", "architecture must be enct5, t5 or bert, not 'brt'. Did you mean 'bert'?"),
        ("checkpoint: x", "model 'n' needs 'architecture': enct5, t5 or bert"),
        (f"{RANDOM}, chekpoint: x", "unknown key 'chekpoint' in model 'n'. Did you mean 'checkpoint'?"),
        ("architecture: bert", "model 'n' needs 'checkpoint', or 'config' to start from random weights"),
        (f"{BERT}, config: {{}}", "a model has a checkpoint or a config (to start from random weights), not both"),
        ("architecture: bert, config: {}", "a model with a config needs 'tokenizer': a Hub id, a folder or sample"),
        (
            "architecture: bert, config: [], tokenizer: sample",
            "config must be a mapping of configuration arguments, not []",
        ),
        ("architecture: bert, checkpoint: ./x, revision: main", "only a checkpoint of the Hub has a revision"),
        (f"{RANDOM}, revision: main", "only a checkpoint of the Hub has a revision"),
        (
            f"{BERT}, revision: 12",
            "revision must be a branch, a tag or a commit (in quotes where it reads as a number), not 12",
        ),
        (f"{BERT}/y/z", "checkpoint is neither a folder nor a Hub id: 'x/y/z'"),
        (f"{BERT}, tokenizer: x/y/z", "tokenizer is neither a folder nor a Hub id: 'x/y/z'"),
        (f"{BERT}, prefix: false", "prefix is an option of enct5 and t5; this model is bert"),
        (f"{T5}, num_decoder_layers: 2", "num_decoder_layers is an option of enct5; this model is t5"),
        (f"{T5}, prompt_position_bias: true", "prompt_position_bias is an option of enct5; this model is t5"),
        ("architecture: enct5, checkpoint: x, decoding: rank", "decoding is an option of t5; this model is enct5"),
        (f"{T5}, decoding: ranking", "decoding must be generate or rank, not 'ranking'. Did you mean 'rank'?"),
        (f"{BERT}, dropout: 1.5", "dropout must be a number from 0 to 1, not 1.5"),
        (f"{BERT}, recipe: {{epoch: 1}}", "unknown key 'epoch' in recipe. Did you mean 'epochs'?"),
    ],
)
def test_mistakes_in_a_model(mistakes, model, message):
    assert mistakes(model=model) == [f"3: {message}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file must be a mapping, not nothing"),
        ("[1]", "1: the file must be a mapping, not [1]"),
        ("models: {}\n", "1: the file needs 'benchmarks': a mapping from name to benchmark"),
        ("benchmark: {}\n" + FILE, "1: unknown key 'benchmark' in the file. Did you mean 'benchmarks'?"),
        ("default: c\n" + FILE, "1: unknown benchmark 'c'. Known: b"),
        ("default: 3\n" + FILE, "1: default must be the name of a benchmark, not 3"),
        (
            FILE + "  B: {tasks: rte, models: m}\n",
            "9: benchmark 'B' and 'b' differ only in case: on some disks one folder",
        ),
        (
            FILE + "  ../b: {tasks: rte, models: m}\n",
            "9: '../b' cannot be the name of a benchmark, which names a folder: "
            "letters, digits, '.', '_' and '-', a letter or digit first, no '..'",
        ),
        (FILE + "  c: {models: m}\n", "9: benchmark 'c' needs 'tasks': a task, a suite or a list of them"),
        (FILE + "  c: {tasks: rte}\n", "9: benchmark 'c' needs 'models': the name of a model or a list of them"),
        (
            FILE + "  c: {tasks: ax, models: m}\n",
            "9: nothing to train: ax is answered by the model of another task: add mnli",
        ),
        (FILE + "  c: {tasks: [rte,\n rtee], models: m}\n", "10: unknown task or suite 'rtee'. Did you mean 'rte'?"),
        (FILE + "  c: {tasks: gleu, models: m}\n", "9: unknown task or suite 'gleu'. Did you mean 'glue'?"),
        (FILE + "  c: {tasks: [], models: m}\n", "9: tasks must be a task, a suite or a list of them, not []"),
        (FILE + "  c: {tasks: rte, models: [m, m]}\n", "9: model 'm' is listed twice"),
        (FILE + "  c: {tasks: rte, models: [bert-tny]}\n", "9: unknown model 'bert-tny'. Known: m, n"),
        (FILE + "  c:\n", "9: benchmark 'c' must be a mapping, not nothing"),
        (FILE + "plugins: ./nowhere\n", "9: plugins: no such folder: 'FOLDER/nowhere'"),
    ],
)
def test_mistakes_in_the_file(mistakes, tmp_path, text, expected):
    assert mistakes(text=text) == [expected.replace("FOLDER", str(tmp_path))]


def test_ranking_is_refused_where_answers_are_open(mistakes, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "open.py").write_text(
        "from harness.task.task import *\n"
        "task = Task('quiz', 'mine', 'single_label_classification', ('text',), ('accuracy',), ('x',), "
        "hub=HubSource('a/b'), open_answers=True)\n"
    )
    text = FILE.replace("[rte, mnli]", "[rte, quiz]") + "plugins: plugins\n"
    model = "architecture: t5, checkpoint: x, decoding: rank"
    assert mistakes(text=text, model=model) == [
        "7: model 'n' ranks the answers (decoding: rank), but those of 'quiz' are open"
    ]


def test_a_task_that_is_not_on_the_hub_needs_a_folder(mistakes, read, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from harness.task.task import *\n"
        "task = Task('mine', 'mine', 'single_label_classification', ('text',), ('accuracy',), ('x', 'y'))\n"
    )
    text = FILE.replace("[rte, mnli]", "mine") + "plugins: [.]\n"
    assert mistakes("data: hub", text=text) == ["8: task 'mine' is not on the Hub: give its folder in 'data'"]
    assert read("data: {mine: .}", text=text).benchmark("b").data == {"mine": str(tmp_path)}


def test_all_mistakes_come_at_once_in_the_order_of_the_file(mistakes):
    text = """default: simple
models:
  m: {architecture: t6, checkpoint: x}
  n: {architecture: bert, checkpoint: x, recipe: {epoch: 1}}
benchmarks:
  sample:
    models:
      - m
      - nn
    tasks: [glue, rtee]
    recipe: {batch_size: 0, lr: 1}
    recipe: {}
    overrides: {tasks: {foo: {}}}
  other: {tasks: 3, models: m, seeds: x}
"""
    options = {"recipe.epochs": "many", "recipe.lerning_rate": "1", "model.x": "1"}
    assert [line.split(" ")[0] for line in mistakes(text=text, overrides=options)] == [
        *("1:", "3:", "4:", "9:", "10:", "11:", "11:", "12:", "13:", "14:", "14:", "--set", "--set", "--set")
    ]


def test_a_mistake_under_an_anchor_is_told_once(mistakes):
    text = FILE + "  c: {tasks: rte, models: m, recipe: &r {epoch: 3}}\n  d: {tasks: rte, models: m, recipe: *r}\n"
    found = mistakes(text=text)
    assert found[0] == "9: unknown key 'epoch' in recipe. Did you mean 'epochs'?"
    assert len(found) == 1


# Meaning ---------------------------------------------------------------------------------------------------------


def test_suites_become_tasks_in_order_each_once(read):
    text = FILE.replace("[rte, mnli]", "[rte, glue, mnli]")
    tasks = read(text=text).benchmark("b").tasks
    assert tasks == ("rte", "cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "wnli", "ax")


def test_single_values_stand_for_lists(read):
    text = FILE.replace("[rte, mnli]", "rte").replace("[m, n]", "n")
    spec = read("{seeds: 3, predict: test}"[1:-1].replace(", ", "\n    "), text=text).benchmark("b")
    assert (spec.tasks, spec.models, spec.seeds, spec.predict) == (("rte",), ("n",), (3,), ("test",))


def test_the_default_benchmark(read, mistakes):
    assert read().benchmark().name == "b"
    two = FILE + "  c: {tasks: rte, models: m}\n"
    with pytest.raises(HarnessError, match=r"benchmarks.yaml: there is no 'default:': name a benchmark: b, c"):
        read(text=two).benchmark()
    assert read(text="default: c\n" + two).benchmark().name == "c"
    with pytest.raises(HarnessError, match=r"benchmarks.yaml: unknown benchmark 'd'. Known: b, c"):
        read(text=two).benchmark("d")


def test_objects_are_frozen(read):
    file = read()
    with pytest.raises(ValueError, match="frozen"):
        file.models["m"].checkpoint = "other"
    with pytest.raises(ValueError, match="frozen"):
        file.benchmark().recipe.epochs = 4


LAYERS = """recipe: {{{benchmark}}}
    overrides: {{tasks: {{rte: {{{task}}}}}, models: {{n: {{{model}}}}}}}"""


def test_each_layer_of_recipes_wins_over_the_one_before(read):
    layers = {"benchmark": "batch_size: 2", "task": "batch_size: 3", "model": "batch_size: 4"}
    with_recipe = MODEL + ", recipe: {batch_size: 1, weight_decay: 0.5}"

    def batch_sizes(**given):
        text = LAYERS.format(**{layer: given.get(layer, "") for layer in layers})
        spec = read(text, model=with_recipe).benchmark("b")
        assert spec.recipe_for("rte", "n").weight_decay == 0.5
        return [spec.recipe_for(task, model).batch_size for task in ("rte", "mnli") for model in ("m", "n")]

    assert batch_sizes() == [32, 1, 32, 1]
    assert batch_sizes(benchmark="batch_size: 2") == [2, 1, 2, 1]
    assert batch_sizes(task="batch_size: 3") == [3, 3, 32, 1]
    assert batch_sizes(benchmark="batch_size: 2", task="batch_size: 3") == [3, 3, 2, 1]
    assert batch_sizes(**layers) == [3, 4, 2, 4]
    assert read().benchmark("b").recipe_for("rte", "m") == Recipe()


def test_a_layer_that_gives_epochs_ends_the_max_steps_of_an_earlier_one(read):
    layers = {"benchmark": "max_steps: 10", "task": "epochs: 5", "model": "max_steps: 7, epochs: 9"}
    spec = read(LAYERS.format(**layers)).benchmark("b")
    assert spec.recipe_for("mnli", "m").max_steps == 10
    assert (spec.recipe_for("rte", "m").max_steps, spec.recipe_for("rte", "m").epochs) == (None, 5)
    assert spec.recipe_for("rte", "n").max_steps == 7
    options = read(LAYERS.format(**layers), overrides={"recipe.epochs": "2"}).benchmark("b")
    assert {options.recipe_for(t, m).max_steps for t in ("rte", "mnli") for m in ("m", "n")} == {None}


def test_set_wins_over_every_layer(read):
    layers = {"benchmark": "learning_rate: 1", "task": "learning_rate: 2", "model": "learning_rate: 3"}
    values = {"recipe.learning_rate": "1e-4", "recipe.eval_every": "epoch", "recipe.patience": "null"}
    spec = read(LAYERS.format(**layers), overrides=values).benchmark("b")
    recipes = [spec.recipe_for(task, model) for task in ("rte", "mnli") for model in ("m", "n")]
    assert {(recipe.learning_rate, recipe.eval_every, recipe.patience) for recipe in recipes} == {(1e-4, "epoch", None)}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("recipe.epoch", "3", "--set recipe.epoch: unknown key 'epoch' in recipe. Did you mean 'epochs'?"),
        ("recipe.epochs", "x", "--set recipe.epochs: epochs must be a number above 0, at most a million, not 'x'"),
        ("recipe.compile", "yes", "--set recipe.compile: compile must be true, false or auto, not 'yes'"),
        ("seeds", "3", "--set seeds: only recipe.KEY=VALUE can be set"),
        ("recipe.", "3", "--set recipe.: only recipe.KEY=VALUE can be set"),
    ],
)
def test_mistakes_in_set(mistakes, key, value, message):
    assert mistakes(overrides={key: value}) == [message]


def test_sources_of_data(read, tmp_path):
    file = read("data: {mnli: ./own, glue: sample}")
    spec = file.benchmark()
    assert spec.source(file.tasks["mnli"]) == tmp_path / "own"
    assert spec.source(file.tasks["rte"]) == spec.source(file.tasks["ax"]) == "sample"
    assert spec.describe_source(file.tasks["mnli"]) == str(tmp_path / "own")
    assert spec.describe_source(file.tasks["rte"]) == "the sample data"
    assert read("data: {rte: sample}").benchmark().source(file.tasks["mnli"]) == "hub"
    assert read("data: ../glue").benchmark().source(file.tasks["rte"]) == tmp_path.parent / "glue"
    assert read().benchmark().describe_source(file.tasks["rte"]) == "the Hub's data set"


def test_data_as_json_tells_what_is_read(read):
    assert read().benchmark().data_as_json() == {"data": "hub", "limit": None, "allow_partial": False}
    spec = read("limit: {train: 5}\n    data: {rte: sample}").benchmark()
    assert spec.data_as_json()["limit"] == {"train": 5, "validation": None}
    assert spec.data_as_json()["data"] == {"rte": "sample"}


def test_folders_are_told_from_hub_ids(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    (tmp_path / "google-t5" / "t5-small").mkdir(parents=True)
    text = FILE + "  c: {tasks: rte, models: m}\n"
    models = read(text=text, model="architecture: t5, checkpoint: ~/t5, tokenizer: ./tokens").models
    assert models["m"].checkpoint == str(tmp_path / "google-t5" / "t5-small")
    assert models["n"].checkpoint == "/somewhere/t5"
    assert models["n"].tokenizer == str(tmp_path / "tokens")
    model = "architecture: t5, checkpoint: google/t5-v1_1-base, revision: main"
    assert read(model=model).models["n"].checkpoint == "google/t5-v1_1-base"


def test_missing_folders_are_reported_on_demand(read, mistakes, tmp_path):
    model = "architecture: t5, checkpoint: ./gone"
    read("data: {rte: ./nothing, mnli: hub}", model=model)
    assert mistakes("data: {rte: ./nothing, mnli: hub}", model=model, check_folders=True) == [
        f"3: checkpoint: no such folder: '{tmp_path / 'gone'}'",
        f"8: data: no such folder: '{tmp_path / 'nothing'}'",
    ]


def test_a_folder_without_a_configuration_is_reported_on_demand(read, mistakes, tmp_path):
    model = "architecture: t5, checkpoint: ./mine"
    (tmp_path / "mine").mkdir()
    read(model=model)
    assert mistakes(model=model, check_folders=True) == [
        f"3: checkpoint: no config.json in '{tmp_path / 'mine'}': it is no checkpoint in the form of transformers"
    ]
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert read(model=model, check_folders=True).models["n"].checkpoint == str(tmp_path / "mine")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("good,1\n\nbad\nshort\n", ":4: found 1 columns, expected 2 columns (text, label) (and 1 more rows)"),
        ("good,1\nlong,1,2\n", ":3: found 3 columns, expected 2 columns (text, label)"),
    ],
)
def test_rows_that_do_not_fit_are_reported_on_demand(tmp_path, rows, problem):
    (tmp_path / "mine.csv").write_text(f"text,label\n{rows}")
    task = "{problem_type: single_label_classification, text: text, train: mine.csv, labels: ['1', '2']}"
    (tmp_path / "mine.yaml").write_text(
        f"tasks:\n  mine: {task}\nmodels:\n  m: {{architecture: t5, config: {{d_model: 8}}, tokenizer: sample}}\n"
        "benchmarks: {b: {tasks: mine, models: m}}\n"
    )
    read_benchmarks(tmp_path / "mine.yaml")
    with pytest.raises(HarnessError) as caught:
        read_benchmarks(tmp_path / "mine.yaml", check_folders=True)
    assert str(caught.value) == f"{tmp_path / 'mine.yaml'}:2: task 'mine': {tmp_path / 'mine.csv'}{problem}"


def test_options_are_those_of_the_architecture(read):
    models = read(model="architecture: enct5, checkpoint: x, num_decoder_layers: 2").models
    tasks = load_tasks()
    assert models["m"].options(tasks["rte"]) == {"prefix": True, "dropout": None, "decoding": "generate"}
    every = {"prefix": True, "num_decoder_layers": 2, "prompt_position_bias": True, "dropout": None}
    every["classifier_dropout"] = None
    labels = {"prompt_init": "random", "label_attention": "full", "threshold": 0.5}
    words = {"word_states": True, "label_attention": "full"}
    form = {"text": "fields"}
    own_forms = {"copa": form, "multirc": form, "wic": form}
    assert models["m"].options(tasks["stsb"])["clip"] is models["n"].options(tasks["stsb"])["clip"] is False
    for name, own in {
        "rte": {},
        "stsb": {"clip": False},
        "wsc": {},
        "goemotions": labels,
        "wnut17": words,
        **own_forms,
    }.items():
        assert models["n"].options(tasks[name]) == {**every, **own}


def test_parents(read):
    spec = read("init_from: mnli").benchmark()
    assert (spec.parent("rte"), spec.parent("mnli")) == ("mnli", None)
    spec = read("init_from: {mnli: rte}").benchmark()
    assert (spec.parent("rte"), spec.parent("mnli")) == (None, "rte")


def test_plugin_folders(read, mistakes, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tasks.py").write_text(
        "from harness.task.task import *\n"
        "task = Task('jokes', 'fun', 'regression', ('text',), ('pearson',), hub=HubSource('a/b'))\n"
    )
    text = FILE.replace("[rte, mnli]", "[fun, rte]") + "plugins: ./mine\n"
    file = read(text=text)
    assert file.benchmark().tasks == ("jokes", "rte")
    assert file.plugins == (tmp_path / "mine",)
    (tmp_path / "mine" / "broken.py").write_text("\nx = 1 / 0\n")
    assert mistakes(text=text) == [
        f"9: plugins: {tmp_path}/mine/broken.py:2: the plugin does not load: ZeroDivisionError: division by zero"
    ]


def test_tasks_described_in_the_file(read, mistakes, tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\nfine\tno\nbad\tyes\n")
    task = (
        "tasks:\n  mood: {problem_type: single_label_classification, text: text, train: train.tsv, labels: [no, yes]}\n"
    )
    file = read(text=FILE.replace("[rte, mnli]", "[mood, rte]") + task)
    assert file.benchmark().tasks == ("mood", "rte")
    assert file.tasks["mood"].labels == ("no", "yes")
    found = mistakes(text=FILE.replace("[rte, mnli]", "[mood, rte]") + task.replace("text: text", "txt: text"))
    assert len(found) == 1 and found[0].startswith("10: task 'mood': unknown key 'txt'")
    assert mistakes(text=FILE + task.replace("mood", "RTE")) == [
        "10: there is already a task or suite 'rte': give this one another name"
    ]
    assert mistakes(text=FILE + task.replace("mood", "glue")) == [
        "10: there is already a task or suite 'glue': give this one another name"
    ]
    assert mistakes(text=FILE + "tasks:\n  mood: 3\n") == ["10: task 'mood' must be a mapping, not 3"]


# Narrowing -------------------------------------------------------------------------------------------------------


def test_narrowing(read, tmp_path, monkeypatch):
    spec = read(text=FILE.replace("[rte, mnli]", "glue")).benchmark()
    assert narrow(spec) == spec
    part = narrow(spec, tasks=["rte", "cola"], models=["n"], seeds=[7, 8, 7], data="sample")
    assert (part.tasks, part.models, part.seeds, part.data) == (("cola", "rte"), ("n",), (7, 8), "sample")
    assert narrow(spec, tasks=["glue"]).tasks == spec.tasks
    assert narrow(spec, tasks="rte", models="m").tasks == ("rte",)
    assert part.recipe_for("rte", "n") == spec.recipe_for("rte", "n")
    monkeypatch.chdir(tmp_path)
    assert narrow(spec, data=".").data == str(tmp_path)


def test_mistakes_in_narrowing(read):
    spec = read(text=FILE.replace("[rte, mnli]", "[rte, mnli, ax]")).benchmark()
    with pytest.raises(HarnessError) as error:
        narrow(spec, tasks=["ret", "rte"], models=["k"], seeds=[], data="sampel")
    assert str(error.value).splitlines() == [
        "benchmark 'b': unknown task or suite 'ret'. Did you mean 'rte'?",
        "benchmark 'b': unknown model 'k'. Known: m, n",
        "benchmark 'b': seeds must be whole numbers from 0 to 4294967295, not []",
        "benchmark 'b': data: there is no folder 'sampel'. Did you mean 'sample'?",
    ]
    with pytest.raises(HarnessError, match="nothing to train: ax is answered by the model of another task: add mnli"):
        narrow(spec, tasks=["ax"])
    with pytest.raises(HarnessError, match="unknown task or suite 'cola'"):
        narrow(spec, tasks=["cola"])
    with pytest.raises(HarnessError, match="no model is chosen"):
        narrow(spec, models=[])


# The file of this repository -------------------------------------------------------------------------------------


def test_the_shipped_file():
    file = read_benchmarks(REPOSITORY / "benchmarks.yaml", check_folders=True)
    assert file.default == "sample"
    sample, glue = file.benchmark(), file.benchmark("glue")
    assert sample.data == "sample" and glue.data == "hub"
    assert all(file.models[name].config for name in sample.models)
    assert all(len(file.models[name].revision) == 40 for name in glue.models)
    assert {file.models[name].architecture for name in glue.models} == {"enct5", "t5", "bert"}
    quick = file.benchmark("quick")
    assert (quick.tasks, quick.seeds, quick.selection) == (("rte", "mrpc"), (1, 2, 3), "holdout")
    assert all(len(file.models[name].revision) == 40 for name in quick.models)
    assert {file.models[name].architecture for name in quick.models} == {"enct5", "t5", "bert"}
    recipes = [quick.recipe_for("rte", name) for name in quick.models]
    assert {(recipe.epochs, recipe.batch_size, recipe.max_length) for recipe in recipes} == {(10, 32, 128)}
    bert = glue.recipe_for("rte", "bert-base")
    assert (bert.learning_rate, bert.epochs, bert.batch_size, bert.max_length) == (2e-5, 3, 32, 128)
    assert [glue.recipe_for(task, "bert-base").epochs for task in ("mrpc", "wnli")] == [5, 5]
    enct5 = [glue.recipe_for(task, "enct5-base") for task in ("cola", "mrpc", "rte", "sst2")]
    assert [(r.learning_rate, r.epochs) for r in enct5] == [(1e-4, 100)] * 3 + [(5e-5, 20)]
    assert file.models["enct5-base"].classifier_dropout == 0.1
    t5 = glue.recipe_for("rte", "t5-base")
    assert t5.deciding()["batch_tokens"] == 8 * 512
    assert (t5.learning_rate, t5.optimizer, t5.schedule) == (1e-3, "adafactor", "constant")


def test_reading_imports_no_heavy_library():
    program = (
        "import sys; from harness.config.benchmark import read_benchmarks; read_benchmarks('benchmarks.yaml');"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout == "[]\n"


NASTY = [
    *("{", "}", "[", "]", "&a ", "*a", "*t5-tiny", "!x ", "? ", "- ", ": ", "<<: ", "---\n", "|\n", ">", "'", '"', "#"),
    *(
        "\t",
        "\n",
        "  ",
        "null",
        "-1",
        "1e999",
        "0x" + "f" * 200,
        "9" * 400,
        ".nan",
        '"\\0"',
        '"\\x07"',
        "~",
        "../",
        "é",
    ),
    *(
        "tasks: ",
        "models: ",
        "plugins: ",
        "recipe: ",
        "default: ",
        "\u2028",
        "\x00",
        "\ufeff",
        "[[[[",
        "{a: {a: {a: 1}}}",
    ),
]


@st.composite
def mutated(draw):
    """The shipped file after a few cuts, doublings, swaps and insertions."""
    text = SHIPPED
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["cut", "double", "insert", "replace", "lines", "word"]))
        if kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "double":
            text = text[:end] + text[start:]
        elif kind == "insert":
            text = text[:start] + draw(st.sampled_from(NASTY) | st.text(max_size=3)) + text[start:]
        elif kind == "replace":
            text = text[:start] + draw(st.sampled_from(NASTY)) + text[end:]
        elif kind == "lines":
            lines = text.splitlines(keepends=True)
            random.Random(draw(st.integers(0, 1000))).shuffle(lines)
            text = "".join(lines)
        else:
            words = text.split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(NASTY))
            text = " ".join(words)
    return text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "mutated.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_benchmarks(file, overrides={"recipe.epochs": "1"}, check_folders=True)
    except HarnessError as error:
        lines = str(error).splitlines()
        assert lines and all(line.startswith(f"{file}:") for line in lines)
        return
    for spec in found.benchmarks.values():
        assert found.tasks.keys() >= set(spec.tasks)
        assert all(spec.recipe_for(task, model).epochs == 1 for task in spec.tasks for model in spec.models)
