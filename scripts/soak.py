"""Soak test: kills and suspends a benchmark again and again, runs several commands at once, fills the disk.

    python scripts/soak.py                     30 kills, 10 suspensions, 4 commands at once, a full disk: some minutes
    python scripts/soak.py --kills 3 --suspensions 2 --steps 6 --commands 2

Everything but efficiency.json and logs must be byte for byte what an uninterrupted run leaves; leaderboards must be
equal once they are made from the same times. For the full disk a small tmpfs is mounted, and for two commands with the
same process id two pid namespaces are made; both need root.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from soak_parts import (
    BENCHMARK,
    Soak,
    can_unshare,
    commands_at_once,
    content,
    full_disk,
    kill_again_and_again,
    suspend_again_and_again,
    two_namespaces,
)

from harness.results.store import Store


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--suspensions", type=int, default=10)
    parser.add_argument("--commands", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-disk", action="store_true", help="mount nothing")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path) -> list[str]:
    """All parts; returns the problems."""
    soak = Soak(folder, random.Random(options.seed))
    recipe = {"max_steps": options.steps, "batch_size": 8, "max_length": 64, "precision": "fp32", "eval_every": 5}
    BENCHMARK["benchmarks"]["soak"]["recipe"] = recipe
    (folder / "benchmarks.yaml").write_text(json.dumps(BENCHMARK))
    soak.check("the reference failed", soak.finish(soak.reference) == 0)
    shutil.rmtree(soak.reference / "soak")
    started = time.monotonic()
    soak.check("the reference failed", soak.finish(soak.reference) == 0)
    soak.seconds = time.monotonic() - started
    runs, files = len(Store(soak.reference, "soak").current()), len(content(soak.reference))
    print(f"uninterrupted: {runs} runs in {soak.seconds:.0f} s, {files} files to compare", flush=True)
    print(f"kills: {kill_again_and_again(soak, options.kills)}", flush=True)
    print(f"suspensions: {suspend_again_and_again(soak, options.suspensions)}", flush=True)
    if can_unshare():
        print(f"namespaces: {two_namespaces(soak)}", flush=True)
    else:
        print("namespaces: left out (they cannot be made here)")
    print(f"together: {commands_at_once(soak, options.commands, kill_one=False)}", flush=True)
    print(f"together: {commands_at_once(soak, options.commands, kill_one=True)}", flush=True)
    if options.no_disk or sys.platform != "linux" or os.geteuid() != 0:
        print("full disk: left out (it needs root, to mount a tmpfs)")
    else:
        print(f"full disk: {full_disk(soak)}", flush=True)
    return soak.problems


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = run(arguments(), Path(place))
        if found:
            print((Path(place) / "log").read_text()[-4000:], file=sys.stderr)
    print(f"{len(found)} problems" if found else "everything is byte for byte as without interruption")
    sys.exit(bool(found))
