"""The parts of `gpu_check` that show whether the program works."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_machine import Machine, Rows, benchmark, forget, profiled, training_of
from speed_models import generated, pair, text_lengths
from torch import nn

import harness
from harness.results.record import Record
from harness.results.store import Store
from harness.training.device import resolve_precision
from harness.training.loop import RunState, within_memory
from harness.training.update import Training

TASKS = ("cola", "stsb", "goemotions", "copa", "wnut17")
"""One of each problem type."""
SAME_ON_CPU = 2e-3
"""How far scores (logits) and losses in fp32 on a device may lie from the CPU's: sums of another order."""
SAME_COMPILED = 2e-2
"""How far losses of compiled and plain models may lie apart, relatively."""
SMALL = ("EncT5-tiny", "T5-tiny", "BERT-tiny")
"""Sizes that compile in seconds."""
ROOM = 0.6
"""The share of the memory of an update, beside what lasts, that is left to it to provoke a lack of memory."""
KERNELS = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_flash_attention_for_cpu": "flash (CPU)",
    "_scaled_dot_product_efficient_attention": "memory-efficient",
    "_scaled_dot_product_cudnn_attention": "cuDNN",
    "_scaled_dot_product_fused_attention_overrideable": "of the device",
    "_scaled_dot_product_attention_math": "math",
}
"""The operations by which PyTorch's attention chooses a kernel."""


def runs(machine: Machine) -> Rows:
    """The sample benchmark: three architectures and a task of every problem type; some of its runs a second time."""
    path = benchmark(machine, "runs", tasks=list(TASKS), recipe={"precision": "auto"})
    harness.run(path, results=machine.folder / "first")
    first = records_of(machine.folder / "first")
    failed = [f"{record.task} {record.model}: {record.error}" for record in first if not record.finished]
    yield "runs that finished", f"{len(first) - len(failed)} of {3 * len(TASKS)} {'; '.join(failed)}", not failed
    finite = all(np.isfinite(row["loss"]) for record in first for row in record.history() if "loss" in row)
    yield "losses are finite", finite, finite
    yield "device in the record", first[0].provenance["device"], None
    if machine.is_cuda:
        peaks = [record.efficiency.peak_device_bytes or 0 for record in first]
        total = torch.cuda.get_device_properties(0).total_memory
        within = all(0 < peak < total for peak in peaks)
        yield "peak memory is the device's", f"at most {max(peaks) / 2**20:.0f} MiB", within
    harness.run(path, results=machine.folder / "second", tasks=["cola"])
    again = {(record.task, record.model): record for record in records_of(machine.folder / "second")}
    pairs = [(record, again[record.task, record.model]) for record in first if (record.task, record.model) in again]
    same = sum(same_bytes(a, b) for a, b in pairs)
    equal = f"{same} of {len(pairs)}{'' if same == len(pairs) else ': kernels of the device sum in changing order'}"
    yield "the same seed twice gives the same bytes", equal, None if machine.is_cuda else same == len(pairs)


def records_of(folder: Path) -> list[Record]:
    """The records of a benchmark `check`."""
    return list(Store(folder, "check").records())


def same_bytes(one: Record, other: Record) -> bool:
    """Whether two runs have the same predictions and the same history."""
    return list(one.predictions()) == list(other.predictions()) and one.history() == other.history()


def precision(machine: Machine) -> Rows:
    """What ``auto`` resolves to, and that training in each precision stays finite; a model goes through all of them."""
    names = ("fp32", "tf32", "bf16", "fp16") if machine.is_cuda else ("fp32", "bf16")
    for size in machine.sizes:
        training = training_of(machine, size, 64)
        half = training.architecture.model.half_precision
        yield f"{size}: auto", training.recipe.precision, None
        for name in names:
            if name == "fp16" and not half:
                continue  # T5's activations overflow it
            training = in_precision(training, resolve_precision(name, machine.device, half))
            for _ in range(10 if machine.is_cuda else 3):
                training.update()
            loss = training.mean_loss()  # raises where it is not finite
            yield f"{size}: mean loss of some updates in {name}", f"{loss:.4f}", bool(np.isfinite(loss))
        del training
        forget()


def in_precision(training: Training, name: str) -> Training:
    """A training of the same model on the same texts in another precision."""
    accelerator, recipe = training.accelerator, training.recipe.model_copy(update={"precision": name})
    module = accelerator.unwrap_model(training.module)
    return Training(training.architecture, module, training.features, recipe, 1, accelerator)


@torch.no_grad()
def equal(machine: Machine) -> Rows:
    """Scores and losses of one evaluation in fp32 on the device against the CPU's."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    for size in machine.sizes:
        architecture, _ = pair(size, "rte", machine.setting)
        features = generated(architecture, text_lengths("RTE-like", 16, 128), training=True)
        module, batch = architecture.build().eval(), architecture.collate(features, range(16))
        expected = answers_of(architecture, module, batch)
        actual = answers_of(architecture, module.to(machine.device), batch.to(machine.device))
        distance = float(np.abs(actual - expected).max())
        what = "loss" if architecture.generates else "scores and loss"
        yield f"{size}: largest difference of {what} from the CPU's", f"{distance:.1e}", distance <= SAME_ON_CPU


def answers_of(architecture: Any, module: nn.Module, batch: Any) -> np.ndarray:
    """The mean loss and, of a model that does not generate text, the scores."""
    loss = [float(architecture.loss(module, batch)) / batch.weight]
    scores = [] if architecture.generates else architecture.predict(module, batch)
    return np.concatenate([np.asarray(loss), *(np.asarray(score).ravel() for score in scores)])


def resume(machine: Machine) -> Rows:
    """A run that is killed in the middle and resumed, against one that was not."""
    settings = {"max_steps": 200 if machine.is_cuda else 80, "eval_every": 40, "precision": "fp32"}
    path = benchmark(machine, "resume", tasks=["cola"], models=["enct5"], recipe=settings, checkpoint_every=0)
    whole = finished_run(machine, path, "whole")
    folder = machine.folder / "killed"
    process = subprocess.Popen(command_of(path, folder), stdout=sys.stderr, stderr=sys.stderr, env=environment(machine))
    wait_for(lambda: list(folder.glob(".work/*/state.safetensors")), process)
    process.send_signal(signal.SIGKILL)
    yield "killed in the middle", f"exit code {process.wait()}", process.returncode != 0
    resumed = finished_run(machine, path, "killed")
    yield "resumed", "as its log says" if "resume" in resumed.log() else "began anew", "resume" in resumed.log()
    if same_bytes(resumed, whole):
        yield "scores, predictions and history of the two", "equal, byte for byte", True
    elif same_bytes(finished_run(machine, path, "again"), whole):
        yield "scores, predictions and history of the two", f"{resumed.scores}, not {whole.scores}", False
    else:
        reason = f"differ, as do two runs that were not killed: {resumed.scores}, {whole.scores}"
        yield "scores, predictions and history of the two", reason, None


def command_of(path: Path, folder: Path) -> list[str]:
    """The command that runs a benchmark file."""
    return [sys.executable, "-m", "harness", "run", str(path), "--results", str(folder)]


def environment(machine: Machine) -> dict[str, str]:
    """That of a command on this device, from wherever this script was started."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths)} | ({} if machine.is_cuda else {"ACCELERATE_USE_CPU": "true"})
    return os.environ | own


def finished_run(machine: Machine, path: Path, name: str) -> Record:
    """The record of a command with one run, in a process of its own."""
    folder = machine.folder / name
    subprocess.run(command_of(path, folder), check=True, stdout=sys.stderr, stderr=sys.stderr, env=environment(machine))
    return records_of(folder)[0]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until something is so, while a process lives."""
    end = time.time() + seconds
    while not condition():
        if process.poll() is not None or time.time() > end:
            process.kill()
            raise RuntimeError("the run ended before it could be killed: make it longer")
        time.sleep(0.01)


def memory(machine: Machine) -> Rows:
    """Out of memory halves the micro-batch, and training goes on."""
    if not machine.is_cuda:
        yield "out of memory", "needs CUDA", None
        return
    training = training_of(machine, machine.sizes[2], 320)
    training.update()
    torch.cuda.reset_peak_memory_stats()
    training.update()
    needed, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    lasting, before = torch.cuda.memory_allocated(), training.plan.micro_batch_tokens
    training.mean_loss()
    torch.cuda.empty_cache()  # what is kept for later counts as taken
    torch.cuda.set_per_process_memory_fraction((lasting + ROOM * (needed - lasting)) / total)
    try:
        within_memory(training, RunState(), training.update)
        loss = training.mean_loss()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    after = training.plan.micro_batch_tokens
    yield "tokens of a micro-batch, before and after", f"{before}, {after}", after < before
    yield "the update was made all the same", f"loss {loss:.3f}", bool(np.isfinite(loss))


def compiled(machine: Machine) -> Rows:
    """Compiled and plain models have the same losses: small ones, without dropout.

    On a CPU, one is traced, and no code is generated: that takes minutes.
    """
    lengths = "RTE-like" if machine.is_cuda else 64
    for size in SMALL if machine.is_cuda else SMALL[-1:]:
        losses = []
        for is_compiled in (False, True):
            training = training_of(machine, size, lengths, is_compiled and machine.is_cuda, dropout=0.0)
            if is_compiled and not machine.is_cuda:
                training.forward = torch.compile(training.module, dynamic=True, backend="aot_eager")
            for _ in range(5):
                training.update()
            losses.append(training.mean_loss())
            del training
            forget()
        distance = abs(losses[1] - losses[0]) / abs(losses[0])
        yield f"{size}: relative difference of losses", f"{distance:.1e}", distance <= SAME_COMPILED
    if machine.is_cuda:
        yield from compiled_and_resumed(machine, SMALL[0])


def compiled_and_resumed(machine: Machine, size: str) -> Rows:
    """A compiled model, with dropout, that is resumed from its state, against one that was not."""
    whole = training_of(machine, size, "RTE-like", compiled=True)
    yield f"{size}: runs as CUDA graphs", whole.has_graphs, whole.has_graphs
    for _ in range(6):
        whole.update()
    state = copy.deepcopy(whole.state_dict())
    for _ in range(6):
        whole.update()
    expected = whole.weights()
    del whole
    forget()
    resumed = training_of(machine, size, "RTE-like", compiled=True)
    resumed.load_state_dict(state)
    for _ in range(6):
        resumed.update()
    equal = all(torch.equal(tensor, expected[name]) for name, tensor in resumed.weights().items())
    yield f"{size}: resumed, the same weights", equal, None


def kernels(machine: Machine) -> Rows:
    """Which attention kernel computes BERT's and T5's (biased) attention."""
    for size in machine.sizes:
        training = training_of(machine, size, "RTE-like")
        training.update()
        names = attention_kernels(event.key for event in profiled(machine, training.update, 1))
        yield f"{size}: attention in {training.recipe.precision}", ", ".join(names) or "plain products", None
        del training
        forget()


def attention_kernels(operations: Any) -> list[str]:
    """The kernels of attention among the names of a profile's operations."""
    return sorted({KERNELS[name] for name in (key.removeprefix("aten::") for key in operations) if name in KERNELS})
