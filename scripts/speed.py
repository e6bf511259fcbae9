"""How fast the harness is beside the usual ways, on this machine: a table of ratios, and shares of its limits.

    python scripts/speed.py --data GLUE_FOLDER --bert-tokenizer FOLDER --t5-tokenizer FOLDER --output speed

Models have random weights at their real sizes, texts are those of the real tasks. Each side of a comparison lives in a
process of its own, set up and warmed up before anything is measured; then the sides take turns, one at a time. A ratio
is the harness's examples per second over the other side's in the same turn; the table gives the median and the range.
All sides have the same threads, and the precision that the harness resolves for this machine, unless a row says so.
Other programs on the machine change rates, but hardly ratios: run it on an idle machine all the same.
"""

from __future__ import annotations

import argparse
import json
import os
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
from speed_limit import Share, against_the_limit, as_json, limit_table
from speed_models import BATCH, MAX_LENGTH, SIZES, Setting, start
from speed_sides import (
    BEST,
    COMPILED,
    COMPILED_RANDOM,
    DYNAMIC,
    EVALUATION_BATCH,
    PADDED,
    RANDOM,
    TRAINERS,
    Side,
    Sources,
    dataset,
    make_trainer,
    process,
    side_pair,
)
from tabulate import tabulate

import harness
from harness.training.device import provenance
from harness.training.evaluation import CPU_TOKENS

SMALL_TASKS = ("mrpc", "rte", "wnli")
LIMIT_SIZES = {
    "cpu": ("MiniLM", "BERT-base", "T5-small", "EncT5-small"),
    "cuda": ("BERT-base", "T5-base", "EncT5-base"),
}
"""The models that are compared to the limits of a device."""
LIMIT_TURNS, LIMIT_SECONDS = 9, 1.0


@dataclass(frozen=True)
class Comparison:
    """Two sides; ``differs`` says what the two do not do alike, besides how they are made."""

    group: str
    ours: Side
    theirs: Side
    differs: str = ""


def comparisons() -> Iterator[Comparison]:
    """All of them, in the order of the table."""
    usual = {PADDED: "precision, padding", DYNAMIC: "precision", RANDOM: "", BEST: "order"}
    for size, task, labels in (
        ("MiniLM", "cola", usual),
        ("MiniLM", "rte", usual),
        ("BERT-base", "cola", (RANDOM, BEST)),
    ):
        ours = Side("harness", "train", size, task)
        for label in labels:
            theirs = Side(label, "trainer_train", size, task, TRAINERS[label])
            yield Comparison("training", ours, theirs, usual[label])
    ours = Side("harness, compiled", "train", "MiniLM", "cola", {"compile": True})
    for label, differs in ((BEST, "compilation, order"), (COMPILED, "order"), (COMPILED_RANDOM, "")):
        yield Comparison("training", ours, Side(label, "trainer_train", "MiniLM", "cola", TRAINERS[label]), differs)
    for task in ("cola", "sst2"):
        best = Side(BEST, "trainer_evaluate", "MiniLM", task, TRAINERS[BEST])
        yield Comparison("evaluation", Side("harness", "evaluate", "MiniLM", task), best, "batches")
    for task in ("cola", "sst2"):
        best = Side("Seq2SeqTrainer at its best", "trainer_generate", "T5-small", task, TRAINERS[BEST])
        yield Comparison("evaluation", Side("harness", "evaluate", "T5-small", task), best, "batches, decoding")
    yield from comparisons_of_models()


def comparisons_of_models() -> Iterator[Comparison]:
    """EncT5 and T5, both in the harness: what a head costs, and what an answer."""
    for task in ("cola", "rte"):
        ours, theirs = (Side(size[:-6], "batches", size, task) for size in ("EncT5-small", "T5-small"))
        yield Comparison("EncT5 and T5, batches of 32", ours, theirs, "model")
    ours = Side("EncT5", "single", "EncT5-small", "cola")
    for label, action, differs in (("T5", "single", "model"), ("T5 by generate", "single_generate", "model, decoding")):
        yield Comparison("EncT5 and T5, single texts", ours, Side(label, action, "T5-small", "cola"), differs)
    ours, theirs = (Side(size[:-6], "train", size, "cola") for size in ("EncT5-small", "T5-small"))
    yield Comparison("EncT5 and T5, training", ours, theirs, "model")


def comparisons_with_the_original() -> Iterator[Comparison]:
    """EncT5 as the harness has it, against the original implementation: as its README uses it, and on equal terms."""
    for ours, theirs, own, differs in (
        ("train", "train", {"precision": "fp32"}, "precision, order"),
        ("evaluate", "predict", {"precision": "fp32"}, "precision, order, tokenisation included"),
        ("evaluate", "predict-prepared", {}, "batches"),
    ):
        yield Comparison(
            "EncT5 and the original",
            Side("harness", ours, "EncT5-small", "sst2"),
            Side(f"the original, {theirs}", "original", "EncT5-small", "sst2", {"action": theirs, **own}),
            differs,
        )


def compare(comparison: Comparison, sources: Sources, rounds: int) -> dict[str, Any]:
    """A row of the table."""
    with process(comparison.ours, sources) as ours, process(comparison.theirs, sources) as theirs:
        turns = [(ours(), theirs()) for _ in range(rounds)]
    precisions = [side_pair(side, sources)[1].precision for side in (comparison.ours, comparison.theirs)]
    return result(comparison, turns, precisions)


def result(comparison: Comparison, turns: Sequence[tuple[float, float]], precisions: Sequence[str]) -> dict[str, Any]:
    """Median and range of the ratios, and the median rates."""
    ratios = [a / b for a, b in turns]
    return {
        **asdict(comparison),
        "precisions": list(precisions),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "rates": [statistics.median(side) for side in zip(*turns, strict=True)],
    }


# The whole way


def whole_way(sources: Sources, rounds: int) -> dict[str, Any]:
    """From process start to table: one command for three small tasks, against a script for each."""
    setting, turns = sources.setting, []
    side = Side("", "", "MiniLM", SMALL_TASKS[0])
    precision = side_pair(side, sources)[1].precision
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            started = time.perf_counter()
            file = Path(folder) / f"benchmarks{turn}.yaml"
            model = {"architecture": "bert", "config": SIZES["MiniLM"][1], "tokenizer": setting.bert_tokenizer}
            recipe = {"max_steps": 60, "max_length": MAX_LENGTH, "learning_rate": 2e-5, "eval_every": 60}
            recipe["precision"] = setting.precision
            entry = {"tasks": list(SMALL_TASKS), "models": "minilm", "data": sources.data, "recipe": recipe}
            file.write_text(yaml.safe_dump({"models": {"minilm": model}, "benchmarks": {"b": entry}}))
            command = [sys.executable, "-m", "harness", "run", str(file), "--results", f"{folder}/{turn}"]
            subprocess.run(command, check=True, capture_output=True)
            ours = time.perf_counter() - started
            started = time.perf_counter()
            for task in SMALL_TASKS:
                command = [sys.executable, __file__, *sys.argv[1:], "--trainer-script", task]
                subprocess.run(command, check=True, capture_output=True)
            turns.append((1 / ours, 1 / (time.perf_counter() - started)))
    labels = ("harness run", "three Trainer scripts at their best")
    sides = (replace(side, label=label, task=", ".join(SMALL_TASKS)) for label in labels)
    return result(Comparison("process start to table", *sides, "batches"), turns, [precision] * 2)


def trainer_script(task: str, sources: Sources) -> None:
    """What a user's script does: fine-tune on one task by the Trainer at its best, and print the score."""
    architecture, recipe = side_pair(Side("", "", "MiniLM", task), sources)
    train = architecture.features(harness.load_examples(task, sources.data, "train"), training=True)
    settings = {**TRAINERS[BEST], "steps": 60}
    trainer = make_trainer(architecture, recipe, dataset(train), settings, sources.setting.device)
    trainer.train()
    validation = harness.load_examples(task, sources.data, "validation")
    predictions = trainer.predict(dataset(architecture.features(validation, training=False))).predictions.argmax(-1)
    print(task, np.mean(predictions == [example["label"] for example in validation]))


def t5_that_answers(task: str, sources: Sources, folder: Path) -> str:
    """A T5 with random weights, trained until it writes answers, as a fine-tuned one does; its folder."""
    architecture, recipe = side_pair(Side("", "", "T5-small", task), sources)
    recipe = recipe.model_copy(update={"learning_rate": 1e-3, "max_steps": 60})
    features = architecture.features(harness.load_examples(task, sources.data, "train")[:5000], training=True)
    training = start(architecture, recipe, features, sources.setting.device)
    while training.step < training.steps:
        training.update()
    training.module.save_pretrained(folder)  # type: ignore[operator]
    architecture.tokenizer.save_pretrained(folder)
    return str(folder)


# The tables


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ratios in markdown."""
    lines = [
        [
            row["group"],
            row["ours"]["size"],
            row["ours"]["task"],
            f"{row['ours']['label']} / {row['theirs']['label']}",
            " / ".join(dict.fromkeys(row["precisions"])),
            row["differs"] or "nothing",
            f"{row['ratio']:.2f}",
            f"{row['least']:.2f}-{row['most']:.2f}",
            " / ".join(f"{rate:.3g}" for rate in row["rates"]),
        ]
        for row in rows
    ]
    heads = ["", "model", "texts of", "sides", "precision", "not alike", "ratio", "range", "examples/s"]
    return tabulate(lines, heads, "github", disable_numparse=True)


def heading(setting: Setting, threads: int) -> str:
    """The machine, and what all rows have in common."""
    machine = provenance(torch.device(setting.device), 1)
    name = machine["device"] if setting.device == "cuda" else machine["processor"]
    tokens = f"at most {CPU_TOKENS} tokens" if setting.device == "cpu" else "as many tokens as half a micro-batch"
    return (
        f"**{name}, {machine['cores']} cores, {threads} threads; torch {machine['torch']}, "
        f"transformers {machine['transformers']}; precision: {setting.precision}.** Training is in batches of {BATCH} "
        f"texts. In evaluation the harness cuts batches by tokens ({tokens}), and the Trainer has "
        f"{EVALUATION_BATCH} texts in a batch."
    )


def write(rows: list[dict[str, Any]], shares: Sequence[Share], setting: Setting, threads: int, output: Path) -> None:
    """Write and print what is measured so far."""
    output.mkdir(parents=True, exist_ok=True)
    parts = [heading(setting, threads), table(rows) if rows else "", limit_table(shares) if shares else ""]
    text = "\n\n".join(part for part in parts if part) + "\n"
    machine = provenance(torch.device(setting.device), 1)
    content = {"machine": machine, "setting": asdict(setting), "rows": rows, "shares": as_json(shares)}
    (output / "speed.md").write_text(text, encoding="utf-8")
    (output / "speed.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"\n{text}", flush=True)


# The command


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", required=True, help="the folder of the official GLUE files, or hub")
    parser.add_argument("--bert-tokenizer", required=True, help="a folder")
    parser.add_argument("--t5-tokenizer", required=True, help="a folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "tf32", "bf16", "fp16"), default="auto", help="of all sides (auto)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of all sides")
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


def sources_of(options: argparse.Namespace) -> Sources:
    """Where and how the sides compute, and from what."""
    setting = Setting(options.device, options.precision, options.bert_tokenizer, options.t5_tokenizer)
    original = options.original and tuple(options.original)
    return Sources(setting, options.data, options.threads, original=original)


def main() -> None:
    """Measure, and write and print the tables after each comparison."""
    options = arguments()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    sources = sources_of(options)
    if options.trainer_script:
        trainer_script(options.trainer_script, sources)
        return
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    choices = [*comparisons(), *(comparisons_with_the_original() if options.original else [])]
    wanted = [c for c in choices if options.only in f"{c.group}: {c.ours.size} {c.ours.task} {c.theirs.label}"]
    rows: list[dict[str, Any]] = []
    shares: list[Share] = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = {c.ours.task for c in wanted if "T5-small" in (c.ours.size, c.theirs.size) and c.ours.action != "train"}
        checkpoints = {task: t5_that_answers(task, sources, Path(folder) / task) for task in sorted(tasks)}
        for comparison in wanted:
            rows.append(compare(comparison, replace(sources, checkpoints=checkpoints), options.rounds))
            write(rows, shares, sources.setting, options.threads, options.output)
    if options.only in "process start to table":
        rows.append(whole_way(sources, min(3, options.rounds)))
    if options.only in "against the limit":
        shares += against_the_limit(LIMIT_SIZES[options.device], sources.setting, LIMIT_TURNS, LIMIT_SECONDS)
    write(rows, shares, sources.setting, options.threads, options.output)


if __name__ == "__main__":
    main()
