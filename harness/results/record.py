"""The record of one run: what it holds, as typed data that is checked whenever it is made or read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.errors import printable
from harness.io import disk_errors, from_json, number, open_regular, read_file
from harness.results.caveats import STRICT as STRICT
from harness.results.caveats import Caveat as Caveat
from harness.results.caveats import CaveatKind as CaveatKind
from harness.results.caveats import Caveats
from harness.results.fields import (
    EMPTY,
    Amount,
    BatchSize,
    Count,
    Damaged,
    Digest,
    Json,
    Logit,
    Pairs,
    Score,
    Stored,
    Texts,
)
from harness.results.fingerprint import RunSettings

SCHEMA = 2
PREDICTIONS, HISTORY, LOG = "predictions.jsonl", "history.jsonl", "run.log"
OLD_HISTORY = "curve.jsonl"
"""The name of history.jsonl in records of schema 1."""


class Efficiency(Stored):
    """The content of efficiency.json: all that the clock and the machine decide; None where it was not measured.

    Runs that shared a machine (``at_once``) have their times and their memory; rates, latencies and startup are
    measured afterwards, alone, of one seed.

    Seconds, bytes, joules, examples and tokens per second, floating-point operations.

    Attributes:
        at_once: how many runs the command did at a time; None: one.
        train_share_of_matrix_rate, mfu: FLOPs of training, of ``matrix_flops_``, of ``datasheet_flops_per_second``.
        inference_rates: by the examples in a batch; None for a size that did not fit in memory or time.
        tokenisation_examples_per_second: from examples to features.
        peak_memory_bytes: the most that the run added to the memory of a process.
    """

    finished_at: str | None = None
    at_once: Count | None = None
    total_seconds: Amount | None = None
    train_seconds: Amount | None = None
    startup_seconds: Amount | None = None
    compile_seconds: Amount | None = None
    evaluate_seconds: Amount | None = None
    train_examples_per_second: Amount | None = None
    train_tokens_per_second: Amount | None = None
    matrix_flops_per_second: Amount | None = None
    train_share_of_matrix_rate: Amount | None = None
    datasheet_flops_per_second: Amount | None = None
    mfu: Amount | None = None
    flops_per_example: Count | Amount | None = None
    train_flops_per_example: Count | Amount | None = None
    tokens_per_example: Amount | None = None
    latency_p50_seconds: Amount | None = None
    latency_p95_seconds: Amount | None = None
    latency_examples: Count | None = None
    inference_rates: dict[BatchSize, Amount | None] | None = None
    tokenisation_examples_per_second: Amount | None = None
    peak_memory_bytes: Count | None = None
    peak_device_bytes: Count | None = None
    energy_joules: Amount | None = None
    energy_source: str | None = None

    @property
    def shared(self) -> bool:
        """Whether the times are those of a run that shared the machine with others of its command."""
        return (self.at_once or 1) > 1

    def measured(self) -> dict[str, Any]:
        """What was measured, by name in alphabetical order."""
        return dict(sorted(self.model_dump(exclude_none=True).items()))


class TaskColumn(Stored):
    """How tables show a task that no plugin defines any more: ``parts`` are its (split, metric) scores.

    ``selection`` is the metric that counts in averages and chooses the checkpoint; ``mean``: all do.
    """

    title: str
    suite: str
    parts: Pairs
    selection: str = "mean"


Answer = int | float | str | list[int] | list[str] | None
"""A class index, a score, a text, several of them; None: unlabelled."""


class Prediction(TypedDict):
    """A line of predictions.jsonl: what the model answered to one example, by ``scores`` or by a generated ``output``.

    ``index`` is the example's position in its split, ``idx`` its official number (as the data set has it), ``cluster``
    the index of the first of the examples that it belongs together with; none for one that is alone.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    task: str
    split: str
    index: Count
    idx: NotRequired[Json]
    cluster: NotRequired[Count]
    label: Answer
    prediction: Answer
    label_name: NotRequired[str | list[str] | None]
    prediction_name: NotRequired[str | list[str] | None]
    scores: NotRequired[list[list[Logit]]]
    probabilities: NotRequired[list[list[Logit]]]
    output: NotRequired[str]


class Point(TypedDict):
    """A line of history.jsonl: the training loss at a step, or an evaluation."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    step: Count
    epoch: NotRequired[Amount]
    loss: NotRequired[Score | None]
    learning_rate: NotRequired[Amount]
    scores: NotRequired[dict[str, dict[str, Score]]]
    selection_score: NotRequired[Score]


ROWS: dict[str, TypeAdapter[Any]] = {PREDICTIONS: TypeAdapter(Prediction), HISTORY: TypeAdapter(Point)}


class Record(Stored):
    """The result of one run: the fields of record.json, its ``efficiency``, and the ``folder`` that it is in.

    Scores are fractions, ``scores[task][split][metric]``; an undefined one is NaN. ``folder`` is None for a record
    that is not on disk; it has no predictions, no history and no log. ``predictions_digest`` and ``history_digest`` are
    the checksums of these files where they have been read and found whole.

    Attributes:
        task: the task that was trained; ``scores`` may hold diagnostics beside it.
        settings: all that decides the scores.
        checkpoint, revision: where the weights came from; None for random ones.
        init_from: the task whose trained model the run started from.
        last_scores: those of the last checkpoint, as ``scores`` are those of the best one.
        baseline: likewise what one constant answer scores, which the training labels choose.
        constant: the answer of a model that gives the same one to every example of a split, in words.
        selection_score: the score that chose the checkpoint.
        evaluations: how many evaluations chose it; None in older records.
        missing: why a (task, split) has no scores.
        invalid: share of generated answers that stand for no prediction; {} where nothing is generated.
        counts: examples.
        overlap: evaluated examples whose texts are in the training data, too.
        truncated: examples of which a text was longer than ``max_length`` and lost tokens.
        repaired: examples whose data did not fit and was put right.
        unread_words: words of token classification that the model did not read.
        parameters: ``total``, ``trained`` and ``active``.
        batch_size: examples per update, also where the recipe gives ``batch_tokens``.
        labels: the labels of tasks that are scored label by label.
        threshold: the probability from which on a label is predicted.
        error, traceback: why a failed run failed, in one line and in full.
        predicts_tests_of: the fingerprint of the run whose test predictions these are.
        tests: the record of the run's test predictions, where a benchmark asks for them.
    """

    fingerprint: Digest
    status: Literal["finished", "failed", "pruned"]
    benchmark: str = ""
    task: str
    model: str
    settings: RunSettings
    checkpoint: str | None = None
    revision: str | None = None
    init_from: str | None = None
    scores: dict[str, dict[str, dict[str, Score]]] = EMPTY
    last_scores: dict[str, dict[str, dict[str, Score]]] = EMPTY
    baseline: dict[str, dict[str, dict[str, Score]]] = EMPTY
    constant: dict[str, dict[str, str]] = EMPTY
    selection_score: Score | None = None
    steps: Count = 0
    best_step: Count | None = None
    evaluations: Count | None = None
    missing: dict[str, dict[str, str]] = EMPTY
    invalid: dict[str, dict[str, Amount]] = EMPTY
    counts: dict[str, dict[str, Count]] = EMPTY
    overlap: dict[str, dict[str, Count]] = EMPTY
    truncated: dict[str, dict[str, Count]] = EMPTY
    repaired: dict[str, dict[str, Count]] = EMPTY
    unread_words: dict[str, dict[str, Count]] = EMPTY
    parameters: dict[str, Count] = EMPTY
    batch_size: Count | None = None
    updates_per_epoch: Count | None = None
    micro_batch_tokens: Count | None = None
    labels: dict[str, Texts] = EMPTY
    columns: dict[str, TaskColumn] = EMPTY
    threshold: Amount | None = None
    caveats: Caveats = ()
    provenance: dict[str, str | int] = EMPTY
    error: str | None = None
    traceback: str | None = None
    predicts_tests_of: Digest | None = None

    tests: Record | None = Field(default=None, exclude=True)
    folder: Path | None = Field(default=None, exclude=True)
    efficiency: Efficiency = Field(default=Efficiency(), exclude=True)
    predictions_digest: Digest | None = Field(default=None, exclude=True)
    history_digest: Digest | None = Field(default=None, exclude=True)

    @property
    def finished(self) -> bool:
        """Whether the run was done to its end."""
        return self.status == "finished"

    @property
    def failed(self) -> bool:
        """Whether the run failed."""
        return self.status == "failed"

    @property
    def pruned(self) -> bool:
        """Whether the run, a trial of a search, was ended early: it has a history, but no scores."""
        return self.status == "pruned"

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.settings.seed

    @property
    def architecture(self) -> str:
        """The architecture of the model."""
        return self.settings.model.architecture

    def predictions(self) -> Iterator[Prediction]:
        """The lines of predictions.jsonl, read as they are asked for.

        Raises:
            Damaged: a line that is no prediction.
        """
        for row in self._rows(PREDICTIONS, PREDICTIONS):
            if isinstance(row["label"], float):
                row["prediction"] = number(row["prediction"])
            yield row

    def history(self) -> list[Point]:
        """The learning curve: one entry per reading of the loss and per evaluation, in order of steps.

        Raises:
            Damaged: a line that is none.
        """
        old = self.folder is not None and (self.folder / OLD_HISTORY).exists()
        return list(self._rows(HISTORY, OLD_HISTORY if old else HISTORY))

    def log(self) -> str:
        """The log of the run; empty where none was kept."""
        if self.folder is None or not (self.folder / LOG).is_file():
            return ""
        with disk_errors(self.folder / LOG):
            return read_file(self.folder / LOG).decode(errors="replace")

    def _rows(self, name: str, file_name: str) -> Iterator[Any]:
        if self.folder is None:
            return
        path = self.folder / file_name
        with disk_errors(path), open_regular(path) as file:
            for position, line in enumerate(file, 1):
                try:
                    row = from_json(line)
                    if name == PREDICTIONS and "text" in row:  # of older versions
                        row["output"] = row.pop("text")
                    yield ROWS[name].validate_python(renamed(row) if name != file_name else row)
                except (ValueError, AttributeError):
                    advice = "remove its folder; the next 'run' does it again"
                    raise Damaged(f"{path}:{position}: damaged: {advice}") from None


def in_order(scores: Mapping[str, float], order: Iterable[str]) -> dict[str, float]:
    """Scores in the order of some metrics; others follow."""
    return {**{metric: scores[metric] for metric in order if metric in scores}, **scores}


def problem(error: ValidationError) -> str:
    """The first thing that does not fit, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


_NAMES = {"primary": "selection_score", "marks": "caveats", "unparsable": "invalid"}


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    """The keys of schema 1 by their present names."""
    return {_NAMES.get(key, key): value for key, value in data.items()}
