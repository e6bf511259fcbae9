"""What makes the numbers of a run not comparable."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")
"""Of all stored data: nothing unknown, nothing converted, no number without bounds, nothing changed later."""


class CaveatKind(StrEnum):
    """What makes the numbers of a run not comparable: as records name it, as tables show it, what footnotes add."""

    text: str
    explanation: str

    def __new__(cls, value: str, text: str, explanation: str = "") -> CaveatKind:
        kind = str.__new__(cls, value)
        kind._value_, kind.text, kind.explanation = value, text, explanation
        return kind

    SAMPLE_DATA = "sample_data", "sample data", "shows the machinery; compare with nothing published"
    PARTIAL_DATA = "partial_data", "partial data", "a split may come from an incomplete copy of the data set"
    LIMITED_DATA = "limited_data", "limited data", "trained or evaluated on a part of the examples"
    SELECTED_ON_VALIDATION = "selected_on_validation", "best checkpoint chosen on the validation data"
    SELECTED_ON_HOLDOUT = "selected_on_holdout", "best checkpoint chosen on a held-out part of the training data"
    RECIPE_FROM_VALIDATION = "recipe_from_validation", "recipe chosen on the validation data"
    TUNED_THRESHOLD = "tuned_threshold", "threshold tuned on a held-out part of the training data"
    INTERMEDIATE_TRAINING = "intermediate_training", "intermediate training on {}"
    UNPINNED_CHECKPOINT = "unpinned_checkpoint", "unpinned checkpoint"
    UNPINNED_DATA = "unpinned_data", "unpinned data"
    SEEN_IN_PRETRAINING = "seen_in_pretraining", "T5 v1.0 checkpoint: saw GLUE and SuperGLUE in pre-training"


class Caveat(BaseModel):
    """One reason why numbers are not comparable; ``detail`` is the task of an intermediate training."""

    model_config = STRICT

    kind: Annotated[CaveatKind, Field(strict=False)]
    detail: str = ""

    def __str__(self) -> str:
        return self.kind.text.format(self.detail)

    @property
    def explained(self) -> str:
        """The text of a footnote."""
        return f"{self}: {self.kind.explanation}" if self.kind.explanation else str(self)


Caveats = Annotated[tuple[Caveat, ...], Field(strict=False)]
