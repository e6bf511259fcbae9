"""Which examples a model reads together: batches of similar length, the same for any number of processes.

Everything here is a pure function of the lengths, the seed and the position, so training resumes at any point
without replaying what came before, and every process can compute what the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW_BATCHES = 128
"""Batches per shuffled window: examples are sorted by length only within a window, so training stays random.

Where length tells the label, a larger window would fill batches with one class.
"""

CUT_SHARE, CUT_TOKENS = 1 / 40, 32
"""A batch is computed in two passes where that saves this share of its padded tokens, and this many of them."""


@dataclass(frozen=True)
class TrainingPlan:
    """The batches of every epoch.

    Args:
        lengths: longest input per group in tokens, ``(groups,)``.
        sizes: instances per group, ``(groups,)``.
        batch_size: examples per update, over all processes.
        seed: what the order depends on, with the epoch.
        micro_batch_tokens: the most padded tokens in one forward pass; a single group may be larger.
        accumulation: the least number of micro-batches a process cuts its share of an update into.
    """

    lengths: np.ndarray
    sizes: np.ndarray
    batch_size: int
    seed: int
    micro_batch_tokens: int = 16384
    accumulation: int = 1

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass over the data; the last one may be smaller."""
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The groups of each update of an epoch: every group exactly once, in a new order each epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        for part in self._windows(order):
            part = part[np.argsort(self.lengths[part], kind="stable")]
            # The left-over batch stands anywhere in the order of lengths, or it would always hold the longest.
            whole, rest = divmod(len(part), self.batch_size)
            start = int(generator.integers(whole + 1)) * self.batch_size
            batches += list(np.delete(part, slice(start, start + rest)).reshape(-1, self.batch_size))
            if rest:
                batches.append(part[start : start + rest])
        return [batches[i] for i in generator.permutation(len(batches))]

    def _windows(self, order: np.ndarray) -> list[np.ndarray]:
        """About equal parts of whole batches (the last part takes what is left over)."""
        count = max(1, round(self.updates_per_epoch / WINDOW_BATCHES))
        whole = len(order) // self.batch_size
        cuts = [self.batch_size * (whole * i // count) for i in range(1, count)]
        return np.split(order, cuts)

    def share(self, batch: np.ndarray, process: int, processes: int) -> list[np.ndarray]:
        """The micro-batches of one update that ``process`` computes; empty when there are fewer groups than processes.

        Groups are dealt in order of length, so that all processes have about the same work.
        """
        ordered = batch[np.argsort(self.lengths[batch], kind="stable")]
        mine = ordered[process::processes]
        pieces = np.array_split(mine, min(self.accumulation, len(mine))) if len(mine) else []
        return [
            micro
            for piece in pieces
            for run in by_tokens(piece, self.lengths, self.sizes, self.micro_batch_tokens)
            for micro in without_padding(run, self.lengths, self.sizes)
        ]


def by_tokens(order: np.ndarray, lengths: np.ndarray, sizes: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cut ``order`` into runs of whole groups, each at most ``tokens`` padded tokens (or a single group)."""
    runs: list[np.ndarray] = []
    start, longest, rows = 0, 0, 0
    for position, group in enumerate(order):
        longest, rows = max(longest, int(lengths[group])), rows + int(sizes[group])
        if longest * rows > tokens and position > start:
            runs.append(order[start:position])
            start, longest, rows = position, int(lengths[group]), int(sizes[group])
    if start < len(order):
        runs.append(order[start:])
    return runs


def without_padding(order: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Cut ``order``, which is sorted by length, into runs of whole groups where that saves enough padded tokens."""
    rows, longest = np.cumsum(sizes[order]), lengths[order]
    padded = rows[-1] * longest[-1]
    saved = rows[:-1] * (longest[-1] - longest[:-1])
    cut = int(saved.argmax()) + 1 if len(saved) else 0
    if not cut or saved[cut - 1] < max(CUT_SHARE * padded, CUT_TOKENS):
        return [order]
    return [run for part in (order[:cut], order[cut:]) for run in without_padding(part, lengths, sizes)]


def evaluation_batches(lengths: np.ndarray, sizes: np.ndarray, tokens: int = 8192) -> list[np.ndarray]:
    """All groups, longest first, in batches of at most ``tokens`` padded tokens, for all processes together."""
    return by_tokens(np.argsort(-lengths, kind="stable"), lengths, sizes, tokens)


def deal(batches: Sequence[np.ndarray], process: int, processes: int) -> list[np.ndarray]:
    """The batches that ``process`` evaluates: whole batches, dealt in turn."""
    return list(batches[process::processes])
