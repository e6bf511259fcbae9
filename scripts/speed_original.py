"""The original EncT5 as a side of `speed`: run by the Python of an environment of its own.

It needs what the original's requirements.txt names (transformers 4.37.1). For every line that it reads, it trains a
few steps, or predicts, and prints the examples per second.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

BATCH, TEXTS, STEPS = 32, 256, 10


def sentences(folder: Path, split: str) -> list[dict[str, str]]:
    """SST-2."""
    with open(folder / "SST-2" / f"{split}.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


class Clock(transformers.TrainerCallback):
    """The time from the first step's beginning to the last one's end."""

    started: float | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = self.started or time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.perf_counter()


def train(model: Any, tokenizer: Any, folder: Path, precision: str) -> float:
    """As the original's README trains: the Trainer's defaults, padded to the longest of each batch."""
    rows = sentences(folder, "train")[: 2 * BATCH * STEPS]
    data = [
        {**tokenizer(row["sentence"], truncation=True, max_length=128), "labels": int(row["label"])} for row in rows
    ]
    clock = Clock()
    arguments = transformers.TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=precision == "bf16",
        use_cpu=True,
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    transformers.Trainer(model, arguments, collator, data, callbacks=[clock]).train()
    assert clock.started is not None
    return BATCH * STEPS / (clock.ended - clock.started)


@torch.no_grad()
def predict(model: Any, tokenizer: Any, folder: Path, precision: str) -> float:
    """As the original's README predicts: batch by batch in the order of the file, tokenised on the way, in fp32."""
    texts = [row["sentence"] for row in sentences(folder, "dev")[:TEXTS]]
    model.eval()
    started = time.perf_counter()
    for i in range(0, TEXTS, BATCH):
        batch = tokenizer(texts[i : i + BATCH], return_tensors="pt", truncation=True, max_length=128, padding=True)
        model(batch["input_ids"], attention_mask=batch["attention_mask"])
    return TEXTS / (time.perf_counter() - started)


@torch.no_grad()
def predict_prepared(model: Any, tokenizer: Any, folder: Path, precision: str) -> float:
    """All that the harness has, too: the whole split, tokenised beforehand, sorted by length, in its precision."""
    texts = [row["sentence"] for row in sentences(folder, "dev")]
    ids = sorted(tokenizer(texts, truncation=True, max_length=128)["input_ids"], key=len, reverse=True)
    model.eval()
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
        for i in range(0, len(ids), BATCH):
            batch = tokenizer.pad({"input_ids": ids[i : i + BATCH]}, return_tensors="pt")
            model(batch["input_ids"], attention_mask=batch["attention_mask"])
    return len(ids) / (time.perf_counter() - started)


ACTIONS = {"train": train, "predict": predict, "predict-prepared": predict_prepared}


def main() -> None:
    """Answer every line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source", help="the folder with the original's enct5 package")
    parser.add_argument("action", choices=tuple(ACTIONS))
    parser.add_argument("data", type=Path, help="the folder of the official GLUE files")
    parser.add_argument("vocabulary", help="T5's spiece.model")
    parser.add_argument("precision", choices=("fp32", "bf16"))
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.path.insert(0, options.source)
    from enct5.configuration_enct5 import EncT5Config
    from enct5.modeling_enct5 import EncT5ForSequenceClassification

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.T5Tokenizer(options.vocabulary, legacy=True)
    size = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "num_decoder_layers": 1}
    task = {"num_labels": 2, "problem_type": "single_label_classification", "decoder_vocab_size": 1}
    model = EncT5ForSequenceClassification(EncT5Config(vocab_size=len(tokenizer), pad_token_id=0, **size, **task))
    action = ACTIONS[options.action]
    action(model, tokenizer, options.data, options.precision)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(f"rate {action(model, tokenizer, options.data, options.precision)}", flush=True)


if __name__ == "__main__":
    main()
