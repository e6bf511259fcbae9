"""The sides of the comparisons of `speed`: each sets up a model with real texts, and gives a measure of its speed."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from speed_models import BATCH, Setting, pair, start

import harness
from harness.config.schema import Recipe
from harness.data.features import Features
from harness.models import Architecture
from harness.training.device import DTYPES, synchronize
from harness.training.evaluation import model_outputs, predicting
from harness.training.update import Training

TEXTS, EVALUATION_BATCH = 20000, 128
"""The most texts of a training split, and the Trainer's batches of evaluation."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what is done (a name in `ACTIONS`), with which model, task and settings."""

    label: str
    action: str
    size: str
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """``compile``; ``precision``, where it is not that of all; what `TRAINERS` has; the ``action`` of the original."""


@dataclass(frozen=True)
class Sources:
    """Where and how models compute, and where data is; ``checkpoints`` maps a task to a T5 that answers it.

    ``original`` is the folder with the original EncT5's package, and the Python that can run it.
    """

    setting: Setting
    data: str
    threads: int
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    original: tuple[str, str] | None = None


PADDED, DYNAMIC = "Trainer as it comes, padded to 128", "Trainer as it comes"
BEST, COMPILED = "Trainer at its best", "Trainer at its best, compiled"
RANDOM, COMPILED_RANDOM = "Trainer at its best, unsorted", "Trainer at its best, compiled, unsorted"
TRAINERS: Mapping[str, Mapping[str, Any]] = {
    PADDED: {"pad": True, "precision": "fp32", "sorted": False, "compile": False, "steps": 6},
    DYNAMIC: {"pad": False, "precision": "fp32", "sorted": False, "compile": False, "steps": 20},
    RANDOM: {"pad": False, "sorted": False, "compile": False, "steps": 50},
    BEST: {"pad": False, "sorted": True, "compile": False, "steps": 50},
    COMPILED: {"pad": False, "sorted": True, "compile": True, "steps": 50},
    COMPILED_RANDOM: {"pad": False, "sorted": False, "compile": True, "steps": 50},
}
"""Ways to use the Trainer. As it comes, it computes in fp32 and reads texts in random order. At its best, it has the
harness's precision, and reads texts of similar length together: 50 batches are one of its windows, in which every
length comes. The harness's batches are nearly random, so the side that does the same is the unsorted one. The optimizer
is fused, and the number of threads the same, on all sides."""


def setting_of(side: Side, sources: Sources) -> Setting:
    """The setting of a side, which may have a precision of its own."""
    return replace(sources.setting, precision=side.settings.get("precision", sources.setting.precision))


def side_pair(side: Side, sources: Sources) -> tuple[Architecture, Recipe]:
    """Model and task, and the recipe with precision and compilation as they will be used."""
    checkpoint = sources.checkpoints.get(side.task) if side.size.startswith("T5") else None
    return pair(side.size, side.task, setting_of(side, sources), side.settings.get("compile", False), checkpoint)


def training_of(side: Side, sources: Sources, split: str = "train") -> tuple[Training, Features]:
    """A training at step 0, and the features of a split."""
    architecture, recipe = side_pair(side, sources)
    examples = harness.load_examples(side.task, sources.data, "train")[:TEXTS]
    features = architecture.features(examples, training=True)
    training = start(architecture, recipe, features, sources.setting.device)
    if split == "train":
        return training, features
    return training, architecture.features(harness.load_examples(side.task, sources.data, split), training=False)


Measure = Callable[[], float]
"""Does a piece of work and gives its examples per second."""


def train(side: Side, sources: Sources) -> Measure:
    """The harness's training loop."""
    return train_measure(training_of(side, sources)[0])


def train_measure(training: Training, steps: int = 50) -> Measure:
    """Examples per second of so many updates; a compiled model is compiled beforehand."""

    def measure() -> float:
        synchronize(training.accelerator.device)
        before, started = training.examples, time.perf_counter()
        for _ in range(steps):
            training.update()
        training.mean_loss()  # waits for the device
        return (training.examples - before) / (time.perf_counter() - started)

    if training.recipe.compile:
        measure()
    return measure


def evaluate(side: Side, sources: Sources) -> Measure:
    """The harness's evaluation of a validation split."""
    training, features = training_of(side, sources, "validation")

    def measure() -> float:
        started = time.perf_counter()
        model_outputs(training, features)
        return len(features) / (time.perf_counter() - started)

    return measure


def batches(side: Side, sources: Sources, size: int = BATCH, count: int = 12) -> Measure:
    """Inference on batches of validation texts, cut from those sorted by length all over the range of lengths."""
    training, features = training_of(side, sources, "validation")
    architecture, device = training.architecture, training.accelerator.device
    order = np.argsort(features.lengths, kind="stable")
    starts = np.linspace(0, len(order) - size, count).astype(int)
    inputs = [architecture.collate(features, order[start : start + size].tolist()) for start in starts]

    def measure() -> float:
        started = time.perf_counter()
        with predicting(training) as module:
            for batch in inputs:
                architecture.predict(module, batch.to(device))
        return size * count / (time.perf_counter() - started)

    return measure


def single(side: Side, sources: Sources) -> Measure:
    """Inference on one text at a time; its rate is the inverse of the latency."""
    return batches(side, sources, 1, 40)


def single_generate(side: Side, sources: Sources) -> Measure:
    """As `single`, by plain ``generate``."""
    import harness.models.t5 as t5

    t5.is_plain = lambda _: False
    return batches(side, sources, 1, 40)


# The Trainer


def dataset(features: Features) -> list[dict[str, Any]]:
    """What a Trainer reads: the same tokens as the harness."""
    return [
        {name: column[row].tolist() for name, column in features.columns.items() if name != "labels"}
        | ({"labels": _label(features, row)} if "labels" in features.columns else {})
        for row in range(len(features.columns["input_ids"]))
    ]


def _label(features: Features, row: int) -> Any:
    values = features.columns["labels"][row].astype(int).tolist()
    return values[0] if len(values) == 1 else values


def make_trainer(
    architecture: Architecture,
    recipe: Recipe,
    data: list[dict[str, Any]],
    settings: Mapping[str, Any],
    device: str,
    generate: bool = False,
) -> Any:
    """A Trainer (a Seq2SeqTrainer) with the architecture's model.

    Args:
        architecture: a model on a task.
        recipe: its precision is the Trainer's.
        data: what it trains on.
        settings: one of `TRAINERS`.
        device: ``cpu`` or ``cuda``.
        generate: whether it predicts by ``generate``.
    """
    trainer_class, arguments, options = transformers.Trainer, transformers.TrainingArguments, {}
    collator: Any = transformers.DataCollatorWithPadding(
        architecture.tokenizer, padding="max_length" if settings["pad"] else True, max_length=recipe.max_length
    )
    if generate:
        trainer_class, arguments = transformers.Seq2SeqTrainer, transformers.Seq2SeqTrainingArguments
        options = {"predict_with_generate": True, "generation_max_length": architecture.longest_answer + 1}
    elif architecture.generates:
        collator = transformers.DataCollatorForSeq2Seq(architecture.tokenizer)
    args = arguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=EVALUATION_BATCH,
        max_steps=settings["steps"],
        bf16=recipe.precision == "bf16",
        fp16=recipe.precision == "fp16",
        tf32=True if recipe.precision == "tf32" else None,
        optim="adamw_torch_fused",
        torch_compile=settings["compile"],
        train_sampling_strategy="group_by_length" if settings["sorted"] else "random",
        dataloader_num_workers=settings.get("workers", 0),
        dataloader_persistent_workers=settings.get("workers", 0) > 0,
        use_cpu=device == "cpu",
        learning_rate=recipe.learning_rate,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    transformers.set_seed(1)
    return trainer_class(model=architecture.build(), args=args, data_collator=collator, train_dataset=data)


class Clock(transformers.TrainerCallback):
    """The time from the first step's beginning to the last one's end.

    Args:
        device: what is waited for at both.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started: float | None = None
        self.steps = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if self.started is None:
            synchronize(self.device)
            self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps += 1
        if state.global_step >= state.max_steps:
            synchronize(self.device)
            self.ended = time.perf_counter()


def trainer_measure(trainer: Any) -> Measure:
    """Examples per second of the Trainer's training; a compiled model is compiled beforehand."""

    def measure() -> float:
        clock = Clock(trainer.args.device)
        trainer.add_callback(clock)
        trainer.train()
        trainer.remove_callback(clock)
        assert clock.started is not None
        return trainer.args.per_device_train_batch_size * clock.steps / (clock.ended - clock.started)

    if trainer.args.torch_compile:
        measure()
    return measure


def trainer_train(side: Side, sources: Sources) -> Measure:
    """The Trainer's training loop."""
    architecture, recipe = side_pair(side, sources)
    examples = harness.load_examples(side.task, sources.data, "train")[:TEXTS]
    data = dataset(architecture.features(examples, training=True))
    return trainer_measure(make_trainer(architecture, recipe, data, side.settings, sources.setting.device))


def trainer_evaluate(side: Side, sources: Sources, generate: bool = False) -> Measure:
    """The Trainer's prediction of a validation split, without labels, sorted by length beforehand, as it is fastest.

    A Seq2SeqTrainer calls ``generate`` outside of autocast, and passes over each batch once more for a loss where it
    has labels: here all of it is under autocast, and there are none.
    """
    architecture, recipe = side_pair(side, sources)
    device = sources.setting.device
    examples = harness.load_examples(side.task, sources.data, "validation")
    data = dataset(architecture.features(examples, training=False))
    data = [{name: value for name, value in row.items() if name != "labels"} for row in data]
    data.sort(key=lambda row: -len(row["input_ids"]))
    trainer = make_trainer(architecture, recipe, data, side.settings, device, generate)
    dtype = DTYPES[recipe.precision]
    whole = torch.autocast(device, dtype, enabled=dtype != torch.float32) if generate else contextlib.nullcontext()

    def measure() -> float:
        started = time.perf_counter()
        with torch.no_grad(), whole:
            trainer.predict(data)
        return len(data) / (time.perf_counter() - started)

    return measure


def trainer_generate(side: Side, sources: Sources) -> Measure:
    """The Seq2SeqTrainer's prediction with ``predict_with_generate``."""
    return trainer_evaluate(side, sources, generate=True)


# The original EncT5


def original(side: Side, sources: Sources) -> Measure:
    """The original implementation, in the environment that it needs."""
    assert sources.original is not None
    source, python = sources.original
    script = Path(__file__).with_name("speed_original.py")
    vocabulary = Path(str(sources.setting.t5_tokenizer)) / "spiece.model"
    precision, threads = side_pair(side, sources)[1].precision, sources.threads
    command = [python, script, source, side.settings["action"], sources.data, vocabulary, precision, threads]
    worker = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None and worker.stdout is not None
    questions, answers = worker.stdin, worker.stdout
    while answers.readline() != "ready\n":
        assert worker.poll() is None, "the original implementation does not run"

    def measure() -> float:
        questions.write("\n")
        questions.flush()
        line = ""
        while not line.startswith("rate "):
            line = answers.readline()
            assert line, "the original implementation ended"
        return float(line.removeprefix("rate "))

    return measure


ACTIONS = {
    action.__name__: action
    for action in (
        train, evaluate, batches, single, single_generate, trainer_train, trainer_evaluate, trainer_generate, original,
    )
}  # fmt: skip


# Taking turns


def serve(connection: Any, side: Side, sources: Sources) -> None:
    """A side's process: sets up, warms up, and measures whenever it is told to."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(sources.threads)
    measure = ACTIONS[side.action](side, sources)
    measure()
    assert torch.get_num_threads() == sources.threads, "the sides have to compute with the same number of threads"
    connection.send("ready")
    while connection.recv():
        connection.send(measure())


@contextmanager
def process(side: Side, sources: Sources) -> Iterator[Callable[[], float]]:
    """A process that measures one side."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=serve, args=(theirs, side, sources), daemon=True)
    worker.start()
    theirs.close()
    assert ours.recv() == "ready"

    def measure() -> float:
        ours.send(True)
        return ours.recv()

    try:
        yield measure
    finally:
        ours.send(False)
        worker.join()
