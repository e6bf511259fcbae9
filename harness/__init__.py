"""Benchmarks for non-autoregressive fine-tuning: EncT5, T5 and BERT on GLUE, SuperGLUE and your own tasks."""

from typing import TYPE_CHECKING, Any

import harness.report  # noqa: F401  (the package first: below, the function takes its name)
from harness import api, preparing, trained
from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.task.plugins import load_tasks
from harness.task.task import HubSource, Instance, SplitFile, Suite, Task

if TYPE_CHECKING:
    from harness.leaderboard.board import Leaderboard
    from harness.report.status import statuses as status
    from harness.workers.job import OnRay, OnSlurm

run, report, show, submit = api.run, api.report, api.show, api.submit
plan, download = preparing.plan, preparing.download
load_predictions, load_model = trained.load_predictions, trained.load_model
predict, predict_file = trained.predict, trained.predict_file
export_model, push_model = trained.export_model, trained.push_model
compare, show_errors, show_task, audit = api.compare, api.show_errors, api.show_task, api.audit

__version__ = "0.1.0"

__all__ = [
    "HarnessError",
    "HubSource",
    "Instance",
    "Leaderboard",
    "OnRay",
    "OnSlurm",
    "SplitFile",
    "Suite",
    "Task",
    "audit",
    "compare",
    "download",
    "export_model",
    "load_examples",
    "load_model",
    "load_predictions",
    "load_tasks",
    "plan",
    "predict",
    "predict_file",
    "push_model",
    "report",
    "run",
    "show",
    "show_errors",
    "show_task",
    "status",
    "submit",
]


def __getattr__(name: str) -> Any:
    if name == "Leaderboard":  # loads pydantic, which takes as long as all the rest
        from harness.leaderboard.board import Leaderboard

        return Leaderboard
    if name in ("OnRay", "OnSlurm"):
        from harness.workers import job

        return getattr(job, name)
    if name == "status":
        from harness.report.status import statuses

        return statuses
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
