"""Are the p values of `harness compare` what they say? False positives, coverage and power by simulation, in markdown.

    python scripts/calibration.py                         the tables of docs/statistics.md: ten minutes of one core
    python scripts/calibration.py --repetitions 200       a quick look

A model's answer to an example depends on what is hard for all models, what is hard for this model, and what is hard
for this run; a run also has a quality and a leaning to one class of its own, by which its expected score varies with
the standard deviation that is asked for. The expected scores, over seeds and examples, are known in closed form.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import optimize, stats

from harness.statistics.comparison import ALPHA, crossed_variance, mcnemar, multi_bootstrap
from harness.statistics.influence import Observations
from harness.statistics.sums import METRICS, Array

NAMES = {
    "accuracy": "accuracy",
    "matthews_correlation": "MCC",
    "f1": "F1",
    "macro_f1": "macro-F1",
    "pearson": "Pearson",
}
SEEDS, SIZES, SPREADS = (3, 5, 10), (56, 277, 1000), (0.003, 0.03)
TESTS = ("crossed", "mcnemar", "pooled", "permutation", "welch")
DIFFERENCE = 0.025
"""A true difference of two models, in fractions."""
POSITIVE = 0.6
"""The share of class 1."""
QUALITY = {"pearson": 2.0}
"""How far right answers are from wrong ones, in standard deviations; 0.68 gives an accuracy of 75 %."""
PARTS = (0.5, 0.1, 0.4)
"""The variance of an answer: what is hard for all models, for this model, for this run."""
BLOCK = 200_000
"""How many answers are simulated at once."""
RUNS = stats.qmc.Sobol(2, rng=0).random(4096)
QUALITIES, LEANINGS = stats.norm.ppf(np.clip(RUNS, 1e-6, 1 - 1e-6)).T
"""Runs of a model, evenly spread, with which expected scores are computed."""


@dataclass(frozen=True)
class Model:
    """A model whose runs have these qualities: mean, and how much they vary."""

    quality: float
    variation: float


def expected_scores(metric: str, model: Model) -> Array:
    """The expected score of each of the runs (QUALITIES, LEANINGS) on all examples there could be."""
    quality = model.quality + model.variation * QUALITIES
    if metric == "pearson":
        return quality / np.sqrt(quality**2 + 1)
    hit = stats.norm.cdf(quality + model.variation * LEANINGS)
    rejection = stats.norm.cdf(quality - model.variation * LEANINGS)
    tp, fn = POSITIVE * hit, POSITIVE * (1 - hit)
    tn, fp = (1 - POSITIVE) * rejection, (1 - POSITIVE) * (1 - rejection)
    f1, f1_of_0 = 2 * tp / (2 * tp + fp + fn), 2 * tn / (2 * tn + fp + fn)
    values = {
        "accuracy": tp + tn,
        "f1": f1,
        "macro_f1": (f1 + f1_of_0) / 2,
        "matthews_correlation": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
    }
    return values[metric]


def two_models(metric: str, spreads: tuple[float, float], difference: float) -> tuple[Model, Model]:
    """Two models whose runs have these standard deviations of expected scores, and whose means differ by so much."""
    quality = QUALITY.get(metric, 0.68)
    first, second = (
        optimize.brentq(lambda v, s=s: expected_scores(metric, Model(quality, v)).std() - s, 1e-6, 1.0) for s in spreads
    )
    goal = expected_scores(metric, Model(quality, first)).mean() - difference
    other = optimize.brentq(lambda q: expected_scores(metric, Model(q, second)).mean() - goal, 0.05, quality + 1)
    return Model(quality, first), Model(other, second)


def simulate(
    metric: str, models: Sequence[Model], seeds: int, n: int, repetitions: int, rng: np.random.Generator
) -> Iterator[tuple[list[Observations], list[Array]]]:
    """Blocks of repetitions: for each of the models its observations (r, seeds, n), and which answers are right."""
    shared, own, rest = np.sqrt(PARTS)
    block = max(BLOCK // (seeds * n), 1)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    for start in range(0, repetitions, block):
        r = min(block, repetitions - start)
        labels = normal(r, 1, n) if metric == "pearson" else (rng.random((r, 1, n)) < POSITIVE).astype(int)
        signs = labels if metric == "pearson" else 2 * labels - 1
        common = shared * normal(r, 1, n)
        observations, right = [], []
        for model in models:
            quality = model.quality + model.variation * normal(r, seeds, 1)
            answers = quality * signs + common + own * normal(r, 1, n) + rest * normal(r, seeds, n)
            if metric != "pearson":
                answers = (answers + model.variation * normal(r, seeds, 1) > 0).astype(int)
            columns = METRICS[metric].columns(answers, labels, None, 2)
            observations.append(Observations(columns, columns, METRICS[metric].value))
            right.append(answers == labels)
        yield observations, right


def crossed(values: list[Array]) -> tuple[Array, Array]:
    """(r,) differences, and half the length of their 95 % intervals."""
    variance = crossed_variance(*values)
    half = stats.t.ppf(1 - ALPHA / 2, variance.df) * np.sqrt(variance.total)
    return values[0].mean(axis=(-1, -2)) - values[1].mean(axis=(-1, -2)), half


def permutation_of_examples(values: list[Array], rng: np.random.Generator, draws: int = 400) -> Array:
    """(r,) p of the difference of the seeds' means when examples alone are swapped."""
    difference = values[0].mean(axis=-2) - values[1].mean(axis=-2)
    signs = 2.0 * rng.integers(0, 2, (difference.shape[-1], draws)) - 1
    extreme = np.abs(difference @ signs) >= np.abs(difference.sum(axis=-1, keepdims=True)) - 1e-9
    return (1 + extreme.sum(axis=-1)) / (draws + 1)


def welch(scores: list[Array]) -> Array:
    """(r,) p of Welch's test of the seeds' scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of seeds with equal scores
        return stats.ttest_ind(*scores, axis=-1, equal_var=False).pvalue


def false_positives(
    metric: str, spreads: tuple[float, float], seeds: int, n: int, repetitions: int, rng: np.random.Generator
) -> dict[str, float]:
    """How often two equal models are found to differ, by each test."""
    counts: dict[str, float] = {}

    def count(name: str, significant: Array) -> None:
        counts[name] = counts.get(name, 0.0) + float(significant.sum()) / repetitions

    for observations, right in simulate(metric, two_models(metric, spreads, 0.0), seeds, n, repetitions, rng):
        values = [runs.values for runs in observations]
        difference, half = crossed(values)
        count("crossed", np.abs(difference) > half)
        if metric != "pearson":
            count("mcnemar", mcnemar(right[0][:, 0], right[1][:, 0]) < ALPHA)
            count("pooled", mcnemar(*(side.reshape(len(side), -1) for side in right)) < ALPHA)
        count("permutation", permutation_of_examples(values, rng) < ALPHA)
        count("welch", welch([runs.scores for runs in observations]) < ALPHA)
    return counts


def coverage(metric: str, spread: float, seeds: int, n: int, repetitions: int, rng: np.random.Generator) -> float:
    """How often the 95 % interval holds the true difference, which is DIFFERENCE."""
    covered = 0
    for observations, _ in simulate(
        metric, two_models(metric, (spread, spread), DIFFERENCE), seeds, n, repetitions, rng
    ):
        difference, half = crossed([runs.values for runs in observations])
        covered += int((np.abs(difference - DIFFERENCE) <= half).sum())
    return covered / repetitions


def single_coverage(
    metric: str, spread: float, seeds: int, n: int, repetitions: int, rng: np.random.Generator
) -> float:
    """How often the 95 % interval of one model's score holds the score that is expected over seeds and examples."""
    model, _ = two_models(metric, (spread, spread), 0.0)
    truth, covered = expected_scores(metric, model).mean(), 0
    for (runs,), _ in simulate(metric, (model,), seeds, n, repetitions, rng):
        estimate, half = crossed([runs.values, np.zeros((2, n))])
        covered += int((np.abs(estimate - truth) <= half).sum())
    return covered / repetitions


def power(
    metric: str, spread: float, repetitions: int, rng: np.random.Generator, seeds: int = 10, n: int = 277
) -> tuple[float, float]:
    """How often DIFFERENCE is found by the crossed variance and by the multi-bootstrap."""
    crossed_count = bootstrap_count = 0
    for observations, _ in simulate(
        metric, two_models(metric, (spread, spread), DIFFERENCE), seeds, n, repetitions, rng
    ):
        estimate, half = crossed([runs.values for runs in observations])
        crossed_count += int((np.abs(estimate) > half).sum())
        for r in range(len(estimate)):
            pair = [Observations(runs.columns[r], runs.slopes[r], runs.value) for runs in observations]
            comparison = multi_bootstrap(pair[0], pair[1], draws=500)
            bootstrap_count += not comparison.low <= 0 <= comparison.high
    return crossed_count / repetitions, bootstrap_count / repetitions


# Tables ----------------------------------------------------------------------------------------------------------


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percentages(values: Sequence[float | None]) -> str:
    """Shares as percentages, one for each size of the data."""
    return " / ".join("–" if value is None else f"{100 * value:.1f}" for value in values)


def calibration_table(repetitions: int, rng: np.random.Generator) -> str:
    header = ["metric", "seed SD", "seeds", "crossed", "coverage", "McNemar, one run"]
    header += ["McNemar, runs pooled", "permutation", "Welch"]
    rows = []
    for metric, spread, seeds in product(NAMES, SPREADS, SEEDS):
        counts = [false_positives(metric, (spread, spread), seeds, n, repetitions, rng) for n in SIZES]
        covered: list[float | None] = [coverage(metric, spread, seeds, n, repetitions // 2, rng) for n in SIZES]
        rates = {name: percentages([c.get(name) for c in counts]) for name in TESTS}
        row = [NAMES[metric], f"{100 * spread:g}", str(seeds), rates.pop("crossed"), percentages(covered)]
        rows.append([*row, *rates.values()])
        print(*row, file=sys.stderr, flush=True)
    return table(header, rows)


def single_table(repetitions: int, rng: np.random.Generator) -> str:
    header = ["metric", "seed SD", *(f"{seeds} seeds" for seeds in SEEDS)]
    rows = []
    for metric, spread in product(NAMES, SPREADS):
        shares = [[single_coverage(metric, spread, seeds, n, repetitions, rng) for n in SIZES] for seeds in SEEDS]
        rows.append([NAMES[metric], f"{100 * spread:g}", *map(percentages, shares)])
        print(*rows[-1], file=sys.stderr, flush=True)
    return table(header, rows)


def few_seeds_table(repetitions: int, rng: np.random.Generator) -> str:
    header = ["seed SD of the models", "seeds", "crossed", "Welch"]
    rows = []
    for spreads, seeds in (*product([(0.003, 0.003), (0.03, 0.03)], [2]), *product([(0.003, 0.03)], [2, 3, 5, 10])):
        counts = [false_positives("accuracy", spreads, seeds, n, repetitions, rng) for n in SIZES]
        rates = [percentages([c[name] for c in counts]) for name in ("crossed", "welch")]
        rows.append([f"{100 * spreads[0]:g} and {100 * spreads[1]:g}", str(seeds), *rates])
        print(*rows[-1], file=sys.stderr, flush=True)
    return table(header, rows)


def power_table(repetitions: int, rng: np.random.Generator) -> str:
    header = ["metric", "seed SD", "crossed", "multi-bootstrap", "ratio"]
    rows = []
    for metric, spread in product(("accuracy", "f1", "matthews_correlation"), (0.003, 0.01, 0.03)):
        own, bootstrap = power(metric, spread, repetitions, rng)
        shares = [f"{100 * own:.0f} %", f"{100 * bootstrap:.0f} %", f"{own / max(bootstrap, 1 / repetitions):.1f}"]
        rows.append([NAMES[metric], f"{100 * spread:g}", *shares])
        print(*rows[-1], file=sys.stderr, flush=True)
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000, help="simulated comparisons of each cell")
    parser.add_argument("--single", action="store_true", help="only the coverage of a single model's interval")
    options = parser.parse_args()
    repetitions = options.repetitions
    print(f"Coverage of one model's interval in %, for {' / '.join(map(str, SIZES))} examples\n")
    print(single_table(repetitions, np.random.default_rng(2)), flush=True)
    if options.single:
        return
    rng = np.random.default_rng(0)
    print(
        f"False positives and coverage in %, for {' / '.join(map(str, SIZES))} examples ({repetitions} repetitions)\n"
    )
    print(calibration_table(repetitions, rng), flush=True)
    print(f"\nHow often a difference of {100 * DIFFERENCE:g} points is found, 277 examples, 10 seeds\n")
    print(power_table(max(repetitions // 4, 50), rng), flush=True)
    print("\nTwo seeds, and models whose seeds vary differently: false positives of the accuracy in %\n")
    print(few_seeds_table(repetitions, np.random.default_rng(1)))


if __name__ == "__main__":
    main()
