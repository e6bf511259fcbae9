"""Searches: recipes are suggested round by round from the records of those before, and hopeless trials end early."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import RECIPE, Bench, Updates, content

import harness
from harness.cli import main
from harness.config.benchmark import read_benchmarks
from harness.errors import HarnessError
from harness.results.leases import Leases
from harness.results.manifest import Choice
from harness.runner import search
from harness.runner.progress import Display
from harness.runner.signals import Interrupts
from harness.runner.status import Status
from harness.training.update import Training
from harness.workers import worker as worker_module
from harness.workers.job import Assignment, Job
from harness.workers.worker import Worker

STEPS = RECIPE["max_steps"]
RATES = {"low": 1e-5, "high": 1e-2, "log": True}
CURVE = {"evaluations": STEPS, "warmup_ratio": 0.0}


def choice(bench: Bench, model: str = "bert") -> Choice:
    """What the search tried and chose."""
    (found,) = [choice for choice in bench.store.choices() if choice.pair == ("cola", model)]
    return found


def tried(bench: Bench, model: str = "bert") -> list[tuple[str, dict[str, Any]]]:
    """The status and the values of each trial."""
    trials = choice(bench, model).trials
    return [(trial.record.status if trial.record else "missing", dict(trial.values)) for trial in trials]


def end_at_two(curve: Any, others: Any, lower_is_better: bool) -> bool:
    """Whether a trial ends early: every one that is compared with others, at its second evaluation."""
    return len(curve) >= 2 and len(list(others)) >= 4


@pytest.fixture
def pruning(monkeypatch):
    """All trials after the first round end early."""
    monkeypatch.setattr(search, "is_hopeless", end_at_two)


# What is tried -----------------------------------------------------------------------------------------------------


def test_every_model_gets_the_same_number_of_trials_and_the_best_all_seeds(bench, updates):
    bench.write(models=["bert", "enct5"], seeds=[1, 2], sweep={"trials": 6, "learning_rate": RATES})
    board = bench.run()
    assert updates.new() == (2 * 6 + 2) * STEPS
    for model in ("bert", "enct5"):
        found = choice(bench, model)
        assert (len(found.trials), found.planned) == (6, 6)
        assert len({trial.values["learning_rate"] for trial in found.trials}) == 6
        best = max(found.trials, key=lambda trial: trial.score)
        assert found.winner.score == best.score
        records = {s: r for _, m, s, r in bench.store.current() if m == model}
        assert {r.settings.recipe["learning_rate"] for r in records.values()} == {found.winner.values["learning_rate"]}
        assert sorted(records) == [1, 2]
    assert [v for _, v in tried(bench)][:4] == [v for _, v in tried(bench, "enct5")][:4]  # the first round
    assert board.markdown.count("| 6 |") or " 6 |" in board.markdown
    bench.run()
    assert updates.new() == 0


def test_more_trials_go_on_from_those_before(bench, updates):
    bench.write(sweep={"trials": 5, "learning_rate": RATES, "batch_size": [4, 8]})
    bench.run()
    five = tried(bench)
    assert updates.new() == 5 * STEPS
    bench.write(sweep={"trials": 7, "learning_rate": RATES, "batch_size": [4, 8]})
    bench.run()
    assert tried(bench)[:5] == five and updates.new() == 2 * STEPS


def test_where_there_are_no_more_combinations_than_trials_all_are_tried(bench, updates):
    bench.write(sweep={"trials": 8, "batch_size": [8, 4], "max_length": {"low": 63, "high": 64}})
    bench.run()
    values = [{"batch_size": b, "max_length": m} for b in (8, 4) for m in (63, 64)]
    assert [v for _, v in tried(bench)] == values and updates.new() == 4 * STEPS


def test_a_layer_above_ends_the_search_of_its_key(bench):
    lines = {"trials": 4, "learning_rate": RATES, "batch_size": [4, 8]}
    bench.write(sweep=lines)
    spec = read_benchmarks(bench.path, overrides={"recipe.learning_rate": "1e-3"}).benchmark("b")
    assert [r.batch_size for r in spec.recipes_for("cola", "bert")] == [4, 8]
    assert not spec.is_searched("cola", "bert")
    assert read_benchmarks(bench.path).benchmark("b").is_searched("cola", "bert")


def test_a_dry_run_lists_what_is_known_and_trains_nothing(bench, capsys):
    bench.write(seeds=[1, 2], sweep={"trials": 6, "learning_rate": RATES})
    assert bench.command("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "b: 7 runs, 0 done"
    assert sum("learning_rate 0.00" in line and "to do" in line for line in lines) >= 2
    assert any("2 trials" in line and "suggested by the results of the others" in line for line in lines)
    assert any("learning_rate 1e-05 to 0.01" in line for line in lines)
    assert bench.store.records() == []


# Resume, and several processes -------------------------------------------------------------------------------------


def test_a_search_that_was_stopped_makes_the_same_trials(bench, monkeypatch, sample_cache, pruning):
    bench.write(CURVE, seeds=[1, 2], checkpoint_every=0, sweep={"trials": 7, "learning_rate": RATES})
    bench.run()
    expected = content(bench.results / "b" / "runs")
    bench.results = bench.folder / "again"
    bench.use_cache(sample_cache)
    update, count = Training.update, []

    def interrupted(training: Training) -> None:
        count.append(1)
        if len(count) in (STEPS + 3, 3 * STEPS + 1, 4 * STEPS + 4, 5 * STEPS + 3):
            raise KeyboardInterrupt
        update(training)

    monkeypatch.setattr(Training, "update", interrupted)
    codes = [bench.command()]
    board = harness.report(bench.results)["b"]
    assert "1 of 7 so far" in board.markdown and "chosen |" not in (bench.store.folder / "sweep.md").read_text()
    while codes[-1] == 130:
        codes.append(bench.command())
    assert codes == [130] * 4 + [0]
    assert content(bench.results / "b" / "runs") == expected


def test_a_worker_that_is_told_a_fingerprint_makes_the_same_suggestions(bench):
    bench.write(sweep={"trials": 6, "learning_rate": RATES})
    bench.run()
    found = choice(bench)
    job = Job(str(bench.path), "b", str(bench.results))
    with Interrupts() as interrupts, Leases() as leases:
        worker = Worker.of(job, Display(), interrupts, leases)
        for number, trial in enumerate(found.trials):
            run = worker.find(Assignment(trial.fingerprint, "bert", sweeping=True, status=Status.TO_DO.value))
            assert len(run.rivals) == number // 4 * 4


def test_a_worker_waits_for_the_records_that_its_machine_sees_late(bench, monkeypatch):
    bench.write(sweep={"trials": 6, "learning_rate": RATES})
    bench.run()
    found = choice(bench)
    first, late = found.trials[0].record.folder, bench.folder / "late"
    first.rename(late)
    job = Job(str(bench.path), "b", str(bench.results))
    monkeypatch.setattr(worker_module.time, "sleep", lambda seconds: late.exists() and late.rename(first))
    with Interrupts() as interrupts, Leases() as leases:
        worker = Worker.of(job, Display(), interrupts, leases)
        given = Assignment(found.trials[5].fingerprint, "bert", sweeping=True, status=Status.TO_DO.value)
        assert worker.find(given).fingerprint == given.fingerprint
        monkeypatch.setattr(worker_module, "LATE", 0.0)
        with pytest.raises(HarnessError, match="there is no run 000000000000 any more"):
            worker.find(Assignment("0" * 64, "bert", sweeping=True))


@pytest.mark.slow
def test_two_workers_make_the_trials_of_one(bench, sample_cache):
    recipe = {"max_steps": 40, "evaluations": 5, "learning_rate": 1e-3}
    bench.write(recipe, models=["bert", "enct5"], sweep={"trials": 8, "learning_rate": {**RATES, "high": 1.0}})
    bench.run(jobs=1)
    expected = content(bench.results / "b" / "runs")
    assert "pruned" in {status for model in ("bert", "enct5") for status, _ in tried(bench, model)}
    bench.results = bench.folder / "again"
    bench.use_cache(sample_cache)
    bench.run(jobs=2)
    assert content(bench.results / "b" / "runs") == expected


# Pruned trials -----------------------------------------------------------------------------------------------------


def test_a_pruned_trial_is_kept_never_wins_and_is_not_run_again(bench, updates, pruning, capsys):
    bench.write(CURVE, seeds=[1, 2], sweep={"trials": 6, "learning_rate": RATES})
    assert bench.command() == 0
    assert "pruned at step 2" in capsys.readouterr().out
    assert updates.new() == (4 * STEPS + 2 * 2) + STEPS
    assert [status for status, _ in tried(bench)] == ["finished"] * 4 + ["pruned"] * 2
    record = choice(bench).trials[-1].record
    assert record.scores == {} and list(record.predictions()) == [] and record.efficiency.train_seconds > 0
    assert [row["step"] for row in record.history() if "scores" in row] == [0, 1, 2] and record.steps == 2
    assert choice(bench).winner.record.finished
    page = (bench.store.folder / "sweep.md").read_text()
    assert page.count("pruned at step 2, best until then") == 2
    assert "6, 2 pruned" in (bench.store.folder / "leaderboard.md").read_text()
    data = json.loads((bench.store.folder / "leaderboard.json").read_text())["sweeps"][0]["trials"]
    assert [t["status"] for t in data] == ["finished"] * 4 + ["pruned"] * 2
    assert bench.command() == 0 and updates.new() == 0
    assert bench.command("--dry-run") == 0
    assert capsys.readouterr().out.split("b: 7 runs")[1].count(" pruned ") == 2
    for argument in ("audit", "status"):
        assert main([argument, str(bench.results)]) == 0, argument
    assert "nothing differs" in capsys.readouterr().out
    assert main(["show", str(record.folder)]) == 0 and ": pruned" in capsys.readouterr().out


def test_pruned_trials_are_done_to_the_end_where_nothing_is_pruned_any_more(bench, updates, pruning):
    bench.write(CURVE, sweep={"trials": 5, "learning_rate": RATES})
    bench.run()
    before = tried(bench)
    assert before[-1][0] == "pruned"
    updates.new()
    bench.write({**CURVE, "learning_rate": before[-1][1]["learning_rate"]})
    board = harness.report(bench.results)["b"]
    bench.run()  # the same recipe as a run of its own
    assert updates.new() == STEPS and board.rows[0].cell("cola").status == "done"
    bench.write(CURVE, sweep={"trials": 5, "learning_rate": RATES, "prune": False})
    bench.run()
    assert tried(bench) == [("finished", values) for _, values in before]


# Failures ----------------------------------------------------------------------------------------------------------


def failing(monkeypatch: Any, fails: Any) -> None:
    """Make the trainings fail whose recipe says so."""
    update = Training.update

    def updated(training: Training) -> None:
        if fails(training.recipe):
            raise RuntimeError("no luck")
        update(training)

    monkeypatch.setattr(Training, "update", updated)


def test_a_trial_that_fails_is_one_of_them_and_is_not_tried_again(bench, monkeypatch, capsys):
    failing(monkeypatch, lambda recipe: recipe.learning_rate > 2e-3)
    bench.write(sweep={"trials": 6, "learning_rate": RATES})
    assert bench.command() == 1
    before = tried(bench)
    assert sum(status == "failed" for status, _ in before) >= 1 and len(before) == 6
    assert choice(bench).winner.values["learning_rate"] <= 2e-3
    updates = Updates(monkeypatch)
    assert bench.command() == 0 and updates.new() == 0 and tried(bench) == before
    assert bench.command("--dry-run") == 0 and "failed, not tried again" in capsys.readouterr().out


def test_where_the_whole_first_round_fails_the_search_stops_and_starts_again(bench, monkeypatch):
    bench.write(sweep={"trials": 6, "learning_rate": RATES})
    with monkeypatch.context() as broken:
        failing(broken, lambda recipe: True)
        assert bench.command() == 1
        assert [status for status, _ in tried(bench)] == ["failed"] * 4
        assert harness.report(bench.results)["b"].rows[0].cell("cola").status == "failed"
    updates = Updates(monkeypatch)
    assert bench.command() == 0
    assert updates.new() == 6 * STEPS and len(choice(bench).trials) == 6
