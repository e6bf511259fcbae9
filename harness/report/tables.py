"""A leaderboard as files: leaderboard.md for people, .csv for spreadsheets, .json for programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.io import remove, to_json, write_file
from harness.report import efficiency
from harness.report.format import MISSING, count, duration, percent, rate
from harness.report.leaderboard import Cell, Column, Leaderboard, Row, Section, Value
from harness.report.sweeps import chosen_table, chosen_words, sweep_data, trial_table
from harness.results.record import CaveatKind

SAMPLE = "Sample data: the numbers show the machinery; compare them with nothing published."
SHORT = {
    "accuracy": "acc",
    "f1": "F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "matthews_correlation": "MCC",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
    "f1_a": "F1a",
    "f1_m": "F1m",
    "exact_match": "EM",
    "entity_f1": "entity F1",
    "gender_parity": "parity",
    "matched": "m",
    "mismatched": "mm",
}
COSTS = ("Model", "Params (trained)", "Time per run", "All runs", "Train ex/s", "Infer ex/s")
SOURCES = {"hub": "the Hugging Face Hub", "files": "local files", "sample": "the built-in sample"}


def write_leaderboard(folder: Path, board: Leaderboard) -> list[Path]:
    """Write leaderboard.md, .csv and .json, and sweep.md where there is one, into a folder, each replaced at once.

    Of benchmarks that have finished a run, also efficiency.md, .csv and .json.

    Raises:
        HarnessError: the disk says no.
    """
    contents = {
        "leaderboard.md": board.markdown.encode(),
        "leaderboard.csv": csv_text(board).encode(),
        "leaderboard.json": to_json(as_data(board)),
    }
    if board.sweeps:
        contents["sweep.md"] = sweep_page(board).encode()
    if board.efficiency:
        contents["efficiency.md"] = efficiency.page(board, _escaped_pipes, escape).encode()
        contents["efficiency.csv"] = efficiency.csv_text(board).encode()
        contents["efficiency.json"] = to_json(efficiency.as_data(board))
    for name in ("sweep.md", "efficiency.md", "efficiency.csv", "efficiency.json"):
        if name not in contents:
            remove(folder / name)
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]


class Footnotes:
    """Letters for notes, in the order in which they are first asked for; equal notes share a letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, notes: Iterable[str]) -> str:
        """`` [a,b]`` for these notes; empty without any."""
        letters = [self.letters.setdefault(note, _letter(len(self.letters))) for note in notes]
        return f" [{','.join(letters)}]" if letters else ""

    def lines(self, write: Callable[[str], str] = str) -> list[str]:
        """A line for each note."""
        return [f"- [{letter}] {write(note)}" for note, letter in self.letters.items()]


def _letter(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    rest, last = divmod(number, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("a") + last)


# Words that both the page and the terminal use -------------------------------------------------------------------


def metric_words(column: Column) -> str:
    """What a column's numbers are: ``acc``, ``F1/acc``, ``acc m/mm``."""
    metrics = "/".join(dict.fromkeys(SHORT.get(metric, metric) for _, metric in column.parts))
    splits = list(dict.fromkeys(split for split, _ in column.parts))
    if len(splits) == 1:
        return metrics
    names = [split.removeprefix("validation_").removeprefix("test_") for split in splits]
    return f"{metrics} {'/'.join(SHORT.get(name, name) for name in names)}"


def means(cell: Cell) -> str:
    """``88.9/84.1``, ``failed`` or a dash."""
    if not cell.done:
        return "failed" if cell.status == "failed" else MISSING
    return "/".join(percent(value.mean if value else None) for value in cell.parts)


def deviations(cell: Cell) -> str:
    """`` ± 0.4/0.6``; empty with one seed."""
    found = [value.std if value else None for value in cell.parts]
    if all(std is None for std in found):
        return ""
    return " ± " + "/".join(percent(std) for std in found)


def seeds_done(cell: Cell) -> str:
    """`` (2/5 seeds)`` where not all are done."""
    return f" ({cell.done}/{len(cell.planned)} seeds)" if 0 < cell.done < len(cell.planned) else ""


def invalid(row: Row, board: Leaderboard) -> str:
    """The mean share of invalid answers over tasks, and the worst task."""
    shares = row.cost.invalid if row.cost else None
    if shares is None:
        return "n/a"
    worst = max(shares, key=lambda task: shares[task])
    text = f"{percent(sum(shares.values()) / len(shares))} %"
    titles = {column.task: column.title for section in board.sections for column in section.columns}
    return f"{text} (worst: {titles.get(worst, worst)} {percent(shares[worst])} %)" if shares[worst] else text


def cost_table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of what the runs took; the invalid share only where some model generates."""
    generates = any(row.cost and row.cost.invalid is not None for row in board.rows)
    rows = []
    for row in board.rows:
        cost = row.cost
        if cost is None or not cost.runs:
            continue
        total = f"{duration(cost.train_seconds_total)} ({cost.runs} run{'s' * (cost.runs > 1)})"
        parameters = f"{count(cost.total)} ({count(cost.trained)})"
        cells = [row.name, parameters, duration(cost.train_seconds_mean), total]
        cells += [rate(cost.train_rate), rate(cost.inference_rate)]
        rows.append([*cells, invalid(row, board)] if generates else cells)
    return ([*COSTS, "Invalid"] if generates else list(COSTS)), rows


def about(board: Leaderboard) -> list[str]:
    """Sentences that hold for all numbers."""
    models, seeds = len({row.model for row in board.rows}), {len(row.seeds) for row in board.rows}
    tasks = sum(len(section.columns) for section in board.sections)
    spread = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}" if seeds else "0"
    source = " and ".join(SOURCES.get(name, name) for name in board.sources)
    sizes = f"{_some(models, 'model')}, {_some(tasks, 'task')}, {spread} seed{'' if spread == '1' else 's'}"
    sentences = [f"Benchmark {board.benchmark}: {sizes}{f'; data from {source}' if source else ''}."]
    for caveat in board.caveats:
        sample = caveat.kind is CaveatKind.SAMPLE_DATA
        sentences.append(SAMPLE if sample else f"All rows: {caveat.explained}.")
    return sentences


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def lacking_words(section: Section) -> list[str]:
    """Why averages have no column."""
    titles: dict[tuple[str, ...], list[str]] = {}
    for title, tasks in section.lacking.items():
        titles.setdefault(tasks, []).append(title)
    return [
        f"No {' and no '.join(which)}: {', '.join(tasks)} {'is' if len(tasks) == 1 else 'are'} not in this benchmark."
        for tasks, which in titles.items()
    ]


# The page --------------------------------------------------------------------------------------------------------


def markdown(board: Leaderboard) -> str:
    """The content of leaderboard.md; a function of the records alone."""
    notes = Footnotes()
    blocks = [f"# Leaderboard: {escape(board.benchmark)}", " ".join(map(escape, about(board)))]
    if board.rows:
        blocks.append(" ".join(_legend(board)))
    for section in board.sections:
        blocks += [f"## {escape(section.title)}", _score_table(board, section, notes)]
        blocks += map(escape, lacking_words(section))
    if board.sweeps:
        headers, rows = chosen_table(board)
        words = f"{chosen_words(board)} All trials are in [sweep.md](sweep.md)."
        blocks += ["## Chosen recipes", _pipes(headers, [[escape(text) for text in row] for row in rows]), words]
    headers, rows = cost_table(board)
    if rows:
        words = "Time is that of training. ex/s: examples per second in training and in inference, mean over runs."
        words += " Operations, latency, memory: [efficiency.md](efficiency.md)."
        if len(headers) > len(COSTS):
            words += " Invalid: share of generated answers that stand for no prediction and count as wrong."
        blocks += ["## Cost", _pipes(headers, [[escape(text) for text in row] for row in rows]), words]
        signatures = [f"- {escape(row.name)}: `{row.signature}`" for row in board.rows if row.signature]
        blocks += ["## Signatures", "\n".join(signatures)]
    if notes.letters:
        blocks += ["## Notes", "\n".join(notes.lines(lambda note: escape(_shorten(note))))]
    return "\n\n".join(blocks) + "\n"


def _legend(board: Leaderboard) -> list[str]:
    """How to read the tables of scores."""
    words = [
        "Scores on the validation sets, times 100; where a column has two numbers, their mean counts in the average."
    ]
    if any(len(row.seeds) > 1 for row in board.rows):
        words.append("Mean ± sample standard deviation over seeds.")
    if len(board.rows) > 1:
        words.append("Bold: best of a column whose rows can be compared.")
    if board.references:
        words.append("In italics: published dev-set scores, with averages computed here.")
    return words


def _score_table(board: Leaderboard, section: Section, notes: Footnotes) -> str:
    keys = [*section.averages, *(column.task for column in section.columns)]
    headers = ["Model", *section.averages, *(f"{c.title} {metric_words(c)}" for c in section.columns)]
    best = {key: board.best(key) for key in keys}
    rows = []
    for i, row in enumerate(board.rows):
        cells = [f"{escape(row.name)}{notes.mark(row.notes)}"]
        for key in keys:
            cell = row.cell(key)
            score = f"**{means(cell)}**" if i in best[key] else means(cell)
            cells.append(f"{score}{deviations(cell)}{seeds_done(cell)}{notes.mark(cell.notes)}")
        rows.append(cells)
    rows += [_published_row(row, keys, notes) for row in board.references if _shows(row, section)]
    return _pipes(list(map(escape, headers)), rows)


def _published_row(row: Row, keys: Sequence[str], notes: Footnotes) -> list[str]:
    cells = [f"*{escape(row.name)}*{notes.mark(row.notes)}"]
    for key in keys:
        cell = row.cell(key)
        cells.append(f"*{means(cell)}*{notes.mark(cell.notes)}" if cell.done else MISSING)
    return cells


def _shows(row: Row, section: Section) -> bool:
    return any(row.cells[column.task].done for column in section.columns)


def _pipes(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from tabulate import tabulate

    alignment = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(rows, headers, tablefmt="pipe", colalign=alignment if rows else None, disable_numparse=True)


def _escaped_pipes(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _pipes(list(map(escape, headers)), [[escape(text) for text in row] for row in rows])


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = re.sub(r"([\\`*<>|~&\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def _shorten(text: str, width: int = 300) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def sweep_page(board: Leaderboard) -> str:
    """The content of sweep.md: every trial of every sweep."""
    headers, rows = trial_table(board)
    table = _pipes(headers, [[escape(text) for text in row] for row in rows])
    return f"# Sweep: {escape(board.benchmark)}\n\n{chosen_words(board)}\n\n{table}\n"


# Numbers for programs --------------------------------------------------------------------------------------------


def csv_text(board: Leaderboard) -> str:
    """One line per model: scores times 100 with their standard deviations; nothing where there is no number."""
    rows = [_csv_row(row, board) for row in board.rows]
    fields = list(dict.fromkeys(name for row in rows for name in row)) or ["model"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _csv_row(row: Row, board: Leaderboard) -> dict[str, Any]:
    cells: dict[str, Any] = {"model": row.model, "folder": row.folder, "architecture": row.architecture}
    cells["seeds"] = len(row.seeds)
    for section in board.sections:
        for title in section.averages:
            cells |= _csv_numbers(title, row.averages[title].score)
        for column in section.columns:
            cell = row.cells[column.task]
            cells[f"{column.task} status"], cells[f"{column.task} seeds"] = cell.status, cell.done
            splits = len({split for split, _ in column.parts})
            for (split, metric), value in zip(column.parts, cell.parts, strict=True):
                name = f"{column.task} {split} {metric}" if splits > 1 else f"{column.task} {metric}"
                cells |= _csv_numbers(name, value)
    cost = row.cost
    if cost is not None:
        shares = cost.invalid
        cells |= {
            "parameters_trained": cost.trained,
            "parameters_total": cost.total,
            "train_seconds_mean": cost.train_seconds_mean,
            "train_seconds_total": cost.train_seconds_total,
            "train_examples_per_second": cost.train_rate,
            "inference_examples_per_second": cost.inference_rate,
            "invalid": None if shares is None else 100 * sum(shares.values()) / len(shares),
        }
    return {**cells, "caveats": "; ".join(map(str, (*board.caveats, *row.caveats))), "signature": row.signature}


def _csv_numbers(name: str, value: Value | None) -> dict[str, float | None]:
    return {
        name: None if value is None else round(100 * value.mean, 6),
        f"{name} std": None if value is None or value.std is None else round(100 * value.std, 6),
    }


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The content of leaderboard.json: fractions, with the value of every seed."""
    return {
        "schema": 1,
        "benchmark": board.benchmark,
        "caveats": [*map(str, board.caveats)],
        "sources": board.sources,
        "suites": {
            section.name: {
                "title": section.title,
                "averages": section.averages,
                "tasks": [column.task for column in section.columns],
            }
            for section in board.sections
        },
        "rows": [_row_data(row, board) for row in board.rows],
        **({"sweeps": sweep_data(board)} if board.sweeps else {}),
        "references": [_row_data(row, board) for row in board.references],
    }


def _row_data(row: Row, board: Leaderboard) -> dict[str, Any]:
    columns = [column for section in board.sections for column in section.columns]
    data: dict[str, Any] = {
        "model": row.model,
        "notes": row.notes,
        "averages": {title: _value_data(cell.score) for title, cell in row.averages.items()},
        "tasks": {column.task: _cell_data(column, row.cells[column.task]) for column in columns},
    }
    if row.source:
        return {**data, "source": row.source, "split": "dev"}
    return {
        **data,
        "folder": row.folder,
        "architecture": row.architecture,
        "seeds": row.seeds,
        "caveats": [*map(str, row.caveats)],
        "signature": row.signature,
        "cost": None if row.cost is None else vars(row.cost),
    }


def _cell_data(column: Column, cell: Cell) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for (split, metric), value in zip(column.parts, cell.parts, strict=True):
        splits.setdefault(split, {})[metric] = _value_data(value)
    return {
        "status": cell.status,
        "planned_seeds": cell.planned,
        "score": _value_data(cell.score),
        "splits": splits,
        "notes": cell.notes,
    }


def _value_data(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"mean": value.mean, "std": value.std, "n": value.n, "values": value.seeds}
