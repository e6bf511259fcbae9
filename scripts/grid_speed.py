"""What a run costs beside its training, and whether a large grid costs more a run: trivial runs by workers.

    python scripts/grid_speed.py                          2,000 runs of one update, two at a time: about ten minutes
    python scripts/grid_speed.py --runs 200 --jobs 1      fewer, in the command's own process

Prints, for every tenth of the grid, the seconds of wall time and of processor time for each run (of the command and of
its workers), and the memory of the command at its most, with and without the pages of files (libraries, which workers
share). Exit code 1 where a run takes more than 0.3 s of the processors in the median, the command 500 MB without files,
or the last tenth of the runs more than 1.3 times what the second one takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

MODEL = {
    "architecture": "bert",
    "config": {"model_type": "bert", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    | {"num_attention_heads": 1},
    "tokenizer": "sample",
}
RECIPE = {"max_steps": 1, "evaluations": 1, "batch_size": 8, "max_length": 64, "precision": "fp32"}
MOST_SECONDS, MOST_BYTES, MOST_GROWTH = 0.3, 500e6, 1.3


def grid(folder: Path, runs: int) -> Path:
    """A benchmark of so many runs of two models on two tasks."""
    models = {name: MODEL | {"dropout": dropout} for name, dropout in (("one", 0.0), ("two", 0.1))}
    entry = {
        "tasks": ["cola", "rte"],
        "models": [*models],
        "data": "sample",
        "limit": {"train": 48, "validation": 30},
        "seeds": [*range(1, runs // 4 + 1)],
        "recipe": RECIPE,
    }
    path = folder / "benchmarks.yaml"
    path.write_text(json.dumps({"models": models, "benchmarks": {"grid": entry}}))
    return path


def processor_seconds(process: psutil.Process) -> float:
    """What a process and all that it started have used, those that ended included."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def tenths(command: subprocess.Popen[bytes], records: Path, runs: int) -> Iterator[tuple[int, float, float, int]]:
    """(runs done, time, processor time, bytes of the command) whenever a tenth of the runs is done."""
    process, due = psutil.Process(command.pid), 0
    while command.poll() is None:
        done = sum(1 for _ in records.glob("*/*/seed*/record.json"))
        if done >= due:
            try:
                yield done, time.monotonic(), processor_seconds(process), process.memory_info().rss
            except psutil.NoSuchProcess:
                return
            due = done + runs // 10
            if due > runs:
                break
        time.sleep(0.5)


def shown(before: tuple[int, float, float, int], now: tuple[int, float, float, int]) -> float:
    """Print what the runs between two looks took; gives the processor time of one."""
    number = now[0] - before[0]
    wall, cpu = (now[1] - before[1]) / number, (now[2] - before[2]) / number
    print(f"{now[0]:6} runs: {wall:.3f} s, of processors {cpu:.3f} s a run; {now[3] / 1e6:.0f} MB", flush=True)
    return cpu


def peak_bytes(process: int) -> tuple[int, int]:
    """The most memory that a process has had, with and without the pages of files that it has now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kilobytes = {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value
    }
    return kilobytes["VmHWM"] * 1024, (kilobytes["VmHWM"] - kilobytes["RssFile"]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, results = grid(Path(folder), options.runs), Path(folder) / "results"
        line = [sys.executable, "-m", "harness", "run", str(file), "--results", str(results), "--jobs", options.jobs]
        command = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        costs, before = list[float](), None
        for row in tenths(command, results / "grid" / "runs", options.runs):
            if before is not None:
                costs.append(shown(before, row))
            before = row
        most, own = peak_bytes(command.pid) if command.poll() is None else (0, 0)
        if command.wait() != 0:
            return 1
    middle, growth = statistics.median(costs), costs[-1] / costs[1]
    print(f"a run takes {middle:.3f} s of the processors; at the end {growth:.2f} times what it takes at the beginning")
    print(f"the command took {most / 1e6:.0f} MB at most, {own / 1e6:.0f} MB without the pages of files")
    return int(middle > MOST_SECONDS or growth > MOST_GROWTH or own > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
