"""What finished runs answer later, by their kept models: test predictions, and diagnostics whose data is new."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from accelerate.utils import broadcast_object_list

from harness.runner.answers import predict_tests
from harness.runner.companions import end_alone, lost_connection
from harness.runner.diagnosed import answer_diagnostics
from harness.runner.diagnostics import base_of
from harness.runner.execute import reason
from harness.runner.keeping import load_model
from harness.runner.plan import Run, test_fingerprint
from harness.runner.prepare import prepare
from harness.runner.recording import write_tests
from harness.runner.resources import Context
from harness.runner.status import has_tests, record_of
from harness.training.device import deterministic_algorithms
from harness.training.loop import RunState
from harness.training.threads import own_threads


def predict_tests_of(context: Context, run: Run) -> bool:
    """Predict the test splits of a finished run with its kept model, unless another command does.

    Returns:
        False where that failed.
    """
    own = test_fingerprint(run, context.resources)
    return _answer(
        context, run, own, lambda: has_tests(context, run), lambda: _predict_tests_of(context, run), "test predictions"
    )


def answer_diagnostics_of(context: Context, run: Run) -> bool:
    """Let the kept model of a run's base answer what is new, unless another command does.

    Returns:
        False where that failed.
    """

    def answer() -> None:
        if base := base_of(context, run):
            names = ", ".join(task.name for task, _ in run.diagnostics if task not in dict(base.diagnostics))
            context.display.message(f"{names}: answered by the kept model of {_name(run)}")
            answer_diagnostics(context, run, base)

    def is_done() -> bool:
        record = record_of(context, run)
        return record is not None and record.finished

    return _answer(context, run, run.fingerprint, is_done, answer, "answers to the new diagnostics")


def _name(run: Run) -> str:
    return f"{run.task.name} with {run.model.name}, seed {run.seed}"


def _answer(
    context: Context, run: Run, fingerprint: str, is_done: Callable[[], bool], attempt: Callable[[], None], what: str
) -> bool:
    """Attempt it with a lease, in all processes together; False where it failed."""
    lease = None
    if context.main and not is_done():
        lease = context.leases.take(context.store.checkpoint_directory(fingerprint))
    [is_ours] = broadcast_object_list([lease is not None])
    if not is_ours:
        return True
    with lease or contextlib.nullcontext():
        try:
            attempt()
        except Exception as error:
            if context.accelerator.num_processes > 1:
                if lost_connection(error):
                    raise
                end_alone(context.accelerator.process_index, reason(error))
            context.display.message(f"{run.task.name} with {run.model.name}: no {what}: {reason(error)}")
            return False
    return True


@own_threads()
def _predict_tests_of(context: Context, run: Run) -> None:
    state, record = RunState(), record_of(context, run)
    if record is not None and record.threshold is not None:
        state.best.threshold = record.threshold
    with deterministic_algorithms(run.recipe.deterministic):
        training = prepare(context, run, initial=None)
        training.load_weights(load_model(context, run))
        context.display.message(f"predicting the test data of {_name(run)}")
        tests = predict_tests(context, run, training, state)
    context.accelerator.free_memory()
    if context.main:
        write_tests(context, run, tests)
    context.accelerator.wait_for_everyone()
