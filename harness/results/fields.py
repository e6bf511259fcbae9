"""The types of the values in our files: what is read back is one of these, or damaged."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from harness.errors import HarnessError
from harness.io import number
from harness.results.caveats import STRICT


class Damaged(HarnessError):
    """A file of ours that must not be used, and why."""


def _score(value: float) -> float:
    if not (math.isnan(value) or abs(value) <= 1e9):
        raise ValueError("a score is finite or undefined")
    return value


def _shallow(value: Any, levels: int = 20) -> Any:
    if levels == 0:
        raise ValueError("nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _shallow(inner, levels - 1)
    return value


NAME = "^[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,99}$"
"""Of tasks, models and benchmarks: what can safely be the name of a folder."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, le=1e30)]
Score = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(number), AfterValidator(_score)]
"""A fraction; NaN where it is undefined, which JSON holds as the text ``nan``."""
Logit = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(number)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Json = Annotated[Any, AfterValidator(_shallow)]
Name = Annotated[str, Field(pattern=NAME)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
BatchSize = Literal["1", "8", "32", "128"]
Scalar = bool | int | float | str | None
Texts = Annotated[tuple[str, ...], Field(strict=False)]
EMPTY: Any = Field(default_factory=dict)
"""The default of a mapping; {} would be copied with care, which takes longer than the rest of a small record."""
Pairs = Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)]


class Stored(BaseModel):
    """Nothing unknown, nothing converted, no number without bounds, nothing changed later."""

    model_config = STRICT
