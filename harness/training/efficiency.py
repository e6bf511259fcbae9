"""What a model costs: FLOPs, time, memory and energy. Everything here goes to efficiency.json only."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.data.features import Features
from harness.models import Architecture
from harness.training.batching import evaluation_batches
from harness.training.device import DTYPES, synchronize
from harness.training.evaluation import batch_tokens, predicting
from harness.training.loop import RunState
from harness.training.trainer import Training

LATENCIES = 50
"""Examples whose latency is measured one by one: at most so many, and at least `LEAST`."""
LEAST = 5
BATCHES = 10
"""Batches by which the throughput of inference is measured, at most."""
SHARE, LONGEST = 0.02, 10.0
"""Measuring may take this share of what the run took, and at most so many seconds (beside the least that it needs)."""
TRAINING_PASSES = 3
"""A training step has the FLOPs of a forward pass and, for the backward pass, of two more."""
COUNTED = ("flops_per_example", "train_flops_per_example")
"""What `measured` counts without a clock."""
MATRIX_SIZE = {"cuda": 4096}
REPETITIONS = 5
JOULES_PER_KWH = 3.6e6


# FLOPs -----------------------------------------------------------------------------------------------------------


def count_flops(call: Callable[[], Any]) -> int:
    """The FLOPs of the matrix products in a call, a multiplication with its addition being two."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention_flops}) as counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """The shapes of fused attention on a CPU, which PyTorch's counter does not know."""
    return sdpa_flop_count(query, key, value)


def tokens_per_group(features: Features) -> np.ndarray:
    """Input tokens of each group, ``(groups,)``."""
    return np.add.reduceat(features.columns["input_ids"].lengths, features.groups[:-1])


def typical(features: Features) -> int:
    """The first group whose number of tokens is nearest to the mean."""
    tokens = tokens_per_group(features)
    return int(np.abs(tokens - tokens.mean()).argmin())


# Inference -------------------------------------------------------------------------------------------------------


class Inference:
    """A trained model at work on the examples of an evaluation split, in the precision of its training.

    Args:
        training: holds the model.
        features: what it reads.
    """

    def __init__(self, training: Training, features: Features):
        self.training, self.features = training, features
        self.architecture: Architecture = training.architecture
        self.module = training.accelerator.unwrap_model(training.module).eval()

    @torch.no_grad()
    def answer(self, groups: Sequence[int]) -> None:
        """From features to answers in the memory of the processor."""
        batch = self.architecture.collate(self.features, list(groups))
        with self.training.autocast():
            self.architecture.predict(self.module, batch.to(self.training.accelerator.device))
        synchronize(self.training.accelerator.device)

    def seconds(self, groups: Sequence[int]) -> float:
        """How long an answer takes."""
        started = time.perf_counter()
        self.answer(groups)
        return time.perf_counter() - started

    def flops(self) -> dict[str, int]:
        """FLOPs for one example of mean length: an answer (all that is generated), and a training step."""

        @torch.no_grad()
        def loss() -> None:
            training = self.training
            batch = self.architecture.collate(training.features, [typical(training.features)])
            with training.autocast():
                self.architecture.loss(self.module, batch.to(training.accelerator.device))

        return {
            "flops_per_example": count_flops(lambda: self.answer([typical(self.features)])),
            "train_flops_per_example": TRAINING_PASSES * count_flops(loss),
        }

    def latency(self, seconds: float) -> dict[str, Any]:
        """The time from one example to its answer, over examples of all lengths; takes about so many ``seconds``."""
        example = [typical(self.features)]
        self.answer(example)
        number = _repetitions(seconds, self.seconds(example), LEAST, LATENCIES)
        order = np.argsort(self.features.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(number, len(order))).astype(int)]
        times = [self.seconds([group]) for group in chosen.tolist()]
        p50, p95 = np.percentile(times, [50, 95]).tolist()
        return {"latency_p50_seconds": p50, "latency_p95_seconds": p95, "latency_examples": len(times)}

    def throughput(self, size: int, seconds: float) -> dict[str, Any]:
        """Examples per second in batches of ``size`` examples of similar length; takes about so many ``seconds``."""
        order = np.argsort(self.features.lengths, kind="stable")
        batches = np.array_split(order, -(-len(order) // size))
        self._batch(batches[len(batches) // 2])
        number = _repetitions(seconds, self._batch(batches[len(batches) // 2]), 1, BATCHES)
        chosen = np.linspace(0, len(batches) - 1, min(number, len(batches)) + 2).round().astype(int)[1:-1]
        taken = sum(self._batch(batches[i]) for i in chosen)
        examples = sum(len(batches[i]) for i in chosen)
        return {"inference_batch_size": size, "batch_examples_per_second": examples / max(taken, 1e-9)}

    def _batch(self, groups: np.ndarray) -> float:
        """Seconds for a batch, in parts where all at once would not fit in memory."""
        lengths, sizes = self.features.lengths[groups], self.features.sizes[groups]
        parts = evaluation_batches(lengths, sizes, batch_tokens(self.training))
        return sum(self.seconds(groups[part].tolist()) for part in parts)


def _repetitions(budget: float, seconds: float, least: int, most: int) -> int:
    return int(min(most, max(least, budget / max(seconds, 1e-9))))


def measured(training: Training, features: Features, taken: float) -> dict[str, Any]:
    """FLOPs, latency and throughput of a trained model, after a run that took so many seconds.

    Only one process needs to call this: it starts no exchange with others.
    """
    inference, budget = Inference(training, features), min(LONGEST, SHARE * taken) / 2
    counted = {**inference.flops(), "tokens_per_example": float(tokens_per_group(features).mean())}
    with predicting(training):
        return {**counted, **inference.latency(budget), **inference.throughput(training.plan.batch_size, budget)}


# Training --------------------------------------------------------------------------------------------------------


def training_speed(training: Training, examples: int, seconds: float, flops: int | None) -> dict[str, Any]:
    """What the updates after the warm-up reached.

    Args:
        training: what was trained.
        examples: how many were read, over all processes, in so many ``seconds``.
        flops: FLOPs per example, where they were counted.
    """
    rate = examples / max(seconds, 1e-9)
    speed: dict[str, Any] = {
        "train_examples_per_second": rate,
        "train_tokens_per_second": rate * float(tokens_per_group(training.features).mean()),
    }
    if flops is not None:
        machine = matrix_rate(training.accelerator.device, training.recipe.precision)
        share = rate * flops / (machine * training.accelerator.num_processes)
        speed |= {"matrix_flops_per_second": machine, "train_share_of_matrix_rate": share}
    return speed


def efficiency_of(training: Training, state: RunState, usage: Usage, cost: Mapping[str, Any]) -> dict[str, Any]:
    """The content of efficiency.json: all that the clock and the machine decide.

    Args:
        training: a training that is done; all processes call this together.
        state: with its times.
        usage: began with the run.
        cost: of the trained model, from `measured`; on the main process.
    """
    used = [usage.read()]
    if training.accelerator.num_processes > 1:
        used = gather_object(used)
    examples, seconds = training.examples - state.startup_examples, state.train_seconds - state.startup_seconds
    if not examples:
        examples, seconds = training.examples, state.train_seconds
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "total_seconds": state.seconds,
        "train_seconds": state.train_seconds,
        "startup_seconds": state.startup_seconds,
        "compile_seconds": state.compile_seconds,
        "evaluate_seconds": state.evaluate_seconds,
        **training_speed(training, examples, seconds, cost.get("train_flops_per_example")),
        "inference_examples_per_second": state.evaluated_examples / max(state.evaluate_seconds, 1e-9),
        **cost,
        **of_all_processes(used, whole=not state.earlier_seconds),
    }


@functools.cache
def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second in a product of two large square matrices, the best of a few.

    Args:
        device: where.
        precision: as in a recipe; for ``tf32``, PyTorch has to be set to it.
    """
    dtype = DTYPES[precision]
    size = MATRIX_SIZE.get(device.type, 1024)
    random = torch.Generator().manual_seed(0)
    left, right = (torch.rand(size, size, generator=random).to(device, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(REPETITIONS):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(left, right)
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


# Memory -------------------------------------------------------------------------------------------------------


class Usage:
    """The memory and the energy that a process takes from here on.

    Args:
        device: what it works on.
    """

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        _forget_peak()
        self.energy = Energy(device)

    def __enter__(self) -> Usage:
        return self

    def __exit__(self, *_: object) -> None:
        self.energy.stop()

    def read(self) -> dict[str, Any]:
        """The peaks in bytes, and the energy; ends the measuring."""
        peaks = {"peak_process_bytes": _peak_bytes()}
        if self.device.type == "cuda":
            peaks["peak_device_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return peaks | self.energy.stop()


def of_all_processes(usages: Sequence[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """The usage of all processes: the largest peaks; of the ``whole`` run (not resumed) also the energy of all."""
    names = [name for name in usages[0] if name.endswith("_bytes")]
    peaks: dict[str, Any] = {name: max(usage[name] for usage in usages) for name in names}
    sources = {usage.get("energy_source") for usage in usages}
    if whole and len(sources) == 1 and None not in sources:
        energies = [usage["energy_joules"] for usage in usages]
        # Codecarbon sees the whole machine, NVML one GPU.
        return {**usages[0], **peaks, "energy_joules": max(energies) if "codecarbon" in sources else sum(energies)}
    return peaks


def _forget_peak() -> None:
    """Let the system start anew in looking for the peak of this process's memory, where it can (proc(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    if peak_kilobytes := re.search(r"VmHWM:\s*(\d+) kB", status):
        return int(peak_kilobytes[1]) * 1024
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# Energy ----------------------------------------------------------------------------------------------------------


class Energy:
    """Measures from its creation on.

    With codecarbon (``pip install enct5-harness[energy]``) processor, memory and GPU count, measured or, where the
    machine does not measure them, estimated; else the GPU, by NVML's counter; else nothing.

    Args:
        device: what the work is done on.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.tracker = tracker()
        self.before = None if self.tracker else gpu_joules(device)
        if self.tracker is not None:
            self.tracker.start_task()

    def stop(self) -> dict[str, Any]:
        """``energy_joules`` and ``energy_source``; empty where nothing is measured, and after the first call."""
        tracker, before = self.tracker, self.before
        self.tracker = self.before = None
        if tracker is not None:
            data = tracker.stop_task()
            joules = 0.0 if data is None else data.energy_consumed * JOULES_PER_KWH
            return {"energy_joules": joules, "energy_source": "codecarbon"} if joules else {}
        after = gpu_joules(self.device)
        if before is None or after is None:
            return {}
        return {"energy_joules": after - before, "energy_source": "GPU (NVML)"}


@functools.cache
def tracker() -> Any:
    """Codecarbon's tracker, started once per process because that takes seconds; None without codecarbon."""
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    # The country decides emissions, which are not read, and giving one keeps it from asking the network.
    return OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )


def gpu_joules(device: torch.device) -> float | None:
    """What the GPU has consumed since its driver was loaded; None without NVML or its counter."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    with _nvml(pynvml):
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    return None


@contextlib.contextmanager
def _nvml(pynvml: Any) -> Iterator[None]:
    """A block that ends where NVML refuses: an old GPU, a driver without it."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
