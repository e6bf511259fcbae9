"""Metrics of the tasks: pure functions from predictions and references to fractions, without network or files.

An invalid prediction (None, -1, anything that is not an answer) is a wrong answer, never an exception.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.task.answers import are_texts, text_exact_match, text_f1
from harness.task.entities import entity_f1, surface_f1

Metric = Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]
"""From n predictions and n references, in the same order, to named values."""

INVALID = -1
"""The class index, and as a float the score, that stands for an answer which is none (as in the T5 package)."""


# Scoring a task --------------------------------------------------------------------------------------------------


def compute_metrics(names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """All values of the named metrics (`METRICS`): fractions 0..1, correlations -1..1, NaN where undefined.

    Args:
        names: metric names, as in ``Task.metrics``.
        predictions, references: n rows each, lists or arrays. A row is a class index, a score (regression), a list
            of one 0 or 1 per label (multi-label), a list of one tag name per word (token classification), a text
            against its list of right answers, or a form with more in it: `surface_f1` needs the words, and SuperGLUE's
            MultiRC and ReCoRD the numbers of their questions (`f1_a`, `text_f1`).

    Raises:
        HarnessError: an unknown metric, no rows or a different number of them, references without labels, two
            metrics that would share a key.

    >>> compute_metrics(["accuracy", "macro_f1"], [2, 1, None], [2, 1, 1])["accuracy"]
    0.6666666666666666
    """
    predictions, references = _rows(predictions), _rows(references)
    if len(predictions) != len(references):
        raise HarnessError(f"{len(predictions)} predictions for {len(references)} references: they must pair up")
    if not references:
        raise HarnessError("there is nothing to score: no predictions and no references")
    functions = {name: _metric(name) for name in names}
    keys = Counter(map(score_key, functions))
    if shared := [name for name in functions if keys[score_key(name)] > 1]:
        raise HarnessError(f"metrics {' and '.join(shared)} share a key, '{score_key(shared[0])}': name one of them")
    values: dict[str, float] = {}
    for function in functions.values():
        values |= function(predictions, references)
    return values


def task_score(scores: Mapping[str, float], names: Sequence[str]) -> float:
    """The unweighted mean of a task's metrics, as GLUE and SuperGLUE count it; an undefined metric (NaN) counts 0.

    Args:
        scores: what `compute_metrics` gave, possibly with more values than the metrics ``names`` stand for.
        names: ``Task.metrics``.

    Raises:
        HarnessError: an unknown metric, or one that has no value in ``scores``.

    >>> task_score({"pearson": 0.5, "spearmanr": float("nan")}, ["pearson", "spearmanr"])
    0.25
    """
    if not names:
        raise HarnessError("a task score needs at least one metric")
    keys = [score_key(name) for name in names]
    if missing := [key for key in keys if key not in scores]:
        raise HarnessError(f"no value of {', '.join(missing)} among the scores {list(scores)}")
    return sum(0.0 if math.isnan(scores[key]) else scores[key] for key in keys) / len(keys)


def score_key(name: str) -> str:
    """The key under which a metric's value stands in scores: its name, but ``f1`` for ``cb_f1``.

    Raises:
        HarnessError: an unknown metric.
    """
    _metric(name)
    return "f1" if name == "cb_f1" else name


# Labels ----------------------------------------------------------------------------------------------------------


def accuracy(predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
    """The share of rows whose predicted class index is the reference.

    >>> accuracy([1, 0, 1, None], [1, 0, 0, 1])
    {'accuracy': 0.5}
    """
    right = [p == r for p, r in zip(map(_class, predictions), _labels(references), strict=True)]
    return {"accuracy": sum(right) / len(right)}


def matthews_correlation(predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
    """Matthews correlation, for any number of classes (Gorodkin 2004, R_K); 0 where it is undefined.

    Invalid predictions form a class of their own, as in the metric scripts of ``evaluate`` and in T5.

    >>> matthews_correlation([1, 1, 0, 0], [1, 0, 0, 1])
    {'matthews_correlation': 0.0}
    """
    from sklearn.metrics import matthews_corrcoef

    classes, labels = [_class(p) for p in predictions], _labels(references)
    if len({*classes, *labels}) == 1:
        return {"matthews_correlation": 0.0}  # what scikit-learn says too, but with a warning
    return {"matthews_correlation": float(matthews_corrcoef(labels, classes))}


def f1(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """F1 of class 1 of two classes; of text answers, `text_f1`. 0 when class 1 is nowhere.

    A prediction that is neither 0 nor 1 counts as the wrong class of its row (T5's ``f1_score_with_invalid``).

    >>> f1([1, 0, 1, 1], [1, 0, 0, 1])
    {'f1': 0.8}
    """
    if are_texts(references):
        return text_f1(predictions, references)
    return {"f1": _binary_f1(*_binary(predictions, references))}


def macro_f1(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """The unweighted mean of F1 over classes.

    Class indices: over the classes present in predictions or references; invalid predictions are one more class,
    with F1 0. Multi-label rows: over all labels; one that is nowhere counts 0.

    >>> macro_f1([[1, 0], [1, 1]], [[1, 0], [1, 0]])
    {'macro_f1': 0.5}
    """
    return {"macro_f1": _averaged_f1(predictions, references, "macro")}


def micro_f1(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """F1 of all decisions pooled; the accuracy where each row has one class index.

    >>> micro_f1([[1, 0], [1, 1]], [[1, 0], [1, 0]])
    {'micro_f1': 0.8}
    """
    return {"micro_f1": _averaged_f1(predictions, references, "micro")}


def cb_f1(predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
    """`macro_f1` under the key of CommitmentBank's official metric, ``f1`` (``evaluate``'s super_glue)."""
    return {"f1": _averaged_f1(predictions, references, "macro")}


def gender_parity(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """The share of Winogender pairs (consecutive rows) that get the same prediction, 0 or 1, whatever is right.

    A pair with an invalid prediction has no parity. A last row without its partner, which a limit can leave, is not
    counted; NaN without any pair. Source: SuperGLUE (Wang et al. 2019), AX-g; jiant.

    >>> gender_parity([1, 1, 0, 1], [1, 1, 0, 0])
    {'gender_parity': 0.5}
    """
    classes = [_class(p) for p in predictions]
    same = [first == second and first in (0, 1) for first, second in zip(classes[::2], classes[1::2], strict=False)]
    return {"gender_parity": sum(same) / len(same) if same else math.nan}


# Scores ----------------------------------------------------------------------------------------------------------


def pearson(predictions: Sequence[Any], references: Sequence[float]) -> dict[str, float]:
    """Pearson correlation, -1..1; NaN for fewer than two rows, a constant side or a NaN or infinite prediction.

    A prediction that is no number counts as -1.0, as T5 does for STS-B.

    >>> round(pearson([1.0, 2.0, 4.0], [2.0, 4.0, 5.0])["pearson"], 4)
    0.9286
    """
    from scipy.stats import pearsonr

    return {"pearson": _correlation(pearsonr, predictions, references)}


def spearmanr(predictions: Sequence[Any], references: Sequence[float]) -> dict[str, float]:
    """Spearman rank correlation, ties by mean rank; the range, NaN and invalid predictions as in `pearson`.

    >>> spearmanr([1.0, 2.0, 9.0], [1.0, 3.0, 4.0])
    {'spearmanr': 1.0}
    """
    from scipy.stats import spearmanr as scipy_spearmanr

    return {"spearmanr": _correlation(scipy_spearmanr, predictions, references)}


# Questions with several answers (MultiRC) ------------------------------------------------------------------------


def f1_a(predictions: Sequence[Mapping[str, Any]], references: Sequence[int]) -> dict[str, float]:
    """MultiRC's F1 over all answers; with it comes ``f1_m``, which the task's score does not count.

    Args:
        predictions: one ``{"idx": {"paragraph": int, "question": int, ...}, "prediction": int}`` per answer.
        references: 1 for a right answer, 0 for a wrong one.

    Source: Khashabi et al. 2018; ``evaluate``'s super_glue. Invalid predictions as in `f1`.

    >>> f1_a([{"idx": {"paragraph": 0, "question": 0, "answer": i}, "prediction": 1} for i in range(3)], [1, 0, 1])
    {'f1_a': 0.8, 'f1_m': 0.4}
    """
    answers = [p["prediction"] for p in _multirc_rows(predictions)]
    return {"f1_a": _binary_f1(*_binary(answers, references)), **f1_m(predictions, references)}


def f1_m(predictions: Sequence[Mapping[str, Any]], references: Sequence[int]) -> dict[str, float]:
    """The mean over MultiRC's questions of the macro F1 of a question's answers. Arguments as of `f1_a`."""
    questions = _questions(predictions, references)
    return {"f1_m": sum(map(_question_macro_f1, questions)) / len(questions)}


def exact_match(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """The share of questions answered exactly right; of text answers, `text_exact_match`.

    MultiRC: a question, known by paragraph and question number, is right when all its answers are judged right.
    Arguments as of `f1_a`.
    """
    if are_texts(references):
        return text_exact_match(predictions, references)
    questions = _questions(predictions, references)
    return {"exact_match": sum(all(p == r for p, r in answers) for answers in questions) / len(questions)}


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "matthews_correlation": matthews_correlation,
    "f1": f1,
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "cb_f1": cb_f1,
    "gender_parity": gender_parity,
    "pearson": pearson,
    "spearmanr": spearmanr,
    "f1_a": f1_a,
    "f1_m": f1_m,
    "exact_match": exact_match,
    "entity_f1": entity_f1,
    "surface_f1": surface_f1,
}
"""Every metric that a task can name. All are better when higher; each gives its value under `score_key`."""

OF_WORDS = ("surface_f1",)
"""The metrics that need the words of sentences beside their tags."""


# Reading rows ----------------------------------------------------------------------------------------------------


def _rows(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise HarnessError(f"unknown metric '{name}'.{did_you_mean(name, METRICS)} Known: {', '.join(METRICS)}")
    return METRICS[name]


def _class(value: Any) -> int:
    """A prediction as a class index, or INVALID."""
    if isinstance(value, str):
        return INVALID
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return INVALID
    return int(number) if number.is_integer() and 0 <= number < 2**31 else INVALID


def _labels(references: Sequence[Any], classes: Sequence[int] | None = None) -> list[int]:
    labels = [_class(r) for r in references]
    for row, label in enumerate(labels):
        if label == INVALID or (classes is not None and label not in classes):
            wanted = "a class index" if classes is None else f"one of the classes {', '.join(map(str, classes))}"
            raise HarnessError(
                f"reference {references[row]!r} of row {row} is not {wanted}: "
                "this data has no labels to score against, or the metric does not fit the task"
            )
    return labels


def _binary(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[list[int], list[int]]:
    labels = _labels(references, classes=(0, 1))
    classes = [_class(p) for p in predictions]
    return [p if p in (0, 1) else 1 - r for p, r in zip(classes, labels, strict=True)], labels


def _binary_f1(classes: Sequence[int], labels: Sequence[int]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, classes, zero_division=0.0))


def _averaged_f1(predictions: Sequence[Any], references: Sequence[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    if not isinstance(references[0], (list, tuple)):
        classes, labels = [_class(p) for p in predictions], _labels(references)
        return float(f1_score(labels, classes, average=average, zero_division=0.0))
    columns = _columns(predictions, references)
    if average == "micro":
        columns = [([p for predicted, _ in columns for p in predicted], [r for _, right in columns for r in right])]
    return sum(_binary_f1(predicted, right) for predicted, right in columns) / len(columns)


def _columns(predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Multi-label rows as (predictions, references) of each label; an invalid row predicts no label."""
    width = len(references[0])
    for row, reference in enumerate(references):
        if width == 0 or not _is_indicator(reference, width):
            raise HarnessError(f"reference {reference!r} of row {row} is not a list of one 0 or 1 per label ({width})")
    rows = [p if _is_indicator(p, width) else [0] * width for p in predictions]
    return list(zip(zip(*rows, strict=True), zip(*references, strict=True), strict=True))


def _is_indicator(row: Any, width: int) -> bool:
    return isinstance(row, (list, tuple)) and len(row) == width and all(_class(cell) in (0, 1) for cell in row)


def _correlation(function: Callable[..., Any], predictions: Sequence[Any], references: Sequence[Any]) -> float:
    scores, targets = [_score(p) for p in predictions], [_score(r, math.nan) for r in references]
    for row, target in enumerate(targets):
        if not math.isfinite(target):
            raise HarnessError(f"reference {references[row]!r} of row {row} is not a finite number")
    if len(scores) < 2 or not all(map(math.isfinite, scores)):
        return math.nan  # some versions of scipy raise here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant or nearly constant side: the NaN says it
        return float(function(scores, targets)[0])


def _score(value: Any, invalid: float = float(INVALID)) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return invalid


def _multirc_rows(predictions: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    for row, p in enumerate(predictions):
        idx = p.get("idx") if isinstance(p, Mapping) and "prediction" in p else None
        if not isinstance(idx, Mapping) or not {"paragraph", "question"} <= idx.keys():
            raise HarnessError(
                f"prediction {p!r} of row {row} is not of MultiRC's form "
                "{'idx': {'paragraph': ..., 'question': ...}, 'prediction': ...}"
            )
    return predictions


def _questions(predictions: Sequence[Any], references: Sequence[Any]) -> list[list[tuple[int, int]]]:
    """The (prediction, reference) pairs of each question's answers."""
    rows = _multirc_rows(predictions)
    questions: dict[tuple[int, int], list[tuple[int, int]]] = {}
    answers = zip(*_binary([p["prediction"] for p in rows], references), strict=True)
    for row, answer in zip(rows, answers, strict=True):
        key = row["idx"]["paragraph"], row["idx"]["question"]
        questions.setdefault(key, []).append(answer)
    return list(questions.values())


def _question_macro_f1(answers: Sequence[tuple[int, int]]) -> float:
    # By hand: scikit-learn takes a millisecond a call, and MultiRC has thousands of questions.
    predicted, right = Counter(p for p, _ in answers), Counter(r for _, r in answers)
    hits = Counter(p for p, r in answers if p == r)
    present = predicted.keys() | right.keys()
    return sum(2 * hits[c] / (predicted[c] + right[c]) for c in present) / len(present)
