"""Results as lm-evaluation-harness 0.4.13 writes them (``results_*.json``), for the tools that read its files."""

from __future__ import annotations

import math
from typing import Any

from harness.export.results import Model, Score, hub_source
from harness.io import fingerprint, to_json
from harness.task.metrics import ERRORS

NAMES = {"accuracy": "acc", "matthews_correlation": "mcc", "exact_match": "em", "balanced_accuracy": "balanced_acc"}
"""Its names of metrics, where they differ."""
VERSION = "0.4.13"


def lm_eval_file(model: Model) -> tuple[str, bytes]:
    """The path and the content of a model's file: means over seeds, and standard errors over seeds and examples."""
    moment = model.finished_at.strftime("%Y-%m-%dT%H-%M-%S.%f")
    return f"{model.folder_name}/results_{moment}.json", to_json(_content(model))


def _content(model: Model) -> dict[str, Any]:
    tasks: dict[str, list[Score]] = {}
    for score in model.scores:
        tasks.setdefault(score.name, []).append(score)
    first = model.records[0]
    return {
        "results": {name: _metrics(name, scores) for name, scores in tasks.items()},
        "groups": {},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {name: _config(model, name, scores) for name, scores in tasks.items()},
        "versions": {name: 1.0 for name in tasks},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {
            name: {_name(score): score.metric not in ERRORS for score in scores} for name, scores in tasks.items()
        },
        "n-samples": {
            name: dict.fromkeys(("original", "effective"), model.examples(scores[0])) for name, scores in tasks.items()
        },
        "config": _run_config(model),
        "git_hash": None,
        "date": model.finished_at.timestamp(),
        "pretty_env_info": ", ".join(f"{key} {value}" for key, value in first.provenance.items()),
        "transformers_version": str(first.provenance.get("transformers", "")),
        "lm_eval_version": VERSION,
        "upper_git_hash": None,
        "task_hashes": {
            name: fingerprint(model.of(scores[0]).settings.data[scores[0].column.task].model_dump())
            for name, scores in tasks.items()
            if scores[0].column.task in model.of(scores[0]).settings.data
        },
        "model_source": "hf",
        "model_name": model.identifier,
        "model_name_sanitized": model.identifier.replace("/", "__"),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(model.seconds),
    }


def _name(score: Score) -> str:
    return NAMES.get(score.metric, score.metric)


def _metrics(name: str, scores: list[Score]) -> dict[str, Any]:
    """``acc,none`` and ``acc_stderr,none``, which is a text where there is none."""
    metrics: dict[str, Any] = {"alias": name}
    for score in scores:
        known = score.interval is not None and math.isfinite(score.interval.se)
        metrics[f"{_name(score)},none"] = score.value.mean
        metrics[f"{_name(score)}_stderr,none"] = score.interval.se if known and score.interval else "N/A"
    return metrics


def _config(model: Model, name: str, scores: list[Score]) -> dict[str, Any]:
    column, record = scores[0].column, model.of(scores[0])
    source = hub_source(record, column.task)
    data = record.settings.data.get(column.task)
    metrics = [
        {"metric": _name(score), "aggregation": "mean", "higher_is_better": score.metric not in ERRORS}
        for score in scores
    ]
    return {
        "task": name,
        "tag": [column.suite] if column.suite else [],
        "dataset_path": source.get("id", data.source if data else None),
        "dataset_name": source.get("config"),
        "validation_split" if not scores[0].tested else "test_split": scores[0].split,
        "num_fewshot": 0,
        "metric_list": metrics,
        "output_type": "generate_until" if record.invalid else "multiple_choice",
        "metadata": {"version": 1.0, "fine_tuned": True, "seeds": sorted(scores[0].value.seeds)},
    }


def _run_config(model: Model) -> dict[str, Any]:
    first = model.records[0]
    seeds = sorted({record.seed for record in model.records})
    return {
        "model": "hf",
        "model_args": {"pretrained": model.identifier, "architecture": first.architecture, "fine_tuned": True},
        "model_num_parameters": first.parameters.get("total"),
        "model_dtype": str(first.settings.recipe.get("precision", "")),
        "model_revision": first.revision or "main",
        "model_sha": first.settings.model.content or "",
        "batch_size": first.batch_size,
        "device": str(first.provenance.get("device", "")),
        "limit": None,
        "bootstrap_iters": 0,
        "gen_kwargs": None,
        "random_seed": seeds[0],
        "numpy_seed": seeds[0],
        "torch_seed": seeds[0],
        "fewshot_seed": None,
        "seeds": seeds,
        "recipe": first.settings.recipe,
    }
