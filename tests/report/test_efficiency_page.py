"""The page on efficiency: models side by side, ratios, machines, and the same numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from hand_made import board, cells, record

from harness.io import to_json
from harness.report.efficiency import as_data, csv_text, page
from harness.report.show import show_run
from harness.report.tables import write_leaderboard

TOOK = {
    "train_examples_per_second": 50.0,
    "latency_p50_seconds": 0.020,
    "flops_per_example": 2e9,
    "inference_batch_size": 32,
}
T5 = {"model": {"architecture": "t5"}}
MADE = {"device": "cpu", "processor": "Fast CPU", "cores": 2, "threads": 1, "processes": 1, "torch": "2.13.0"}


def took(name: str, model: str = "bert", seed: int = 1, factor: float = 1.0, **changes: Any) -> Any:
    numbers = {key: value * factor if key != "inference_batch_size" else value for key, value in TOOK.items()}
    parameters = {"total": 100, "trained": 100, "active": 60}
    return record(name, model, seed, efficiency=numbers, parameters=parameters, provenance=MADE, **changes)


def table(found: Any, section: str, model: str) -> dict[str, str]:
    """A row of a table of efficiency.md by header; the first table has no section."""
    text = found if isinstance(found, str) else page(found)
    return cells("## First\n" + text if section == "First" else text, model, section)


def test_models_stand_side_by_side_over_the_tasks_that_all_did() -> None:
    found = board(
        took("one"), took("one", seed=2, factor=3), took("pair", factor=4), took("nli", factor=100),
        took("one", "small", factor=0.5, settings=T5), took("pair", "small", factor=8, settings=T5),
    )  # fmt: skip
    text = page(found)
    assert "Means over the 2 tasks that all models have finished (One, Pair)" in text
    bert, small = table(text, "First", "bert"), table(text, "First", "small")
    assert (bert["Train ex/s"], bert["p50 ms"], bert["FLOPs/ex"]) == ("150", "60", "6 G")
    assert (small["Train ex/s"], small["Params"], small["Active"]) == ("212", "100", "60")
    assert (bert["p95 ms"], bert["Memory"]) == ("—", "—") and "GPU memory" not in bert and "Wh/run" not in bert
    compared = table(text, "Compared with small", "bert")  # the T5: (2 / 0.5 x 4 / 8) ** 0.5
    assert (compared["Train ex/s"], compared["Latency p50"], compared["Params"]) == ("1.41", "1.41", "1.00")
    assert text.count("| NLI") == 1 and text.count("| One") == 2
    assert "Measured on: Fast CPU, 2 cores, 1 thread, 1 process, PyTorch 2.13.0." in text
    assert "in batches of 32" in text


def test_several_machines_are_named() -> None:
    other = {**MADE, "device": "NVIDIA H100", "processes": 8}
    found = board(took("one"), record("one", "gpu", efficiency=TOOK, provenance=other))
    text = page(found)
    assert "not from one machine" in text
    assert "gpu measured on: NVIDIA H100, Fast CPU, 2 cores, 1 thread, 8 processes, PyTorch 2.13.0." in text


def test_old_and_missing_records_leave_blank_cells(tmp_path: Path) -> None:
    old = board(record("one"), record("one", "empty", efficiency={}, parameters={}), ("one", "todo", 1))
    bert, empty = table(old, "First", "bert"), table(old, "First", "empty")
    assert (bert["Train ex/s"], bert["Params"], bert["Active"], bert["p50 ms"]) == ("50.2", "22.7M", "—", "—")
    assert set(empty.values()) == {"empty", "—"}
    assert "todo" not in page(old) and "Measured on" not in page(old)
    names = [path.name for path in write_leaderboard(tmp_path, board(("one", "todo", 1)))]
    assert "efficiency.md" not in names  # nothing is finished


def test_models_without_a_task_in_common_are_shown_by_task() -> None:
    found = board(took("one"), took("pair", "other"))
    text = page(found)
    assert "No task is finished by all models" in text and "Compared" not in text
    assert text.count("| One") == text.count("| Pair") == 1
    assert "Efficiency" not in found.text


def test_energy_and_gpu_memory_have_columns_where_they_are_known() -> None:
    numbers = {**TOOK, "energy_joules": 7200.0, "peak_device_bytes": 3 * 2**30, "compile_seconds": 31.0}
    row = table(board(record("one", efficiency=numbers), record("one", "cpu")), "First", "bert")
    assert (row["Wh/run"], row["GPU memory"], row["Compile s"]) == ("2", "3.0 GB", "31")


def test_numbers_for_programs() -> None:
    found = board(took("one"), took("pair"), took("one", "other", factor=2))
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [(row["model"], row["task"]) for row in rows] == [("bert", "one"), ("bert", "pair"), ("other", "one")]
    assert (rows[0]["flops_per_example"], rows[2]["train_examples_per_second"]) == ("2000000000", "100")
    assert rows[0]["machine"].startswith("Fast CPU") and rows[0]["peak_process_bytes"] == ""
    data = json.loads(to_json(as_data(found)))
    assert (data["common_tasks"], data["baseline"]) == (["one"], "bert")
    assert data["rows"][1]["ratio"]["train_examples_per_second"] == 2.0
    assert data["rows"][0]["tasks"]["pair"]["latency_p50_seconds"] == 0.02


def test_the_terminal_and_the_leaderboard_lead_to_the_page() -> None:
    found = board(took("one"), took("one", "other"))
    assert "Efficiency (details: efficiency.md)" in found.text and "Measured on: Fast CPU" in found.text
    assert "[efficiency.md](efficiency.md)" in found.markdown


def test_one_run_s_numbers_have_units() -> None:
    numbers = {**TOOK, "peak_process_bytes": 3 * 2**30, "train_share_of_matrix_rate": 0.493, "startup_seconds": 2.0}
    text = show_run(record("one", efficiency=numbers))
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert {"latency p50 20 ms", "flops per example 2 G", "peak process 3.0 GB", "startup 2.0 s"} <= lines
    assert "train share of matrix rate 49.3 %" in lines
