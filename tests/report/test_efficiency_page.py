"""The page on efficiency: models side by side, ratios, machines, and the same numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from hand_made import board, cells, record

from harness.io import to_json
from harness.leaderboard.measures import SIZES
from harness.report.efficiency import as_data, csv_text, page
from harness.report.leaderboard import write_leaderboard
from harness.report.show import show_run

TOOK = {
    "train_examples_per_second": 50.0,
    "latency_p50_seconds": 0.020,
    "flops_per_example": 2e9,
}
RATES = {"1": 10.0, "8": 40.0, "32": 100.0, "128": None}
T5 = {"model": {"architecture": "t5"}}
MADE = {"device": "cpu", "processor": "Fast CPU", "cores": 2, "threads": 1, "processes": 1, "torch": "2.13.0"}


def took(name: str, model: str = "bert", seed: int = 1, factor: float = 1.0, **changes: Any) -> Any:
    rates = {size: rate and rate * factor for size, rate in RATES.items()}
    numbers = {**{key: value * factor for key, value in TOOK.items()}, "inference_rates": rates}
    parameters = {"total": 100, "trained": 100, "active": 60}
    return record(name, model, seed, efficiency=numbers, parameters=parameters, provenance=MADE, **changes)


def table(found: Any, section: str, model: str) -> dict[str, str]:
    """A row of a table of efficiency.md by header; the first table has no section."""
    text = found if isinstance(found, str) else page(found)
    return cells("## First\n" + text if section == "First" else text, model, section)


def test_models_stand_side_by_side_over_the_tasks_that_all_did() -> None:
    found = board(
        took("one"), took("one", seed=2, factor=4), took("pair", factor=8), took("nli", factor=100),
        took("one", "small", factor=0.5, settings=T5), took("pair", "small", factor=8, settings=T5),
    )  # fmt: skip
    text = page(found)
    assert "Means over the 2 tasks that all models have finished (One, Pair)" in text
    bert, small = table(text, "First", "bert"), table(text, "First", "small")
    # Geometric over seeds (1, 4: 2) and tasks (2, 8: 4)
    assert (bert["Train ex/s"], bert["Infer ex/s @1"], bert["FLOPs/ex"]) == ("200", "40.0", "8 G")
    assert (small["Train ex/s"], small["Params"], small["Active"]) == ("100", "100", "60")
    assert bert["Memory"] == "n/a" and "GPU memory" not in bert and "Wh/run" not in bert and "MFU" not in bert
    compared = table(text, "Compared with small", "bert")  # the T5: (2 / 0.5 x 8 / 8) ** 0.5
    assert (compared["Train ex/s"], compared["Latency p50"], compared["Params"]) == ("2.00", "2.00", "1.00")
    assert compared["Infer ex/s @32"] == "2.00" and "Infer ex/s @128" not in compared
    assert text.count("| NLI") == 2 and text.count("| One") == 4
    assert "Measured on: Fast CPU, 2 cores, 1 thread, 1 process, PyTorch 2.13.0." in text


def test_the_curve_of_inference_with_and_without_tokenisation() -> None:
    numbers = {"inference_rates": RATES, "tokenisation_examples_per_second": 100.0, "latency_p50_seconds": 0.1,
               "latency_examples": 60, "latency_p95_seconds": 0.2}  # fmt: skip
    row = table(board(record("one", efficiency=numbers)), "Inference", "bert")
    assert [row[f"Infer ex/s @{size}"] for size in SIZES] == ["10.0", "40.0", "100", "n/a"]
    assert [row[f"Both @{size}"] for size in SIZES] == ["9.1", "28.6", "50.0", "n/a"]
    assert (row["Tokenise ex/s"], row["p50 ms"], row["p95 ms"], row["Answers"]) == ("100", "100", "200", "60")


def test_the_leaderboard_and_the_page_show_the_same_rates() -> None:
    records = [took("one"), took("pair", factor=8), took("one", "other", factor=3), took("pair", "other", factor=5)]
    found = board(*records, took("nli", factor=1000))
    for model in ("bert", "other"):
        of_page, of_board = table(found, "First", model), cells(found.markdown, model, "Cost")
        for title in ("Train ex/s", "Infer ex/s @1", "Infer ex/s @32"):
            assert of_page[title] == of_board[title]
    mean = as_data(found)["rows"][1]["mean"]
    assert found.rows[1].cost is not None and found.rows[1].cost.inference_rates["32"] == mean["inference_rate_32"]


def test_means_and_ratios_are_over_the_tasks_that_all_rows_measured() -> None:
    without = {"inference_rates": {**RATES, "32": None}}
    found = board(
        took("one"), took("pair", factor=7),
        took("one", "half", factor=2), record("pair", "half", efficiency=without, provenance=MADE),
        record("one", "none", efficiency={}), record("pair", "none", efficiency={}),
    )  # fmt: skip
    first, half, none = as_data(found)["rows"]
    assert (first["mean"]["inference_rate_32"], half["mean"]["inference_rate_32"]) == (100.0, 200.0)
    assert half["ratio"]["inference_rate_32"] == 2.0
    assert "inference_rate_32" not in none["mean"] and "inference_rate_32" not in none["ratio"]
    assert table(found, "First", "none")["Infer ex/s @32"] == "n/a"


def test_ratios_of_several_seeds_have_intervals() -> None:
    of_seeds = [
        took(task, model, seed, factor=factor * (1 + noise * seed))
        for task in ("one", "pair")
        for model, factor, noise in (("bert", 1.0, 0.01), ("other", 3.0, 0.02))
        for seed in (1, 2, 3)
    ]
    other = as_data(board(*of_seeds))["rows"][1]
    low, high = other["ratio_interval"]["train_examples_per_second"]
    assert low < other["ratio"]["train_examples_per_second"] < high and high - low < 0.3
    assert "parameters_total" not in other["ratio_interval"]  # the same in all
    text = page(board(*of_seeds))
    assert f" ({low:.2f} to {high:.2f})" in table(text, "Compared with bert", "other")["Train ex/s"]
    assert "95 % interval" in text
    single = [r for r in of_seeds if (r.model, r.seed) != ("other", 2) and (r.model, r.seed) != ("other", 3)]
    assert as_data(board(*single))["rows"][1]["ratio_interval"] == {}
    assert "95 % interval" not in page(board(*single))


def test_several_machines_are_named() -> None:
    other = {**MADE, "device": "NVIDIA H100", "processes": 8}
    found = board(took("one"), record("one", "gpu", efficiency=TOOK, provenance=other))
    text = page(found)
    assert "not from one machine" in text
    assert "gpu measured on: NVIDIA H100, Fast CPU, 2 cores, 1 thread, 8 processes, PyTorch 2.13.0." in text


def test_old_and_missing_records_leave_blank_cells(tmp_path: Path) -> None:
    old = board(record("one"), record("one", "empty", efficiency={}, parameters={}), ("one", "todo", 1))
    bert, empty = table(old, "First", "bert"), table(old, "First", "empty")
    assert (bert["Train ex/s"], bert["Params"], bert["Active"], bert["Memory"]) == ("50.2", "22.7M", "n/a", "n/a")
    assert set(empty.values()) == {"empty", "n/a"}
    assert "todo" not in page(old) and "Measured on" not in page(old)
    names = [path.name for path in write_leaderboard(tmp_path, board(("one", "todo", 1)))]
    assert "efficiency.md" not in names  # nothing is finished


def test_models_without_a_task_in_common_are_shown_by_task() -> None:
    found = board(took("one"), took("pair", "other"))
    text = page(found)
    assert "No task is finished by all models" in text and "Compared" not in text
    assert text.count("| One") == text.count("| Pair") == 2
    assert "Efficiency" not in found.text
    assert cells(found.markdown, "bert", "Cost")["Train ex/s"] == "n/a"


def test_what_a_gpu_tells_has_columns_where_it_is_known() -> None:
    gpu = {"energy_joules": 7200.0, "peak_device_bytes": 3 * 2**30, "mfu": 0.41}
    numbers = {**TOOK, **gpu, "compile_seconds": 31.0}
    row = table(board(record("one", efficiency=numbers), record("one", "cpu")), "First", "bert")
    assert (row["Wh/run"], row["GPU memory"], row["Compile s"], row["MFU"]) == ("2", "3.0 GB", "31", "41.0 %")


def test_numbers_for_programs() -> None:
    found = board(took("one"), took("pair"), took("one", "other", factor=2))
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [(row["model"], row["task"]) for row in rows] == [("bert", "one"), ("bert", "pair"), ("other", "one")]
    assert (rows[0]["flops_per_example"], rows[2]["train_examples_per_second"]) == ("2000000000", "100")
    assert rows[0]["machine"].startswith("Fast CPU") and rows[0]["peak_memory_bytes"] == ""
    assert (rows[0]["inference_rate_8"], rows[0]["inference_rate_128"]) == ("40", "")
    data = json.loads(to_json(as_data(found)))
    assert (data["common_tasks"], data["baseline"]) == (["one"], "bert")
    assert data["rows"][1]["ratio"]["train_examples_per_second"] == 2.0
    assert data["rows"][0]["tasks"]["pair"]["latency_p50_seconds"] == 0.02


def test_the_terminal_and_the_leaderboard_lead_to_the_page() -> None:
    found = board(took("one"), took("one", "other"))
    assert "Efficiency (details: efficiency.md)" in found.text and "Measured on: Fast CPU" in found.text
    assert "[efficiency.md](efficiency.md)" in found.markdown


def test_one_run_s_numbers_have_units() -> None:
    numbers = {
        **TOOK,
        "inference_rates": RATES,
        "peak_memory_bytes": 3 * 2**30,
        "train_share_of_matrix_rate": 0.493,
        "startup_seconds": 2.0,
    }
    text = show_run(record("one", efficiency=numbers))
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert {"latency p50 20 ms", "flops per example 2 G", "peak memory 3.0 GB", "startup 2.0 s"} <= lines
    assert {"inference in batches of 32 100 examples/s", "inference in batches of 128 n/a"} <= lines
    assert "train share of matrix rate 49.3 %" in lines
