"""Sweeps: every recipe is tried once, the best is chosen by the rule of ``selection``, and only it gets all seeds."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from running import RECIPE, UNMOVED, Bench, Updates, content

import harness
from harness.cli import main
from harness.config.benchmark import read_benchmarks
from harness.config.schema import BenchmarkSpec, Recipe
from harness.errors import HarnessError
from harness.results.leases import Leases
from harness.results.manifest import Choice
from harness.results.record import Caveat, CaveatKind, Record
from harness.runner import execute, runner
from harness.runner.plan import Run
from harness.training.update import Training

STEPS = RECIPE["max_steps"]
RATES = [1e-4, 5e-3, 2e-2]
WILD = {"warmup_ratio": 0.0, "max_grad_norm": 0.0}
"""With these settings a learning rate of 1e30 ends in nan."""
MARK = Caveat(kind=CaveatKind.RECIPE_FROM_VALIDATION)


def choice(bench: Bench, task: str = "cola", model: str = "bert") -> Choice:
    """What the sweep tried and chose for a task and a model."""
    (found,) = [choice for choice in bench.store.choices() if choice.pair == (task, model)]
    return found


def trial(bench: Bench, **values: Any) -> Record:
    """The record of a trial of ``cola`` with ``bert``."""
    (found,) = [t.record for t in choice(bench).trials if dict(t.values) == values]
    assert found is not None
    return found


def recipes(bench: Bench) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The recipes of the current runs."""
    return {(t, m, s): record.settings.recipe for t, m, s, record in bench.store.current() if record}


# What a file may say -----------------------------------------------------------------------------------------------

FILE = """
models:
  m: {{architecture: bert, checkpoint: org/m}}
  n: {{architecture: t5, checkpoint: org/n, recipe: {{learning_rate: 7}}}}
benchmarks:
  b:
    tasks: [rte, mnli, ax]
    models: [m, n]
    {}
"""


def read(folder: Path, lines: str, **options: str) -> BenchmarkSpec:
    """The benchmark with these lines; ``options`` are those of ``--set recipe``."""
    path = folder / "b.yaml"
    path.write_text(FILE.format(lines))
    overrides = {f"recipe.{key}": value for key, value in options.items()}
    return read_benchmarks(path, overrides=overrides).benchmark("b")


def rates(spec: BenchmarkSpec) -> dict[str, list[float]]:
    """The learning rates that are tried."""
    pairs = [(task, model) for task in ("rte", "mnli") for model in ("m", "n")]
    return {f"{task} {model}": [r.learning_rate for r in spec.recipes_for(task, model)] for task, model in pairs}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("recipe: {learning_rate: 9}", ([9], [7], [9], [7])),
        ("", ([1e-4], [7], [1e-4], [7])),
        ("sweep: {learning_rate: [1e-4, 3e-4]}", ([1e-4, 3e-4],) * 4),
        ("sweep: {learning_rate: [3e-4, 1e-4]}\n    recipe: {learning_rate: 9}", ([3e-4, 1e-4],) * 4),
        ("sweep: {learning_rate: 5}", ([5],) * 4),
        ("sweep: {tasks: {rte: {learning_rate: [1, 2]}}}", ([1, 2], [1, 2], [1e-4], [7])),
        ("sweep: {models: {n: {learning_rate: [1, 2]}}}", ([1e-4], [1, 2], [1e-4], [1, 2])),
        (
            "sweep: {learning_rate: [1, 2], tasks: {rte: {learning_rate: [3, 4]}}, models: {n: {learning_rate: 5}}}",
            ([3, 4], [5], [1, 2], [5]),
        ),
        (
            "sweep: {learning_rate: [1, 2]}\n"
            "    overrides: {tasks: {rte: {learning_rate: 3}}, models: {n: {learning_rate: 4}}}",
            ([3], [4], [1, 2], [4]),
        ),
        (
            "sweep: {tasks: {rte: {learning_rate: [1, 2]}}}\n"
            "    overrides: {tasks: {rte: {learning_rate: 3}}, models: {n: {learning_rate: 4}}}",
            ([1, 2], [4], [1e-4], [4]),
        ),
        (
            "sweep: {models: {n: {learning_rate: [1, 2]}}}\n    overrides: {models: {n: {learning_rate: 4}}}",
            ([1e-4], [1, 2], [1e-4], [1, 2]),
        ),
    ],
)
def test_a_sweep_stands_at_the_place_of_its_layer(tmp_path, lines, expected):
    assert tuple(rates(read(tmp_path, lines)).values()) == expected


def test_all_combinations_are_tried_in_the_order_of_the_values(tmp_path):
    spec = read(tmp_path, "sweep: {batch_size: [8, 4], learning_rate: [2, 1], tasks: {rte: {patience: [null, 3]}}}")
    tried = [(r.learning_rate, r.batch_size) for r in spec.recipes_for("mnli", "m")]
    assert tried == [(2, 8), (2, 4), (1, 8), (1, 4)]
    assert len(spec.recipes_for("rte", "m")) == 8
    again = read(tmp_path, "sweep: {tasks: {rte: {patience: [null, 3]}}, learning_rate: [2, 1], batch_size: [8, 4]}")
    assert [again.recipes_for(t, "m") for t in ("rte", "mnli")] == [spec.recipes_for(t, "m") for t in ("rte", "mnli")]


@pytest.mark.parametrize("key", Recipe.model_fields)
def test_every_key_of_a_recipe_can_be_swept(tmp_path, key):
    usual = Recipe.model_fields[key].default
    possible = [0.25, 3, 99, True, "constant", "adafactor", "fp32"]
    other = next(value for value in possible if value != usual and is_valid(key, value))
    spec = read(tmp_path, f"sweep: {{{key}: {json.dumps([other, usual])}}}")
    assert [getattr(recipe, key) for recipe in spec.recipes_for("rte", "m")] == [other, usual]


def is_valid(key: str, value: Any) -> bool:
    try:
        Recipe(**{key: value})
    except ValidationError:
        return False
    return True


def test_epochs_make_no_difference_where_the_steps_are_given(tmp_path):
    spec = read(tmp_path, "sweep: {epochs: [1, 2]}\n    overrides: {tasks: {rte: {max_steps: 5}}}")
    assert [len(spec.recipes_for(task, "m")) for task in ("rte", "mnli")] == [1, 2]
    spec = read(tmp_path, "sweep: {epochs: [1, 2], max_steps: [null, 5]}")
    assert [(r.epochs, r.max_steps) for r in spec.recipes_for("rte", "m")] == [(1, None), (1, 5), (2, None)]


def test_set_ends_the_sweep_of_its_key(tmp_path):
    lines = "sweep: {learning_rate: [1, 2], models: {n: {learning_rate: [3, 4], epochs: [1, 2]}}}"
    assert rates(read(tmp_path, lines, learning_rate="9"))["rte m"] == [9]
    spec = read(tmp_path, lines, learning_rate="9")
    assert [(r.learning_rate, r.epochs) for r in spec.recipes_for("rte", "n")] == [(9, 1), (9, 2)]
    assert len(read(tmp_path, lines, learning_rate="9", max_steps="3").recipes_for("rte", "n")) == 1


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        ("sweep: 3", ["9: sweep must be a mapping, not 3"]),
        ("sweep: [1]", ["9: sweep must be a mapping, not [1]"]),
        ("sweep: {batchsize: 3}", ["9: unknown key 'batchsize' in sweep. Did you mean 'batch_size'?"]),
        (
            "sweep:\n      learning_rate: [1,\n        -1,\n        x]\n      optimizer: adamv",
            [
                "11: sweep.learning_rate must be one value or several, each a number above 0, not -1",
                "12: sweep.learning_rate must be one value or several, each a number above 0, not 'x'",
                "13: sweep.optimizer must be adamw or adafactor, not 'adamv'. Did you mean 'adamw'?",
            ],
        ),
        (
            "sweep: {batch_size: []}",
            ["9: sweep.batch_size must be one value or several, each a whole number from 1 to 10^9, not []"],
        ),
        (
            "sweep: {tasks: {rte: {epochs: [1, 0]}}}",
            ["9: sweep.tasks.rte.epochs must be one value or several, each a number above 0, at most a million, not 0"],
        ),
        ("sweep: {models: {n: {epoch: 1}}}", ["9: unknown key 'epoch' in sweep.models.n. Did you mean 'epochs'?"]),
        ("sweep: {models: {o: {epochs: 1}}}", ["9: unknown model 'o'. Known: m, n"]),
        ("sweep: {tasks: {mlni: {epochs: 1}}}", ["9: unknown task 'mlni'. Did you mean 'mnli'?"]),
        ("sweep: {tasks: {cola: {epochs: 1}}}", ["9: task 'cola' is not trained in this benchmark"]),
        ("sweep: {tasks: {ax: {epochs: 1}}}", ["9: task 'ax' is not trained in this benchmark"]),
        (
            "sweep: {epochs: [1, 2, 1.0], tasks: {rte: {patience: [null, null]}}}",
            ["9: sweep.epochs: 1.0 is listed twice", "9: sweep.tasks.rte.patience: nothing is listed twice"],
        ),
        (
            "sweep: " + json.dumps({key: [*range(1, 21)] for key in ("batch_size", "epochs", "max_steps")}),
            [
                "9: sweep: 8,000 combinations of values for 'rte' with 'm': at most 256, "
                "or so many of them as 'trials' says"
            ],
        ),
        (
            "sweep:\n      learning_rate: {low: 1e-5, high: 1e-3, log: true}\n"
            "      tasks: {rte: {batch_size: {low: 8, high: 64}}}",
            [
                "10: sweep.learning_rate: a range needs 'trials' in the sweep: how many recipes to try",
                "11: sweep.tasks.rte.batch_size: a range needs 'trials' in the sweep: how many recipes to try",
            ],
        ),
        (
            "sweep:\n      trials: 1\n      learning_rate: {low: 1e-3, high: 1e-5}\n"
            "      weight_decay: {low: 0, high: 0.1, log: true}\n      batch_size: {low: 8.5, hi: 64}\n"
            "      optimizer: {low: 1, high: 2}\n      epochs: {low: -1, high: many, log: 3}",
            [
                "10: sweep.trials must be a whole number from 2 to 256, not 1",
                "11: sweep.learning_rate: low 0.001 must be below high 1e-05",
                "12: sweep.weight_decay: log: true needs a low above 0",
                "13: sweep.batch_size: unknown key 'hi' in a range. Did you mean 'high'?; "
                "low must be a whole number from 1 to 10^9, not 8.5; a range needs 'high'",
                "14: sweep.optimizer: a range is of numbers: list the values instead",
                "15: sweep.epochs: low must be a number above 0, at most a million, not -1; "
                "high must be a number above 0, at most a million, not 'many'; log must be true or false, not 3",
            ],
        ),
        ("sweep: {trials: 8}", ["9: sweep.trials: there are no values or ranges to try"]),
        ("sweep: {trials: 8, prune: maybe, epochs: [1, 2]}", ["9: sweep.prune must be true or false, not 'maybe'"]),
        (
            "sweep: {trials: 8, min_steps: {low: 5, high: 50}, max_steps: [40, 60]}",
            [
                "6: 'rte' with 'm': min_steps 50 is above max_steps 40",
                "6: 'rte' with 'n': min_steps 50 is above max_steps 40",
            ],
        ),
        (
            "init_from: {rte: mnli}\n    sweep: {epochs: [1, 2]}",
            ["10: sweep: 'mnli' cannot be swept, because 'rte' starts from its model (init_from)"],
        ),
    ],
)
def test_mistakes_in_a_sweep(tmp_path, lines, messages):
    with pytest.raises(HarnessError) as error:
        read(tmp_path, lines)
    assert str(error.value).splitlines() == [f"{tmp_path / 'b.yaml'}:{message}" for message in messages]


def test_a_task_that_starts_from_another_can_be_swept(tmp_path):
    spec = read(tmp_path, "init_from: {rte: mnli}\n    sweep: {tasks: {rte: {epochs: [1, 2]}}}")
    assert [len(spec.recipes_for(task, "m")) for task in ("rte", "mnli")] == [2, 1]


# Choosing ----------------------------------------------------------------------------------------------------------


def test_the_best_recipe_of_the_first_seed_gets_the_other_seeds(bench, updates):
    bench.write(models=["bert", "enct5"], seeds=[3, 1], sweep={"models": {"bert": {"learning_rate": RATES}}})
    board = bench.run()
    assert updates.new() == (3 + 1 + 2) * STEPS
    found = choice(bench)
    scores = [t.record.selection_score for t in found.trials]
    best = scores.index(max(scores))
    assert [dict(t.values) for t in found.trials] == [{"learning_rate": rate} for rate in RATES]
    assert len({t.fingerprint for t in found.trials}) == 3 and found.chosen == found.trials[best].fingerprint
    assert (found.seed, found.selection) == (3, "validation")
    assert [r["learning_rate"] for key, r in recipes(bench).items() if key[1] == "bert"] == [RATES[best]] * 2
    assert [r["learning_rate"] for key, r in recipes(bench).items() if key[1] == "enct5"] == [1e-3] * 2
    assert len(bench.store.records()) == 3 + 1 + 2
    bert, enct5 = board.rows
    assert bert.cell("cola").status == "done" and bert.cell("cola").score.n == 2
    assert bert.cell("cola").score.seeds[3] == max(scores)
    assert MARK in bert.caveats and MARK not in enct5.caveats and MARK not in bench.record().caveats
    assert board.best("cola") == set()  # one was tuned on the data that it is measured on
    bench.run()
    assert updates.new() == 0


def test_of_equal_scores_the_earlier_is_chosen(bench):
    for values in ([1e-12, 2e-12], [2e-12, 1e-12]):
        bench.write(UNMOVED, sweep={"learning_rate": values})
        bench.run()
        found = choice(bench)
        assert len({t.record.selection_score for t in found.trials}) == 1
        assert dict(found.winner.values) == {"learning_rate": values[0]}


def test_a_held_out_part_chooses_and_the_score_stays_clean(bench):
    bench.write({"max_steps": 12, "eval_every": 4}, tasks=["sst2"], selection="holdout", seeds=[1, 2],
                sweep={"learning_rate": [1e-12, *RATES]})  # fmt: skip
    board = bench.run()
    found = choice(bench, "sst2")
    records = [t.record for t in found.trials]
    held_out = [
        max(row["selection_score"] for row in record.history() if "selection_score" in row) for record in records
    ]
    assert [record.selection_score for record in records] == held_out
    assert found.chosen == records[held_out.index(max(held_out))].fingerprint
    assert all("holdout" not in record.scores["sst2"] for record in records)
    assert found.selection == "holdout"
    assert MARK not in board.caveats + board.rows[0].caveats
    assert "on the part held out of the training data" in board.markdown


def test_a_sweep_of_several_keys_tries_their_combinations(bench, updates):
    bench.write(sweep={"learning_rate": [1e-4, 5e-3], "batch_size": [4, 8], "max_length": [16, 64]})
    bench.run()
    assert updates.new() == 8 * STEPS
    tried = [tuple(t.record.settings.recipe[key] for key in t.values) for t in choice(bench).trials]
    assert len(set(tried)) == 8


def test_recipes_that_are_the_same_on_this_machine_are_one(bench, updates):
    bench.write(sweep={"compile": [False, "auto"]})
    board = bench.run()
    assert updates.new() == STEPS
    assert bench.store.choices() == [] and board.sweeps == () and MARK not in board.caveats


# What is kept, and what is done again ------------------------------------------------------------------------------


def test_runs_without_a_sweep_are_its_trials_and_new_values_train_only_themselves(bench, updates):
    bench.write({"learning_rate": RATES[1]})
    bench.run()
    before = content(bench.results / "b" / "runs")
    assert updates.new() == STEPS
    bench.write(sweep={"learning_rate": RATES[:2]})
    bench.run()
    assert updates.new() == STEPS
    assert before.items() <= content(bench.results / "b" / "runs").items()
    before = content(bench.results / "b" / "runs")
    bench.write(sweep={"learning_rate": RATES})
    bench.run()
    assert updates.new() == STEPS
    assert before.items() <= content(bench.results / "b" / "runs").items()
    bench.write(sweep={"learning_rate": [RATES[2], RATES[0]]})
    bench.run()
    assert updates.new() == 0
    assert [t.values["learning_rate"] for t in choice(bench).trials] == [RATES[2], RATES[0]]


def test_other_seeds_follow_when_a_new_value_wins(bench, updates):
    bench.write(seeds=[1, 2], sweep={"learning_rate": [2e-12, 3e-12]})
    bench.run()
    old = bench.record(seed=2)
    assert updates.new() == 3 * STEPS
    bench.write(seeds=[1, 2], sweep={"learning_rate": [1e-12, 2e-12]})
    bench.run(seeds=[1])
    assert choice(bench).winner.values["learning_rate"] == 1e-12
    assert [key[2] for key in recipes(bench)] == [1]  # seed 2 has a run of the old recipe only
    bench.run()
    assert updates.new() == 2 * STEPS
    assert {key[2]: r["learning_rate"] for key, r in recipes(bench).items()} == {1: 1e-12, 2: 1e-12}
    assert old.fingerprint in {record.fingerprint for record in bench.store.records()}


def test_other_seeds_alone_are_asked_for_after_the_same_choice(bench, updates):
    bench.write(seeds=[1, 2, 3], sweep={"learning_rate": RATES[:2]})
    bench.run(seeds=[3])
    assert updates.new() == 3 * STEPS
    assert choice(bench).seed == 1 and [key[2] for key in recipes(bench)] == [3]
    bench.run(seeds=[2])
    assert updates.new() == STEPS
    assert sorted(key[2] for key in recipes(bench)) == [2, 3]
    bench.run()
    assert updates.new() == 0
    assert sorted(key[2] for key in recipes(bench)) == [1, 2, 3]


def test_a_set_value_ends_the_sweep_and_what_it_says(bench, updates):
    bench.write(sweep={"learning_rate": RATES[:2]})
    bench.run()
    updates.new()
    assert (bench.store.folder / "sweep.md").exists()
    board = bench.run(settings={"recipe.learning_rate": str(RATES[1])})
    assert updates.new() == 0
    assert bench.store.choices() == [] and MARK not in board.caveats
    assert bench.record().settings.recipe["learning_rate"] == RATES[1]
    assert "Chosen recipes" not in board.markdown and not (bench.store.folder / "sweep.md").exists()


def test_the_models_of_losers_go_and_the_winners_stays(bench):
    bench.write(keep="all-seeds", sweep={"learning_rate": RATES}, seeds=[1, 2])
    bench.run()
    bench.run(seeds=[2])
    found = choice(bench)
    names = {path.name for path in (bench.store.folder / "models").iterdir()}
    assert bench.record().fingerprint == found.chosen
    assert names == {bench.model_folder(bench.record(seed=seed)).name for seed in (1, 2)}


@pytest.mark.parametrize("keep", ["none", "best", "all-seeds"])
def test_only_the_winner_predicts_the_tests(bench, updates, keep):
    bench.write(predict=["test"], keep=keep, sweep={"learning_rate": RATES[:2]}, seeds=[1, 2])
    bench.run()
    assert updates.new() == 3 * STEPS
    winner = bench.record()
    assert winner.fingerprint == choice(bench).chosen
    predicted = [r.predicts_tests_of for r in bench.store.records() if r.predicts_tests_of is not None]
    assert sorted(predicted) == sorted([winner.fingerprint, bench.record(seed=2).fingerprint])
    assert len(list(bench.tests_of(winner).predictions())) == 200
    kept = list((bench.store.folder / "models").glob("*"))
    assert len(kept) == {"none": 0, "best": 1, "all-seeds": 2}[keep]
    at_once = content(bench.tests_of(winner).folder)
    shutil.rmtree(bench.store.folder)
    bench.write({"learning_rate": winner.settings.recipe["learning_rate"]}, predict=["test"], keep=keep)
    bench.run()
    assert content(bench.tests_of(bench.record()).folder) == at_once


def test_the_trials_of_a_task_start_from_its_parents_model(bench, updates):
    bench.write(tasks=["rte", "mnli"], init_from={"rte": "mnli"}, seeds=[1, 2],
                sweep={"tasks": {"rte": {"learning_rate": RATES[:2]}}})  # fmt: skip
    bench.run()
    assert updates.new() == (1 + 2 + 2) * STEPS
    parents = {seed: bench.record("mnli", seed=seed).fingerprint for seed in (1, 2)}
    assert {t.record.settings.parent for t in choice(bench, "rte").trials} == {parents[1]}
    assert bench.record("rte", seed=2).settings.parent == parents[2]
    assert not list((bench.store.folder / "models").glob("*"))
    bench.run()
    assert updates.new() == 0


# Failures and interruptions ----------------------------------------------------------------------------------------


def test_a_trial_that_fails_stops_no_other_and_is_not_chosen(bench, updates, capsys):
    bench.write(WILD, seeds=[1, 2], sweep={"learning_rate": [1e30, 1e-3]})
    assert bench.command() == 1
    shown = capsys.readouterr().out
    assert "learning_rate 1e+30: FAILED: the training loss is nan" in shown
    assert "cola · bert: learning_rate 0.001 is the best of 2 trials" in shown
    assert updates.new() == 3 * STEPS
    assert [r["learning_rate"] for r in recipes(bench).values()] == [1e-3] * 2
    page = (bench.store.folder / "sweep.md").read_text()
    assert "failed: the training loss is nan" in page and "chosen | " in page
    assert "2, 1 failed" in (bench.store.folder / "leaderboard.md").read_text()
    assert bench.command() == 1  # tried again, like every run that failed
    assert updates.new() == STEPS


def test_where_all_trials_fail_the_cell_says_so_and_others_go_on(bench, updates):
    wild = {"learning_rate": [1e30, 1e31], **WILD}
    bench.write(seeds=[1, 2], models=["bert", "enct5"], sweep={"models": {"bert": wild}})
    assert bench.command() == 1
    assert updates.new() == (2 + 2) * STEPS
    board = harness.report(bench.results)["b"]
    bert, enct5 = (row.cell("cola") for row in board.rows)
    assert (bert.status, enct5.status) == ("failed", "done")
    assert any(note.startswith("failed: the training loss is nan") for note in bert.notes)
    assert choice(bench).chosen is None


class Stopped(Exception):
    """Ends a command in the middle."""


def test_a_sweep_that_was_stopped_goes_on_and_ends_the_same(bench, monkeypatch, sample_cache):
    bench.write(seeds=[1, 2], checkpoint_every=0, sweep={"learning_rate": RATES})
    bench.run()
    expected = content(bench.results / "b")
    bench.results = bench.folder / "again"
    bench.use_cache(sample_cache)
    update, count = Training.update, []

    def interrupted(training: Training) -> None:
        count.append(1)
        if len(count) in (STEPS + 3, 2 * STEPS + 4, 3 * STEPS + 5):
            raise KeyboardInterrupt
        update(training)

    monkeypatch.setattr(Training, "update", interrupted)
    assert bench.command() == 130
    board = harness.report(bench.results)["b"]
    assert board.rows[0].cell("cola").status == "missing"  # one trial is done, but nothing is chosen
    assert "no record yet" in board.rows[0].cell("cola").notes
    assert "1 of 3 so far" in board.markdown
    assert [bench.command() for _ in range(3)] == [130, 130, 0]
    found = content(bench.results / "b")
    lasting = [name for name in expected if name.startswith("runs")]  # tables have times
    assert lasting == [name for name in found if name.startswith("runs")]
    assert [found[name] for name in lasting] == [expected[name] for name in lasting]


def test_a_trial_that_another_command_does_is_waited_for(bench, monkeypatch, sample_cache):
    bench.write(seeds=[1, 2], sweep={"learning_rate": RATES})
    bench.run()
    expected, first = content(bench.results / "b" / "runs"), choice(bench).trials[0].record
    done = bench.folder / "done"
    shutil.copytree(first.folder, done)
    shutil.rmtree(bench.store.folder)
    lease = Leases().take(bench.store.checkpoint_directory(first.fingerprint))
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)

    def sleep(seconds: float) -> None:
        if not first.folder.exists():
            shutil.copytree(done, first.folder)
            lease.release()

    monkeypatch.setattr(runner.time, "sleep", sleep)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 3 * STEPS
    assert content(bench.results / "b" / "runs") == expected


def test_a_command_with_other_settings_meanwhile_does_not_confuse_a_sweep(bench, monkeypatch, updates):
    bench.write(seeds=[1, 2], sweep={"learning_rate": RATES[:2]})
    whole, nested = execute.execute, []

    def call(context: Any, run: Run, *arguments: Any) -> Any:
        if run.recipe.learning_rate == RATES[1] and not nested:
            nested.append(1)
            runs = bench.store.current()
            assert [record for *_, record in runs] == [None]
            bench.run(settings={"recipe.learning_rate": str(RATES[0])}, seeds=[2])
        return whole(context, run, *arguments)

    monkeypatch.setattr(execute, "execute", call)
    bench.run()
    assert nested and updates.new() == (3 if choice(bench).winner.values["learning_rate"] == RATES[0] else 4) * STEPS
    assert len(recipes(bench)) == 2 and len({r["learning_rate"] for r in recipes(bench).values()}) == 1


# What is shown -----------------------------------------------------------------------------------------------------


def test_the_tables_show_what_was_tried_and_chosen(bench, capsys):
    bench.write(models=["bert", "enct5"], tasks=["cola", "sst2"],
                sweep={"learning_rate": RATES[:2], "models": {"enct5": {"batch_size": [4, 8]}}})  # fmt: skip
    board = bench.run()
    assert MARK in board.caveats and f"All rows: {MARK}." in board.markdown
    chosen = board.markdown.split("## Chosen recipes")[1].split("##")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in chosen.splitlines() if line.startswith("|")]
    assert lines[0] == ["Model", "Task", "learning_rate", "batch_size", "Score", "Trials", "Their time"]
    assert [line[:2] for line in lines[2:]] == [
        ["bert", "CoLA (MCC)"],
        ["bert", "SST-2 (acc)"],
        ["enct5", "CoLA (MCC)"],
        ["enct5", "SST-2 (acc)"],
    ]
    assert [line[5] for line in lines[2:]] == ["2", "2", "4", "4"] and lines[2][3] == "—"
    assert lines[4][2:4] == [
        json.dumps(choice(bench, "cola", "enct5").winner.values[key]) for key in ("learning_rate", "batch_size")
    ]
    page = (bench.store.folder / "sweep.md").read_text()
    assert page.count("runs/cola/bert/seed1-") == 2 and page.count(" chosen |") == 4
    trials, best = page.split("## Expected best score")
    assert trials.count("\n| ") == 1 + 12 and best.count("\n| ") == 1 + 4
    assert "| 1 trial |" in " ".join(best.split()) and "| 4 trials |" in " ".join(best.split())
    assert "the best recipe of 4 trials for each task, 1 seed" in board.markdown
    data = json.loads((bench.store.folder / "leaderboard.json").read_text())["sweeps"]
    assert [(s["row"], s["task"], len(s["trials"])) for s in data][-1] == ("enct5", "sst2", 4)
    (winner,) = [t for t in data[0]["trials"] if t["chosen"]]
    assert winner["fingerprint"] == data[0]["chosen"] and winner["status"] == "finished"
    assert math.isclose(winner["score"], choice(bench).winner.score)
    assert "learning_rate  batch_size" in board.text
    for tried in choice(bench).trials:
        assert tried.record is not None and main(["show", str(tried.record.folder)]) == 0
        shown = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["learning_rate", json.dumps(tried.values["learning_rate"])] in shown
    again = harness.report(bench.results)["b"]
    assert again.markdown == board.markdown
    both = harness.report([bench.results, shutil.copytree(bench.results, bench.folder / "copy")])["b"]
    assert len(both.sweeps) == 8 and len({row for row, _ in both.sweeps}) == 4


def test_a_dry_run_lists_the_trials(bench, capsys):
    bench.write(seeds=[1, 2], models=["bert", "enct5"], sweep={"models": {"bert": {"learning_rate": RATES[:2]}}})
    assert bench.command("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "b: 5 runs, 0 done"
    assert [" ".join(line.split()[:5]) for line in lines[4:9]] == [
        "cola bert 1 learning_rate 0.0001",
        "cola bert 1 learning_rate 0.005",
        "cola enct5 1 to do",
        "cola enct5 2 to do",
        "cola bert 2 waits for",
    ]
    assert bench.store.records() == [] and bench.store.current() == []
    bench.run()
    assert bench.command("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "b: 5 runs, 5 done"
    assert sum("done, chosen" in line for line in lines) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 3},
        {"trials": [{"values": {}}]},
        {"trials": [{"values": {}, "fingerprint": "../../x"}]},
        {"trials": [{"values": 1, "fingerprint": "0" * 64}]},
        {"task": "../../x"},
        {"seed": "1/../.."},
    ],
)
def test_a_damaged_sweep_in_the_pointer_is_not_used(bench, change):
    sweep = {"task": "t", "model": "m", "seed": 1, "selection": "holdout", "chosen": None}
    sweep["trials"] = [{"values": {}, "fingerprint": "0" * 64}]
    path = bench.store.folder / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 1, "data": None, "runs": [], "sweeps": [sweep]}))
    assert len(bench.store.choices()) == 1
    path.write_text(json.dumps({"schema": 1, "data": None, "runs": [], "sweeps": [{**sweep, **change}]}))
    store = bench.store
    assert store.choices() == [] and "manifest.json: damaged" in store.warnings[0]


# The present benchmark ---------------------------------------------------------------------------------------------


def test_a_model_or_task_that_left_the_file_leaves_the_leaderboard(bench, updates):
    bench.write(models=["bert", "enct5"], tasks=["cola", "sst2"])
    bench.run()
    board = bench.run(models=["bert"], tasks=["cola"])  # a part of the benchmark: the rest stays
    assert [row.model for row in board.rows] == ["bert", "enct5"]
    updates.new()
    bench.write(models=["enct5"], tasks=["cola"])
    board = bench.run()
    assert [row.model for row in board.rows] == ["enct5"] and set(board.rows[0].cells) == {"cola"}
    assert len(bench.store.records()) == 4
    bench.write(models=["bert", "enct5"], tasks=["cola", "sst2"])
    board = bench.run()
    assert updates.new() == 0
    assert [row.cell("sst2").status for row in board.rows] == ["done", "done"]
