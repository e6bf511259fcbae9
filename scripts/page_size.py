"""How long many runs take to be read, compared and shown, how large their page is, and how soon a browser can use it.

Makes records with drawn answers (once, in FOLDER), times `report` (the first time, again, and after one new run) and
`compare` as processes of their own with their memory, and opens the page in chromium, where that is installed:

    python scripts/page_size.py FOLDER [--models 50] [--tasks 20] [--seeds 5] [--examples 200]

5,000 runs are the default; `--seeds 20` are 20,000.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.results.fingerprint import RunSettings
from harness.results.record import Record
from harness.results.store import Store

ROOT = Path(__file__).parents[1]
MEGABYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("models", 50), ("tasks", 20), ("seeds", 5), ("examples", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if not (options.folder / "many").is_dir():
        make(options.folder, options.models, options.tasks, options.seeds, options.examples)
    shutil.rmtree(options.folder / ".cache", ignore_errors=True)
    timed("report", options.folder, "the first time")
    timed("report", options.folder, "again")
    add_run(options.folder, options.tasks, options.examples)
    timed("report", options.folder, "after one new run")
    timed("compare", options.folder, "all pairs")
    print(f"memory: at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
    page = options.folder / "many" / "index.html"
    print(f"{page}: {page.stat().st_size / MEGABYTE:.2f} MB")
    opened(page.resolve())


def timed(command: str, folder: Path, which: str) -> None:
    """Print how long a command takes, by the clock and of the processors."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "harness", command, str(folder)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{command}, {which}: {time.perf_counter() - start:.1f} s, {used:.1f} s of processors", flush=True)


def opened(page: Path) -> None:
    """Print how soon the page can be used: its scripts have run, and the first plot is drawn."""
    sys.path.insert(0, str(ROOT / "tests"))
    from page.browser import Browser, why_not

    if why_not():
        print(why_not())
        return
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            browser.open(page)
            browser.wait("return document.querySelector('#quality-plot svg')")
            start = "performance.getEntriesByType('navigation')[0]"
            print(f"scripts have run: {browser.run(f'return {start}.domComplete') / 1000:.2f} s")
            drawn = browser.run("return performance.getEntriesByName('drawn')[0]?.startTime")
            print(f"first plot drawn: {drawn / 1000:.2f} s; messages: {browser.messages()}")
        finally:
            browser.close()


def make(folder: Path, models: int, tasks: int, seeds: int, examples: int) -> None:
    """Write the records."""
    store, fingerprints = Store(folder, "many"), {}
    for task in range(tasks):
        labels = labels_of(task, examples)
        for model in range(models):
            for seed in range(1, seeds + 1):
                record, predictions, history = drawn(task, model, seed, labels)
                store.write(record, predictions=predictions, history=history)
                fingerprints[record.task, record.model, seed] = record.fingerprint
    store.update_manifest(fingerprints, {"data": "hub"}, table=table_of(tasks))


def add_run(folder: Path, tasks: int, examples: int) -> None:
    """Write another seed of the first task and model."""
    store = Store(folder, "many")
    seed = 1 + len([*(store.folder / "runs" / "task0" / "model-00").iterdir()])
    record, predictions, history = drawn(0, 0, seed, labels_of(0, examples))
    store.write(record, predictions=predictions, history=history)
    key = (record.task, record.model, seed)
    store.update_manifest({key: record.fingerprint}, {"data": "hub"}, table=table_of(tasks))


def labels_of(task: int, examples: int) -> np.ndarray:
    """The labels of a task's examples."""
    return np.random.default_rng(task).integers(0, 3, examples)


def table_of(tasks: int) -> dict[str, Any]:
    """How tables show the benchmark."""
    names = [f"task{number}" for number in range(tasks)]
    average = {"name": "many", "title": "Many", "averages": [["Many avg", names]]}
    return {"tasks": names, "columns": [shown(name) for name in names], "suites": [average]}


def shown(name: str) -> dict[str, Any]:
    """How tables show a task."""
    parts = [["validation", "accuracy"]]
    return {"task": name, "title": name, "suite": "many", "parts": parts, "answered_by": name, "selection": "accuracy"}


def drawn(task: int, model: int, seed: int, labels: np.ndarray) -> tuple[Record, list[Any], list[Any]]:
    """A record with drawn answers, its predictions and its history."""
    rng = np.random.default_rng([task, model, seed])
    name, quality = f"task{task}", 0.6 + 0.3 * model / 50 + 0.02 * rng.normal()
    answers = np.where(rng.random(len(labels)) < quality, labels, (labels + 1) % 3)
    accuracy = float((answers == labels).mean())
    settings = RunSettings(
        score_version=1,
        model={"architecture": ("bert", "enct5", "t5")[model % 3], "content": f"{model:064x}"},
        tasks={name: {"problem_type": "single_label_classification", "labels": ["no", "maybe", "yes"]}},
        data={name: {"source": "hub", "revision": "b" * 40}},
        selection="validation",
        recipe={"learning_rate": 1e-5 * (1 + model % 5), "epochs": 3, "batch_size": 32, "max_length": 128},
        seed=seed,
    )
    cost = 1 + model % 7
    efficiency = {
        "train_seconds": 60.0 * cost,
        "train_examples_per_second": 300.0 / cost,
        "inference_rates": {"1": 90.0 / cost, "32": 1000.0 / cost},
        "latency_p50_seconds": 0.01 * cost * float(rng.lognormal(0, 0.05)),
        "flops_per_example": 2.0e9 * cost,
    }
    record = Record(
        fingerprint=settings.fingerprint,
        status="finished",
        task=name,
        model=f"model-{model:02d}",
        settings=settings,
        scores={name: {"validation": {"accuracy": accuracy}}},
        columns={
            name: {"title": name, "suite": "many", "parts": [["validation", "accuracy"]], "selection": "accuracy"}
        },
        labels={},
        counts={name: {"train": 1000, "validation": len(labels)}},
        parameters={"total": 20_000_000 * cost, "trained": 20_000_000 * cost},
        efficiency=efficiency,
    )
    pairs = enumerate(zip(labels.tolist(), answers.tolist(), strict=True))
    predictions = [
        {"task": name, "split": "validation", "index": i, "idx": i, "label": label, "prediction": answer}
        for i, (label, answer) in pairs
    ]
    history = [{"step": 20 * step, "loss": 1.1 / step, "learning_rate": 1e-5} for step in range(1, 21)]
    evaluations = [
        {"step": 100 * i, "scores": {"validation": {"accuracy": accuracy * i / 4}}, "selection_score": accuracy * i / 4}
        for i in range(1, 5)
    ]
    return record, predictions, sorted([*history, *evaluations], key=lambda point: point["step"])


if __name__ == "__main__":
    main()
