"""Functions of plugins, guarded: what they raise, or give back wrongly, is told with the task and the line."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, in_one_line, printable, shortened

if TYPE_CHECKING:
    from harness.task.task import Task


def guarded(task: Task, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a task that raises nothing but `HarnessError`, and gives what this ``hook`` must.

    The function itself is its attribute ``guarded``.
    """
    right, expected = _RESULTS[hook]

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            found = function(*arguments)
        except HarnessError:
            raise
        except Exception as error:
            raise _failure(task, hook, f"fails: {type(error).__name__}: {in_one_line(error)}", error) from error
        if not right(task, found):
            wrong = f"gives {shortened(repr(found))}; expected {expected.format(labels=len(task.labels))}"
            raise _failure(task, hook, wrong, None)
        return found

    call.guarded = function  # type: ignore[attr-defined]
    return call


def _failure(task: Task, hook: str, problem: str, error: Exception | None) -> HarnessError:
    frames = traceback.extract_tb(error.__traceback__)[1:] if error else []
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return HarnessError(printable(f"task '{task.name}': {hook} {problem}{place}"))


def _is_prediction(task: Task, found: Any) -> bool:
    if task.open_answers or found == task.invalid_prediction:
        return True
    if task.problem_type == "regression":
        return isinstance(found, Real)
    if task.problem_type in ("multi_label_classification", "token_classification"):
        return _is_list(found) and all(_is_class(task, label) for label in found)
    return _is_class(task, found)


def _is_class(task: Task, found: Any) -> bool:
    several = task.problem_type == "multiple_choice"  # as many as an example has
    return isinstance(found, Integral) and int(found) >= 0 and (several or int(found) < len(task.labels))


def _is_list(found: Any) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str | bytes)


def _is_pair(found: Any) -> bool:
    return _is_list(found) and len(found) == 2 and all(isinstance(text, str) for text in found)


def _are_instances(task: Task, found: Any) -> bool:
    from harness.task.task import Instance  # which reads this module

    return _is_list(found) and all(isinstance(item, Instance) for item in found)


_PREDICTION = "a class index below {labels} (regression: a number; several labels: a list of indices)"
_RESULTS: dict[str, tuple[Callable[[Task, Any], bool], str]] = {
    "instances": (_are_instances, "a list of Instances"),
    "text_to_text": (lambda task, found: _is_pair(found), "two texts: (input, target)"),
    "training_texts": (
        lambda task, found: _is_list(found) and all(map(_is_pair, found)),
        "a list of (input, target) texts",
    ),
    "parse": (lambda task, found: found is None or _is_prediction(task, found), f"None or {_PREDICTION}"),
    "decide": (_is_prediction, _PREDICTION),
    "metric_inputs": (lambda task, found: _is_list(found) and len(found) == 2, "(prediction, reference)"),
    "repairs": (lambda task, found: _is_list(found), "a list of texts"),
}
