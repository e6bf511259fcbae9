"""Numbers as tables show them."""

from __future__ import annotations

import math

MISSING = "—"


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction times 100; ``nan`` where undefined and a dash where missing."""
    if value is None:
        return MISSING
    return "nan" if math.isnan(value) else f"{round(100 * value, decimals) + 0.0:.{decimals}f}"


def count(number: int | None) -> str:
    """``22.7M``."""
    if number is None:
        return MISSING
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def duration(seconds: float | None) -> str:
    """``3.2 s``, ``45 s``, ``12 min``, ``5.2 h``."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rate(value: float | None) -> str:
    """``1,234``; small ones with a decimal."""
    return MISSING if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def operations(value: float) -> str:
    """``22.5 G``."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{short(value / size)} {unit}"
    return f"{short(value / 1e3)} k"


def memory(value: float) -> str:
    """``561 MB``, ``3.0 GB``."""
    return f"{value / 2**30:.1f} GB" if value >= 2**30 else f"{value / 2**20:.0f} MB"
