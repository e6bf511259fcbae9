"""How long runs take: at a stated rate, or as long as earlier runs on the device took for what they computed.

The time of a run is a start and a time for each trained example (an answer counts as a third of one). Both are means of
earlier runs: of the same task and model, else of the same model, else of the model of the nearest size, by FLOPs. So
every run that is done makes the estimate of the others better.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.planning.machine import device_of
from harness.planning.work import Work
from harness.results.manifest import Key
from harness.results.record import Record

SAME_TASK, SAME_MODEL, OTHERS, STATED = "the same task and model", "the same model", "other models", "the stated rate"


@dataclass(frozen=True)
class Observed:
    """What a finished run took, and what it computed.

    Attributes:
        start: seconds that do not depend on the number of examples.
        seconds: the others.
        amount: trained examples, and a third of the answers.
        flops: FLOPs of training with one example, where they are known.
        share: of the steps that it might have taken.
    """

    task: str
    model: str
    start: float
    seconds: float
    amount: float
    flops: float | None
    parameters: int
    share: float


def observed(records: Iterable[Record], works: Iterable[Work] = ()) -> list[Observed]:
    """What finished runs took; FLOPs are those of ``works`` where a task and a model are among these."""
    planned = {(work.task, work.model): work.flops for work in works}
    seen = (_observed(record, planned.get((record.task, record.model))) for record in records if record.finished)
    return [one for one in seen if one is not None]


def _observed(record: Record, flops: float | None) -> Observed | None:
    taken = record.efficiency
    if not taken.total_seconds or not record.steps or not record.batch_size:
        return None
    evaluated = sum(count for name, count in record.counts.get(record.task, {}).items() if name != "train")
    amount = record.steps * record.batch_size + evaluated * (1 + (record.evaluations or 1)) / 3
    working = (taken.train_seconds or 0.0) + (taken.evaluate_seconds or 0.0)
    working -= (taken.startup_seconds or 0.0) + (taken.compile_seconds or 0.0)
    working = min(max(working, 0.0), taken.total_seconds) or taken.total_seconds
    at_once = taken.at_once or 1
    return Observed(
        task=record.task,
        model=record.model,
        start=(taken.total_seconds - working) / at_once,
        seconds=working / at_once,
        amount=amount,
        flops=flops or taken.train_flops_per_example,
        parameters=record.parameters.get("total", 0),
        share=min(1.0, record.steps / _most_steps(record)),
    )


def _most_steps(record: Record) -> float:
    """The steps that a run takes where nothing ends it early."""
    recipe = record.settings.recipe
    if recipe.get("max_steps"):
        return float(recipe["max_steps"] or 1)
    epochs = math.ceil(float(recipe.get("epochs") or 0) * (record.updates_per_epoch or 0))
    return max(float(recipe.get("min_steps") or 1), epochs, record.steps if not epochs else 1)


@dataclass(frozen=True)
class Estimate:
    """Seconds of one run on one device, and what they come from."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Rates:
    """What tells how long runs take.

    Args:
        runs: earlier ones on the device.
        stated: FLOP/s that a device reaches, by model; for all others under ``""``.
    """

    runs: Sequence[Observed] = ()
    stated: Mapping[str, float] | None = None

    def estimate(self, work: Work) -> Estimate | None:
        """How long a run takes; None where nothing tells."""
        flops = work.total_flops
        rate = (self.stated or {}).get(work.model, (self.stated or {}).get(""))
        if rate is not None and flops is not None:
            return Estimate(flops / rate, STATED)
        own = [run for run in self.runs if run.model == work.model]
        same = [run for run in own if run.task == work.task]
        if same:
            return Estimate(_seconds(work, same, per_flop=False), SAME_TASK)
        if own:
            return Estimate(_seconds(work, own, per_flop=_have_flops(work, own)), SAME_MODEL)
        near = _nearest(work, [run for run in self.runs if run.flops])
        return Estimate(_seconds(work, near, per_flop=True), OTHERS) if near and work.flops else None


def _have_flops(work: Work, runs: Sequence[Observed]) -> bool:
    return bool(work.flops) and all(run.flops for run in runs)


def _seconds(work: Work, runs: Sequence[Observed], per_flop: bool) -> float:
    done = sum(run.amount * (run.flops or 1.0) if per_flop else run.amount for run in runs)
    todo = work.amount * (work.flops or 1.0) if per_flop else work.amount
    share = statistics.fmean(run.share for run in runs) if work.stops_early else 1.0
    return statistics.fmean(run.start for run in runs) + share * todo * sum(run.seconds for run in runs) / done


def _nearest(work: Work, runs: Sequence[Observed]) -> list[Observed]:
    """The runs of the model whose size is the nearest."""
    sizes = {run.model: run.parameters for run in runs if run.parameters}
    if not sizes or not work.parameters:
        return list(runs)
    wanted = math.log(work.parameters)
    model = min(sizes, key=lambda name: abs(math.log(sizes[name]) - wanted))
    return [run for run in runs if run.model == model]


# All runs together -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """What several runs take together.

    Attributes:
        works: of all runs.
        estimates: of each run on one device; None where nothing tells.
    """

    works: Sequence[Work]
    estimates: Sequence[Estimate | None]

    @property
    def unknown(self) -> int:
        """How many runs nothing tells of."""
        return sum(estimate is None for estimate in self.estimates)

    @property
    def sources(self) -> dict[str, int]:
        """How many estimates come from what, the most frequent first."""
        return dict(Counter(estimate.source for estimate in self.estimates if estimate is not None).most_common())

    @property
    def flops(self) -> float:
        """Of all runs whose model's size is known."""
        return sum(work.total_flops or 0.0 for work in self.works)

    @property
    def device_seconds(self) -> float:
        """Of all runs, as if one device did them."""
        return sum(estimate.seconds for estimate in self.estimates if estimate is not None)

    @property
    def longest(self) -> float:
        """Of the run that takes the longest."""
        return max((estimate.seconds for estimate in self.estimates if estimate is not None), default=0.0)

    def wall_seconds(self, devices: int) -> float:
        """Until all are done on so many devices, one run at a time on each, the longest first."""
        after = {work.key: work.after for work in self.works}
        runs = [
            (_depth(work.key, after), -estimate.seconds, work.key)
            for work, estimate in zip(self.works, self.estimates, strict=True)
            if estimate is not None
        ]
        free = [0.0] * min(devices, max(1, len(runs)))
        ends: dict[Key, float] = {}
        for _, negative, key in sorted(runs):
            parent = after[key]
            begins = max(heapq.heappop(free), ends.get(parent, 0.0) if parent else 0.0)
            ends[key] = begins - negative
            heapq.heappush(free, ends[key])
        return max(free)

    def of_model(self, model: str) -> Forecast:
        """The part of one model."""
        pairs = [(w, e) for w, e in zip(self.works, self.estimates, strict=True) if w.model == model]
        return Forecast([work for work, _ in pairs], [estimate for _, estimate in pairs])


def _depth(key: Key, after: Mapping[Key, Key | None]) -> int:
    depth, parent = 0, after.get(key)
    while parent is not None and depth <= len(after):
        depth, parent = depth + 1, after.get(parent)
    return depth


def forecast(works: Sequence[Work], rates: Rates) -> Forecast:
    """What runs take together."""
    return Forecast(works, [rates.estimate(work) for work in works])


def newest_device(records: Iterable[Record]) -> str | None:
    """The device that made the newest record; None without any."""
    newest = max(records, key=lambda record: record.efficiency.finished_at or "", default=None)
    return None if newest is None else device_of(newest)


def on_device(records: Iterable[Record], device: str) -> list[Record]:
    """The records that this device made."""
    return [record for record in records if device_of(record) == device]
