"""How fast the harness is beside the usual ways, on this machine: a table of ratios.

    python scripts/speed.py --data GLUE_FOLDER --bert-tokenizer FOLDER --t5-tokenizer FOLDER --output speed

Models have random weights at their real sizes, texts are those of the real tasks. Each side of a comparison lives in a
process of its own, set up and warmed up before anything is measured; then the sides take turns, one at a time. A ratio
is the harness's examples per second over the other side's in the same turn; the table gives the median and the range.
Other programs on the machine change rates, but hardly ratios: run it on an idle machine all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from accelerate import Accelerator
from speed_sides import (
    BATCH,
    BEST,
    COMPILED,
    MAX_LENGTH,
    SIZES,
    TRAINERS,
    Side,
    Sources,
    dataset,
    pair,
    process,
    trainer_of,
)
from tabulate import tabulate

import harness
from harness.data.features import pack
from harness.training.device import provenance
from harness.training.trainer import Training

SMALL_TASKS = ("mrpc", "rte", "wnli")


@dataclass(frozen=True)
class Comparison:
    """Two sides; ``goal`` is the ratio to reach, if there is one."""

    group: str
    ours: Side
    theirs: Side
    goal: float | None = None


def comparisons() -> Iterator[Comparison]:
    """All of them, in the order of the table."""
    for size, task, goals in (
        ("MiniLM", "cola", (25, 4, 1.45, None)),
        ("MiniLM", "rte", (None, None, 1.25, None)),
        ("bert-base", "cola", (None,) * 4),
    ):
        ours = Side("harness", "train", size, task, {"compile": False})
        for (label, settings), goal in zip(TRAINERS.items(), goals, strict=True):
            if size == "bert-base" and label != BEST:
                continue
            if label != COMPILED:
                yield Comparison("training", ours, Side(label, "trainer_train", size, task, settings), goal)
        if task == "cola" and size == "MiniLM":
            compiled = Side("harness, compiled", "train", size, task, {"compile": True})
            yield Comparison("training", compiled, Side(BEST, "trainer_train", size, task, TRAINERS[BEST]), 1.9)
            yield Comparison("training", compiled, Side(COMPILED, "trainer_train", size, task, TRAINERS[COMPILED]), 1.2)
    for task in ("cola", "sst2"):
        best = Side(BEST, "trainer_evaluate", "MiniLM", task, TRAINERS[BEST])
        yield Comparison("evaluation", Side("harness", "evaluate", "MiniLM", task), best, 2)
    for task in ("cola", "sst2"):
        best = Side("Seq2SeqTrainer at its best", "trainer_generate", "t5-small", task, TRAINERS[BEST])
        yield Comparison("evaluation", Side("harness", "evaluate", "t5-small", task), best, 4)
    for task, goal in (("cola", 2.5), ("rte", 1.5)):
        yield Comparison(
            "EncT5 against T5, batch of 32",
            Side("EncT5", "batches", "EncT5 of t5-small", task),
            Side("T5, harness", "batches", "t5-small", task),
            goal,
        )
    yield Comparison(
        "EncT5 against T5, batch of 1",
        Side("EncT5", "single", "EncT5 of t5-small", "cola"),
        Side("T5, harness", "single", "t5-small", "cola"),
        5,
    )
    yield Comparison(
        "EncT5 against T5, batch of 1",
        Side("EncT5", "single", "EncT5 of t5-small", "cola"),
        Side("T5, generate", "single_generate", "t5-small", "cola"),
    )
    yield Comparison(
        "EncT5 against T5, training",
        Side("EncT5", "train", "EncT5 of t5-small", "cola", {"compile": False}),
        Side("T5, harness", "train", "t5-small", "cola", {"compile": False}),
        1.4,
    )


def comparisons_with_the_original() -> Iterator[Comparison]:
    """EncT5 as the harness has it, against the original implementation as its README uses it."""
    for ours, theirs, goal in (("train", "train", 6), ("evaluate", "predict", 9)):
        yield Comparison(
            "EncT5 against the original",
            Side("harness", ours, "EncT5 of t5-small", "sst2", {"compile": False}),
            Side(f"the original, {theirs}", "original", "EncT5 of t5-small", "sst2", {"action": theirs}),
            goal,
        )


def compare(comparison: Comparison, sources: Sources, rounds: int) -> dict[str, Any]:
    """A row of the table."""
    with process(comparison.ours, sources) as ours, process(comparison.theirs, sources) as theirs:
        turns = [(ours(), theirs()) for _ in range(rounds)]
    return result(comparison, turns)


def result(comparison: Comparison, turns: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Median and range of the ratios, and the median rates."""
    ratios = [a / b for a, b in turns]
    return {
        **asdict(comparison),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "rates": [statistics.median(side) for side in zip(*turns, strict=True)],
    }


# The whole way, and the share of the machine


def whole_way(options: argparse.Namespace, rounds: int) -> dict[str, Any]:
    """From process start to table: one command for three small tasks, against a script for each."""
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            started = time.perf_counter()
            file = Path(folder) / f"benchmarks{turn}.yaml"
            model = {"architecture": "bert", "config": SIZES["MiniLM"][1], "tokenizer": options.bert_tokenizer}
            recipe = {"max_steps": 60, "max_length": MAX_LENGTH, "learning_rate": 2e-5, "eval_every": 60}
            entry = {"tasks": list(SMALL_TASKS), "models": "minilm", "data": options.data, "recipe": recipe}
            file.write_text(yaml.safe_dump({"models": {"minilm": model}, "benchmarks": {"b": entry}}))
            command = [sys.executable, "-m", "harness", "run", str(file), "--results", f"{folder}/{turn}"]
            subprocess.run(command, check=True, capture_output=True)
            ours = time.perf_counter() - started
            started = time.perf_counter()
            for task in SMALL_TASKS:
                command = [sys.executable, __file__, *sys.argv[1:], "--trainer-script", task]
                subprocess.run(command, check=True, capture_output=True)
            turns.append((1 / ours, 1 / (time.perf_counter() - started)))
    tasks = ", ".join(SMALL_TASKS)
    ours, theirs = (
        Side(label, "", "MiniLM", tasks) for label in ("harness run", "three Trainer scripts at their best")
    )
    return result(Comparison("process start to table", ours, theirs), turns)


def trainer_script(task: str, sources: Sources) -> None:
    """What a user's script does: fine-tune on one task by the Trainer at its best, and print the score."""
    side = Side("", "", "MiniLM", task, {**TRAINERS[BEST], "steps": 60})
    trainer, _ = trainer_of(side, sources, "train")
    architecture, _ = pair(side, sources)
    trainer.train()
    validation = harness.load_examples(task, sources.data, "validation")
    predictions = trainer.predict(dataset(architecture.features(validation, training=False))).predictions.argmax(-1)
    print(task, np.mean(predictions == [example["label"] for example in validation]))


def share_of_the_machine(sources: Sources) -> dict[str, float]:
    """Training bert-base on texts of 128 tokens, as a share of the machine's rate of matrix products."""
    side = Side("harness", "train", "bert-base", "cola", {"compile": False})
    architecture, recipe = pair(side, sources)
    words = np.random.default_rng(0).integers(1000, 6000, (20 * BATCH, MAX_LENGTH))
    features = pack([[{"input_ids": row.tolist(), "token_type_ids": [0] * len(row), "labels": [1.0]}] for row in words])
    training = Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))
    config: Any = training.module.config
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    attention = 2 * config.hidden_size * MAX_LENGTH
    operations = 6 * config.num_hidden_layers * (layer + attention) * BATCH * MAX_LENGTH
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    a, b = torch.randn(4096, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    shares, rates, peaks = [], [], []
    training.update()
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(10):
            a @ b
        peak = 10 * 2 * 4096 * 2048 * 2048 / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(3):
            training.update()
        rate = 3 * operations / (time.perf_counter() - started)
        shares.append(rate / peak)
        rates.append(rate)
        peaks.append(peak)
    return {
        "share": statistics.median(shares),
        "rate": statistics.median(rates),
        "machine": statistics.median(peaks),
    }


def t5_that_answers(task: str, sources: Sources, folder: Path) -> str:
    """A T5 with random weights, trained until it writes answers, as a fine-tuned one does; its folder."""
    side = Side("", "", "t5-small", task)
    architecture, recipe = pair(side, sources)
    recipe = recipe.model_copy(update={"learning_rate": 1e-3, "max_steps": 60})
    features = architecture.features(harness.load_examples(task, sources.data, "train")[:5000], training=True)
    transformers.set_seed(1)
    training = Training(architecture, architecture.build(), features, recipe, 1, Accelerator(cpu=True))
    while training.step < training.steps:
        training.update()
    training.module.save_pretrained(folder)  # type: ignore[operator]
    architecture.tokenizer.save_pretrained(folder)
    return str(folder)


# The table


def table(rows: Sequence[Mapping[str, Any]], share: Mapping[str, float] | None) -> str:
    """The results in markdown."""
    lines = [
        [
            row["group"],
            row["ours"]["size"],
            row["ours"]["task"],
            f"{row['ours']['label']} / {row['theirs']['label']}",
            f"{row['ratio']:.2f}",
            f"{row['least']:.2f}-{row['most']:.2f}",
            f"{row['goal']:g}" if row["goal"] else "",
            " / ".join(f"{rate:.3g}" for rate in row["rates"]),
        ]
        for row in rows
    ]
    heads = ["", "model", "texts of", "sides", "ratio", "range", "goal", "examples/s"]
    text = tabulate(lines, heads, "github", disable_numparse=True)
    if share:
        text += (
            f"\n\nTraining bert-base on texts of 128 tokens reaches {100 * share['share']:.0f} % of the machine's rate "
            f"of matrix products ({share['rate'] / 1e9:.0f} of {share['machine'] / 1e9:.0f} GFLOP/s)."
        )
    return f"{text}\n\n{machine()}\n"


def machine() -> str:
    """What it was measured on."""
    found = provenance(torch.device("cpu"), 1)
    return (
        f"{found['processor'] or platform.processor()}, {found['cores']} cores, {found['threads']} threads; "
        f"torch {found['torch']}, transformers {found['transformers']}."
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", required=True, help="the folder of the official GLUE files, or hub")
    parser.add_argument("--bert-tokenizer", required=True, help="a folder")
    parser.add_argument("--t5-tokenizer", required=True, help="a folder")
    parser.add_argument(
        "--original", nargs=2, metavar=("FOLDER", "PYTHON"), help="the original EncT5's package, and what can run it"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="comparisons whose group or labels hold this text")
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides take turns (5)")
    parser.add_argument("--output", type=Path, default=Path("speed"), help="a folder for the results (speed)")
    parser.add_argument("--trainer-script", metavar="TASK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("data", "bert_tokenizer", "t5_tokenizer"):
        if Path(getattr(options, name)).is_dir():
            setattr(options, name, str(Path(getattr(options, name)).resolve()))
    return options


def main() -> None:
    """Measure, and write and print the table after each comparison."""
    options = arguments()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as folder:
        sources = Sources(
            options.data,
            options.bert_tokenizer,
            options.t5_tokenizer,
            original=options.original and tuple(options.original),
        )
        if options.trainer_script:
            trainer_script(options.trainer_script, sources)
            return
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        found = [*comparisons(), *(comparisons_with_the_original() if options.original else [])]
        wanted = [c for c in found if options.only in f"{c.group}: {c.ours.size} {c.ours.task} {c.theirs.label}"]
        tasks = {c.ours.task for c in wanted if "t5-small" in (c.ours.size, c.theirs.size) and c.group != "training"}
        checkpoints = {task: t5_that_answers(task, sources, Path(folder) / task) for task in sorted(tasks)}
        sources = replace(sources, checkpoints=checkpoints)
        rows: list[dict[str, Any]] = []
        share = None
        for comparison in wanted:
            rows.append(compare(comparison, sources, options.rounds))
            write(rows, share, options.output)
        if options.only in "process start to table":
            rows.append(whole_way(options, min(3, options.rounds)))
        if options.only in "share of the machine":
            share = share_of_the_machine(sources)
        write(rows, share, options.output)


def write(rows: list[dict[str, Any]], share: Mapping[str, float] | None, output: Path) -> None:
    """Write and print what is known so far."""
    output.mkdir(parents=True, exist_ok=True)
    text = table(rows, share)
    (output / "speed.md").write_text(text, encoding="utf-8")
    (output / "speed.json").write_text(json.dumps({"rows": rows, "share": share}, indent=2) + "\n", encoding="utf-8")
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
