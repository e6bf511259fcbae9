"""The answer in sentences: which model is better than which, by how much, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.format import in_unit, plural
from harness.leaderboard.board import Leaderboard
from harness.page.content import sign_of
from harness.page.qualities import CostMeasure, Quality, headlines, ordered
from harness.report.compare_text import interval_text, p_text, signed
from harness.statistics.comparison import Comparison

MODELS = 4
"""Up to so many models, every pair has a sentence."""
SENTENCES = 6


@dataclass(frozen=True)
class Part:
    """One average or task of a sentence: its name, the difference in words, and what can be said of it."""

    title: str
    difference: str
    interval: str
    details: str
    verdict: str


@dataclass(frozen=True)
class Verdict:
    """A sentence about two models: ``a`` has the higher score.

    ``verdict`` is ``better``, ``worse``, ``tied`` or ``mixed``; ``phrase`` stands between the names; ``rest`` follows
    them: tasks won, and costs.
    """

    a: str
    b: str
    verdict: str
    phrase: str
    after: str
    parts: tuple[Part, ...]
    rest: tuple[str, ...]


def verdicts(
    board: Leaderboard, shown: Sequence[Quality], costs: Mapping[CostMeasure, Mapping[str, float]]
) -> list[Verdict]:
    """A sentence for every pair of up to four models; of more, for the best one and those that follow it."""
    main = [quality for quality in headlines(shown) if quality.pairs]
    if not main:
        return []
    names = [name for name in ordered([row.name for row in board.rows], main[0]) if _has(main[0], name)]
    pairs = list(combinations(names, 2))
    if len(names) > MODELS:
        pairs = [*((names[0], other) for other in names[1:])][:SENTENCES]
    return [_verdict(a, b, main, shown, costs) for a, b in pairs]


def _has(quality: Quality, name: str) -> bool:
    return any(name in pair for pair in quality.pairs)


def compared(quality: Quality, a: str, b: str) -> tuple[Comparison | None, int]:
    """The comparison of two models, and -1 where it is the other way round."""
    if (a, b) in quality.pairs:
        return quality.pairs[a, b], 1
    return quality.pairs.get((b, a)), -1


def _verdict(
    a: str, b: str, main: Sequence[Quality], shown: Sequence[Quality], costs: Mapping[CostMeasure, Mapping[str, float]]
) -> Verdict:
    found: dict[int, list[str]] = {1: [], 0: [], -1: []}
    parts = []
    for quality in main:
        comparison, sign = compared(quality, a, b)
        if comparison is None:
            continue
        which = sign * sign_of(comparison)
        found[which].append(quality.title)
        ends = sorted([sign * comparison.low, sign * comparison.high])
        details = f"p {p_text(comparison.p_adjusted)}, Holm over all pairs"
        if which == 0 and comparison.detectable is not None:
            details += (
                f"; a true difference of {in_unit(comparison.detectable, comparison.lower_is_better)} would be seen"
            )
        error = comparison.lower_is_better
        numbers = signed(sign * comparison.estimate, error), interval_text(ends[0], ends[1], error)
        parts.append(Part(quality.title, *numbers, details, _WORDS[which]))
    phrase, after, verdict = _phrase(found)
    rest = [*_tasks_won(a, b, shown), *_costs(a, b, costs)]
    return Verdict(a, b, verdict, phrase, after, tuple(parts), tuple(rest))


_WORDS = {1: "better", 0: "tied", -1: "worse"}


def _phrase(found: Mapping[int, Sequence[str]]) -> tuple[str, str, str]:
    """What stands between the names and after them, and the verdict as a word."""
    said = [which for which in (1, -1, 0) if found[which]]
    first = said[0]
    start = {1: "is better than", -1: "is worse than", 0: "cannot be told apart from"}[first]
    if len(said) == 1:
        return start, f" on {_listed(found[first])}", _WORDS[first]
    others = []
    for which in said[1:]:
        what = _listed(found[which])
        others.append(f"on {what} they cannot be told apart" if which == 0 else f"on {what} it is worse")
    return start, f" on {_listed(found[first])}; {'; '.join(others)}", "mixed" if -1 in said else _WORDS[first]


def _listed(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _tasks_won(a: str, b: str, shown: Sequence[Quality]) -> list[str]:
    signs = []
    for quality in shown:
        comparison, sign = compared(quality, a, b)
        if comparison is not None and not quality.average:
            signs.append(sign * sign_of(comparison))
    if len(signs) < 2:
        return []
    return [f"{plural(signs.count(1), 'task')} better, {signs.count(0)} undecided, {signs.count(-1)} worse"]


def _costs(a: str, b: str, costs: Mapping[CostMeasure, Mapping[str, float]]) -> list[str]:
    """How many times the cost of the other one, by the rate of inference or else by the latency."""
    for key in ("inference_rate_32", "latency_p50_seconds"):
        for measure, values in costs.items():
            if measure.key == key and a in values and b in values:
                return [measure.ratio.format(f"{values[a] / values[b]:.2f}")]
    return []


def no_verdict(board: Leaderboard, live: bool) -> str:
    """Why there is no sentence."""
    if live:
        return "Runs are still being done: verdicts and intervals are made when the command ends, and by “report”."
    if len(board.rows) < 2:
        return "There is one model here: nothing to compare it with."
    return (
        "No two models can be compared on an average or a task yet: all seeds must be done, on the same data and with "
        "the same caveats, and the predictions must be there."
    )
