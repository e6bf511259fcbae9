"""Two models side by side, and all pairs: differences, verdicts, averages, costs, in four forms."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from answered import LABELS, Answered, N, rows, seeds
from hand_made import record

import harness
from harness.cli import main
from harness.commands import arguments
from harness.comparison.compare import Comparisons, ModelComparison
from harness.errors import HarnessError
from harness.format import unescape
from harness.report.compare_text import CompareReport
from harness.results.record import Record

SHARES = {"good": 0.9, "alike": 0.89, "bad": 0.6}
RATES = {"good": 50.0, "alike": 50.0, "bad": 100.0}


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    return Answered(tmp_path / "results")


@pytest.fixture
def plugins(tmp_path: Path) -> list[Path]:
    """A folder with the tasks of the hand-made records."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    lines = ["from harness.task import Suite, Task"]
    for name, title, metrics, options in (
        ("one", "One", ("accuracy",), {}),
        ("pair", "Pair", ("f1", "accuracy"), {}),
        ("nli", "NLI", ("accuracy",), {"validation_splits": ("validation_matched", "validation_mismatched")}),
    ):
        lines.append(
            f"{name} = Task(name={name!r}, title={title!r}, suite='mini', problem_type='single_label_classification', "
            f"labels=('no', 'yes'), text_fields=('text',), metrics={metrics!r}, **{options!r})"
        )
    lines.append("mini = Suite('mini', 'Mini', {'Mini avg': ('one', 'pair', 'nli')})")
    (folder / "mini.py").write_text("\n".join(lines))
    return [folder]


def fill(answered: Answered, tasks: tuple[str, ...] = ("one", "pair", "nli"), seeds: int = 3) -> list[Record]:
    """Records of three models, which are the current ones."""
    made = [
        answered(task, model, seed, share, efficiency={"train_examples_per_second": RATES[model] + seed})
        for task in tasks
        for model, share in SHARES.items()
        for seed in range(1, seeds + 1)
    ]  # fmt: skip
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in made}, {"data": "hub"})
    return made


def pair(report: CompareReport) -> ModelComparison:
    assert isinstance(report.comparison, ModelComparison)
    return report.comparison


def test_two_models_on_every_task(answered: Answered, plugins: list[Path]) -> None:
    made = fill(answered)
    found = pair(harness.compare("good", "bad", answered.store.results, plugins=plugins))
    assert [line.task for line in found.tasks] == ["one", "pair", "nli"]
    line = found.tasks[0]
    means = [
        sum(r.scores["one"]["validation"]["accuracy"] for r in made if (r.task, r.model) == ("one", m)) / 3
        for m in ("good", "bad")
    ]
    assert (line.a, line.b) == pytest.approx(tuple(means))
    assert line.comparison is not None
    assert line.comparison.estimate == pytest.approx(means[0] - means[1])
    assert {str(c.verdict) for one in found.tasks if (c := one.comparison)} == {"better"}
    assert found.averages[0].title == "Mini avg" and found.averages[0].comparison is not None
    parts = [one.comparison.estimate for one in found.tasks if one.comparison]
    assert found.averages[0].comparison.estimate == pytest.approx(sum(parts) / 3)
    assert found.improvement is not None and found.improvement.estimate == 1.0
    other_way = pair(harness.compare("bad", "good", answered.store.results, plugins=plugins))
    assert {str(c.verdict) for one in other_way.tasks if (c := one.comparison)} == {"worse"}


def test_equal_models_cannot_be_told_apart_and_the_page_says_what_could_have_been_seen(answered: Answered) -> None:
    fill(answered, ("one", "pair"))
    report = harness.compare("good", "alike", answered.store.results)
    found = pair(report)
    assert {str(c.verdict) for one in found.tasks if (c := one.comparison)} == {"cannot be told apart"}
    text = report.text()
    comparison = found.tasks[0].comparison
    assert comparison and comparison.detectable
    assert f"cannot be told apart (seen from {100 * comparison.detectable:.1f} on)" in text
    assert "p is corrected by Holm over the tasks" in text
    assert comparison.p_adjusted >= comparison.p
    assert [line.title for line in found.averages] == ["average of 2 tasks"]


def test_models_of_one_answer_say_nothing_of_what_would_be_seen(answered: Answered) -> None:
    made = [answered("one", model, seed, [1] * N) for model in ("a", "b") for seed in (1, 2, 3)]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in made}, {"data": "hub"})
    report = harness.compare("a", "b", answered.store.results)
    comparison = pair(report).tasks[0].comparison
    assert comparison is not None and comparison.detectable is None
    assert "cannot be told apart (no run differs from another)" in report.text() and "seen from —" not in report.text()
    assert json.loads(report.text("json"))["pairs"][0]["tasks"][0]["detectable"] is None


def test_costs_have_ratios_with_intervals_over_runs(answered: Answered) -> None:
    fill(answered, ("one",))
    found = pair(harness.compare("bad", "good", answered.store.results))
    cost = next(cost for cost in found.costs if cost.key == "train_examples_per_second")
    assert cost.a == pytest.approx((101 * 102 * 103) ** (1 / 3)) and cost.b == pytest.approx((51 * 52 * 53) ** (1 / 3))
    assert cost.ratio.low < cost.ratio.estimate < cost.ratio.high
    assert cost.ratio.estimate == pytest.approx(1.961, abs=0.01)


def test_one_run_of_each_is_about_checkpoints(answered: Answered) -> None:
    made = fill(answered, ("one",), seeds=1)
    report = harness.compare("good", "bad", answered.store.results)
    assert "all that is said here is about these two checkpoints, and nothing about the models" in report.text()
    assert "Exact McNemar test of these two checkpoints." in report.text() and "beats" not in report.text()
    folders = [record.folder for record in made if record.model in ("good", "bad")]
    assert folders[0] is not None and folders[1] is not None
    runs = pair(harness.compare(folders[0], folders[1]))
    assert (runs.a, runs.b) == ("good seed 1", "bad seed 1")
    assert runs.tasks[0].comparison == pair(report).tasks[0].comparison


def test_what_cannot_be_compared_has_a_reason(answered: Answered) -> None:
    made = fill(answered, ("one", "pair"))
    lines = rows("one", "validation", LABELS.tolist(), (1 - LABELS).tolist())
    other = answered.store.write(
        record("one", "other", 1, scores={"one": {"validation": {"accuracy": 0.0}}}), predictions=lines
    )
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in (*made, other)}, {"data": "hub"})
    found = pair(harness.compare("good", "other", answered.store.results))
    reasons = {line.task: line.reason for line in found.tasks}
    assert reasons == {"one": "they answered different examples, or had other labels", "pair": "no score of other"}
    assert found.improvement is None and found.averages == ()


def test_all_pairs(answered: Answered, plugins: list[Path]) -> None:
    fill(answered)
    report = harness.compare(results=answered.store.results, plugins=plugins)
    assert isinstance(report.comparison, Comparisons)
    assert len(report.comparison.pairs) == 3
    assert report.comparison.rankings["Mini avg"].ranks == {"good": (1, 2), "alike": (1, 2), "bad": (3, 3)}
    text = report.text()
    assert "## Mini avg" in text and "1-2" in text and "3/0/0" in text and "0/3/0" in text
    line = next(line for line in text.splitlines() if line.startswith("| good"))
    assert line.count("*") == 1  # apart from bad alone


def test_forms_for_programs_and_papers(answered: Answered) -> None:
    fill(answered, ("one", "pair"))
    report = harness.compare("good", "bad", answered.store.results)
    lines = list(csv.DictReader(io.StringIO(report.text("csv"))))
    data = json.loads(report.text("json"))
    assert [line["task"] for line in lines] == ["one", "pair", ""]
    own = data["pairs"][0]["tasks"][0]
    assert float(lines[0]["difference"]) == pytest.approx(100 * own["difference"], abs=1e-3)
    assert own["verdict"] == "better" and own["p_adjusted"] < 0.05 and own["examples"] == N
    assert data["pairs"][0]["about"] == "the models"
    tex = report.text("tex")
    assert r"\toprule" in tex and r"one acc &" in tex and tex.count(r"\midrule") == 2
    with pytest.raises(HarnessError, match=r"format 'html': it is one of md, csv, json, tex"):
        report.text("html")


@pytest.mark.parametrize("words", [["good", "bad"], []])
@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_gets_no_wider_line_and_every_cell(answered, capsys, monkeypatch, columns, words) -> None:
    fill(answered)
    command = ["compare", *words, str(answered.store.results)]
    assert main(command) == 0
    page = capsys.readouterr().out
    monkeypatch.setattr(arguments, "terminal_width", lambda: columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns < max(map(len, page.splitlines()))
    assert "|" not in shown and "#" not in shown
    cells = {unescape(cell.strip()) for line in page.splitlines() if line[:1] == "|" for cell in line.split("|")}
    assert not [cell for cell in cells if cell.strip(":-") and cell not in shown]
    assert main([*command, "--format", "md"]) == 0 and capsys.readouterr().out == page


def test_latex_is_escaped(answered: Answered) -> None:
    runs = [answered("one", model, 1, share) for model, share in (("a_b+50", 0.9), ("c", 0.8))]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in runs}, {"data": "hub"})
    tex = harness.compare("a_b+50", "c", answered.store.results).text("tex")
    assert r"Task & a\_b+50 & c &" in tex and r"95 \% interval" in tex and " -" not in tex.split("\\toprule")[1]


def test_disagreements_without_data_say_so(answered: Answered) -> None:
    fill(answered, ("one",))
    report = harness.compare("good", "bad", answered.store.results, show=2)
    found = pair(report).disagreements
    assert found is not None and len(found) == 2
    assert found[0].a == {found[0].reference: 3} or found[0].b == {found[0].reference: 3}
    assert "Where they disagree most" in report.text() and "no texts: task 'one' is not defined here" in report.text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["goood", "bad"], "no model 'goood' in these results. Did you mean 'good'? There are: good, alike, bad"),
        (["good"], "compare good: name two models or runs, or none for all pairs"),
        (["good", "good"], "'good' is compared with itself"),
        (
            ["good", "bad", "RESULTS", "--tasks", "onee"],
            "no task or suite 'onee' in benchmark 'mini'. Did you mean 'one'?",
        ),
        (
            ["good", "bad", "RESULTS", "--benchmark", "maxi"],
            "no results of benchmark 'maxi' here. There are: mini.",
        ),
        (["good", "bad", "nowhere"], "nowhere"),
    ],
)
def test_mistakes(answered: Answered, capsys: Any, monkeypatch: Any, words: list[str], message: str) -> None:
    fill(answered, ("one",))
    monkeypatch.chdir(answered.store.results.parent)
    assert main(["compare", *[word.replace("RESULTS", "results") for word in words]]) == 2
    assert message in capsys.readouterr().err


def test_the_command_reads_results_where_run_writes_them_and_never_torch(answered: Answered) -> None:
    fill(answered, ("one",))
    code = "import sys; from harness.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for words in (["compare", "good", "bad"], ["compare"], ["compare", "results", "--format", "csv"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=answered.store.results.parent, capture_output=True, text=True
        )
        assert done.returncode == 0 and "good" in done.stdout, done.stderr


def test_a_claim_about_tasks_in_general_on_demand(answered: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"a": 0.9, "b": 0.75, "c": 0.6}
    runs = [run for name in ("one", "pair", "nli") for run in seeds(answered, shares, name=name)]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in runs}, {"data": "hub"})
    results = answered.store.results
    assert "Tasks in general" not in harness.compare(results=results).text()
    report = harness.compare(results=results, friedman=True)
    assert "## Tasks in general" in report.text() and "| a       |        1.00 |" in report.text()
    data = json.loads(report.text("json"))["in_general"]
    assert data["mean_ranks"] == {"a": 1.0, "b": 2.0, "c": 3.0} and len(data["tasks"]) == 3
    assert data["p"] == pytest.approx(0.0498, abs=1e-4)
    assert main(["compare", "a", "b", str(results), "--friedman"]) == 2
    assert "--friedman is asked of all models" in capsys.readouterr().err
    assert main(["compare", str(results), "--friedman", "--tasks", "one"]) == 2
    assert "needs three models and two tasks" in capsys.readouterr().err
