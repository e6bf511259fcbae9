"""A kept model as a function from rows to rows: in windows, whose texts are batched by length as in an evaluation."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from pydantic import BaseModel
from torch import nn

from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Model, Recipe
from harness.data.features import pack
from harness.data.files import BadValue, check_field, pick
from harness.errors import HarnessError, did_you_mean, in_one_line
from harness.io import plain
from harness.models import Architecture, architecture_class
from harness.models.files import model_type_of
from harness.models.kept import from_kept, quietly
from harness.models.tokenizers import load_tokenizer
from harness.prediction.rows import Place, Row
from harness.results.fields import Damaged
from harness.results.kept import KeptModel
from harness.task.baseline import label_names
from harness.task.task import Example, Task
from harness.training.batching import TrainingPlan
from harness.training.cpu_kernels import use_attention
from harness.training.device import DTYPES, attention_kernels, make_accelerator
from harness.training.evaluation import decided, model_outputs, rounded

S = TypeVar("S", bound=BaseModel)

WINDOW = 8192
"""Rows whose texts are sorted by length together, and that are in memory at once."""
PROBABILITY_DIGITS = 4
ADDED = ("prediction", "probability", "probabilities", "output")
"""The columns that a row gets, as far as they fit its task."""


@dataclass
class Predictor:
    """A model that was kept, ready to predict; what `model_outputs` reads of a training.

    Args:
        kept: its notes, checked.
        task: what it predicts.
    """

    kept: KeptModel
    task: Task

    @cached_property
    def accelerator(self) -> Accelerator:
        """The device."""
        return make_accelerator()

    @cached_property
    def recipe(self) -> Recipe:
        """That of the run; in fp32 where its precision is one that this device does not have."""
        recipe = self._read(Recipe, self.kept.settings.recipe)
        only_cuda = recipe.precision in ("fp16", "tf32") and self.accelerator.device.type != "cuda"
        return recipe.model_copy(update={"precision": "fp32"}) if only_cuda else recipe

    @cached_property
    def model(self) -> Model:
        """The settings of the model, with the kept folder as its checkpoint."""
        identity = self.kept.settings.model
        if identity.architecture not in ARCHITECTURES:
            raise HarnessError(f"{self.kept.folder}: there is no architecture '{identity.architecture}'")
        settings = ARCHITECTURES[identity.architecture]
        given = {"name": self.kept.model, "checkpoint": str(self.kept.folder)}
        return self._read(settings, {**identity.options, **given})

    def _read(self, settings: type[S], values: Mapping[str, Any]) -> S:
        try:
            return settings.model_validate(values)
        except ValueError as error:
            raise Damaged(f"{self.kept.folder}: its notes are of another version: {in_one_line(error)}") from None

    @cached_property
    def architecture(self) -> Architecture:
        """How the model reads texts."""
        folder = self.kept.folder
        with quietly():
            tokenizer = load_tokenizer(folder, f"model '{self.model.name}'", model_type_of(self.model, folder))
        make = architecture_class(self.model)
        return make(self.model, folder, tokenizer, self.task, self.recipe.max_length)

    @cached_property
    def module(self) -> nn.Module:
        """The model, on the device."""
        module = from_kept(self.architecture, self.kept.folder)
        use_attention(module)
        return module.to(self.accelerator.device)

    @property
    def micro_batch_tokens(self) -> int:
        """As many as trainings have where memory suffices."""
        return TrainingPlan.micro_batch_tokens

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which the model computes: in the run's precision, by kernels that suit texts."""
        device, dtype = self.accelerator.device, DTYPES[self.recipe.precision]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), attention_kernels(device):
            yield

    def predict(self, rows: Iterable[tuple[int, Row]], place: Place) -> Iterator[Row]:
        """The rows with what the model says of each, in order; read as they are asked for, in windows.

        Args:
            rows: each with its number in messages.
            place: makes an error of a number and what is wrong there.

        Raises:
            HarnessError: a row that lacks a field of the task, or has a column that would be overwritten.
        """
        numbered = iter(rows)
        while window := list(itertools.islice(numbered, WINDOW)):
            examples = [self._example(number, row, place) for number, row in window]
            yield from self._predicted([row for _, row in window], examples)

    def _example(self, number: int, row: Row, place: Place) -> Example:
        task = self.task
        try:
            if taken := [name for name in ADDED if name in row]:
                raise BadValue(f"there is a column '{taken[0]}' already, which would be overwritten: rename it")
            example = {**row, **{name: pick(row, name) for name in task.text_fields}}
            for name in task.text_fields:
                check_field(task, name, example[name])
        except BadValue as error:
            raise place(number, str(error)) from None
        return {"idx": number, **example, task.label_field: task.unlabelled}

    def _predicted(self, rows: list[Row], examples: list[Example]) -> Iterator[Row]:
        task, architecture = self.task, self.architecture
        outputs = model_outputs(self, pack(architecture.groups(examples, training=False)))
        threshold = 0.5 if self.kept.threshold is None else self.kept.threshold
        predictions = decided(task, architecture, outputs, examples, threshold)
        for row, output, prediction in zip(rows, outputs, predictions, strict=True):
            yield {**row, **said(task, output, prediction)}


def said(task: Task, output: Any, prediction: Any) -> Row:
    """What stands in the columns of a row.

    ``prediction``: the name of a label (or names: of several labels, of the tag of each word), a number, a text; None
    for a written answer that stands for none. ``output``: the text that was written. Otherwise ``probability``, of the
    predicted label (of words: of each word's tag), and ``probabilities`` of every label or choice by name.
    """
    named = plain(label_names(task, prediction) if task.problem.has_labels else prediction)
    if named is None and task.open_answers and prediction is not None:
        named = plain(prediction)
    if isinstance(output, str):
        return {"prediction": named, "output": output}
    probabilities = task.problem.probabilities(output.tolist())
    if probabilities is None:
        return {"prediction": named}
    if task.problem.of_words:
        of_tags = [row[tag] for row, tag in zip(probabilities, prediction, strict=True)]
        return {"prediction": named, "probability": [rounded(value, PROBABILITY_DIGITS) for value in of_tags]}
    flat = [row[0] for row in probabilities] if task.problem.grouped else probabilities[0]
    names = task.labels if len(task.labels) == len(flat) else [str(i) for i in range(len(flat))]
    every = {name: rounded(value, PROBABILITY_DIGITS) for name, value in zip(names, flat, strict=True)}
    one = isinstance(prediction, int) and not task.problem.several and 0 <= prediction < len(flat)
    return {
        "prediction": named,
        **({"probability": list(every.values())[prediction]} if one else {}),
        "probabilities": every,
    }


def task_of(kept: KeptModel, defined: Callable[[], Mapping[str, Task]]) -> Task:
    """The task that a kept model predicts: as its notes describe it, or, where it has functions, as it is defined.

    Args:
        defined: gives the tasks that are known here.

    Raises:
        HarnessError: it needs functions, and no such task is known here, or another one of this name.
    """
    definition = kept.settings.tasks.get(kept.task)
    if definition is None:
        raise Damaged(f"{kept.folder}: its notes do not describe task '{kept.task}'")
    if not definition.get("functions") and not definition.get("expand"):
        return _described(kept, definition)
    tasks = defined()
    if kept.task not in tasks:
        hint = did_you_mean(kept.task, tasks)
        raise HarnessError(f"task '{kept.task}' needs its own functions: name its file with --file or --plugins.{hint}")
    task, own = tasks[kept.task], plain(tasks[kept.task].definition())
    for part in ("problem_type", "labels", "text_fields", "functions"):
        if own[part] != definition[part]:
            raise HarnessError(f"task '{kept.task}' has other {part.replace('_', ' ')} than the model was trained with")
    return task


def _described(kept: KeptModel, definition: Mapping[str, Any]) -> Task:
    names = {field.name for field in fields(Task)} - {"selection_metric", "invalid_prediction"}
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in definition.items() if name in names
    }
    try:
        return Task(**values)
    except (TypeError, ValueError, KeyError, HarnessError) as error:
        raise Damaged(f"{kept.folder}: its notes do not describe task '{kept.task}': {error}") from None
