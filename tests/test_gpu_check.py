"""`scripts/gpu_check.py` on a CPU: the same code with small models."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from harness.models.bert import Bert

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import gpu_check  # noqa: E402
import gpu_machine  # noqa: E402
import gpu_speed  # noqa: E402
import gpu_works  # noqa: E402


def check(folder, *options):
    command = [sys.executable, "scripts/gpu_check.py", "--device", "cpu", "--output", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = json.loads((folder / "gpu_check.json").read_text()) if (folder / "gpu_check.json").exists() else []
    return done, rows


def test_a_part_leaves_rows_a_table_and_a_log(tmp_path):
    done, rows = check(tmp_path / "out", "--parts", "memory,equal", "--minutes", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["what"] for row in rows if row["part"] == "memory"] == ["out of memory", "seconds"]
    assert [row["ok"] for row in rows if row["part"] == "equal"] == [True, True, True, None]
    assert (tmp_path / "out" / "gpu_check.md").read_text().startswith("3 checks passed, 0 failed")
    assert (tmp_path / "out" / "log.txt").is_file()


def test_an_unknown_part_is_named(tmp_path):
    done, rows = check(tmp_path, "--parts", "memory,speeed")
    assert done.returncode == 2 and "no such part: speeed" in done.stdout and not rows


def test_a_part_that_takes_the_process_with_it_does_not_stop_the_others(tmp_path, monkeypatch):
    """The worker of one part dies; another worker goes on after it."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys\nparts = sys.argv[sys.argv.index('--parts') + 1].split(',')\n"
        "for name in parts:\n"
        "    print(json.dumps({'part': name, 'begins': True}), flush=True)\n"
        "    if name == 'runs':\n        sys.exit(9)\n"
        "    print(json.dumps({'part': name, 'what': 'w', 'value': 1, 'ok': True}), flush=True)\n"
        "    print(json.dumps({'part': name, 'ends': True}), flush=True)\n"
    )
    monkeypatch.setattr(gpu_check, "__file__", str(script))
    options = gpu_check.parser().parse_args(["--output", str(tmp_path), "--parts", "precision,runs,equal"])
    rows = gpu_check.supervise(options)
    assert [(row["part"], row["ok"]) for row in rows] == [("precision", True), ("runs", False), ("equal", True)]
    assert gpu_check.as_table(rows).startswith("2 checks passed, 1 failed: runs")


def test_a_part_that_does_not_end_is_ended_and_the_others_go_on(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys, time\nparts = sys.argv[sys.argv.index('--parts') + 1].split(',')\n"
        "for name in parts:\n"
        "    print(json.dumps({'part': name, 'begins': True}), flush=True)\n"
        "    time.sleep(600 if name == 'runs' else 0)\n"
        "    print(json.dumps({'part': name, 'what': 'w', 'value': 1, 'ok': True}), flush=True)\n"
        "    print(json.dumps({'part': name, 'ends': True}), flush=True)\n"
    )
    monkeypatch.setattr(gpu_check, "__file__", str(script))
    monkeypatch.setattr(gpu_check, "GRACE", 1)
    monkeypatch.setattr(gpu_check, "PATIENCE", 0)
    rows = gpu_check.supervise(gpu_check.parser().parse_args(["--output", str(tmp_path), "--parts", "runs,equal"]))
    assert [(row["part"], row["ok"]) for row in rows] == [("runs", False), ("equal", True)]
    assert "took too long" in rows[0]["value"]


def test_packages_that_are_missing_are_named_together(monkeypatch, capsys):
    needed = ["no-such-package>=1,<2", "torch>=2.9", "nor.this_one", "numpy<1"]
    monkeypatch.setattr(gpu_check, "requirements", lambda: needed)
    assert gpu_check.main([]) == 2
    assert "missing: 'no-such-package>=1,<2' 'nor.this_one'" in capsys.readouterr().out
    assert [name.split()[0] for name in gpu_check.missing_packages()[1]] == ["numpy"]


def test_all_that_the_program_needs_is_looked_for():
    assert {"torch>=2.9,<2.14", "pyyaml>=6.0.2,<7"} <= set(gpu_check.requirements())
    assert gpu_check.missing_packages() == ([], [])


def test_all_parts_but_the_last_four_fit_into_eight_minutes(capsys):
    assert gpu_check.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"| {name} " in listed for name in gpu_check.PARTS)
    *plain, first, second, third, fourth = gpu_check.PARTS
    assert (first, second, third, fourth) == ("compiled", "compilation", "shared", "grid")  # they come last
    assert sum(gpu_check.PARTS[name].gpu for name in plain) <= 450  # and half a minute to start
    assert sum(gpu_check.PARTS[name].gpu for name in (*plain, first, second)) <= 14 * 60 - 30
    assert sum(gpu_check.PARTS[name].gpu for name in (third, fourth)) <= 5 * 60 - 30
    assert sum(part.cpu for name, part in gpu_check.PARTS.items() if name not in (third, fourth)) <= 100
    for name, part in gpu_check.PARTS.items():
        assert callable(getattr(importlib.import_module(part.module), name))


# What needs CUDA, with everything else real ----------------------------------------------------------------------


def machine_like(tmp_path, device):
    setting = gpu_machine.Setting(device, "fp32", None, None, str(tmp_path))
    return gpu_machine.Machine(setting, ("EncT5-tiny", "T5-tiny", "BERT-tiny"), updates=2, texts=64, folder=tmp_path)


def test_a_lack_of_memory_is_provoked_and_survived(tmp_path, monkeypatch):
    limits, loss = [1.0], Bert.loss

    def limited(architecture, module, batch):
        if limits[-1] < 1 and batch.inputs["input_ids"].numel() > 6000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return loss(architecture, module, batch)

    monkeypatch.setattr(Bert, "loss", limited)
    for name, value in (("max_memory_allocated", 1000), ("memory_allocated", 100), ("reset_peak_memory_stats", None)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=10_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    (tokens, update) = gpu_works.memory(machine_like(tmp_path, "cuda"))
    assert limits == [1.0, pytest.approx((100 + 0.6 * 900) / 10_000), 1.0]
    assert tokens[1:] == ("16384, 5120", True)  # half of 32 texts of 320 tokens
    assert update[2]


def test_kernels_count_once_and_copies_and_gaps_are_told_apart(tmp_path):
    """A profile of a GPU has each kernel twice: as itself, and as the time of the operation that started it."""

    def event(key, device, microseconds, annotation=False):
        return SimpleNamespace(
            key=key, device_type=device, self_device_time_total=microseconds, is_user_annotation=annotation
        )

    events = [
        event("aten::mm", DeviceType.CPU, 300.0),
        event("sm90_gemm", DeviceType.CUDA, 300.0),
        event("Memcpy HtoD (Pinned -> Device)", DeviceType.CUDA, 20.0),
        event("ProfilerStep#1", DeviceType.CUDA, 500.0, annotation=True),
    ]
    busy = gpu_machine.busy_seconds(machine_like(tmp_path, "cuda"), events)
    assert busy == {"sm90_gemm": pytest.approx(3e-4), "Memcpy HtoD (Pinned -> Device)": pytest.approx(2e-5)}


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("aten::_scaled_dot_product_flash_attention", "flash"),
        ("aten::_scaled_dot_product_efficient_attention", "memory-efficient"),
        ("aten::_scaled_dot_product_cudnn_attention", "cuDNN"),
        ("aten::_scaled_dot_product_attention_math", "math"),
    ],
)
def test_the_kernel_of_attention_is_known_by_its_operation(operation, name):
    assert hasattr(torch.ops.aten, operation.removeprefix("aten::"))
    others = ["aten::mm", "cutlass_80_tensorop_bf16_gemm", "aten::scaled_dot_product_attention"]
    assert gpu_works.attention_kernels([*others, operation]) == [name]
    assert gpu_works.attention_kernels(others) == []


def test_plain_and_compiled_models_answer_single_texts(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda module, mode: modes.append(mode) or module)
    machine = machine_like(tmp_path, "cpu")
    rows = list(gpu_speed.graphs(machine, gpu_machine.training_of(machine, "EncT5-tiny", "CoLA-like")))
    assert modes == ["reduce-overhead"]
    assert [what for what, _, _ in rows] == [f"EncT5-tiny, 1 x 16: {n}" for n in ("plain", "compiled with CUDA graphs")]
    assert all(re.fullmatch(r"p50 [\d.]+ ms, p95 [\d.]+ ms", value) for _, value, _ in rows)


def test_a_training_reads_texts_of_other_lengths(tmp_path):
    machine = machine_like(tmp_path, "cpu")
    training = gpu_machine.training_of_any_text(machine, "EncT5-tiny", compiled=False)
    for lengths, longest in ((16, 16), (128, 128), ("CoLA-like", 30)):
        gpu_machine.read_on(machine, training, lengths)
        training.update()
        assert max(training.plan.lengths) == longest and len(training.features) == 64


@pytest.mark.slow
def test_all_parts_run_on_a_cpu(tmp_path):
    done, rows = check(tmp_path / "out", "--minutes", "8")
    assert done.returncode == 0, done.stdout
    assert {row["part"] for row in rows if row["what"] != "not run"} == set(gpu_check.PARTS)
