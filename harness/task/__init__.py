"""What is predicted: tasks, the plugins that define them, and their metrics."""

from harness.task.task import Example, HubSource, Instance, SplitFile, Suite, Task

__all__ = ["Example", "HubSource", "Instance", "SplitFile", "Suite", "Task"]
