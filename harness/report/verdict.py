"""The answer in a line: who leads, and whether that is more than chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.format import score_number
from harness.leaderboard.board import Leaderboard, Section


def verdict(board: Leaderboard) -> str:
    """A sentence for each suite; empty where nothing can be compared."""
    sentences = [sentence for section in board.sections for sentence in _of_section(board, section)]
    if sentences and all(len(row.seeds) == 1 for row in board.rows):
        sentences.append("One seed: this is about these checkpoints, not about models.")
    return " ".join(sentences)


def _of_section(board: Leaderboard, section: Section) -> Iterable[str]:
    """By the first average that has a ranking, else by its only task, else by how many tasks each model leads."""
    ranked = [title for title in section.averages if title in board.rankings]
    own = [column for column in section.columns if column.task in board.rankings and not column.diagnostic]
    if ranked:
        yield f"{ranked[0]}: {_leaders(board, ranked[0])}."
    elif len(own) == 1:
        yield f"{own[0].title}: {_leaders(board, own[0].task)}."
    elif own:
        alone = Counter(tied[0] for column in own if len(tied := board.rankings[column.task].tied) == 1)
        leads = [f"{name} leads alone on {count} of {len(own)} tasks" for name, count in alone.most_common()]
        yield f"{section.title}: {', '.join(leads) or f'no model leads alone on any of {len(own)} tasks'}."


def _leaders(board: Leaderboard, key: str) -> str:
    """``a leads with 85.4``, ``a and b lead, and cannot be told apart``."""
    ranking = board.rankings[key]
    tied = ranking.tied
    if len(tied) == 1:
        [cell] = [row.cell(key) for row in board.rows if row.name == tied[0]]
        return f"{tied[0]} leads with {score_number(cell.score.mean if cell.score else None, cell.scored)}"
    if len(tied) == len(ranking.ranks):
        return f"no model can be told from {tied[0]}, which has the best mean"
    return f"{', '.join(tied[:-1])} and {tied[-1]} lead, and cannot be told apart"
