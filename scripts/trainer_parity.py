"""Fine-tunes an encoder on GLUE tasks twice, by the harness and by `transformers.Trainer`, and compares the scores.

    python scripts/trainer_parity.py --checkpoint google-bert/bert-base-uncased --data hub --output parity

Both have the same recipe and the same rule for the best checkpoint: the best validation score of every end of an epoch,
the mean where a task has two metrics. Each has its own tokenisation, batches (the Trainer's are random, the harness's
nearly so), loop and seeds of dropout, so single runs differ and means must agree. The two are equivalent where the 90 %
interval of their difference (Welch's t, as in two one-sided tests at 5 %) lies within a margin on either side of 0.
Finished runs are kept in the output folder: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from scipy import stats
from tabulate import tabulate

import harness
from harness.task.metrics import task_score
from harness.task.official import compute

TASKS = ("mrpc", "stsb", "cola", "rte")
RECIPE = {"batch_size": 32, "warmup_ratio": 0.06, "weight_decay": 0.01, "max_length": 128, "max_grad_norm": 1.0}
SIDES = ("harness", "Trainer")

Result = Mapping[str, Any]
"""What one run reached: ``{"scores": {metric: fraction}, "examples_per_second": of training, ...}``."""

Pairs = Mapping[str, Mapping[int, tuple[Result, Result]]]
"""By task and seed, the result of each side."""


def main() -> None:
    """Do the runs that are not done, and write and print the tables after each pair of runs."""
    options = arguments()
    recipe = {**RECIPE, **{name: getattr(options, name) for name in ("learning_rate", "epochs", "precision")}}
    file = write_benchmarks(options, recipe)
    pairs: dict[str, dict[int, tuple[Result, Result]]] = {}
    for seed, task in itertools.product(options.seeds, options.tasks):
        pair = run_harness(file, task, seed, options.output / "harness"), run_trainer(task, seed, recipe, options)
        pairs.setdefault(task, {})[seed] = pair
        results = rows(pairs, options.margin / 100)
        text = tables(results, options.margin)
        content = {"checkpoint": options.checkpoint, "recipe": recipe, "sides": SIDES, "margin": options.margin / 100}
        content["rows"] = results
        (options.output / "parity.md").write_text(text, encoding="utf-8")
        (options.output / "parity.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"\n{task}, seed {seed} done\n\n{text}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="a folder or a Hub id")
    parser.add_argument("--data", required=True, help="the folder of the official GLUE files, or hub")
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK", help="tasks with one validation split")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--limit-train", type=int, metavar="N", help="only N training examples, the same on both sides")
    parser.add_argument("--margin", type=float, default=1.0, help="points that do not matter (1.0)")
    parser.add_argument("--output", type=Path, default=Path("parity"), help="a folder for the results (parity)")
    options = parser.parse_args()
    for name in ("checkpoint", "data"):
        if Path(getattr(options, name)).is_dir():
            setattr(options, name, str(Path(getattr(options, name)).resolve()))
    return options


def write_benchmarks(options: argparse.Namespace, recipe: Mapping[str, Any]) -> Path:
    """A benchmark for each task and seed, so that each has its own leaderboard."""
    model = {"architecture": "bert", "checkpoint": options.checkpoint}
    common: dict[str, Any] = {"models": "encoder", "data": options.data, "recipe": {**recipe, "eval_every": "epoch"}}
    if options.limit_train:
        common["limit"] = {"train": options.limit_train}
    runs = itertools.product(options.tasks, options.seeds)
    benchmarks = {f"{task}-seed{seed}": {"tasks": task, "seeds": seed, **common} for task, seed in runs}
    content = {"models": {"encoder": model}, "benchmarks": benchmarks}
    file = options.output / "benchmarks.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def run_harness(file: Path, task: str, seed: int, results: Path) -> Result:
    """One run of the harness; a finished one is only read."""
    name = f"{task}-seed{seed}"
    board = harness.run(file, [name], results=results, progress=True)[name]
    cell, cost = board.rows[0].cells[task], board.rows[0].cost
    if cell.status != "done" or cost is None:
        raise SystemExit(f"the harness failed on {task} with seed {seed}: see {results / name / 'leaderboard.md'}")
    metrics = [metric for _, metric in board.sections[0].columns[0].parts]
    scores = {metric: value.seeds[seed] for metric, value in zip(metrics, cell.parts, strict=True) if value}
    return {"scores": scores, "examples_per_second": cost.train_rate}


class Stopwatch(transformers.TrainerCallback):
    """The seconds spent in epochs, which is all of the training without the evaluations."""

    seconds = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter() - self.started


def run_trainer(task: str, seed: int, recipe: Mapping[str, Any], options: argparse.Namespace) -> Result:
    """One run of the Trainer; a finished one is only read."""
    setting = json.dumps([options.checkpoint, options.data, options.limit_train, recipe], sort_keys=True)
    name = f"{task}-seed{seed}-{hashlib.sha256(setting.encode()).hexdigest()[:12]}.json"
    file = options.output / "trainer" / name
    if not file.exists():
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # Accelerate has one precision for a whole process
            result = pool.submit(train, task, seed, recipe, options).result()
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draft.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))


def train(task: str, seed: int, recipe: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune with the Trainer."""
    transformers.utils.logging.set_verbosity_error()
    definition = harness.load_tasks()[task]
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.checkpoint)
    train_set, validation_set = (
        tokenise(
            tokenizer, definition, harness.load_examples(task, options.data, split, limit=limit), recipe["max_length"]
        )
        for split, limit in (("train", options.limit_train), ("validation", None))
    )

    def metrics(answers: Any) -> dict[str, float]:
        logits = answers.predictions
        predictions = logits[:, 0] if definition.num_labels == 1 else np.argmax(logits, axis=1)
        scores = compute(task, predictions.tolist(), answers.label_ids.tolist())
        return {"score": task_score(scores, definition.selection_metrics), **scores}

    trainer = transformers.Trainer(
        model_init=lambda: transformers.AutoModelForSequenceClassification.from_pretrained(
            options.checkpoint, num_labels=definition.num_labels, dtype=torch.float32
        ),
        args=training_arguments(seed, recipe, options.output / "trainer" / "scratch"),
        train_dataset=train_set,
        eval_dataset=validation_set,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=metrics,
        callbacks=[watch := Stopwatch()],
    )
    trainer.train()
    history = trainer.state.log_history
    best = max((e for e in history if "eval_score" in e), key=lambda e: e["eval_score"])  # the first of equals
    scores = {name: best[f"eval_{name}"] for name in definition.metrics}
    examples = min(recipe["batch_size"] * trainer.state.global_step, recipe["epochs"] * len(train_set))
    return {"scores": scores, "examples_per_second": examples / watch.seconds, "history": history}


def tokenise(tokenizer: Any, task: harness.Task, examples: Sequence[Any], max_length: int) -> list[dict[str, Any]]:
    """What a Trainer's dataset holds."""
    texts = [[example[name] for example in examples] for name in task.text_fields]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    columns = {**encoded, "label": [example[task.label_field] for example in examples]}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def training_arguments(seed: int, recipe: Mapping[str, Any], folder: Path) -> transformers.TrainingArguments:
    """The recipe in the Trainer's words; AdamW with its betas and the linear schedule are the Trainer's defaults."""
    return transformers.TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        learning_rate=recipe["learning_rate"],
        warmup_steps=recipe["warmup_ratio"],  # below 1 it is a share of the steps
        weight_decay=recipe["weight_decay"],
        max_grad_norm=recipe["max_grad_norm"],
        num_train_epochs=recipe["epochs"],
        per_device_train_batch_size=recipe["batch_size"],
        per_device_eval_batch_size=64,
        bf16=recipe["precision"] == "bf16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        disable_tqdm=True,
    )


def rows(pairs: Pairs, margin: float) -> list[dict[str, Any]]:
    """A row for each task and metric; where it holds a list, the harness comes first."""
    found = []
    for task, of_seed in pairs.items():
        sides = list(zip(*of_seed.values(), strict=True))
        speeds = [statistics.fmean(result["examples_per_second"] for result in side) for side in sides]
        for metric in sides[0][0]["scores"]:
            scores = [[result["scores"][metric] for result in side] for side in sides]
            row = {"task": task, "metric": metric, "seeds": list(of_seed), "scores": scores}
            found.append({**row, **compare(*scores, margin), "examples_per_second": speeds})
    return found


def compare(ours: Sequence[float], theirs: Sequence[float], margin: float) -> dict[str, Any]:
    """Means and, with several seeds, the 90 % interval of the difference and what it says.

    ``equivalent``: all of it is within the margin. ``different``: it lies on one side of 0, and beyond the margin in
    part. ``undecided``: more seeds are needed, or longer trainings where all seeds of both have one score.
    """
    means = [statistics.fmean(ours), statistics.fmean(theirs)]
    difference = means[0] - means[1]
    deviations = [statistics.stdev(side) if len(side) > 1 else None for side in (ours, theirs)]
    found = {"means": means, "difference": difference, "deviations": deviations}
    if not any(deviations):
        return {**found, "interval": [None, None], "verdict": "undecided"}
    low, high = map(float, stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9))
    verdict = "equivalent" if -margin < low and high < margin else "different" if low > 0 or high < 0 else "undecided"
    return {**found, "interval": [low, high], "verdict": verdict}


def tables(results: Sequence[Mapping[str, Any]], margin: float) -> str:
    """Two markdown tables, in points: means with standard deviations over seeds, and every seed."""
    summary, single = [], []
    for row in results:
        name = [row["task"], row["metric"]]
        spreads = zip(map(points, row["means"]), map(points, row["deviations"]), strict=True)
        interval = " to ".join(points(end, "+") for end in row["interval"])
        speeds = [f"{speed:.0f}" for speed in row["examples_per_second"]]
        differences = [points(row["difference"], "+"), interval, row["verdict"]]
        summary.append([*name, *map(" ± ".join, spreads), *differences, *speeds])
        for seed, *scores in zip(row["seeds"], *row["scores"], strict=True):
            single.append([*name, str(seed), *map(points, scores)])
    verdict = f"within {margin:g}"
    heads = ["task", "metric", *SIDES, "difference", "90 % interval", verdict, *(f"{side} ex/s" for side in SIDES)]
    both = ((summary, heads), (single, ["task", "metric", "seed", *SIDES]))
    return "\n".join(tabulate(body, head, "github", disable_numparse=True) + "\n" for body, head in both)


def points(value: float | None, sign: str = "") -> str:
    """A fraction in points."""
    return "-" if value is None else f"{100 * value:{sign}.2f}"


if __name__ == "__main__":
    try:
        main()
    except harness.HarnessError as error:
        raise SystemExit(str(error)) from None
