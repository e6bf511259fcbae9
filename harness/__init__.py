"""Benchmarks for non-autoregressive fine-tuning: EncT5, T5 and BERT on GLUE, SuperGLUE and your own tasks."""

from harness.api import report, run
from harness.data import load_examples
from harness.errors import HarnessError
from harness.task import HubSource, Instance, SplitFile, Suite, Task, load_tasks

__version__ = "0.1.0"

__all__ = [
    "HarnessError",
    "HubSource",
    "Instance",
    "SplitFile",
    "Suite",
    "Task",
    "load_examples",
    "load_tasks",
    "report",
    "run",
]
