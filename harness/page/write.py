"""index.html: one file with all that a benchmark's records say, which needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.format import Footnotes
from harness.inspection.source import Source
from harness.io import encode, write_file
from harness.leaderboard.board import Leaderboard
from harness.page import pictures, plots, tables, tasks, verdicts
from harness.page.content import Content, Curve, is_log, rank_rows, score_of, sign_of
from harness.page.qualities import Quality
from harness.report.efficiency import DEFINITIONS, machine_words
from harness.report.words import about, baseline_words, counting_words, lacking_words, statistics_words

PAGE = "index.html"
SCRIPTS = ("vendor/vega.min.js", "vendor/vega-lite.min.js", "vendor/vega-embed.min.js", "vendor/datatables.net.min.js",
           "static/plots.js", "static/page.js")  # fmt: skip
STYLE = "static/page.css"
MATRIX = 16
"""Models up to which the matrix of pairs is there without JavaScript, too."""


def write_page(folder: Path, content: Content, source: Source | None = None) -> Path:
    """Write index.html beside the tables, replaced at once.

    Args:
        source: the data, to show the texts of examples; None: the page holds none.

    Raises:
        HarnessError: the disk says no.
    """
    path = folder / PAGE
    write_file(path, encode(page(content, source)))
    return path


def page(content: Content, source: Source | None = None) -> str:
    """The content of index.html; a function of the records alone, and of the data where texts are asked for."""
    board, footnotes = content.board, Footnotes()
    scores = tables.score_table(board, content.names, footnotes)
    gaps, counts = tables.gaps(board, content.runs)
    measures, efficiency = tables.efficiency_table(board, content.names) if board.efficiency else ([], [])
    scripts, style = [_text(name) for name in SCRIPTS], _text(STYLE)
    return _environment().get_template("page.html").render(
        board=board,
        about=about(board),
        policy=policy(scripts, style),
        scripts=scripts,
        style=style,
        counts=counts,
        summary=tables.summary(counts),
        verdicts=verdicts.verdicts(board, content.shown, content.costs),
        no_verdict=verdicts.no_verdict(board, content.live),
        names=content.names,
        families=content.families,
        glyphs=_glyphs(content.families),
        main=content.main,
        shown=content.shown,
        pairs=[q for q in content.shown if q.pairs],
        costs=content.costs,
        scores=scores,
        legend=_legend(board),
        notes=tables.note_lines(footnotes),
        matrix=tables.pair_table(content.main[0], content.names) if content.main and content.main[0].pairs else [],
        matrix_shown=len(content.names) <= MATRIX,
        measures=measures,
        efficiency=efficiency,
        definitions=DEFINITIONS,
        machines=machine_words(board),
        folds=tasks.folds(board, content.runs, content.shown, source, content.live),
        texts=source is not None,
        gaps=gaps,
        pictures=pictures.static(content) if pictures.installed() and not content.live else {},
        data=payload(content),
        limits={"models": tasks.MODELS, "seeds": tasks.SEEDS, "gaps": tables.GAPS},
    )  # fmt: skip


def policy(scripts: Iterable[str], style: str) -> str:
    """The Content-Security-Policy: these scripts and this style, and nothing else from anywhere."""
    hashes = " ".join(f"'{_hash(script)}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _text(name: str) -> str:
    """A file of the package; a script must not end the element that it stands in."""
    text = resources.files("harness.page").joinpath(name).read_text(encoding="utf-8")
    return text.replace("</script", r"<\/script")


@cache
def _environment() -> Any:
    """Kept with its compiled templates, which take as long as all else of a small page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "sort_keys": False, "ensure_ascii": False}
    return environment


def _glyphs(families: Mapping[str, str]) -> dict[str, int]:
    """By family the number of its colour and sign, which page.css has in the order of Vega-Lite's shapes."""
    return {family: i % len(plots.LIGHT) for i, family in enumerate(sorted(set(families.values())))}


def _legend(board: Leaderboard) -> list[str]:
    """How to read the scores."""
    words = [f"Scores on the validation sets, times 100; {counting_words(board)}."]
    words += [*statistics_words(board), *baseline_words(board)]
    words += [sentence for section in board.sections for sentence in lacking_words(section)]
    if board.references:
        words.append("In italics: published dev-set scores, with averages computed here.")
    return words


# Numbers for the scripts -----------------------------------------------------------------------------------------


def payload(content: Content) -> dict[str, Any]:
    """All that the scripts draw from; models by their numbers in the order of the table, the best first."""
    board = content.board
    names = content.names
    ranks, number, difference = rank_rows(board) if not content.live else ([], 0, 0.0)
    return {
        "models": names,
        "families": [content.families[name] for name in names],
        "qualities": [_quality_data(quality, names) for quality in content.shown],
        "costs": [
            {"key": m.key, "title": f"{m.title} ({m.unit})", "more": m.more, "log": is_log(values.values()),
             "values": [float(f"{values[name]:.4g}") if name in values else None for name in names]}
            for m, values in content.costs.items()
        ],
        "groups": [content.groups[name] for name in names],
        "scores": _curve_data(content.scores, names),
        "losses": _curve_data(content.losses, names),
        "specs": {
            "quality": plots.quality_cost([], "", ""),
            "forest": plots.forest([], "", ""),
            "curves": plots.curves([], ""),
            "ranks": plots.critical(ranks, number, difference) if ranks else None,
        },
        "themes": {"light": plots.theme(), "dark": plots.theme(dark=True)},
    }  # fmt: skip


def _quality_data(quality: Quality, names: Sequence[str]) -> dict[str, Any]:
    """Scores; of each pair of models, in order, the difference, how far its interval reaches, and what it means.

    Differences are integers: 1 / ``per`` of a point, or of the unit of an error.
    """
    flat: list[int | None] = []
    per = 1000 if not quality.error else 10 ** (4 - math.ceil(math.log10(_largest(quality))))
    for a, b in combinations(names, 2) if quality.pairs else ():
        comparison, sign = verdicts.compared(quality, a, b)
        if comparison is None:
            flat += [None] * 4
            continue
        low, high = sorted([sign * comparison.low, sign * comparison.high])
        numbers = [round(per * value) for value in (sign * comparison.estimate, low, high)]
        flat += [numbers[0], numbers[0] - numbers[1], numbers[2] - numbers[0], sign * sign_of(comparison)]
    return {
        "key": quality.key,
        "title": quality.title,
        "average": quality.average,
        "error": quality.error,
        "per": per if quality.error else 10,
        "scores": [score_of(quality.cells[name], quality.error) for name in names],
        "pairs": flat,
    }


def _largest(quality: Quality) -> float:
    """Of the differences and their ends."""
    return max((abs(v) for c in quality.pairs.values() for v in (c.estimate, c.low, c.high)), default=1.0) or 1.0


def _curve_data(curves: Mapping[str, Mapping[str, Mapping[int | None, Curve]]], names: Sequence[str]) -> Any:
    """``[task, [[model, seed or null, steps, values], ...]]``."""
    return [
        [task, [[names.index(name), seed, [s for s, _ in curve], [v for _, v in curve]]
                for name, of_seed in of_row.items() for seed, curve in of_seed.items()]]
        for task, of_row in curves.items()
    ]  # fmt: skip
