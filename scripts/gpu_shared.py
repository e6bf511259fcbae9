"""The parts of `gpu_check` that do several runs at a time: on one GPU, and a grid of small runs through ``--jobs``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_machine import MODELS, TINY_BERT, Machine, Rows
from gpu_works import environment, records_of, same_bytes
from speed_models import SIZES, text_lengths

AT_ONCE = (1, 2, 4)
"""Runs at a time, on each GPU; without one, of the command."""
RTE = {"train": 2490, "validation": 277}
"""Examples; an epoch has 78 updates of 32."""
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def shared(machine: Machine) -> Rows:
    """Four runs of RTE's size: what a command takes with one, two and four at a time, and whether results change."""
    path = rte_sized(machine)
    yield from in_turns(machine, path, "shared", AT_ONCE)


def grid(machine: Machine) -> Rows:
    """A grid of small runs of the three architectures, one and four at a time."""
    entry = {"models": list(MODELS), "tasks": ["cola", "rte"], "data": "sample", "seeds": [1, 2, 3, 4]}
    if not machine.is_cuda:
        entry |= {"models": ["bert"], "seeds": [1, 2], "limit": {"train": 48, "validation": 24}}
    recipe = {"learning_rate": 3e-3, "max_steps": 40 if machine.is_cuda else 4, "evaluations": 1, "max_length": 128}
    path = written(machine, "grid", {"models": MODELS, "benchmarks": {"check": {**entry, "recipe": recipe}}})
    yield from in_turns(machine, path, "grid", (AT_ONCE[0], AT_ONCE[-1]))


def rte_sized(machine: Machine) -> Path:
    """A benchmark of a BERT on pairs of random words, as many and as long as RTE's; small ones on a CPU."""
    for split, number in RTE.items():
        drawn = np.random.default_rng(len(split))
        rows = []
        for length in text_lengths("RTE-like", number if machine.is_cuda else 48, 320 if machine.is_cuda else 32):
            words = drawn.choice(WORDS, max(2, int(length) - 3)).tolist()
            end = max(1, len(words) * 4 // 5)  # RTE's hypotheses are short
            label = str(drawn.integers(2))
            rows.append({"one": " ".join(words[:end]), "two": " ".join(words[end:]), "label": label})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (machine.folder / f"pairs-{split}.jsonl").write_text(lines)
    size = {"model_type": "bert", **SIZES["BERT-base"][1]} if machine.is_cuda else TINY_BERT
    files = {split: f"pairs-{split}.jsonl" for split in RTE}
    task = {"problem_type": "single_label_classification", "text": ["one", "two"], **files}
    model = {"architecture": "bert", "config": size, "tokenizer": machine.setting.bert_tokenizer or "sample"}
    recipe = {"learning_rate": 2e-5, "epochs": 3 if machine.is_cuda else 1, "evaluations": 3, "max_length": 320}
    entry = {"tasks": ["pairs"], "models": ["model"], "seeds": [1, 2, 3, 4], "recipe": recipe}
    content = {"tasks": {"pairs": task}, "models": {"model": model}, "benchmarks": {"check": entry}}
    return written(machine, "shared", content)


def written(machine: Machine, name: str, content: dict[str, Any]) -> Path:
    """A benchmark file."""
    path = machine.folder / f"{name}.yaml"
    path.write_text(json.dumps(content))
    return path


def in_turns(machine: Machine, path: Path, name: str, at_once: Sequence[int]) -> Rows:
    """The same command with so many runs at a time, one after another; the others are compared with the first."""
    seconds, results = {}, {}
    for number in at_once:
        folder = machine.folder / f"{name}-{number}"
        many = ["--jobs", str(number * max(1, torch.cuda.device_count()) if machine.is_cuda else number)]
        options = ["--runs-per-gpu", str(number)] if machine.is_cuda and name == "shared" else many
        command = [sys.executable, "-m", "harness", "run", str(path), "--results", str(folder), *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=sys.stderr, stderr=sys.stderr, env=environment(machine))
        seconds[number], results[number] = time.perf_counter() - started, records_of(folder)
        peaks = [record.efficiency.peak_device_bytes or 0 for record in results[number]]
        memory = f"; at most {max(peaks) / 2**20:.0f} MiB of the device each" if machine.is_cuda else ""
        runs = len(results[number])
        times = f", {seconds[at_once[0]] / seconds[number]:.2f} times as fast as one" if number != at_once[0] else ""
        every = all(record.finished for record in results[number])
        yield f"{runs} runs, {' '.join(options)}", f"{seconds[number]:.1f} s{times}{memory}", every
    first = {(record.task, record.model, record.seed): record for record in results[at_once[0]]}
    others = [record for number in at_once[1:] for record in results[number]]
    same = sum(same_bytes(record, first[record.task, record.model, record.seed]) for record in others)
    whole = f"{same} of {len(others)}{'' if same == len(others) else ': kernels of the device sum in changing order'}"
    yield "records with the bytes of those of one at a time", whole, None if machine.is_cuda else same == len(others)
