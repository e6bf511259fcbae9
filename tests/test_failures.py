"""What goes wrong in a run stays there: it is recorded, the others go on, and the next command tries it again."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import RECIPE, Bench, content
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.data.features import cached
from harness.errors import HarnessError
from harness.models import base
from harness.models.heads import ScoringArchitecture
from harness.models.t5 import T5
from harness.results import tensors as checkpoints
from harness.results.store import Store
from harness.results.tensors import load_state
from harness.runner import board
from harness.training import update as training
from harness.training.update import Training, memory_errors

STEPS = RECIPE["max_steps"]
SETTINGS: dict[str, Any] = {"checkpoint_every": 0, "keep": "best"}


def elsewhere(bench: Bench, name: str) -> None:
    """Another results folder, with nothing in it but the tokenizers."""
    cache, bench.results = bench.results / ".cache", bench.folder / name
    bench.use_cache(cache)


def states(bench: Bench) -> list[Path]:
    return list((bench.results / ".work").rglob("state*"))


# Out of memory ---------------------------------------------------------------------------------------------------


def too_much() -> None:
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried ..."
    )


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore"),
    RuntimeError("MPS backend out of memory"),
    MemoryError(),
]


def small_machine(monkeypatch: pytest.MonkeyPatch, tokens: int, **fails: bool) -> list[int]:
    """Memory for forward passes of only so many padded tokens; returns their sizes."""
    sizes: list[int] = []

    def limited(function: Any, fail: bool) -> Any:
        def call(self: Any, module: Any, batch: base.Batch) -> Any:
            size = batch.inputs["input_ids"].numel()
            if fail and size > tokens:
                too_much()
            sizes.append(size)
            return function(self, module, batch)

        return call

    for architecture in (ScoringArchitecture, T5):
        monkeypatch.setattr(architecture, "loss", limited(architecture.loss, fails.get("loss", True)))
        monkeypatch.setattr(architecture, "predict", limited(architecture.predict, fails.get("predict", True)))
    return sizes


def batch_of(groups: int) -> base.Batch:
    return base.Batch({"input_ids": torch.ones(2 * groups, 5)}, None, [2] * groups, 1.0)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("groups", "tokens"), [(3, 30), (1, 0)])
def test_every_kind_of_lack_is_known(error, groups, tokens):
    with (
        pytest.raises(training.OutOfMemory, match=r"^out of memory[^\n]*: [^\n]+$") as raised,
        memory_errors(batch_of(groups)),
    ):
        raise error
    assert raised.value.tokens == tokens
    assert ("for a single example" in str(raised.value)) == (groups == 1)


def test_what_pytorch_itself_says_is_known():
    with pytest.raises(training.OutOfMemory, match="can't allocate memory"), memory_errors(batch_of(2)):
        torch.empty(2**50)  # no machine has that much
    with pytest.raises(RuntimeError, match="inconsistent tensor size"), memory_errors(batch_of(2)):
        torch.ones(2) @ torch.ones(3)


@pytest.mark.parametrize("model", ["bert", "t5"])
def test_in_training_smaller_micro_batches_make_the_same_updates(bench, monkeypatch, model):
    for entry in bench.models.values():
        entry["dropout"] = 0.0
    bench.write(**SETTINGS, models=[model])
    bench.run()
    whole = bench.weights(bench.record(model=model))
    elsewhere(bench, "small")
    bench.run()
    assert bench.record(model=model).micro_batch_tokens == 16384
    elsewhere(bench, "smaller")
    sizes = small_machine(monkeypatch, 100, predict=False)
    bench.run()
    record = bench.record(model=model)
    assert record.finished
    tokens = record.micro_batch_tokens
    assert 32 < tokens <= 128 and f"micro-batches of {tokens} tokens from here" in record.log()
    assert "out of memory: " in record.log()
    for name, tensor in bench.weights(record).items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-4, rtol=1e-3)
    assert sizes


def test_groups_stay_whole(bench, monkeypatch):
    bench.write(tasks=["copa"], models=["bert"], recipe={"batch_size": 8})
    seen: list[list[int]] = []
    collate = ScoringArchitecture.collate

    def collating(*args: Any) -> base.Batch:
        batch = collate(*args)
        seen.append(batch.sizes)
        return batch

    monkeypatch.setattr(ScoringArchitecture, "collate", collating)
    small_machine(monkeypatch, 120)
    bench.run()
    record = bench.record("copa")
    assert record.finished and record.micro_batch_tokens < 16384
    assert {size for sizes in seen for size in sizes} == {2}
    assert min(map(len, seen)) < 8


def test_in_an_evaluation_smaller_batches_give_the_same_predictions(bench, monkeypatch):
    bench.write(tasks=["mnli"])
    bench.run()
    expected = bench.record("mnli")
    elsewhere(bench, "smaller")
    sizes = small_machine(monkeypatch, 150)
    bench.run()
    record = bench.record("mnli")
    assert record.micro_batch_tokens <= 300 and max(sizes) <= 150
    assert record.scores.keys() == expected.scores.keys()
    for row, other in zip(record.predictions(), expected.predictions(), strict=True):
        assert row["idx"] == other["idx"] and row["label"] == other["label"]
        if record.best_step == expected.best_step == 0:
            assert np.allclose(row["scores"], other["scores"], atol=1e-4)


def test_the_step_that_failed_is_made_again_as_if_it_had_not_begun(bench, monkeypatch):
    """With dropout: the same bits as in a run that had the small micro-batches from its first step."""
    bench.write(**SETTINGS)
    calls = []
    loss = ScoringArchitecture.loss

    def failing(self: Any, module: Any, batch: base.Batch) -> Any:
        calls.append(batch.inputs["input_ids"].numel())
        result = loss(self, module, batch)  # dropout has drawn its numbers
        if len(calls) == 1:
            too_much()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(ScoringArchitecture, "loss", failing)
        bench.run()
    found = bench.weights(bench.record())
    tokens = bench.record().micro_batch_tokens
    assert tokens == calls[0] // 2 and max(calls[1:]) <= tokens
    elsewhere(bench, "smaller")
    with monkeypatch.context() as patch:
        plan = training.plan_of

        def small(*arguments: Any, **options: Any) -> Any:
            return replace(plan(*arguments, **options), micro_batch_tokens=tokens)

        patch.setattr(training, "plan_of", small)
        bench.run()
    assert bench.record().micro_batch_tokens == tokens
    assert all(torch.equal(tensor, found[name]) for name, tensor in bench.weights(bench.record()).items())


def test_the_size_that_fits_is_kept_over_a_stop(bench, monkeypatch):
    bench.write(checkpoint_every=0)
    with monkeypatch.context() as patch:
        small_machine(patch, 100, predict=False)
        update = Training.update

        def stopping(self: Training) -> None:
            if self.step == 2:
                raise KeyboardInterrupt
            update(self)

        patch.setattr(Training, "update", stopping)
        assert bench.command() == 130
    (path,) = states(bench)
    state = load_state(path)
    assert state is not None and state["training"]["micro_batch_tokens"] <= 128
    bench.run()
    assert bench.record().micro_batch_tokens <= 128


def test_where_a_single_example_does_not_fit_the_run_fails_and_the_others_go_on(bench, monkeypatch, capsys):
    bench.write(models=["bert", "t5"], checkpoint_every=0)
    loss = T5.loss
    tried: list[int] = []

    def failing(self: Any, module: Any, batch: base.Batch) -> None:
        tried.append(len(batch.sizes))
        too_much()

    monkeypatch.setattr(T5, "loss", failing)
    assert bench.command() == 1
    assert "FAILED: out of memory for a single example: " in capsys.readouterr().out
    record = bench.record(model="t5")
    assert record.error is not None and "can't allocate memory" in record.error
    assert "too_much" in record.traceback
    assert tried[0] == 8 and tried[-1] == 1 and len(tried) < 9
    assert bench.record(model="bert").finished
    monkeypatch.setattr(T5, "loss", loss)
    assert bench.command() == 0
    assert bench.record(model="t5").micro_batch_tokens == 16384


def test_an_optimizer_step_that_fails_is_not_made_twice(bench, monkeypatch, updates):
    bench.write()
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: too_much())
    assert bench.command() == 1
    assert updates.new() == 1
    error = bench.record().error
    assert error is not None and error.startswith("RuntimeError: ") and "can't allocate memory" in error


# Other failures --------------------------------------------------------------------------------------------------


def test_after_a_failure_the_next_command_goes_on_where_it_happened(bench, monkeypatch, updates):
    bench.write(checkpoint_every=0)
    bench.run()
    expected = content(bench.results / "b" / "runs")
    elsewhere(bench, "other")
    updates.new()
    with monkeypatch.context() as patch:
        loss = ScoringArchitecture.loss

        def lost(self: Any, module: Any, batch: base.Batch) -> Any:
            if updates.count == 3:
                raise OSError(errno.EIO, "Input/output error")
            return loss(self, module, batch)

        patch.setattr(ScoringArchitecture, "loss", lost)
        assert bench.command() == 1
    assert bench.record().error == "OSError: [Errno 5] Input/output error"
    assert len(states(bench)) == 1
    updates.new()
    assert bench.command() == 0
    assert updates.new() == STEPS - 2
    assert content(bench.results / "b" / "runs") == expected
    assert not states(bench)


def test_a_training_that_went_astray_is_not_gone_on_with(bench, updates):
    wild = {"learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 0.0}
    bench.write(wild, checkpoint_every=0)
    for _ in range(2):
        assert bench.command() == 1
        assert updates.new() == STEPS
        error = bench.record().error
        assert error is not None and error.startswith("the training loss is nan at step 4")
        assert not states(bench)


def test_runs_that_failed_come_last_but_parents_first(bench, monkeypatch):
    tasks = ["mnli", "rte", "sst2", "cola"]
    bench.write(tasks=tasks, init_from={"rte": "mnli"})
    order: list[str] = []
    build = base.Architecture.for_task
    update = Training.update

    def updating(self: Training) -> None:
        name = self.architecture.task.name
        if name not in order:
            order.append(name)
        if name == "mnli" and fail:
            raise ValueError("corrupt")
        update(self)

    monkeypatch.setattr(Training, "update", updating)
    fail = True
    assert bench.command("--tasks", "mnli,rte") == 1
    assert bench.record("mnli").error == "ValueError: corrupt"
    error = bench.record("rte").error
    assert error is not None and error.startswith("there is no model of mnli with bert, seed 1: its run failed")
    order.clear()
    fail = False
    assert bench.command() == 0
    assert order == ["sst2", "cola", "mnli", "rte"] and build is base.Architecture.for_task
    assert all(bench.record(task).finished for task in tasks)


def test_a_failure_while_predicting_tests_stops_nothing_else(bench, monkeypatch, capsys):
    bench.write(models=["bert", "t5"], keep="best")
    bench.run()
    bench.write(models=["bert", "t5"], keep="best", predict="test")
    with monkeypatch.context() as patch:
        patch.setattr(ScoringArchitecture, "predict", lambda *args: 1 / 0)
        assert bench.command() == 1
    assert "cola with bert: no test predictions: ZeroDivisionError: division by zero" in capsys.readouterr().out
    assert bench.tests_of(bench.record(model="t5")) is not None
    assert bench.tests_of(bench.record(model="bert")) is None
    assert bench.command() == 0
    assert bench.tests_of(bench.record(model="bert")) is not None


# Disks -----------------------------------------------------------------------------------------------------------


def full(*args: Any, **kwargs: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_space_for_its_state_a_training_goes_on(bench, monkeypatch, capsys):
    bench.write(checkpoint_every=0)
    bench.run()
    expected = content(bench.results / "b" / "runs")
    elsewhere(bench, "other")
    monkeypatch.setattr(checkpoints, "save_file", full)
    assert bench.command() == 0
    assert "the training state was not saved: " in capsys.readouterr().out
    assert "the disk is full" in bench.record().log()
    assert content(bench.results / "b" / "runs") == expected


def test_without_space_for_a_record_the_command_ends_with_a_message_and_later_goes_on(
    bench, monkeypatch, updates, capsys
):
    bench.write(checkpoint_every=0)
    bench.run()
    expected = content(bench.results / "b" / "runs")
    elsewhere(bench, "other")
    updates.new()
    with monkeypatch.context() as patch:
        patch.setattr("harness.results.folder._write", no_space)
        assert bench.command() == 2
    assert "the disk is full: make space and run the same command again" in capsys.readouterr().err
    assert updates.new() == STEPS
    assert [path for path in (bench.results / "b" / "runs").rglob("*") if path.is_file()] == []
    assert bench.command() == 0
    assert updates.new() == 0  # its state was saved after the last step
    assert content(bench.results / "b" / "runs") == expected
    assert not states(bench)


@pytest.mark.parametrize("part", [PreTrainedModel, PreTrainedTokenizerBase], ids=["weights", "tokenizer"])
def test_without_space_for_a_model_that_is_kept_the_command_ends_with_a_message(bench, part, monkeypatch, capsys):
    """safetensors and tokenizers have errors of their own for a full disk."""
    bench.write(keep="best")
    with monkeypatch.context() as patch:
        patch.setattr(part, "save_pretrained", full)
        assert bench.command() == 2
    assert "the disk is full: make space and run the same command again" in capsys.readouterr().err
    assert not [path for path in (bench.results / "b" / "models").rglob("*") if path.is_file()]
    assert bench.command() == 0


def test_without_space_for_features_nothing_half_written_stays(tmp_path, monkeypatch):
    def features() -> Any:
        return [[{"input_ids": [1, 2, 3], "labels": [0.5]}]]

    with monkeypatch.context() as patch:
        patch.setattr("harness.data.features.file_hash", no_space)
        with pytest.raises(Exception, match="the disk is full: make space"):
            cached(tmp_path, "key", features)
    assert list((tmp_path / "features").iterdir()) == []
    assert len(cached(tmp_path, "key", features)) == 1


@pytest.mark.parametrize("damage", ["altered", "swapped", "cut", "lost", "other sum"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    calls = []

    def features() -> Any:
        calls.append(1)
        return [[{"input_ids": [1, 2, 3], "labels": [0.5]}], [{"input_ids": [4, 5, 6], "labels": [1.0]}]]

    cached(tmp_path, "key", features)
    place = tmp_path / "features" / "key"
    values = place / "input_ids.values.npy"
    original = values.read_bytes()
    if damage == "altered":
        values.write_bytes(original[:-4] + b"\x07\0\0\0")
    elif damage == "swapped":
        values.write_bytes((place / "input_ids.offsets.npy").read_bytes())
    elif damage == "cut":
        values.write_bytes(original[:-1])
    elif damage == "lost":
        values.unlink()
    else:
        entries = json.loads((place / "columns.json").read_text())
        entries["columns"] = ["labels"]
        (place / "columns.json").write_text(json.dumps(entries))
    again = cached(tmp_path, "key", features)
    assert len(calls) == 2
    assert again.columns["input_ids"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert values.read_bytes() == original
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == ["key"]
    cached(tmp_path, "key", features)
    assert len(calls) == 2


# Several processes -----------------------------------------------------------------------------------------------

SHORT_OF_MEMORY = """
import os, sys
from harness.models.heads import ScoringArchitecture
loss = ScoringArchitecture.loss
def limited(self, module, batch):
    if os.environ["RANK"] == "1" and batch.inputs["input_ids"].numel() > 100:
        raise RuntimeError("CUDA out of memory. Tried to allocate")
    return loss(self, module, batch)
ScoringArchitecture.loss = limited
from harness.cli import main
sys.exit(main(sys.argv[1:]))
"""


def launched(bench: Bench, *program: str, restarts: int = 0) -> subprocess.Popen[str]:
    """The command on two processes, which are started again so many times."""
    options = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    if restarts:
        options = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    launcher = [sys.executable, "-m", *options, *(program or ("-m", "harness"))]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(paths)}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    return subprocess.Popen(
        [*launcher, "run", str(bench.path), "--results", str(bench.results), "--patience", "45"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_go_on_to_the_same_bytes(bench):
    bench.write({"max_steps": 30, "eval_every": 10}, checkpoint_every=0)
    first = launched(bench)
    shown, _ = first.communicate()
    assert first.returncode == 0, shown
    expected = content(bench.results / "b" / "runs")
    assert bench.record().provenance["processes"] == 2
    elsewhere(bench, "other")
    killed = launched(bench)
    deadline = time.monotonic() + 300
    while not (found := states(bench)) or load_state(found[0])["training"]["step"] < 3:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    (lease,) = found[0].parent.glob("lease.*")
    os.kill(int(lease.name.split(".")[2]), signal.SIGKILL)  # the main process; its launcher ends the other one
    killed.communicate()
    assert killed.returncode != 0
    again = launched(bench)
    shown, _ = again.communicate()
    assert again.returncode == 0 and "resumes from step" in shown, shown
    assert content(bench.results / "b" / "runs") == expected


@pytest.mark.slow
def test_one_of_two_processes_that_runs_out_of_memory_stops_both_and_the_next_command_has_what_fits(bench):
    bench.write({"batch_size": 32}, models=["bert", "t5"], checkpoint_every=0)
    script = bench.folder / "script.py"
    script.write_text(SHORT_OF_MEMORY)
    for runs in (0, 1):
        process = launched(bench, str(script))
        shown, _ = process.communicate()
        assert process.returncode != 0 and "process 1 ends: out of memory" in shown, shown
        assert bench.record().error == "out of memory: CUDA out of memory. Tried to allocate"
        assert len(list((bench.results / "b" / "runs").rglob("t5/seed*"))) == runs
        if (limit := int(next(states(bench)[0].parent.glob("micro*")).read_text())) <= 100:
            break
    process = launched(bench, str(script))
    shown, _ = process.communicate()
    assert process.returncode == 0, shown
    assert bench.record().micro_batch_tokens == limit and bench.record(model="t5").finished


FAILS_ALONE = """
import os, sys
from harness.models.bert import Bert
loss = Bert.loss
def broken(self, module, batch):
    if os.environ["RANK"] == "1":
        raise ValueError("not on this process")
    return loss(self, module, batch)
Bert.loss = broken
from harness.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_that_fails_on_one_of_two_processes_does_not_end_the_others_where_the_launcher_starts_again(bench):
    """And a command with one process then does it."""
    bench.write(models=["bert", "t5"])
    script = bench.folder / "script.py"
    script.write_text(FAILS_ALONE)
    process = launched(bench, str(script), restarts=1)
    shown, _ = process.communicate()
    assert process.returncode != 0 and "process 1 ends: ValueError: not on this process" in shown, shown
    assert bench.record(model="t5").finished and bench.record(model="t5").provenance["processes"] == 2
    assert bench.record().error == "ValueError: not on this process"
    assert bench.command() == 0 and bench.record().finished


@pytest.mark.parametrize("how", ["signal", "disk"])
def test_after_a_stop_the_tables_hold_what_was_done(bench, monkeypatch, how):
    """They are not made after every run."""
    monkeypatch.setattr(board, "BOARD_EVERY", 3600.0)
    bench.write(seeds=[1, 2, 3])
    update, write = Training.update, Store.write

    def stop(function, due):
        def stopping(self, *arguments, **options):
            if due(self, *arguments):
                raise KeyboardInterrupt if how == "signal" else HarnessError("the disk is full")
            return function(self, *arguments, **options)

        return stopping

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt if how == "signal" else HarnessError):
        if how == "signal":
            patch.setattr(Training, "update", stop(update, lambda training: len(bench.store.records()) == 2))
        else:
            patch.setattr(Store, "write", stop(write, lambda store, record: record.seed == 3))
        bench.run()
    assert len(bench.store.records()) == 2
    rows = csv.DictReader((bench.store.folder / "leaderboard.csv").read_text().splitlines())
    row = next(row for row in rows if row["model"] == "bert")
    assert (row["seeds"], row["cola seeds"]) == ("3", "2")


def ranks(bench: Bench) -> dict[str, int]:
    """The processes that work on a benchmark, by rank."""
    pids = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(bench.path).encode() in command and b"\0RANK=" in environment:
            pids[environment.split(b"\0RANK=")[1].split(b"\0")[0].decode()] = int(folder.name)
    return pids


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_of_two_that_is_killed_or_stopped_ends_both_without_a_failed_record(bench, rank, number):
    """And the next command resumes, with one process."""
    bench.write({"max_steps": 3000, "eval_every": 1000}, checkpoint_every=1)
    process = launched(bench)
    deadline = time.monotonic() + 300
    while not states(bench):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    started = time.monotonic()
    os.kill(ranks(bench)[rank], number)
    shown, _ = process.communicate()
    assert process.returncode != 0
    assert time.monotonic() - started < (60 if number == signal.SIGKILL else 45 + 90)  # torchrun waits 30 s besides
    assert f"process {1 - int(rank)} ends: " in shown and f"process {rank}" in shown, shown
    assert not bench.store.records() and states(bench)
    assert bench.command() == 0
    assert "resumes from step" in bench.record().log()
    assert not list((bench.results / ".work").glob("launch-*"))
