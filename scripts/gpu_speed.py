"""The parts of `gpu_check` that show how fast the program is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from gpu_machine import (
    DISTRIBUTIONS,
    LONGEST,
    ROUNDS,
    Machine,
    Rows,
    benchmark,
    busy_seconds,
    forget,
    profiled,
    rate,
    read_on,
    training_of,
    training_of_any_text,
    with_batch,
)
from speed_models import BATCH, generated, text_lengths

import harness
from harness.data.features import Features
from harness.results.store import Store
from harness.training.device import synchronize
from harness.training.evaluation import model_outputs, predicting
from harness.training.flops import datasheet_peak, matrix_rate
from harness.training.inference import Inference
from harness.training.update import Training

AGAINST_TRAINER = ((2, "RTE-like"), (0, "RTE-like"), (2, "CoLA-like"))
"""Which of `Machine.sizes`, and lengths of texts."""
TURNS = 3
"""Turns of the harness and the Trainer; in the first one, the Trainer compiles, and it does not count."""
SINGLE = 50
"""Texts whose latency is measured."""
SHORT = 16
"""Tokens of a single text in the comparison of plain and compiled models."""
WARM = 5
"""Calls before latency is measured: the first ones compile, record CUDA graphs, or choose kernels."""


def train(machine: Machine) -> Rows:
    """Training: examples per second, and what share of the device's limit that is."""
    for size in machine.sizes:
        yield from training_rates(machine, size, is_compiled=False)


def training_rates(machine: Machine, size: str, is_compiled: bool) -> Rows:
    """A model's rates at every distribution of lengths, and how long its first update took."""
    training = training_of_any_text(machine, size, is_compiled)
    name = f"{size}, compiled" if is_compiled else size
    started = time.perf_counter()
    training.update()
    synchronize(machine.device)
    yield f"{name}: the first update", f"{time.perf_counter() - started:.1f} s", None
    for lengths in DISTRIBUTIONS:
        read_on(machine, training, lengths)
        if is_compiled:  # an epoch, for the graphs of all shapes
            for _ in range(training.plan.updates_per_epoch):
                training.update()
        speed = rate(machine, training.update, BATCH)
        flops = Inference(training, to_answer(machine, training, lengths)).flops()["train_flops_per_example"]
        share = f"{speed:,.0f} examples/s, {share_of_limit(machine, training, speed * flops)}"
        yield f"{name}, {lengths}", share, None
    del training
    forget()


def compilation(machine: Machine) -> Rows:
    """What compilation takes and gives: BERT in training, alone and against the Trainer; EncT5 on single texts."""
    if not machine.is_cuda:
        yield "compilation", "needs CUDA: on a CPU it takes minutes", None
        return
    yield from training_rates(machine, machine.sizes[2], is_compiled=True)
    yield against_trainer(machine, machine.sizes[2], DISTRIBUTIONS[0], is_compiled=True)
    training = training_of(machine, machine.sizes[0], "CoLA-like")
    yield from graphs(machine, training)
    del training
    forget()


def share_of_limit(machine: Machine, training: Training, flops_per_second: float) -> str:
    """FLOPs per second as shares of what the device reaches in products of large matrices, and of its datasheet."""
    precision = training.recipe.precision
    share = f"{flops_per_second / matrix_rate(machine.device, precision):.0%} of the matrix rate in {precision}"
    promised = datasheet_peak(torch.cuda.get_device_name(), precision) if machine.is_cuda else None
    return share if promised is None else f"{share}, MFU {flops_per_second / promised:.0%}"


def trainer(machine: Machine) -> Rows:
    """The harness against the Trainer at its best: the same texts, precision, optimizer, sorted batches."""
    for size, lengths in AGAINST_TRAINER if machine.is_cuda else AGAINST_TRAINER[:2]:
        yield against_trainer(machine, machine.sizes[size], lengths, is_compiled=False)


def against_trainer(machine: Machine, size: str, lengths: str | int, is_compiled: bool) -> tuple[str, str, None]:
    """The ratio of the rates of training, both in turns."""
    ours = training_of(machine, size, lengths, is_compiled)
    theirs, ratios = trainer_of(machine, ours, is_compiled), list[float]()
    for _ in range(TURNS):
        mine = rate(machine, ours.update, BATCH, rounds=1)
        ratios.append(mine / theirs())
    what = f"{size}, {lengths}{', compiled' if is_compiled else ''}: harness / Trainer"
    precision = ours.recipe.precision
    del ours, theirs
    forget()
    return what, f"{np.median(ratios[1:]):.2f} in {precision}", None


def trainer_of(machine: Machine, ours: Training, is_compiled: bool) -> Callable[[], float]:
    """A Trainer with the model and the texts of a training; gives its examples per second."""
    steps = 30 if machine.is_cuda else 3
    arguments = transformers.TrainingArguments(
        output_dir=str(machine.folder / "trainer"), per_device_train_batch_size=BATCH, max_steps=steps,
        bf16=ours.recipe.precision == "bf16", torch_compile=is_compiled, train_sampling_strategy="group_by_length",
        optim="adamw_torch_fused", use_cpu=not machine.is_cuda, learning_rate=2e-5, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=machine.is_cuda,
        dataloader_num_workers=2 if machine.is_cuda else 0, dataloader_persistent_workers=machine.is_cuda,
    )  # fmt: skip
    collator = transformers.DataCollatorWithPadding(ours.architecture.tokenizer)
    best = transformers.Trainer(
        model=ours.architecture.build(),
        args=arguments,
        data_collator=collator,
        train_dataset=rows_of(ours),
    )

    def measure() -> float:
        clock = Clock(machine.device)
        best.add_callback(clock)
        best.train()
        best.remove_callback(clock)
        return BATCH * (steps - 1) / (clock.times[-1] - clock.times[0])

    return measure


def rows_of(training: Training) -> list[dict[str, Any]]:
    """The texts of a training as a Trainer takes them."""
    columns = training.features.columns
    return [
        {**{name: column[row].tolist() for name, column in columns.items()}, "labels": int(columns["labels"][row][0])}
        for row in range(len(training.features))
    ]


class Clock(transformers.TrainerCallback):
    """The times at which steps end; the first one may compile."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if not self.times:
            synchronize(self.device)
        self.times.append(time.perf_counter())

    def on_train_end(self, *_: Any, **__: Any) -> None:
        synchronize(self.device)
        self.times[-1] = time.perf_counter()


def inference(machine: Machine) -> Rows:
    """Answers: rates, shares of the limit, EncT5 as a share of its encoder alone, T5's answers against ``generate``."""
    for size in machine.sizes:
        training = training_of(machine, size, DISTRIBUTIONS[0])
        if training.architecture.generates:
            learn_to_answer(machine, training)
        for lengths in DISTRIBUTIONS:
            yield answers(machine, training, lengths)
        if size == machine.sizes[0]:
            yield from share_of_the_encoder(machine, training)
        if size == machine.sizes[1]:
            yield against_generate(machine, training)
        del training
        forget()


def learn_to_answer(machine: Machine, training: Training) -> None:
    """Train a T5 until it writes answers, as a fine-tuned one does, and not what its random weights make it write."""
    training.recipe = training.recipe.model_copy(update={"learning_rate": 1e-3})
    for _ in range(2 * machine.updates):
        training.update()
    training.mean_loss()


def answers(machine: Machine, training: Training, lengths: Any) -> tuple[str, str, None]:
    """An evaluation, from tokenised texts to answers."""
    features = to_answer(machine, training, lengths)
    flops = Inference(training, features).flops()["flops_per_example"]
    model_outputs(training, features)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model_outputs(training, features)
        seconds.append(time.perf_counter() - started)
    speed = len(features) / float(np.median(seconds))
    what = f"{training.architecture.model.name}, {lengths}: answers"
    return what, f"{speed:,.0f} examples/s, {share_of_limit(machine, training, speed * flops)}", None


def to_answer(machine: Machine, training: Training, lengths: Any) -> Features:
    """Texts as a model reads them to predict; lengths as `text_lengths` takes them."""
    return generated(training.architecture, text_lengths(lengths, machine.texts, LONGEST), training=False)


def share_of_the_encoder(machine: Machine, training: Training) -> Rows:
    """EncT5's rate as a share of that of its encoder alone."""
    with predicting(training) as module:
        for count, length in ((BATCH, 128), (1, SHORT)):
            inputs = with_batch(machine, training, count, length).inputs
            whole, alone = (rate(machine, partial(part, **inputs), count) for part in (module, module.get_encoder()))
            what = f"{machine.sizes[0]}, {count} x {length}: share of its encoder's rate"
            yield what, f"{whole / alone:.0%}", None


def against_generate(machine: Machine, training: Training) -> tuple[str, str, None]:
    """T5's answers as a multiple of the rate of ``generate``."""
    architecture: Any = training.architecture
    batch = with_batch(machine, training, BATCH, 128)
    options = {"max_new_tokens": architecture.longest_answer, "do_sample": False, "num_beams": 1}
    with predicting(training) as module:
        model: Any = module
        ours = rate(machine, lambda: architecture.predict(model, batch), BATCH)
        plain = rate(machine, lambda: model.generate(**batch.inputs, **options), BATCH)
    return f"{machine.sizes[1]}, {BATCH} x 128: answers / generate", f"{ours / plain:.2f}", None


def latency(machine: Machine) -> Rows:
    """Single texts: p50 and p95."""
    for size in machine.sizes:
        training = training_of(machine, size, "CoLA-like")
        lengths = text_lengths("CoLA-like", SINGLE, LONGEST)
        features = generated(training.architecture, lengths, training=False)
        with predicting(training):
            single = Inference(training, features)
            for group in range(WARM):
                single.answer([group])
            yield f"{size}: a text of CoLA's lengths", percentiles([single.seconds([g]) for g in range(SINGLE)]), None
        del training
        forget()


def graphs(machine: Machine, training: Training) -> Rows:
    """One text of a fixed length on the device: as it is, and compiled with CUDA graphs."""
    batch = with_batch(machine, training, 1, SHORT)
    with predicting(training) as module:
        graphed = torch.compile(module, mode="reduce-overhead")
        for name, model in (("plain", module), ("compiled with CUDA graphs", graphed)):
            times = [seconds_of(machine, partial(model, **batch.inputs)) for _ in range(WARM + SINGLE)]
            yield f"{training.architecture.model.name}, 1 x {SHORT}: {name}", percentiles(times[WARM:]), None


def seconds_of(machine: Machine, call: Callable[[], Any]) -> float:
    """How long a call takes, until the device has done it."""
    torch.compiler.cudagraph_mark_step_begin()
    synchronize(machine.device)
    started = time.perf_counter()
    call()
    synchronize(machine.device)
    return time.perf_counter() - started


def percentiles(seconds: Sequence[float]) -> str:
    """p50 and p95 in milliseconds."""
    p50, p95 = 1e3 * np.percentile(seconds, [50, 95])
    return f"p50 {p50:.2f} ms, p95 {p95:.2f} ms"


def profile(machine: Machine) -> Rows:
    """Where the time of a training step goes: kernels, gaps between them, copies."""
    for size in (machine.sizes[0], machine.sizes[2]):
        training = training_of(machine, size, "RTE-like")
        seconds, busy = step_of(machine, training, 5 if machine.is_cuda else 1)
        total = sum(busy.values())
        copies = sum(value for name, value in busy.items() if name.startswith(("Memcpy", "Memset")))
        shares = f"gaps {max(0.0, 1 - total / seconds):.0%}, copies {copies / seconds:.1%}"
        yield f"{size}: a step of {1e3 * seconds:.1f} ms", shares, None
        top = sorted(busy, key=lambda name: -busy[name])[:5]
        yield f"{size}: largest", "; ".join(f"{name[:40]} {busy[name] / total:.0%}" for name in top), None
        del training
        forget()


def step_of(machine: Machine, training: Training, count: int) -> tuple[float, dict[str, float]]:
    """Seconds of a training step without a profiler, and by kernel and copy those that the device worked in one."""
    seconds = BATCH / rate(machine, training.update, BATCH, rounds=1)
    busy = busy_seconds(machine, profiled(machine, training.update, count))
    return seconds, {name: value / count for name, value in busy.items()}


def small(machine: Machine) -> Rows:
    """The fixed cost of a run, and how long the device is idle in a training of RTE's size."""
    sizes = {"max_steps": 40, "eval_every": 20} if machine.is_cuda else {}
    path = benchmark(machine, "small", tasks=["rte"], recipe=sizes)
    started = time.perf_counter()
    harness.run(path, results=machine.folder / "small")
    wall = time.perf_counter() - started
    costs = [record.efficiency for record in Store(machine.folder / "small", "check").records()]
    training = sum(cost.train_seconds or 0 for cost in costs)
    evaluating = sum(cost.evaluate_seconds or 0 for cost in costs)
    startup = [cost.startup_seconds or 0 for cost in costs]
    fixed = (wall - training - evaluating) / len(costs)
    yield "a run beside training and evaluation: start, measuring, record", f"{fixed:.2f} s", None
    yield "first update, median", f"{np.median(startup):.2f} s", None
    yield "evaluation, mean of a run", f"{evaluating / len(costs):.2f} s", None
    seconds, busy = step_of(machine, training_of(machine, machine.sizes[2], "RTE-like"), 10 if machine.is_cuda else 1)
    idle = max(0.0, 1 - sum(busy.values()) / seconds)
    yield f"{machine.sizes[2]}: idle share of the device in RTE-like training", f"{idle:.0%}", None
