"""One run: trains a model on a task, keeps the best checkpoint, and returns what its record will hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor

from harness.errors import HarnessError
from harness.models.checkpoints import HEADS
from harness.results.choices import in_words
from harness.results.tensors import save_tensors
from harness.runner.interrupts import stop
from harness.runner.progress import Display, score_text
from harness.runner.resources import HOLDOUT, Session
from harness.runner.resume import Workplace
from harness.runner.runs import Outcome, Run
from harness.task.metrics import task_score
from harness.task.task import Task, is_unlabelled
from harness.training.efficiency import (
    COUNTED,
    Usage,
    compile_seconds,
    measured,
    of_all_processes,
    synchronize,
    training_speed,
)
from harness.training.evaluation import Evaluation, evaluate, plain
from harness.training.loop import OutOfMemory, Training, evaluation_steps
from harness.training.thresholds import tuned_threshold

T = TypeVar("T")

LOG_EVERY = 20
"""Updates between two readings of the loss (each makes the device wait)."""

PLAIN_STATE = (
    "history", "log", "evaluated", "waited", "train_seconds", "startup_seconds", "startup_examples", "compile_seconds",
    "evaluate_seconds", "evaluated_examples",
)  # fmt: skip
"""The attributes of an `Execution` that a training state holds as they are."""


@dataclass
class Best:
    """The best evaluation so far."""

    step: int = -1
    selection_score: float = float("-inf")
    evaluations: Mapping[str, Evaluation] | None = None
    threshold: float = 0.5
    weights: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain data, tensors and arrays."""
        evaluations = {split: e.state_dict() for split, e in (self.evaluations or {}).items()}
        return {**vars(self), "evaluations": evaluations}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Best:
        """What `state_dict` gave."""
        evaluations = {split: Evaluation.of_state(e) for split, e in state["evaluations"].items()}
        return cls(**{**state, "evaluations": evaluations or None})


class Execution:
    """Trains and evaluates one run.

    Args:
        run: what to do.
        session: data, tokenizers, checkpoints.
        accelerator: device and processes.
        display: who is told.
        initial: weights of the parent's model.
        keep: whether the outcome carries the best model's weights.
        models: where the model of every evaluation is kept: ``<models>-step<step>.safetensors``.
        workplace: where the training state is kept; without it, the run cannot be stopped and go on.
    """

    def __init__(
        self,
        run: Run,
        session: Session,
        accelerator: Accelerator,
        display: Display,
        initial: Mapping[str, Tensor] | None = None,
        keep: bool = False,
        models: Path | None = None,
        workplace: Workplace | None = None,
    ):
        self.run, self.session, self.accelerator, self.display = run, session, accelerator, display
        self.initial, self.keep, self.models, self.workplace = initial, keep, models, workplace
        self.history: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.best = Best()
        self.evaluated = -1  # the step of the last evaluation
        self.waited = 0  # evaluations since the best one
        self.earlier_seconds = self.train_seconds = self.evaluate_seconds = 0.0
        self.startup_seconds = self.compile_seconds = 0.0
        self.evaluated_examples = self.startup_examples = 0
        self.cold = True  # until this process has done an update
        self.started = time.perf_counter()

    def __call__(self) -> Outcome:
        """Do the run, or what is left of it.

        Raises:
            TakenOver: the run is another process's now.
            KeyboardInterrupt, Terminated: it was stopped; its state is saved.
        """
        with Usage(self.accelerator.device) as usage:
            return self.execute(usage)

    def execute(self, usage: Usage) -> Outcome:
        """As `__call__`."""
        run = self.run
        training = self.prepare()
        self.display.run_started(run.task.name, run.model.name, run.seed, training.steps, in_words(run.trial))
        if self.workplace is None:
            self.train(training)
        else:
            self.go_on(training, self.workplace)
            with self.workplace.interrupts.deferred():
                self.train(training)
        if self.best.weights is not None:
            training.load_weights(self.best.weights)
        evaluations = self.final_evaluations(training)
        tests = self.test_predictions(training) if self.session.spec.predict else []
        return self.outcome(training, evaluations, tests, self.efficiency(training, usage))

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
        run = self.run
        if self.evaluated < 0:
            self.note(f"{run.task.name} · {run.model.name} · seed {run.seed} · {run.fingerprint[:12]}")
            self.note(f"{len(training.features)} training examples, {training.steps} steps, recipe {run.recipe}")
            self.evaluate(training)
            self.pause(training)
        patience = run.recipe.patience
        for target in evaluation_steps(run.recipe, training.plan, training.steps):
            if patience is not None and self.waited >= patience:
                self.note(f"stopped early: no better score in {self.waited} evaluations")
                break
            if target > self.evaluated:
                self.update(training, target)
                self.evaluate(training)
                self.pause(training)

    def update(self, training: Training, target: int) -> None:
        """Updates up to step ``target``."""
        seconds, examples = self.train_seconds, training.examples
        while training.step < target:
            started = time.perf_counter()
            with self.warmup(training):
                self.in_memory(training, training.update)
            logged = training.step % LOG_EVERY == 0 or training.step == target
            loss = training.mean_loss() if logged else 0.0
            self.train_seconds += time.perf_counter() - started
            if logged:
                self.progress(training, loss, (training.examples - examples) / (self.train_seconds - seconds))
            if logged or self.accelerator.num_processes == 1:  # several have to wait for one another
                self.pause(training)

    @contextlib.contextmanager
    def warmup(self, training: Training) -> Iterator[None]:
        """Keeps an update apart that is the first one of this process, or in which something is compiled."""
        started, examples, compiled = time.perf_counter(), training.examples, compile_seconds()
        yield
        compiling = compile_seconds() - compiled
        if self.cold or compiling:
            synchronize(self.accelerator.device)
            self.startup_seconds += time.perf_counter() - started
            self.startup_examples += training.examples - examples
            self.compile_seconds += compiling
            self.cold = False

    def in_memory(self, training: Training, attempt: Callable[[], T]) -> T:
        """What ``attempt`` gives; where memory runs out, it is made again with half the tokens in a micro-batch.

        Of several processes the one that ran out ends, because the others wait for it: the next launch goes on with
        half the tokens.
        """
        while True:
            try:
                return attempt()
            except OutOfMemory as error:
                half = min(training.plan.micro_batch_tokens, error.tokens) // 2
                if half and self.accelerator.num_processes > 1 and self.workplace is not None:
                    self.workplace.set_limit(half)
                if not half or self.accelerator.num_processes > 1:
                    raise
                self.note(f"{error}; micro-batches of {half} tokens from here")
            # Outside of the except block, what the traceback held is free.
            training.set_micro_batch_tokens(half)

    def progress(self, training: Training, loss: float, speed: float) -> None:
        """A point of the learning curve."""
        row = {"step": training.step, "epoch": round(training.epoch, 6), "loss": loss}
        self.history.append({**row, "learning_rate": training.learning_rate})
        self.display.progress(training.step, loss, speed)
        self.note(f"step {training.step}: loss {loss:.4f}, {speed:.1f} examples/s")

    def evaluate(self, training: Training) -> None:
        """Evaluate on the splits that choose the checkpoint, and keep it if it is the best so far."""
        run, spec = self.run, self.session.spec
        splits = (HOLDOUT,) if spec.selection == HOLDOUT else run.own_splits
        threshold = self.threshold(training)
        evaluations = {split: self.measure(training, run.task, split, threshold) for split in splits}
        first = next(iter(evaluations.values()))
        selection_score = task_score(first.scores, run.task.metrics)
        scores = {split: evaluation.scores for split, evaluation in evaluations.items()}
        row = {
            "step": training.step,
            "epoch": round(training.epoch, 6),
            "scores": scores,
            "selection_score": selection_score,
        }
        self.history.append(row)
        self.display.evaluated(training.step, first.scores, selection_score)
        self.note(f"step {training.step}: {score_text(first.scores)}")
        self.evaluated, self.waited = training.step, self.waited + 1
        if self.models is not None and self.accelerator.is_main_process:
            name = f"{self.models.name}-step{training.step}.safetensors"
            save_tensors(self.models.with_name(name), training.weights())
        if selection_score > self.best.selection_score:
            weights = training.weights() if self.needs_best_weights else None
            self.best = Best(training.step, selection_score, evaluations, threshold, weights)
            self.waited = 0

    @property
    def needs_best_weights(self) -> bool:
        """Whether something comes after the last step that needs them: predictions of the own splits are kept."""
        spec = self.session.spec
        return bool(self.run.diagnostics) or spec.selection == HOLDOUT or bool(spec.predict) or self.keep

    def threshold(self, training: Training) -> float:
        """The probability from which on the model as it is now predicts a label (multi-label)."""
        task, threshold = self.run.task, self.run.model.label_threshold
        if threshold != "tuned":
            return threshold
        if not task.has_threshold:
            return 0.5
        labels = [example[task.label_field] for example in self.session.examples(task, HOLDOUT)]
        return tuned_threshold(self.measure(training, task, HOLDOUT, 0.5).outputs, labels)

    def measure(self, training: Training, task: Task, split: str, threshold: float) -> Evaluation:
        """Predict and score one split."""
        examples = self.session.examples(task, split)
        features = self.session.features(training.architecture, task, split, training=False)
        started = time.perf_counter()
        found = self.in_memory(training, lambda: evaluate(training, task, examples, features, threshold))
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
                found[task.name, split] = self.measure(training, task, split, self.best.threshold)
        return found

    def test_predictions(self, training: Training) -> list[dict[str, Any]]:
        """Rows for the test splits that are there: the task's own and its diagnostics'."""
        found = [
            (task, split, self.measure(training, task, split, self.best.threshold)) for task, split in self.run.tests
        ]
        return [row for task, split, evaluation in found for row in self.rows(task, split, evaluation)]

    def rows(self, task: Task, split: str, evaluation: Evaluation) -> Iterable[dict[str, Any]]:
        """One line of predictions.jsonl per example."""
        for i, example in enumerate(self.session.examples(task, split)):
            label = None if is_unlabelled(task, example) else example[task.label_field]
            row = {"task": task.name, "split": split, "index": i, "idx": example.get("idx"), "label": label}
            yield {**row, "prediction": evaluation.predictions[i], **plain(evaluation.outputs[i])}

    def outcome(
        self,
        training: Training,
        evaluations: Mapping[tuple[str, str], Evaluation],
        tests: list[dict[str, Any]],
        efficiency: dict[str, Any],
    ) -> Outcome:
        """What the record is made of."""
        run = self.run
        tasks = {run.task.name: run.task, **{task.name: task for task, _ in run.diagnostics}}
        record: dict[str, Any] = {
            "scores": {},
            "invalid": {},
            "counts": {run.task.name: {"train": len(training.features)}},
            "missing": {task: dict(reasons) for task, reasons in run.missing.items()},
            "repaired": {},
            "overlap": {},
            "steps": training.step,
            "best_step": self.best.step,
            "selection_score": self.best.selection_score,
            "parameters": training.parameters,
            "micro_batch_tokens": training.plan.micro_batch_tokens,
            "unread_words": {},
            "labels": {name: list(task.labels) for name, task in tasks.items() if _scored_by_label(task)},
            "threshold": None,
        }
        if run.task.has_threshold and not training.architecture.generates:
            record["threshold"] = self.best.threshold
        evaluated = [(tasks[task], split) for task, split in evaluations]
        for (task, split), count in self.session.overlap(run.task, evaluated).items():
            record["overlap"].setdefault(task, {})[split] = count
        for (task, split), evaluation in evaluations.items():
            record["scores"].setdefault(task, {})[split] = evaluation.scores
            record["counts"].setdefault(task, {})[split] = len(evaluation.predictions)
            if repaired := self.session.repairs(tasks[task], split):
                record["repaired"].setdefault(task, {})[split] = repaired
            if evaluation.unread:
                record["unread_words"].setdefault(task, {})[split] = evaluation.unread
            if training.architecture.generates:
                share = evaluation.invalid / len(evaluation.predictions)
                record["invalid"].setdefault(task, {})[split] = share
        self.note(f"best at step {self.best.step}; {efficiency['total_seconds']:.1f} s")
        return Outcome(
            record,
            [row for (task, split), e in evaluations.items() for row in self.rows(tasks[task], split, e)],
            tests,
            self.history,
            efficiency,
            self.log,
            self.best.weights if self.keep else None,
        )

    def efficiency(self, training: Training, usage: Usage) -> dict[str, Any]:
        """The content of efficiency.json: all that the clock and the machine decide."""
        used = [usage.read()]
        if self.accelerator.num_processes > 1:
            used = gather_object(used)
        cost = self.cost(training) if self.accelerator.is_main_process else {}
        examples, seconds = training.examples - self.startup_examples, self.train_seconds - self.startup_seconds
        if not examples:
            examples, seconds = training.examples, self.train_seconds
        return {
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "total_seconds": self.seconds,
            "train_seconds": self.train_seconds,
            "startup_seconds": self.startup_seconds,
            "compile_seconds": self.compile_seconds,
            "evaluate_seconds": self.evaluate_seconds,
            **training_speed(training, examples, seconds, cost.get("train_flops_per_example")),
            "inference_examples_per_second": self.evaluated_examples / max(self.evaluate_seconds, 1e-9),
            **cost,
            **of_all_processes(used, whole=not self.earlier_seconds),
        }

    def cost(self, training: Training) -> dict[str, Any]:
        """What the trained model takes: measured once per task, model and recipe; of other seeds operations only."""
        run, known = self.run, self.session.costs
        key = (*run.pair, run.recipe)
        if key in known:
            return {name: known[key][name] for name in COUNTED}
        split = HOLDOUT if self.session.spec.selection == HOLDOUT else run.own_splits[0]
        features = self.session.features(training.architecture, run.task, split, training=False)
        known[key] = measured(training, features, self.seconds)
        return known[key]

    def note(self, text: str) -> None:
        """A line of the run's log."""
        self.log.append(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")

    @property
    def seconds(self) -> float:
        """The time that the run took so far, in this process and in those whose work it goes on with."""
        return self.earlier_seconds + time.perf_counter() - self.started

    # Stopping and going on

    def pause(self, training: Training) -> None:
        """Save the state where it is time to, and end here where that is asked for.

        Raises:
            TakenOver, KeyboardInterrupt, Terminated: see `__call__`.
        """
        if self.workplace is None:
            return
        due, signal = self.workplace.asked()
        if (due or signal) and (problem := self.workplace.save(self.state_dict(training))):
            self.note(problem)
            self.display.message(problem)
        if signal:
            self.display.message(f"{self.run.task.name} · {self.run.model.name} stops at step {training.step}")
            raise stop(signal)

    def state_dict(self, training: Training) -> dict[str, Any]:
        """All that is needed to go on from here, in plain data, tensors and arrays; all processes call it together."""
        return {
            **{name: getattr(self, name) for name in PLAIN_STATE},
            "fingerprint": self.run.fingerprint,
            "seconds": self.seconds,
            "best": self.best.state_dict(),
            "training": training.state_dict(),
        }

    def go_on(self, training: Training, workplace: Workplace) -> None:
        """Take over the state that was saved, if there is one.

        Raises:
            HarnessError: it is of another model than this.
        """
        state, problem = workplace.load(self.run.fingerprint)
        if state is not None and self.needs_best_weights and state["best"]["weights"] is None:
            state, problem = None, "the best model was not wanted before, but is now: the run starts from the beginning"
        if problem is not None:
            self.note(problem)
            self.display.message(problem)
        if state is not None:
            try:
                training.load_state_dict(state["training"])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                workplace.discard()
                raise HarnessError(
                    f"{workplace.state}: does not fit the model of this version of the program or its libraries: "
                    "removed; the same command starts the run anew"
                ) from error
            self.best = Best.of_state(state["best"])
            self.earlier_seconds = state["seconds"]
            for name in PLAIN_STATE:
                setattr(self, name, state[name])
            self.note(f"goes on from step {training.step}")
            self.display.message(f"{self.run.task.name} · {self.run.model.name} goes on from step {training.step}")
        limit = workplace.limit()
        if limit is not None and limit < training.plan.micro_batch_tokens:
            training.set_micro_batch_tokens(limit)


def _scored_by_label(task: Task) -> bool:
    return task.problem.several and not task.open_answers


def start_from(module: torch.nn.Module, weights: Mapping[str, Tensor], same_labels: bool) -> None:
    """Intermediate training: take over the parent's weights, but not the head of other labels."""
    own = module.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape and (same_labels or not name.startswith(HEADS))
    }
    module.load_state_dict(fitting, strict=False)
