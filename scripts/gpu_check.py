"""Does the program work on this GPU, and how fast is it? One command, no network, under 8 minutes.

    python scripts/gpu_check.py --output gpu_check
    python scripts/gpu_check.py --parts runs,resume --minutes 4     some parts, in less time
    python scripts/gpu_check.py --device cpu --minutes 2            the same code with small models, without a GPU

Models have their published sizes and random weights; texts are the built-in sample or random words of real lengths.
Parts run in the order of their importance, in a process of their own: one that fails, or takes the process with it, is
named, and the others go on. A table is printed last; it, the rows as JSON and a log lie in the output folder.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEEDED = ("torch", "transformers", "accelerate", "datasets", "evaluate", "huggingface_hub", "tokenizers", "safetensors",
          "sentencepiece", "protobuf", "numpy", "pyarrow", "pydantic", "PyYAML", "rich", "scikit-learn", "scipy",
          "tabulate")  # fmt: skip
PARTS = {
    "runs": 60, "precision": 25, "equal": 20, "resume": 45, "memory": 15, "compiled": 60, "kernels": 15, "train": 60,
    "trainer": 60, "inference": 40, "latency": 40, "profile": 15, "small": 30,
}  # fmt: skip
"""Estimates in seconds on a GPU: a part begins only where as much time is left."""
GRACE = 30
"""Seconds after which a part that has overrun the whole time is ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 0 where all that ran succeeded, 1 where a check failed, 2 where something is missing."""
    options = parser().parse_args(arguments)
    if lacking := missing_packages():
        print(f"missing: {' '.join(lacking)}\nwithout a network, carry their wheels here: pip install --no-deps *.whl")
        return 2
    if unknown := [name for name in options.parts if name not in PARTS]:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
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
    words.add_argument("--bert-tokenizer", help="a folder with a real vocabulary, in place of the sample's")
    words.add_argument("--t5-tokenizer", help="likewise")
    words.add_argument("--worker", type=float, default=0.0, help=argparse.SUPPRESS)  # the time at which to end
    return words


def missing_packages() -> list[str]:
    """Packages that the program needs and that are not installed."""
    lacking = []
    for name in NEEDED:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    return lacking


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
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            assert worker.stdout is not None
            current, reason = left[0], "the process ended"
            try:
                for line in follow(worker, end + GRACE):
                    message = json.loads(line) if line.startswith('{"part"') else None
                    if message is None:
                        log.write(line)
                    elif message.get("begins"):
                        current = message["part"]
                        print(f"{current} ...", flush=True)
                    elif message.get("ends"):
                        left.remove(message["part"])
                    else:
                        rows.append(message)
                        print(f"  {message['what']}: {message['value']}", flush=True)
            except TimeoutError:
                worker.kill()
                reason = "took too long"
            if worker.wait() or left:
                name = current if current in left else left[0]
                rows.append(row_of(name, "the part as a whole", f"FAILED: {reason}; see log.txt", ok=False))
                left.remove(name)
    rows += [row_of(name, "not run", "no time was left") for name in left]
    return rows


def follow(worker: subprocess.Popen[str], end: float) -> Any:
    """The lines of a worker, as they come; TimeoutError after ``end``."""
    import threading

    timer = threading.Timer(max(1.0, end - time.time()), worker.kill)
    timer.start()
    try:
        yield from worker.stdout or ()
    finally:
        timer.cancel()
    if time.time() >= end:
        raise TimeoutError


def row_of(part: str, what: str, value: Any, ok: bool | None = None) -> dict[str, Any]:
    """A row of the table; ``ok`` is None for a figure that nothing is checked with."""
    return {"part": part, "what": what, "value": value, "ok": ok}


def work(options: argparse.Namespace) -> int:
    """The worker: the parts one after another, each row as a line of JSON."""
    import traceback

    import gpu_parts

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    machine = gpu_parts.machine_of(options)
    for name in options.parts:
        send({"part": name, "begins": True})
        estimate = PARTS[name] if options.device == "cuda" else PARTS[name] / 4
        if time.time() + estimate > options.worker:
            send(row_of(name, "not run", f"needs about {estimate:.0f} s, which are not left"))
        else:
            started = time.time()
            try:
                for what, value, ok in getattr(gpu_parts, name)(machine):
                    send(row_of(name, what, value, ok))
            except Exception as error:  # a part that fails must not hide the others
                traceback.print_exc()
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                send(row_of(name, "failed", reason, ok=False))
            send(row_of(name, "seconds", round(time.time() - started, 1)))
            gpu_parts.forget()
        send({"part": name, "ends": True})
    return 0


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
