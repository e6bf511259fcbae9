"""One run, from start to record: `do_run`."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.errors import HarnessError
from harness.results.folder import RECORD
from harness.results.leases import Lease, TakenOver
from harness.results.live import About, LiveFiles, live_log
from harness.results.manifest import in_words
from harness.results.record import Record
from harness.runner.alone import cost_of, leave_weights, shared_efficiency
from harness.runner.answers import Evaluated, Scores, final_evaluations, last_scores, predict_tests
from harness.runner.companions import end_alone, lost_connection
from harness.runner.keeping import Trained, keep_model, keeps_model, load_model
from harness.runner.plan import Run
from harness.runner.prepare import prepare
from harness.runner.progress import score_text
from harness.runner.recording import record_of_run, split_results, write_tests
from harness.runner.resources import HOLDOUT, Context
from harness.runner.resume import CheckpointDirectory, UnfitState
from harness.runner.search import should_end
from harness.runner.signals import stop
from harness.runner.tracking import tracking
from harness.training.device import deterministic_algorithms
from harness.training.efficiency import efficiency_of
from harness.training.evaluation import prediction_rows
from harness.training.loop import RunState, smaller_micro_batch, train
from harness.training.threads import own_threads
from harness.training.update import NotFinite, OutOfMemory, Training
from harness.training.usage import Usage


@own_threads()
def do_run(context: Context, run: Run, lease: Lease | None = None) -> bool | None:
    """One run, from start to record; a failure is recorded, and does not stop others.

    Args:
        context: all that it needs besides.
        run: what to do.
        lease: this command's lease on the run's checkpoint directory, where it has one.

    Returns:
        Whether it did not fail; None when another command took it over.
    """
    alone, before = context.accelerator.num_processes == 1, record_stamp(context, run)
    try:
        result = execute(context, run, lease)
    except TakenOver as error:
        context.display.message(str(error))
        return None
    except Exception as error:
        if lost_connection(error):
            raise
        failed = record_of_run(context, run, error=reason(error), traceback=traceback.format_exc())
        result = Result(failed, log=live_log(context.store.checkpoint_directory(run.fingerprint)))
        if not alone and not isinstance(error, NotFinite):
            if record_stamp(context, run) == before:  # else the process that failed first has recorded why
                with contextlib.suppress(HarnessError):
                    write_result(context, run, result)
            end_alone(context.accelerator.process_index, reason(error))
        if isinstance(error, NotFinite) and lease is not None:
            lease.empty()  # a resumed training would end the same
    context.accelerator.free_memory()
    if context.main:
        try:
            record = write_result(context, run, result, lease)
        except HarnessError as error:  # the disk
            if not alone:
                end_alone(context.accelerator.process_index, reason(error))
            if isinstance(error, TakenOver):
                context.display.message(str(error))
                return None
            raise
        if not result.record.failed and lease is not None:
            lease.empty()
        (context.display.run_failed if result.record.failed else context.display.run_finished)(record)
    context.accelerator.wait_for_everyone()
    return not result.record.failed


def record_stamp(context: Context, run: Run) -> tuple[int, int] | None:
    """What changes when the run's record is written."""
    try:
        stat = (context.store.run_folder(run.fingerprint, *run.label) / RECORD).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def execute(context: Context, run: Run, lease: Lease | None = None) -> Result:
    """Train and evaluate a run, or do what is left of it.

    Raises:
        TakenOver: another process does the run now.
        KeyboardInterrupt, Terminated: it was stopped; its state is saved.
    """
    state, spec = RunState(), context.spec
    folder = context.store.checkpoint_directory(run.fingerprint)
    directory = CheckpointDirectory(folder, spec.checkpoint_every, context.interrupts, context.accelerator, lease)
    with deterministic_algorithms(run.recipe.deterministic), Usage(context.accelerator.device) as usage:
        initial = load_model(context, run.parent) if run.parent else None
        training = prepare(context, run, initial)
        context.display.run_started(*run.label, training.steps, in_words(run.trial))
        try:
            state = resume(context, run, training, state, directory)
        except UnfitState as unfit:
            announce(context, state, str(unfit))
            training = prepare(context, run, initial)
            state = resume(context, run, training, state, directory)
        if context.main:
            directory.live = live_files(context, run, training, folder)
        try:
            with context.interrupts.deferred():
                if not train_run(context, run, training, state, directory):
                    return pruned_result(context, run, training, state, usage)
            last = last_scores(context, run, training, state)
            if state.best.weights is not None:
                training.load_weights(state.best.weights)
            evaluated = final_evaluations(context, run, training, state)
            tests = predict_tests(context, run, training, state) if spec.predict else []
        except OutOfMemory as error:
            # The processes that wait for this one end with it: the next launch has smaller micro-batches.
            if context.accelerator.num_processes > 1 and (tokens := smaller_micro_batch(training, error)):
                directory.set_limit(tokens)
            raise
        return result_of(context, run, training, state, evaluated, last, tests, usage)


def train_run(context: Context, run: Run, training: Training, state: RunState, directory: CheckpointDirectory) -> bool:
    """Train to the end; show, keep and save what is asked for on the way. False: the run was pruned before."""
    resources, spec = context.resources, context.spec
    if state.evaluated < 0:
        state.note(f"{run.task.name} · {run.model.name} · seed {run.seed} · {run.fingerprint[:12]}")
        state.note(f"{len(training.features)} training examples, {training.plan.batch_size} in an update")
        state.note(f"{training.steps} steps, recipe {run.recipe}")
    names = (HOLDOUT,) if spec.selection == HOLDOUT else run.own_splits
    selection = [resources.evaluated(training.architecture, run.task, name) for name in names]
    tuned = run.model.label_threshold == "tuned" and run.task.has_threshold
    tuning = resources.evaluated(training.architecture, run.task, HOLDOUT) if tuned else None
    with tracking(context, run) as tracked:
        for row in train(training, state, selection, tuning, needs_best_weights(context, run)):
            if row is not None:
                show(context, state, row)
                tracked.log(row)
                if directory.live is not None:
                    directory.live.update(state.history, state.log)
                if spec.keep == "all" and "scores" in row and context.main:
                    score = row["selection_score"]
                    made = trained_model(run, training, training.weights(), score, state)
                    keep_model(context, run, made, best=False)
                if "scores" in row and training.step < training.steps and should_end(context, run, state.history):
                    return False
            pause(context, run, training, state, directory)
    return True


def live_files(context: Context, run: Run, training: Training, folder: Path) -> LiveFiles:
    """What others see of the run while it is under way."""
    task, model, seed = run.label
    benchmark = context.spec.name
    about = About(
        benchmark=benchmark,
        task=task,
        model=model,
        seed=seed,
        steps=training.steps,
        first_step=training.step,
        settings=run.settings,
    )
    return LiveFiles(folder, about)


def trained_model(
    run: Run, training: Training, weights: dict[str, Tensor], score: float, state: RunState, best: bool = False
) -> Trained:
    """What is kept of a model: the best one, or what it is now."""
    step, threshold = (state.best.step, state.best.threshold) if best else (training.step, state.threshold)
    thresholds = run.task.has_threshold and not training.architecture.generates
    module = training.accelerator.unwrap_model(training.module)
    return Trained(training.architecture, module, weights, step, score, threshold if thresholds else None)


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
        UnfitState: it is of another model than this, and gone now; ``training`` may have taken over a part of it.
    """
    saved, problem = directory.load(run.fingerprint)
    if saved is not None and _lacks_best(saved) and needs_best_weights(context, run):
        saved, problem = None, "the best model was not wanted before, but is now: the run starts from the beginning"
    if problem is not None:
        announce(context, state, problem)
    if saved is not None:
        started = state.started
        try:
            training.load_state_dict(saved["training"])
            state = RunState.of_state(saved["run"])
        except UNFIT as error:
            directory.discard()
            raise UnfitState(
                f"{directory.state}: does not fit the model of this version of the program or its libraries: "
                "removed; the run starts from the beginning"
            ) from error
        state.started = started
        state.note(f"resumes from step {training.step}")
        context.display.message(f"{run.task.name} · {run.model.name} resumes from step {training.step}")
    limit = directory.limit()
    if limit is not None and limit < training.plan.micro_batch_tokens:
        training.set_micro_batch_tokens(limit)
    return state


UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model, an optimizer or a dataclass raises for a state that is not theirs."""


def _lacks_best(saved: Mapping[str, Any]) -> bool:
    """Whether a state has a best checkpoint, but not its weights."""
    try:
        best = saved["run"]["best"]
        return bool(best["step"] >= 0 and best["weights"] is None)
    except UNFIT:
        return False


# Results ---------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What a run leaves: its record, and the best model where it is wanted."""

    record: Record
    predictions: list[dict[str, Any]] = field(default_factory=list)
    tests: Evaluated = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    model: Trained | None = None


def result_of(
    context: Context,
    run: Run,
    training: Training,
    state: RunState,
    evaluated: Evaluated,
    last: Scores,
    tests: Evaluated,
    usage: Usage,
) -> Result:
    """What the record is made of."""
    used = usage.read()  # measuring the model takes memory of its own
    efficiency = efficiency_in(context, run, training, state, used)
    state.note(f"best at step {state.best.step}; {efficiency['total_seconds']:.1f} s")
    generates = training.architecture.generates
    results = split_results(context, run, training.architecture, evaluated, training.features)
    record = record_of_run(
        context,
        run,
        efficiency=efficiency,
        missing=run.missing,
        **course(training, state),
        threshold=state.best.threshold if run.task.has_threshold and not generates else None,
        last_scores=last or results["scores"],
        **results,
    )
    best = None
    if keeps_model(context, run) and state.best.weights is not None:
        best = trained_model(run, training, state.best.weights, state.best.selection_score, state, best=True)
    return Result(
        record,
        [row for split, evaluation in evaluated for row in prediction_rows(split, evaluation)],
        tests,
        state.history,
        state.log,
        best,
    )


def course(training: Training, state: RunState) -> dict[str, Any]:
    """What a record says of the course of a training."""
    return {
        "steps": training.step,
        "best_step": state.best.step,
        "selection_score": state.best.selection_score,
        "parameters": training.parameters,
        "batch_size": training.plan.batch_size,
        "updates_per_epoch": training.plan.updates_per_epoch,
        "micro_batch_tokens": training.plan.micro_batch_tokens,
        "evaluations": state.evaluations,
    }


def pruned_result(context: Context, run: Run, training: Training, state: RunState, usage: Usage) -> Result:
    """What is left of a trial that a search ended early: its learning curve and what it took, but no scores."""
    state.note(f"pruned at step {training.step}: its best score is below the median of the other trials by now")
    used = usage.read()
    shared = context.at_once > 1
    efficiency = shared_efficiency(context, state, used) if shared else efficiency_of(training, state, used, {})
    record = record_of_run(
        context,
        run,
        status="pruned",
        efficiency=efficiency,
        **course(training, state),
    )
    return Result(record, history=state.history, log=state.log)


def efficiency_in(
    context: Context, run: Run, training: Training, state: RunState, used: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run took; where others shared the machine, only its times and memory: the rest is measured alone later."""
    if context.at_once > 1:
        leave_weights(context, run, training)
        return shared_efficiency(context, state, used)
    cost = cost_of(context, run, training, state.seconds) if context.main else {}
    return efficiency_of(training, state, used, cost)


def write_result(context: Context, run: Run, result: Result, lease: Lease | None = None) -> Record:
    """Write the result of a run; the record comes last, so that with it all is written.

    Raises:
        TakenOver: the lease on the run was lost.
        HarnessError: the disk refuses.
    """
    if lease is not None:
        lease.check()
    if result.model is not None:
        keep_model(context, run, result.model)
    if result.record.finished and context.spec.predict:
        write_tests(context, run, result.tests)
    log = "\n".join(result.log) + "\n"
    return context.store.write(
        result.record, predictions=result.predictions, history=result.history, log=log, lease=lease
    )


def reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, HarnessError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])
