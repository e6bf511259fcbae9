"""One run, from start to record: `do_run`."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from accelerate.utils import broadcast_object_list, set_seed
from torch import Tensor

from harness.errors import HarnessError
from harness.results.choices import in_words
from harness.results.leases import Lease
from harness.results.record import RECORD
from harness.results.tensors import save_tensors
from harness.runner.outcome import Evaluated, Result, keeps_model, reason, result_of, write_result, write_tests
from harness.runner.plan import Run, test_fingerprint
from harness.runner.progress import score_text
from harness.runner.queue import has_tests, load_model, model_file, record_of
from harness.runner.resources import HOLDOUT, Context
from harness.runner.resume import CheckpointDirectory, TakenOver, stop
from harness.training.efficiency import Usage
from harness.training.evaluation import has_threshold, prediction_rows
from harness.training.loop import RunState, measure, smaller_micro_batch, train
from harness.training.trainer import NotFinite, OutOfMemory, Training, start_from


def do_run(context: Context, run: Run, lease: Lease | None = None) -> bool | None:
    """One run, from start to record; a failure is recorded, and does not stop others.

    Args:
        context: all that it needs besides.
        run: what to do.
        lease: this command's lease on the run's checkpoint directory, where it has one.

    Returns:
        Whether it finished; None when another command took it over.
    """
    alone, before = context.accelerator.num_processes == 1, _record_stamp(context, run)
    try:
        result = execute(context, run, lease)
    except TakenOver as error:
        context.display.message(str(error))
        return None
    except Exception as error:
        result = Result({"error": {"reason": reason(error), "traceback": traceback.format_exc()}})
        if not alone and not isinstance(error, NotFinite):
            if _record_stamp(context, run) == before:  # else the process that failed first has recorded why
                with contextlib.suppress(HarnessError):
                    write_result(context, run, result)
            end_alone(context, error)
        if isinstance(error, NotFinite) and lease is not None:
            lease.empty()  # a resumed training would end the same
    context.accelerator.free_memory()
    if context.main:
        try:
            record = write_result(context, run, result)
        except HarnessError as error:  # the disk
            if not alone:
                end_alone(context, error)
            raise
        if result.finished and lease is not None:
            lease.empty()
        (context.display.run_finished if result.finished else context.display.run_failed)(record)
    context.accelerator.wait_for_everyone()
    return result.finished


def _record_stamp(context: Context, run: Run) -> tuple[int, int] | None:
    """What changes when the run's record is written."""
    try:
        stat = (context.store.run_folder(run.fingerprint, *run.label) / RECORD).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def end_alone(context: Context, error: Exception) -> NoReturn:
    """End this process at once after a failure that the others of its launch do not know of.

    They wait for it, and no message can reach them; their launcher ends them when one of its processes is gone.
    """
    index = context.accelerator.process_index
    print(f"process {index} ends: {reason(error)}; the same command resumes", file=sys.stderr, flush=True)
    os._exit(1)


def execute(context: Context, run: Run, lease: Lease | None = None) -> Result:
    """Train and evaluate a run, or do what is left of it.

    Raises:
        TakenOver: another process does the run now.
        KeyboardInterrupt, Terminated: it was stopped; its state is saved.
    """
    state, spec = RunState(), context.spec
    folder = context.store.scratch(run.fingerprint)
    directory = CheckpointDirectory(folder, spec.checkpoint_every, context.interrupts, context.accelerator, lease)
    with Usage(context.accelerator.device) as usage:
        training = prepare(context, run, load_model(context, run.parent) if run.parent else None)
        context.display.run_started(*run.label, training.steps, in_words(run.trial))
        state = resume(context, run, training, state, directory)
        try:
            with context.interrupts.deferred():
                train_run(context, run, training, state, directory)
            if state.best.weights is not None:
                training.load_weights(state.best.weights)
            evaluated = final_evaluations(context, run, training, state)
            tests = predict_tests(context, run, training, state) if spec.predict else []
        except OutOfMemory as error:
            # The processes that wait for this one end with it: the next launch has smaller micro-batches.
            if context.accelerator.num_processes > 1 and (tokens := smaller_micro_batch(training, error)):
                directory.set_limit(tokens)
            raise
        return result_of(context, run, training, state, evaluated, tests, usage)


def prepare(context: Context, run: Run, initial: Mapping[str, Tensor] | None) -> Training:
    """The model at step 0, with its data; it starts from the ``initial`` weights of the parent's model, if given."""
    set_seed(run.seed)
    architecture = context.resources.architecture(run.model, run.task, run.recipe)
    module = architecture.build()
    if initial is not None:
        assert run.parent is not None
        start_from(module, initial, same_labels=run.parent.task.labels == run.task.labels)
    features = context.resources.features(architecture, run.task, str(run.task.train_split), training=True)
    training = Training(architecture, module, features, run.recipe, run.seed, context.accelerator)
    set_seed(run.seed, device_specific=True)  # dropout differs between processes
    return training


def train_run(context: Context, run: Run, training: Training, state: RunState, directory: CheckpointDirectory) -> None:
    """Train to the end; show, keep and save what is asked for on the way."""
    resources, spec = context.resources, context.spec
    if state.evaluated < 0:
        state.note(f"{run.task.name} · {run.model.name} · seed {run.seed} · {run.fingerprint[:12]}")
        state.note(f"{len(training.features)} training examples, {training.steps} steps, recipe {run.recipe}")
    names = (HOLDOUT,) if spec.selection == HOLDOUT else run.own_splits
    selection = [resources.evaluated(training.architecture, run.task, name) for name in names]
    tuned = run.model.threshold == "tuned" and has_threshold(run.task)
    tuning = resources.evaluated(training.architecture, run.task, HOLDOUT) if tuned else None
    for row in train(training, state, selection, tuning, needs_best_weights(context, run)):
        if row is not None:
            show(context, state, row)
            if spec.keep == "all" and "scores" in row and context.main:
                file = model_file(context, run)
                save_tensors(file.with_stem(f"{file.stem}-step{training.step}"), training.weights())
        pause(context, run, training, state, directory)
    if not state.best.evaluations:
        raise HarnessError(f"the score on {run.task.name} is undefined after every evaluation: no checkpoint is best")


def final_evaluations(context: Context, run: Run, training: Training, state: RunState) -> Evaluated:
    """All that the record holds predictions of, from the best checkpoint, which is what the model is now."""
    evaluated: Evaluated = []
    for task, name in run.evaluated:
        split = context.resources.evaluated(training.architecture, task, name)
        made = state.best.evaluations.get(name) if task is run.task else None
        evaluated.append((split, made or measure(training, state, split, state.best.threshold)))
    return evaluated


def predict_tests(context: Context, run: Run, training: Training, state: RunState) -> list[dict[str, Any]]:
    """Rows for the test splits that exist: the task's own and its diagnostics'."""
    splits = (context.resources.evaluated(training.architecture, task, name) for task, name in run.tests)
    evaluated = [(split, measure(training, state, split, state.best.threshold)) for split in splits]
    return [row for split, evaluation in evaluated for row in prediction_rows(split, evaluation)]


def needs_best_weights(context: Context, run: Run) -> bool:
    """Whether something after the last step needs them: the predictions of the run's own splits are kept."""
    spec = context.spec
    return bool(run.diagnostics) or spec.selection == HOLDOUT or bool(spec.predict) or keeps_model(context, run)


def show(context: Context, state: RunState, row: Mapping[str, Any]) -> None:
    """Show and log a row of the history."""
    step = row["step"]
    if "loss" in row:
        context.display.progress(step, row["loss"], state.examples_per_second)
        state.note(f"step {step}: loss {row['loss']:.4f}, {state.examples_per_second:.1f} examples/s")
    else:
        scores = next(iter(row["scores"].values()))
        context.display.evaluated(step, scores, row["selection_score"])
        state.note(f"step {step}: {score_text(scores)}")


def announce(context: Context, state: RunState, text: str) -> None:
    """Show and log a message."""
    state.note(text)
    context.display.message(text)


# Stopping and resuming -------------------------------------------------------------------------------------------


def pause(context: Context, run: Run, training: Training, state: RunState, directory: CheckpointDirectory) -> None:
    """Save the state when it is time to; stop after a signal.

    Raises:
        TakenOver, KeyboardInterrupt, Terminated: see `execute`.
    """
    due, signal = directory.requests()
    if due or signal:
        saved = {"fingerprint": run.fingerprint, "run": state.state_dict(), "training": training.state_dict()}
        if problem := directory.save(saved):
            announce(context, state, problem)
    if signal:
        context.display.message(f"{run.task.name} · {run.model.name} stops at step {training.step}")
        raise stop(signal)


def resume(context: Context, run: Run, training: Training, state: RunState, directory: CheckpointDirectory) -> RunState:
    """Take over the state that was saved; without any, ``state`` as it is.

    Raises:
        HarnessError: it is of another model than this.
    """
    saved, problem = directory.load(run.fingerprint)
    if saved is not None and needs_best_weights(context, run) and saved["run"]["best"]["weights"] is None:
        saved, problem = None, "the best model was not wanted before, but is now: the run starts from the beginning"
    if problem is not None:
        announce(context, state, problem)
    if saved is not None:
        started = state.started
        try:
            training.load_state_dict(saved["training"])
            state = RunState.of_state(saved["run"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            directory.discard()
            raise HarnessError(
                f"{directory.state}: does not fit the model of this version of the program or its libraries: "
                "removed; the same command starts the run anew"
            ) from error
        state.started = started
        state.note(f"resumes from step {training.step}")
        context.display.message(f"{run.task.name} · {run.model.name} resumes from step {training.step}")
    limit = directory.limit()
    if limit is not None and limit < training.plan.micro_batch_tokens:
        training.set_micro_batch_tokens(limit)
    return state


# Test predictions of a run that is finished ----------------------------------------------------------------------


def predict_tests_of(context: Context, run: Run) -> bool:
    """Predict the test splits of a finished run with its kept model, unless another command does.

    Returns:
        False where that failed.
    """
    lease = None
    if context.main and not has_tests(context, run):
        lease = context.leases.take(context.store.scratch(test_fingerprint(run, context.resources)))
    [is_ours] = broadcast_object_list([lease is not None])
    if not is_ours:
        return True
    with lease or contextlib.nullcontext():
        try:
            _predict_tests_of(context, run)
        except Exception as error:
            if context.accelerator.num_processes > 1:
                end_alone(context, error)
            context.display.message(f"{run.task.name} with {run.model.name}: no test predictions: {reason(error)}")
            return False
    return True


def _predict_tests_of(context: Context, run: Run) -> None:
    state, record = RunState(), record_of(context, run)
    if record is not None and record.data.get("threshold") is not None:
        state.best.threshold = record.data["threshold"]
    training = prepare(context, run, initial=None)
    training.load_weights(load_model(context, run))
    name = f"{run.task.name} with {run.model.name}, seed {run.seed}"
    context.display.message(f"predicting the test data of {name}")
    rows = predict_tests(context, run, training, state)
    context.accelerator.free_memory()
    if context.main:
        write_tests(context, run, rows)
    context.accelerator.wait_for_everyone()
