"""What a benchmark would do, and is done of it: without torch, without the network, without training anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from harness.config.benchmark import BenchmarkFile
from harness.config.effective import effective_recipes
from harness.config.schema import BenchmarkSpec, Model, Recipe
from harness.data.hub import Checkpoint
from harness.data.hub_access import is_commit
from harness.errors import HarnessError
from harness.format import plural
from harness.io import fingerprint
from harness.planning.disk import disk_of
from harness.planning.estimate import Forecast, Rates, forecast, newest_device, observed, on_device
from harness.planning.machine import device_of, this_device
from harness.planning.texts import plan_table, summary
from harness.planning.work import Work
from harness.results.fingerprint import RunSettings
from harness.results.live import UnderWay, under_way
from harness.results.manifest import Choice
from harness.results.record import Record
from harness.results.store import Store, benchmarks_in
from harness.runner.diagnostics import left_out, settled
from harness.runner.plan import Run, expand
from harness.runner.resources import Context, Resources
from harness.runner.search import recipes_of, trials_of
from harness.runner.status import TO_TRAIN, Statuses, statuses_of
from harness.runner.sweep import choose, chosen_recipes, run_table
from harness.runner.works import work_of_run
from harness.task.task import Task

if TYPE_CHECKING:
    from harness.training.device import Machine

HERE = ("precision", "compile")
"""The settings of a recipe that the machine may decide."""


@dataclass(frozen=True)
class Alone:
    """A process that computes nothing, in place of Accelerate's."""

    num_processes: int = 1
    process_index: int = 0
    is_main_process: bool = True
    device: None = None


class PlannedResources(Resources):
    """What is read from outside, as far as it is on this machine; `auto` settings are those of runs that are there."""

    earlier: Earlier | None = None

    def settled(self, runs: Iterable[Any]) -> list[Any]:
        """The runs with the settings of what is there of them."""
        return super().settled(runs) if self.earlier is None else self.earlier.settled(runs)

    def checkpoint(self, model: Model) -> Checkpoint | None:
        """The model's checkpoint; of one on the Hub that is not in its cache only the commit, where it is pinned."""
        try:
            return super().checkpoint(model)
        except HarnessError:
            name = str(model.checkpoint)
            if os.path.isdir(os.path.expanduser(name)) or name.startswith(("/", "./", "../", "~")):
                raise
            commit = model.revision if is_commit(model.revision) else None
            return Checkpoint(self.cache / "not-here", commit, commit is not None, commit or "not in the cache")

    def model_identity(self, model: Model, task: Task) -> dict[str, Any]:
        """As of all resources, without the tokenizer, which takes a while to load."""
        checkpoint = self.checkpoint(model)
        if checkpoint is None and model.tokenizer is None:
            self.tokenizer(model)  # which says what is missing
        return {
            "architecture": model.architecture,
            "options": model.options(task),
            "content": checkpoint.content if checkpoint else None,
            "config": model.config,
            "tokenizer": None,
        }

    def tokenizer_identity(self, model: Model) -> str | None:
        """The fingerprint of a tokenizer that the model names; None where its checkpoint decides it."""
        return self._tokenizer(model)[1] if model.tokenizer is not None else None

    def resolved(self, recipe: Recipe, model: Model, task: Task, device: Any) -> Recipe:
        """The recipe as it stands in the file."""
        return recipe

    def labelled(self, task: Task, split: str) -> bool:
        """As of all resources; of data on the Hub, which would have to be read, a record tells."""
        return self.source(task) != "hub" and super().labelled(task, split)

    def data(self, task: Task, splits: Sequence[str], model: Model | None = None) -> dict[str, Any]:
        """As of all resources; of an unpinned data set that is not in the cache nothing is known."""
        try:
            return super().data(task, splits, model)
        except HarnessError:
            if self.source(task) != "hub":
                raise
            return {"source": "hub", "content": dict.fromkeys(splits, "not in the cache")}


# The runs that there are already ---------------------------------------------------------------------------------


class Elsewhere(Protocol):
    """What does runs on other machines, or on this one beside the command."""

    @property
    def here(self) -> bool:
        """Whether they are done on this machine."""

    @property
    def machine(self) -> Machine | None:
        """What decides what ``auto`` means there; None: this machine."""


@dataclass(frozen=True)
class Begun:
    """A run that left something: its settings, and the device that made its record; None of one under way."""

    settings: RunSettings
    device: str | None


@dataclass
class Earlier:
    """The runs of a results folder, done or under way, by all of their settings that need no torch to be known."""

    resources: PlannedResources
    device: str
    runs: dict[str, list[Begun]] = field(default_factory=dict)
    engine: Elsewhere | None = None
    """What does the runs on other machines, if any does."""

    @classmethod
    def of(cls, resources: PlannedResources, records: Iterable[Record], begun: Mapping[str, UnderWay]) -> Earlier:
        """Those with these records, and those under way."""
        earlier = cls(resources, this_device())
        for record in records:
            if record.predicts_tests_of is None:
                earlier._add(record.task, Begun(record.settings, device_of(record)))
        for run in begun.values():
            if run.about.settings is not None:
                earlier._add(run.about.task, Begun(run.about.settings, None))
        return earlier

    def _add(self, task: str, begun: Begun) -> None:
        self.runs.setdefault(_sketch(begun.settings, task), []).append(begun)

    def settled(self, runs: Iterable[Run]) -> list[Run]:
        """The runs, each with the settings of what is there of it, and so with its fingerprint."""
        new: dict[Run, Run] = {}
        for run in runs:
            parent = new[run.parent] if run.parent is not None else None
            settings = run.settings.model_copy(update={"parent": parent.fingerprint if parent else None})
            begun = self._match(run, settings)
            if begun is not None:
                own = {"model": begun.model, "recipe": begun.recipe}
                unread = {"tasks": begun.tasks, "data": begun.data} if self._is_unread(run) else {}
                settings = settings.model_copy(update={**own, **unread})
            decided = {key: settings.recipe[key] for key in HERE if key in settings.recipe}
            recipe = run.recipe.model_copy(update=decided)
            new[run] = replace(run, settings=settings, recipe=recipe, parent=parent)
        return list(new.values())

    def _match(self, run: Run, settings: RunSettings) -> RunSettings | None:
        """The settings of a run that is there already, and that this machine would do no other."""
        candidates = [
            begun for begun in self.runs.get(_sketch(settings, run.task.name), []) if self._fits(run, begun.settings)
        ]
        if not candidates:
            return None
        asked: str = run.recipe.precision
        here = self.engine is None and any(begun.device in (None, self.device) for begun in candidates)
        if asked == "auto" and not here:
            asked = _resolved_precision(run, self.engine)
        exact = [begun for begun in candidates if asked in ("auto", begun.settings.recipe.get("precision"))]
        exact.sort(key=lambda begun: begun.device != self.device)
        return exact[0].settings if exact else None

    def _is_unread(self, run: Run) -> bool:
        """Whether the data of its diagnostics would have to be read to know which ones have labels."""
        return self.resources.source(run.task) == "hub"

    def _fits(self, run: Run, settings: RunSettings) -> bool:
        """Whether what `_sketch` leaves out fits."""
        if run.recipe.compile not in ("auto", settings.recipe.get("compile")):
            return False
        try:
            return self.resources.tokenizer_identity(run.model) in (None, settings.model.tokenizer)
        except HarnessError:
            return False


def _sketch(settings: RunSettings, task: str) -> str:
    """A hash of all settings but those that this machine, a tokenizer or the data of diagnostics decide."""
    content = settings.model_dump()
    content["recipe"] = {k: v for k, v in content["recipe"].items() if k not in HERE}
    content["model"] = {**content["model"], "tokenizer": None}
    content["parent"] = None
    for part in ("tasks", "data"):
        content[part] = {name: value for name, value in content[part].items() if name == task}
    return fingerprint(content)


def _resolved_precision(run: Run, engine: Elsewhere | None = None) -> str:
    """What ``auto`` is on this machine, or a cluster: only torch can tell, where records are of other devices alone."""
    import torch

    from harness.training.device import resolve_precision

    machine = engine.machine if engine is not None else None
    if machine is not None:
        return resolve_precision("auto", torch.device(machine.device), run.model.half_precision, machine.fast_bf16)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return resolve_precision("auto", device, run.model.half_precision)


# The plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """A benchmark's runs, the trials of its sweep first, what they compute, and how long what is left of it takes.

    Attributes:
        works: of all runs, those that wait for a sweep included.
        left: of those that are not done.
        device: that does the runs: this machine's, or, of a cluster, the one that made the newest record here.
        at_once: None: the runs are done by devices, one at a time on each; else by a cluster, so many at a time.
    """

    spec: BenchmarkSpec
    tried: Statuses
    choices: Sequence[Choice]
    runs: Statuses
    begun: Mapping[str, UnderWay]
    works: Sequence[Work]
    left: Sequence[Work]
    rates: Rates
    device: str
    at_once: int | None = None

    @property
    def forecast(self) -> Forecast:
        """Of the runs that are not done."""
        return forecast(self.left, self.rates)

    def text(self, devices: Sequence[int] = (1,), price: float | None = None) -> str:
        """What is left to do, and what it takes on so many devices (of a cluster: as many runs at a time as it does).

        Args:
            price: of a device and an hour, to show the cost.
        """
        done = len(self.works) - len(self.left)
        head = f"{self.spec.name}: {plural(len(self.works), 'run')}, {done} done"
        if not self.left:
            return head
        here, numbers = self.at_once is None, devices if self.at_once is None else [self.at_once]
        table = plan_table(self.forecast, numbers, price, here)
        notes = [summary(self.forecast, self.device, here), disk_of(self.left, self.spec.keep)]
        return "\n\n".join([head, table, "\n".join(notes)])


def planned(
    file: BenchmarkFile,
    spec: BenchmarkSpec,
    results: Path,
    stated: Mapping[str, float] | None = None,
    engine: Elsewhere | None = None,
    at_once: int | None = None,
) -> Planned:
    """What a benchmark would do, as far as this machine can tell without network.

    Args:
        stated: FLOP/s that a device reaches (`Rates`).
        engine: what does the runs, where a cluster does.
        at_once: how many it does at a time.

    Raises:
        HarnessError: data or checkpoints in folders that are not there or cannot be used.
    """
    store = Store(results, spec.name)
    resources = PlannedResources(spec, store.cache)
    context = Context(file, resources, store, *cast(Any, (Alone(), None, None, None)))
    records, begun = _records(results), under_way(store.work)
    earlier = resources.earlier = Earlier.of(resources, records, begun)
    earlier.engine = engine
    tried = trials_of(context)
    choices = choose(context, tried)
    device, chosen = cast(Any, None), chosen_recipes(tried, choices)  # nothing is resolved
    runs = settled(context, expand(file, resources, device, chosen, recipes_of(context)), retrain=False)
    tried_statuses, statuses = statuses_of(context, tried), statuses_of(context, runs)
    works = {run: work_of_run(resources, run) for run in dict.fromkeys([*tried, *runs])}
    todo = [run for run, status in {**statuses, **tried_statuses}.items() if status in TO_TRAIN]
    later = _waiting(spec, choices, works)
    name = earlier.device if engine is None or engine.here else newest_device(records) or "not known yet"
    rates = Rates(observed(on_device(records, name), works.values()), stated)
    every, left = [*works.values(), *later], [*(works[run] for run in todo), *later]
    return Planned(spec, tried_statuses, choices, statuses, begun, every, left, rates, name, at_once)


def _waiting(spec: BenchmarkSpec, choices: Iterable[Choice], works: Mapping[Run, Work]) -> list[Work]:
    """The other seeds of what a sweep has not chosen yet, each as its first trial."""
    first = {run.pair: work for run, work in reversed([*works.items()])}
    seeds = [seed for seed in spec.seeds if seed != spec.first_seed]
    undecided = [choice.pair for choice in choices if choice.chosen is None]
    return [first[pair].model_copy(update={"seed": seed}) for pair in undecided for seed in seeds]


def _records(results: Path) -> list[Record]:
    """All records of a results folder; none where there is no folder."""
    if not results.is_dir():
        return []
    return [record for name in benchmarks_in(results) for record in Store(results, name).records()]


def dry_run(file: BenchmarkFile, spec: BenchmarkSpec, results: Path, engine: Elsewhere | None = None) -> str:
    """The runs of a benchmark as a table: which are done, why others would be trained (again); then what is left to
    compute, how long that takes, and the recipes.
    """
    plan = planned(file, spec, results, engine=engine)
    table = run_table(spec, plan.tried, plan.choices, plan.runs, plan.begun)
    left = [summary(plan.forecast, plan.device)] if plan.left else []
    return "\n\n".join([table, *left_out(plan.runs), *left, effective_recipes(spec)])
