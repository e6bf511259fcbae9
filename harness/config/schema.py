"""What benchmarks.yaml may say: recipes, models and benchmarks as typed, frozen objects.

A field's ``description`` completes "must be ..." in messages. Checks that need more than one object, or files, are in
`harness.config.benchmark`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from harness.task.task import Task

SOURCES = ("hub", "sample")  # the sources of data that are not folders


def _as_tuple(value: Any) -> Any:
    """A single value stands for a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def absolute(name: str, base: Path) -> str:
    """The absolute path of what a file in ``base`` calls ``name``."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(name)))


Positive = Annotated[float, Field(gt=0, description="a number above 0")]
Epochs = Annotated[float, Field(gt=0, le=1e6, description="a number above 0, at most a million")]
NotNegative = Annotated[float, Field(ge=0, description="a number of at least 0")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
Count = Annotated[int, Field(ge=1, le=10**9, description="a whole number from 1 to 10^9")]
Flag = Annotated[bool, Field(description="true or false")]
Text = Annotated[str, Field(min_length=1, description="a text")]
TextList = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_tuple)]
Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...], BeforeValidator(_as_tuple)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Settings(BaseModel):
    """Nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


TWO_NAMES = {"batch_size": "batch_tokens", "epochs": "max_steps", "evaluations": "eval_every"}
"""Settings with a second name, which decides where it is given."""


class Recipe(Settings):
    """The hyper-parameters of one fine-tuning.

    A recipe in benchmarks.yaml says only what differs; `layered` puts several together.

    Attributes:
        batch_size: examples per update, over all processes and accumulation steps.
        batch_tokens: input tokens per update; when given, it decides instead of ``batch_size`` (see
            `harness.training.trainer.batch_size_of`).
        epochs: passes over the training data; ``max_steps``, when given, decides instead.
        min_steps: the least number of updates: of ``epochs``, and before ``patience`` may end the training.
        warmup_ratio: share of the steps in which the learning rate rises from 0.
        max_length: the longest input, in tokens.
        precision: what matrix products are computed in; ``auto`` is the fastest one of good scores (see
            `harness.training.device.resolve_precision`), ``tf32`` is fp32 with TF32 products on GPUs that have them.
        evaluations: how many evaluations choose the best checkpoint, evenly spread over the steps, the last one after
            the last step; ``eval_every``, when given, decides instead.
        eval_every: steps between evaluations, or ``epoch``.
        patience: evaluations without improvement before training stops; None never stops early.
        gradient_checkpointing: keep only what layers read, and compute the rest again in the backward pass: less
            memory, a third more work.
        max_grad_norm: gradients are clipped to this norm; 0 does not clip.
        label_smoothing: the share of a target that is spread over all classes (T5: words); a regression has none.
        deterministic: use only operations that give the same bits every time.
    """

    learning_rate: Positive = 1e-4
    batch_size: Count = 32
    batch_tokens: Count | None = Field(default=None, description="a whole number from 1 to 10^9, or null")
    epochs: Epochs = 3.0
    max_steps: Count | None = Field(default=None, description="a whole number from 1 to 10^9, or null")
    min_steps: Count | None = Field(default=None, description="a whole number from 1 to 10^9, or null")
    warmup_ratio: Share = 0.06
    weight_decay: NotNegative = 0.0
    max_length: int = Field(default=256, ge=8, le=1_000_000, description="a whole number from 8 to a million")
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    schedule: Literal["linear", "constant"] = "linear"
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = Field(default=False, description="true, false or auto")
    evaluations: Count = 10
    eval_every: Count | Literal["epoch"] | None = Field(
        default=None, description="a whole number from 1 to 10^9, epoch or null"
    )
    patience: Count | None = Field(default=None, description="a whole number from 1 to 10^9, or null")
    gradient_accumulation: Count = 1
    gradient_checkpointing: Flag = False
    max_grad_norm: NotNegative = 1.0
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="a number from 0 to below 1")
    deterministic: Flag = False

    def deciding(self) -> dict[str, Any]:
        """All settings but those whose second name decides."""
        return self.model_dump(
            exclude={name for name, stronger in TWO_NAMES.items() if getattr(self, stronger) is not None}
        )


def given_by(layers: Iterable[tuple[str, Recipe]]) -> dict[str, tuple[Any, str]]:
    """What several layers, each with the name of its source, give together: (value, source) by key.

    A later layer wins in what it sets. Two names of one setting: a layer that gives only the weaker one ends the
    stronger one of earlier layers. A ``max_steps`` also ends an earlier ``min_steps``.
    """
    given: dict[str, tuple[Any, str]] = {}
    for source, layer in layers:
        own = layer.model_dump(exclude_unset=True)
        for name, stronger in TWO_NAMES.items():
            if name in own and stronger not in own:
                given.pop(stronger, None)
        if own.get("max_steps") is not None:
            given.pop("min_steps", None)
        given |= {key: (value, source) for key, value in own.items()}
    return given


def layered(*layers: Recipe) -> Recipe:
    """One recipe out of several (see `given_by`)."""
    given = given_by(("", layer) for layer in layers)
    return Recipe(**{key: value for key, (value, _) in given.items()})


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
    task_recipes: dict[str, Recipe] = {}

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

    tasks: dict[str, Recipe] = {}
    models: dict[str, Recipe] = {}


def _values(field: FieldInfo) -> Any:
    """A sweep's field: several values, each checked as the recipe's field checks it."""
    value = Annotated[field.annotation, Field(), *field.metadata]  # type: ignore[name-defined]
    description = field.description and f"one value or several, each {field.description}"
    values = Annotated[tuple[value, ...], BeforeValidator(_as_tuple)]
    return values, Field(default=(), min_length=1, description=description)


_GRID: Any = create_model(
    "_GRID", __base__=Settings, **{name: _values(field) for name, field in Recipe.model_fields.items()}
)


class Grid(_GRID):
    """The values that are tried, by recipe key."""

    def swept(self) -> dict[str, tuple[Any, ...]]:
        """The values of the keys that are given, in the order of a recipe."""
        return {name: getattr(self, name) for name in Recipe.model_fields if name in self.model_fields_set}


class Sweep(Grid):
    """Recipes to try: of all runs, of those of some tasks and of those of some models.

    All combinations of the values are tried. Where a key is given at several places, a task's values replace those of
    all runs, and a model's replace both.
    """

    tasks: dict[str, Grid] = Field(default={})
    models: dict[str, Grid] = Field(default={})

    def grid(self, task: str, model: str) -> dict[str, tuple[int, tuple[Any, ...]]]:
        """What is swept for a task and a model: the place (0: all runs, 1: task, 2: model) and values of each key."""
        places = (self, self.tasks.get(task), self.models.get(model))
        settings = {
            key: (place, values) for place, grid in enumerate(places) if grid for key, values in grid.swept().items()
        }
        return {key: settings[key] for key in Recipe.model_fields if key in settings}

    def combinations(self, task: str, model: str) -> Iterator[tuple[Recipe, ...]]:
        """For each combination of values, a recipe of those that are given at each of the three places."""
        grid = self.grid(task, model)
        for values in itertools.product(*(values for _, values in grid.values())):
            chosen: tuple[dict[str, Any], ...] = ({}, {}, {})
            for (key, (place, _)), value in zip(grid.items(), values, strict=True):
                chosen[place][key] = value
            yield tuple(Recipe(**settings) for settings in chosen)


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
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_as_tuple)] = Field(
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
    predict: Annotated[tuple[Literal["test"], ...], BeforeValidator(_as_tuple)] = Field(
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

    model_recipes: dict[str, Recipe] = {}
    task_recipes: dict[str, dict[str, Recipe]] = {}
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
            swept: one of `Sweep.combinations`: its part of all runs comes after the model's own layers, the others
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

    def recipes_for(self, task: str, model: str) -> tuple[Recipe, ...]:
        """The recipes that the sweep tries for a task and a model, in order, each once.

        There is one where nothing is swept, or where a more specific layer sets what is swept.
        """
        recipes = (self.recipe_for(task, model, swept) for swept in self.sweep.combinations(task, model))
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
    tasks: dict[str, Any] = {}
    models: dict[str, Any] = {}
    benchmarks: dict[str, Any] = {}
