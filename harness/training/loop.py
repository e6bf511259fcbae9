"""The training loop, on one screen: `train`. What it is made of stands below it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from torch import Tensor

from harness.config.schema import Recipe
from harness.io import number
from harness.task.metrics import score_key, task_score
from harness.task.task import Task
from harness.training.batching import TrainingPlan
from harness.training.device import compile_seconds, synchronize
from harness.training.evaluation import Evaluation, Split, evaluate, tuned_threshold
from harness.training.update import OutOfMemory, Training

T = TypeVar("T")

LOG_EVERY = 20
"""Updates between two readings of the loss (each makes the device wait)."""


def train(
    training: Training, state: RunState, selection: Sequence[Split], tuning: Split | None, keep_best: bool
) -> Iterator[dict[str, Any] | None]:
    """Train to the last step: updates, evaluations, the best checkpoint, early stopping.

    The model is evaluated before the first update, which chooses nothing, and then at `evaluation_steps`. With
    ``patience``, training ends after so many evaluations without a better score, but not before ``min_steps``.

    Args:
        training: the model, its optimizer and its data; possibly in the middle of a training.
        state: what the run did before; is kept up to date.
        selection: the splits to evaluate on; the score on the first one chooses the best checkpoint.
        tuning: the split on which the threshold of multi-label predictions is tuned; None: it is fixed.
        keep_best: whether ``state.best`` holds the weights, too.

    Yields:
        At each point where the run may be saved and stopped: the row that was added to ``state.history``, or None.
    """
    recipe = training.recipe
    if state.evaluated < 0:
        yield evaluate_checkpoint(training, state, selection, tuning, keep_best)
    for target in evaluation_steps(recipe, training.plan, training.steps):
        impatient = recipe.patience is not None and state.waited >= recipe.patience
        if impatient and training.step >= (recipe.min_steps or 0):
            state.note(f"stopped early: no better score in {state.waited} evaluations")
            break
        if target <= state.evaluated:
            continue  # the run was resumed from a later step
        seconds, examples = state.train_seconds, training.examples
        while training.step < target:
            with update_time(training, state):
                within_memory(training, state, training.update)
                logged = training.step % LOG_EVERY == 0 or training.step == target
                loss = training.mean_loss() if logged else 0.0
            if logged:
                state.examples_per_second = (training.examples - examples) / (state.train_seconds - seconds)
                yield add_row(training, state, loss=loss, learning_rate=training.learning_rate)
            elif training.accelerator.num_processes == 1:  # several processes have to wait for one another to stop
                yield None
        yield evaluate_checkpoint(training, state, selection, tuning, keep_best)


@dataclass
class Best:
    """The best evaluation so far."""

    step: int = -1
    selection_score: float = math.nan
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    """By split."""
    threshold: float = 0.5
    weights: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain data, tensors and arrays."""
        evaluations = {split: evaluation.state_dict() for split, evaluation in self.evaluations.items()}
        return {**vars(self), "evaluations": evaluations}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Best:
        """What `state_dict` gave."""
        evaluations = {split: Evaluation.of_state(e) for split, e in state["evaluations"].items()}
        return cls(**{**state, "selection_score": number(state["selection_score"]), "evaluations": evaluations})


@dataclass
class RunState:
    """What a run did so far; with the state of its `Training`, all that is needed to resume it.

    Times are in seconds, and add up over the processes that worked on the run one after another.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    evaluated: int = -1
    """The step of the last evaluation."""
    threshold: float = 0.5
    """By which the last evaluation predicted labels."""
    waited: int = 0
    """Evaluations without a better score."""
    earlier_seconds: float = 0.0
    """What the run took before it was resumed here."""
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    startup_seconds: float = 0.0
    """The part of ``train_seconds`` in the first update of each process, and in updates that compiled something."""
    startup_examples: int = 0
    compile_seconds: float = 0.0

    # Of this process only
    started: float = field(default_factory=time.perf_counter, init=False)
    cold: bool = field(default=True, init=False)
    """Whether the first update is still to come."""
    examples_per_second: float = field(default=0.0, init=False)
    """Of the updates since the last evaluation."""

    @property
    def evaluations(self) -> int:
        """How many evaluations chose the best checkpoint: all but that before the first update."""
        return sum("scores" in row and row["step"] > 0 for row in self.history)

    @property
    def seconds(self) -> float:
        """What the run took so far."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def note(self, text: str) -> None:
        """Add a line to the run's log."""
        self.log.append(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")

    def state_dict(self) -> dict[str, Any]:
        """Plain data, tensors and arrays."""
        saved = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        return {**saved, "best": self.best.state_dict(), "earlier_seconds": self.seconds}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> RunState:
        """What `state_dict` gave."""
        return cls(**{**state, "best": Best.of_state(state["best"])})


def evaluation_steps(recipe: Recipe, plan: TrainingPlan, steps: int) -> Iterator[int]:
    """The steps after which the model is evaluated, in order: as the recipe says, and after the last step."""
    if recipe.eval_every is None:
        yield from sorted({-(-steps * i // recipe.evaluations) for i in range(1, recipe.evaluations + 1)})
    else:
        every = plan.updates_per_epoch if recipe.eval_every == "epoch" else recipe.eval_every
        yield from range(every, steps, every)
        yield steps


def evaluate_checkpoint(
    training: Training, state: RunState, selection: Sequence[Split], tuning: Split | None, keep_best: bool
) -> dict[str, Any]:
    """Evaluate the model as it is now, and keep the evaluation if it is the best so far; arguments as in `train`.

    What was not trained is not chosen. An undefined score is worse than every number; of undefined ones the last is
    kept.

    Returns:
        The new row of the history.
    """
    threshold = tune_threshold(training, state, tuning)
    evaluations = {split.name: measure(training, state, split, threshold) for split in selection}
    first = evaluations[selection[0].name]
    score = selection_score(first.scores, training.architecture.task)
    scores = {split: evaluation.scores for split, evaluation in evaluations.items()}
    state.evaluated, state.threshold = training.step, threshold
    if training.step > 0:
        best = state.best.selection_score
        sign = -1 if training.architecture.task.lower_is_better else 1
        better = not (math.isnan(score) or sign * score <= sign * best)
        state.waited = 0 if better else state.waited + 1
        if better or math.isnan(best):
            weights = training.weights() if keep_best else None
            state.best = Best(training.step, score, evaluations, threshold, weights)
    return add_row(training, state, scores=scores, selection_score=score)


def selection_score(scores: Mapping[str, float], task: Task) -> float:
    """What chooses a checkpoint: the mean of the task's selection metrics; NaN where one of them is undefined."""
    undefined = any(math.isnan(scores[score_key(name)]) for name in task.selection_metrics)
    return math.nan if undefined else task_score(scores, task.selection_metrics)


def tune_threshold(training: Training, state: RunState, tuning: Split | None) -> float:
    """The probability from which on the model as it is now predicts a label (multi-label)."""
    if tuning is None:
        fixed = training.architecture.model.label_threshold
        return 0.5 if fixed == "tuned" else fixed
    labels = [example[tuning.task.label_field] for example in tuning.examples]
    return tuned_threshold(measure(training, state, tuning, 0.5).outputs, labels)


def measure(training: Training, state: RunState, split: Split, threshold: float) -> Evaluation:
    """Predict and score one split; takes the time."""
    started = time.perf_counter()
    evaluation = within_memory(
        training, state, lambda: evaluate(training, split.task, split.examples, split.features, threshold)
    )
    state.evaluate_seconds += time.perf_counter() - started
    return evaluation


def within_memory(training: Training, state: RunState, attempt: Callable[[], T]) -> T:
    """The result of ``attempt``; where memory runs out, it is repeated with half the tokens in a micro-batch.

    Raises:
        OutOfMemory: a single example does not fit; or this is one of several processes, for which the others wait.
    """
    while True:
        try:
            return attempt()
        except OutOfMemory as error:
            half = smaller_micro_batch(training, error)
            if not half or training.accelerator.num_processes > 1:
                raise
            state.note(f"{error}; micro-batches of {half} tokens from here")
        # Outside of the except block, what the traceback held is free.
        training.set_micro_batch_tokens(half)


def smaller_micro_batch(training: Training, error: OutOfMemory) -> int:
    """The micro-batch size to try after a lack of memory, in tokens; 0 where there is no smaller one."""
    return min(training.plan.micro_batch_tokens, error.tokens) // 2


@contextlib.contextmanager
def update_time(training: Training, state: RunState) -> Iterator[None]:
    """Take the time of an update; the first one of a process and those that compile something also count as startup."""
    started, examples, compiled = time.perf_counter(), training.examples, compile_seconds()
    yield
    compiling = compile_seconds() - compiled
    if state.cold or compiling:
        synchronize(training.accelerator.device)
        state.startup_seconds += time.perf_counter() - started
        state.startup_examples += training.examples - examples
        state.compile_seconds += compiling
        state.cold = False
    state.train_seconds += time.perf_counter() - started


def add_row(training: Training, state: RunState, **values: Any) -> dict[str, Any]:
    """Add a row to the history: ``values`` at the present step."""
    row = {"step": training.step, "epoch": round(training.epoch, 6), **values}
    state.history.append(row)
    return row
