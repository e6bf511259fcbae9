"""How much faster `run` is with several runs at a time: the same command with and without, in turns.

    python scripts/jobs_speed.py                                  README's main command, three times each: half an hour
    python scripts/jobs_speed.py --tasks cola,rte,mrpc --times 3  a part of it

Prints the seconds of each command, the medians, and their ratio; the records must be the same, byte for byte. Run it on
an idle machine: all processes of one command want the cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLOCK = ("efficiency.json", "run.log")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def seconds(file: str, results: Path, jobs: str, tasks: str | None) -> float:
    """How long a command takes, from its start to its end, into an empty results folder."""
    command = [sys.executable, "-m", "harness", "run", file, "--results", str(results), "--jobs", jobs]
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    started = time.monotonic()
    subprocess.run([*command, *(["--tasks", tasks] if tasks else [])], env=environment, check=True, capture_output=True)
    return time.monotonic() - started


def content(results: Path) -> dict[str, bytes]:
    """All that the records hold but for times."""
    files = (path for path in sorted(results.glob("*/runs/**/*")) if path.is_file() and path.name not in CLOCK)
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="benchmarks.yaml")
    parser.add_argument("--tasks")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {"1": [], "auto": []}
    records = []
    for turn in range(options.times):
        for jobs, times in taken.items():
            with tempfile.TemporaryDirectory() as folder:
                times.append(seconds(options.file, Path(folder), jobs, options.tasks))
                records.append(content(Path(folder)))
            print(f"turn {turn + 1}: --jobs {jobs}: {times[-1]:.1f} s", flush=True)
    one, several = (statistics.median(times) for times in taken.values())
    print(f"medians: {one:.1f} s and {several:.1f} s: {one / several:.2f} times faster")
    same = all(other == records[0] for other in records)
    print(f"{len(records[0])} files: {'the same bytes' if same else 'OTHER BYTES'}")
    return not same


if __name__ == "__main__":
    sys.exit(main())
