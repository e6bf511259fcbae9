"""A leaderboard as files: leaderboard.md and sweep.md for people, .csv for spreadsheets, .json for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.io import remove, to_json, write_file
from harness.report import efficiency
from harness.report.differences import best_of_words
from harness.report.efficiency import cost_table
from harness.report.format import (
    MISSING,
    Footnotes,
    Table,
    cut,
    duration,
    escape,
    failure,
    markdown_table,
    percent,
    plural,
    to_csv,
)
from harness.report.leaderboard import Cell, Column, Leaderboard, Row, Section, Value
from harness.results.manifest import Choice, Trial, value_text
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
SOURCES = {"hub": "the Hugging Face Hub", "files": "local files", "sample": "the built-in sample"}
SELECTIONS = {"validation": "on the validation data", "holdout": "on the part held out of the training data"}


def write_leaderboard(folder: Path, board: Leaderboard) -> list[Path]:
    """Write the files of a leaderboard into a folder, each replaced at once, and remove those that it has no more.

    leaderboard.md, .csv and .json; sweep.md of a sweep; efficiency.md, .csv and .json where a run has finished;
    labels.md where a task is scored label by label.

    Raises:
        HarnessError: the disk says no.
    """
    contents = {
        "leaderboard.md": board.markdown.encode(),
        "leaderboard.csv": csv_text(board).encode(),
        "leaderboard.json": to_json(as_data(board)),
        "sweep.md": sweep_page(board).encode() if board.sweeps else b"",
        "efficiency.md": efficiency.page(board).encode() if board.efficiency else b"",
        "efficiency.csv": efficiency.csv_text(board).encode() if board.efficiency else b"",
        "efficiency.json": to_json(efficiency.as_data(board)) if board.efficiency else b"",
        "labels.md": board.labels.encode(),
    }
    for name, content in contents.items():
        if content:
            write_file(folder / name, content)
        else:
            remove(folder / name)
    return [folder / name for name, content in contents.items() if content]


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
    stds = [value.std if value else None for value in cell.parts]
    return "" if all(std is None for std in stds) else f" ± {'/'.join(map(percent, stds))}"


def seeds_done(cell: Cell) -> str:
    """`` (2/5 seeds)`` where not all are done."""
    return f" ({cell.done}/{len(cell.planned)} seeds)" if 0 < cell.done < len(cell.planned) else ""


def about(board: Leaderboard) -> list[str]:
    """Sentences that hold for all numbers."""
    models, seeds = len({row.model for row in board.rows}), {len(row.seeds) for row in board.rows}
    spread = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}" if seeds else "0"
    source = " and ".join(SOURCES.get(name, name) for name in board.sources)
    sizes = (
        f"{plural(models, 'model')}, {plural(len(board.columns), 'task')}, {spread} seed{'' if spread == '1' else 's'}"
    )
    sentences = [f"Benchmark {board.benchmark}: {sizes}{f'; data from {source}' if source else ''}."]
    for caveat in board.caveats:
        sample = caveat.kind is CaveatKind.SAMPLE_DATA
        sentences.append(SAMPLE if sample else f"All rows: {caveat.explained}.")
    if board.evaluations:
        sentences.append(f"All rows: {best_of_words(board.evaluations)}.")
    return sentences


def lacking_words(section: Section) -> list[str]:
    """Why averages have no column."""
    titles: dict[tuple[str, ...], list[str]] = {}
    for title, tasks in section.lacking.items():
        titles.setdefault(tasks, []).append(title)
    return [
        f"No {' and no '.join(which)}: {', '.join(tasks)} {'is' if len(tasks) == 1 else 'are'} not in this benchmark."
        for tasks, which in titles.items()
    ]


# Pages -----------------------------------------------------------------------------------------------------------


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
        words = f"{chosen_words(board)} All trials are in [sweep.md](sweep.md)."
        blocks += ["## Chosen recipes", markdown_table(*chosen_table(board)), words]
    headers, rows = cost_table(board)
    if rows:
        words = "Time is that of training. ex/s: examples per second in training and in inference, mean over runs."
        words += " FLOPs, latency, memory: [efficiency.md](efficiency.md)."
        if board.generates:
            words += " Invalid: share of generated answers that stand for no prediction and count as wrong."
        signatures = [f"- {escape(row.name)}: `{row.signature}`" for row in board.rows if row.signature]
        blocks += ["## Cost", markdown_table(headers, rows), words, "## Signatures", "\n".join(signatures)]
    if notes.letters:
        blocks += ["## Notes", "\n".join(f"{mark} {escape(cut(note, 300))}" for mark, note in notes.lines())]
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
    for row in published_rows(board, section):
        cells = [f"*{escape(row.name)}*{notes.mark(row.notes)}"]
        for cell in map(row.cell, keys):
            cells.append(f"*{means(cell)}*{notes.mark(cell.notes)}" if cell.done else MISSING)
        rows.append(cells)
    return markdown_table([*map(escape, headers)], rows, escaped=True)


def published_rows(board: Leaderboard, section: Section) -> list[Row]:
    """The published rows that have a score in a section."""
    return [row for row in board.references if any(row.cells[column.task].done for column in section.columns)]


# Sweeps ----------------------------------------------------------------------------------------------------------


def sweep_page(board: Leaderboard) -> str:
    """The content of sweep.md: every trial of every sweep."""
    table = markdown_table(*trial_table(board))
    return f"# Sweep: {escape(board.benchmark)}\n\n{chosen_words(board)}\n\n{table}\n"


def chosen_words(board: Leaderboard) -> str:
    """How the recipes were chosen."""
    seeds = sorted({choice.seed for _, choice in board.sweeps})
    selections = dict.fromkeys(choice.selection for _, choice in board.sweeps)
    where = " or ".join(SELECTIONS.get(selection, selection) for selection in selections)
    return (
        f"For each model and task, the recipe with the best score {where} was chosen, with seed "
        f"{' or '.join(map(str, seeds))} alone; of equal ones the first."
    )


def chosen_table(board: Leaderboard) -> Table:
    """The chosen values of each model and task, their score, of how many trials they are the best, and their time."""
    settings = _swept(board)
    rows = []
    for row, choice in board.sweeps:
        times = [time for time in map(_train_seconds, choice.trials) if time is not None]
        score = percent(choice.winner.score if choice.winner else None)
        values = _values(choice.winner, settings)
        time = duration(sum(times) if times else None)
        rows.append([row, board.title(choice.task), *values, score, _trials(choice), time])
    return ["Model", "Task", *settings, "Score", "Trials", "Their time"], rows


def trial_table(board: Leaderboard) -> Table:
    """Every trial: its values, its score, whether it failed or was chosen, the time that it took, and its folder."""
    settings = _swept(board)
    rows = []
    for row, choice in board.sweeps:
        for trial in choice.trials:
            outcome = [percent(trial.score), _status(trial, choice), duration(_train_seconds(trial)), _folder(trial)]
            rows.append([row, board.title(choice.task), *_values(trial, settings), *outcome])
    return ["Model", "Task", *settings, "Score", "", "Time", "Run"], rows


def _swept(board: Leaderboard) -> list[str]:
    """The settings that differ in some sweep."""
    return list(dict.fromkeys(name for _, choice in board.sweeps for trial in choice.trials for name in trial.values))


def _values(trial: Trial | None, settings: Iterable[str]) -> list[str]:
    return [value_text(trial.values[name]) if trial and name in trial.values else MISSING for name in settings]


def _train_seconds(trial: Trial) -> float | None:
    return trial.record.efficiency.train_seconds if trial.record else None


def _trials(choice: Choice) -> str:
    """``4``, ``4, 1 failed`` or ``1 of 4 so far``."""
    number, made = len(choice.trials), [trial.record for trial in choice.trials if trial.record]
    failed = sum(not record.finished for record in made)
    text = str(number) if len(made) == number else f"{len(made)} of {number} so far"
    return f"{text}, {failed} failed" if failed else text


def _status(trial: Trial, choice: Choice) -> str:
    if trial.record is None:
        return "no record yet"
    if not trial.record.finished:
        return cut(failure(trial.record.error), 68)
    return "chosen" if trial.fingerprint == choice.chosen else ""


def _folder(trial: Trial) -> str:
    """The run's folder in that of the benchmark."""
    return "/".join(trial.record.folder.parts[-4:]) if trial.record and trial.record.folder else ""


# Numbers for programs --------------------------------------------------------------------------------------------


def csv_text(board: Leaderboard) -> str:
    """The content of leaderboard.csv: a line per model, with scores times 100 and their standard deviations."""
    rows = [_csv_row(row, board) for row in board.rows]
    return to_csv(rows, list(dict.fromkeys(name for row in rows for name in row)) or ["model"])


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
        cells |= {
            "parameters_trained": cost.trained,
            "parameters_total": cost.total,
            "train_seconds_mean": cost.train_seconds_mean,
            "train_seconds_total": cost.train_seconds_total,
            "train_examples_per_second": cost.train_rate,
            "inference_examples_per_second": cost.inference_rate,
            "invalid": None if cost.invalid_mean is None else 100 * cost.invalid_mean,
        }
    return {**cells, "caveats": "; ".join(map(str, (*board.caveats, *row.caveats))), "signature": row.signature}


def _csv_numbers(name: str, value: Value | None) -> dict[str, float | None]:
    return {
        name: None if value is None else round(100 * value.mean, 6),
        f"{name} std": None if value is None or value.std is None else round(100 * value.std, 6),
    }


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The content of leaderboard.json: fractions, with the value of every seed."""
    suites = {
        section.name: {
            "title": section.title,
            "averages": section.averages,
            "tasks": [column.task for column in section.columns],
        }
        for section in board.sections
    }
    sweeps = [{"row": row, **choice.model_dump(), "trials": _trial_data(choice)} for row, choice in board.sweeps]
    return {
        "schema": 1,
        "benchmark": board.benchmark,
        "caveats": [*map(str, board.caveats)],
        "sources": board.sources,
        "suites": suites,
        "rows": [_row_data(row, board) for row in board.rows],
        **({"sweeps": sweeps} if sweeps else {}),
        "references": [_row_data(row, board) for row in board.references],
    }


def _trial_data(choice: Choice) -> list[dict[str, Any]]:
    """The trials of a sweep; scores are fractions."""
    trials = []
    for trial in choice.trials:
        status = trial.record.status if trial.record else "missing"
        chosen = trial.fingerprint == choice.chosen
        trials.append(
            {**trial.model_dump(), "record": _folder(trial), "status": status, "score": trial.score, "chosen": chosen}
        )
    return trials


def _row_data(row: Row, board: Leaderboard) -> dict[str, Any]:
    data: dict[str, Any] = {
        "model": row.model,
        "notes": row.notes,
        "averages": {title: _value_data(cell.score) for title, cell in row.averages.items()},
        "tasks": {column.task: _cell_data(column, row.cells[column.task]) for column in board.columns},
    }
    if row.source:
        return {**data, "source": row.source, "split": "dev"}
    return {
        **data,
        "folder": row.folder,
        "architecture": row.architecture,
        "seeds": row.seeds,
        "evaluations": row.evaluations,
        "caveats": [*map(str, row.caveats)],
        "signature": row.signature,
        "cost": None if row.cost is None else vars(row.cost),
    }


def _cell_data(column: Column, cell: Cell) -> dict[str, Any]:
    splits, last = _by_split(column, cell.parts), _by_split(column, cell.last)
    return {
        "status": cell.status,
        "planned_seeds": cell.planned,
        "score": _value_data(cell.score),
        "splits": splits,
        **({"last_checkpoint": last} if any(cell.last) else {}),
        "notes": cell.notes,
    }


def _by_split(column: Column, values: Sequence[Value | None]) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    for (split, metric), value in zip(column.parts, values, strict=bool(values)):
        splits.setdefault(split, {})[metric] = _value_data(value)
    return splits


def _value_data(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"mean": value.mean, "std": value.std, "n": value.n, "values": value.seeds}
