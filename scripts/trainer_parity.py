"""Fine-tunes an encoder on GLUE tasks twice, by the harness and by `transformers.Trainer`, and compares the scores.

    python scripts/trainer_parity.py --checkpoint google-bert/bert-base-uncased --data hub --output parity

Both have the same recipe and the same rule for the best checkpoint: the best validation score of step 0 and of every
end of an epoch, the mean where a task has two metrics. Each has its own tokenisation, batches (the Trainer's are
random, the harness's are of similar length), loop and seeds of dropout, so single runs differ and means must agree.
Finished runs are kept in the output folder: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tabulate import tabulate
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import harness
from harness.metrics import compute, task_score

MODEL = "encoder"
TASKS = ("mrpc", "stsb", "cola", "rte")
RECIPE = {"batch_size": 32, "warmup_ratio": 0.06, "weight_decay": 0.01, "max_length": 128, "max_grad_norm": 1.0}


@dataclass(frozen=True)
class Side:
    """What one of the two reached on a task: by metric, the score of each seed; and its speed in training."""

    scores: Mapping[str, Mapping[int, float]]
    examples_per_second: float


def main() -> None:
    """Do the runs that are not done, and print the tables after each pair of runs."""
    options = arguments()
    recipe = {**RECIPE, **{name: getattr(options, name) for name in ("learning_rate", "epochs", "precision")}}
    file = write_benchmarks(options, recipe)
    sides: dict[str, tuple[Side, Side]] = {}
    for task in options.tasks:
        for done, seed in enumerate(options.seeds, start=1):
            by_harness = run_harness(file, task, seed, options)
            by_trainer = [run_trainer(task, one, recipe, options) for one in options.seeds[:done]]
            sides[task] = by_harness, together(by_trainer, options.seeds)
            text = tables(sides)
            (options.output / "parity.md").write_text(text, encoding="utf-8")
            content = {"checkpoint": options.checkpoint, "recipe": recipe, "rows": rows(sides)}
            (options.output / "parity.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            print(f"\n{task}, seed {seed} done\n\n{text}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="a folder or a Hub id")
    parser.add_argument("--data", required=True, help="the folder of the official GLUE files, or hub")
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path, default=Path("parity"), help="a folder for the results (parity)")
    options = parser.parse_args()
    for name in ("checkpoint", "data"):
        if Path(getattr(options, name)).is_dir():
            setattr(options, name, str(Path(getattr(options, name)).resolve()))
    return options


# The harness -----------------------------------------------------------------------------------------------------


def write_benchmarks(options: argparse.Namespace, recipe: Mapping[str, Any]) -> Path:
    """A benchmark for each task, so that each has a speed of its own."""
    common = {"models": [MODEL], "data": options.data, "seeds": options.seeds, "recipe": dict(recipe)}
    content = {
        "models": {MODEL: {"architecture": "bert", "checkpoint": options.checkpoint}},
        "benchmarks": {task: {"tasks": [task], **common} for task in options.tasks},
    }
    file = options.output / "benchmarks.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def run_harness(file: Path, task: str, seed: int, options: argparse.Namespace) -> Side:
    """Run one seed; the scores of all seeds so far."""
    results = options.output / "harness"
    board = harness.run(file, [task], seeds=[seed], results=results, progress=True)[task]
    cell, cost = board.rows[0].cells[task], board.rows[0].cost
    if cell.failed or cost is None:
        raise SystemExit(f"the harness failed on {task} with seed {seed}: see {results / task / 'leaderboard.md'}")
    names = [metric for _, metric in board.sections[0].columns[0].parts]
    values = [value.seeds if value else {} for value in cell.parts]
    asked = [{seed: value[seed] for seed in options.seeds if seed in value} for value in values]
    return Side(dict(zip(names, asked, strict=True)), cost.train_rate or math.nan)


# The Trainer -----------------------------------------------------------------------------------------------------


class Stopwatch(TrainerCallback):
    """The seconds spent in epochs, which is all of the training without the evaluations."""

    seconds = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter() - self.started


def run_trainer(task: str, seed: int, recipe: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """``{"seed", "scores", "examples_per_second", "history"}`` of one run, from its file when it is done."""
    setting = json.dumps([options.checkpoint, options.data, recipe], sort_keys=True)
    name = f"{task}-seed{seed}-{hashlib.sha256(setting.encode()).hexdigest()[:12]}.json"
    file = options.output / "trainer" / name
    if not file.exists():
        result = {"seed": seed, **train(task, seed, recipe, options), "recipe": recipe}
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draft.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))


def train(task: str, seed: int, recipe: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune with the Trainer."""
    definition = harness.load_tasks()[task]
    tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)
    train_set, validation_set = (
        tokenise(tokenizer, definition, harness.load_examples(task, options.data, split), recipe["max_length"])
        for split in ("train", "validation")
    )

    def metrics(answers: Any) -> dict[str, float]:
        logits = answers.predictions
        predictions = logits[:, 0] if definition.num_labels == 1 else np.argmax(logits, axis=1)
        scores = compute(task, predictions.tolist(), answers.label_ids.tolist())
        return {"score": task_score(scores, definition.metrics), **scores}

    watch = Stopwatch()
    trainer = Trainer(
        model_init=lambda: AutoModelForSequenceClassification.from_pretrained(
            options.checkpoint, num_labels=definition.num_labels, dtype=torch.float32
        ),
        args=training_arguments(seed, recipe, options.output / "trainer" / "scratch"),
        train_dataset=train_set,
        eval_dataset=validation_set,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=metrics,
        callbacks=[watch],
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "eval_score" in entry]
    best = max(history, key=lambda entry: entry["eval_score"])  # the first of equals
    examples = min(recipe["batch_size"] * trainer.state.global_step, recipe["epochs"] * len(train_set))
    return {
        "scores": {name: best[f"eval_{name}"] for name in definition.metrics},
        "examples_per_second": examples / watch.seconds,
        "history": trainer.state.log_history,
    }


def tokenise(tokenizer: Any, task: harness.Task, examples: Sequence[Any], max_length: int) -> list[dict[str, Any]]:
    """What a Trainer's dataset holds."""
    texts = [[example[name] for example in examples] for name in task.text_fields]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    labels = [example[task.label_field] for example in examples]
    return [
        {**{name: column[i] for name, column in encoded.items()}, "label": label} for i, label in enumerate(labels)
    ]


def training_arguments(seed: int, recipe: Mapping[str, Any], folder: Path) -> TrainingArguments:
    """The recipe in the Trainer's words; AdamW and its betas are the Trainer's defaults."""
    return TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=recipe["warmup_ratio"],  # below 1 it is a share of the steps
        weight_decay=recipe["weight_decay"],
        max_grad_norm=recipe["max_grad_norm"],
        num_train_epochs=recipe["epochs"],
        per_device_train_batch_size=recipe["batch_size"],
        per_device_eval_batch_size=64,
        bf16=recipe["precision"] == "bf16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        eval_on_start=True,
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        disable_tqdm=True,
    )


def together(runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Side:
    """The Trainer's runs of a task."""
    scores = {name: {run["seed"]: run["scores"][name] for run in runs} for name in runs[0]["scores"]}
    return Side(scores, statistics.fmean(run["examples_per_second"] for run in runs))


# The comparison --------------------------------------------------------------------------------------------------


def rows(sides: Mapping[str, tuple[Side, Side]]) -> list[dict[str, Any]]:
    """A row per task and metric. Means agree when they differ by at most two standard errors of the difference."""
    found = []
    for task, (ours, theirs) in sides.items():
        for metric in ours.scores:
            pair = [list(side.scores[metric].values()) for side in (ours, theirs)]
            means = [statistics.fmean(values) for values in pair]
            several = all(len(values) > 1 for values in pair)
            deviations = [statistics.stdev(values) for values in pair] if several else [None, None]
            error = math.sqrt(sum(statistics.variance(v) / len(v) for v in pair)) if several else None
            found.append(
                {"task": task, "metric": metric, "scores": [side.scores[metric] for side in (ours, theirs)],
                 "means": means, "deviations": deviations, "difference": means[0] - means[1],
                 "allowed": None if error is None else 2 * error,
                 "within": None if error is None else abs(means[0] - means[1]) <= 2 * error,
                 "examples_per_second": [ours.examples_per_second, theirs.examples_per_second]}
            )  # fmt: skip
    return found


def tables(sides: Mapping[str, tuple[Side, Side]]) -> str:
    """Two markdown tables: means with standard deviations over seeds (in points), and every seed."""
    summary, single = [], []
    for row in rows(sides):
        name = [row["task"], row["metric"]]
        means = [
            f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
            for mean, deviation in zip(row["means"], row["deviations"], strict=True)
        ]
        allowed = ["", ""] if row["allowed"] is None else [f"{100 * row['allowed']:.2f}", "no yes".split()[row["within"]]]
        speeds = [f"{speed:.0f}" for speed in row["examples_per_second"]]
        summary.append([*name, *means, f"{100 * row['difference']:+.2f}", *allowed, *speeds])
        ours, theirs = row["scores"]
        single += [[*name, seed, f"{100 * ours[seed]:.2f}", f"{100 * theirs[seed]:.2f}"] for seed in ours]
    heads = ["task", "metric", "harness", "Trainer", "difference", "allowed", "within", "harness ex/s", "Trainer ex/s"]
    options = {"tablefmt": "github", "disable_numparse": True}
    both = [tabulate(summary, heads, **options), tabulate(single, ["task", "metric", "seed", *heads[2:4]], **options)]
    return "\n\n".join(both) + "\n"


if __name__ == "__main__":
    try:
        main()
    except harness.HarnessError as error:
        raise SystemExit(str(error)) from None
