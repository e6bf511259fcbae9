"""What models get wrong: confusion, residuals, texts, confidence; the examples that every run has wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Bench

import harness
from harness.cli import main
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Bench:
    made = Bench(tmp_path_factory.mktemp("errors"), sample_cache)
    made.write(tasks=["cola", "stsb", "copa", "wnut17", "goemotions"], models=["bert"], seeds=[1, 2])
    made.run()
    return made


def page(bench: Bench, task: str, **options: object) -> str:
    folder = bench.record(task).folder
    assert folder is not None
    return harness.show_errors(folder, **options)  # type: ignore[arg-type]


def test_a_run_s_errors_have_texts_references_predictions_and_confidence(bench: Bench) -> None:
    text = page(bench, "cola", limit=3)
    record = bench.record("cola")
    wrong = [row for row in record.predictions() if row["label"] != row["prediction"]]
    assert f"{len(wrong)} of 30 answers wrong" in text
    assert "| unacceptable" in text and "sentence: " in text and "reference: " in text and "% sure" in text
    assert text.count("- example") == min(3, len(wrong))
    sure = [float(part.rsplit(", ", 1)[1]) for part in text.split(" % sure")[:-1]]
    assert sure == sorted(sure, reverse=True)


def test_labels_choose_examples(bench: Bench) -> None:
    text = page(bench, "cola", label="acceptable", predicted="unacceptable")
    record = bench.record("cola")
    count = sum((row["label"], row["prediction"]) == (1, 0) for row in record.predictions())
    assert f"### {count} example" in text
    with pytest.raises(HarnessError, match=r"no such label\. Did you mean 'acceptable'"):
        page(bench, "cola", label="acceptible")
    with pytest.raises(HarnessError, match="This task has no labels"):
        page(bench, "stsb", label="good")


def test_scores_have_residuals_and_the_largest_come_first(bench: Bench) -> None:
    text = page(bench, "stsb", limit=2)
    assert "Residuals (prediction less reference) of 30 answers: mean" in text
    rows = list(bench.record("stsb").predictions())
    worst = max(rows, key=lambda row: abs(row["prediction"] - row["label"]))  # type: ignore[operator]
    assert text.split("- example ")[1].split("\n")[0].split(" ")[0] == str(worst["index"])


@pytest.mark.parametrize(
    ("task", "words"), [("copa", "choice 1"), ("wnut17", "Wrongly predicted"), ("goemotions", "Missed")]
)
def test_every_problem_type_has_a_page(bench: Bench, task: str, words: str) -> None:
    assert words in page(bench, task)


def test_the_hardest_examples_are_wrong_in_every_run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    text = harness.show_errors(bench.results, tasks=["cola"])
    wrong = [
        {row["index"] for row in bench.record("cola", seed=seed).predictions() if row["label"] != row["prediction"]}
        for seed in (1, 2)
    ]
    assert f"{len(wrong[0] & wrong[1])} of 30 examples are wrong in every one of 2 runs." in text
    assert main(["errors", str(bench.results), "--limit", "1", "--tasks", "stsb"]) == 0
    assert "The largest mean errors over 2 runs" in capsys.readouterr().out


def test_without_the_data_there_are_no_texts_and_the_page_says_so(bench: Bench, tmp_path: Path) -> None:
    text = page(bench, "cola", data=tmp_path)
    assert "Texts are not shown" in text and "sentence:" not in text and "reference: " in text


def test_mistakes_are_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--label", "x"], ["--benchmark", "c"], ["--tasks", "nothing"]):
        assert main(["errors", str(bench.results), *words]) == 2
        assert capsys.readouterr().err
