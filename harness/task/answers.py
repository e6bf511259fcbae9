"""Answers that are texts (ReCoRD, SQuAD): their token F1 and their exact match."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import HarnessError


def text_f1(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """Token F1 after SQuAD's normalisation, the maximum over the right answers, averaged over questions.

    Args:
        predictions: texts, or ReCoRD's ``{"idx": {"passage": int, "query": int}, "prediction_text": str}``.
        references: the right answers (a list of texts, or one text), or ReCoRD's ``{"idx": {...}, "answers": [...]}``.
            ReCoRD is paired by query number alone, as its script does: of several predictions the last counts, a
            query without one scores 0.

    Source: the evaluation scripts of SQuAD (Rajpurkar et al. 2016) and ReCoRD (Zhang et al. 2018).

    >>> text_f1(["The cat!", "a dog"], [["cat"], ["big dog", "cow"]])
    {'f1': 0.8333333333333333}
    """
    pairs = _answer_pairs(predictions, references)
    return {"f1": sum(max(_token_f1(text, answer) for answer in answers) for text, answers in pairs) / len(pairs)}


def text_exact_match(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """The share of questions whose text is one of the answers after normalisation. Arguments as of `text_f1`.

    >>> text_exact_match(["The cat!", "a dog"], [["cat"], ["big dog", "cow"]])
    {'exact_match': 0.5}
    """
    pairs = _answer_pairs(predictions, references)
    right = [isinstance(text, str) and _normalise(text) in map(_normalise, answers) for text, answers in pairs]
    return {"exact_match": sum(right) / len(pairs)}


def are_texts(references: Sequence[Any]) -> bool:
    """Whether the right answers are texts, in one of the two forms that `text_f1` takes."""
    return isinstance(references[0], (Mapping, list, tuple, str))


def _answer_pairs(predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, list[str]]]:
    """Each question's predicted text (whatever it is) and its right answers."""
    if isinstance(references[0], Mapping):
        try:
            texts = {p["idx"]["query"]: p["prediction_text"] for p in predictions}
            pairs = [(texts.get(r["idx"]["query"]), r["answers"]) for r in references]
        except (KeyError, TypeError) as error:
            raise HarnessError(
                "rows are not of ReCoRD's form {'idx': {'query': ...}, 'prediction_text': ...} and "
                f"{{'idx': {{'query': ...}}, 'answers': [...]}}: {type(error).__name__} {error}"
            ) from error
    else:
        pairs = [(p, [r] if isinstance(r, str) else r) for p, r in zip(predictions, references, strict=True)]
    for row, (_, answers) in enumerate(pairs):
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise HarnessError(f"reference {references[row]!r} of row {row} has no text answers to score against")
    return pairs


def _normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus white space (SQuAD's evaluation script)."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _token_f1(text: Any, answer: str) -> float:
    if not isinstance(text, str):
        return 0.0
    predicted, right = _normalise(text).split(), _normalise(answer).split()
    common = sum((Counter(predicted) & Counter(right)).values())
    return 2 * common / (len(predicted) + len(right)) if common else 0.0
