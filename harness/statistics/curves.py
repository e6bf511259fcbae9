"""Areas under curves as means of values of examples: what ranks the examples has no sums, but first-order influences.

The area is a function of every example's weight; its derivative by a weight, as `jackknife` takes it of sums, is exact
here. The variance of the values / n is that of DeLong, DeLong and Clarke-Pearson 1988 for the ROC curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.statistics.influence import Observations, observe
from harness.statistics.sums import Array, cluster_index

Column = tuple[NDArray[np.bool_], Array]
"""(n,) whether each example has the class, and its score for it."""


def auroc_values(right: NDArray[np.bool_], scores: Array) -> Array:
    """(n,) values whose mean is the area under the ROC curve; some examples have the class and some have not.

    With V_i the share of the others that an example with the class ranks above (ties half), and V_j the share of those
    with the class that rank above an example without it: theta + n / n1 (V_i - theta) and theta + n / n0 (V_j - theta).
    """
    n, positives = len(right), int(right.sum())
    ranks = _below(scores, np.ones(n))
    above = np.where(
        right, ranks - _below(scores, right.astype(float)), positives - _below(scores, right.astype(float))
    )
    shares = above / np.where(right, n - positives, positives)
    area = shares[right].mean()
    return area + n / np.where(right, positives, n - positives) * (shares - area)


def _below(scores: Array, weights: Array) -> Array:
    """(n,) the weight of the examples with a lower score, and half of that of those with an equal one."""
    _, group = np.unique(scores, return_inverse=True)
    sums = np.bincount(group, weights)
    return (np.cumsum(sums) - sums / 2)[group]


def average_precision_values(right: NDArray[np.bool_], scores: Array) -> Array:
    """(n,) values whose mean is the average precision; some example has the class.

    The average precision is the mean over the examples with the class of p_i, the share with the class among the R_i
    examples that score at least as high. An example k adds its own p_k, and moves by (has the class - p_i) / R_i every
    p_i of those that score no higher.
    """
    n, positives = len(right), int(right.sum())
    _, group = np.unique(-scores, return_inverse=True)  # from the highest score on
    hits = np.bincount(group, right.astype(float))
    reached, found = np.cumsum(np.bincount(group)), np.cumsum(hits)
    precision = found / reached
    area = float((hits * precision).sum() / positives)
    later = np.cumsum((hits / reached)[::-1])[::-1], np.cumsum((hits * precision / reached)[::-1])[::-1]
    moved = right * later[0][group] - later[1][group]
    return area + n / positives * (right * (precision[group] - area) + moved)


AREAS: dict[str, Callable[[NDArray[np.bool_], Array], Array]] = {
    "auroc": auroc_values,
    "average_precision": average_precision_values,
}
"""The metrics of scores, by their names."""


def observe_area(
    metric: str, runs: Sequence[Sequence[Column]], clusters: Sequence[object] | None = None
) -> Observations:
    """The runs of a model by an area of `AREAS`, a mean over classes.

    Args:
        runs: of each seed, the classes that count; none: the area is undefined, and 0.
        clusters: as of `observe`.
    """
    width = next((len(right) for run in runs for right, _ in run), 1)
    values = [
        np.mean([AREAS[metric](right, scores) for right, scores in run], axis=0) if run else np.zeros(width)
        for run in runs
    ]
    names = None if clusters is None else cluster_index(clusters).tolist()
    return observe("mean", np.array(values), np.zeros(len(values[0])), names)
