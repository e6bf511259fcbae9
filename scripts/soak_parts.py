"""The parts of `soak.py`: a benchmark that is disturbed, and what it leaves compared with that of a quiet one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

from harness.cli import main
from harness.results import tensors as checkpoints
from harness.results.leases import Leases
from harness.results.store import Store
from harness.runner import execute
from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.training.update import Training

T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TOKENIZER = {"tokenizer": "sample"}
BENCHMARK = {
    "models": {
        "bert": {"architecture": "bert", "config": BERT, **TOKENIZER},
        "enct5": {"architecture": "enct5", "config": T5, **TOKENIZER},
        "t5": {"architecture": "t5", "config": T5, **TOKENIZER},
    },
    "benchmarks": {
        "soak": {
            "tasks": ["mnli", "rte", "copa", "stsb"],
            "models": ["bert", "enct5", "t5"],
            "data": "sample",
            "limit": {"train": 64, "validation": 40},
            "init_from": {"rte": "mnli"},
            "predict": "test",
            "keep": "best",
            "checkpoint_every": 0,
            "overrides": {"models": {"t5": {"optimizer": "adafactor"}}},
        }
    },
}
CLOCK = (
    "run.log",
    "index.html",
    *(f"{name}.{kind}" for name in ("efficiency", "leaderboard") for kind in ("md", "csv", "json", "tex")),
)


@dataclass
class Soak:
    """A folder with a benchmark file, the reference that an uninterrupted run left, and the chance that is used."""

    folder: Path
    chance: random.Random
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def reference(self) -> Path:
        return self.folder / "reference"

    def fresh(self, results: Path) -> Path:
        """A results folder that holds nothing but the tokenizers."""
        results.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.reference / ".cache" / "tokenizers", results / ".cache" / "tokenizers")
        return results

    def start(self, results: Path, inside: Callable[[], None] = lambda: None) -> int:
        """Run the command in a process of its own; its output goes to ``log``. Returns the process id."""
        child = os.fork()
        if child:
            return child
        with open(self.folder / "log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        inside()
        code = 1
        try:
            code = main(["run", str(self.folder / "benchmarks.yaml"), "--results", str(results)])
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def finish(self, results: Path) -> int:
        """Run the command to its end."""
        return wait(self.start(results))

    def check(self, what: str, good: bool) -> None:
        """Note a problem."""
        if not good:
            self.problems.append(what)
            print(f"PROBLEM: {what}", flush=True)

    def compare(self, results: Path, what: str) -> None:
        """The results must be the reference's."""
        ours, theirs = content(results), content(self.reference)
        self.check("there is nothing to compare", len(theirs) > 50)
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        self.check(f"{what}: other bytes in {', '.join(different[:5])}", not different)
        self.check(f"{what}: warnings {Store(results, 'soak').warnings}", not damaged(results))
        if not different:
            for path in (self.reference / "soak" / "runs").rglob("efficiency.json"):
                shutil.copy(path, results / path.relative_to(self.reference))
            self.check(f"{what}: another leaderboard", leaderboard(results) == leaderboard(self.reference))


def wait(process: int) -> int:
    """The exit code of a child process; negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def leaderboard(results: Path) -> str:
    """What `report` prints, by a process of its own: one that has drawn cannot be forked, its children would wait."""
    command = [sys.executable, "-m", "harness", "report", str(results), "--format", "md"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def content(results: Path) -> dict[str, bytes]:
    """All files of the benchmark but for those that depend on the clock."""
    files = (path for path in (results / "soak").rglob("*") if path.is_file() and path.name not in CLOCK)
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


def damaged(results: Path) -> list[str]:
    """What reading all records complains about."""
    store = Store(results, "soak")
    store.records()
    return store.warnings


# Kills -----------------------------------------------------------------------------------------------------------


def ends_in_a_write(call: int, share: float, number: int = signal.SIGKILL) -> None:
    """Make this process kill itself at its ``call``-th write: before, within (a ``share`` is written) or after it.

    With another signal (SIGSTOP) it goes on some time; what was cut short is then written whole.
    """
    count = [0]

    def due() -> bool:
        count[0] += 1
        return count[0] == call

    def die() -> None:
        os.kill(os.getpid(), number)

    def wrapped(function: Callable[..., object], before: bool) -> Callable[..., object]:
        def write(*arguments: object, **options: object) -> object:
            last = due()
            if last and before:
                die()
            result = function(*arguments, **options)
            if last and not before:  # one that was stopped goes on, and must not stop again
                die()
            return result

        return write

    save = checkpoints.save_file

    def save_part(tensors: object, path: Path, *arguments: object) -> None:
        last = due()
        save(tensors, path, *arguments)
        if last:
            os.truncate(path, int(share * os.path.getsize(path)))
            die()
            save(tensors, path, *arguments)

    for name in ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink"):
        setattr(os, name, wrapped(getattr(os, name), before=share < 0.5))
    checkpoints.save_file = save_part


def kill_again_and_again(soak: Soak, kills: int) -> str:
    """Kill a benchmark at random moments, start it again each time, and compare what it leaves in the end."""
    results, rounds, within, starts = soak.fresh(soak.folder / "killed"), 0, 0, 0
    done = 0
    while done < kills or starts:
        if done == kills:
            child = soak.start(results)
        elif in_write := done % 2 == 1:
            call, share = soak.chance.randint(1, 200), soak.chance.random()
            child = soak.start(results, lambda call=call, share=share: ends_in_a_write(call, share))
        else:
            child = soak.start(results)
            time.sleep(soak.chance.uniform(0, soak.seconds / 4))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = wait(child)
        starts += 1
        if code == -signal.SIGKILL:
            done += 1
            within += in_write
            continue
        soak.check(f"killed: exit code {code}", code == 0)
        soak.compare(results, f"killed, round {rounds + 1}")
        rounds, starts = rounds + 1, 0
        if code != 0:
            break
        if done < kills:
            shutil.rmtree(results)
            soak.fresh(results)
    return f"{done} kills, {within} of them within writes, over {rounds} benchmarks"


# Several commands ------------------------------------------------------------------------------------------------


def notes_trainings(path: Path) -> None:
    """Make this process write down which runs it trains from their first step."""
    prepare = execute.prepare

    def noted(context: Context, run: Run, initial: Any) -> Training:
        with open(path, "a") as file:
            file.write(json.dumps([*run.label, os.getpid()]) + "\n")
        return prepare(context, run, initial)

    execute.prepare = noted


def commands_at_once(soak: Soak, commands: int, kill_one: bool) -> str:
    """Several commands on one results folder; one of them may be killed, and the others do its run."""
    results = soak.fresh(soak.folder / f"together{kill_one:d}")
    log = soak.folder / f"trainings{kill_one:d}"
    started = time.monotonic()
    children = [soak.start(results, lambda: notes_trainings(log)) for _ in range(commands)]
    if kill_one:
        while not log.exists() or f" {children[0]}]" not in log.read_text():
            time.sleep(0.01)
        time.sleep(soak.chance.uniform(0, 0.5))
        os.kill(children[0], signal.SIGKILL)
    codes = [wait(child) for child in children]
    expected = [-signal.SIGKILL if kill_one else 0] + [0] * (commands - 1)
    soak.check(f"together: exit codes {codes}", codes == expected)
    soak.compare(results, "together")
    counts = Counter(tuple(json.loads(line)[:3]) for line in log.read_text().splitlines())
    again = sum(counts.values()) - len(counts)
    soak.check(f"together: {again} runs were done twice", again <= kill_one)
    return f"{len(counts)} runs by {commands} commands in {time.monotonic() - started:.0f} s, {again} done again" + (
        " (one command was killed)" if kill_one else ""
    )


# Suspension ------------------------------------------------------------------------------------------------------


def impatient() -> None:
    """Make this process take one that gives no sign of life for two seconds for dead."""
    init = Leases.__init__

    def made(self: Leases, *arguments: object, **options: object) -> None:
        init(self, every=0.2, patience=2.0)

    Leases.__init__ = made  # type: ignore[method-assign]


def suspend_again_and_again(soak: Soak, times: int) -> str:
    """Suspend a command at a random moment or within a write; another one takes over, and later the first goes on."""
    within = 0
    for turn in range(times):
        results = soak.fresh(soak.folder / f"suspended{turn}")
        call, share = soak.chance.randint(1, 200), soak.chance.random()

        def stops(call: int = call, share: float = share, in_write: bool = turn % 2 == 1) -> None:
            impatient()
            if in_write:
                ends_in_a_write(call, share, signal.SIGSTOP)

        first = soak.start(results, stops)
        if turn % 2:
            _, status = os.waitpid(first, os.WUNTRACED)
            if not os.WIFSTOPPED(status):  # it made fewer writes
                soak.check("suspended: it failed", os.waitstatus_to_exitcode(status) == 0)
                continue
            within += 1
        else:
            time.sleep(soak.chance.uniform(0, soak.seconds / 2))
            os.kill(first, signal.SIGSTOP)
        second = soak.start(results, impatient)
        if turn % 4 < 2:
            code = wait(second)
            os.kill(first, signal.SIGCONT)
            codes = [wait(first), code]
        else:
            time.sleep(soak.chance.uniform(0, soak.seconds))
            os.kill(first, signal.SIGCONT)
            codes = [wait(first), wait(second)]
        soak.check(f"suspended: exit codes {codes}", codes == [0, 0])
        soak.compare(results, f"suspended, turn {turn}")
    return f"{times} suspensions, {within} of them within writes"


def two_namespaces(soak: Soak) -> str:
    """Two commands with the same host name and the same process id, as in two containers."""
    results = soak.fresh(soak.folder / "namespaces")
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "harness", "run"]
    command += [str(soak.folder / "benchmarks.yaml"), "--results", str(results)]
    with open(soak.folder / "log", "a") as log:
        children = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(2)]
    codes = [child.wait() for child in children]
    soak.check(f"namespaces: exit codes {codes}", codes == [0, 0])
    soak.compare(results, "namespaces")
    return "two commands, both process 1 of their namespace"


def can_unshare() -> bool:
    """Whether pid namespaces can be made."""
    tried = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(tried, capture_output=True).returncode == 0


# A full disk -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of 64 MB."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(soak: Soak) -> str:
    """Leave less and less room; each time nothing may be half-written, and with room again it must go on."""
    disk, stopped = soak.folder / "disk", []
    for free in (50_000, 400_000, 1_000_000, 2_000_000, 4_000_000):
        with small_disk(disk):
            results = soak.fresh(disk / "results")
            room = shutil.disk_usage(disk).free
            with open(disk / "filler", "wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, max(0, room - free))
            (soak.folder / "log").write_text("")
            code = soak.finish(results)
            said = (soak.folder / "log").read_text()
            stopped.append(code != 0)
            soak.check(f"full disk: exit code {code} with {free} bytes", code in (0, 1, 2))
            soak.check(f"full disk: no message with {free} bytes", code == 0 or "the disk is full" in said)
            soak.check(f"full disk: a traceback with {free} bytes", "Traceback" not in said)
            soak.check(f"full disk: half-written files {damaged(results)}", not damaged(results))
            leftovers = [path.name for path in results.rglob(".new.*")]
            soak.check(f"full disk: left {leftovers}", not leftovers)
            (disk / "filler").unlink()
            soak.check("full disk: did not go on", soak.finish(results) == 0)
            soak.compare(results, f"full disk with {free} bytes")
    return f"{len(stopped)} disks, {sum(stopped)} of them too small; all went on with more room"
