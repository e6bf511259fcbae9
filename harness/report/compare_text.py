"""A comparison in four forms: Markdown to read, CSV and JSON for programs, LaTeX for papers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.comparison.compare import Comparisons, Cost, Disagreement, Line, ModelComparison, comparison_of
from harness.comparison.general import InGeneral
from harness.errors import HarnessError, did_you_mean
from harness.format import MISSING, escape, in_unit, markdown_table, percent, to_csv
from harness.io import to_json
from harness.leaderboard.measures import MEASURES
from harness.report.latex import comparison_tex
from harness.report.words import SHORT
from harness.statistics import VERSION
from harness.statistics.comparison import ALPHA, Comparison, Interval, Verdict

FORMATS = ("md", "csv", "json", "tex")


@dataclass(frozen=True)
class CompareReport:
    """A comparison of two models, or of all pairs, and its texts."""

    comparison: ModelComparison | Comparisons

    def text(self, form: str = "md") -> str:
        """In one of the `FORMATS`.

        Raises:
            HarnessError: in any other.
        """
        if form not in FORMATS:
            raise HarnessError(f"format '{form}': it is one of {', '.join(FORMATS)}.{did_you_mean(form, FORMATS)}")
        return as_text(self.comparison, form)


def as_text(comparison: ModelComparison | Comparisons, form: str) -> str:
    """A comparison of two models, or of all pairs, in one of the `FORMATS`."""
    pairs = [comparison] if isinstance(comparison, ModelComparison) else [*comparison.pairs.values()]
    if form == "csv":
        return csv_text(pairs)
    if form == "json":
        general = None if isinstance(comparison, ModelComparison) else comparison.general
        return to_json(as_data(pairs) | ({"in_general": general.data()} if general else {})).decode()
    if form == "tex":
        return "\n".join(map(latex, pairs))
    return markdown(comparison) if isinstance(comparison, ModelComparison) else matrix(comparison)


# Words -----------------------------------------------------------------------------------------------------------


def p_text(p: float) -> str:
    """``0.031``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float, error: bool = False) -> str:
    """A difference of fractions in points, with its sign; of errors in their unit."""
    if error:
        return f"{'' if value < 0 else '+'}{in_unit(value, error)}"
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def interval_text(low: float, high: float, error: bool = False) -> str:
    """``-0.4 to +2.3``."""
    return f"{signed(low, error)} to {signed(high, error)}"


def verdict_text(comparison: Comparison) -> str:
    """``better``; where nothing can be told, from which difference on it would be, or that nothing varies."""
    if comparison.verdict is not Verdict.TIED:
        return str(comparison.verdict)
    if comparison.detectable is None:
        return f"{comparison.verdict} (no run differs from another)"
    return f"{comparison.verdict} (seen from {in_unit(comparison.detectable, comparison.lower_is_better)} on)"


def words(comparison: ModelComparison) -> list[str]:
    """What was compared, by which test, and what the table shows."""
    a, b = comparison.a, comparison.b
    seeds = [f"{low}" if low == high else f"{low} to {high}" for low, high in comparison.seeds]
    made = {line.comparison.method for line in comparison.tasks if line.comparison}
    sentences = [f"Difference: {a} less {b}, in points; the verdict is of {a}. Seeds: {seeds[0]} and {seeds[1]}."]
    if comparison.single:
        sentences.append(
            "One run of each: all that is said here is about these two checkpoints, and nothing about the models."
        )
    sentences += [f"{method[0].upper()}{method[1:]}." for method in sorted(made)]
    if sum(line.comparison is not None for line in comparison.tasks) > 1:
        sentences.append("p is corrected by Holm over the tasks; an average is one claim of its own, tasks fixed.")
    sentences.append("Seen from ... on: the smallest true difference that would be found with a chance of 80 %.")
    return sentences


def improvement_words(comparison: ModelComparison) -> str:
    """The probability of improvement over tasks; empty where nothing is compared, and of checkpoints."""
    chance = comparison.improvement
    if chance is None or comparison.single:
        return ""
    ends = "" if math.isnan(chance.low) else f" ({percent(chance.low)} to {percent(chance.high)})"
    return (
        f"A run of {comparison.a} beats one of {comparison.b} on a task with a probability of "
        f"{percent(chance.estimate)} %{ends}."
    )


# Markdown --------------------------------------------------------------------------------------------------------


def markdown(comparison: ModelComparison) -> str:
    """A page about two models."""
    title = f"# {comparison.a} and {comparison.b}"
    blocks = [escape(title), " ".join(map(escape, words(comparison)))]
    headers = ["Task", comparison.a, comparison.b, "Difference", "95 % interval", "p", "Verdict"]
    rows = [_row(line) for line in (*comparison.tasks, *comparison.averages)]
    blocks.append(_table(headers, rows))
    if chance := improvement_words(comparison):
        blocks.append(escape(chance))
    if comparison.costs:
        headers = ["Cost", comparison.a, comparison.b, "Ratio", "95 % interval"]
        blocks += ["## Costs", _table(headers, [_cost_row(cost) for cost in comparison.costs])]
        blocks.append("Means over the tasks of both; the ratio is a geometric mean, its interval over runs.")
    if comparison.disagreements is not None:
        blocks.append(_disagreements(comparison.disagreements, comparison.a, comparison.b))
    if comparison.notes:
        blocks += ["## Notes", "\n".join(f"- {escape(note)}" for note in comparison.notes)]
    return "\n\n".join(blocks) + "\n"


def _table(headers: list[str], rows: list[list[str]]) -> str:
    """With the marks ``*`` and ``<`` as they are, which Markdown leaves alone between spaces."""
    cells = [[escape(cell).replace(r"\*", "*").replace(r"\<", "<") for cell in row] for row in rows]
    return markdown_table([*map(escape, headers)], cells, escaped=True)


def _row(line: Line) -> list[str]:
    scores = [_title(line), in_unit(line.a, line.error), in_unit(line.b, line.error)]
    if line.comparison is None:
        return [*scores, MISSING, MISSING, MISSING, line.reason]
    c = line.comparison
    difference = [signed(c.estimate, line.error), interval_text(c.low, c.high, line.error)]
    return [*scores, *difference, p_text(c.p_adjusted), verdict_text(c)]


def _title(line: Line) -> str:
    return f"{line.title} {'/'.join(SHORT.get(metric, metric) for metric in line.metrics)}".rstrip()


def _cost_row(cost: Cost) -> list[str]:
    show = next(measure.show for measure in MEASURES if measure.key == cost.key)
    ratio = cost.ratio
    certain = math.isnan(ratio.low) or ratio.low == ratio.high
    ends = MISSING if certain else f"{ratio.low:.2f} to {ratio.high:.2f}"
    return [cost.title, show(cost.a), show(cost.b), f"{ratio.estimate:.2f}", ends]


def _disagreements(found: Sequence[Disagreement], a: str, b: str) -> str:
    blocks = ["## Where they disagree most"]
    if not found:
        blocks.append("Their errors are the same on every example.")
    for one in found:
        lines = [f"- {escape(one.task)} {escape(one.split)}, example {one.index}"]
        lines += [f"  - {escape(text)}" for text in one.texts]
        lines.append(f"  - reference: {escape(one.reference)}")
        lines += [f"  - {escape(name)}: {escape(_counted(said))}" for name, said in ((a, one.a), (b, one.b))]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _counted(said: Mapping[str, int]) -> str:
    alone = len(said) == 1
    return ", ".join(answer if alone and count == 1 else f"{answer} ({count})" for answer, count in said.items())


def matrix(comparisons: Comparisons) -> str:
    """A page about all pairs: differences of averages (of the only task), tasks won, ranks."""
    pairs = [*comparisons.pairs.values()]
    titles = {line.key: line.title for pair in pairs for line in pair.averages}
    titles = titles or {line.key: line.title for pair in pairs for line in pair.tasks}
    blocks = [f"# All pairs: {escape(comparisons.benchmark)}"]
    blocks.append(
        "Row less column, in points ± half of the 95 % interval; * where they can be told apart (Holm over all pairs "
        "of a table, 5 %). Ranks: from the best to the worst that a model may have."
    )
    if all(pair.single for pair in pairs):
        blocks.append(
            "One run of each: all that is said here is about these checkpoints, and nothing about the models."
        )
    for key, title in titles.items():
        blocks += [f"## {escape(title)}", _differences(comparisons, key)]
    if len({line.task for pair in pairs for line in pair.tasks}) > 1:
        blocks += ["## Tasks", "On how many tasks the row is better, cannot be told apart, and is worse (Holm over the "
                   "tasks of a pair).", _wins(comparisons)]  # fmt: skip
    if comparisons.general:
        blocks += ["## Tasks in general", *_in_general(comparisons.general)]
    notes = dict.fromkeys(note for pair in pairs for note in pair.notes)
    if notes:
        blocks += ["## Notes", "\n".join(f"- {escape(note)}" for note in notes)]
    return "\n\n".join(blocks) + "\n"


def _in_general(claim: InGeneral) -> list[str]:
    """Friedman's test, and the models by their mean ranks."""
    ranked = sorted(zip(claim.test.mean_ranks, claim.names, strict=True))
    rows = [[name, f"{rank:.2f}", ", ".join(claim.told_from(name)) or MISSING] for rank, name in ranked]
    finding = "models rank differently" if claim.test.p < ALPHA else "no difference between models is found"
    tasks = escape(", ".join(claim.tasks))
    return [
        f"Unlike all above, a claim about tasks in general, of which these {len(claim.tasks)} are taken to be a "
        f"sample: {tasks}. Friedman's test: p {_equal(p_text(claim.test.p))}: {finding}. Nemenyi's critical difference "
        f"of two mean ranks: {claim.test.critical_difference:.2f} (5 %).",
        _table(["Model", "Mean rank", "Can be told from"], rows),
    ]


def _equal(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _differences(comparisons: Comparisons, key: str) -> str:
    ranking = comparisons.rankings.get(key)
    rows = []
    for a in comparisons.names:
        score = next((s for pair in comparisons.pairs.values() if (s := _score(pair, a, key)) is not None), MISSING)
        cells = [a, score, f"{'-'.join(map(str, ranking.ranks[a]))}" if ranking else MISSING]
        rows.append([*cells, *(_difference(comparisons, a, b, key) for b in comparisons.names)])
    return _table(["Model", "Score", "Ranks", *comparisons.names], rows)


def _score(pair: ModelComparison, name: str, key: str) -> str | None:
    line = next((line for line in (*pair.averages, *pair.tasks) if line.key == key), None)
    if line is None or name not in (pair.a, pair.b):
        return None
    score = line.a if name == pair.a else line.b
    return None if score is None else in_unit(score, line.error)


def _difference(comparisons: Comparisons, a: str, b: str, key: str) -> str:
    pair, sign = _pair(comparisons.pairs, a, b)
    comparison = comparison_of(pair, key) if pair else None
    if comparison is None:
        return MISSING
    apart = {(a, b), (b, a)} & comparisons.apart.get(key, frozenset())
    error = comparison.lower_is_better
    half = in_unit((comparison.high - comparison.low) / 2, error)
    return f"{signed(sign * comparison.estimate, error)} ± {half}{' *' if apart else ''}"


def _wins(comparisons: Comparisons) -> str:
    rows = []
    for a in comparisons.names:
        cells = [a]
        for b in comparisons.names:
            pair, sign = _pair(comparisons.pairs, a, b)
            verdicts = [line.comparison.verdict for line in pair.tasks if line.comparison] if pair else []
            counts = [verdicts.count(verdict) for verdict in (Verdict.BETTER, Verdict.TIED, Verdict.WORSE)]
            cells.append("/".join(map(str, counts[:: int(sign)])) if pair else MISSING)
        rows.append(cells)
    return _table(["Model", *comparisons.names], rows)


def _pair(pairs: Mapping[tuple[str, str], ModelComparison], a: str, b: str) -> tuple[ModelComparison | None, float]:
    """The comparison of two models, and -1 where it is the other way round."""
    return (pairs[a, b], 1.0) if (a, b) in pairs else (pairs.get((b, a)), -1.0)


# LaTeX -----------------------------------------------------------------------------------------------------------


def latex(comparison: ModelComparison) -> str:
    """A table for the packages booktabs and threeparttable; the score of the better model is bold."""
    lines = [*comparison.tasks, *comparison.averages]
    headers = ["Task", comparison.a, comparison.b, "Difference", "95 % interval", "p", "Seen from"]
    rows = [[*_row(line)[:-1], _seen_from(line)] for line in lines]
    sentences = [*words(comparison), "Bold: the better model, where they can be told apart."]
    sentences += [f"{_title(line)}: {line.reason}." for line in lines if line.reason]
    sides = {Verdict.BETTER: 1, Verdict.WORSE: 2}
    bold = {i: sides[c.verdict] for i, line in enumerate(lines) if (c := line.comparison) and c.verdict in sides}
    count = len(comparison.tasks)
    return comparison_tex((comparison.a, comparison.b), headers, rows[:count], rows[count:], sentences, bold)


def _seen_from(line: Line) -> str:
    return MISSING if line.comparison is None else in_unit(line.comparison.detectable, line.error)


# Numbers for programs --------------------------------------------------------------------------------------------


def csv_text(pairs: Sequence[ModelComparison]) -> str:
    """A line for each pair and task or average; scores and differences times 100."""
    rows = [{"a": pair.a, "b": pair.b, **_csv_line(line)} for pair in pairs for line in (*pair.tasks, *pair.averages)]
    return to_csv(rows, list(rows[0]) if rows else ["a", "b"])


def _csv_line(line: Line) -> dict[str, Any]:
    data = _line_data(line)
    data["metrics"] = "/".join(line.metrics)
    for key in ("a_score", "b_score", "difference", "se", "low", "high", "detectable"):
        data[key] = None if data[key] is None else round((1 if line.error else 100) * data[key], 4)
    return data


def as_data(pairs: Sequence[ModelComparison]) -> dict[str, Any]:
    """All numbers, in fractions."""
    return {"schema": 1, "statistics": VERSION, "pairs": [_pair_data(pair) for pair in pairs]}


def _pair_data(pair: ModelComparison) -> dict[str, Any]:
    return {
        "benchmark": pair.benchmark,
        "a": pair.a,
        "b": pair.b,
        "about": "these two checkpoints" if pair.single else "the models",
        "tasks": [_line_data(line) for line in pair.tasks],
        "averages": [_line_data(line) for line in pair.averages],
        "improvement": _interval_data(pair.improvement) if pair.improvement else None,
        "costs": [{"measure": c.key, "a": c.a, "b": c.b, "ratio": _interval_data(c.ratio)} for c in pair.costs],
        "notes": pair.notes,
        **({} if pair.disagreements is None else {"disagreements": [vars(one) for one in pair.disagreements]}),
    }


def _line_data(line: Line) -> dict[str, Any]:
    c = line.comparison
    return {
        "task": line.task,
        "title": line.title,
        "metrics": line.metrics,
        "a_score": line.a,
        "b_score": line.b,
        "difference": c.estimate if c else None,
        "se": c.se if c else None,
        "df": c.df if c and math.isfinite(c.df) else None,
        "low": c.low if c else None,
        "high": c.high if c else None,
        "p": c.p if c else None,
        "p_adjusted": c.p_adjusted if c else None,
        "verdict": str(c.verdict) if c else None,
        "detectable": c.detectable if c else None,
        "a_seeds": c.n_seeds[0] if c else None,
        "b_seeds": c.n_seeds[1] if c else None,
        "examples": c.n_examples if c else None,
        "method": c.method if c else None,
        "reason": line.reason,
    }


def _interval_data(interval: Interval) -> dict[str, float | None]:
    ends = [None if math.isnan(end) else end for end in (interval.low, interval.high)]
    return {"estimate": interval.estimate, "low": ends[0], "high": ends[1]}
