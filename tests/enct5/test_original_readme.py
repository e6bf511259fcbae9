"""The code of the original implementation's README (hackyon/EncT5, "Quickstart"), on a small T5 with random weights.

Nothing is changed in `fine_tune`, `predict_test_set` and `from_source` but the import, names of `Trainer`'s arguments
that transformers has changed (`evaluation_strategy`, `tokenizer`), `output[0]` in `compute_metrics` (evaluation returns
logits alone), and where data, metric, tokenizer and T5 come from.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from datasets import load_dataset as load_csv
from enct5_cases import SIZES
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
    Trainer,
    TrainingArguments,
)

from harness.enct5 import EncT5Config, EncT5ForSequenceClassification
from harness.task.official import as_evaluate_metric

GOOD, BAD = ["good", "great", "fine"], ["bad", "awful", "poor"]
TRAIN_ROWS, VALIDATION_ROWS = 240, 60


@dataclass
class Place:
    """What stands in for the Hub: a folder with SST-2, a tokenizer and a T5 (`t5-base`), and the data's reader."""

    load_dataset: Callable[..., Dataset]
    metric: Any


def from_source() -> EncT5ForSequenceClassification:
    # Copy the base values from the original T5 config.
    t5_config = T5Config.from_pretrained("t5-base")
    config = EncT5Config.from_dict(t5_config.to_dict())

    # Configure the values specifically for EncT5. The following are the recommended config values.
    config.num_decoder_layers = 1

    config.problem_type = "single_label_classification"
    config.num_labels = 2
    config.decoder_vocab_size = 1

    # Create the model, load the weights from the original T5, and prepare it for fine-tuning.
    model = EncT5ForSequenceClassification(config)
    model.load_weights_from_pretrained_t5("t5-base")
    model.prepare_for_fine_tuning()
    return model


def fine_tune(load_dataset: Callable[..., Dataset], metric: Any) -> Trainer:
    # Load training SST2 dataset from GLUE.
    train_dataset = load_dataset("glue", "sst2", split="train")
    validation_dataset = load_dataset("glue", "sst2", split="validation")

    # Perform tokenization of the input.
    tokenizer = T5Tokenizer.from_pretrained("t5-base")

    def tokenize_function(sample):
        return tokenizer(sample["sentence"], truncation=True)

    tokenized_train_dataset = train_dataset.map(tokenize_function, batched=True)
    tokenized_validation_dataset = validation_dataset.map(tokenize_function, batched=True)
    data_collator = DataCollatorWithPadding(tokenizer=tokenizer)

    # Load the EncT5ForSequenceClassification model from HuggingFace Model Hub.
    # It is recommended that you pin the model to a certain revision. See
    # https://huggingface.co/docs/transformers/custom_models#using-a-model-with-custom-code
    model = AutoModelForSequenceClassification.from_pretrained("hackyon/enct5-base", trust_remote_code=True)

    # Define the compute metrics function for training.
    def compute_metrics(eval_preds):
        output, labels = eval_preds
        logits = output
        predictions = np.argmax(logits, axis=-1)
        return metric.compute(predictions=predictions, references=labels)

    # Fine-tune the model.
    training_args = TrainingArguments(
        "glue-sst2-trainer",
        save_strategy="steps",
        eval_strategy="steps",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
    )
    trainer = Trainer(
        model,
        training_args,
        train_dataset=tokenized_train_dataset,
        eval_dataset=tokenized_validation_dataset,
        data_collator=data_collator,
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    trainer.save_model("./enct5-glue-sst2/")
    return trainer


def predict_test_set(load_dataset: Callable[..., Dataset]) -> None:
    # Load validation SST2 dataset from GLUE
    test_dataset = load_dataset("glue", "sst2", split="test")

    num_samples = len(test_dataset["sentence"])
    batch_size = 64
    num_batches = math.ceil(num_samples / batch_size)

    # Create the tokenizer
    tokenizer = T5Tokenizer.from_pretrained("t5-base")

    # Load the fine-tuned EncT5 model.
    model = AutoModelForSequenceClassification.from_pretrained("./enct5-glue-sst2/", trust_remote_code=True)

    # Predict
    all_predictions = []
    for i in range(num_batches):
        batch_start = i * batch_size
        batch_end = min(batch_start + batch_size, num_samples)

        tokenized_test_data = tokenizer(
            test_dataset["sentence"][batch_start:batch_end], return_tensors="pt", truncation=True, padding=True
        )

        # Predict
        output = model(tokenized_test_data["input_ids"])
        logits = output[0]

        # Select the label with the largest logits value (skipping softmax).
        predictions = np.argmax(logits.detach(), axis=-1)

        all_predictions.extend(predictions.squeeze().numpy())

    df_all_predictions = pd.DataFrame({"index": range(len(all_predictions)), "prediction": all_predictions})
    df_all_predictions.to_csv("SST-2.tsv", sep="\t", index=False)


# What stands in for the Hub


def made_up(folder: Path) -> T5Tokenizer:
    """SST-2 files of a few made-up sentences, and a tokenizer that knows their words."""
    folder.mkdir()
    rows = [f"the {noun} was {word}" for noun in ("film", "plot", "cast", "end") for word in GOOD + BAD]
    labels = [int(row.split()[-1] in GOOD) for row in rows]
    lines = [f"{row}\t{label}" for row, label in zip(rows, labels, strict=True)]
    (folder / "train.tsv").write_text("\n".join(["sentence\tlabel", *lines * 10]) + "\n")
    (folder / "dev.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    tests = [f"{i}\t{row}" for i, row in enumerate(rows * 3)]
    (folder / "test.tsv").write_text("\n".join(["index\tsentence", *tests]) + "\n")
    words = sorted({word for row in rows for word in row.split()})
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0) for word in words)])


@pytest.fixture(params=["made up", "real"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The working folder has `t5-base` and `hackyon/enct5-base` in it, and is where everything is written."""
    monkeypatch.chdir(tmp_path)
    if request.param == "real":
        data: Path = request.getfixturevalue("data_folder")
        source, tokenizer = data / "GLUE/SST-2", T5Tokenizer.from_pretrained(data / "vocab/t5")
    else:
        source = tmp_path / "SST-2"
        tokenizer = made_up(source)
    tokenizer.save_pretrained("t5-base")
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained("t5-base")
    from_source().save_pretrained("hackyon/enct5-base")

    def load_dataset(name: str, config: str, split: str) -> Dataset:
        file = source / {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}[split]
        rows = {"train": f"train[:{TRAIN_ROWS}]", "validation": f"train[:{VALIDATION_ROWS}]", "test": "train"}[split]
        reading = {"sep": "\t", "quoting": 3, "split": rows, "cache_dir": str(tmp_path / "cache")}
        return load_csv("csv", data_files=str(file), **reading)

    return Place(load_dataset, as_evaluate_metric("sst2", tmp_path / "metric"))


def test_the_originals_readme(hub):
    trainer = fine_tune(hub.load_dataset, hub.metric)
    predict_test_set(hub.load_dataset)

    assert trainer.state.global_step == 3 * TRAIN_ROWS // 8
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
    assert type(trainer.model) is EncT5ForSequenceClassification

    tests = hub.load_dataset("glue", "sst2", split="test")
    written = pd.read_csv("SST-2.tsv", sep="\t")
    assert list(written) == ["index", "prediction"]
    assert written["index"].tolist() == list(range(len(tests)))
    seen = trainer.predict(tests.map(lambda row: trainer.processing_class(row["sentence"], truncation=True)))
    assert written["prediction"].tolist() == seen.predictions.argmax(-1).tolist()
    assert (Path("enct5-glue-sst2") / "modeling_enct5.py").is_file()


def test_other_weights_give_other_predictions(hub):
    """The written predictions are the model's own: they follow the head's bias."""
    for label in (0, 1):
        model = AutoModelForSequenceClassification.from_pretrained("hackyon/enct5-base")
        with torch.no_grad():
            model.classification_head.out_proj.bias[label] = 100
        shutil.rmtree("enct5-glue-sst2", ignore_errors=True)
        model.save_pretrained("enct5-glue-sst2")
        predict_test_set(hub.load_dataset)
        assert set(pd.read_csv("SST-2.tsv", sep="\t")["prediction"]) == {label}
