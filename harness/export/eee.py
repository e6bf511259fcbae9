"""Results as records of Every Eval Ever (evaleval/every_eval_ever), schema 0.3.0."""

from __future__ import annotations

import hashlib
import math
import uuid
from typing import Any

import harness
from harness.export.results import Model, Score, hub_source
from harness.io import to_json
from harness.statistics import VERSION as STATISTICS
from harness.task.metrics import ERRORS

VERSION = "0.3.0"
BOUNDS: dict[str, tuple[float | str, float | str]] = {
    "matthews_correlation": (-1, 1),
    "pearson": (-1, 1),
    "spearmanr": (-1, 1),
    "r2": ("-Infinity", 1),
    **dict.fromkeys(ERRORS, (0, "Infinity")),
}
"""The least and the largest value of metrics that are no shares."""


def eee_file(model: Model) -> tuple[str, bytes]:
    """The path and the content of a model's record: a result for each metric of each split."""
    content = _content(model)
    digest = hashlib.sha256(content["evaluation_id"].encode()).digest()
    name = uuid.UUID(bytes=digest[:16], version=4)
    return f"{model.folder_name}/{name}.json", to_json(content)


def _content(model: Model) -> dict[str, Any]:
    stamp = str(int(model.finished_at.timestamp()))
    first = model.records[0]
    on_hub = model.identifier == first.checkpoint
    return {
        "schema_version": VERSION,
        "evaluation_id": f"{model.benchmark}/{model.identifier.replace('/', '_')}/{model.row.name}/{stamp}",
        "evaluation_timestamp": stamp,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": f"enct5-harness benchmark {model.benchmark}",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
            "additional_details": {"caveats": "; ".join(map(str, first.caveats)), "signature": model.row.signature},
        },
        "eval_library": {
            "name": "enct5-harness",
            "version": harness.__version__,
            "additional_details": {"statistics": str(STATISTICS)},
        },
        "model_info": {
            "name": model.row.name,
            "id": model.identifier,
            "inference_engine": {"name": "transformers", "version": str(first.provenance.get("transformers", ""))},
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "open_weights" if on_hub else "unknown",
                "fine_tuned": "on the training data of each task",
                "architecture": first.architecture,
                "revision": first.revision or "",
                "parameters": str(first.parameters.get("total", "")),
                "seeds": ", ".join(map(str, model.row.seeds)),
            },
        },
        "evaluation_results": [_result(model, score) for score in model.scores if not math.isnan(score.value.mean)],
    }


def _result(model: Model, score: Score) -> dict[str, Any]:
    low, high = BOUNDS.get(score.metric, (0, 1))
    uncertainty = _uncertainty(model, score)
    return {
        "evaluation_result_id": f"{score.name}/{score.split}/{score.metric}",
        "evaluation_name": score.name,
        "source_data": _source(model, score),
        "metric_config": {
            "evaluation_description": f"{score.column.title}, {score.split}: the mean over seeds of fine-tuned models",
            "metric_id": score.metric,
            "metric_name": score.metric,
            "metric_kind": score.metric,
            "metric_unit": "unit of the labels" if score.metric in ERRORS else "proportion",
            "lower_is_better": score.metric in ERRORS,
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": {
            "score": score.value.mean,
            "details": {f"seed {seed}": str(value) for seed, value in score.value.seeds.items()},
            **({"uncertainty": uncertainty} if uncertainty else {}),
        },
    }


def _uncertainty(model: Model, score: Score) -> dict[str, Any]:
    c = score.interval
    if c is None or not all(map(math.isfinite, (c.se, c.low, c.high))):
        return {}
    return {
        "standard_error": {"value": c.se, "method": c.method},
        "confidence_interval": {"lower": c.low, "upper": c.high, "confidence_level": 0.95, "method": c.method},
        "num_samples": model.examples(score) or c.n_examples,
    }


def _source(model: Model, score: Score) -> dict[str, Any]:
    record, number = model.of(score), model.examples(score)
    source = hub_source(record, score.column.task)
    data = record.settings.data.get(score.column.task)
    if not source:
        details = {"source": data.source if data else "unknown", "split": score.split, "samples": str(number)}
        return {"dataset_name": score.column.title, "source_type": "other", "additional_details": details}
    return {
        "dataset_name": score.column.title,
        "source_type": "hf_dataset",
        "hf_repo": source["id"],
        "hf_split": "test" if score.tested else "val",
        **({"samples_number": number} if number else {}),
        "additional_details": {**{k: v for k, v in source.items() if k != "id"}, "split": score.split},
    }
