"""One run: trains a model on a task, keeps the best checkpoint, and returns what its record will hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from harness.display import Display
from harness.evaluation import Evaluation, evaluate, plain
from harness.metrics import task_score
from harness.session import HOLDOUT, Session
from harness.settings import Model, Recipe
from harness.task import Task, is_unlabelled
from harness.training import Training, evaluation_steps, trained_parameters

LOG_EVERY = 20
"""Updates between two readings of the loss (each makes the device wait)."""


@dataclass(frozen=True)
class Run:
    """One training and what is evaluated with it."""

    task: Task
    model: Model
    recipe: Recipe
    seed: int
    own_splits: tuple[str, ...]
    diagnostics: tuple[tuple[Task, str], ...]
    fingerprint: str
    marks: tuple[str, ...]
    missing: Mapping[str, Mapping[str, str]]

    @property
    def key(self) -> tuple[str, str, int]:
        """What the leaderboard files the run under."""
        return self.task.name, self.model.name, self.seed


@dataclass
class Best:
    """The best evaluation so far."""

    step: int = -1
    primary: float = float("-inf")
    evaluations: Mapping[str, Evaluation] | None = None
    weights: dict[str, torch.Tensor] | None = None


class Execution:
    """Trains and evaluates one run; what it leaves is the content of a record."""

    def __init__(self, run: Run, session: Session, accelerator: Accelerator, display: Display):
        self.run, self.session, self.accelerator, self.display = run, session, accelerator, display
        self.curve: list[dict[str, Any]] = []
        self.best = Best()
        self.train_seconds = self.evaluate_seconds = 0.0
        self.evaluated_examples = 0
        self.started = time.perf_counter()

    def __call__(self) -> dict[str, Any]:
        """Do the run; returns the parts of its record: scores, predictions, curve, efficiency."""
        run, session = self.run, self.session
        set_seed(run.seed)
        architecture = session.architecture(run.model, run.task, run.recipe)
        module = architecture.build()
        parameters = trained_parameters(module)
        features = session.features(architecture, run.task, str(run.task.train_split), training=True)
        training = Training(architecture, module, features, run.recipe, run.seed, self.accelerator)
        set_seed(run.seed, device_specific=True)  # dropout differs between processes
        self.display.run_started(run.task.name, run.model.name, run.seed, training.steps)
        self.train(training)
        evaluations = self.final_evaluations(training)
        return self.result(training, parameters, evaluations)

    def train(self, training: Training) -> None:
        """The loop: updates, evaluation at step 0 and as the recipe says, the best checkpoint, early stopping."""
        recipe = self.run.recipe
        self.evaluate(training, loss=None)
        waited = 0
        for target in evaluation_steps(recipe, training.plan, training.steps):
            started, examples = time.perf_counter(), training.examples
            while training.step < target:
                training.update()
                if training.step % LOG_EVERY == 0 or training.step == target:
                    loss = training.mean_loss()
                    self.log(training, loss, (training.examples - examples) / (time.perf_counter() - started))
            self.train_seconds += time.perf_counter() - started
            improved = self.evaluate(training, loss)
            waited = 0 if improved else waited + 1
            if recipe.patience is not None and waited >= recipe.patience:
                break

    def log(self, training: Training, loss: float, speed: float) -> None:
        """A point of the learning curve."""
        row = {"step": training.step, "epoch": round(training.epoch, 6), "loss": loss}
        self.curve.append({**row, "learning_rate": training.learning_rate})
        self.display.progress(training.step, loss, speed)

    def selection_splits(self) -> tuple[str, ...]:
        """The splits that choose the checkpoint."""
        return (HOLDOUT,) if self.session.spec.selection == HOLDOUT else self.run.own_splits

    def evaluate(self, training: Training, loss: float | None) -> bool:
        """Evaluate on the selection splits; keeps the best. Whether this one is the best so far."""
        task = self.run.task
        evaluations = {split: self.measure(training, task, split) for split in self.selection_splits()}
        first = next(iter(evaluations.values()))
        primary = task_score(first.scores, task.metrics)
        scores = {split: evaluation.scores for split, evaluation in evaluations.items()}
        self.curve.append({"step": training.step, "epoch": round(training.epoch, 6), "scores": scores, "primary": primary})
        self.display.evaluated(training.step, first.scores, primary)
        improved = primary > self.best.primary
        if improved:
            weights = training.weights() if self.evaluates_at_the_end() else None
            self.best = Best(training.step, primary, evaluations, weights)
        return improved

    def evaluates_at_the_end(self) -> bool:
        """Whether anything but the selection splits is predicted, with the best checkpoint."""
        return bool(self.run.diagnostics) or self.session.spec.selection == HOLDOUT or bool(self.session.spec.predict)

    def measure(self, training: Training, task: Task, split: str) -> Evaluation:
        """Predict and score one split."""
        examples = self.session.examples(task, split)
        features = self.session.features(training.architecture, task, split, training=False)
        started = time.perf_counter()
        found = evaluate(training, task, examples, features)
        self.evaluate_seconds += time.perf_counter() - started
        self.evaluated_examples += len(examples)
        return found

    def final_evaluations(self, training: Training) -> dict[tuple[str, str], Evaluation]:
        """Everything the record holds predictions of, by (task, split), from the best checkpoint."""
        run, spec = self.run, self.session.spec
        assert self.best.evaluations is not None
        found = {(run.task.name, split): e for split, e in self.best.evaluations.items() if split != HOLDOUT}
        if self.best.weights is not None:
            training.load_weights(self.best.weights)
            wanted = [(run.task, split) for split in run.own_splits] if spec.selection == HOLDOUT else []
            wanted += run.diagnostics
            if spec.predict:
                wanted += predicted_splits(run, self.session)
            for task, split in wanted:
                if (task.name, split) not in found:
                    found[task.name, split] = self.measure(training, task, split)
        return found

    def result(
        self, training: Training, parameters: dict[str, int], evaluations: Mapping[tuple[str, str], Evaluation]
    ) -> dict[str, Any]:
        """The parts of the record."""
        run, session = self.run, self.session
        total = time.perf_counter() - self.started
        scores: dict[str, dict[str, Any]] = {}
        unparsable: dict[str, dict[str, float]] = {}
        for (task, split), evaluation in evaluations.items():
            if evaluation.scores:
                scores.setdefault(task, {})[split] = evaluation.scores
            if training.architecture.generates:
                unparsable.setdefault(task, {})[split] = evaluation.unparsable / len(evaluation.predictions)
        counts = {run.task.name: {"train": len(training.features)}}
        for (task, split), evaluation in evaluations.items():
            counts.setdefault(task, {})[split] = len(evaluation.predictions)
        tasks = {run.task.name: run.task, **{task.name: task for task, _ in run.diagnostics}}
        predictions = [
            row
            for (task, split), evaluation in evaluations.items()
            for row in prediction_rows(tasks[task], split, session, evaluation)
        ]
        return {
            "record": {
                "scores": scores,
                "missing": {task: dict(reasons) for task, reasons in run.missing.items()},
                "unparsable": unparsable,
                "counts": counts,
                "steps": training.step,
                "best_step": self.best.step,
                "primary": self.best.primary,
                "parameters": parameters,
            },
            "predictions": predictions,
            "curve": self.curve,
            "efficiency": {
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "total_seconds": total,
                "train_seconds": self.train_seconds,
                "evaluate_seconds": self.evaluate_seconds,
                "train_examples_per_second": training.examples / max(self.train_seconds, 1e-9),
                "inference_examples_per_second": self.evaluated_examples / max(self.evaluate_seconds, 1e-9),
            },
        }


def predicted_splits(run: Run, session: Session) -> list[tuple[Task, str]]:
    """The unlabelled test splits that are there: the task's own and its diagnostics'."""
    tasks = [run.task, *dict.fromkeys(task for task, _ in run.diagnostics)]
    return [(task, split) for task in tasks for split in task.test_splits if split in session.splits(task)]


def prediction_rows(task: Task, split: str, session: Session, evaluation: Evaluation) -> Iterable[dict[str, Any]]:
    """One line of predictions.jsonl per example."""
    for i, example in enumerate(session.examples(task, split)):
        label = None if is_unlabelled(task, example) else example[task.label_field]
        row = {"task": task.name, "split": split, "index": i, "idx": example.get("idx"), "label": label}
        yield {**row, "prediction": evaluation.predictions[i], **plain(evaluation.outputs[i])}
