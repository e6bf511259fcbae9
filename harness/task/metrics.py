"""Metrics of the tasks: pure functions from predictions and references to fractions, without network or files.

An invalid prediction (None, -1, anything that is not an answer) is a wrong answer, never an exception.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.task.answers import are_texts, text_exact_match, text_f1
from harness.task.entities import entity_f1, surface_f1
from harness.task.rows import as_binary, as_class, as_labels, as_number, by_label
from harness.task.usual_metrics import Scores, auroc, average_precision, balanced_accuracy, mae, r2, rmse

# Scoring a task --------------------------------------------------------------------------------------------------


def compute_metrics(
    names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any], scores: Scores | None = None
) -> dict[str, float]:
    """All values of the named metrics (`METRICS`): fractions 0..1, correlations -1..1, errors; NaN where undefined.

    Args:
        names: metric names, as in ``Task.metrics``.
        predictions, references: n rows each, lists or arrays. A row is a class index, a score (regression), a list
            of one 0 or 1 per label (multi-label), a list of one tag name per word (token classification), a text
            against its list of right answers, or a form with more in it: `surface_f1` needs the words, and SuperGLUE's
            MultiRC and ReCoRD the numbers of their questions (`f1_a`, `text_f1`).
        scores: what the predictions came from, for the metrics that read it (`OF_SCORES`); None for written answers.

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
        values |= function(predictions, references, scores)
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
    right = [p == r for p, r in zip(map(as_class, predictions), as_labels(references), strict=True)]
    return {"accuracy": sum(right) / len(right)}


def matthews_correlation(predictions: Sequence[Any], references: Sequence[int]) -> dict[str, float]:
    """Matthews correlation, for any number of classes (Gorodkin 2004, R_K); 0 where it is undefined.

    Invalid predictions form a class of their own, as in the metric scripts of ``evaluate`` and in T5.

    >>> matthews_correlation([1, 1, 0, 0], [1, 0, 0, 1])
    {'matthews_correlation': 0.0}
    """
    from sklearn.metrics import matthews_corrcoef

    classes, labels = [as_class(p) for p in predictions], as_labels(references)
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
    return {"f1": _binary_f1(*as_binary(predictions, references))}


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
    classes = [as_class(p) for p in predictions]
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
    return {"f1_a": _binary_f1(*as_binary(answers, references)), **f1_m(predictions, references)}


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


@dataclass(frozen=True)
class Metric:
    """A metric by its name in `METRICS`; a call scores n predictions against n references.

    Attributes:
        function: from predictions and references (``of_scores``: and scores) to named values.
        problem_types: of the tasks that can name it; () for an official one whose task brings its own form of rows.
        source: who defined it, or whose value it is equal to.
        lower_is_better: whether it is an error: in the unit of the labels, not a fraction.
        of_scores: whether it reads the scores behind the predictions.
        of_words: whether it needs the words of sentences beside their tags.
    """

    function: Callable[..., dict[str, float]]
    problem_types: tuple[str, ...]
    source: str
    lower_is_better: bool = False
    of_scores: bool = False
    of_words: bool = False

    def __call__(
        self, predictions: Sequence[Any], references: Sequence[Any], scores: Scores | None = None
    ) -> dict[str, float]:
        """Its values."""
        if self.of_scores:
            return self.function(predictions, references, scores)
        return self.function(predictions, references)

    @property
    def description(self) -> str:
        """What it is, in a sentence."""
        sentence = str(self.function.__doc__).partition("\n\n")[0].partition("; with it come")[0].partition(". ")[0]
        return " ".join(sentence.replace("`", "").rstrip(".").split())


_SINGLE, _SEVERAL, _CHOICE = "single_label_classification", "multi_label_classification", "multiple_choice"
_NUMBER, _WORDS = "regression", "token_classification"
_SKLEARN = "scikit-learn"

METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy, (_SINGLE, _CHOICE), _SKLEARN),
    "balanced_accuracy": Metric(balanced_accuracy, (_SINGLE,), _SKLEARN),
    "matthews_correlation": Metric(matthews_correlation, (_SINGLE,), _SKLEARN),
    "f1": Metric(f1, (_SINGLE,), _SKLEARN),
    "macro_f1": Metric(macro_f1, (_SINGLE, _SEVERAL), _SKLEARN),
    "micro_f1": Metric(micro_f1, (_SINGLE, _SEVERAL), _SKLEARN),
    "auroc": Metric(auroc, (_SINGLE, _SEVERAL), _SKLEARN, of_scores=True),
    "average_precision": Metric(average_precision, (_SINGLE, _SEVERAL), _SKLEARN, of_scores=True),
    "pearson": Metric(pearson, (_NUMBER,), "SciPy"),
    "spearmanr": Metric(spearmanr, (_NUMBER,), "SciPy"),
    "mae": Metric(mae, (_NUMBER,), _SKLEARN, lower_is_better=True),
    "rmse": Metric(rmse, (_NUMBER,), _SKLEARN, lower_is_better=True),
    "r2": Metric(r2, (_NUMBER,), _SKLEARN),
    "entity_f1": Metric(entity_f1, (_WORDS,), "seqeval, CoNLL-2003"),
    "surface_f1": Metric(surface_f1, (_WORDS,), "WNUT-17", of_words=True),
    "cb_f1": Metric(cb_f1, (_SINGLE,), "SuperGLUE"),
    "gender_parity": Metric(gender_parity, (_SINGLE,), "SuperGLUE"),
    "f1_a": Metric(f1_a, (), "SuperGLUE"),
    "f1_m": Metric(f1_m, (), "SuperGLUE"),
    "exact_match": Metric(exact_match, (), "SuperGLUE"),
}
"""Every metric that a task can name; each gives its value under `score_key`."""

OF_WORDS = tuple(name for name, metric in METRICS.items() if metric.of_words)
"""The metrics that need the words of sentences beside their tags."""
OF_SCORES = tuple(name for name, metric in METRICS.items() if metric.of_scores)
"""The metrics that read the scores behind predictions."""
ERRORS = frozenset(name for name, metric in METRICS.items() if metric.lower_is_better)
"""The keys of metrics that are better when lower, in the unit of the labels."""


def _rows(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise HarnessError(f"unknown metric '{name}'.{did_you_mean(name, METRICS)} Known: {', '.join(METRICS)}")
    return METRICS[name]


# Parts of them --------------------------------------------------------------------------------------------------


def _binary_f1(classes: Sequence[int], labels: Sequence[int]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, classes, zero_division=0.0))


def _averaged_f1(predictions: Sequence[Any], references: Sequence[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    if not isinstance(references[0], (list, tuple)):
        classes, labels = [as_class(p) for p in predictions], as_labels(references)
        return float(f1_score(labels, classes, average=average, zero_division=0.0))
    columns = by_label(predictions, references)
    if average == "micro":
        columns = [([p for predicted, _ in columns for p in predicted], [r for _, right in columns for r in right])]
    return sum(_binary_f1(predicted, right) for predicted, right in columns) / len(columns)


def _correlation(function: Callable[..., Any], predictions: Sequence[Any], references: Sequence[Any]) -> float:
    scores, targets = [as_number(p) for p in predictions], [as_number(r, math.nan) for r in references]
    for row, target in enumerate(targets):
        if not math.isfinite(target):
            raise HarnessError(f"reference {references[row]!r} of row {row} is not a finite number")
    if len(scores) < 2 or not all(map(math.isfinite, scores)):
        return math.nan  # some versions of scipy raise here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant or nearly constant side: the NaN says it
        return float(function(scores, targets)[0])


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
    answers = zip(*as_binary([p["prediction"] for p in rows], references), strict=True)
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
