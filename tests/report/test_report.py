"""Leaderboards from hand-made records: what a reader sees, and that every number in it is the right one."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hand_made import NAN, SCORES, SUITES, TASKS, board, caveats, cells, entries, failed, record, task
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.errors import HarnessError
from harness.format import escape
from harness.io import fingerprint, to_json
from harness.leaderboard.board import Leaderboard, Value
from harness.leaderboard.columns import described, known_suites
from harness.leaderboard.published import Reference, published
from harness.report.boards import leaderboard
from harness.report.leaderboard import write_leaderboard
from harness.report.numbers import as_data, csv_text
from harness.report.show import show_run
from harness.report.terminal import terminal_table
from harness.results.manifest import Table
from harness.results.record import CaveatKind, Record
from harness.results.store import Store
from harness.task.plugins import load_plugins
from harness.task.task import Suite

LIMITED, SEEN = CaveatKind.LIMITED_DATA, CaveatKind.SEEN_IN_PRETRAINING
UNPINNED = CaveatKind.UNPINNED_CHECKPOINT


def dev(**metrics: float) -> dict[str, dict[str, float]]:
    """The published scores of a task with one validation split."""
    return {"validation": metrics}


def notes(page: str) -> dict[str, str]:
    """Footnotes by letter."""
    lines = page.split("## Notes\n")[1].splitlines() if "## Notes\n" in page else []
    return dict(line.removeprefix("- [").split("] ", 1) for line in lines if line)


# The page --------------------------------------------------------------------------------------------------------

PAGE = """\
# Leaderboard: mini

Benchmark mini: 2 models, 4 tasks, 2 seeds; data from the Hugging Face Hub.

## Mini

| Model   |   Mini avg |   Mini avg (2) |    One acc |         Pair F1/acc |        NLI acc m/mm |   Probe MCC |
|:--------|-----------:|---------------:|-----------:|--------------------:|--------------------:|------------:|
| bert    | 72.7 ± 1.4 |     81.0 ± 1.4 | 81.0 ± 1.4 | 91.0/71.0 ± 1.4/1.4 | 61.0/51.0 ± 1.4/1.4 |  26.0 ± 1.4 |
| t5      | 62.7 ± 1.4 |     71.0 ± 1.4 | 71.0 ± 1.4 | 81.0/61.0 ± 1.4/1.4 | 51.0/41.0 ± 1.4/1.4 |  16.0 ± 1.4 |

- Scores on the validation sets, times 100; where a column has two numbers, their mean counts in the average.
- Mean ± sample standard deviation over seeds.

## Cost

| Model   |   Params (trained) |   Time per run |       All runs |   Train ex/s |   Infer ex/s @1 |   Infer ex/s @32 |
|:--------|-------------------:|---------------:|---------------:|-------------:|----------------:|-----------------:|
| bert    |      22.7M (22.7M) |           90 s | 9 min (6 runs) |         50.2 |            99.5 |            1,234 |
| t5      |      22.7M (22.7M) |           90 s | 9 min (6 runs) |         50.2 |            99.5 |            1,234 |

Time is that of training. ex/s: examples per second in training, and in inference in batches of 1 and 32; geometric means over the tasks that all models have finished, as in [efficiency.md](efficiency.md).

## Signatures

- bert: `google-bert/bert-base-uncased@86b5e09 | hub@bcdcba7 | seeds 1-2 | recipe 996a0a77 | v0.1.0 | statistics 2`
- t5: `google-bert/bert-base-uncased@86b5e09 | hub@bcdcba7 | seeds 1-2 | recipe 996a0a77 | v0.1.0 | statistics 2`
"""  # noqa: E501


def two_models() -> list[Record]:
    return [
        record(name, model, seed, plus=0.02 * (seed - 1) - 0.1 * (model == "t5"))
        for name in SCORES
        for model in ("bert", "t5")
        for seed in (1, 2)
    ]


def test_the_page_reads_like_this() -> None:
    assert board(*two_models()).markdown == PAGE


def test_the_page_is_a_function_of_the_records() -> None:
    first, second = board(*two_models()), board(*two_models())
    assert first.markdown == second.markdown
    assert csv_text(first) == csv_text(second)
    assert to_json(as_data(first)) == to_json(as_data(second))


def test_one_model_one_seed_has_neither_bold_nor_spread() -> None:
    page = board(*map(record, SCORES)).markdown
    assert "**" not in page and "±" not in page and "Bold" not in page
    assert "1 model, 4 tasks, 1 seed;" in page
    assert cells(page, "bert") == {
        "Model": "bert",
        "Mini avg": "71.7",
        "Mini avg (2)": "80.0",
        "One acc": "80.0",
        "Pair F1/acc": "90.0/70.0",
        "NLI acc m/mm": "60.0/50.0",
        "Probe MCC": "25.0",
    }


def test_averages_count_each_task_once_and_no_diagnostic() -> None:
    # One 80, Pair (90 + 70) / 2 = 80, NLI (60 + 50) / 2 = 55: mean 71.67. Probe (25) counts nowhere.
    row = board(*map(record, SCORES)).rows[0]
    assert row.averages["Mini avg"].score.mean == pytest.approx((0.8 + 0.8 + 0.55) / 3)  # type: ignore[union-attr]
    assert row.averages["Mini avg (2)"].score.mean == pytest.approx(0.8)  # type: ignore[union-attr]


def test_glue_averages_are_the_official_ones() -> None:
    plugins = load_plugins()
    nine = [t for t in plugins.tasks.values() if t.suite == "glue" and t.evaluated_by is None]
    values = dict(zip([t.name for t in nine], [0.50, 0.91, 0.88, 0.86, 0.87, 0.84, 0.90, 0.66, 0.56], strict=True))
    records = []
    for t in nine:
        scores = {split: dict.fromkeys(t.metrics, values[t.name]) for split in t.validation_splits}
        records.append(record("one", scores={t.name: scores}, task=t.name))
    row = leaderboard(entries(*records), plugins.tasks, plugins.suites).rows[0]
    nine_mean, eight_mean = (cell.score.mean for cell in row.averages.values() if cell.score)
    assert nine_mean == pytest.approx(6.98 / 9) and eight_mean == pytest.approx(6.42 / 8)
    assert list(row.averages) == ["GLUE avg (9)", "GLUE avg (8, no WNLI)"]


@given(st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=6))
def test_values_over_seeds(values: list[float]) -> None:
    value = Value(dict(enumerate(values)))
    counted = [0.0 if math.isnan(v) else v for v in values]
    if all(map(math.isnan, values)):
        assert math.isnan(value.mean) and value.std is None
    else:
        assert value.mean == pytest.approx(statistics.fmean(counted))
        assert (value.std is None) == (len(values) == 1)
        if value.std is not None:
            assert value.std == pytest.approx(statistics.stdev(counted))


def test_spread_of_an_average_is_over_the_averages_of_the_seeds() -> None:
    # The tasks move in opposite directions: each has a spread, their average none.
    up, down = (0.8, 0.9), (0.7, 0.6)
    records = [
        record(name, seed=seed, scores={name: {"validation": dict.fromkeys(TASKS[name].metrics, values[seed - 1])}})
        for name, values in (("one", up), ("pair", down))
        for seed in (1, 2)
    ]
    row = cells(board(*records).markdown, "bert")
    assert row["Mini avg (2)"] == "75.0 ± 0.0"
    assert row["One acc"] == "85.0 ± 7.1" and row["Pair F1/acc"] == "65.0/65.0 ± 7.1/7.1"


# Lengths of inputs -------------------------------------------------------------------------------------------------


def test_rows_that_read_less_than_others_say_so() -> None:
    def of(model: str, **lengths: int) -> list[Record]:
        return [record(name, model, settings={"recipe": {"max_length": n}}) for name, n in lengths.items()]

    page = board(*of("bert", one=128, pair=128), *of("enct5", one=512, pair=512), *of("t5", one=512, pair=256)).markdown
    assert notes(page) == {
        "a": "inputs are cut at 128 tokens, in another row at 512 (max_length)",
        "b": "pair: inputs are cut at 256 tokens, in another row at 512 (max_length)",
    }
    assert [line.split(" | ")[0].strip("| ") for line in page.splitlines() if line.startswith("| ")][1:4] == [
        "bert [a]", "enct5", "t5 [b]",
    ]  # fmt: skip
    assert "max_length" not in board(*of("bert", one=128, pair=128), *of("t5", one=128), record("pair", "t5")).markdown


# Gaps ------------------------------------------------------------------------------------------------------------


def test_a_missing_run_is_a_dash_with_its_reason_and_no_average() -> None:
    page = board(record("one"), ("pair", "bert", 1), record("nli")).markdown
    row = cells(page, "bert")
    assert (row["Pair F1/acc"], row["Mini avg"], row["Mini avg (2)"]) == ("— [a]", "—", "—")
    assert notes(page) == {"a": "no record yet"}


def test_a_failed_run_is_shown_as_failed_with_its_reason() -> None:
    page = board(record("one"), failed("pair", "CUDA out of\n memory | *boom*"), failed("nli", "no data")).markdown
    row = cells(page, "bert")
    assert (row["Pair F1/acc"], row["NLI acc m/mm"], row["Probe MCC"]) == ("failed [a]", "failed [b]", "failed [b]")
    assert row["Mini avg"] == "—"
    assert notes(page) == {"a": "failed: CUDA out of memory \\| \\*boom\\*", "b": "failed: no data"}


def test_scores_of_a_failed_run_do_not_count() -> None:
    run = record("one", status="failed", error="lost the disk", traceback="")
    assert cells(board(run).markdown, "bert") == {"Model": "bert", "One acc": "failed [a]"}


def test_seeds_that_are_not_done_are_counted() -> None:
    runs: list[Any] = [
        record("one", seed=1),
        record("one", seed=2, plus=0.1),
        ("one", "bert", 3),
        failed("one", "oom", seed=4),
    ]
    page = board(*runs, ("one", "bert", 5)).markdown
    assert cells(page, "bert")["One acc"] == "85.0 ± 7.1 (2/5 seeds) [a,b]"
    assert notes(page) == {"a": "seeds 3, 5: no record yet", "b": "seed 4: failed: oom"}


def test_an_average_is_over_the_seeds_that_have_every_task() -> None:
    pair = [record("pair", seed=seed, plus=0.02 * seed) for seed in (1, 2, 3)]
    page = board(record("one", seed=1), record("one", seed=2), ("one", "bert", 3), *pair).markdown
    row = cells(page, "bert")
    assert row["Mini avg (2)"] == "81.5 ± 0.7 (2/3 seeds)"  # of (80 + 82) / 2 and (80 + 84) / 2
    page = board(record("one", seed=1), ("one", "bert", 2), ("pair", "bert", 1), record("pair", seed=2)).markdown
    assert cells(page, "bert")["Mini avg (2)"] == "—"


def test_one_of_two_splits_is_no_task_score() -> None:
    scores = {"nli": {"validation_matched": {"accuracy": 0.6}}}
    missing = {"nli": {"validation_mismatched": "the file is not there"}, "probe": {"test": "it has no labels"}}
    page = board(record("one"), record("pair"), record("nli", scores=scores, missing=missing)).markdown
    row = cells(page, "bert")
    assert (row["NLI acc m/mm"], row["Probe MCC"], row["Mini avg"]) == ("60.0/— [a]", "— [b]", "—")
    reasons = {"a": "validation\\_mismatched: the file is not there", "b": "it has no labels"}
    assert {k: v.replace("\\", "") for k, v in notes(page).items()} == {
        k: v.replace("\\", "") for k, v in reasons.items()
    }


def test_an_undefined_correlation_is_nan_and_counts_zero() -> None:
    tasks = {**TASKS, "pair": task("pair", "Pair", ("pearson", "spearmanr"), selection_metric="mean")}
    for values, shown, average in (
        ({"pearson": NAN, "spearmanr": NAN}, "nan/nan [b]", 40.0),
        ({"pearson": 0.6, "spearmanr": NAN}, "60.0/nan [b]", 55.0),
    ):
        runs = entries(record("one"), record("pair", scores={"pair": {"validation": values}}))
        page = leaderboard(runs, tasks, SUITES, benchmark="mini").markdown
        row = cells(page, "bert")
        assert (row["Pair Pearson/Spearman"], row["Mini avg (2)"]) == (shown, f"{average} [a]")
        assert notes(page)["a"] == "an undefined correlation in it counts 0"
        assert "undefined, because all predictions are the same" in notes(page)["b"]


def test_a_seed_without_a_correlation_counts_zero_and_is_named() -> None:
    runs = [record("one", seed=1), record("one", seed=2, scores={"one": {"validation": {"accuracy": NAN}}})]
    page = board(*runs).markdown
    assert cells(page, "bert")["One acc"] == "40.0 ± 56.6 [a]"
    assert notes(page) == {"a": "undefined with seed 2, where it counts 0"}


def test_an_average_whose_tasks_are_not_in_the_benchmark_has_no_column() -> None:
    page = board(record("one")).markdown
    assert list(cells(page, "bert")) == ["Model", "One acc"]
    assert "No Mini avg: pair, nli are not in this benchmark." in page
    assert "No Mini avg (2): pair is not in this benchmark." in page
    page = board(record("nli")).markdown
    assert "No Mini avg and no Mini avg (2): one, pair are not in this benchmark." in page


def test_a_diagnostic_without_its_model_says_so() -> None:
    page = board(record("one"), asked=["probe"]).markdown
    assert cells(page, "bert")["Probe MCC"] == "— [a]"
    assert notes(page) == {"a": "Probe is answered by the nli model, which is not in this benchmark"}


def test_test_scores_never_enter_a_column() -> None:
    scores = {"one": {"validation": {"accuracy": 0.8}, "test": {"accuracy": 0.99}}}
    found = board(record("one", scores=scores))
    assert cells(found.markdown, "bert") == {"Model": "bert", "One acc": "80.0"}
    assert "0.99" not in to_json(as_data(found)).decode()
    unknown = leaderboard(entries(record("one", scores=scores)), {}, {}, benchmark="mini")
    assert cells(unknown.markdown, "bert", "Other tasks") == {"Model": "bert", "one acc": "80.0"}


def test_a_task_without_its_plugin_is_still_shown() -> None:
    found = leaderboard(entries(record("pair"), record("one")), {"one": TASKS["one"]}, SUITES, benchmark="mini")
    assert cells(found.markdown, "bert", "Other tasks") == {"Model": "bert", "pair acc/F1": "70.0/90.0"}
    assert cells(found.markdown, "bert") == {"Model": "bert", "One acc": "80.0"}


def test_a_task_that_no_plugin_knows_has_the_scores_that_its_records_say_count() -> None:
    columns = {"pair": {"title": "Pair of mine", "suite": "own", "parts": [["validation", "f1"]]}}
    found = leaderboard(entries(record("pair", columns=columns)), {}, {}, benchmark="mini")
    assert cells(found.markdown, "bert", "own") == {"Model": "bert", "Pair of mine F1": "90.0"}


def test_pages_that_nothing_stands_in_any_more_are_removed(tmp_path: Path) -> None:
    write_leaderboard(tmp_path, board(record("one")))
    assert (tmp_path / "efficiency.md").exists()
    (tmp_path / "labels.md").write_text("old")
    write_leaderboard(tmp_path, board())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"leaderboard.{kind}" for kind in ("csv", "json", "md", "tex")
    ]


def test_no_runs_at_all() -> None:
    found = board()
    assert "0 models" in found.markdown and found.text and csv_text(found) == "model\n"


# Marks and comparability -----------------------------------------------------------------------------------------


def test_marks_of_all_rows_of_a_row_and_of_a_cell() -> None:
    runs = [
        record(name, model, caveats=caveats(LIMITED, *([SEEN] if model == "t5" else []), *extra))
        for model in ("bert", "t5")
        for name, extra in (("one", []), ("pair", [UNPINNED] if model == "bert" else []))
    ]
    found = board(*runs)
    page = found.markdown
    assert "All rows: limited data: trained or evaluated on a part of the examples." in page
    assert cells(page, "t5")["Model"] == "t5 [b]" and cells(page, "bert")["Model"] == "bert"
    assert cells(page, "bert")["Pair F1/acc"] == "90.0/70.0 [a]"
    assert notes(page) == {"a": UNPINNED.text, "b": SEEN.text}
    assert [row["caveats"] for row in as_data(found)["rows"]] == [[], [SEEN.text]]


def test_the_number_of_evaluations_that_chose_is_said_once_or_by_row() -> None:
    same = board(record("one", evaluations=10), record("one", "t5", evaluations=10))
    assert "All rows: each checkpoint is the best of 10 evaluations." in same.markdown
    assert same.rows[0].notes == ()
    other = board(
        record("one", evaluations=10),
        record("one", "t5", evaluations=3),
        record("one", "t5", seed=2, evaluations=7),
        record("one", "older"),
    )
    assert "All rows: each" not in other.markdown
    said = {row.model: tuple(note for note in row.notes if "seed" not in note) for row in other.rows}
    assert said == {
        "bert": ("each checkpoint is the best of 10 evaluations",),
        "t5": ("each checkpoint is the best of 3 to 7 evaluations",),
        "older": (),
    }
    assert "each checkpoint is the best of 3 to 7 evaluations" in notes(other.markdown).values()
    assert [row["evaluations"] for row in as_data(other)["rows"]] == [(10,), (3, 7), ()]


def test_rows_made_on_other_machines_say_so() -> None:
    here = {"harness": "0.1.0", "device": "cpu", "processor": "EPYC", "processes": 1, "threads": 4, "torch": "2.13.0"}
    rows = [
        record("one", provenance=here),
        record("one", "t5", provenance={**here, "processes": 2}),
        record("pair", "t5", provenance={**here, "torch": "2.14.0"}),
        record("one", "failed", provenance={**here, "processes": 9}, status="failed", scores={}),
        record("one", "old", provenance={}),
    ]
    found = {row.model: row.notes for row in board(*rows).rows}
    assert found == {
        "bert": ("made with 1 process, torch 2.13.0",),
        "t5": ("made with 1 or 2 processes, torch 2.13.0 or 2.14.0",),
        "failed": (),
        "old": (),
    }
    assert all(row.notes == () for row in board(rows[0], record("one", "t5", provenance=here)).rows)


def test_the_last_checkpoints_scores_stand_beside_the_best_ones() -> None:
    last = {"one": {"validation": {"accuracy": 0.7}}}
    found = record("one", last_scores=last, steps=10, best_step=5)
    cell = as_data(board(found))["rows"][0]["tasks"]["one"]
    assert cell["splits"]["validation"]["accuracy"]["mean"] == 0.8
    assert cell["last_checkpoint"]["validation"]["accuracy"]["mean"] == 0.7
    assert "Scores x 100 of the last checkpoint\n  one validation accuracy  70.00" in show_run(found)
    assert "last checkpoint" not in show_run(record("one", last_scores=last, steps=5, best_step=5))
    assert "last_checkpoint" not in as_data(board(record("one")))["rows"][0]["tasks"]["one"]


def test_sample_data_is_said_plainly_and_no_published_row_stands_beside_it() -> None:
    runs = [record("one", model, caveats=caveats(CaveatKind.SAMPLE_DATA)) for model in ("a", "b")]
    references = [Reference(model="Published", source="a paper", scores={"one": dev(accuracy=90.0)})]
    assert board(record("one"), references=references).references
    found = board(*runs, failed("pair", "x", model="c"), references=references)
    for text in (found.markdown, found.text):
        said = " ".join(text.split())
        assert "Sample data: the numbers show the machinery; compare them with nothing published." in said
    assert found.references == ()


def test_rows_of_several_folders_are_marked_by_folder() -> None:
    a, b = entries(record("one")), entries(record("one", plus=0.1))
    found = leaderboard({"runs/a": a, "runs/b": b}, TASKS, SUITES, benchmark="mini")
    assert [row.name for row in found.rows] == ["bert (runs/a)", "bert (runs/b)"]
    assert cells(found.markdown, "bert (runs/b)")["One acc"] == "90.0"
    assert "1 model," in found.markdown
    single = leaderboard({"runs/a": a}, TASKS, SUITES, benchmark="mini")
    assert [row.name for row in single.rows] == ["bert"]


# Costs and signatures --------------------------------------------------------------------------------------------


def test_costs() -> None:
    times = [{"train_seconds": s, "train_examples_per_second": r, "inference_rates": {"1": r / 2, "32": 2 * r}}
             for s, r in ((30.0, 100.0), (7170.0, 400.0))]  # fmt: skip
    runs = [
        record("one", efficiency=times[0]),
        record("pair", efficiency=times[1], parameters={"total": 950, "trained": 9}),
    ]
    row = cells(board(*runs, failed("nli", "oom")).markdown, "bert", "Cost")
    assert row == {
        "Model": "bert",
        "Params (trained)": "22.7M (22.7M)",
        "Time per run": "60 min",
        "All runs": "2.0 h (2 runs)",
        "Train ex/s": "200",
        "Infer ex/s @1": "100",
        "Infer ex/s @32": "400",
    }
    cost = as_data(board(*runs))["rows"][0]["cost"]
    assert (cost["total"], cost["trained"], cost["train_seconds_total"]) == (22_713_216, 22_700_000, 7200.0)


def test_costs_that_were_not_measured_are_named_so() -> None:
    row = cells(board(record("one", efficiency={}, parameters={})).markdown, "bert", "Cost")
    assert list(row.values()) == ["bert", "— (—)", "—", "— (1 run)", "n/a", "n/a", "n/a"]


def test_unparsable_answers_show_only_where_models_generate() -> None:
    assert "Invalid" not in board(record("one")).markdown
    runs = [
        record("one"),
        record("one", "t5", invalid={"one": {"validation": 0.0}}),
        record("pair", "t5", invalid={"pair": {"validation": 0.02}}),
        record("one", "good", invalid={"one": {"validation": 0.0}}),
    ]
    page = board(*runs).markdown
    shares = [cells(page, model, "Cost")["Invalid"] for model in ("bert", "t5", "good")]
    assert shares == ["n/a", "1.0 % (worst: Pair 2.0 %)", "0.0 %"]


def signature(*records: Record) -> str:
    return board(*records).rows[0].signature


def test_signatures() -> None:
    sign = signature(*(record("one", seed=seed) for seed in (1, 2, 3, 7)))
    checkpoint, data, seeds, recipe, version, statistics = sign.split(" | ")
    assert (checkpoint, data) == ("google-bert/bert-base-uncased@86b5e09", "hub@bcdcba7")
    assert (seeds, version, statistics) == ("seeds 1-3,7", "v0.1.0", "statistics 2")
    assert recipe == f"recipe {fingerprint({'recipe': {'learning_rate': 1e-4}})[:8]}"
    assert signature(record("one")).split(" | ")[2] == "seed 1"
    assert signature(failed("one", "oom")) == ""


def test_a_signature_changes_with_what_it_stands_for() -> None:
    def model(checkpoint: str | None, content: str | None, **settings: Any) -> dict[str, Any]:
        own = {"settings": {"model": {"architecture": "bert", "content": content, **settings}}}
        return {"checkpoint": checkpoint, "revision": None, **own}

    variants: list[dict[str, Any]] = [
        {"settings": {"recipe": {"learning_rate": 3e-4}}},
        model("/home/me/models/mine", "0123456789"),
        model("/elsewhere/mine", "9876543210"),
        model(None, None, config={"hidden_size": 8}),
        {"settings": {"data": {"one": {"source": "files", "content": {"train": "aa"}}}}},
        {"settings": {"data": {"one": {"source": "files", "content": {"train": "bb"}}}}},
        {"settings": {"data": {"one": {"source": "sample", "content": {"train": "x"}}}}},
    ]
    signatures = [signature(record("one", **change)) for change in ({}, *variants)]
    assert len(set(signatures)) == len(signatures)
    assert all("/home" not in text and "mine" not in text for text in signatures)
    assert "bert@01234567" in signatures[2] and "bert@random weights" in signatures[4]
    assert signature(record("one", **model("/moved/mine", "0123456789"))) == signatures[2]


def test_recipes_that_differ_between_tasks_are_told_apart() -> None:
    fast, slow = ({"recipe": {"learning_rate": rate}} for rate in (1e-3, 1e-5))
    one_way = signature(record("one", settings=fast), record("pair", settings=slow))
    other_way = signature(record("one", settings=slow), record("pair", settings=fast))
    assert one_way != other_way and "recipes " in one_way


# Files -----------------------------------------------------------------------------------------------------------


FILES = [f"{name}.{kind}" for name in ("leaderboard", "efficiency") for kind in ("md", "csv", "json", "tex")]


def test_eight_files_are_written(tmp_path: Path) -> None:
    found = board(*two_models())
    paths = write_leaderboard(tmp_path / "results" / "mini", found)
    assert [path.name for path in paths] == FILES
    assert paths[0].read_text(encoding="utf-8") == found.markdown
    assert sorted(os.listdir(paths[0].parent)) == sorted(path.name for path in paths)


@pytest.mark.parametrize("call", range(1, 9))
def test_a_full_disk_keeps_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    old, new = board(record("one")), board(record("one", plus=0.1, efficiency={"train_examples_per_second": 1.0}))
    before = [path.read_bytes() for path in write_leaderboard(tmp_path, old)]
    replaced, replace = [], os.replace

    def full(source: Any, target: Any) -> None:
        replaced.append(target)
        if len(replaced) == call:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(HarnessError, match="the disk is full"):
        write_leaderboard(tmp_path, new)
    monkeypatch.undo()
    after = [(tmp_path / name).read_bytes() for name in FILES]
    assert [a == b for a, b in zip(after, before, strict=True)] == [i + 1 >= call for i in range(8)]
    assert len(list(tmp_path.iterdir())) == 8


def test_csv_has_raw_numbers() -> None:
    runs = [
        *two_models(),
        record("one", "nan", scores={"one": {"validation": {"accuracy": NAN}}}),
        failed("pair", "x", model="nan"),
    ]
    bert, _, last = csv.DictReader(io.StringIO(csv_text(board(*runs))))
    assert (bert["model"], bert["seeds"], bert["one status"], bert["one seeds"]) == ("bert", "2", "done", "2")
    assert float(bert["one accuracy"]) == pytest.approx(81.0)
    assert float(bert["one accuracy std"]) == pytest.approx(100 * statistics.stdev([0.8, 0.82]), abs=1e-6)
    assert float(bert["nli validation_matched accuracy"]) == pytest.approx(61.0)
    assert float(bert["nli validation_mismatched accuracy"]) == pytest.approx(51.0)
    assert float(bert["Mini avg"]) == pytest.approx(100 * (0.81 + 0.81 + 0.56) / 3, abs=1e-6)
    assert (bert["parameters_total"], bert["train_seconds_mean"], bert["folder"]) == ("22713216", "90.0", "")
    assert bert["signature"].startswith("google-bert/")
    assert (last["one accuracy"], last["pair status"], last["pair f1"], last["nli status"]) == (
        "nan",
        "failed",
        "",
        "missing",
    )


def test_json_has_every_seed_and_is_strict() -> None:
    runs = [*two_models(), record("one", "nan", scores={"one": {"validation": {"accuracy": NAN}}})]
    data = json.loads(to_json(as_data(board(*runs))), parse_constant=pytest.fail)
    bert = data["rows"][0]
    assert bert["tasks"]["one"]["splits"]["validation"]["accuracy"]["values"] == {"1": 0.8, "2": 0.8200000000000001}
    assert bert["tasks"]["nli"]["score"]["n"] == 2 and bert["tasks"]["nli"]["status"] == "done"
    assert bert["averages"]["Mini avg"]["mean"] == pytest.approx((0.81 + 0.81 + 0.56) / 3)
    assert data["rows"][2]["tasks"]["one"]["splits"]["validation"]["accuracy"]["mean"] == "nan"
    assert data["rows"][2]["averages"]["Mini avg"] is None
    assert data["suites"]["mini"]["tasks"] == ["one", "pair", "nli", "probe"]


@given(st.text(alphabet="ab_*`|<>[]\\~& \n", max_size=30))
def test_escaped_text_has_no_markup(text: str) -> None:
    escaped = escape(text)
    assert "\n" not in escaped
    bare = escaped.replace("\\\\", "")
    for i, character in enumerate(bare):
        if character in "*`|<>[]~&":
            assert i and bare[i - 1] == "\\"


# The terminal ----------------------------------------------------------------------------------------------------


def test_terminal_tables_fit() -> None:
    text = terminal_table(
        board(*two_models(), failed("one", "out of memory " * 20, model="a-model-with-a-very-long-name" * 3))
    )
    assert max(map(len, text.splitlines())) <= 120
    assert "out of memory" in text and "bert" in text


def test_terminal_shows_task_scores() -> None:
    lines = board(*two_models()).text.splitlines()
    start = lines.index("Mini (task scores x 100)") + 1
    dashes = next(i for i, line in enumerate(lines) if i > start and line.startswith("-----"))
    header, numbers, *more = lines[start:dashes]
    bert = lines[dashes + 1]
    assert [*numbers.split(), *(word for line in more for word in line.split())] == [
        *("acc", "mean", "of", "F1", "acc,", "mean", "of", "MCC"),
        *("and", "acc", "m", "and", "mm"),
    ]
    assert header.split("  ")[0] == "Model" and header.split()[1:] == [
        "avg",
        "avg",
        "(2)",
        "One",
        "Pair",
        "NLI",
        "Probe",
    ]
    assert " ".join(bert.split()) == "bert 72.7 ± 1.4 81.0 ± 1.4 81.0 ± 1.4 81.0 ± 1.4 56.0 ± 1.4 26.0 ± 1.4"


def test_of_many_tasks_and_few_models_the_tasks_are_the_rows() -> None:
    tasks = {f"t{i}": task(f"t{i}", f"Task{i}") for i in range(8)}

    def shown(*models: str) -> Leaderboard:
        runs = [
            record("one", model, task=name, scores={name: {"validation": {"accuracy": 0.5 + len(model) / 100}}})
            for model in models
            for name in tasks
        ]
        return leaderboard(entries(*runs), tasks, {"mini": Suite("mini", "Mini", {})}, benchmark="x")

    few = shown("small", "a-model-with-a-longer-name")
    assert cells(few.markdown, "Task3 acc") == {
        "Task": "Task3 acc",
        "small": "55.0",
        "a-model-with-a-longer-name": "76.0",
    }
    assert [line.split() for line in few.text.splitlines() if line.startswith("Task3 acc")] == [
        ["Task3", "acc", "55.0", "76.0"]
    ]
    many = shown(*(f"model{i}" for i in range(9)))
    assert cells(many.markdown, "model7")["Task3 acc"] == "56.0"
    assert max(map(len, terminal_table(many, 80).splitlines())) <= 80
    assert sum(line.startswith("model7 ") for line in terminal_table(many, 40).splitlines()) > 2  # repeated


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 3), st.sampled_from([60, 80, 120]))
def test_any_number_of_tasks_fits_the_terminal(number: int, width: int, seeds: int, columns: int) -> None:
    tasks = {f"t{i}": task(f"t{i}", "T" * width + str(i)) for i in range(number)}
    runs = [
        record("one", "m" * 60, seed, task=name, scores={name: {"validation": {"accuracy": 0.5 + seed / 10}}})
        for name in tasks
        for seed in range(1, seeds + 1)
    ]
    text = terminal_table(leaderboard(entries(*runs), tasks, {}, benchmark="x"), columns)
    assert max(map(len, text.splitlines())) <= columns
    for i in range(number if columns >= 80 else 0):
        assert sum("T" * width + str(i) in line.split() for line in text.splitlines()) == 1


def test_warnings_reach_the_terminal_only() -> None:
    found = board(record("one"), warnings=["runs/x: altered"])
    assert "warning: runs/x: altered" in found.text and "altered" not in found.markdown


# Published rows --------------------------------------------------------------------------------------------------


def mnli(matched: float, mismatched: float) -> dict[str, dict[str, float]]:
    return {"validation_matched": {"accuracy": matched}, "validation_mismatched": {"accuracy": mismatched}}


def test_published_rows_stand_below_in_italics_with_their_source() -> None:
    whole = {"one": dev(accuracy=90.0), "pair": dev(f1=80.0, accuracy=60.0), "nli": mnli(50.0, 40.0)}
    part = {"scores": {"pair": dev(f1=88.8)}, "note": "as printed", "notes": {"pair": "from NLI"}}
    references = [
        Reference(model="Whole", source="a paper", scores=whole),
        Reference(model="Part", source="a page", **part),
        Reference(model="Elsewhere", source="a page", scores={"cola": dev(matthews_correlation=50.0)}),
    ]
    found = board(*map(record, SCORES), references=references)
    page = found.markdown
    assert cells(page, "Whole")["Model"] == "*Whole* [a]"
    assert (cells(page, "Whole")["One acc"], cells(page, "Whole")["Mini avg"]) == ("*90.0*", "*68.3*")
    part = cells(page, "Part")
    assert (part["Model"], part["Pair F1/acc"], part["Mini avg (2)"]) == ("*Part* [b,c]", "*88.8/—* [d]", "—")
    assert "Elsewhere" not in page and "**" not in page
    assert notes(page) == {"a": "published: a paper", "b": "published: a page", "c": "as printed", "d": "from NLI"}
    data = as_data(found)["references"]
    assert [(row["model"], row["source"], row["split"]) for row in data] == [
        ("Whole", "a paper", "dev"),
        ("Part", "a page", "dev"),
    ]
    assert "Whole" not in csv_text(found)
    assert board(record("one")).references == ()


def test_known_published_rows_are_dev_scores_of_known_tasks_with_a_source() -> None:
    tasks = load_plugins().tasks
    known = {
        name: {(split, "f1" if metric == "cb_f1" else metric) for split in t.validation_splits for metric in t.metrics}
        for name, t in tasks.items()
    }
    for row in published():
        assert row.source and row.scores
        for name, splits in row.scores.items():
            found = {(split, metric) for split, scores in splits.items() for metric in scores}
            assert found <= known[name], (row.model, name)
            assert all(0 < value <= 100 for scores in splits.values() for value in scores.values())
        assert set(row.notes) <= set(row.scores)
    first = published()[0]
    assert first.scores["mnli"] == mnli(83.91, 84.10) and first.scores["qqp"]["validation"]["f1"] == 87.49


# Results folders and single runs ---------------------------------------------------------------------------------


def kept(results: Path, benchmark: str, *records: Record) -> Store:
    store = Store(results, benchmark)
    for r in records:
        point = {"step": 5, "epoch": 1.0, "scores": r.scores.get(r.task, {}), "selection_score": 0.5}
        store.write(r, history=[point])
    store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})
    return store


def glue_record(name: str, model: str, value: float) -> Record:
    return record("one", model, task=name, scores={name: {"validation": {"accuracy": value}}})


def test_report_makes_the_tables_again_from_the_folders(tmp_path: Path) -> None:
    a = kept(tmp_path / "a", "glue", glue_record("rte", "bert", 0.6))
    kept(tmp_path / "b", "glue", glue_record("rte", "bert", 0.7), glue_record("sst2", "bert", 0.9))
    kept(tmp_path / "b", "mine", glue_record("own", "bert", 0.5))
    boards = harness.report([tmp_path / "a", tmp_path / "b"])
    assert list(boards) == ["glue", "mine"]
    assert [row.name for row in boards["glue"].rows] == [f"bert ({tmp_path}/a)", f"bert ({tmp_path}/b)"]
    assert (a.folder / "leaderboard.md").read_text(encoding="utf-8") == boards["glue"].markdown
    assert (tmp_path / "b" / "mine" / "leaderboard.json").exists()
    assert not (tmp_path / "b" / "glue" / "leaderboard.md").exists()
    assert not boards["glue"].references
    a.update_manifest({("rte", "bert", 1): glue_record("rte", "bert", 0.6).fingerprint}, table={"references": True})
    assert harness.report([tmp_path / "a"], "glue")["glue"].references  # as the benchmark asks
    only = harness.report([tmp_path / "a"], "glue", references=True)
    assert [row.name for row in only["glue"].rows] == ["bert"] and only["glue"].references


def test_report_warns_of_damaged_records(tmp_path: Path) -> None:
    store = kept(tmp_path, "glue", glue_record("rte", "bert", 0.6))
    next(store.folder.rglob("record.json")).write_text("{}")
    found = harness.report([tmp_path])["glue"]
    assert "altered or cut short" in found.text and "— [a]" in found.markdown


def test_report_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no such file or folder"):
        harness.report([tmp_path / "none"])
    with pytest.raises(HarnessError, match="no results here"):
        harness.report([tmp_path])
    kept(tmp_path, "glue", glue_record("rte", "bert", 0.6))
    with pytest.raises(HarnessError, match=r"no results of benchmark 'gleu' here\. Did you mean 'glue'"):
        harness.report([tmp_path], "gleu")


def test_everything_about_one_run(tmp_path: Path) -> None:
    own = record("nli", invalid={"nli": {"validation_matched": 0.01}}, caveats=caveats(LIMITED))
    (shown,) = kept(tmp_path, "mini", own).records()
    text = show_run(shown)
    for line in (
        "nli · bert · seed 1: finished",
        f"  fingerprint  {own.fingerprint}",
        "  nli validation_matched accuracy         60.00",
        "  nli validation_matched invalid answers  1.00 %",
        "  probe test matthews_correlation         25.00",
        "  total parameters    22,713,216 (22.7M)",
        "  learning_rate  0.0001",
        "  nli.revision  bcdcba79d07bc864",
        "  limited data",
        "  step 5  accuracy 60.00, accuracy 50.00  <- best",
    ):
        assert line in text.splitlines(), line


def test_a_failed_run_shows_its_traceback() -> None:
    text = show_run(failed("one", "out of memory"))
    assert "one · bert · seed 1: failed" in text
    assert "  RuntimeError: out of memory" in text.splitlines()
    assert "Scores" not in text


def test_reports_load_no_heavy_library() -> None:
    code = """
import sys
from harness.report import efficiency
from harness.report import leaderboard as tables
from harness.report.boards import leaderboard
from harness.task.plugins import load_plugins
plugins = load_plugins()
board = leaderboard([("rte", "m", 1, None)], plugins.tasks, plugins.suites)
board.markdown, board.text, tables.csv_text(board), tables.as_data(board), efficiency.csv_text(board)
print([name for name in ("torch", "transformers", "datasets", "sklearn", "scipy", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Baselines and test splits ---------------------------------------------------------------------------------------


def baseline(**of_task: float) -> dict[str, Any]:
    return {name: {"baseline": {name: {"validation": {"accuracy": value}}}} for name, value in of_task.items()}["one"]


def test_the_last_row_is_what_one_answer_scores_and_is_never_bold() -> None:
    records = [record("one", model, **baseline(one=0.85)) for model in ("bert", "t5")]
    shown = board(*records, record("pair"))
    page = shown.markdown
    assert cells(page, "majority")["One acc"] == "*85.0*" and cells(page, "majority")["Pair F1/acc"] == "—"
    table = [line for line in page.split("## Mini\n")[1].split("## ")[0].splitlines() if line.startswith("|")]
    assert "majority" in table[-1] and len(table) == 5
    assert "majority" in shown.text and "The row majority is no model" in page
    last = list(csv.DictReader(io.StringIO(csv_text(shown))))[-1]
    assert (last["model"], last["architecture"], last["one accuracy"]) == ("majority", "baseline", "85.0")
    (data,) = as_data(shown)["baselines"]
    assert data["tasks"]["one"]["score"]["mean"] == 0.85
    assert "majority" not in board(record("one")).markdown


@pytest.mark.parametrize(("constant", "marked"), [(0.85, True), (0.8, True), (0.79, False), (NAN, False)])
def test_a_score_that_is_not_above_the_baseline_is_marked(constant: float, marked: bool) -> None:
    page = board(record("one", **baseline(one=constant))).markdown
    assert ("not above the majority baseline" in notes(page).values()) == marked


def test_a_model_that_gives_one_answer_is_marked_with_its_seeds() -> None:
    one = {"constant": {"one": {"validation": "yes"}}}
    page = board(record("one", **one), record("one", seed=2)).markdown
    assert list(notes(page).values()) == ["seed 1: gives one answer to everything: yes"]
    page = board(record("one", **one), record("one", seed=2, **one)).markdown
    assert list(notes(page).values()) == ["gives one answer to everything: yes"]
    nli = {"constant": {"nli": {"validation_matched": "yes"}}}
    assert not notes(board(record("nli", **nli)).markdown)  # on the other split it gives several


def test_folders_with_other_baselines_have_rows_of_their_own() -> None:
    folders = {name: entries(record("one", **baseline(one=value))) for name, value in (("a", 0.5), ("b", 0.6))}
    shown = leaderboard(folders, TASKS, SUITES)
    assert [(row.name, row.cells["one"].score.mean) for row in shown.baselines if row.cells["one"].score] == [
        ("majority (a)", 0.5),
        ("majority (b)", 0.6),
    ]
    folders = {name: entries(record("one", **baseline(one=0.5))) for name in ("a", "b")}
    assert [row.name for row in leaderboard(folders, TASKS, SUITES).baselines] == ["majority"]


def test_scores_on_test_splits_stand_apart_and_in_no_average() -> None:
    tested = record("one", scores={"one": {"test": {"accuracy": 0.1}}}, baseline={"one": {"test": {"accuracy": 0.3}}})
    plain = board(record("one"), record("pair"))
    shown = board(record("one").model_copy(update={"tests": tested}), record("pair"))
    assert shown.rows[0].averages == plain.rows[0].averages and shown.columns == plain.columns
    page = shown.markdown
    assert cells(page, "bert", "Mini: test sets")["One acc"] == "10.0 [a]"
    assert cells(page, "majority", "Mini: test sets")["One acc"] == "*30.0*"
    assert notes(page) == {"a": "not above the majority baseline"}
    assert "Mini: test sets" in shown.text
    assert next(csv.DictReader(io.StringIO(csv_text(shown))))["one test accuracy"] == "10.0"
    assert as_data(shown)["tests"]["rows"][0]["tasks"]["one"]["splits"]["test"]["accuracy"]["mean"] == 0.1
    assert "tests" not in as_data(plain)


# Which number counts ---------------------------------------------------------------------------------------------

OWN = ("accuracy", "macro_f1")


@pytest.mark.parametrize(
    ("selection", "score", "words", "legend"),
    [
        ("", 0.8, "acc", "of several metrics one counts: acc of Own"),
        ("macro_f1", 0.6, "macro F1", "of several metrics one counts: macro F1 of Own"),
        ("mean", 0.7, "mean of acc and macro F1", "where a column has two numbers, their mean counts in the average"),
    ],
)
def test_every_table_says_which_number_counts(selection: str, score: float, words: str, legend: str) -> None:
    own = task("own", "Own", OWN, suite="mine", selection_metric=selection)
    runs = entries(record("one", task="own", scores={"own": dev(accuracy=0.8, macro_f1=0.6)}))
    suites = {"mine": Suite("mine", "Mine", {"Mean": ("own",)})}
    shown = leaderboard(runs, {"own": own}, suites, benchmark="mini")
    cell, average = shown.rows[0].cells["own"], shown.rows[0].averages["Mean"]
    assert cell.score and average.score and cell.score.mean == average.score.mean == pytest.approx(score)
    assert cells(shown.markdown, "bert", "Mine")["Own acc/macro F1"] == "80.0/60.0"  # all, in the user's order
    assert legend in shown.markdown
    heading = shown.text.split("Mine (task scores x 100)\n")[1].split("---")[0]
    assert " ".join(heading.split()) == f"Model Mean Own {words}"


def test_a_selection_metric_is_one_of_the_task_s() -> None:
    with pytest.raises(HarnessError, match="selection_metric must be one of its metrics"):
        task("own", "Own", OWN, selection_metric="f1")


def test_an_undefined_number_that_does_not_count_is_no_zero_in_an_average() -> None:
    own = task("own", "Own", ("pearson", "spearmanr"), suite="mine")
    runs = entries(record("one", task="own", scores={"own": dev(pearson=0.5, spearmanr=NAN)}))
    shown = leaderboard(runs, {"own": own}, {"mine": Suite("mine", "Mine", {"Mean": ("own",)})})
    assert not shown.rows[0].averages["Mean"].notes


def test_every_score_has_a_line_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path, "mini")
    records = [record("one", seed=seed, **baseline(one=0.5)) for seed in (1, 2)] + [record("pair")]
    for own in records:
        store.write(own)
    store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in records})
    harness.report(tmp_path)
    assert not (store.folder / "scores.csv").exists()
    harness.report(tmp_path, long=True)
    lines = list(csv.DictReader(io.StringIO((store.folder / "scores.csv").read_text())))
    assert [tuple(line.values()) for line in lines] == [
        ("bert", "one", "validation", "1", "accuracy", "0.8"),
        ("bert", "one", "validation", "2", "accuracy", "0.8"),
        ("bert", "pair", "validation", "1", "accuracy", "0.7"),
        ("bert", "pair", "validation", "1", "f1", "0.9"),
        ("majority", "one", "validation", "", "accuracy", "0.5"),
    ]
    assert list(lines[0]) == ["model", "task", "split", "seed", "metric", "value"]


def test_averages_keep_their_order_on_the_way_through_a_manifest():
    cola = load_plugins().tasks["cola"]
    suite = Suite(cola.suite, "S", {"Z avg": ("cola",), "A avg": ("cola", "rte")})
    table = Table.model_validate_json(to_json({"tasks": ["cola"], **described([cola], [suite])}))
    assert [*known_suites([table], {})[cola.suite].averages] == ["Z avg", "A avg"]
