"""What benchmarks.yaml may say: recipes, models and benchmarks as typed, frozen objects.

A field's ``description`` completes "must be ..." in messages. Checks that need more than one object, or files, are in
`harness.config.benchmark`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from harness.config.recipe import (
    Count,
    Flag,
    NotNegative,
    Recipe,
    Seed,
    Settings,
    Share,
    Text,
    TextList,
    Trackers,
    as_tuple,
    layered,
)
from harness.config.sweep import Sweep, Values, size_of
from harness.task.task import Task

SOURCES = ("hub", "sample")  # the sources of data that are not folders


def absolute(name: str, base: Path) -> str:
    """The absolute path of what a file in ``base`` calls ``name``."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(name)))


_NO_OPTIONS = {"name", "architecture", "checkpoint", "revision", "config", "tokenizer", "recipe", "task_recipes"}


class Model(Settings):
    """A checkpoint, or a configuration to start from random weights, and what models of every architecture have.

    The settings of an architecture (`harness.config.architectures`) add its own options.

    Attributes:
        implementation: the module and the class of the architecture.
        tokenizer_family: what ``tokenizer: sample`` stands for: ``bert`` (WordPiece) or ``t5``.
        half_precision: whether ``precision: auto`` may choose fp16 where there is no bf16; T5's activations overflow.
        generates: whether answers are texts that the model writes.
        counts: for options that do not change every task, whether they change a task; others count for all.
        architecture: its name in `harness.config.architectures.ARCHITECTURES`.
        checkpoint, revision: a Hub id and its branch, tag or commit, or the absolute path of a folder.
        config: arguments of the configuration of a model with random weights; needs a ``tokenizer``.
        tokenizer: a Hub id, an absolute path, or ``sample`` (trained from the built-in sample text).
        dropout: None keeps the checkpoint's.
        clip: whether predictions of a regression beyond the range of its scores become the nearest score in it.
        recipe, task_recipes: what this model's recipes have in common, and those for single tasks, which win.
    """

    implementation: ClassVar[str]
    tokenizer_family: ClassVar[str] = "bert"
    half_precision: ClassVar[bool] = True
    generates: ClassVar[bool] = False
    counts: ClassVar[Mapping[str, Callable[[Task], bool]]] = {"clip": lambda task: task.score_range is not None}

    name: str
    architecture: str
    checkpoint: Text | None = Field(default=None, description="a Hub id or a folder")
    revision: Text | None = Field(
        default=None, description="a branch, a tag or a commit (in quotes where it reads as a number)"
    )
    config: dict[str, Any] | None = Field(default=None, description="a mapping of configuration arguments")
    tokenizer: Text | None = Field(default=None, description="a Hub id, a folder or sample")
    dropout: Share | None = Field(default=None, description="a number from 0 to 1")
    clip: Flag = False
    recipe: Recipe = Recipe()
    task_recipes: dict[str, Recipe] = Field(default={})

    def options(self, task: Task | None = None) -> dict[str, Any]:
        """The options of this architecture with their values; those that count for a task, if one is given."""
        every = self.model_dump(exclude=_NO_OPTIONS)
        if task is None:
            return every
        return {name: value for name, value in every.items() if name not in self.counts or self.counts[name](task)}

    @property
    def label_threshold(self) -> float | Literal["tuned"]:
        """The option ``threshold``; 0.5 for architectures that do not have it."""
        return getattr(self, "threshold", 0.5)

    @property
    def ranks_answers(self) -> bool:
        """Whether the model chooses among all answers of a task, which must then be a closed set."""
        return False


class Overrides(Settings):
    """Recipes for some tasks (of all models) and for some models (on all tasks); a model's wins."""

    tasks: dict[str, Recipe] = Field(default={})
    models: dict[str, Recipe] = Field(default={})


class Limit(Settings):
    """How many examples of a split are used; None is all."""

    train: Count | None = Field(default=None, description="a whole number from 1 to 10^9")
    validation: Count | None = Field(default=None, description="a whole number from 1 to 10^9")


class BenchmarkEntry(Settings):
    """An entry under ``benchmarks:`` (the fields: `BenchmarkSpec`), which is checked also without tasks and models."""

    name: str
    tasks: TextList = Field(default=(), min_length=1, description="a task, a suite or a list of them")
    models: TextList = Field(default=(), min_length=1, description="the name of a model or a list of them")
    data: Text | dict[str, Text] = Field(
        default="hub", description="hub, sample, a folder, or a mapping from task to these"
    )
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(as_tuple)] = Field(
        default=(1,), min_length=1, description="a list of whole numbers from 0 to 4294967295"
    )
    recipe: Recipe = Recipe()
    overrides: Overrides = Overrides()
    sweep: Sweep = Sweep()
    limit: Limit | None = None
    allow_partial: Flag = False
    selection: Literal["validation", "holdout"] = "validation"
    references: Flag = False
    interval: Literal["auto", "std", "ci"] = "auto"
    keep: Literal["none", "best", "all-seeds", "all"] = "none"
    checkpoint_every: NotNegative = 300.0
    predict: Annotated[tuple[Literal["test"], ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="[test] or []"
    )
    track: Trackers = Field(default=(), description="tensorboard, wandb, trackio or mlflow, or a list of them")
    init_from: Text | dict[str, Text] = Field(default={}, description="a task, or a mapping from task to task")
    description: str = Field(default="", description="a text")


class BenchmarkSpec(BenchmarkEntry):
    """Which models are trained on which tasks, from which data, how often and how.

    Attributes:
        tasks: names of tasks in order, diagnostics included.
        models: names of models.
        data: ``hub``, ``sample`` or an absolute path: for all tasks, or by task and suite.
        seeds: a run for each.
        recipe: what the runs' recipes have in common (see `layers`).
        sweep: recipes of which the best is chosen for each task and model (see `recipes_for`).
        limit: use only so many examples.
        allow_partial: accept copies of data sets that lack rows or splits.
        selection: what chooses the best checkpoint: the validation data, or a part held out of the training data.
        references: whether tables show published scores.
        interval: what tables show behind a mean over seeds: the standard deviation or the 95 % interval.
        keep: which models stay on disk: none, the best seed's of a task and a model, each run's, or all evaluated ones.
        checkpoint_every: seconds between two savings of the training state; 0 saves it after every step.
        predict: unlabelled splits to predict with the best checkpoint.
        track: experiment trackers that see the runs while they are under way.
        init_from: the task whose trained model others start from: of all others, or by task (see `parent`).
        model_recipes: the recipes of the models' own entries.
        task_recipes: their recipes for single tasks, by model and task.
        final: settings that win over every layer (``--set``).
        first_seed: the first of the benchmark's own seeds: that of a sweep's trials.
        catalogue: all tasks by name.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)  # Task is a dataclass of functions

    model_recipes: dict[str, Recipe] = Field(default={})
    task_recipes: dict[str, dict[str, Recipe]] = Field(default={})
    final: Recipe = Recipe()
    first_seed: Seed = 1
    catalogue: dict[str, Task] = Field(default={}, exclude=True, repr=False)

    @property
    def trained(self) -> list[str]:
        """The tasks that are not answered by the model of another."""
        return [name for name in self.tasks if self.catalogue[name].evaluated_by is None]

    def layers(self, task: str, model: str, swept: Sequence[Recipe | None] = (None,) * 3) -> list[tuple[str, Recipe]]:
        """The layers of a run's recipe over the defaults, from the least to the most specific, with names for messages.

        Args:
            swept: one of `swept`: its part of all runs comes after the model's own layers, the others
                right after the override of the same place.
        """
        layers = [
            ("benchmark", self.recipe),
            ("model", self.model_recipes.get(model)),
            ("task recipe", self.task_recipes.get(model, {}).get(task)),
            ("sweep", swept[0]),
            ("override", self.overrides.tasks.get(task)),
            ("sweep", swept[1]),
            ("override", self.overrides.models.get(model)),
            ("sweep", swept[2]),
            ("--set", self.final),
        ]
        return [(source, layer) for source, layer in layers if layer is not None]

    def recipe_for(self, task: str, model: str, swept: Sequence[Recipe | None] = (None,) * 3) -> Recipe:
        """A run's recipe; arguments as for `layers`."""
        return layered(*(layer for _, layer in self.layers(task, model, swept)))

    def space(self, task: str, model: str) -> dict[str, Values]:
        """What a sweep varies for a task and a model; keys that a more specific layer decides are left out."""
        samples = [self.recipe_for(task, model, swept).deciding() for swept in self.sweep.samples(task, model)]
        grid = self.sweep.grid(task, model)
        live = {key for key in grid if any(sample.get(key) != samples[0].get(key) for sample in samples)}
        return {key: values for key, (_, values) in grid.items() if key in live}

    def is_searched(self, task: str, model: str) -> bool:
        """Whether a sweep has more combinations for a task and a model than it tries."""
        return self.sweep.trials is not None and size_of(self.space(task, model)) > self.sweep.trials

    def swept(self, task: str, model: str) -> Iterator[tuple[Recipe, ...]]:
        """What a sweep gives at its three places: every combination or, of a search, samples (`Sweep.samples`)."""
        if self.is_searched(task, model):
            return self.sweep.samples(task, model)
        grid = {key: values for key, (_, values) in self.sweep.grid(task, model).items()}
        space = grid if self.sweep.trials is None else self.space(task, model)
        return self.sweep.combinations(task, model, space)

    def recipes_for(self, task: str, model: str) -> tuple[Recipe, ...]:
        """The recipes that the sweep tries for a task and a model, in order, each once; of a search, samples of them.

        There is one where nothing is swept, or where a more specific layer sets what is swept.
        """
        recipes = (self.recipe_for(task, model, swept) for swept in self.swept(task, model))
        distinct: dict[tuple[Any, ...], Recipe] = {}
        for recipe in recipes:
            distinct.setdefault(tuple(recipe.deciding().items()), recipe)
        return tuple(distinct.values())

    def source(self, task: Task) -> str | Path:
        """Where the task's data come from: ``"hub"``, ``"sample"`` or a folder."""
        if isinstance(self.data, str):
            source = self.data
        else:
            named = (task.name, task.suite, task.evaluated_by)  # a diagnostic lies beside the data of its task
            source = next((self.data[name] for name in named if name in self.data), "hub")
        return source if source in SOURCES else Path(source)

    def describe_source(self, task: Task) -> str:
        """`source`, as messages name it."""
        source = self.source(task)
        return {"hub": "the Hub's data set", "sample": "the sample data"}.get(str(source), str(source))

    def data_as_json(self) -> dict[str, Any]:
        """What the benchmark reads, as plain data."""
        return self.model_dump(mode="json", include={"data", "limit", "allow_partial"})

    def parent(self, task: str) -> str | None:
        """The task from whose trained model this one starts; None: from the checkpoint."""
        if isinstance(self.init_from, str):
            return self.init_from if self.init_from != task else None
        return self.init_from.get(task)

    def with_settings(self, final: Recipe) -> BenchmarkSpec:
        """The same benchmark, where the settings of ``final`` win over every layer."""
        return self.model_copy(update={"final": layered(self.final, final)})


class FileEntry(Settings):
    """The top of benchmarks.yaml; what stands under its names is checked entry by entry."""

    default: Text | None = Field(default=None, description="the name of a benchmark")
    plugins: TextList = Field(default=(), description="a folder of task plugins or a list of them")
    tasks: dict[str, Any] = Field(default={})
    models: dict[str, Any] = Field(default={})
    benchmarks: dict[str, Any] = Field(default={})
