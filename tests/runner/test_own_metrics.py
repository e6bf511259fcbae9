"""Own tasks by an error and by the area under the ROC curve: what is chosen, compared, shown, audited and weighed."""

from __future__ import annotations

import json
import math
import random

import pytest
from running import Bench, evaluations, tiny

import harness
from harness.cli import main

MODELS = ("bert", "t5")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two own tasks, one by mae and one by auroc with balanced weights, over two families, with a sweep."""
    bench = Bench(tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("cache"))
    rng = random.Random(1)
    words = ["good", "bad", "film", "plot", "dull", "fine"]
    rows = [" ".join(rng.choices(words, k=6)) for _ in range(60)]
    lines = [f"{text},{text.count('good') + 1.5},{'yes' if text.count('good') > 1 else 'no'}" for text in rows]
    bench.folder.joinpath("own.csv").write_text("\n".join(["text,stars,liked", *lines]) + "\n")
    file = {"text": "text", "train": "own.csv", "validation": "own.csv"}
    tasks = {
        "stars": {"problem_type": "regression", "label": "stars", "metrics": ["mae", "rmse", "r2"], **file},
        "liked": {
            "problem_type": "single_label_classification",
            "label": "liked",
            "metrics": ["auroc", "average_precision", "balanced_accuracy"],
            "loss_weights": "balanced",
            **file,
        },
    }
    recipe = {"max_steps": 6, "eval_every": 2, "batch_size": 8, "max_length": 64, "precision": "fp32"}
    benchmark = {
        "tasks": ["custom"],
        "models": list(MODELS),
        "seeds": [1],
        "recipe": recipe,
        "sweep": {"learning_rate": [1e-3, 1e-5]},
    }
    models = {name: tiny(name) for name in MODELS}
    bench.path.write_text(json.dumps({"models": models, "tasks": tasks, "benchmarks": {"b": benchmark}}))
    return bench, harness.run(bench.path, results=bench.results)["b"]


def test_the_checkpoint_with_the_least_error_is_the_best(done):
    bench, _ = done
    for model in MODELS:
        record = bench.record("stars", model)
        errors = {s: row["scores"]["validation"]["mae"] for s, row in evaluations(record).items() if s > 0}
        assert record.selection_score == record.scores["stars"]["validation"]["mae"] == min(errors.values())
        assert record.best_step == min(errors, key=errors.__getitem__)


def test_a_sweep_chooses_the_least_error(done):
    bench, _ = done
    choices = {choice.task: choice for choice in bench.store.choices() if choice.model == "bert"}
    trials = {trial.fingerprint: trial.score for trial in choices["stars"].trials}
    assert trials[choices["stars"].chosen] == min(trials.values()) < max(trials.values())
    areas = {trial.fingerprint: trial.score for trial in choices["liked"].trials}
    assert areas[choices["liked"].chosen] == max(areas.values())


def test_tables_say_that_less_is_better_and_show_errors_as_they_are(done):
    bench, board = done
    error = board.rows[0].cells["stars"].score.mean
    assert f"{error:.4g}/" in next(line for line in board.markdown.splitlines() if line.startswith("| bert"))
    assert "stars MAE ↓/RMSE ↓/R2" in board.markdown and "of which less is better" in board.markdown
    ranking = board.rankings["stars"]
    means = {row.model: row.cells["stars"].score.mean for row in board.rows}
    assert ranking.best == min(means, key=means.__getitem__)
    majority = board.baselines[0].cells
    assert majority["liked"].parts[0].mean == majority["liked"].parts[2].mean == 0.5
    below = [note for row in board.rows for note in row.cells["stars"].notes if "not below the error" in note]
    worse = [row for row in board.rows if row.cells["stars"].score.mean >= majority["stars"].score.mean]
    assert len(below) == len(worse)
    [t5] = [row for row in board.rows if row.model == "t5"]
    assert "generated answers have no scores: the answer counts as sure" in t5.cells["liked"].notes
    text = (bench.results / "b" / "leaderboard.csv").read_text()
    assert f"{round(error, 6)}" in text


def test_models_are_compared_the_right_way_round(done):
    bench, _ = done
    text = harness.compare(*MODELS, bench.results).text()
    assert "stars MAE ↓" in text and "liked AUROC" in text
    [pair] = [harness.compare(*MODELS, bench.results).comparison]
    by_task = {line.task: line for line in pair.tasks}
    assert by_task["stars"].comparison.lower_is_better and not by_task["liked"].comparison.lower_is_better
    assert not pair.averages and not math.isnan(pair.improvement.estimate)
    assert "stars" in harness.compare(results=bench.results).text()


def test_the_audit_computes_them_again(done):
    bench, _ = done
    assert harness.audit(bench.results, file=bench.path).differences == ()
    assert "mae" in harness.show(bench.record("stars", "bert").folder)


def test_labels_have_their_own_page(done):
    bench, _ = done
    page = (bench.results / "b" / "labels.md").read_text()
    assert "## liked" in page and "| Label" in page and "What was predicted for each reference:" in page
    record = bench.record("liked", "bert")
    matrix = next(part for part in page.split("\n\n") if part.startswith("| bert, 1 seed"))
    counts = [[int(cell) for cell in line.split("|")[2:-1]] for line in matrix.splitlines()[2:]]
    assert sum(map(sum, counts)) == record.counts["liked"]["validation"]


def test_a_metric_of_another_problem_type_is_refused(done, tmp_path, capsys):
    bench, _ = done
    text = json.loads(bench.path.read_text())
    text["tasks"]["liked"]["metrics"] = "mae"
    text["tasks"]["stars"]["loss_weights"] = "balanced"
    path = bench.folder / "wrong.yaml"
    path.write_text(json.dumps(text))
    assert main(["validate", str(path)]) == 2
    said = capsys.readouterr().err
    assert "the metric mae does not fit a single_label_classification, which has accuracy" in said
    assert "loss_weights are for single_label_classification" in said


def test_all_metrics_are_listed(capsys):
    assert main(["metrics"]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("rmse "))
    assert row.split() == ["rmse", "lower", "scikit-learn", "regression"]
    assert "auroc: The area under the ROC curve" in shown
