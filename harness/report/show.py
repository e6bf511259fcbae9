"""Runs in detail: everything about one of them, and how well each label is predicted."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.format import (
    count,
    duration,
    flops,
    markdown_table,
    memory,
    milliseconds,
    percent,
    rate,
    score_text,
)
from harness.report.leaderboard import Column
from harness.report.words import score_words
from harness.results.record import Answer, Damaged, Efficiency, Record, in_order
from harness.results.store import Entry
from harness.task.entities import OUTSIDE, entity_types, spans

LAST_EVALUATIONS = 12


def show_run(record: Record) -> str:
    """All that a record says: scores, settings, costs, provenance, the last evaluations, why a failed run failed."""
    title = f"{record.task} · {record.model} · seed {record.seed}: {record.status}"
    blocks = [[title, "=" * len(title), *_where(record)]]
    if record.error is not None:
        blocks.append(["Error", f"  {record.error}", *(f"  {line}" for line in _lines(record.traceback))])
    blocks += [
        _block("Scores x 100", _scores(record)),
        _block("Scores x 100 of the last checkpoint", _by_metric(_last_scores(record))),
        *(
            _block(f"{task} {split} by label, x 100", map(_label_row, scores))
            for (task, split), scores in label_scores(record).items()
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


def _where(record: Record) -> list[str]:
    benchmark = record.benchmark or None
    return _table([("fingerprint", record.fingerprint), ("benchmark", benchmark), ("folder", record.folder)])


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
                yield f"{task} {split} {metric}", percent(value, 2)


def _training(record: Record) -> Iterable[tuple[str, Any]]:
    yield "steps", record.steps
    yield "best step", record.best_step
    yield "evaluations that chose it", record.evaluations
    yield "examples per update", record.batch_size
    yield "updates per epoch", record.updates_per_epoch
    chosen = None if record.selection_score is None else percent(record.selection_score, 2)
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
            for size, of_size in value.items():
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
            yield words, f"{percent(value)} %" if unit == "rate" else value


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


# Single labels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelScore:
    """What the predictions say about one label; precision and F1 are 0 where it is never predicted."""

    label: str
    support: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.predicted + self.support) if self.hits else 0.0


def label_scores(record: Record) -> dict[tuple[str, str], list[LabelScore]]:
    """By (task, split), a score for each label of multi-label tasks and each entity type of token classification.

    An entity is right when its type, its first and its last word are. Unlabelled splits have no scores.
    """
    counts: dict[tuple[str, str], tuple[Counter[str], Counter[str], Counter[str]]] = {}
    for row in record.predictions() if record.labels else ():
        task = row["task"]
        if task not in record.labels or row["label"] is None:
            continue
        try:
            right, predicted = (_labelled(record.labels[task], answer) for answer in (row["label"], row["prediction"]))
        except ValueError:
            raise Damaged(f"{record.folder}: a prediction that names none of the labels of {task}") from None
        counters = counts.setdefault((task, row["split"]), (Counter(), Counter(), Counter()))
        for counter, labelled in zip(counters, (right, predicted, right & predicted), strict=True):
            counter.update(label for label, *_ in labelled)
    return {
        (task, split): [
            LabelScore(label, right[label], predicted[label], hits[label]) for label in _counted(record.labels[task])
        ]
        for (task, split), (right, predicted, hits) in counts.items()
    }


def _labelled(names: Sequence[str], answer: Answer) -> set[tuple[Any, ...]]:
    """The labels of an example, or its entities, each beginning with its label.

    Raises:
        ValueError: the answer is no list of indices of the labels.
    """
    indices = [i for i in answer if isinstance(i, int) and 0 <= i < len(names)] if isinstance(answer, list) else []
    if indices != answer:
        raise ValueError(answer)
    if OUTSIDE in names:
        return set(spans([names[i] for i in indices]))
    return {(names[i],) for i in indices}


def _counted(names: Sequence[str]) -> Sequence[str]:
    return entity_types(names) if OUTSIDE in names else names


def label_tables(entries: Mapping[str, Iterable[Entry]]) -> str:
    """The content of labels.md: for each task and split, a row for each label and a column for each model.

    Args:
        entries: ``Store.current()`` of each results folder, by its name.

    Returns:
        Markdown; empty where no task is scored label by label.
    """
    scores: dict[tuple[str, str], dict[str, list[list[LabelScore]]]] = {}
    damages = []
    for folder, of_folder in entries.items():
        for _, model, _, record in of_folder:
            name = f"{model} ({folder})" if len(entries) > 1 else model
            for run in filter(None, (record, record.tests)) if record and record.finished else ():
                try:
                    of_run = label_scores(run)
                except Damaged as damage:
                    damages.append(f"Not counted: {damage}\n")
                    continue
                for key, of_split in of_run.items():
                    scores.setdefault(key, {}).setdefault(name, []).append(of_split)
    pages = [
        f"## {task}\n\nF1 x 100 of each label on the {split} split, mean over seeds; support: how often the label is "
        f"right.\n\n{_label_table(of_model)}\n"
        for (task, split), of_model in scores.items()
    ]
    return "\n".join([*pages, *damages])


def _label_table(of_model: Mapping[str, Sequence[Sequence[LabelScore]]]) -> str:
    """``of_model[model][seed][label]`` as a table."""
    first = next(iter(of_model.values()))[0]
    rows = []
    for i, score in enumerate(first):
        means = [statistics.fmean(of_run[i].f1 for of_run in seeds) for seeds in of_model.values()]
        rows.append([score.label, str(score.support), *map(percent, means)])
    return markdown_table(["Label", "Support", *of_model], rows)
