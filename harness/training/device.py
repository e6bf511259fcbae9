"""What this machine can do: processes and device, precision and compilation as they will really be used, versions."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.config.schema import Recipe
from harness.errors import HarnessError

T = TypeVar("T")

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Compiling takes one or two minutes. It pays from about this many floating-point operations of training: for BERT-base
# on an H200 from 1.4e16, of which the slow start of kernels there is the larger part.
COMPILE_FROM_FLOPS = {"cpu": 1e15, "cuda": 1e17}

PASS_TOKENS = {"fp32": 36.0, "tf32": 36.0, "bf16": 200.0, "fp16": 200.0}
"""What a training pass costs beside its tokens, as so many tokens, the same for any model: adding to all gradients, and
converting all weights where there are fewer bits."""
PASS_PARAMETERS = {"cpu": 2e7, "cuda": 1e12}
"""And calling the operators, which is measured in tokens times parameters, since a large model's token takes longer.

In fp32, on one core of a CPU, a pass cost as much as 330 tokens of a model with 71 thousand parameters, 38 of MiniLM's
11 million and 17 of BERT-base's 86 million; in bf16, on two cores with AMX, 100 to 300 of MiniLM's. On an H200, in a
virtual machine, a pass of BERT-base with 4,096 tokens took 45 ms, 12 of which the device worked.
"""

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: while the first one downloads and tokenises, or measures a model."""

FAST_BF16 = 1.25
"""Rate of bf16 products on a CPU, as a multiple of fp32's, from which ``auto`` takes bf16.

Processors that multiply bf16 reach about twice the rate of fp32 or more, those that emulate it less than the same.
"""


@dataclass(frozen=True)
class Machine:
    """What ``auto`` depends on. A command decides it once, for all its workers on this machine and on others.

    Args:
        device: the type of the device, ``cpu`` or ``cuda``.
        fast_bf16: whether it multiplies bf16 fast.
    """

    device: str
    fast_bf16: bool

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """This one, with its device."""
        return cls(device.type, has_fast_bf16(device))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device of this machine multiplies bf16 fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bf16_speedup() >= FAST_BF16


def resolve_precision(requested: str, device: torch.device, half_precision: bool, fast_bf16: bool | None = None) -> str:
    """``auto`` becomes bf16 where the hardware multiplies it fast, else fp16 (models that bear it), else fp32.

    Args:
        fast_bf16: whether it does; None: found out here.

    Raises:
        HarnessError: fp16 or tf32 was asked for on a device that does not train in it.
    """
    if requested in ("fp16", "tf32") and device.type != "cuda":
        raise HarnessError(
            f"precision: {requested} needs a CUDA device, and this is {device.type}: use fp32, bf16 or auto"
        )
    if requested != "auto":
        return requested
    if has_fast_bf16(device) if fast_bf16 is None else fast_bf16:
        return "bf16"
    return "fp16" if device.type == "cuda" and half_precision else "fp32"


@functools.cache
def bf16_speedup(size: int = 384, repetitions: int = 9) -> float:
    """How many times faster than in fp32 this CPU multiplies two square matrices in bf16; measured once per process.

    The two take turns, and the best time of each counts, so that other programs on the machine hardly matter.
    """
    matrices = [torch.ones(size, size, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    best = [float("inf"), float("inf")]
    for _ in range(repetitions):
        for i, matrix in enumerate(matrices):
            started = time.perf_counter()
            torch.mm(matrix, matrix)
            best[i] = min(best[i], time.perf_counter() - started)
    return best[0] / best[1]


def resolve_compile(requested: bool | str, device: torch.device, parameters: int, tokens: float) -> bool:
    """``auto`` compiles when ``6 * parameters * tokens`` (training's floating-point operations) repay it."""
    if requested != "auto":
        return bool(requested)
    return 6.0 * parameters * tokens >= COMPILE_FROM_FLOPS.get(device.type, float("inf"))


def pass_tokens(device: torch.device, precision: str, parameters: int) -> float:
    """What a pass costs beside its tokens, as so many tokens, for a model with so many active parameters."""
    operators = PASS_PARAMETERS.get(device.type, PASS_PARAMETERS["cuda"]) / max(parameters, 1)
    return PASS_TOKENS.get(precision, PASS_TOKENS["fp32"]) + operators


def attention_kernels(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which PyTorch's attention takes kernels that suit texts: on CUDA, any but cuDNN's.

    Those are planned anew for every shape, of which texts have many: four passes of BERT-base took 491 ms on an H200,
    and the device worked 20 of them.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(kernels)


def resolve(
    recipe: Recipe,
    device: torch.device,
    half_precision: bool,
    parameters: int,
    tokens: float,
    fast_bf16: bool | None = None,
) -> Recipe:
    """The recipe with ``precision`` and ``compile`` as this machine will use them: decided before step 0."""
    return recipe.model_copy(
        update={
            "precision": resolve_precision(recipe.precision, device, half_precision, fast_bf16),
            "compile": resolve_compile(recipe.compile, device, parameters, tokens),
        }
    )


@contextlib.contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Within, where it is ``wanted``, PyTorch uses no operation whose result may differ from one time to the next.

    An operation that has no other form is an error, which names it.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if wanted:
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def make_accelerator() -> Accelerator:
    """The device and the processes of this command.

    Raises:
        HarnessError: several processes were started, but they do not form a group.
    """
    # PyTorch looks once, when cuBLAS starts, whether its workspace lets it be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # oneDNN keeps code for each shape of its bf16 products, 1,024 of them, and texts make ever new ones: gigabytes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    try:
        patience = InitProcessGroupKwargs(timeout=PATIENCE)
        accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patience])
    except ValueError as error:  # Accelerate has one precision for a whole process
        raise HarnessError(
            f"another program in this process set up Accelerate: use a fresh process ({error})"
        ) from None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and accelerator.num_processes == 1:
        raise HarnessError(
            "several processes were started, but they do not work together: on CPU, launch with "
            "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N -m harness run ..."
        )
    return accelerator


def together(accelerator: Accelerator, attempt: Callable[[], T]) -> T:
    """The result of ``attempt`` in each process; an error in one of them ends all, with the same message."""
    results: list[T] = []
    problem: str | None = None
    try:
        results.append(attempt())
    except HarnessError as error:
        if accelerator.num_processes == 1:
            raise
        problem = str(error)
    if accelerator.num_processes > 1:
        problem = next(filter(None, gather_object([problem])), None)
    if problem is not None:
        raise HarnessError(problem)
    return results[0]


def compile_seconds() -> float:
    """The time that torch.compile took so far in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0.0 if dynamo is None else float(dynamo.calculate_time_spent()["total_wall_time"])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The name of a GPU, or else the type of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def provenance(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions and hardware: recorded with every run, but not part of its fingerprint."""
    import harness

    return {
        "harness": harness.__version__,
        "python": platform.python_version(),
        **_versions(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processes": processes,
    }


@functools.cache
def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "accelerate", "tokenizers", "datasets", "numpy", "scikit-learn", "scipy")
    return {name: version(name) for name in packages}


@functools.cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
