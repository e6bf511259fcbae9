"""An evaluation over any number of processes answers every example of a split of any size exactly once, in order."""

from __future__ import annotations

import contextlib
from collections import Counter
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.features import Features, pack
from harness.task.task import Task
from harness.training import evaluation
from harness.training.evaluation import evaluate, model_outputs

TASK = Task(
    name="numbers", suite="own", problem_type="single_label_classification", labels=("even", "odd"),
    text_fields=("text",), metrics=("accuracy",),
)  # fmt: skip


class Answers:
    """An architecture that answers with what it reads, and counts how often."""

    generates = False
    task = TASK
    model = SimpleNamespace(clip=False)

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()

    def collate(self, features: Features, groups: list[int]) -> Any:
        numbers = [[int(features.columns["input_ids"][row][0]) for row in features.instances([g])] for g in groups]
        return SimpleNamespace(
            numbers=numbers, sizes=[len(n) for n in numbers], inputs={}, to=lambda device: batch_of(numbers)
        )

    def predict(self, module: Any, batch: Any) -> list[list[list[float]]]:
        self.asked.update(rows[0] for rows in batch.numbers)
        return [[[float(1 - rows[0] % 2), float(rows[0] % 2)]] for rows in batch.numbers]


def batch_of(numbers: list[list[int]]) -> Any:
    return SimpleNamespace(numbers=numbers, sizes=[len(rows) for rows in numbers], inputs={})


def training_of(architecture: Answers, process: int, processes: int, tokens: int) -> Any:
    """What an evaluation asks of a training, in one of several processes."""
    accelerator = SimpleNamespace(
        process_index=process, num_processes=processes, device=torch.device("cpu"), unwrap_model=lambda module: module
    )
    return SimpleNamespace(
        architecture=architecture,
        accelerator=accelerator,
        module=torch.nn.Identity(),
        micro_batch_tokens=tokens,
        autocast=contextlib.nullcontext,
    )


class Gathered(Exception):
    """A process has come to the point where it waits for the others."""


def in_processes(processes: int, call: Any) -> list[Any]:
    """``call(process)`` in each of several processes that gather what they have once."""
    parts: list[list[Any]] = []

    def stop(mine: list[Any]) -> None:
        parts.append(mine)
        raise Gathered

    if processes > 1:
        for process in range(processes):
            with patch.object(evaluation, "gather_object", stop), contextlib.suppress(Gathered):
                call(process)
    together = [item for part in parts for item in part]
    with patch.object(evaluation, "gather_object", lambda mine: together):
        return [call(process) for process in range(processes)]


@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4)), min_size=1, max_size=70),
    processes=st.integers(1, 9),
    tokens=st.integers(2, 2000),
)
@settings(deadline=None, max_examples=150)
def test_every_example_is_answered_once_by_one_process(lengths, processes, tokens):
    rows = [[{"input_ids": [number] * length}] * size for number, (length, size) in enumerate(lengths)]
    features = pack(rows)
    architecture = Answers()
    examples = [{"text": str(number), "label": number % 2} for number in range(len(lengths))]

    def call(process: int) -> Any:
        training = training_of(architecture, process, processes, tokens)
        return model_outputs(training, features)

    results = in_processes(processes, call)
    passes = 1 if processes == 1 else 2  # each process is called again once all have gathered
    assert architecture.asked == {number: passes for number in range(len(lengths))}
    expected = [[[float(1 - number % 2), float(number % 2)]] for number in range(len(lengths))]
    assert results == [expected] * processes

    def score(process: int) -> Any:
        return evaluate(training_of(architecture, process, processes, tokens), TASK, examples, features)

    for found in in_processes(processes, score):
        assert found.predictions == [example["label"] for example in examples]
        assert found.scores == {"accuracy": 1.0}
