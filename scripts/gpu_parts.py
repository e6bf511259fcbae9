"""The parts of `gpu_check`: each yields (what was looked at, the figure, whether it is right or None)."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from speed_models import BATCH, Setting, generated, pair, start, text_lengths
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

import harness
from harness.results.store import Store
from harness.training.device import resolve_precision, synchronize
from harness.training.evaluation import predicting
from harness.training.flops import TRAINING_PASSES, count_flops, matrix_rate
from harness.training.inference import Inference
from harness.training.loop import RunState, within_memory
from harness.training.trainer import Training

Rows = Iterator[tuple[str, Any, bool | None]]

TASKS = ("cola", "stsb", "goemotions", "copa", "wnut17")
"""One of each problem type."""
TINY_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
TINY_BERT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS = {
    "enct5": {"architecture": "enct5", "config": TINY_T5, "tokenizer": "sample", "dropout": 0},
    "t5": {"architecture": "t5", "config": TINY_T5, "tokenizer": "sample", "dropout": 0},
    "bert": {
        "architecture": "bert",
        "config": {"model_type": "bert", **TINY_BERT},
        "tokenizer": "sample",
        "dropout": 0,
    },
}
DISTRIBUTIONS = (128, "CoLA-like", "RTE-like")
SAME_ON_CPU = 2e-3
"""How far scores (logits) in fp32 on a device may lie from the CPU's: sums of another order."""
SAME_COMPILED = 2e-2
"""How far losses of compiled and plain models may lie apart, relatively."""
KERNELS = {"flash": "flash", "fmha": "efficient", "cutlass": "efficient", "efficient": "efficient", "cudnn": "cudnn"}


@dataclass(frozen=True)
class Machine:
    """Where and with which sizes: ``sizes`` are EncT5, T5 and BERT."""

    setting: Setting
    sizes: tuple[str, str, str]
    updates: int
    folder: Path

    @property
    def device(self) -> torch.device:
        return torch.device(self.setting.device)

    @property
    def is_cuda(self) -> bool:
        return self.setting.device == "cuda"


def machine_of(options: argparse.Namespace) -> Machine:
    """What the options ask for; small models on a CPU."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here: --device cpu runs the same code with small models")
    folder = Path(tempfile.mkdtemp(prefix="gpu_check"))
    setting = Setting(options.device, "auto", options.bert_tokenizer, options.t5_tokenizer, str(folder))
    names = (
        ("EncT5-base", "T5-base", "BERT-base") if options.device == "cuda" else ("EncT5-tiny", "T5-tiny", "BERT-tiny")
    )
    return Machine(setting, names, 30 if options.device == "cuda" else 3, folder)


def forget() -> None:
    """Free what a part left."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def benchmark(machine: Machine, name: str, **settings: Any) -> Path:
    """A benchmark file of the three tiny models on sample data."""
    usual = {"models": ["enct5", "t5", "bert"], "data": "sample", "seeds": [1]}
    steps = 60 if machine.is_cuda else 6
    usual_recipe = {"learning_rate": 3e-3, "max_steps": steps, "eval_every": steps // 2, "max_length": 128}
    recipe = {**usual_recipe, **settings.pop("recipe", {})}
    if not machine.is_cuda:
        usual["limit"] = {"train": 64, "validation": 32}
    path = machine.folder / f"{name}.yaml"
    content = {"models": MODELS, "benchmarks": {"check": {**usual, "recipe": recipe, **settings}}}
    path.write_text(json.dumps(content))
    return path


def training_of(machine: Machine, size: str, lengths: Any, compiled: bool = False, **options: Any) -> Training:
    """A training on 2,048 generated texts (64 on a CPU), ``lengths`` as `text_lengths` takes them."""
    architecture, recipe = pair(size, "rte", machine.setting, compiled, longest=320, **options)
    count = 2048 if machine.device.type == "cuda" else 64
    features = generated(architecture, text_lengths(lengths, count, 320), training=True)
    return start(architecture, recipe, features, machine.setting.device)


def rate(machine: Machine, update: Callable[[], Any], examples: int, repeats: int = 3) -> float:
    """Examples per second of ``machine.updates`` calls, the median of a few rounds, after a warm-up."""
    for _ in range(min(10, machine.updates)):
        update()
    rates = []
    for _ in range(repeats):
        synchronize(machine.device)
        started = time.perf_counter()
        for _ in range(machine.updates):
            update()
        synchronize(machine.device)
        rates.append(machine.updates * examples / (time.perf_counter() - started))
    return float(np.median(rates))


# Does it work ----------------------------------------------------------------------------------------------------


def runs(machine: Machine) -> Rows:
    """The sample benchmark: three architectures, a task of every problem type, twice."""
    path = benchmark(machine, "runs", tasks=list(TASKS), recipe={"precision": "auto"})
    harness.run(path, results=machine.folder / "first")
    harness.run(path, results=machine.folder / "second")
    first, second = (Store(machine.folder / name, "check").records() for name in ("first", "second"))
    failed = [f"{record.task} {record.model}: {record.error}" for record in first if not record.finished]
    yield "runs that finished", f"{len(first) - len(failed)} of {3 * len(TASKS)} {'; '.join(failed)}", not failed
    finite = all(np.isfinite(row["loss"]) for record in first for row in record.history() if "loss" in row)
    yield "losses are finite", finite, finite
    same = [a.scores == b.scores for a, b in zip(first, second, strict=True)]
    yield (
        "the same seed twice gives the same scores",
        f"{sum(same)} of {len(same)}",
        None if machine.is_cuda else all(same),
    )
    yield "device in the record", first[0].provenance["device"], None
    if machine.is_cuda:
        peaks = [record.efficiency.peak_device_bytes for record in first]
        yield "peak memory is the device's", f"{max(filter(None, peaks), default=0) / 2**20:.0f} MiB", all(peaks)


def precision(machine: Machine) -> Rows:
    """What ``auto`` resolves to, and that training in each precision stays finite."""
    names = ("fp32", "tf32", "bf16", "fp16") if machine.is_cuda else ("fp32", "bf16")
    for size in machine.sizes:
        architecture, recipe = pair(size, "rte", machine.setting)
        half = architecture.model.half_precision
        yield f"{size}: auto", recipe.precision, None
        for name in names:
            if name == "fp16" and not half:
                continue  # T5's activations overflow it
            resolved = resolve_precision(name, machine.device, half)
            features = generated(architecture, text_lengths(64, 64, 320), training=True)
            changed = recipe.model_copy(update={"precision": resolved, "learning_rate": 1e-4})
            training = start(architecture, changed, features, machine.setting.device)
            for _ in range(10):
                training.update()
            loss = training.mean_loss()  # raises where it is not finite
            yield f"{size}: mean loss of 10 updates in {name}", f"{loss:.4f}", bool(np.isfinite(loss))
            del training
            forget()


@torch.no_grad()
def equal(machine: Machine) -> Rows:
    """Scores of one evaluation in fp32 on the device against the CPU's."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    for size in (machine.sizes[0], machine.sizes[2]):
        architecture, _ = pair(size, "rte", machine.setting)
        features = generated(architecture, text_lengths("RTE-like", 16, 128), training=False)
        transformers.set_seed(1)
        module, batch = architecture.build().eval(), architecture.collate(features, range(16))
        expected = np.concatenate(architecture.predict(module, batch))
        actual = np.concatenate(architecture.predict(module.to(machine.device), batch.to(machine.device)))
        distance = float(np.abs(actual - expected).max())
        yield f"{size}: largest difference of scores from the CPU's", f"{distance:.1e}", distance <= SAME_ON_CPU


def resume(machine: Machine) -> Rows:
    """A run that is stopped in the middle and resumed against one that was not."""
    slow = {"max_steps": 400, "eval_every": 100, "precision": "fp32"}
    path = benchmark(machine, "resume", tasks=["cola"], models=["enct5"], recipe=slow, checkpoint_every=0)
    records = []
    for name, stopped in (("whole", False), ("stopped", True)):
        folder = machine.folder / name
        command = [sys.executable, "-m", "harness", "run", str(path), "--results", str(folder)]
        environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if not machine.is_cuda else {})
        if stopped:
            process = subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr, env=environment)
            wait_for(lambda folder=folder: list(folder.glob("check/.work/*/state.safetensors")), process)
            process.send_signal(signal.SIGTERM)
            yield "stopped by SIGTERM in the middle", f"exit code {process.wait()}", process.returncode != 0
        subprocess.run(command, check=True, stdout=sys.stderr, stderr=sys.stderr, env=environment)
        records += Store(folder, "check").records()
    whole, resumed = records
    yield "resumed", "in the log", "resume" in resumed.log()
    yield "scores equal", str(resumed.scores == whole.scores), resumed.scores == whole.scores
    same = list(resumed.predictions()) == list(whole.predictions()) and resumed.history() == whole.history()
    yield "predictions and history equal, byte for byte", str(same), None if machine.is_cuda else same


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until something is so, while a process lives."""
    end = time.time() + seconds
    while not condition():
        if process.poll() is not None or time.time() > end:
            raise RuntimeError("the run ended before it could be stopped: make it longer")
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
    forget()
    state = RunState()
    torch.cuda.set_per_process_memory_fraction((lasting + 0.6 * (needed - lasting)) / total)
    try:
        within_memory(training, state, training.update)
        loss = training.mean_loss()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    after = training.plan.micro_batch_tokens
    yield "tokens of a micro-batch, before and after", f"{before}, {after}", after < before
    yield "the update was made all the same", f"loss {loss:.3f}", bool(np.isfinite(loss))


def compiled(machine: Machine) -> Rows:
    """Compiled and plain models have the same losses."""
    for size in machine.sizes:
        losses = []
        for is_compiled in (False, True):
            training = training_of(machine, size, "RTE-like", is_compiled, dropout=0.0)
            for _ in range(5):
                training.update()
            losses.append(training.mean_loss())
            del training
            forget()
        distance = abs(losses[1] - losses[0]) / abs(losses[0])
        yield f"{size}: relative difference of losses", f"{distance:.1e}", distance <= SAME_COMPILED


def kernels(machine: Machine) -> Rows:
    """Which attention kernel computes BERT's and T5's (biased) attention."""
    for size in machine.sizes:
        training = training_of(machine, size, "RTE-like")
        training.update()
        events = profiled(machine, training.update, 2)
        names = {kind for event in events for word, kind in KERNELS.items() if word in event.key.lower()}
        yield f"{size}: attention", ", ".join(sorted(names)) or "plain products (math)", None
        del training
        forget()


def profiled(machine: Machine, call: Callable[[], Any], count: int) -> Any:
    """The profiler's averages over some calls."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if machine.is_cuda else [])]
    with profiler(activities=kinds) as profile_:
        for _ in range(count):
            call()
        synchronize(machine.device)
    return profile_.key_averages()


# How fast --------------------------------------------------------------------------------------------------------


def flops_of(training: Training, features: Any, groups: Sequence[int]) -> float:
    """FLOPs of a training step per example, counted on these groups with plain attention."""
    module = training.accelerator.unwrap_model(training.module)
    batch = training.architecture.collate(features, groups).to(training.accelerator.device)
    with torch.no_grad():
        return TRAINING_PASSES * count_flops(lambda: training.architecture.loss(module.eval(), batch)) / len(groups)


def train(machine: Machine) -> Rows:
    """Training: examples per second and the share of the matrix rate, compiled and not."""
    for size in machine.sizes:
        for lengths in DISTRIBUTIONS:
            for is_compiled in (False, True) if machine.is_cuda else (False,):
                training = training_of(machine, size, lengths, is_compiled)
                flops = flops_of(training, training.features, range(BATCH))
                speed = rate(machine, training.update, BATCH)
                limit = matrix_rate(machine.device, training.recipe.precision)
                share = f"{speed * flops / limit:.0%} of the matrix rate in {training.recipe.precision}"
                yield (
                    f"{size}, {lengths}{', compiled' if is_compiled else ''}",
                    f"{speed:,.0f} examples/s, {share}",
                    None,
                )
                del training
                forget()


def trainer(machine: Machine) -> Rows:
    """The harness against the Trainer at its best: the same texts, precision, optimizer, sorted batches."""
    size = machine.sizes[2]
    for lengths in ("CoLA-like", "RTE-like"):
        for is_compiled in (False, True) if machine.is_cuda else (False,):
            ours = training_of(machine, size, lengths, is_compiled)
            theirs = trainer_of(machine, ours, is_compiled)
            ratios = []
            for _ in range(4):
                mine = rate(machine, ours.update, BATCH, repeats=1)
                ratios.append(mine / theirs())
            ratio = float(np.median(ratios[1:]))  # in the first turn, the Trainer compiles
            yield f"{size}, {lengths}{', compiled' if is_compiled else ''}: harness / Trainer", f"{ratio:.2f}", None
            del ours, theirs
            forget()


def trainer_of(machine: Machine, ours: Training, is_compiled: bool) -> Callable[[], float]:
    """A Trainer with the model and the texts of a training; gives its examples per second."""
    features, recipe = ours.features, ours.recipe
    data = [
        {**{name: column[row].tolist() for name, column in features.columns.items()},
         "labels": int(features.columns["labels"][row][0])}
        for row in range(len(features))
    ]  # fmt: skip
    arguments = transformers.TrainingArguments(
        output_dir=str(machine.folder / "trainer"), per_device_train_batch_size=BATCH, max_steps=50,
        bf16=recipe.precision == "bf16", torch_compile=is_compiled, train_sampling_strategy="group_by_length",
        optim="adamw_torch_fused", use_cpu=not machine.is_cuda, learning_rate=2e-5, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=machine.is_cuda,
        dataloader_num_workers=2 if machine.is_cuda else 0, dataloader_persistent_workers=machine.is_cuda,
    )  # fmt: skip
    steps = 50 if machine.is_cuda else 3
    arguments.max_steps = steps
    collator = transformers.DataCollatorWithPadding(ours.architecture.tokenizer)
    model = ours.architecture.build()
    best = transformers.Trainer(model=model, args=arguments, data_collator=collator, train_dataset=data)

    def measure() -> float:
        clock = Clock(machine.device)
        best.add_callback(clock)
        best.train()
        best.remove_callback(clock)
        return BATCH * (steps - 1) / (clock.times[-1] - clock.times[0])

    return measure


class Clock(transformers.TrainerCallback):
    """The times at which steps end; the first one may compile."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if len(self.times) < 2:
            synchronize(self.device)
        self.times.append(time.perf_counter())

    def on_train_end(self, *_: Any, **__: Any) -> None:
        synchronize(self.device)
        self.times[-1] = time.perf_counter()


def inference(machine: Machine) -> Rows:
    """Inference of 32 texts: rates, EncT5 as a share of its encoder alone, T5's answers against ``generate``."""
    for size in machine.sizes:
        yield from inference_of(machine, size)
        forget()


def inference_of(machine: Machine, size: str) -> Rows:
    """As `inference`, of one model."""
    training, batch = with_batch(machine, size, BATCH, 128)
    architecture: Any = training.architecture
    with predicting(training) as module:
        model: Any = module
        speed = rate(machine, lambda: architecture.predict(model, batch), BATCH)
        yield f"{size}: answers to 32 x 128 tokens", f"{speed:,.0f} examples/s", None
        if size == machine.sizes[0]:
            encoder, words = model.get_encoder(), model.get_input_embeddings()
            ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
            alone = rate(machine, lambda: encoder(inputs_embeds=words(ids), attention_mask=mask), BATCH)
            yield f"{size}: share of its encoder's rate", f"{speed / alone:.0%}", None
        if size == machine.sizes[1]:
            options = {"max_new_tokens": architecture.longest_answer, "do_sample": False, "num_beams": 1}
            plain = rate(machine, lambda: model.generate(**batch.inputs, **options), BATCH)
            yield f"{size}: answers / generate", f"{speed / plain:.2f}", None


def with_batch(machine: Machine, size: str, count: int, length: int) -> tuple[Training, Any]:
    """A training that has a model, and a batch of texts of equal length on the device."""
    training = training_of(machine, size, length)
    features = generated(training.architecture, text_lengths(length, count, 320), training=False)
    return training, training.architecture.collate(features, range(count)).to(machine.device)


def latency(machine: Machine) -> Rows:
    """Single texts: p50 and p95, plain and, on a GPU, compiled with CUDA graphs."""
    for size in machine.sizes:
        yield from latency_of(machine, size)
        forget()


def latency_of(machine: Machine, size: str) -> Rows:
    """As `latency`, of one model."""
    training = training_of(machine, size, "CoLA-like")
    features = generated(training.architecture, text_lengths("CoLA-like", 60, 128), training=False)
    with predicting(training):
        answers = Inference(training, features)
        for group in range(10):
            answers.answer([group])
        times = [1e3 * answers.seconds([group]) for group in range(60)]
    p50, p95 = np.percentile(times, [50, 95])
    yield f"{size}: a text of CoLA's lengths", f"p50 {p50:.2f} ms, p95 {p95:.2f} ms", None
    if machine.is_cuda and size != machine.sizes[1]:
        _, batch = with_batch(machine, size, 1, 16)
        with predicting(training) as module:
            graph = torch.compile(module, mode="reduce-overhead")
            times = [1e3 / rate(machine, lambda: graph(**batch.inputs), 1, repeats=1) for _ in range(5)]
        yield f"{size}: 16 tokens, compiled with CUDA graphs", f"p50 {np.median(times):.2f} ms", None


def profile(machine: Machine) -> Rows:
    """Where the time of a training step goes."""
    for size in (machine.sizes[0], machine.sizes[2]):
        training = training_of(machine, size, "RTE-like")
        training.update()
        synchronize(machine.device)
        started = time.perf_counter()
        events = profiled(machine, training.update, 5)
        wall = 1e6 * (time.perf_counter() - started)
        times = {event.key: own_time(machine, event) for event in events}
        busy = sum(times.values())
        copies = sum(value for name, value in times.items() if "memcpy" in name.lower())
        top = sorted(times, key=lambda name: -times[name])[:5]
        named = "; ".join(f"{name[:40]} {times[name] / busy:.0%}" for name in top)
        yield f"{size}: busy share, copies", f"{min(1.0, busy / wall):.0%}, {copies / busy:.1%}", None
        yield f"{size}: largest", named, None
        del training
        forget()


def own_time(machine: Machine, event: Any) -> float:
    """Microseconds that an operation takes by itself, on the device where there is one."""
    return float(event.self_device_time_total if machine.is_cuda else event.self_cpu_time_total)


# Small runs ------------------------------------------------------------------------------------------------------


def small(machine: Machine) -> Rows:
    """The fixed cost of a run, and how busy the device is in one of RTE's size."""
    path = benchmark(
        machine,
        "small",
        tasks=["rte"],
        seeds=[1, 2, 3],
        recipe={"max_steps": 40, "eval_every": 20} if machine.is_cuda else {},
    )
    started = time.perf_counter()
    harness.run(path, results=machine.folder / "small")
    wall = time.perf_counter() - started
    efficiencies = [record.efficiency for record in Store(machine.folder / "small", "check").records()]
    training = sum(e.train_seconds or 0 for e in efficiencies)
    evaluating = sum(e.evaluate_seconds or 0 for e in efficiencies)
    startup = [e.startup_seconds or 0 for e in efficiencies]
    yield "a run beside training and evaluation", f"{(wall - training - evaluating) / len(efficiencies):.2f} s", None
    yield "first update, median", f"{np.median(startup):.2f} s", None
    yield "evaluation, mean of a run", f"{evaluating / len(efficiencies):.2f} s", None
    size = machine.sizes[2]
    training_ = training_of(machine, size, "RTE-like")
    training_.update()
    synchronize(machine.device)
    started = time.perf_counter()
    events = profiled(machine, training_.update, 20 if machine.is_cuda else 2)
    busy = sum(own_time(machine, event) for event in events) / 1e6
    idle = max(0.0, 1 - busy / (time.perf_counter() - started))
    yield f"{size}: idle share of the device in RTE-like training", f"{idle:.0%}", None
