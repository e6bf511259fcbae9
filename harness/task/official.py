"""The metrics of a task that is known by its name, as a function and as an ``evaluate.Metric``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.task.metrics import OF_WORDS, compute_metrics
from harness.task.plugins import load_tasks
from harness.task.task import Task

MNLI_CELLS = {"mnli_matched": "mnli", "mnli_mismatched": "mnli"}


def compute(task_name: str, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """The official metrics of a built-in task, with the keys of the GLUE and SuperGLUE metrics of ``evaluate``.

    Args:
        task_name: a built-in task, or one of MNLI's two scores, ``mnli_matched`` and ``mnli_mismatched``.
        predictions, references: see `compute_metrics`.

    Raises:
        HarnessError: an unknown task, or what `compute_metrics` refuses.

    >>> compute("mrpc", predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
    {'f1': 0.8, 'accuracy': 0.75}
    """
    return compute_metrics(_task(task_name).metrics, predictions, references)


def as_evaluate_metric(task_name: str, cache_dir: str | Path) -> Any:
    """A task's metrics as an ``evaluate.Metric``, for code that wants one; its files stay under ``cache_dir``.

    Its ``compute(predictions=..., references=...)`` gives what `compute` gives, and so do ``add`` and ``add_batch``.

    Raises:
        HarnessError: an unknown task.
    """
    task = _task(task_name)
    import evaluate

    class HarnessMetric(evaluate.Metric):
        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=f"The official metrics of {task.title}: {', '.join(task.metrics)}.",
                citation="",
                inputs_description="Args: predictions and references, one row per example.",
                features=_evaluate_features(task),
            )

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return compute_metrics(task.metrics, predictions, references)

    # Without cache_dir the class makes folders in the user's own cache as soon as it is constructed.
    return HarnessMetric(config_name=task_name, cache_dir=str(cache_dir))


def _task(name: str) -> Task:
    tasks = load_tasks()
    task = tasks.get(MNLI_CELLS.get(name, name))
    if task is None:
        raise HarnessError(f"unknown task '{name}'.{did_you_mean(name, [*tasks, *MNLI_CELLS])}")
    return task


def _evaluate_features(task: Task) -> Any:
    """The types of a task's rows, as ``evaluate`` wants them declared."""
    from datasets import Features, Sequence, Value

    number, text = Value("int64"), Value("string")
    rows: tuple[Any, Any] = (number, number)
    if "f1_a" in task.metrics:
        idx = {"paragraph": number, "question": number, "answer": number}
        rows = ({"idx": idx, "prediction": number}, number)
    elif "exact_match" in task.metrics:
        idx = {"passage": number, "query": number}
        rows = ({"idx": idx, "prediction_text": text}, {"idx": idx, "answers": Sequence(text)})
    elif not task.problem.has_labels:
        rows = (Value("float64"), Value("float64"))
    elif task.problem.independent_labels:
        rows = (Sequence(number), Sequence(number))
    elif task.problem.of_words:
        tags = Sequence(text)
        rows = (tags, {"words": tags, "tags": tags} if set(OF_WORDS) & set(task.metrics) else tags)
    return Features({"predictions": rows[0], "references": rows[1]})
