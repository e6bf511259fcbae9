"""Experiment trackers (TensorBoard, Weights & Biases, Trackio, MLflow): of runs under way, and of finished records.

Accelerate's trackers do the work; they are imported where something is tracked. The main process alone tracks.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean, in_one_line
from harness.results.record import Record
from harness.results.store import Store

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")
"""Their names, which are those of their packages and of our extras."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that there are none, or that are not installed.

    Raises:
        HarnessError: which, and what to install.
    """
    for name in names:
        if name not in TRACKERS:
            raise HarnessError(f"there is no tracker '{name}'.{did_you_mean(name, TRACKERS)} {', '.join(TRACKERS)}")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        which = " and ".join(missing)
        install = f'pip install "enct5-harness[{",".join(missing)}]"'
        raise HarnessError(f"track: {which} {'is' if len(missing) == 1 else 'are'} not installed: {install}")


@dataclass
class Tracked:
    """A run as trackers see it; one that fails is left out from then on, with a message.

    Args:
        tell: takes the message.
        open: Accelerate's trackers by name, started.
    """

    tell: Callable[[str], None]
    open: dict[str, Any] = field(default_factory=dict)

    def log(self, point: Mapping[str, Any]) -> None:
        """A row of the history."""
        self._each(lambda tracker: tracker.log(values_of(point), step=point["step"]))

    def finish(self) -> None:
        """End the run."""
        self._each(lambda tracker: tracker.finish())
        self.open.clear()

    def add(self, name: str, make: Callable[[], Any], settings: Mapping[str, Any]) -> None:
        """Start a tracker, and tell it what the run is."""

        def started() -> Any:
            tracker = make()
            tracker.start()
            if name == "tensorboard":  # its hyper-parameters would be a run of their own
                tracker.log({"settings": f"```json\n{json.dumps(settings, indent=1)}\n```"}, step=0)
            else:
                tracker.store_init_configuration(dict(settings))
            return tracker

        if (tracker := self._guarded(name, started)) is not None:
            self.open[name] = tracker

    def _each(self, call: Callable[[Any], None]) -> None:
        for name, tracker in list(self.open.items()):
            self._guarded(name, functools.partial(call, tracker))

    def _guarded(self, name: str, call: Callable[[], Any]) -> Any:
        """What a call gives; a tracker must not end a training, whatever its server or its disk does."""
        try:
            return call()
        except Exception as error:
            self.open.pop(name, None)
            self.tell(f"{name} tracks no more: {type(error).__name__}: {in_one_line(error)}")
            return None


def values_of(point: Mapping[str, Any]) -> dict[str, float]:
    """A row of the history as flat numbers: ``loss``, ``learning_rate``, ``validation/accuracy``."""
    values = {key: point[key] for key in ("loss", "learning_rate", "selection_score", "epoch") if key in point}
    for split, scores in point.get("scores", {}).items():
        values |= {f"{split}/{metric}": value for metric, value in scores.items()}
    return {key: float(value) for key, value in values.items() if value is not None}


def track(
    names: Sequence[str],
    folder: Path,
    benchmark: str,
    label: tuple[str, str, int],
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> Tracked:
    """A run in these trackers.

    Args:
        folder: where those that write files put them, each in a folder of its own.
        benchmark: the project.
        label: (task, model, seed) of the run.
        settings: what the run is, as plain data.
        tell: takes messages about trackers that fail.
    """
    tracked = Tracked(tell)
    if names:
        check_trackers(names)
        task, model, seed = label
        for name in names:
            maker = _maker(name, folder / name, benchmark, f"{task}/{model}/seed{seed}")
            tracked.add(name, maker, settings)
    return tracked


def _maker(name: str, folder: Path, project: str, run: str) -> Callable[[], Any]:
    """Accelerate's tracker of this name, made when it is called."""

    def make() -> Any:
        from accelerate import tracking

        folder.mkdir(parents=True, exist_ok=True)
        if name == "tensorboard":
            return tracking.TensorBoardTracker(run, folder)
        if name == "wandb":
            offline = {"mode": "offline"} if os.environ.get("HF_HUB_OFFLINE") == "1" else {}
            return tracking.WandBTracker(project, name=run, dir=str(folder), **offline)
        if name == "trackio":
            os.environ.setdefault("TRACKIO_DIR", str(folder))
            os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
            return tracking.TrackioTracker(project, name=run)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        return tracking.MLflowTracker(project, logging_dir=str(folder.resolve() / "artifacts"), run_name=run)

    return make


# Finished records ------------------------------------------------------------------------------------------------


def track_records(stores: Sequence[Store], names: Sequence[str], folder: Path, tell: Callable[[str], None]) -> int:
    """Give the finished runs of a benchmark to trackers: settings, history, and the scores of the best checkpoint.

    Returns:
        How many runs there were.

    Raises:
        HarnessError: a tracker that is not installed.
    """
    check_trackers(names)
    records = [record for store in stores for *_, record in store.current() if record is not None and record.finished]
    for record in records:
        label = (record.task, record.model, record.seed)
        tracked = track(names, folder, stores[0].benchmark, label, settings_of(record), tell)
        for point in record.history():
            tracked.log(point)
        best = {f"best {task} {split}": s for task, of in record.scores.items() for split, s in of.items() if s}
        tracked.log({"step": record.best_step or record.steps, "scores": best})
        tracked.finish()
    return len(records)


def settings_of(record: Record) -> dict[str, Any]:
    """What a run is, flat."""
    own = {"task": record.task, "model": record.model, "seed": record.seed, "fingerprint": record.fingerprint}
    return {**own, "checkpoint": record.checkpoint, "revision": record.revision, **record.settings.recipe}
