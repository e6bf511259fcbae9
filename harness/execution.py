"""One run: trains a model on a task, keeps the best checkpoint, and returns what its record will hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from harness.display import Display, score_text
from harness.evaluation import Evaluation, evaluate, plain
from harness.metrics import task_score
from harness.session import HOLDOUT, Session
from harness.settings import Model, Recipe
from harness.task import Task, is_unlabelled
from harness.training import Training, evaluation_steps, trained_parameters

LOG_EVERY = 20
"""Updates between two readings of the loss (each makes the device wait)."""

HEADS = ("classifier", "classification_head", "score")
"""What the auto classes and EncT5 call the part of a model that belongs to one task's labels."""


@dataclass(frozen=True)
class Run:
    """One training and what is evaluated with it.

    ``own_splits`` are the validation splits of ``task`` that are there, ``diagnostics`` the (task, split) pairs that
    its model answers besides, ``missing`` the reasons why others are not, ``tests`` the test splits that it predicts
    on request. ``parent`` is the run whose model this one starts from.
    """

    task: Task
    model: Model
    recipe: Recipe
    seed: int
    own_splits: tuple[str, ...]
    diagnostics: tuple[tuple[Task, str], ...]
    fingerprint: str
    marks: tuple[str, ...]
    missing: Mapping[str, Mapping[str, str]]
    tests: tuple[tuple[Task, str], ...] = ()
    parent: Run | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What the leaderboard files the run under."""
        return self.task.name, self.model.name, self.seed


@dataclass
class Outcome:
    """What a run leaves: the parts of its record, and the best model's weights where they are wanted."""

    record: dict[str, Any]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    test_predictions: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    efficiency: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    weights: dict[str, Tensor] | None = None


@dataclass
class Best:
    """The best evaluation so far."""

    step: int = -1
    primary: float = float("-inf")
    evaluations: Mapping[str, Evaluation] | None = None
    weights: dict[str, Tensor] | None = None


class Execution:
    """Trains and evaluates one run.

    Args:
        run: what to do.
        session: data, tokenizers, checkpoints.
        accelerator: device and processes.
        display: who is told.
        initial: weights of the parent's model.
        keep: whether the outcome carries the best model's weights.
    """

    def __init__(
        self,
        run: Run,
        session: Session,
        accelerator: Accelerator,
        display: Display,
        initial: Mapping[str, Tensor] | None = None,
        keep: bool = False,
    ):
        self.run, self.session, self.accelerator, self.display = run, session, accelerator, display
        self.initial, self.keep = initial, keep
        self.curve: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.best = Best()
        self.train_seconds = self.evaluate_seconds = 0.0
        self.evaluated_examples = 0
        self.started = time.perf_counter()

    def __call__(self) -> Outcome:
        """Do the run."""
        run = self.run
        training = self.prepare()
        parameters = trained_parameters(self.accelerator.unwrap_model(training.module))
        self.display.run_started(run.task.name, run.model.name, run.seed, training.steps)
        self.note(f"{run.task.name} · {run.model.name} · seed {run.seed} · {run.fingerprint[:12]}")
        self.note(f"{len(training.features)} training examples, {training.steps} steps, recipe {run.recipe}")
        self.train(training)
        if self.best.weights is not None:
            training.load_weights(self.best.weights)
        evaluations = self.final_evaluations(training)
        tests = self.test_predictions(training) if self.session.spec.predict else []
        return self.outcome(training, parameters, evaluations, tests)

    def prepare(self) -> Training:
        """The model at step 0, with its data."""
        run, session = self.run, self.session
        set_seed(run.seed)
        architecture = session.architecture(run.model, run.task, run.recipe)
        module = architecture.build()
        if self.initial is not None:
            assert run.parent is not None
            start_from(module, self.initial, same_labels=run.parent.task.labels == run.task.labels)
        features = session.features(architecture, run.task, str(run.task.train_split), training=True)
        training = Training(architecture, module, features, run.recipe, run.seed, self.accelerator)
        set_seed(run.seed, device_specific=True)  # dropout differs between processes
        return training

    def train(self, training: Training) -> None:
        """The loop: updates, evaluation at step 0 and as the recipe says, the best checkpoint, early stopping."""
        recipe, waited = self.run.recipe, 0
        self.evaluate(training)
        for target in evaluation_steps(recipe, training.plan, training.steps):
            started, examples = time.perf_counter(), training.examples
            while training.step < target:
                training.update()
                if training.step % LOG_EVERY == 0 or training.step == target:
                    loss = training.mean_loss()
                    self.progress(training, loss, (training.examples - examples) / (time.perf_counter() - started))
            self.train_seconds += time.perf_counter() - started
            waited = 0 if self.evaluate(training) else waited + 1
            if recipe.patience is not None and waited >= recipe.patience:
                self.note(f"stopped early: no better score in {waited} evaluations")
                break

    def progress(self, training: Training, loss: float, speed: float) -> None:
        """A point of the learning curve."""
        row = {"step": training.step, "epoch": round(training.epoch, 6), "loss": loss}
        self.curve.append({**row, "learning_rate": training.learning_rate})
        self.display.progress(training.step, loss, speed)
        self.note(f"step {training.step}: loss {loss:.4f}, {speed:.1f} examples/s")

    def evaluate(self, training: Training) -> bool:
        """Evaluate on the splits that choose the checkpoint; whether this one is the best so far."""
        run, spec = self.run, self.session.spec
        splits = (HOLDOUT,) if spec.selection == HOLDOUT else run.own_splits
        evaluations = {split: self.measure(training, run.task, split) for split in splits}
        first = next(iter(evaluations.values()))
        primary = task_score(first.scores, run.task.metrics)
        scores = {split: evaluation.scores for split, evaluation in evaluations.items()}
        row = {"step": training.step, "epoch": round(training.epoch, 6), "scores": scores, "primary": primary}
        self.curve.append(row)
        self.display.evaluated(training.step, first.scores, primary)
        self.note(f"step {training.step}: {score_text(first.scores)}")
        if primary <= self.best.primary:
            return False
        # Only what comes after the last step needs the weights again: predictions of the splits above are kept.
        later = bool(run.diagnostics) or spec.selection == HOLDOUT or bool(spec.predict) or self.keep
        self.best = Best(training.step, primary, evaluations, training.weights() if later else None)
        return True

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
        run = self.run
        assert self.best.evaluations is not None
        found = {(run.task.name, split): e for split, e in self.best.evaluations.items() if split != HOLDOUT}
        for task, split in [*((run.task, split) for split in run.own_splits), *run.diagnostics]:
            if (task.name, split) not in found:
                found[task.name, split] = self.measure(training, task, split)
        return found

    def test_predictions(self, training: Training) -> list[dict[str, Any]]:
        """Rows for the test splits that are there: the task's own and its diagnostics'."""
        return [
            row for task, split in self.run.tests for row in self.rows(task, split, self.measure(training, task, split))
        ]

    def rows(self, task: Task, split: str, evaluation: Evaluation) -> Iterable[dict[str, Any]]:
        """One line of predictions.jsonl per example."""
        for i, example in enumerate(self.session.examples(task, split)):
            label = None if is_unlabelled(task, example) else example[task.label_field]
            row = {"task": task.name, "split": split, "index": i, "idx": example.get("idx"), "label": label}
            yield {**row, "prediction": evaluation.predictions[i], **plain(evaluation.outputs[i])}

    def outcome(
        self,
        training: Training,
        parameters: dict[str, int],
        evaluations: Mapping[tuple[str, str], Evaluation],
        tests: list[dict[str, Any]],
    ) -> Outcome:
        """What the record is made of."""
        run = self.run
        tasks = {run.task.name: run.task, **{task.name: task for task, _ in run.diagnostics}}
        record: dict[str, Any] = {
            "scores": {},
            "unparsable": {},
            "counts": {run.task.name: {"train": len(training.features)}},
            "missing": {task: dict(reasons) for task, reasons in run.missing.items()},
            "repaired": {},
            "steps": training.step,
            "best_step": self.best.step,
            "primary": self.best.primary,
            "parameters": parameters,
        }
        for (task, split), evaluation in evaluations.items():
            record["scores"].setdefault(task, {})[split] = evaluation.scores
            record["counts"].setdefault(task, {})[split] = len(evaluation.predictions)
            if repaired := self.session.repairs(tasks[task], split):
                record["repaired"].setdefault(task, {})[split] = repaired
            if training.architecture.generates:
                share = evaluation.unparsable / len(evaluation.predictions)
                record["unparsable"].setdefault(task, {})[split] = share
        efficiency = {
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "total_seconds": time.perf_counter() - self.started,
            "train_seconds": self.train_seconds,
            "evaluate_seconds": self.evaluate_seconds,
            "train_examples_per_second": training.examples / max(self.train_seconds, 1e-9),
            "inference_examples_per_second": self.evaluated_examples / max(self.evaluate_seconds, 1e-9),
        }
        self.note(f"best at step {self.best.step}; {efficiency['total_seconds']:.1f} s")
        return Outcome(
            record,
            [row for (task, split), e in evaluations.items() for row in self.rows(tasks[task], split, e)],
            tests,
            self.curve,
            efficiency,
            self.log,
            self.best.weights if self.keep else None,
        )

    def note(self, text: str) -> None:
        """A line of the run's log."""
        self.log.append(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")


def start_from(module: torch.nn.Module, weights: Mapping[str, Tensor], same_labels: bool) -> None:
    """Intermediate training: take over the parent's weights, but not the head of other labels."""
    own = module.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape and (same_labels or not name.startswith(HEADS))
    }
    module.load_state_dict(fitting, strict=False)
