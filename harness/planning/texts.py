"""What runs will take, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from harness.format import count, duration, flops, memory, plain_table, plural
from harness.planning.estimate import STATED, Forecast
from harness.planning.work import Work

HOUR = 3600.0


def summary(left: Forecast, device: str, here: bool = True) -> str:
    """A line on what is left to do: runs, steps, FLOPs, and the time that one device takes, this one or another."""
    parts = [f"to do: {plural(len(left.works), 'run')}", f"{_steps(left.works)} steps"]
    if left.flops:
        parts.append(f"{flops(left.flops)}FLOPs")
    return f"{', '.join(parts)}; {_time(left, device, here)}{_notes(left.works)}"


def _time(left: Forecast, device: str, here: bool) -> str:
    of_unknown_size = list(dict.fromkeys(work.model for work in left.works if work.flops is None))
    if left.unknown == len(left.works) and len(of_unknown_size) == len({work.model for work in left.works}):
        return (
            f"no estimate of time: no checkpoint here of {', '.join(of_unknown_size)} tells its size "
            "(python -m harness download fetches it), with which a rate would (harness plan takes one: --rate)"
        )
    if left.unknown == len(left.works) and not here:
        return "no estimate of time: no run that is done here tells a rate (--rate states one)"
    if left.unknown == len(left.works):
        return (
            f"no estimate of time: no run that is done here on this device ({device}) tells a rate "
            "(python -m harness plan takes one: --rate)"
        )
    where = "on one device" if STATED in left.sources else f"on {'this' if here else 'one'} device ({device})"
    text = f"about {duration(left.device_seconds)} {where}, by {_sources(left)}"
    return text + (f"; {plural(left.unknown, 'run')} more of which nothing tells the time" if left.unknown else "")


def _sources(left: Forecast) -> str:
    return " and ".join(source if source == STATED else f"runs of {source}" for source in left.sources)


def _steps(works: Sequence[Work]) -> str:
    most = "at most " if any(work.stops_early for work in works) else ""
    return f"{most}{sum(work.steps for work in works):,}"


def _notes(works: Sequence[Work]) -> str:
    tasks = dict.fromkeys(work.task for work in works if work.guessed)
    if not tasks:
        return ""
    return (
        f"\nno data here of {', '.join(tasks)}: its texts count as max_length tokens, which is too many "
        "(python -m harness download fetches what is on the Hub)"
    )


# The table -------------------------------------------------------------------------------------------------------


def plan_table(left: Forecast, devices: Sequence[int], price: float | None, here: bool = True) -> str:
    """What each model's runs take, and all together.

    Args:
        left: the runs.
        devices: numbers of devices, a column for each.
        price: of a device and an hour.
        here: of devices; else these are runs at a time on a cluster.
    """
    models = list(dict.fromkeys(work.model for work in left.works))
    headers = ["model", "parameters", "memory", "runs", "steps", "FLOPs", "device hours", "longest run"]
    headers += [f"on {plural(number, 'device')}" if here else f"{number} at a time" for number in devices]
    headers += ["cost"] if price is not None else []
    rows = [_row(model, left.of_model(model), devices, price) for model in models]
    if len(models) > 1:
        rows.append(_row("all", left, devices, price))
    return plain_table(headers, rows)


def _row(name: str, part: Forecast, devices: Sequence[int], price: float | None) -> list[str]:
    sizes = [work.parameters for work in part.works if work.parameters is not None]
    needed = [work.training_bytes for work in part.works if work.training_bytes is not None]
    row = [name, count(max(sizes)) if sizes else "?", memory(max(needed)) if needed else "?"]
    row += [str(len(part.works)), _steps(part.works), flops(part.flops) if part.flops else "?"]
    if part.unknown:
        return [*row, "?", "?", *["?" for _ in devices], *(["?"] if price is not None else [])]
    hours = part.device_seconds / HOUR
    row += [hours_text(hours), duration(part.longest), *(duration(part.wall_seconds(number)) for number in devices)]
    return [*row, f"{price * hours:,.0f}"] if price is not None else row


def hours_text(hours: float) -> str:
    """``12,300``, ``45.6``, ``0.123``."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
