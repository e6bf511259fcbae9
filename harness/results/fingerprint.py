"""What identifies a run: all that decides its scores, and the hash of it."""

from __future__ import annotations

from harness.io import fingerprint
from harness.results.fields import Count, Digest, Json, Scalar, Seed, Stored


class ModelIdentity(Stored):
    """What a model is by content, never by name or path; ``content`` is None for random weights."""

    architecture: str
    content: str | None = None
    config: dict[str, Json] | None = None
    tokenizer: str | None = None
    options: dict[str, Scalar] = {}


class DataIdentity(Stored):
    """What the data of a task is: where it comes from, a hash of the content of each split, the limit of each.

    ``held_out`` is a hash of what says which examples belong together, where a part of the training data is not
    trained on.
    """

    source: str
    content: dict[str, str | None] = {}
    id: str | None = None
    config: str | None = None
    revision: str | None = None
    limit: dict[str, Count | None] | None = None
    held_out: Digest | None = None


class RunSettings(Stored):
    """All that decides the scores of a run. Its hash is the run's fingerprint, and the record holds it.

    Attributes:
        score_version: of the code.
        model: by content, with the options of its architecture.
        tasks: the definition of the trained task and of each diagnostic, by name; {} in records of schema 1.
        data: what these read, by name.
        recipe: hyper-parameters as this machine used them.
        parent: the fingerprint of the run that this one starts from.
    """

    score_version: int
    model: ModelIdentity
    tasks: dict[str, dict[str, Json]] = {}
    data: dict[str, DataIdentity]
    limit: dict[str, Count | None] | None = None
    selection: str
    allow_partial: bool = False
    recipe: dict[str, Scalar]
    seed: Seed
    parent: Digest | None = None

    @property
    def fingerprint(self) -> str:
        """The identity of the run."""
        return fingerprint(self.model_dump())
