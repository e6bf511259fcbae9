"""Everything about one run, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.format import (
    count,
    duration,
    flops,
    memory,
    milliseconds,
    percent,
    rate,
    score_number,
    score_text,
)
from harness.leaderboard.board import Column
from harness.report.labels import LabelScore, label_scores
from harness.report.words import score_words
from harness.results.kept import kept_of
from harness.results.record import Efficiency, Record, in_order

LAST_EVALUATIONS = 12


def show_run(record: Record, defaults: Mapping[str, Any] | None = None) -> str:
    """All that a record says: scores, settings, costs, provenance, the last evaluations, why a failed run failed.

    Args:
        record: of the run.
        defaults: of its settings; what differs from them stands behind the scores.
    """
    title = f"{record.task} · {record.model} · seed {record.seed}: {record.status}"
    blocks = [[title, "=" * len(title)]]
    if record.error is not None:
        blocks.append(["Error", f"  {record.error}", *(f"  {line}" for line in _lines(record.traceback))])
    blocks += [
        _block("Scores x 100", _scores(record)),
        _block("Scores x 100 of the last checkpoint", _by_metric(_last_scores(record))),
        _block("Settings that differ from the defaults", _changed(record, defaults or {})),
        _block("Run", _where(record)),
        *(
            _block(f"{task} {split} by label, x 100", map(_label_row, of_split.scores))
            for (task, split), of_split in label_scores(record).items()
        ),
        _block("Missing", _flat(record.missing)),
        _block("Caveats", ((str(caveat), "") for caveat in record.caveats)),
        _block("Training", _training(record)),
        _block("Time", _time(record.efficiency)),
        _block("Examples", _flat(record.counts)),
        _block("Evaluated texts that are in the training data, too", _flat(record.overlap)),
        _block("Examples with a text that was truncated", _flat(record.truncated)),
        *(_block(name.capitalize(), _flat(value)) for name, value in _settings(record)),
        _block("Made with", _flat(record.provenance)),
        _evaluations(record),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _where(record: Record) -> Iterable[tuple[str, Any]]:
    yield "fingerprint", record.fingerprint
    yield "benchmark", record.benchmark or None
    yield "folder", record.folder
    yield "model", _kept(record)


def _changed(record: Record, defaults: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The settings that somebody gave; ``auto`` is what each machine makes of it."""
    settings = record.settings
    given = {"selection": settings.selection, **settings.model.options, **settings.recipe}
    for name, value in given.items():
        if name in defaults and defaults[name] not in (value, "auto"):
            yield name, value
    yield from _flat(settings.limit, "limit")
    yield "init_from", record.init_from


def _kept(record: Record) -> Path | None:
    """The folder of the run's best model, where it was kept."""
    if record.folder is None or record.predicts_tests_of:
        return None
    kept = kept_of(record)
    return kept.folder if kept else None


def _scores(record: Record) -> Iterable[tuple[str, str]]:
    yield from _by_metric(record.scores)
    for task, shares in record.invalid.items():
        for split, share in shares.items():
            yield f"{task} {split} invalid answers", f"{percent(share, 2)} %"
    for task, words in record.unread_words.items():
        for split, number in words.items():
            yield f"{task} {split} words that were not read", str(number)
    if record.threshold is not None:
        yield "probability from which on a label is predicted", f"{record.threshold:.3f}"


def _last_scores(record: Record) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    return {} if record.best_step == record.steps else record.last_scores


def _by_metric(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterable[tuple[str, str]]:
    for task, splits in scores.items():
        for split, of_split in splits.items():
            for metric, value in of_split.items():
                yield f"{task} {split} {metric}", score_number(value, metric, 2)


def _training(record: Record) -> Iterable[tuple[str, Any]]:
    yield "steps", record.steps
    yield "best step", record.best_step
    yield "evaluations that chose it", record.evaluations
    yield "examples per update", record.batch_size
    yield "updates per epoch", record.updates_per_epoch
    column = record.columns.get(record.task)
    score, metric = record.selection_score, column.selection if column else ""
    chosen = None if score is None else score_number(score, metric, 2)
    yield " ".join(filter(None, ["selection score", _selection(record)])), chosen
    for name, number in record.parameters.items():
        yield f"{name} parameters", f"{number:,} ({count(number)})"


def _selection(record: Record) -> str:
    """What the score is that chose the checkpoint, where the record says it."""
    column = record.columns.get(record.task)
    if column is None or not column.parts:
        return ""
    first = tuple(part for part in column.parts if part[0] == column.parts[0][0])
    shown = Column(record.task, column.title, column.suite, first, record.task, column.selection)
    return f"({score_words(shown)})"


def _time(efficiency: Efficiency) -> Iterable[tuple[str, Any]]:
    """What was measured, each number in the unit that its name ends with."""
    for name, value in efficiency.measured().items():
        words, unit = name.replace("_", " "), name.rpartition("_")[2]
        if isinstance(value, str):
            yield words, value
        elif isinstance(value, dict):
            for size, of_size in sorted(value.items(), key=lambda item: int(item[0])):
                yield f"inference in batches of {size}", "n/a" if of_size is None else f"{rate(of_size)} examples/s"
        elif "flops" in name:
            yield words, flops(value)
        elif name.endswith("per_second"):
            yield words, rate(value)
        elif unit == "seconds":
            latency = name.startswith("latency")
            yield words.removesuffix(" seconds"), f"{milliseconds(value)} ms" if latency else duration(value)
        elif unit == "bytes":
            yield words.removesuffix(" bytes"), memory(value)
        else:
            yield words, f"{percent(value)} %" if unit == "rate" else f"{value:,.6g}"


def _settings(record: Record) -> Iterable[tuple[str, Any]]:
    """The settings in blocks: recipe, model, data, and what else there is."""
    settings = record.settings.model_dump(exclude={"tasks", "seed"})
    yield "recipe", dict(sorted(settings.pop("recipe").items()))
    model = settings.pop("model")
    origin = {"name": record.model, "checkpoint": record.checkpoint, "revision": record.revision}
    yield "model", dict(sorted({**origin, **model.pop("options"), **model}.items()))
    yield "data", settings.pop("data")
    yield "other settings", dict(sorted({**settings, "init_from": record.init_from}.items()))


def _evaluations(record: Record) -> list[str]:
    evaluations = [row for row in record.history() if row.get("scores")]
    if not evaluations:
        return []
    last = evaluations[-LAST_EVALUATIONS:]
    title = "Evaluations" if len(last) == len(evaluations) else f"Evaluations (the last {len(last)})"
    rows = []
    for row in last:
        order = record.scores.get(record.task, {})
        of_splits = (in_order(scores, order.get(split, ())) for split, scores in row["scores"].items())
        scores = ", ".join(score_text(of_split, 2) for of_split in of_splits)
        best = "  <- best" if row["step"] == record.best_step else ""
        rows.append((f"step {row['step']}", f"{scores}{best}"))
    return _block(title, rows)


def _label_row(score: LabelScore) -> tuple[str, str]:
    shares = [f"{percent(share, 1):>5}" for share in (score.precision, score.recall, score.f1)]
    return score.label, "precision {}  recall {}  F1 {}  support {}".format(*shares, score.support)


def _block(title: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    lines = _table(rows)
    return [title, *lines] if lines else []


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    shown = [(name, value) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"  {name:{width}}  {_rounded(value)}".rstrip() for name, value in shown]


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Nested data as (dotted name, value) rows."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif value not in (None, [], {}):
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _lines(text: str | None) -> list[str]:
    return (text or "").rstrip().splitlines()
