"""What a text that is too long loses: tokens from the ends of its longest fields, never its other words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.task.texts import Place

Fields = tuple[Mapping[str, Place], str | None]
"""Where the fields of a text stand in it, and the name of the one that is truncated before others, if any."""

FIXED = -1
"""The owner of tokens that no truncation takes: special tokens, and words that name the task and its fields."""


def owners(tokens: Sequence[Place], fields: Sequence[Place]) -> list[int]:
    """The field that each token's last character is in, or `FIXED`.

    Args:
        tokens: where each token begins and ends in the text; special tokens are (0, 0).
        fields: likewise, of the fields, in order.
    """
    found, position = [], 0
    for _, end in tokens:
        while position < len(fields) and fields[position][1] < end:
            position += 1
        inside = position < len(fields) and fields[position][0] < end
        found.append(position if inside else FIXED)
    return found


def kept_tokens(owned: Sequence[int], fields: int, max_length: int, first: int | None) -> list[int] | None:
    """The positions of at most ``max_length`` tokens that are kept, in order; None where the fixed ones are too many.

    Every field loses its end: ``first`` alone where that makes room and something of it stays, or else the longest
    first, as `shortened` says.

    Args:
        owned: each token's field, 0 to ``fields`` - 1, or `FIXED`.
        first: the field that is truncated before others.
    """
    counts = Counter(owned)
    lengths, room = [counts[field] for field in range(fields)], max_length - counts[FIXED]
    if room < 0 or sum(lengths) == 0:
        return None
    excess = sum(lengths) - room
    if first is not None and lengths[first] > excess:
        lengths[first] -= max(0, excess)
    else:
        lengths = shortened(lengths, room)
    kept = []
    for position, field in enumerate(owned):
        if field == FIXED or lengths[field] > 0:
            kept.append(position)
            if field != FIXED:
                lengths[field] -= 1
    return kept


def without_end(special: Sequence[int], max_length: int) -> list[int]:
    """The positions of all ``special`` tokens (1 where one is) and of as many others as have room, the first ones."""
    room, kept = max_length - sum(special), []
    for position, is_special in enumerate(special):
        if is_special or room > 0:
            kept.append(position)
            room -= not is_special
    return kept


def shortened(lengths: Sequence[int], room: int) -> list[int]:
    """Lengths that fit into ``room`` together, of which only the longest give way, to one length (or one more).

    Of two it gives what ``truncation="longest_first"`` of `tokenizers` does.

    >>> shortened([5, 90, 40], 60)
    [5, 28, 27]
    >>> shortened([5, 90, 40], 111)
    [5, 66, 40]
    """
    kept = list(lengths)
    order = sorted(range(len(lengths)), key=lambda field: lengths[field])
    for done, field in enumerate(order):
        kept[field] = min(lengths[field], room // (len(order) - done))
        room -= kept[field]
    return kept
