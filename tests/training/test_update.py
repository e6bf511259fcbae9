"""Given the same batches, the training loop takes the steps of `transformers.Trainer`."""

import pytest
import torch
import transformers
from test_loop import make
from torch.utils.data import DataLoader

from harness.config.schema import Recipe


class GivenBatches(transformers.Trainer):
    """A Trainer that reads the batches it is given."""

    def __init__(self, batches, **options):
        super().__init__(**options)
        self.batches = batches

    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)


class Losses(transformers.TrainerCallback):
    """What the Trainer logs, unrounded."""

    def __init__(self):
        self.losses = []

    def on_log(self, args, state, control, logs=None, **_):
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


@pytest.mark.parametrize(
    ("task", "changes"),
    [("cola", {}), ("stsb", {}), ("mnli", {"weight_decay": 0.1}), ("mrpc", {"schedule": "constant"}),
     ("sst2", {"label_smoothing": 0.1, "max_grad_norm": 0.01})],
)  # fmt: skip
def test_the_same_steps_as_the_trainer(task, changes, sample_cache, tmp_path):
    recipe = Recipe(
        **{"learning_rate": 2e-3, "batch_size": 16, "epochs": 1.0, "max_length": 64, "warmup_ratio": 0.2} | changes,
        precision="fp32",
    )
    training = make("bert", task, sample_cache, recipe, dropout=0)
    expected = make("bert", task, sample_cache, recipe, dropout=0).architecture.build()
    expected.load_state_dict(training.weights())
    before = training.weights()
    features = training.features
    kind = float if task == "stsb" else int
    rows = [
        {name: features.columns[name][row].tolist() for name in ("input_ids", "token_type_ids")}
        | {"labels": kind(features.columns["labels"][row][0])}
        for row in range(len(features))
    ]
    batches = [batch.tolist() for batch in training.plan.epoch(0)]
    found = []
    while training.step < training.steps:
        training.update()
        found.append(training.mean_loss())

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, learning_rate=2e-3, warmup_steps=0.2,
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else "linear",
        weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm,
        label_smoothing_factor=recipe.label_smoothing, logging_steps=1, save_strategy="no", report_to="none",
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    losses = Losses()
    trainer = GivenBatches(
        batches, model=expected, args=arguments, train_dataset=rows, callbacks=[losses],
        data_collator=transformers.DataCollatorWithPadding(training.architecture.tokenizer),
    )  # fmt: skip
    trainer.train()
    assert len(found) == len(losses.losses) == training.steps > 5
    assert found == pytest.approx(losses.losses, abs=2e-5)
    after, trainers = training.weights(), trainer.model.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in after)
    apart = max(float((after[name] - trainers[name]).abs().max()) for name in after)
    assert moved > 1e-3 and apart < 1e-3 * moved
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
