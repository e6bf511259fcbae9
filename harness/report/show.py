"""Everything about one run, as text to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.report.format import count, duration, memory, operations, percent, rate, short
from harness.report.labels import label_rows
from harness.results.record import Efficiency, Record

LAST_EVALUATIONS = 12


def show_run(record: Record) -> str:
    """All that a record says: scores, settings, costs, provenance, the learning curve, and why a failed run failed."""
    title = f"{record.task} · {record.model} · seed {record.seed}: {record.status}"
    blocks = [[title, "=" * len(title), *_where(record)]]
    if record.error is not None:
        blocks.append(["Error", f"  {record.error}", *(f"  {line}" for line in _lines(record.traceback))])
    blocks += [
        _block("Scores x 100", _scores(record)),
        *(_block(f"{task} {split} by label, x 100", rows) for task, split, rows in label_rows(record)),
        _block("Missing", _flat(record.missing)),
        _block("Marks", ((str(caveat), "") for caveat in record.caveats)),
        _block("Training", _training(record)),
        _block("Time", _time(record.efficiency)),
        _block("Examples", _flat(record.counts)),
        _block("Evaluated texts that are in the training data, too", _flat(record.overlap)),
        *(_block(name.capitalize(), _flat(value)) for name, value in _settings(record)),
        _block("Made with", _flat(record.provenance)),
        _curve(record),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _where(record: Record) -> list[str]:
    place = [("fingerprint", record.fingerprint), ("benchmark", record.benchmark or None)]
    return _table([*place, ("folder", record.folder)] if record.folder else place)


def _scores(record: Record) -> Iterable[tuple[str, str]]:
    for task, splits in record.scores.items():
        for split, scores in splits.items():
            for metric, value in scores.items():
                yield f"{task} {split} {metric}", percent(value, 2)
    for task, shares in record.invalid.items():
        for split, share in shares.items():
            yield f"{task} {split} invalid answers", f"{percent(share, 2)} %"
    for task, words in record.unread_words.items():
        for split, number in words.items():
            yield f"{task} {split} words that were not read", str(number)
    if record.threshold is not None:
        yield "probability from which on a label is predicted", f"{record.threshold:.3f}"


def _training(record: Record) -> Iterable[tuple[str, Any]]:
    yield "steps", record.steps
    yield "best step", record.best_step
    yield "score that chose it", None if record.selection_score is None else percent(record.selection_score, 2)
    for name, number in record.parameters.items():
        yield f"{name} parameters", f"{number:,} ({count(number)})"


def _time(efficiency: Efficiency) -> Iterable[tuple[str, Any]]:
    for name, value in efficiency.measured().items():
        words = name.replace("_", " ")
        if not isinstance(value, int | float):
            yield words, value
        elif name.startswith("latency") and name.endswith("_seconds"):
            yield words.removesuffix(" seconds"), f"{short(1000 * value)} ms"
        elif name.endswith("_seconds"):
            yield words.removesuffix(" seconds"), duration(value)
        elif name.endswith("_bytes"):
            yield words.removesuffix(" bytes"), memory(value)
        elif "flops" in name:
            yield words, operations(value)
        elif name.endswith("matrix_rate"):
            yield words, f"{percent(value)} %"
        elif name.endswith("_per_second"):
            yield words, rate(value)
        else:
            yield words, value


def _settings(record: Record) -> Iterable[tuple[str, Any]]:
    """The settings in blocks: recipe, model, data, and what else there is."""
    settings = record.settings.model_dump(exclude={"tasks", "seed"})
    yield "recipe", dict(sorted(settings.pop("recipe").items()))
    model = settings.pop("model")
    origin = {"name": record.model, "checkpoint": record.checkpoint, "revision": record.revision}
    yield "model", dict(sorted({**origin, **model.pop("options"), **model}.items()))
    yield "data", settings.pop("data")
    yield "other settings", dict(sorted({**settings, "init_from": record.init_from}.items()))


def _curve(record: Record) -> list[str]:
    evaluations = [row for row in record.history() if row.get("scores")]
    if not evaluations:
        return []
    last = evaluations[-LAST_EVALUATIONS:]
    title = "Evaluations" if len(last) == len(evaluations) else f"Evaluations (the last {len(last)})"
    rows = []
    for row in last:
        scores = [f"{name} {percent(value, 2)}" for scores in row["scores"].values() for name, value in scores.items()]
        best = "  <- best" if row.get("step") == record.best_step else ""
        rows.append((f"step {row.get('step')}", f"{', '.join(scores)}{best}"))
    return _block(title, rows)


def _block(title: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    lines = _table(rows)
    return [title, *lines] if lines else []


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    shown = [(name, value) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"  {name:{width}}  {value}".rstrip() for name, value in shown]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Nested data as (dotted name, value) rows."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif value not in (None, [], {}):
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _lines(text: str | None) -> list[str]:
    return (text or "").rstrip().splitlines()
