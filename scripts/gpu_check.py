"""Does the program work on this GPU, and how fast is it? One command, no network, under 8 minutes.

    python scripts/gpu_check.py --output gpu_check
    python scripts/gpu_check.py --parts runs,resume --minutes 4     some parts, in less time
    python scripts/gpu_check.py --device cpu --minutes 2            the same code with small models, without a GPU
    python scripts/gpu_check.py --list                              the parts, and how long each takes

Models have their published sizes and random weights; texts are the built-in sample or random words of real lengths.
Parts run in the order of their importance, in a process of their own: one that fails, or takes the process with it, is
named, and the others go on. A table is printed last; it, the rows as JSON and a log lie in the output folder.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """A part: the module of its function, and how many seconds it takes on an H200 and, with small models, on two cores
    of a CPU; it begins only where as much time is left. Measured, but for ``compiled``, ``shared`` and ``grid`` on the
    H200, which are estimates.
    """

    module: str
    gpu: float
    cpu: float
    shows: str


PARTS = {
    "runs": Part("gpu_works", 106, 15, "the sample benchmark finishes; peak memory; the same seed twice"),
    "precision": Part("gpu_works", 23, 4, "fp32, tf32, bf16, fp16 stay finite; what auto takes"),
    "equal": Part("gpu_works", 10, 1, "scores and losses in fp32 equal the CPU's"),
    "resume": Part("gpu_works", 60, 20, "a killed run resumes to the same bytes"),
    "memory": Part("gpu_works", 2, 1, "a lack of memory halves the micro-batch"),
    "kernels": Part("gpu_works", 21, 5, "which attention kernels run"),
    "train": Part("gpu_speed", 55, 7, "training: examples/s and MFU"),
    "trainer": Part("gpu_speed", 55, 8, "harness / Trainer"),
    "profile": Part("gpu_speed", 30, 4, "kernels, gaps and copies of a training step"),
    "inference": Part("gpu_speed", 47, 6, "answers: examples/s and MFU, EncT5 / its encoder, T5 / generate"),
    "small": Part("gpu_speed", 23, 5, "the fixed cost of a run, and the device's idle share"),
    "latency": Part("gpu_speed", 18, 3, "p50 and p95 of single texts"),
    "compiled": Part("gpu_works", 120, 10, "compiled models have the same losses"),
    "compilation": Part("gpu_speed", 230, 1, "what compilation takes and gives; CUDA graphs"),
    "shared": Part("gpu_shared", 110, 70, "RTE-size runs, --runs-per-gpu 1, 2, 4: seconds, and the same bytes"),
    "grid": Part("gpu_shared", 110, 36, "a grid of small runs, --jobs 1 and 4"),
}
"""The parts in the order of their importance.

For the last four, 8 minutes are too short: two compile (``--minutes 14``), two start commands with several runs at a
time (``--parts shared,grid``).
"""
GRACE = 30
"""Seconds after which a part that has overrun the whole time is ended."""
PATIENCE = 3
"""A part that takes so many times its estimate, and `GRACE`, is ended, and the others go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 0 where all that ran succeeded, 1 where a check failed, 2 where something is missing."""
    options = parser().parse_args(arguments)
    if unknown := [name for name in options.parts if name not in PARTS]:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
    if options.list:
        print(as_list())
        return 0
    missing, other = missing_packages()
    if missing:
        print(f"missing: {' '.join(missing)}")
        print("without a network, carry their wheels here: pip install --no-index --no-deps *.whl")
        return 2
    if other and not options.worker:
        print(f"of other versions than pyproject.toml asks for: {', '.join(other)}")
    if options.worker:
        return work(options)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = supervise(options)
    (options.output / "gpu_check.json").write_text(json.dumps(rows, indent=1) + "\n")
    table = as_table(rows)
    (options.output / "gpu_check.md").write_text(table + "\n")
    print(f"\n{table}\n\nwritten: {options.output}/gpu_check.md, gpu_check.json, log.txt")
    return int(any(row["ok"] is False for row in rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--output", type=Path, default=Path("gpu_check"), help="folder of table, JSON and log")
    words.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    words.add_argument("--minutes", type=float, default=8.0, help="all parts together (8)")
    words.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="by default all")
    words.add_argument("--list", action="store_true", help="list the parts with the time that each takes")
    words.add_argument("--bert-tokenizer", help="a folder with a real vocabulary, in place of the sample's")
    words.add_argument("--t5-tokenizer", help="likewise")
    words.add_argument("--worker", type=float, default=0.0, help=argparse.SUPPRESS)  # the time at which to end
    return words


def requirements() -> list[str]:
    """What pyproject.toml says that the program needs."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])


def missing_packages() -> tuple[list[str], list[str]]:
    """The requirements of which there is nothing installed, as pip takes them, and those of another version."""
    missing, other = [], []
    for requirement in requirements():
        name, limits = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"'{requirement}'")
            continue
        with contextlib.suppress(ImportError):  # a bare machine may lack it
            from packaging.specifiers import SpecifierSet

            if not SpecifierSet(limits).contains(installed, prereleases=True):
                other.append(f"{name} {installed} ({limits})")
    return missing, other


def seconds_of(name: str, device: str) -> float:
    """The estimate for a part."""
    return PARTS[name].gpu if device == "cuda" else PARTS[name].cpu


def supervise(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the parts in a worker process; where it dies in one, that part has failed and another worker goes on."""
    end, left, rows = time.time() + 60 * options.minutes, list(options.parts), list[dict[str, Any]]()
    base = [sys.executable, __file__, "--output", str(options.output), "--device", options.device]
    for name in ("bert_tokenizer", "t5_tokenizer"):
        if value := getattr(options, name):
            base += [f"--{name.replace('_', '-')}", value]
    with open(options.output / "log.txt", "w", encoding="utf-8") as log:
        while left and time.time() < end:
            command = [*base, "--worker", str(end), "--parts", ",".join(left)]
            watch = Watch(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True), end + GRACE)
            for line in watch.lines():
                if line.startswith('{"part"'):
                    follow(json.loads(line), watch, left, rows, options.device)
                else:
                    log.write(line)
            watch.worker.wait()
            if left:
                name = watch.part if watch.part in left else left[0]
                reason = "took too long" if watch.late else "the process ended"
                rows.append(row_of(name, "the part as a whole", f"FAILED: {reason}; see log.txt", ok=False))
                left.remove(name)
    rows += [row_of(name, "not run", "no time was left") for name in left]
    return rows


def follow(message: dict[str, Any], watch: Watch, left: list[str], rows: list[dict[str, Any]], device: str) -> None:
    """Take in what a worker says: that a part begins or ends, or a row."""
    name = message["part"]
    if message.get("begins"):
        watch.begin(name, PATIENCE * seconds_of(name, device) + GRACE)
        print(f"{name} ...", flush=True)
    elif message.get("ends"):
        left.remove(name)
    else:
        rows.append(message)
        print(f"  {message['what']}: {message['value']}", flush=True)


class Watch:
    """A worker process that is ended when a part, or everything, takes too long.

    Args:
        worker: writes lines.
        end: the time at which it is ended in any case.
    """

    def __init__(self, worker: subprocess.Popen[str], end: float) -> None:
        self.worker, self.end, self.part, self.late = worker, end, "", False
        self.timer: threading.Timer | None = None
        self.begin("", end - time.time())

    def begin(self, part: str, seconds: float) -> None:
        """From now on the worker does this part, for which it has so long."""
        self.part = part
        self.stop()
        self.timer = threading.Timer(max(1.0, min(seconds, self.end - time.time())), self.kill)
        self.timer.start()

    def kill(self) -> None:
        """End the worker."""
        self.late = True
        self.worker.kill()

    def stop(self) -> None:
        """Look no more at the clock."""
        if self.timer is not None:
            self.timer.cancel()

    def lines(self) -> Iterator[str]:
        """What the worker writes, as it comes."""
        try:
            yield from self.worker.stdout or ()
        finally:
            self.stop()


def row_of(part: str, what: str, value: Any, ok: bool | None = None) -> dict[str, Any]:
    """A row of the table; ``ok`` is None for a figure that nothing is checked with."""
    return {"part": part, "what": what, "value": value, "ok": ok}


def work(options: argparse.Namespace) -> int:
    """The worker: the parts one after another, each row as a line of JSON."""
    import traceback

    import gpu_machine

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    machine = gpu_machine.machine_of(options)
    for name in options.parts:
        send({"part": name, "begins": True})
        estimate = seconds_of(name, options.device)
        if time.time() + estimate > options.worker:
            send(row_of(name, "not run", f"needs about {estimate:.0f} s, which are not left"))
        else:
            started = time.time()
            try:
                for what, value, ok in getattr(importlib.import_module(PARTS[name].module), name)(machine):
                    send(row_of(name, what, value, ok))
            except Exception as error:  # a part that fails must not hide the others
                traceback.print_exc()
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                send(row_of(name, "failed", reason, ok=False))
            send(row_of(name, "seconds", round(time.time() - started, 1)))
            gpu_machine.forget()
        send({"part": name, "ends": True})
    return 0


def as_list() -> str:
    """The parts, with the estimates of their time."""
    from tabulate import tabulate

    cells = [[name, part.gpu, part.cpu, part.shows] for name, part in PARTS.items()]
    total = ["all", sum(part.gpu for part in PARTS.values()), sum(part.cpu for part in PARTS.values()), ""]
    titles = ["part", "s, H200", "s, CPU, small models", "shows"]
    return tabulate([*cells, total], titles, tablefmt="pipe")


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in markdown, what failed first."""
    from tabulate import tabulate

    marks = {True: "ok", False: "FAILED", None: ""}
    cells = [[row["part"], row["what"], row["value"], marks[row["ok"]]] for row in rows]
    failed = [row for row in rows if row["ok"] is False]
    checked = sum(row["ok"] is True for row in rows)
    head = f"{checked} checks passed, {len(failed)} failed"
    head += f": {', '.join(dict.fromkeys(row['part'] for row in failed))}" if failed else ""
    return f"{head}\n\n{tabulate(cells, ['part', 'what', 'value', 'check'], tablefmt='pipe', disable_numparse=True)}"


if __name__ == "__main__":
    sys.exit(main())
