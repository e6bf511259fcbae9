"""When: does the runs of a benchmark that are not done, and makes the leaderboard."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object

from harness.config.benchmark import BenchmarkFile
from harness.config.schema import BenchmarkSpec
from harness.errors import HarnessError
from harness.io import remove
from harness.report.build import leaderboard
from harness.report.leaderboard import Leaderboard
from harness.report.tables import write_leaderboard
from harness.results.choices import Choice, in_words
from harness.results.leases import Lease, Leases
from harness.results.record import RECORD, Record
from harness.results.store import Store
from harness.runner.execute import Execution
from harness.runner.interrupts import GO_ON, Interrupts, Terminated
from harness.runner.outcome import reason, write_outcome, write_tests
from harness.runner.plan import expand, test_fingerprint, trials
from harness.runner.progress import Display, make_display
from harness.runner.queue import Identity, Queue, Work, tidy
from harness.runner.resources import Session
from harness.runner.resume import TakenOver, Workplace
from harness.runner.runs import Outcome, Run
from harness.runner.sweep import choose, drop_losers, manifest_entries, recipes, run_table, verdict
from harness.training.loop import NotFinite

T = TypeVar("T")

POLL_SECONDS = 2.0
"""How often to look whether other commands are done with the runs that this one waits for."""

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: while the first one downloads and tokenises, or measures a model."""


@dataclass(frozen=True)
class Command:
    """What a command works with. Other commands may work on the same results folder: they are known by ``leases``."""

    file: BenchmarkFile
    work: Work
    accelerator: Accelerator
    display: Display
    interrupts: Interrupts
    leases: Leases

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.accelerator.is_main_process


def run_benchmark(
    file: BenchmarkFile, spec: BenchmarkSpec, results: Path, *, progress: bool = False, retrain: bool = False
) -> tuple[Leaderboard, int]:
    """Do every run of the benchmark that has no finished record, and write the leaderboard.

    Args:
        file: the benchmark file.
        spec: one of its benchmarks.
        results: the results folder.
        progress: show what goes on.
        retrain: train runs again whose test predictions are asked for but whose models were not kept.

    Returns:
        The leaderboard and the number of runs that failed.
    """
    store = Store(results, spec.name)
    accelerator = make_accelerator()
    display = make_display() if progress and accelerator.is_main_process else Display()
    prepare_libraries()
    try:
        with contextlib.closing(display), Interrupts() as interrupts:
            if accelerator.is_main_process:
                store.clean()
            session = Session(spec, store.cache)
            runs = together(accelerator, lambda: trials(file, session, accelerator.device))
            sweep = Command(file, _work(runs, store, session), accelerator, display, interrupts, Leases())
            choices, failed = _sweep(sweep)
            command = replace(sweep, work=_work(_runs(sweep, choices), store, session))
            if command.main:
                drop_losers(sweep.work, choices, command.work)
            return _run(command, choices, failed, retrain)
    except Terminated:
        if accelerator.is_main_process:
            print(GO_ON, file=sys.stderr)
        raise


def _work(runs: list[Run], store: Store, session: Session) -> Work:
    """The runs with what is left to do of them, the same in all processes."""
    work = Work(runs, store, session)
    [work.states] = broadcast_object_list([work.states])
    return work


def _sweep(command: Command) -> tuple[list[Choice], set[Identity]]:
    """Do the trials of a sweep that have no finished record, and let the trials choose.

    Returns:
        What is chosen so far, and the runs that failed.
    """
    work, display = command.work, command.display
    todo, failed = work.to_train(retrain=False), set[Identity]()
    [choices] = broadcast_object_list([choose(work)])
    if todo:
        together(command.accelerator, lambda: _read_data(todo, work.session, command.accelerator, display))
        _point(command, _runs(command, choices), choices)
        display.message(f"sweep: {len(work.runs)} runs with seed {choices[0].seed} choose the recipes")
        display.plan(len(work.runs), len(work.runs) - len(todo))
        failed = train_all(command, todo)
        [choices] = broadcast_object_list([choose(work)])
        for choice in choices:
            display.message(verdict(choice))
    return choices, failed


def _runs(sweep: Command, choices: Sequence[Choice]) -> list[Run]:
    """The benchmark's runs, with the recipes that were chosen."""
    chosen, session = recipes(sweep.work, choices), sweep.work.session
    device = sweep.accelerator.device
    return together(sweep.accelerator, lambda: expand(sweep.file, session, device, chosen))


def _point(command: Command, runs: Sequence[Run], choices: Sequence[Choice]) -> None:
    """Say what the current runs are, and tidy up."""
    if command.main:
        work, whole = command.work, command.file.benchmark(command.work.session.spec.name)
        data = work.session.spec.data_as_json()
        configurations = {run.pair: run.configuration for run in runs}
        table = {"tasks": list(whole.tasks), "references": whole.references}
        work.store.update_manifest(
            manifest_entries(runs, choices), data, choices, configurations, table, whole.tasks, whole.models
        )
        tidy(work, command.leases)


def _run(command: Command, choices: Sequence[Choice], failed: set[Identity], retrain: bool) -> tuple[Leaderboard, int]:
    """Do the runs, once their recipes are known. What ``failed`` already is not tried again at once."""
    work, accelerator, display = command.work, command.accelerator, command.display
    spec = work.session.spec
    unknown = {choice.pair for choice in choices if choice.chosen is None}
    todo = [run for run in work.to_train(retrain) if run.identity not in failed and run.pair not in unknown]
    together(accelerator, lambda: _read_data(todo, work.session, accelerator, display))
    _point(command, work.runs, choices)
    display.plan(len(work.runs), len(work.runs) - len(todo))
    failed = failed | train_all(command, todo) | predict_tests(command)
    if not retrain and (left := work.of("retraining needed")):
        display.message(
            f"{len(left)} finished runs lack test predictions, and their models were not kept: "
            "--retrain trains them again"
        )
    if command.main and spec.keep == "none":
        _drop_models(command)
    accelerator.wait_for_everyone()
    return make_board(command.file, work, write=command.main), len(failed)


def make_board(file: BenchmarkFile, work: Work, write: bool = True) -> Leaderboard:
    """The leaderboard of the benchmark's current records, written beside them."""
    spec, store = work.session.spec, work.store
    with store.locked() if write else contextlib.nullcontext():  # a later leaderboard never gives way to an earlier one
        board = leaderboard(
            store.current(),
            file.tasks,
            file.suites,
            benchmark=spec.name,
            asked=spec.tasks,
            references=spec.references,
            choices={"": store.choices()},
            warnings=store.warnings,
        )
        if write:
            write_leaderboard(store.folder, board)
    return board


def dry_run(file: BenchmarkFile, spec: BenchmarkSpec, results: Path) -> str:
    """The runs of a benchmark as a table: which are done, and why others would be trained (again)."""
    store, device = Store(results, spec.name), make_accelerator().device
    session = Session(spec, store.cache)
    tried = Work(trials(file, session, device), store, session)
    choices = choose(tried)
    work = Work(expand(file, session, device, recipes(tried, choices)), store, session)
    return run_table(tried, choices, work)


def make_accelerator() -> Accelerator:
    """The device and the processes of this command.

    Raises:
        HarnessError: several processes were started, but they do not form a group.
    """
    try:
        patience = InitProcessGroupKwargs(timeout=PATIENCE)
        accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[patience])
    except ValueError as error:  # Accelerate has one precision for a whole process
        raise HarnessError(
            f"another program in this process set up Accelerate: use a fresh process ({error})"
        ) from None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and accelerator.num_processes == 1:
        raise HarnessError(
            "several processes were started, but they do not work together: on CPU, launch with "
            "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N -m harness run ..."
        )
    return accelerator


def together(accelerator: Accelerator, attempt: Callable[[], T]) -> T:
    """What ``attempt`` gives in each process; a mistake that one of them finds ends all, with the same message."""
    found: list[T] = []
    problem: str | None = None
    try:
        found.append(attempt())
    except HarnessError as error:
        if accelerator.num_processes == 1:
            raise
        problem = str(error)
    if accelerator.num_processes > 1:
        problem = next(filter(None, gather_object([problem])), None)
    if problem is not None:
        raise HarnessError(problem)
    return found[0]


def prepare_libraries() -> None:
    """Keep progress bars and reports of the libraries out of ours, and their modules out of garbage collections."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    gc.freeze()  # each run ends with a collection


def _read_data(runs: Sequence[Run], session: Session, accelerator: Accelerator, display: Display) -> None:
    """Read, check and tokenise all data before the first step: mistakes in it show now, not in the third hour."""
    problems: list[str] = []
    tasks: set[str] = set()
    models: set[str] = set()
    with accelerator.main_process_first():
        for run in {(*run.pair, run.recipe.max_length): run for run in runs}.values():
            first = run.task.name not in tasks
            tasks.add(run.task.name)
            if first:
                display.message(f"reading {run.task.name}")
                if session.spec.predict and not run.tests:
                    display.message(f"{run.task.name}: there is no test split to predict")
            try:
                architecture = session.architecture(run.model, run.task, run.recipe)
                if run.model.name not in models:
                    models.add(run.model.name)
                    architecture.build()  # a checkpoint that does not fit is told now, too
                session.features(architecture, run.task, str(run.task.train_split), training=True)
                for task, split in [*((run.task, split) for split in run.own_splits), *run.diagnostics, *run.tests]:
                    session.features(architecture, task, split, training=False)
                    session.examples(task, split)
                if first:
                    _tell_overlaps(run, session, display)
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        raise HarnessError("\n".join(problems))


def _tell_overlaps(run: Run, session: Session, display: Display) -> None:
    """Warn where a model is evaluated on texts that it is trained on."""
    evaluated = [*((run.task, split) for split in run.own_splits), *run.diagnostics]
    for (task, split), count in session.overlap(run.task, evaluated).items():
        if count:
            total = len(session.examples(session.spec.catalogue.get(task, run.task), split))
            display.message(f"{task}: {count} of {total} {split} texts are in the training data, too")


def train_all(command: Command, todo: Sequence[Run]) -> set[Identity]:
    """Do the runs that no other command does, and wait for those of the others.

    Returns:
        The runs that failed, here or there.
    """
    failed: set[Identity] = set()
    runs = {run.identity: run for run in todo}
    queue = Queue(command.work, list(todo), command.leases, lambda run, record: _tell(command, run, record, failed))
    waiting = False
    while True:
        run = queue.next() if command.main else None
        [left, key] = broadcast_object_list([len(queue.left), run and run.identity])
        if not left:
            [failed] = broadcast_object_list([failed])
            return failed
        if key is None:
            if not waiting:
                command.display.message(f"waiting for other commands, which do the last {left} runs")
            waiting = True
            time.sleep(POLL_SECONDS)
            continue
        with queue.lease or contextlib.nullcontext():
            finished = _do(command, runs[key], queue.lease)
        if finished is False:
            failed.add(key)
        if command.main and finished is not None:
            queue.left.remove(runs[key])
            make_board(command.file, command.work)


def _tell(command: Command, run: Run, record: Record, failed: set[Identity]) -> None:
    """Show what another command has done."""
    command.display.run_started(run.task.name, run.model.name, run.seed, 0, in_words(run.trial))
    if record.finished:
        command.display.run_finished(record)
    else:
        command.display.run_failed(record)
        failed.add(run.identity)


def _do(command: Command, run: Run, lease: Lease | None) -> bool | None:
    """One run, from start to record; a failure is recorded, and does not stop the others.

    Returns:
        Whether it finished; None when another command took it over.
    """
    before = _stamp(command, run)
    try:
        outcome = _execute(command, run, lease)
    except TakenOver as error:
        command.display.message(str(error))
        return None
    except Exception as error:
        outcome = Outcome({"error": reason(error), "traceback": traceback.format_exc()})
        if command.accelerator.num_processes > 1 and not isinstance(error, NotFinite):
            if _stamp(command, run) == before:  # else the one that failed first has said why
                with contextlib.suppress(HarnessError):
                    write_outcome(command.work, run, outcome, command.accelerator)
            _end_alone(command, error)
        if isinstance(error, NotFinite) and lease is not None:
            lease.empty()  # to go on from there would lead to the same end
    command.accelerator.free_memory()
    if command.main:
        try:
            record = write_outcome(command.work, run, outcome, command.accelerator)
        except HarnessError as error:  # the disk
            if command.accelerator.num_processes > 1:
                _end_alone(command, error)
            raise
        if outcome.finished and lease is not None:
            lease.empty()
        (command.display.run_finished if outcome.finished else command.display.run_failed)(record)
    command.accelerator.wait_for_everyone()
    return outcome.finished


def _stamp(command: Command, run: Run) -> tuple[int, int] | None:
    """What changes when the run's record is written."""
    try:
        found = (command.work.store.run_folder(run.fingerprint, *run.key) / RECORD).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _execute(command: Command, run: Run, lease: Lease | None) -> Outcome:
    work, accelerator = command.work, command.accelerator
    spec, folder = work.session.spec, work.store.scratch(run.fingerprint)
    place = Workplace(folder, spec.checkpoint_every, command.interrupts, accelerator, lease)
    initial = work.load_weights(run.parent) if run.parent else None
    models = work.weights(run).with_suffix("") if spec.keep == "all" else None
    return Execution(run, work.session, accelerator, command.display, initial, work.keeps(run), models, place)()


def _end_alone(command: Command, error: Exception) -> NoReturn:
    """End this process at once after a failure that the others of its launch do not know of.

    They wait for it, and no message can reach them; their launcher ends them when one of its processes is gone.
    """
    index = command.accelerator.process_index
    print(f"process {index} ends: {reason(error)}; the same command goes on", file=sys.stderr, flush=True)
    os._exit(1)


def predict_tests(command: Command) -> set[Identity]:
    """Predict the test splits of finished runs with their kept models; keys of the runs where that failed."""
    work = command.work
    failed: set[Identity] = set()
    for run in work.of("tests needed"):
        lease = None
        if command.main and not work.has_tests(run):
            lease = command.leases.take(work.store.scratch(test_fingerprint(run, work.session)))
        [wanted] = broadcast_object_list([lease is not None])
        if not wanted:
            continue
        with lease or contextlib.nullcontext():
            try:
                _predict_tests(command, run)
            except Exception as error:
                if command.accelerator.num_processes > 1:
                    _end_alone(command, error)
                command.display.message(f"{run.task.name} with {run.model.name}: no test predictions: {reason(error)}")
                failed.add(run.identity)
    return failed


def _predict_tests(command: Command, run: Run) -> None:
    work, accelerator = command.work, command.accelerator
    execution = Execution(run, work.session, accelerator, command.display)
    record = work.record(run)
    if record is not None and record.threshold is not None:
        execution.best.threshold = record.threshold
    training = execution.prepare()
    training.load_weights(work.load_weights(run))
    command.display.message(f"predicting the test data of {run.task.name} with {run.model.name}, seed {run.seed}")
    rows = execution.test_predictions(training)
    accelerator.free_memory()
    if command.main:
        write_tests(work, run, rows, accelerator)
    accelerator.wait_for_everyone()


def _drop_models(command: Command) -> None:
    """Remove models that were kept for the runs that start from them, unless other commands may still need them."""
    work = command.work
    if not any(command.leases.is_taken(folder) for folder in work.store.workplaces()):
        for run in work.runs:
            remove(work.weights(run))
