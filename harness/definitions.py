"""The tasks and suites that a command works with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.task.plugins import Plugins


def definitions(file: str | Path | None, plugins: Sequence[str | Path]) -> Plugins:
    """The tasks and suites of a benchmarks.yaml, if one is named, or the built-in ones and those of plugin folders.

    Raises:
        HarnessError: mistakes in the file or in plugins.
    """
    from harness.task.plugins import Plugins, load_plugins

    if file is None:
        return load_plugins(plugins)
    from harness.config.benchmark import read_benchmarks

    loaded = read_benchmarks(file)
    return Plugins({**load_plugins(plugins).tasks, **loaded.tasks}, {**load_plugins(plugins).suites, **loaded.suites})
