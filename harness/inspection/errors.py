"""What models get wrong: the errors of a run, and the examples that every run of a benchmark has wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.format import escape, markdown_table, percent, plural
from harness.inspection.examples import Reading, class_index, confidence, errors_of
from harness.inspection.source import Source
from harness.results.answers import Answers, read_answers
from harness.results.record import Prediction, Record

LIMIT = 20


def run_errors(
    record: Record,
    source: Source,
    *,
    tasks: Sequence[str] = (),
    label: str | None = None,
    predicted: str | None = None,
    limit: int = LIMIT,
) -> str:
    """A page about the errors of a run: confusion matrix or residuals, and the wrong answers, the surest first.

    Args:
        tasks: only these, of those that the run answers.
        label, predicted: only examples of this label, only answers of this label.
        limit: how many examples to show of each split.

    Raises:
        HarnessError: a run without labelled predictions, or a label that is none.
    """
    by_split: dict[tuple[str, str], list[Prediction]] = {}
    for row in record.predictions():
        if row["label"] is not None and (not tasks or row["task"] in tasks):
            by_split.setdefault((row["task"], row["split"]), []).append(row)
    if not by_split:
        named = f" of {', '.join(tasks)}" if tasks else ""
        raise HarnessError(f"{record.folder}: there are no predictions{named} of examples with labels")
    title = f"# Errors: {escape(record.task)} · {escape(record.model)} · seed {record.seed}"
    blocks = [title]
    for (task, split), rows in by_split.items():
        reading = Reading(source, record, task, split)
        blocks += [f"## {escape(task)} {escape(split)}", *_summary(rows, reading)]
        blocks += _wrong(rows, reading, record.threshold, label, predicted, limit)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _answers(rows: Sequence[Prediction]) -> Answers:
    return Answers([row["index"] for row in rows], [row["label"] for row in rows], [row["prediction"] for row in rows])


def _summary(rows: Sequence[Prediction], reading: Reading) -> list[str]:
    """Residuals of scores, the errors of every label where there are several, or the confusion matrix."""
    errors = errors_of(_answers(rows))
    wrong = int((errors > 0).sum())
    if isinstance(rows[0]["label"], float):
        return [_residuals(rows)]
    counted = f"{wrong} of {plural(len(rows), 'answer')} wrong ({percent(wrong / len(rows))} %)."
    if isinstance(rows[0]["label"], int):
        return [counted, _confusion(rows, reading)]
    if reading.problem is not None and reading.problem.several and reading.names:
        return [counted, _by_label(rows, reading)]
    return [counted]


def _residuals(rows: Sequence[Prediction]) -> str:
    numbers = [(row["prediction"], row["label"]) for row in rows if isinstance(row["prediction"], int | float)]
    residuals = np.array([float(p) - float(r) for p, r in numbers if isinstance(r, int | float)])
    residuals = residuals[np.isfinite(residuals)]
    if not residuals.size:
        return "No answer is a number."
    quantiles = ", ".join(f"{value:+.2f}" for value in np.quantile(residuals, [0.05, 0.25, 0.5, 0.75, 0.95]))
    return (
        f"Residuals (prediction less reference) of {plural(len(residuals), 'answer')}: mean {residuals.mean():+.3f}, "
        f"mean size {np.abs(residuals).mean():.3f}, root mean square {np.sqrt((residuals**2).mean()):.3f}; quantiles "
        f"at 5, 25, 50, 75 and 95 %: {quantiles}."
    )


def _confusion(rows: Sequence[Prediction], reading: Reading) -> str:
    counts = Counter((reading.answer(row["label"]), reading.answer(row["prediction"])) for row in rows)
    order = {reading.answer(i): i for i in range(len(reading.names))}
    names = sorted({name for pair in counts for name in pair} | set(order), key=lambda n: (order.get(n, len(order)), n))
    right = [name for name in names if any(pair[0] == name for pair in counts)]
    table = [[name, *(str(counts[name, other]) for other in names)] for name in right]
    return markdown_table(["Reference \\ predicted", *names], table)


def _by_label(rows: Sequence[Prediction], reading: Reading) -> str:
    missed, wrong, hits = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        right, said = (answer if isinstance(answer, list) else [] for answer in (row["label"], row["prediction"]))
        if reading.problem is not None and reading.problem.of_words:
            pairs = [(reading.answer(r), reading.answer(p)) for r, p in zip(right, said, strict=False)]
            hits.update(r for r, p in pairs if r == p)
            missed.update(r for r, p in pairs if r != p)
            wrong.update(p for r, p in pairs if r != p)
            continue
        hits.update(reading.answer(i) for i in right if i in said)
        missed.update(reading.answer(i) for i in right if i not in said)
        wrong.update(reading.answer(i) for i in said if i not in right)
    names = [name for name in map(reading.answer, range(len(reading.names))) if missed[name] + wrong[name] + hits[name]]
    table = [[name, str(hits[name]), str(missed[name]), str(wrong[name])] for name in names]
    return markdown_table(["Label", "Right", "Missed", "Wrongly predicted"], table)


def _wrong(
    rows: Sequence[Prediction], reading: Reading, threshold: float | None, label: str | None, predicted: str | None,
    limit: int,
) -> list[str]:  # fmt: skip
    errors = errors_of(_answers(rows))
    chosen = [i for i in range(len(rows)) if errors[i] > 0 or (label is not None and predicted is not None)]
    for name, key, option in ((label, "label", "--label"), (predicted, "prediction", "--predicted")):
        if name is not None:
            wanted = class_index(name, reading.names, option)
            chosen = [i for i in chosen if _holds(rows[i][key], wanted)]  # type: ignore[literal-required]
    sure = [confidence(reading.problem, r.get("scores"), r["prediction"], threshold) for r in rows]
    chosen.sort(key=lambda i: (-(sure[i] or 0.0), -errors[i], rows[i]["index"]))
    blocks = [f"### {plural(len(chosen), 'example')}{f', the first {limit}' if len(chosen) > limit else ''}"]
    if reading.reason:
        blocks.append(f"Texts are not shown: {escape(reading.reason)}.")
    for i in chosen[:limit]:
        row = rows[i]
        certain = "" if sure[i] is None else f", {percent(sure[i])} % sure"
        said = f"{reading.answer(row['prediction'])}{certain}"
        if "output" in row:
            said += f", written: {row['output']!r}"
        blocks.append(
            _example(
                row["index"],
                row.get("idx"),
                reading,
                [f"reference: {reading.answer(row['label'])}", f"predicted: {said}"],
            )
        )
    return blocks


def _holds(answer: Any, wanted: int) -> bool:
    return wanted in answer if isinstance(answer, list) else bool(answer == wanted)


def _example(index: int, idx: Any, reading: Reading, lines: Iterable[str]) -> str:
    number = f"{index}" if idx in (None, index) else f"{index} (idx {idx})"
    return "\n".join(
        [f"- example {escape(number)}", *(f"  - {escape(line)}" for line in (*reading.texts(index), *lines))]
    )


# All models ------------------------------------------------------------------------------------------------------


def hardest(
    runs: Mapping[tuple[str, str, int], Record], source: Source, *, tasks: Sequence[str] = (), limit: int = LIMIT
) -> str:
    """A page about the examples that every run of a benchmark has wrong; of scores those with the largest errors.

    Args:
        runs: finished records by task, model and seed.
        tasks: only these.
        limit: how many examples to show of each split.

    Raises:
        HarnessError: no labelled predictions.
    """
    by_split: dict[tuple[str, str], list[tuple[str, Record, Answers]]] = {}
    for (_, model, seed), record in runs.items():
        for key, answers in read_answers(record).items():
            if answers.labelled and answers.index and (not tasks or key[0] in tasks):
                by_split.setdefault(key, []).append((f"{model} seed {seed}", record, answers))
    if not by_split:
        raise HarnessError("there are no predictions of examples with labels here")
    blocks = ["# The hardest examples"]
    for (task, split), of_split in by_split.items():
        blocks += _hardest(task, split, of_split, source, limit)
    return "\n\n".join(blocks) + "\n"


def _hardest(
    task: str, split: str, runs: Sequence[tuple[str, Record, Answers]], source: Source, limit: int
) -> list[str]:
    first = runs[0][2]
    same = [run for run in runs if run[2].index == first.index and run[2].labels == first.labels]
    reading = Reading(source, same[0][1], task, split)
    errors = np.stack([errors_of(answers) for _, _, answers in same])
    scores = isinstance(first.labels[0], float)
    number, models = len(first.index), plural(len(same), "run")
    if scores:
        order = np.argsort(-errors.mean(axis=0), kind="stable")
        words = f"The largest mean errors over {models}, of {plural(number, 'example')}."
    else:
        every = np.flatnonzero((errors > 0).all(axis=0))
        order = every[np.argsort(-errors.mean(axis=0)[every], kind="stable")]
        words = f"{len(every)} of {plural(number, 'example')} are wrong in every one of {models}."
    blocks = [f"## {escape(task)} {escape(split)}", words]
    if len(same) < len(runs):
        blocks.append(f"{plural(len(runs) - len(same), 'run')} answered other examples and are left out.")
    if reading.reason and len(order):
        blocks.append(f"Texts are not shown: {escape(reading.reason)}.")
    for i in order[:limit].tolist():
        said = Counter(reading.answer(answers.predictions[i]) for _, _, answers in same)
        lines = [f"reference: {reading.answer(first.labels[i])}"]
        lines.append(f"predicted: {', '.join(f'{answer} ({count})' for answer, count in said.most_common(5))}")
        blocks.append(_example(first.index[i], first.idx[i], reading, lines))
    return blocks
