"""When: does the runs of a benchmark that are not done, and makes the leaderboard."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from tabulate import tabulate
from torch import Tensor

from harness.benchmark import BenchmarkFile
from harness.display import Display, make_display
from harness.errors import HarnessError
from harness.execution import Execution, Outcome, Run
from harness.machine import provenance
from harness.plan import SCORE_VERSION, expand, test_fingerprint
from harness.report import Leaderboard, leaderboard, write_leaderboard
from harness.session import HOLDOUT, Session
from harness.settings import BenchmarkSpec
from harness.store import Store


@dataclass
class Work:
    """What a command has to do: the runs, and for each why it is not done yet."""

    runs: list[Run]
    store: Store
    session: Session
    states: dict[str, str] = field(default_factory=dict)
    """By fingerprint: ``done``, ``to do``, ``failed``, ``model needed``, ``tests needed`` or ``retraining needed``."""

    def __post_init__(self) -> None:
        for run in self.runs:
            record = self.store.find(run.fingerprint, *run.key)
            self.states[run.fingerprint] = "to do" if record is None else "done" if record.finished else "failed"
        for run in reversed(self.runs):  # a parent comes before its children
            parent = run.parent
            if parent and not self.is_done(run) and self.is_done(parent) and not self.weights(parent).is_file():
                self.states[parent.fingerprint] = "model needed"
        if self.session.spec.predict:
            for run in self.runs:
                if self.is_done(run) and not self.has_tests(run):
                    kept = self.weights(run).is_file()
                    self.states[run.fingerprint] = "tests needed" if kept else "retraining needed"

    def is_done(self, run: Run) -> bool:
        """Whether nothing is left to do for it."""
        return self.states[run.fingerprint] == "done"

    def of(self, *states: str) -> list[Run]:
        """The runs in one of these states."""
        return [run for run in self.runs if self.states[run.fingerprint] in states]

    def weights(self, run: Run) -> Path:
        """Where the run's best model is kept."""
        return self.store.folder / "models" / f"{run.fingerprint}.safetensors"

    def keeps(self, run: Run) -> bool:
        """Whether the run's best model is wanted later: by ``keep: best``, or by a run that starts from it."""
        return self.session.spec.keep == "best" or any(
            other.parent is not None and other.parent.fingerprint == run.fingerprint and not self.is_done(other)
            for other in self.runs
        )

    def has_tests(self, run: Run) -> bool:
        """Whether its test predictions are there (or there is no test data)."""
        if not run.tests:
            return True
        record = self.store.find(test_fingerprint(run, self.session), *run.key)
        return record is not None and record.finished


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
    failed = 0
    quiet_libraries()
    try:
        if accelerator.is_main_process:
            store.clean()
        session = Session(spec, store.cache)
        work = Work(expand(file, session, accelerator.device), store, session)
        todo = work.of("to do", "failed", "model needed", *(["retraining needed"] if retrain else []))
        _read_data(todo, session, accelerator, display)
        if accelerator.is_main_process:
            store.point({run.key: run.fingerprint for run in work.runs}, spec.data_as_json())
        display.plan(len(work.runs), len(work.runs) - len(todo))
        for run in todo:
            failed += not _do(run, work, accelerator, display)
            if accelerator.is_main_process:
                make_board(file, work)
        for run in work.of("tests needed"):
            _predict_tests(run, work, accelerator, display)
        if not retrain and (left := work.of("retraining needed")):
            display.message(
                f"{len(left)} finished runs lack test predictions, and their models were not kept: "
                "--retrain trains them again"
            )
        if accelerator.is_main_process and spec.keep == "none":
            for run in work.runs:  # models that were kept for the runs that start from them
                work.weights(run).unlink(missing_ok=True)
        accelerator.wait_for_everyone()
        return make_board(file, work, write=accelerator.is_main_process), failed
    finally:
        display.close()


def make_board(file: BenchmarkFile, work: Work, write: bool = True) -> Leaderboard:
    """The leaderboard of the benchmark's current records, written beside them."""
    spec, store = work.session.spec, work.store
    board = leaderboard(
        store.current(),
        file.tasks,
        file.suites,
        benchmark=spec.name,
        asked=spec.tasks,
        references=spec.references,
        warnings=store.warnings,
    )
    if write:
        write_leaderboard(store.folder, board)
    return board


def dry_run(file: BenchmarkFile, spec: BenchmarkSpec, results: Path) -> str:
    """The runs of a benchmark as a table: which are done, and why others would be trained (again)."""
    store = Store(results, spec.name)
    session = Session(spec, store.cache)
    work = Work(expand(file, session, make_accelerator().device), store, session)
    rows = [
        [run.task.name, run.model.name, run.seed, " ".join(task.name for task, _ in run.diagnostics),
         run.parent.task.name if run.parent else "", work.states[run.fingerprint], run.fingerprint[:12]]
        for run in work.runs
    ]  # fmt: skip
    headers = ["task", "model", "seed", "also answers", "starts from", "state", "fingerprint"]
    done = len(work.of("done"))
    return f"{spec.name}: {len(rows)} runs, {done} done\n\n{tabulate(rows, headers, tablefmt='simple')}"


def make_accelerator() -> Accelerator:
    """The device and the processes of this command.

    Raises:
        HarnessError: several processes were started, but they do not form a group.
    """
    accelerator = Accelerator(mixed_precision="no")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and accelerator.num_processes == 1:
        raise HarnessError(
            "several processes were started, but they do not work together: on CPU, launch with "
            "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N -m harness run ..."
        )
    return accelerator


def quiet_libraries() -> None:
    """Keep progress bars and reports of the libraries out of ours."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _read_data(runs: Sequence[Run], session: Session, accelerator: Accelerator, display: Display) -> None:
    """Read, check and tokenise all data before the first step: mistakes in it show now, not in the third hour."""
    problems: list[str] = []
    with accelerator.main_process_first():
        for run in {(run.task.name, run.model.name): run for run in runs}.values():
            display.message(f"reading {run.task.name} for {run.model.name}")
            try:
                architecture = session.architecture(run.model, run.task, run.recipe)
                session.features(architecture, run.task, str(run.task.train_split), training=True)
                for task, split in [*((run.task, split) for split in run.own_splits), *run.diagnostics]:
                    session.features(architecture, task, split, training=False)
                    session.examples(task, split)
            except HarnessError as error:
                problems += [line for line in str(error).splitlines() if line not in problems]
            if session.spec.selection != HOLDOUT:
                session.forget(run.task)
    if problems:
        raise HarnessError("\n".join(problems))


def _do(run: Run, work: Work, accelerator: Accelerator, display: Display) -> bool:
    """One run, from start to record; a failure is recorded and does not stop the others. Whether it finished."""
    try:
        initial = load_file(work.weights(run.parent)) if run.parent else None
        outcome = Execution(run, work.session, accelerator, display, initial, keep=work.keeps(run))()
    except Exception as error:
        outcome = Outcome({"error": {"reason": _reason(error), "traceback": traceback.format_exc()}})
    accelerator.free_memory()
    finished = "error" not in outcome.record
    if accelerator.is_main_process:
        if outcome.weights is not None:
            _save_weights(outcome.weights, work.weights(run))
        if finished and work.session.spec.predict:
            _write_tests(run, work, accelerator, outcome.test_predictions)
        record = work.store.write(
            record_of(run, work.session, accelerator, outcome.record),
            predictions=outcome.predictions,
            curve=outcome.curve,
            efficiency=outcome.efficiency,
            log="\n".join(outcome.log) + "\n",
        )
        (display.run_finished if finished else display.run_failed)(record)
    accelerator.wait_for_everyone()
    return finished


def _reason(error: Exception) -> str:
    if isinstance(error, HarnessError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def _save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    save_file(dict(weights), draft)
    os.replace(draft, path)


def _predict_tests(run: Run, work: Work, accelerator: Accelerator, display: Display) -> None:
    """Predict the test splits of a finished run with its kept model."""
    execution = Execution(run, work.session, accelerator, display)
    if run.parent is not None:
        execution.initial = {}
    training = execution.prepare()
    training.load_weights(load_file(work.weights(run)))
    display.message(f"predicting the test data of {run.task.name} with {run.model.name}, seed {run.seed}")
    rows = execution.test_predictions(training)
    accelerator.free_memory()
    if accelerator.is_main_process:
        _write_tests(run, work, accelerator, rows)
    accelerator.wait_for_everyone()


def _write_tests(run: Run, work: Work, accelerator: Accelerator, rows: list[dict[str, Any]]) -> None:
    """Test predictions are a record of their own, which no leaderboard shows."""
    if rows:
        content = record_of(run, work.session, accelerator, {"predicts_tests_of": run.fingerprint})
        content["fingerprint"] = test_fingerprint(run, work.session)
        work.store.write(content, predictions=rows)


def record_of(run: Run, session: Session, accelerator: Accelerator, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of record.json for a run that finished, or failed with ``parts['error']``."""
    spec, checkpoint = session.spec, session.checkpoint(run.model)
    model = {**run.model.model_dump(exclude_none=True), **session.model_identity(run.model)}
    if checkpoint is not None:
        model["revision"] = checkpoint.revision
    return {
        "schema": 1,
        "fingerprint": run.fingerprint,
        "status": "failed" if parts.get("error") else "finished",
        "benchmark": spec.name,
        "task": run.task.name,
        "model": run.model.name,
        "architecture": run.model.architecture,
        "seed": run.seed,
        "parent": run.parent.fingerprint if run.parent else None,
        "scores": {},
        "missing": {},
        "unparsable": {},
        "counts": {},
        "steps": 0,
        "best_step": None,
        "primary": None,
        "parameters": {},
        "error": None,
        **parts,
        "settings": {
            "recipe": run.recipe.model_dump(),
            "model": model,
            "data": {
                run.task.name: session.data(run.task, (str(run.task.train_split), *run.own_splits)),
                **{task.name: session.data(task, (split,)) for task, split in run.diagnostics},
            },
            "limit": spec.limit.model_dump() if spec.limit else None,
            "allow_partial": spec.allow_partial,
            "selection": spec.selection,
            "init_from": run.parent.task.name if run.parent else None,
            "score_version": SCORE_VERSION,
        },
        "marks": list(run.marks),
        "provenance": provenance(accelerator.device, accelerator.num_processes),
    }
