"""Plots for papers: their files, what they show, and what is said where they cannot be drawn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from answered import Answered, seeds
from hand_made import SUITES, TASKS, entries

import harness
from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard.build import board_and_runs
from harness.page import pictures, plots
from harness.page.content import content_of
from harness.page.write import page

VENDOR = Path(pictures.__file__).parent / "vendor"
drawn = pytest.mark.skipif(not pictures.installed(), reason="the extra plots is not installed")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    answered = Answered(folder)
    shares = {"best": 0.95, "middle": 0.9, "worst": 0.6}
    history = [
        {"step": 10, "loss": 0.5, "learning_rate": 0.1},
        {"step": 10, "scores": {"validation": {"accuracy": 0.7}}, "selection_score": 0.7},
        {"step": 20, "loss": 0.25, "learning_rate": 0.1},
        {"step": 20, "scores": {"validation": {"accuracy": 0.8}}, "selection_score": 0.8},
    ]
    records = [r for name in ("one", "pair") for r in seeds(answered, shares, name=name, history=history)]
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})
    return folder


@drawn
def test_every_plot_in_every_format(results, capsys):
    assert main(["report", str(results), "--plots", "svg,pdf,png"]) == 0
    files = {path.name: path.read_bytes() for path in (results / "mini" / "plots").iterdir()}
    names = ["quality-cost", "differences-best-middle", "differences-best-worst", "differences-middle-worst"]
    names += ["learning-curves", "loss-curves", "critical-differences"]
    assert files.keys() == {f"{name}.{form}" for name in names for form in ("svg", "pdf", "png")}
    beginnings = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert all(content.startswith(beginnings[name.rpartition(".")[2]]) for name, content in files.items())
    assert all(model.encode() in files["quality-cost.svg"] for model in ("best", "middle", "worst"))
    assert b"better" in files["differences-best-worst.svg"]
    for path in (results / "mini" / "plots").iterdir():
        path.unlink()
    assert main(["report", str(results), "--plots", "svg,pdf,png"]) == 0
    assert {path.name: path.read_bytes() for path in (results / "mini" / "plots").iterdir()} == files


@drawn
def test_of_many_points_those_of_the_pareto_front_have_names():
    def row(number: int, score: float, cost: float) -> dict[str, object]:
        ends = {"low": score - 1, "high": score + 1}
        return {
            "model": f"m{number}x",
            "family": "bert",
            "score": score,
            "merit": score,
            "cost": cost,
            "effort": cost,
            **ends,
        }

    rows = [row(number, 50 + number % 3, 10 + number) for number in range(18)]
    rows += [row(90, 80, 30), row(91, 60, 5), row(92, 79, 31)]
    svg = pictures.svg(plots.quality_cost(rows, "Latency (ms)", "Score"))
    named = {f"m{number}x" for number in (*range(18), 90, 91, 92) if f">m{number}x</text>" in svg}
    assert named == {"m90x", "m91x"}


@drawn
def test_a_page_has_the_plots_as_pictures_for_readers_without_scripts(results):
    harness.report(results)
    text = (results / "mini" / "index.html").read_text(encoding="utf-8")
    assert text.count("<noscript><svg") == 4
    assert " style=" not in text.split("<script")[0].split("</style>")[1]


def test_a_form_that_is_none_and_an_extra_that_is_missing(results, monkeypatch):
    with pytest.raises(HarnessError, match=r"plots 'swg': they are svg, pdf, png\. Did you mean 'svg'"):
        harness.report(results, plots=["swg"])
    monkeypatch.setattr(pictures, "installed", lambda: False)
    with pytest.raises(HarnessError, match=r"pip install 'enct5-harness\[plots\]'"):
        harness.report(results, plots=["svg"])
    harness.report(results)
    assert "<noscript>" not in (results / "mini" / "index.html").read_text(encoding="utf-8")


def test_while_runs_are_done_the_page_says_so_and_reads_no_predictions(results):
    records = Answered(results).store.records()
    known = {"benchmark": "mini", "asked": (), "references": False, "choices": {}}
    board, runs = board_and_runs({"": entries(*records)}, TASKS, SUITES, **known)
    text = page(content_of(board, runs, live=True))
    assert "Runs are still being done" in text and "What is taken for what" not in text


def test_the_libraries_are_those_of_their_digests():
    sums = dict(reversed(line.split()) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    present = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in VENDOR.iterdir() if p.name != "SHA256SUMS"}
    assert present == sums
    assert all(f"{name.removesuffix('.min.js')}-LICENSE.txt" in sums for name in sums if name.endswith(".js"))
