"""Recipes: the hyper-parameters of one fine-tuning, and how several layers give one.

A field's ``description`` completes "must be ..." in messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def as_tuple(value: Any) -> Any:
    """A single value stands for a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


Positive = Annotated[float, Field(gt=0, description="a number above 0")]
Epochs = Annotated[float, Field(gt=0, le=1e6, description="a number above 0, at most a million")]
NotNegative = Annotated[float, Field(ge=0, description="a number of at least 0")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
Count = Annotated[int, Field(ge=1, le=10**9, description="a whole number from 1 to 10^9")]
Flag = Annotated[bool, Field(description="true or false")]
Text = Annotated[str, Field(min_length=1, description="a text")]
TextList = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)]
Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...], BeforeValidator(as_tuple)]
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
            `harness.training.update.batch_size_of`).
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
