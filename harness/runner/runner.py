"""When: does the runs of a benchmark that are not done, and makes the leaderboard."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import broadcast_object_list

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec
from harness.errors import HarnessError
from harness.export.trackers import check_trackers
from harness.leaderboard.board import Leaderboard
from harness.leaderboard.columns import described
from harness.output import complain
from harness.planning.work import write_plan
from harness.results.leases import PATIENCE, Leases
from harness.results.manifest import Choice, in_words
from harness.results.record import Record
from harness.results.store import Store
from harness.runner.alone import measure_alone
from harness.runner.board import LiveBoard, make_board
from harness.runner.companions import watching
from harness.runner.diagnostics import left_out, settled
from harness.runner.execute import do_run
from harness.runner.keeping import drop_models, drop_worse_seeds
from harness.runner.later import answer_diagnostics_of, predict_tests_of
from harness.runner.needs import network_for
from harness.runner.plan import Run, expand, parents_first, test_fingerprint
from harness.runner.progress import Display, make_display
from harness.runner.queue import RunQueue, tidy
from harness.runner.reading import read_data
from harness.runner.resources import Context, Resources
from harness.runner.search import recipes_of, trials_of
from harness.runner.signals import STOPPED, Interrupts, Terminated
from harness.runner.status import Status, Statuses, having, runs_to_train, statuses_of
from harness.runner.sweep import choose, chosen_recipes, drop_losers, manifest_entries, verdict
from harness.runner.works import work_of_run
from harness.training.device import Machine, make_accelerator, together

POLL_SECONDS = 2.0
"""How often to look whether other commands are done with the runs that this one waits for."""


class Detached(Exception):
    """Runs were handed over to a cluster that does them without this command."""


class Engine(Protocol):
    """Where runs are done: in this process, or in workers (`harness.workers`)."""

    @property
    def machine(self) -> Machine | None:
        """What decides what ``auto`` means in their recipes; None: this machine."""

    @property
    def here(self) -> bool:
        """Whether they are done on this machine, where their efficiency is then measured alone."""

    def expect(self, context: Context, number: int) -> None:
        """So many runs will be there to be done, once the data is read."""

    def __call__(self, context: Context, statuses: Statuses, todo: Sequence[Run], board: LiveBoard) -> set[Run]:
        """Do the runs that no other command does, and wait for those of the others; gives those that failed."""

    def close(self) -> None:
        """Nothing more will be done."""


def run_benchmark(
    file: BenchmarkFile,
    spec: BenchmarkSpec,
    results: Path,
    *,
    progress: bool = False,
    retrain: bool = False,
    patience: float = PATIENCE,
    engine: Engine | None = None,
) -> tuple[Leaderboard, int]:
    """Do every run of the benchmark that has no finished record, and write the leaderboard.

    Args:
        file: the benchmark file.
        spec: one of its benchmarks.
        results: the results folder.
        progress: show the progress.
        retrain: train runs again whose test predictions are asked for but whose models were not kept.
        patience: seconds after which a process without a sign of life counts as dead.
        engine: where runs are done; default: in this process. It is closed at the end.

    Returns:
        The leaderboard and the number of runs that failed; where a cluster goes on alone, those of before.
    """
    check_trackers(spec.track)
    store, accelerator = Store(results, spec.name), make_accelerator()
    display = make_display() if progress and accelerator.is_main_process else Display()
    engine = engine or InThisProcess()
    prepare_libraries()
    try:
        with (
            contextlib.closing(display),
            contextlib.closing(engine),
            network_for(file, spec, results),
            Interrupts() as interrupts,
            Leases(patience=patience) as leases,
            watching(accelerator, leases, store.work),
        ):
            if accelerator.is_main_process:
                store.clean()
            resources = Resources(spec, store.cache, engine.machine)
            context = Context(file, resources, store, accelerator, display, interrupts, leases)
            failed = set[Run]()
            with contextlib.suppress(Detached):
                tried, choices, failed = sweep(context, engine)
                runs = runs_of(context, tried, choices, retrain)
                if context.main:
                    drop_losers(context, tried, choices, runs)
                failed |= train_and_predict(context, runs, choices, failed, retrain, engine)
                engine.close()
                measure_alone(context, runs, engine.here)
            return make_board(context), len(failed)
    except Terminated:
        if accelerator.is_main_process:
            complain(STOPPED)
        raise


def sweep(context: Context, engine: Engine) -> tuple[list[Run], list[Choice], set[Run]]:
    """Do the trials of a sweep that have no record, round by round where they are searched for, and let them choose.

    Returns:
        The trials, what is chosen so far, and the runs that failed.
    """
    display, failed, begun, read = context.display, set[Run](), False, set[tuple[str, str, int]]()
    while True:
        tried = trials_of(context)
        statuses = statuses_of(context, tried)
        todo = [run for run in runs_to_train(context, statuses, retrain=False) if run not in failed]
        [choices] = broadcast_object_list([choose(context, tried)])
        if not todo:
            break
        engine.expect(context, len(todo))
        unread = {key: run for run in todo if (key := (*run.pair, run.recipe.max_length)) not in read}
        together(context.accelerator, lambda: read_data(context, list(unread.values())))  # noqa: B023
        read |= unread.keys()
        update_manifest(context, runs_of(context, tried, choices), choices, statuses)
        if not begun:
            number = len(tried) + sum(max(0, choice.planned - len(choice.trials)) for choice in choices)
            display.message(f"sweep: {number} runs with seed {choices[0].seed} choose the recipes")
            display.plan(number, len(tried) - len(todo))
        begun = True
        failed |= train_all(replace(context, sweeping=True), statuses, todo, engine)
    for choice in choices if begun else ():
        display.message(verdict(choice, context.file.tasks[choice.task]))
    return tried, choices, failed


def runs_of(context: Context, tried: Sequence[Run], choices: Sequence[Choice], retrain: bool = False) -> list[Run]:
    """The benchmark's runs, with the recipes that were chosen."""
    chosen, accelerator, suggested = chosen_recipes(tried, choices), context.accelerator, recipes_of(context)
    file, resources, device = context.file, context.resources, accelerator.device
    runs = together(accelerator, lambda: expand(file, resources, device, chosen, suggested))
    return settled(context, runs, retrain)


def update_manifest(context: Context, runs: Sequence[Run], choices: Sequence[Choice], statuses: Statuses) -> None:
    """Write which runs are the current ones, and tidy up."""
    if context.main:
        whole = context.file.benchmark(context.spec.name)
        context.store.update_manifest(
            manifest_entries(runs, choices),
            context.spec.data_as_json(),
            choices,
            {run.pair: run.configuration for run in runs},
            {
                "tasks": list(whole.tasks),
                "references": whole.references,
                "interval": whole.interval,
                **tables_of(context.file, whole),
            },
            whole.tasks,
            whole.models,
            {run.label: test_fingerprint(run, context.resources) for run in runs if context.spec.predict and run.tests},
        )
        with contextlib.suppress(HarnessError):
            write_plan(context.store.folder, [work_of_run(context.resources, run) for run in runs])
        tidy(context, statuses)


def tables_of(file: BenchmarkFile, whole: BenchmarkSpec) -> Mapping[str, Any]:
    """How the tables of a whole benchmark show its tasks, for whoever makes them again without its file."""
    names = set(parents_first(whole, whole.tasks))
    return described((t for t in file.tasks.values() if names & {t.name, t.evaluated_by}), file.suites.values())


def train_and_predict(
    context: Context,
    runs: Sequence[Run],
    choices: Sequence[Choice],
    failed: set[Run],
    retrain: bool,
    engine: Engine,
) -> set[Run]:
    """Do the runs, once their recipes are chosen; those in ``failed`` are not tried again at once.

    Returns:
        The runs that failed.
    """
    accelerator, display, statuses = context.accelerator, context.display, statuses_of(context, runs)
    for line in left_out(runs):
        display.message(line)
    if new := having(statuses, Status.EVALUATION_NEEDED):
        together(accelerator, lambda: read_data(context, new))
        failed |= {run for run in new if not answer_diagnostics_of(context, run)}
        statuses = statuses_of(context, runs)
    undecided = {choice.pair for choice in choices if choice.chosen is None}
    todo = [run for run in runs_to_train(context, statuses, retrain) if run not in failed and run.pair not in undecided]
    engine.expect(context, len(todo))
    together(accelerator, lambda: read_data(context, todo))
    update_manifest(context, runs, choices, statuses)
    display.plan(len(runs), len(runs) - len(todo))
    failed_now = train_all(context, statuses, todo, engine) | set(having(statuses, Status.EVALUATION_NEEDED))
    for run in having(statuses, Status.TESTS_NEEDED):
        if not predict_tests_of(context, run):
            failed_now.add(run)
    if not retrain and (left := having(statuses, Status.RETRAINING_NEEDED)):
        display.message(
            f"{len(left)} finished runs lack test predictions, and their models were not kept: "
            "--retrain trains them again"
        )
    if context.main:
        _drop_unwanted(context, runs)
    accelerator.wait_for_everyone()
    return failed_now


def train_all(context: Context, statuses: Statuses, todo: Sequence[Run], engine: Engine) -> set[Run]:
    """Do the runs that no other command does, and wait for those of the others.

    Returns:
        The runs that failed, here or there.
    """
    board = LiveBoard(context)
    gc.freeze()  # what the command knows of its runs stays to its end
    try:
        return engine(context, statuses, todo, board)
    except BaseException:  # a signal, a disk: the tables hold what was done
        with contextlib.suppress(HarnessError):
            board.finish()
        raise


class InThisProcess:
    """One run after another, in this process or in all of its launch together."""

    machine, here = None, True

    def expect(self, context: Context, number: int) -> None:
        """Nothing is to be prepared."""

    def __call__(self, context: Context, statuses: Statuses, todo: Sequence[Run], board: LiveBoard) -> set[Run]:
        failed: set[Run] = set()
        queue = RunQueue(context, statuses, list(todo), lambda run, record: show_done(context, run, record, failed))
        waiting = False
        while True:
            run = queue.next() if context.main else None
            [left, position] = broadcast_object_list([len(queue.left), None if run is None else todo.index(run)])
            if not left:
                [failures] = broadcast_object_list([[run in failed for run in todo]])
                return {run for run, has_failed in zip(todo, failures, strict=True) if has_failed}
            if position is None:
                if not waiting:
                    context.display.message(
                        "waiting for other commands, which do "
                        + ("the last run" if left == 1 else f"the last {left} runs")
                    )
                waiting = True
                time.sleep(POLL_SECONDS)
                continue
            run = todo[position]
            with queue.lease or contextlib.nullcontext():
                finished = do_run(context, run, queue.lease)
            if finished is False:
                failed.add(run)
            if context.main and finished is not None:
                queue.left.remove(run)
                if context.spec.keep == "best" and not run.is_parent:
                    drop_worse_seeds(context, [run])
                board.update()

    def close(self) -> None:
        """There is nothing to close."""


def show_done(context: Context, run: Run, record: Record, failed: set[Run]) -> None:
    """Show what another command has done."""
    context.display.run_started(*run.label, 0, in_words(run.trial))
    if not record.failed:
        context.display.run_finished(record)
    else:
        context.display.run_failed(record)
        failed.add(run)


def _drop_unwanted(context: Context, runs: Sequence[Run]) -> None:
    """Remove models that were kept for the runs that start from them, unless other commands may still need them."""
    if any(context.leases.is_taken(folder) for folder in context.store.checkpoint_directories()):
        return
    if context.spec.keep == "none":
        drop_models(context, runs)
    elif context.spec.keep == "best":
        drop_worse_seeds(context, runs)


def prepare_libraries() -> None:
    """Keep progress bars and reports of the libraries out of ours, and their modules out of garbage collections."""
    import datasets
    import scipy.stats  # noqa: F401  (metrics need both: the first run would seem to take their memory and time)
    import sklearn.metrics  # noqa: F401
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    gc.freeze()  # each run ends with a collection
