"""Commands before a run: plan, download."""

from __future__ import annotations

import argparse
from typing import Any

import harness
from harness.commands.arguments import add_choice, add_results, names, number, positive, results_of, settings
from harness.commands.clusters import add_place_options, cluster_of

PREFIXES = {"T": 1e12, "P": 1e15, "G": 1e9}


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    """The options of these commands."""
    about = "what a benchmark takes: runs, steps, FLOPs, memory, disk, time and cost; needs no network"
    plan = commands.add_parser("plan", help=about)
    add_choice(plan)
    add_results(plan, "are")
    about = "FLOP/s that a device reaches, e.g. 40T, for all models or for one; may be given several times"
    plan.add_argument("--rate", type=rate, action="append", default=[], metavar="[MODEL=]FLOPS", help=about)
    about = "devices, each of which does one run at a time; several numbers with commas (default: 1)"
    plan.add_argument("--devices", type=devices, default=[1], metavar="N", help=about)
    plan.add_argument("--price", type=number, help="of a device and an hour, to show the cost")
    about = "of a cluster, runs at a time (default: as many as it has room for)"
    plan.add_argument("--jobs", type=positive, metavar="N", help=about)
    add_place_options(plan)
    plan.set_defaults(command=command_plan)

    about = "fetch the checkpoints and the data that benchmarks need from the Hub, to run them without a network"
    download = commands.add_parser("download", help=about)
    add_choice(download)
    download.add_argument("--sizes", action="store_true", help="say only what would be fetched")
    download.add_argument("--wait", action="store_true", help="wait for a Hub that cannot be reached")
    download.set_defaults(command=command_download)


def _chosen(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked for of the benchmarks."""
    chosen: dict[str, Any] = {name: getattr(options, name) for name in ("tasks", "models", "seeds", "data")}
    return {**chosen, "settings": settings(options.set)}


def rate(text: str) -> tuple[str, float]:
    """``t5-base=40T`` as (model, FLOP/s); without a model, for all: ``""``."""
    model, _, number = text.rpartition("=")
    try:
        value = float(number[:-1]) * PREFIXES[number[-1]] if number[-1:] in PREFIXES else float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e30:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate, such as 40T or t5-base=40T: 40e12 FLOP/s")
    return model, value


def devices(text: str) -> list[int]:
    """``8,64`` as a list of whole numbers from 1 on."""
    numbers = names(text)
    if not numbers or not all(number.isascii() and number.isdigit() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: whole numbers from 1 on, such as 8 or 8,64")
    return [int(number) for number in numbers]


def command_plan(options: argparse.Namespace) -> int:
    """Print what is left to do of each benchmark, and what it takes."""
    cluster = cluster_of(options)
    plans = harness.plan(
        options.file,
        options.benchmark,
        **_chosen(options),
        results=results_of(options),
        rate=dict(options.rate),
        on=cluster,
        jobs=options.jobs,
    )
    print("\n\n".join(plan.text(options.devices, options.price) for plan in plans.values()))
    return 0


def command_download(options: argparse.Namespace) -> int:
    """Fetch what is not here yet, the sizes first."""
    harness.download(options.file, options.benchmark, **_chosen(options), only_sizes=options.sizes, progress=True)
    return 0
