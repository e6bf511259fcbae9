"""The sides of the comparisons of `speed`: each sets up a model with real texts, and gives a measure of its speed."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator

import harness
from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Recipe
from harness.data.features import Features
from harness.models import Architecture, architecture_class
from harness.models.tokenizers import load_tokenizer
from harness.training.device import resolve
from harness.training.evaluation import model_outputs
from harness.training.trainer import Training

SIZES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "MiniLM": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "bert-base": ("bert", {}),
    "t5-small": ("t5", {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}),
    "EncT5 of t5-small": ("enct5", {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}),
}
"""Architecture and configuration of each model (the defaults of a BERT's are bert-base's)."""

BATCH, EVALUATION_BATCH, MAX_LENGTH = 32, 128, 128


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what is done (a name in `ACTIONS`), with which model, task and settings."""

    label: str
    action: str
    size: str
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Where data and tokenizers are; ``checkpoints`` maps a task to a T5 that answers it.

    ``original`` is the folder with the original EncT5's package, and the Python that can run it.
    """

    data: str
    bert_tokenizer: str
    t5_tokenizer: str
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    original: tuple[str, str] | None = None


BEST, COMPILED = "Trainer at its best", "Trainer at its best, compiled"
TRAINERS: Mapping[str, Mapping[str, Any]] = {
    "Trainer, padded to 128": {"pad": True, "bf16": False, "sorted": False, "compile": False, "steps": 6},
    "Trainer, dynamic padding": {"pad": False, "bf16": False, "sorted": False, "compile": False, "steps": 20},
    BEST: {"pad": False, "bf16": True, "sorted": True, "compile": False, "steps": 50},
    COMPILED: {"pad": False, "bf16": True, "sorted": True, "compile": True, "steps": 50},
}
"""Ways to use the Trainer; at its best it computes in bf16, and reads texts of similar length together. 50 batches are
one of its windows, in which every length comes."""


# The model and the data of a side


def pair(side: Side, sources: Sources) -> tuple[Architecture, Recipe]:
    """Model and task, and the recipe with precision and compilation as this machine uses them."""
    kind, config = SIZES[side.size]
    tokenizer = load_tokenizer(
        Path(sources.bert_tokenizer if kind == "bert" else sources.t5_tokenizer), "the tokenizer"
    )
    recipe = Recipe(
        learning_rate=2e-5, batch_size=BATCH, max_length=MAX_LENGTH, compile=side.settings.get("compile", False)
    )
    settings = ARCHITECTURES[kind]
    recipe = resolve(recipe, torch.device("cpu"), settings.half_precision, 0, 0)
    checkpoint = sources.checkpoints.get(side.task) if kind == "t5" else None
    model = settings(
        name=side.size,
        checkpoint=checkpoint,
        config=None if checkpoint else {"vocab_size": len(tokenizer), **config},
    )
    folder = Path(checkpoint) if checkpoint else None
    return architecture_class(model)(model, folder, tokenizer, harness.load_tasks()[side.task], MAX_LENGTH), recipe


def training_of(side: Side, sources: Sources, split: str = "train") -> tuple[Training, Features]:
    """A training at step 0, and the features of a split."""
    architecture, recipe = pair(side, sources)
    examples = harness.load_examples(side.task, sources.data, "train")[:20000]
    features = architecture.features(examples, training=True)
    transformers.set_seed(1)
    training = Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))
    if split == "train":
        return training, features
    return training, architecture.features(harness.load_examples(side.task, sources.data, split), training=False)


Measure = Callable[[], float]
"""Does a piece of work and gives its examples per second."""


def train(side: Side, sources: Sources) -> Measure:
    """The harness's training loop."""
    training, _ = training_of(side, sources)

    def measure() -> float:
        before, started = training.examples, time.perf_counter()
        for _ in range(50):
            training.update()
        training.mean_loss()
        return (training.examples - before) / (time.perf_counter() - started)

    if side.settings.get("compile"):
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
    architecture, module = training.architecture, training.module.eval()
    order = np.argsort(features.lengths, kind="stable")
    starts = np.linspace(0, len(order) - size, count).astype(int)
    inputs = [architecture.collate(features, order[start : start + size].tolist()) for start in starts]

    @torch.no_grad()
    def measure() -> float:
        started = time.perf_counter()
        with training.autocast():
            for batch in inputs:
                architecture.predict(module, batch)
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


def trainer_of(side: Side, sources: Sources, split: str, generate: bool = False) -> tuple[Any, list[dict[str, Any]]]:
    """A Trainer (a Seq2SeqTrainer) with the model, and what it reads of a split."""
    architecture, _ = pair(side, sources)
    examples = harness.load_examples(side.task, sources.data, split)[:20000]
    data = dataset(architecture.features(examples, training=generate or split == "train"))
    settings = side.settings
    kind, arguments, options = transformers.Trainer, transformers.TrainingArguments, {}
    collator: Any = transformers.DataCollatorWithPadding(
        architecture.tokenizer, padding="max_length" if settings["pad"] else True, max_length=MAX_LENGTH
    )
    if generate:
        kind, arguments = transformers.Seq2SeqTrainer, transformers.Seq2SeqTrainingArguments
        options = {"predict_with_generate": True, "generation_max_length": architecture.longest_answer + 1}
        collator = transformers.DataCollatorForSeq2Seq(architecture.tokenizer)
    args = arguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=EVALUATION_BATCH,
        max_steps=settings["steps"],
        bf16=settings["bf16"],
        torch_compile=settings["compile"],
        train_sampling_strategy="group_by_length" if settings["sorted"] else "random",
        use_cpu=True,
        learning_rate=2e-5,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    transformers.set_seed(1)
    return kind(model=architecture.build(), args=args, data_collator=collator, train_dataset=data), data


class Clock(transformers.TrainerCallback):
    """The time from the first step's beginning to the last one's end."""

    started: float | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = self.started or time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.perf_counter()


def trainer_train(side: Side, sources: Sources) -> Measure:
    """The Trainer's training loop."""
    trainer, _ = trainer_of(side, sources, "train")

    def measure() -> float:
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        trainer.remove_callback(clock)
        assert clock.started is not None
        return BATCH * side.settings["steps"] / (clock.ended - clock.started)

    if side.settings["compile"]:
        measure()
    return measure


def trainer_evaluate(side: Side, sources: Sources, generate: bool = False) -> Measure:
    """The Trainer's prediction of a validation split, sorted by length beforehand, as it is fastest."""
    trainer, data = trainer_of(side, sources, "validation", generate)
    data.sort(key=lambda row: -len(row["input_ids"]))
    if not generate:  # a Seq2SeqTrainer does not predict without labels
        data = [{name: value for name, value in row.items() if name != "labels"} for row in data]

    def measure() -> float:
        started = time.perf_counter()
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
    vocabulary = Path(sources.t5_tokenizer) / "spiece.model"
    command = [python, script, source, side.settings["action"], sources.data, vocabulary]
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
    measure = ACTIONS[side.action](side, sources)
    measure()
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
