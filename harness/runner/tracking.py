"""Runs under way in the experiment trackers that a benchmark names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.export.trackers import Tracked, track
from harness.runner.plan import Run
from harness.runner.resources import Context

FOLDER = "track"
"""Beside the leaderboard."""


@contextlib.contextmanager
def tracking(context: Context, run: Run) -> Iterator[Tracked]:
    """A block in which the trackers see a run; in the main process alone, and only where the benchmark names some."""
    names = context.spec.track if context.main else ()
    settings = {
        **{"task": run.task.name, "model": run.model.name, "seed": run.seed, "fingerprint": run.fingerprint},
        **{"checkpoint": run.model.checkpoint, "revision": run.model.revision},
        **run.recipe.model_dump(mode="json"),
    }
    folder = context.store.folder / FOLDER
    tracked = track(names, folder, context.spec.name, run.label, settings, context.display.message)
    try:
        yield tracked
    finally:
        tracked.finish()
