"""What models take: FLOPs against closed forms, times that leave out startup and compilation, memory and energy."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny import TINY, tiny_model

from harness.config.architectures import ARCHITECTURES
from harness.config.schema import Recipe
from harness.data.datasets import load_examples
from harness.models import architecture_class
from harness.models.tokenizers import sample_tokenizer
from harness.task.plugins import load_tasks
from harness.training import efficiency
from harness.training.efficiency import Inference, Usage, count_flops, matrix_rate, measured, of_all_processes, typical
from harness.training.trainer import Training, trained_parameters

TASKS = load_tasks()
CPU = torch.device("cpu")


@pytest.fixture
def start(sample_cache):
    """A training of a tiny model at step 0."""

    def make(kind: str, task: str = "cola", examples: int = 40, **recipe: Any) -> Training:
        tokenizer = sample_tokenizer("bert" if kind == "bert" else "t5", sample_cache)
        model = tiny_model(kind)
        architecture = architecture_class(model)(model, None, tokenizer, TASKS[task], 64)
        module = architecture.build()
        features = architecture.features(load_examples(task, "sample", "train")[:examples], training=True)
        settings = {"precision": "fp32", "compile": False, "batch_size": 8, **recipe}
        return Training(architecture, module, features, Recipe(**settings), 1, Accelerator(cpu=True))

    return make


def evaluated(training: Training, task: str = "cola", examples: int = 30) -> Any:
    split = TASKS[task].validation_splits[0]
    return training.architecture.features(load_examples(task, "sample", split)[:examples], training=False)


# Operations ------------------------------------------------------------------------------------------------------


def attention(queries: int, keys: int, width: int, inner: int) -> int:
    """Queries and output, keys and values, scores and what they weigh."""
    return 2 * (2 * queries * width * inner + 2 * keys * width * inner + 2 * queries * keys * inner)


def test_bert_has_the_operations_of_the_closed_form(start):
    training = start("bert")
    features = evaluated(training)
    found = Inference(training, features).flops()
    width, inner, layers = (TINY["bert"][k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))

    def forward(tokens: int) -> int:
        layer = attention(tokens, tokens, width, width) + 2 * 2 * tokens * width * inner
        return layers * layer + 2 * width * width + 2 * width * TASKS["cola"].num_labels

    lengths = features.lengths
    assert found["flops_per_example"] == forward(int(lengths[np.abs(lengths - lengths.mean()).argmin()]))
    assert found["train_flops_per_example"] == 3 * forward(int(training.features.lengths[typical(training.features)]))


def test_t5_has_the_operations_of_the_closed_form(start):
    training = start("t5")
    found = Inference(training, evaluated(training)).flops()
    own = TINY["t5"]
    width, inner, wide = own["d_model"], own["num_heads"] * own["d_kv"], own["d_ff"]
    example = typical(training.features)
    read = int(training.features.lengths[example])
    written = len(training.features.columns["labels"][example])
    encoder = attention(read, read, width, inner) + 2 * 2 * read * width * wide
    decoder = attention(written, written, width, inner) + attention(written, read, width, inner)
    decoder += 2 * 2 * written * width * wide
    words = 2 * written * width * len(training.architecture.tokenizer)
    assert found["train_flops_per_example"] == 3 * (own["num_layers"] * (encoder + decoder) + words)
    read = int(evaluated(training).lengths[typical(evaluated(training))])
    encoder = attention(read, read, width, inner) + 2 * 2 * read * width * wide
    assert found["flops_per_example"] > own["num_layers"] * encoder


@pytest.mark.parametrize("kind", list(ARCHITECTURES))
def test_fused_attention_counts_as_the_plain_one_does(start, kind):
    training = start(kind)
    features = evaluated(training)
    fused = Inference(training, features).flops()
    training.module.set_attn_implementation("eager")
    assert Inference(training, features).flops() == fused


def test_precision_does_not_change_the_count(start):
    counts = [Inference(t, evaluated(t)).flops() for t in (start("bert"), start("bert", precision="bf16"))]
    assert counts[0] == counts[1]


def test_an_example_of_several_instances_counts_them_all(start):
    training = start("enct5", "copa", 20)
    features = evaluated(training, "copa", 20)
    tokens = efficiency.tokens_per_group(features)
    assert tokens.tolist() == [
        sum(len(features.columns["input_ids"][i]) for i in features.instances([g])) for g in range(20)
    ]
    inference = Inference(training, features)
    example = typical(features)
    assert inference.flops()["flops_per_example"] == count_flops(lambda: inference.answer([example]))


def test_active_parameters_are_those_that_are_computed_with(start):
    bert, t5, enct5 = (start(kind).parameters for kind in ("bert", "t5", "enct5"))
    module = start("bert").architecture.build()
    tables = sum(p.numel() for name, p in module.named_parameters() if "_embeddings." in name)
    assert bert["active"] == bert["total"] - tables
    words = start("t5").architecture.build().get_input_embeddings().weight.numel()
    assert words < t5["active"] < t5["total"] == t5["trained"]  # its words are its output layer
    assert enct5["active"] < enct5["total"] - words + 1
    tied = torch.nn.ModuleDict({"words": torch.nn.Embedding(7, 3), "head": torch.nn.Linear(3, 7)})
    assert trained_parameters(tied) == {"total": 49, "trained": 49, "active": 28}
    tied["head"].weight = tied["words"].weight
    assert trained_parameters(tied) == {"total": 28, "trained": 28, "active": 28}


# Times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "task"), [("bert", "cola"), ("t5", "cola"), ("enct5", "copa"), ("enct5", "record")])
def test_what_is_measured_of_a_model(start, kind, task):
    training = start(kind, task, 20)
    training.update()
    weights = {name: tensor.clone() for name, tensor in training.weights().items()}
    random = torch.get_rng_state()
    found = measured(training, evaluated(training, task, 20), taken=10.0)
    assert all(value > 0 for value in found.values())
    assert found["latency_p50_seconds"] <= found["latency_p95_seconds"]
    assert 5 <= found["latency_examples"] <= 20
    assert found["inference_batch_size"] == 8
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in training.weights().items())


@pytest.mark.parametrize("examples", [1, 3, 8, 9])
def test_few_examples_are_enough(start, examples):
    training = start("bert")
    found = measured(training, evaluated(training, examples=examples), taken=0.0)
    assert found["latency_examples"] == min(5, examples) and found["batch_examples_per_second"] > 0


def test_batches_are_not_larger_than_what_fits_in_memory(start, monkeypatch):
    training = start("bert", batch_size=30)
    training.set_micro_batch_tokens(128)
    sizes = []
    collate = training.architecture.collate
    monkeypatch.setattr(
        training.architecture,
        "collate",
        lambda f, groups: sizes.append(f.lengths[groups].max() * len(groups)) or collate(f, groups),
    )
    Inference(training, evaluated(training)).throughput(30, 0.0)
    assert len(sizes) > 2 and max(sizes) <= 64


def test_the_machine_s_rate_is_measured_once():
    matrix_rate.cache_clear()
    first = matrix_rate(CPU, "fp32")
    assert first > 1e8 and matrix_rate(CPU, "fp32") == first
    matrix_rate(CPU, "tf32")
    assert matrix_rate.cache_info().currsize == 2  # the same type of numbers, another rate


def test_a_run_says_what_it_took(bench):
    bench.write(seeds=[1, 2], models=["bert", "t5"])
    bench.run()
    for model in ("bert", "t5"):
        first, second = (bench.record(model=model, seed=seed) for seed in (1, 2))
        assert first.parameters.keys() == {"total", "trained", "active"}
        assert first.efficiency.flops_per_example == second.efficiency.flops_per_example > 0
        assert first.efficiency.inference_batch_size == 8
        assert first.efficiency.latency_p50_seconds > 0 and second.efficiency.latency_p50_seconds is None
        assert 0 < second.efficiency.train_share_of_matrix_rate < 2
        assert first.efficiency.peak_process_bytes > 50e6
        assert first.efficiency.compile_seconds == 0 < first.efficiency.startup_seconds
        assert "flops_per_example" not in first.model_dump_json()
    page = (bench.results / "b" / "efficiency.md").read_text()
    assert "Measured on: " in page and "| CoLA" in page
    assert "Efficiency (details: efficiency.md)" in bench.run().text


def test_the_first_update_is_not_in_the_speed(bench, monkeypatch):
    update, calls = Training.update, []

    def slow_at_first(training: Training) -> None:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(2.0)
        update(training)

    monkeypatch.setattr(Training, "update", slow_at_first)
    bench.write()
    bench.run()
    found = bench.record().efficiency
    assert found.train_seconds > found.startup_seconds > 2.0
    examples = bench.record().steps * 8
    assert found.train_examples_per_second > examples / found.train_seconds


def test_compiling_is_warm_up(bench, monkeypatch):
    told = iter([0.0, 1.5, 1.5, 1.5, 1.5, 4.0, 4.0, 4.0])  # before and after each of four updates
    monkeypatch.setattr("harness.training.loop.compile_seconds", lambda: next(told))
    counted = []
    speed = efficiency.training_speed
    monkeypatch.setattr(
        "harness.training.efficiency.training_speed",
        lambda training, examples, *rest: counted.append(examples) or speed(training, examples, *rest),
    )
    bench.write()
    bench.run()
    assert bench.record().efficiency.compile_seconds == 4.0
    assert counted == [16]  # of 32


# Memory and energy -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can look for a peak anew")
def test_the_peak_of_memory_is_that_of_the_run():
    usage = Usage(CPU)
    before = usage.read()["peak_process_bytes"]
    large = np.ones(200 * 2**20, dtype=np.uint8)
    assert usage.read()["peak_process_bytes"] > before + 150 * 2**20
    del large
    assert Usage(CPU).read()["peak_process_bytes"] < before + 50 * 2**20


class Tracker:
    """Stands for codecarbon's."""

    def __init__(self, **options: Any):
        self.options, self.tasks = options, []

    def start_task(self) -> None:
        self.tasks.append("start")

    def stop_task(self) -> Any:
        self.tasks.append("stop")
        return types.SimpleNamespace(energy_consumed=1e-3)


def test_codecarbon_is_used_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", types.SimpleNamespace(OfflineEmissionsTracker=Tracker))
    efficiency.tracker.cache_clear()
    try:
        with Usage(CPU) as usage:
            found = usage.read()
        assert (found["energy_joules"], found["energy_source"]) == (3600.0, "codecarbon")
        with Usage(CPU):
            pass
        assert efficiency.tracker().tasks == ["start", "stop", "start", "stop"]
        assert efficiency.tracker().options["save_to_file"] is False
    finally:
        efficiency.tracker.cache_clear()


class Gpu:
    """Stands for NVML: a counter in millijoules."""

    class NVMLError(Exception):
        pass

    def __init__(self, tells: bool = True):
        self.tells, self.counter, self.open = tells, 5000, 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert handle == "GPU-abc"
        if not self.tells:
            raise self.NVMLError("not supported")
        self.counter += 2500
        return self.counter


@pytest.mark.parametrize("tells", [True, False])
def test_a_gpu_tells_its_energy_or_does_not(monkeypatch, tells):
    gpu = Gpu(tells)
    monkeypatch.setitem(sys.modules, "pynvml", gpu)
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="abc"))
    efficiency.tracker.cache_clear()
    meter = efficiency.Energy(torch.device("cuda"))
    assert meter.stop() == ({"energy_joules": 2.5, "energy_source": "GPU (NVML)"} if tells else {})
    assert gpu.open == 0


def test_of_several_processes_the_largest_peak_and_the_energy_of_all():
    gpus = [{"peak_process_bytes": size, "energy_joules": 5.0, "energy_source": "GPU (NVML)"} for size in (3, 7)]
    energy = {"energy_joules": 10.0, "energy_source": "GPU (NVML)"}
    assert of_all_processes(gpus, whole=True) == {"peak_process_bytes": 7, **energy}
    assert of_all_processes(gpus, whole=False) == {"peak_process_bytes": 7}
    machine = [{**usage, "energy_source": "codecarbon"} for usage in gpus]
    assert of_all_processes(machine, whole=True)["energy_joules"] == 5.0
    assert of_all_processes([{"peak_process_bytes": 1}, gpus[0]], whole=True) == {"peak_process_bytes": 3}
