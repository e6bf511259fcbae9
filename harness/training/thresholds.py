"""The probability from which on a label is predicted in multi-label classification."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def tuned_threshold(scores: Sequence[np.ndarray], labels: Sequence[Sequence[int]]) -> float:
    """The threshold, one for all labels, with the best micro-F1 on these examples; 0.5 where no label is right.

    It lies half-way, in logits, between the last score above it and the first below; of equally good ones the
    highest is taken.

    Args:
        scores: logits ``(1, labels)`` of each example.
        labels: the indices of each example's labels.
    """
    logits = np.concatenate(scores).astype(np.float64)
    right = np.zeros(logits.shape, dtype=bool)
    for row, own in enumerate(labels):
        right[row, list(own)] = True
    if not right.any():
        return 0.5
    order = np.argsort(-logits, axis=None, kind="stable")
    ordered, hits = logits.ravel()[order], np.cumsum(right.ravel()[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + right.sum())
    f1[:-1][ordered[:-1] == ordered[1:]] = -1.0  # no threshold parts equal scores
    last = int(np.argmax(f1))
    below = ordered[last + 1] if last + 1 < len(ordered) else ordered[last] - 2.0
    # A probability beyond these is 0 or 1 in floating point, from which no logit comes back.
    return 1 / (1 + math.exp(-min(max((ordered[last] + below) / 2, -30.0), 30.0)))


def shifted(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Logits moved so that 0 stands for the threshold, as it otherwise does for a probability of one half."""
    return scores if threshold == 0.5 else scores - math.log(threshold / (1 - threshold))
