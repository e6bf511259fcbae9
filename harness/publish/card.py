"""The model card of a kept model: what it is for, data, recipe, scores with intervals, cost; licence left to fill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.format import count, duration, markdown_table, score_number
from harness.results.record import Record

PIPELINES = {
    "single_label_classification": "text-classification",
    "multi_label_classification": "text-classification",
    "regression": "text-classification",
    "multiple_choice": "multiple-choice",
    "token_classification": "token-classification",
}
"""What the Hub calls the problem types."""
TO_FILL = "TO FILL"


@dataclass(frozen=True)
class Score:
    """A metric of one split: this run's, and the mean over the seeds of its recipe, perhaps with its 95 % interval."""

    split: str
    metric: str
    value: float
    mean: float
    seeds: int
    low: float | None = None
    high: float | None = None


def card_text(record: Record, scores: Sequence[Score]) -> str:
    """The content of README.md, with a ``model-index`` that the Hub reads.

    Args:
        record: of the run that trained the model.
        scores: its own scores, beside those of its other seeds.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    data = ModelCardData(
        model_name=_name(record),
        base_model=_base(record),
        library_name="transformers",
        pipeline_tag=pipeline(record),
        tags=["enct5-harness", record.architecture],
        license="other",
        license_name=TO_FILL,
        eval_results=[
            EvalResult(
                task_type=pipeline(record),
                dataset_type=_source(record),
                dataset_name=record.task,
                dataset_split=score.split,
                metric_type=score.metric,
                metric_value=score.value,
            )
            for score in scores
        ],
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(record, scores)}"))


def pipeline(record: Record) -> str:
    """What the Hub calls the task."""
    if record.invalid:
        return "text2text-generation"
    return PIPELINES[str(record.settings.tasks[record.task]["problem_type"])]


def _name(record: Record) -> str:
    return f"{record.model}-{record.task}"


def _base(record: Record) -> str | None:
    """The Hub's name of what was fine-tuned; a folder of this machine is nobody else's."""
    return record.checkpoint if record.checkpoint and record.revision else None


def _source(record: Record) -> str:
    data = record.settings.data[record.task]
    return data.id or data.source


def _body(record: Record, scores: Sequence[Score]) -> str:
    started = _base(record) or ("a checkpoint of its own" if record.checkpoint else "random weights")
    blocks = [
        f"# {_name(record)}",
        f"{record.architecture} fine-tuned on {record.task}, from {started}. The checkpoint with the best selection "
        f"score of {record.evaluations} evaluations, seed {record.seed}.",
        "## Intended use",
        f"Answers to texts like those of {record.task}. {TO_FILL}: what else it is for, and what it is not for.",
        "## Use",
        _use(record),
        "## Scores",
        _score_table(scores),
        "Times 100. The interval is for the mean over the seeds of this recipe.",
        "## What to keep in mind",
        "\n".join(f"- {caveat}" for caveat in record.caveats) or "- nothing is known",
        "## Data",
        markdown_table(["split", "examples"], [[s, f"{n:,}"] for s, n in record.counts.get(record.task, {}).items()]),
        f"Source: {_source(record)}.",
        "## Recipe",
        markdown_table(["setting", "value"], [[k, str(v)] for k, v in sorted(record.settings.recipe.items())]),
        "## Cost",
        markdown_table(["", ""], list(_cost(record))),
        "## Licence",
        f"{TO_FILL}: that of the checkpoint and of the data decide.",
        f"Made with enct5-harness; fingerprint `{record.fingerprint}`.",
    ]
    return "\n\n".join(blocks) + "\n"


def _use(record: Record) -> str:
    own_code = ", trust_remote_code=True" if record.architecture == "enct5" else ""
    if record.invalid:
        lines = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForSeq2SeqLM.from_pretrained("FOLDER")"""
    else:
        lines = f"""from transformers import pipeline

answer = pipeline("{pipeline(record)}", "FOLDER"{own_code})"""
    return f"```python\n{lines}\n```"


def _score_table(scores: Sequence[Score]) -> str:
    rows = []
    for score in scores:
        interval = "-"
        if score.low is not None and score.high is not None:
            interval = " to ".join(score_number(end, score.metric, 1) for end in (score.low, score.high))
        own, mean = (score_number(value, score.metric, 1) for value in (score.value, score.mean))
        rows.append([f"{score.split} {score.metric}", own, mean, str(score.seeds), interval])
    return markdown_table(["score", "this model", "mean", "seeds", "95 % interval"], rows)


def _cost(record: Record) -> Iterable[list[str]]:
    efficiency: dict[str, Any] = record.efficiency.measured()
    if total := record.parameters.get("total"):
        yield ["parameters", count(total)]
    if (seconds := efficiency.get("total_seconds")) is not None:
        yield ["training and evaluation", duration(seconds)]
    if (device := record.provenance.get("device")) is not None:
        yield ["on", str(device)]
    yield ["steps", f"{record.steps:,}"]
