"""Tables for papers: leaderboard.tex and efficiency.tex, for the packages booktabs and threeparttable."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.format import Footnotes, cut
from harness.leaderboard.board import Cell, Leaderboard, Section
from harness.leaderboard.measures import baseline
from harness.report.efficiency import DEFINITIONS, MEANS, machine_words, ratio_table, summary_table
from harness.report.verdict import verdict
from harness.report.words import (
    about,
    baseline_words,
    counting_words,
    deviations,
    lacking_words,
    means,
    metric_words,
    seeds_done,
    shown_references,
    statistics_words,
    tasks_as_rows,
)

WIDTHS = {"footnotesize": 90, "scriptsize": 104}
"""Characters of a line of 14 cm (5.5 in) at each size; a table that is wider at all of them is cut into several."""
LENGTH = 40
"""Rows of a table; a longer one is cut into several."""
NEEDS = (
    r"% \usepackage[T1]{fontenc}",
    r"% \usepackage{booktabs,threeparttable}",
)

_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "--", "±": r"$\pm$"}
_TEX |= {"↓": r"$\downarrow$", "…": r"\ldots{}", "<": "$<$", ">": "$>$", "·": r"$\cdot$", "×": r"$\times$"}
_TEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def tex(text: str) -> str:
    """Text that LaTeX sets as it is, on one line; a character that Latin fonts lack becomes its number."""
    text = "".join(_TEX.get(c) or (c if _has_latin(c) else f"[U+{ord(c):04X}]") for c in " ".join(text.split()))
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
    return f"{{}}{text}" if text.startswith(("[", "*")) else text  # else they belong to the \\ before them


def _has_latin(character: str) -> bool:
    return (character.isascii() and character.isprintable()) or "LATIN" in unicodedata.name(character, "")


@dataclass(frozen=True)
class Grid:
    """A table in LaTeX's words: cells are LaTeX.

    Attributes:
        heads: lines of headings.
        rows: lines; a rule stands before those whose number is in ``rules``.
        size: of the letters.
        notes: what stands below, each with its letter; "" for those of all numbers.
    """

    caption: str
    label: str
    heads: Sequence[Sequence[str]]
    rows: Sequence[Sequence[str]]
    rules: frozenset[int] = frozenset()
    notes: Sequence[tuple[str, str]] = ()
    size: str = "footnotesize"

    def text(self) -> str:
        """The float."""
        width = len(self.rows[0]) if self.rows else len(self.heads[0])
        lines = [
            r"\begin{table}",
            f"\\centering\\{self.size}",
            r"\setlength{\tabcolsep}{4pt}",
            r"\begin{threeparttable}",
        ]
        lines += [f"\\caption{{{self.caption}}}\\label{{tab:{self.label}}}"]
        lines += [f"\\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", *map(_row, self.heads), r"\midrule"]
        for number, row in enumerate(self.rows):
            lines += [r"\midrule"] * (number in self.rules) + [_row(row)]
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self.notes:
            items = [f"\\item[{letter}] {note}" if letter else f"\\item {note}" for letter, note in self.notes]
            lines += [f"\\begin{{tablenotes}}\\{self.size}", *items, r"\end{tablenotes}"]
        return "\n".join([*lines, r"\end{threeparttable}", r"\end{table}"]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def label_of(*names: str) -> str:
    """``sample-glue``."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, names)).lower()).strip("-")


# leaderboard.tex -------------------------------------------------------------------------------------------------


def leaderboard_tex(board: Leaderboard) -> str:
    """The content of leaderboard.tex: a table for each suite, or several where it is wide or long."""
    comments = [f"% {' '.join(sentence.split())}" for sentence in (verdict(board), *about(board)) if sentence]
    blocks = ["\n".join([*NEEDS, *comments]) + "\n"]
    for shown in filter(None, (board, board.tests)):
        for section in shown.sections:
            blocks += [grid.text() for grid in _section(shown, section)]
    return "\n".join(blocks)


@dataclass(frozen=True)
class _Shown:
    """A cell, or a heading, with its notes."""

    text: str
    notes: Sequence[str] = ()


def _section(board: Leaderboard, section: Section) -> Iterable[Grid]:
    keys = [*section.averages, *(column.task for column in section.columns)]
    heads = [[_Shown("Model"), *map(_Shown, section.averages), *(_Shown(c.title) for c in section.columns)]]
    heads.append([_Shown("")] * (1 + len(section.averages)) + [_Shown(metric_words(c)) for c in section.columns])
    best = {key: board.best(key) for key in keys}
    rows = []
    for i, row in enumerate(board.rows):
        cells = [_score(row.cell(key), board.spread, i in best[key]) for key in keys]
        rows.append([_Shown(tex(row.name), row.notes), *cells])
    others = [*board.baselines, *shown_references(board, section)]
    for row in others:
        cells = [_Shown(tex(means(row.cell(key))), row.cell(key).notes) for key in keys]
        rows.append([_Shown(f"\\emph{{{tex(row.name)}}}", row.notes), *cells])
    heads = [[_Shown(tex(head.text)) for head in line] for line in heads]
    rules = frozenset({len(board.rows)} if others and board.rows else ())
    if tasks_as_rows(keys, rows):
        titles = [_Shown(f"{title.text} {words.text}".strip()) for title, words in zip(*heads, strict=True)]
        first, *lines = [list(line) for line in zip(titles, *rows, strict=True)]
        heads, rows = [[_Shown("Task"), *first[1:]]], lines
        rules = frozenset({len(section.averages)} if section.averages else ())
    words = [f"Scores on the validation sets, times 100; {counting_words(board)}.", *statistics_words(board)]
    words += [*baseline_words(board), *lacking_words(section)]
    caption = f"{tex(section.title)}, benchmark {tex(board.benchmark)}"
    yield from _parts(caption, label_of(board.benchmark, section.title), heads, rows, rules, words)


def _score(cell: Cell, spread: str, bold: bool) -> _Shown:
    mean = tex(means(cell))
    text = f"\\textbf{{{mean}}}" if bold else mean
    return _Shown(f"{text}{tex_after(deviations(cell, spread) + seeds_done(cell))}", cell.notes)


def tex_after(text: str) -> str:
    """What follows a number, with the space before it."""
    return f" {tex(text)}" if text else ""


def _parts(
    caption: str,
    label: str,
    heads: Sequence[Sequence[_Shown]],
    rows: Sequence[Sequence[_Shown]],
    rules: frozenset[int],
    words: Sequence[str],
) -> Iterable[Grid]:
    """A table cut into those that fit; the first column is repeated, and so are the words, once for each suite."""
    size, groups = _columns([*heads, *rows])
    pieces = [
        (columns, range(start, min(start + LENGTH, len(rows))))
        for start in range(0, max(len(rows), 1), LENGTH)
        for columns in groups
    ]
    for number, (columns, lines) in enumerate(pieces):
        notes = Footnotes()
        shown = [[_marked(line[i], notes) for i in (0, *columns)] for line in (*heads, *(rows[i] for i in lines))]
        own = [("", tex(word)) for word in words] if number == 0 else []
        own += [(letter, tex(cut(note, 300))) for note, letter in notes.letters.items()]
        part = f" ({number + 1} of {len(pieces)})" if len(pieces) > 1 else ""
        suffix = f"-{number + 1}" if number else ""
        inner = frozenset(rule - lines.start for rule in rules if lines.start < rule < lines.stop)
        height = len(heads)
        yield Grid(caption + part, label + suffix, shown[:height], shown[height:], inner, own, size)


def _columns(lines: Sequence[Sequence[_Shown]]) -> tuple[str, list[list[int]]]:
    """A size, and the columns behind the first in groups that fit beside it."""
    widths = [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))]
    whole = sum(widths) + 2 * (len(widths) - 1)
    for size, most in WIDTHS.items():
        if whole <= most:
            return size, [list(range(1, len(widths)))]
    groups: list[list[int]] = []
    left = 0
    for column, width in enumerate(widths[1:], 1):
        if not groups or left < width + 2:
            groups.append([])
            left = WIDTHS["footnotesize"] - widths[0]
        groups[-1].append(column)
        left -= width + 2
    return "footnotesize", groups or [[]]


def _width(shown: _Shown) -> int:
    """About how many characters it takes on paper."""
    text = re.sub(r"\\(?:textbf|emph)|[${}]|\\(?=[&%#_])", "", shown.text)
    return len(re.sub(r"\\[a-z]+", "x", text)) + len(shown.notes)


def _marked(shown: _Shown, notes: Footnotes) -> str:
    marks = notes.mark(shown.notes).strip(" []")
    return f"{shown.text}\\tnote{{{marks}}}" if marks else shown.text


# efficiency.tex --------------------------------------------------------------------------------------------------


def efficiency_tex(board: Leaderboard) -> str:
    """The content of efficiency.tex: means over the common tasks, inference, and ratios."""
    blocks = ["\n".join(NEEDS) + "\n"]
    tables = [("Efficiency", summary_table(board), [*machine_words(board), f"{DEFINITIONS} {MEANS}."])]
    tables.append(("Inference", summary_table(board, inference=True), []))
    if board.efficiency:
        words = "In parentheses the 95 % interval over seeds of the tasks."
        tables.append((f"Efficiency compared with {baseline(board.efficiency).name}", ratio_table(board), [words]))
    for title, (headers, rows), notes in tables:
        if rows:
            heads = [[_Shown(tex(cell)) for cell in headers]]
            lines = [[_Shown(tex(cell)) for cell in row] for row in rows]
            caption = f"{tex(title)}, benchmark {tex(board.benchmark)}"
            label = label_of(board.benchmark, title.split(" compared")[0] + ("-ratio" if "compared" in title else ""))
            blocks += [grid.text() for grid in _parts(caption, label, heads, lines, frozenset(), notes)]
    return "\n".join(blocks)


# compare ---------------------------------------------------------------------------------------------------------


def comparison_tex(
    names: tuple[str, str],
    headers: Sequence[str],
    tasks: Sequence[Sequence[str]],
    averages: Sequence[Sequence[str]],
    words: Sequence[str],
    bold: Mapping[int, int],
) -> str:
    """Two models on every task; ``bold`` is the column of the better one by the number of a row."""
    rows = [[tex(cell) for cell in row] for row in (*tasks, *averages)]
    for number, column in bold.items():
        rows[number][column] = f"\\textbf{{{rows[number][column]}}}"
    rules = frozenset({len(tasks)} if averages and tasks else ())
    caption = f"{tex(names[0])} compared with {tex(names[1])}"
    heads = [[*map(tex, headers)]]
    grid = Grid(caption, label_of("compare", *names), heads, rows, rules, [("", tex(word)) for word in words])
    return "\n".join([*NEEDS, grid.text()])
