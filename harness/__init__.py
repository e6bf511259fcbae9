"""Benchmarks for non-autoregressive fine-tuning: EncT5, T5 and BERT on GLUE, SuperGLUE and your own tasks."""

from harness import api
from harness.data.datasets import load_examples
from harness.errors import HarnessError
from harness.report import Leaderboard
from harness.task.plugins import load_tasks
from harness.task.task import HubSource, Instance, SplitFile, Suite, Task

# Here, and not above: `harness.report` was the package of that name until now.
run, report, submit = api.run, api.report, api.submit

__version__ = "0.1.0"

__all__ = [
    "HarnessError",
    "HubSource",
    "Instance",
    "Leaderboard",
    "SplitFile",
    "Suite",
    "Task",
    "load_examples",
    "load_tasks",
    "report",
    "run",
    "submit",
]
