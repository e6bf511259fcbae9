"""Sweeps: which recipes are tried, as lists of values or as ranges that a search draws from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, WrapValidator, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from harness.config.recipe import Flag, Recipe, Settings, as_tuple
from harness.config.yaml import Where, shown
from harness.errors import did_you_mean

MOST_TRIALS = 256


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both of them included, whole ones where ``low`` is whole.

    With ``log`` every order of magnitude is as likely as another.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it has whole numbers only."""
        return isinstance(self.low, int)

    def __len__(self) -> int:
        """How many numbers it has; for those that are not whole, more than any sweep tries."""
        return int(self.high - self.low) + 1 if self.whole else 10**9

    def listed(self) -> tuple[float, ...]:
        """All numbers of a range of whole ones."""
        return tuple(range(int(self.low), int(self.high) + 1))


Values = tuple[Any, ...] | Range
"""What a sweep says of a key."""


def size_of(space: Mapping[str, Values]) -> int:
    """How many combinations some values have."""
    return math.prod(map(len, space.values()))


def _ends(values: Values) -> tuple[Any, ...]:
    return (values.low, values.high) if isinstance(values, Range) else values


# Reading ---------------------------------------------------------------------------------------------------------


def _range(data: Mapping[str, Any], number: TypeAdapter[Any], description: str | None) -> Range:
    """The range that a mapping says, its ends checked as the recipe's field checks a value."""
    problems = [f"unknown key {shown(key)} in a range.{did_you_mean(str(key), RANGE_KEYS)}" for key in data
                if key not in RANGE_KEYS]  # fmt: skip
    ends: dict[str, Any] = {}
    for key in ("low", "high"):
        if key not in data:
            problems.append(f"a range needs '{key}'")
            continue
        try:
            ends[key] = number.validate_python(data[key], strict=True)
        except ValidationError:
            ends[key] = None
        if ends[key] is None or isinstance(ends[key], bool | str):
            wanted = (description or "a number").removesuffix(", or null").removesuffix(", epoch or null")
            problems.append(f"{key} must be {wanted}, not {shown(data[key])}")
    log = data.get("log", False)
    if not isinstance(log, bool):
        problems.append(f"log must be true or false, not {shown(log)}")
    if not problems and ends["low"] >= ends["high"]:
        problems.append(f"low {shown(data['low'])} must be below high {shown(data['high'])}")
    if not problems and log and ends["low"] <= 0:
        problems.append("log: true needs a low above 0")
    if problems:
        raise PydanticCustomError("range", "{problems}", {"problems": "; ".join(problems)})
    return Range(ends["low"], ends["high"], log)


RANGE_KEYS = ("low", "high", "log")


def _is_number(annotation: Any) -> bool:
    """Whether a field takes numbers."""
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


def _values(field: FieldInfo) -> Any:
    """A sweep's field: several values, each checked as the recipe's field checks it, or a range of numbers."""
    value = Annotated[field.annotation, Field(), *field.metadata]  # type: ignore[name-defined]
    description = field.description and f"one value or several, each {field.description}"

    def read(data: Any, several: Any) -> Any:
        if isinstance(data, Range) or not isinstance(data, Mapping):
            return data if isinstance(data, Range) else several(data)
        if not _is_number(field.annotation):
            raise PydanticCustomError("range", "a range is of numbers: list the values instead")
        return _range(data, TypeAdapter(value), field.description)

    several = Annotated[tuple[value, ...], Field(min_length=1), BeforeValidator(as_tuple)]
    return Annotated[several, WrapValidator(read)], Field(default=(), description=description)


_GRID: Any = create_model(
    "_GRID", __base__=Settings, **{name: _values(field) for name, field in Recipe.model_fields.items()}
)


# What is tried ---------------------------------------------------------------------------------------------------


class Grid(_GRID):
    """The values that are tried, by recipe key."""

    def swept(self) -> dict[str, Values]:
        """The values of the keys that are given, in the order of a recipe."""
        return {name: getattr(self, name) for name in Recipe.model_fields if name in self.model_fields_set}


class Sweep(Grid):
    """Recipes to try: of all runs, of those of some tasks and of those of some models.

    Where a key is given at several places, a task's values replace those of all runs, and a model's replace both.

    Attributes:
        trials: how many recipes are tried of each task and model, where there are more; None: all combinations.
        prune: whether a trial ends early whose learning curve stays below the median of the others.
    """

    trials: int | None = Field(
        default=None, ge=2, le=MOST_TRIALS, description=f"a whole number from 2 to {MOST_TRIALS}"
    )
    prune: Flag = True
    tasks: dict[str, Grid] = Field(default={})
    models: dict[str, Grid] = Field(default={})

    def grid(self, task: str, model: str) -> dict[str, tuple[int, Values]]:
        """What is swept for a task and a model: the place (0: all runs, 1: task, 2: model) and values of each key."""
        places = (self, self.tasks.get(task), self.models.get(model))
        settings = {
            key: (place, values) for place, grid in enumerate(places) if grid for key, values in grid.swept().items()
        }
        return {key: settings[key] for key in Recipe.model_fields if key in settings}

    def at(self, task: str, model: str, values: Mapping[str, Any]) -> tuple[Recipe, ...]:
        """A recipe of what is given at each of the three places; a key without a value has its first one."""
        chosen: tuple[dict[str, Any], ...] = ({}, {}, {})
        for key, (place, every) in self.grid(task, model).items():
            chosen[place][key] = values[key] if key in values else _ends(every)[0]
        return tuple(Recipe(**settings) for settings in chosen)

    def combinations(self, task: str, model: str, space: Mapping[str, Values]) -> Iterator[tuple[Recipe, ...]]:
        """For each combination of the values in ``space``, the recipes of the three places (see `at`)."""
        lists = [values.listed() if isinstance(values, Range) else values for values in space.values()]
        for combination in itertools.product(*lists):
            yield self.at(task, model, dict(zip(space, combination, strict=True)))

    def samples(self, task: str, model: str) -> Iterator[tuple[Recipe, ...]]:
        """A few recipes that together have every value of a list and both ends of a range."""
        every = {key: _ends(values) for key, (_, values) in self.grid(task, model).items()}
        for others in (0, -1):
            usual = {key: values[others] for key, values in every.items()}
            yield self.at(task, model, usual)
            for key, values in every.items():
                for value in values:
                    yield self.at(task, model, {**usual, key: value})

    def problems(self) -> Iterator[tuple[Where, str]]:
        """What does not fit together, each with its place."""
        grids: list[tuple[Where, Grid]] = [((), self)]
        grids += [(("tasks", name), grid) for name, grid in self.tasks.items()]
        grids += [(("models", name), grid) for name, grid in self.models.items()]
        for where, grid in grids:
            for key, values in grid.swept().items():
                title = ".".join(map(str, ("sweep", *where, key)))
                if isinstance(values, Range):
                    if self.trials is None:
                        yield (*where, key), f"{title}: a range needs 'trials' in the sweep: how many recipes to try"
                    continue
                for value in dict.fromkeys(value for i, value in enumerate(values) if value in values[:i]):
                    yield (*where, key), f"{title}: {shown(value)} is listed twice"
        if self.trials is not None and not any(grid.swept() for _, grid in grids):
            yield ("trials",), "sweep.trials: there are no values or ranges to try"

    @property
    def is_whole(self) -> bool:
        """Whether all that is to be tried is known: there are no ranges without a number of trials."""
        grids = (self, *self.tasks.values(), *self.models.values())
        return self.trials is not None or not any(
            isinstance(values, Range) for grid in grids for values in grid.swept().values()
        )
