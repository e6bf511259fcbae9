"""What models take: FLOPs against closed forms, times that leave out startup and compilation, memory and energy."""

from __future__ import annotations

import os
import subprocess
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
from harness.results.store import Store
from harness.task.plugins import load_tasks
from harness.training import efficiency, flops, usage
from harness.training.efficiency import measured_cost, training_speed
from harness.training.evaluation import Split
from harness.training.flops import PEAKS, count_flops, datasheet_peak, matrix_rate, typical
from harness.training.inference import LATENCIES, SIZES, Inference, counted, measured
from harness.training.optimizer import trained_parameters
from harness.training.update import OutOfMemory, Training
from harness.training.usage import Usage, of_all_processes

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


def examples_of(task: str = "cola", number: int = 30) -> list[Any]:
    return load_examples(task, "sample", TASKS[task].validation_splits[0])[:number]


def evaluated(training: Training, task: str = "cola", examples: int = 30) -> Any:
    return training.architecture.features(examples_of(task, examples), training=False)


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
    tokens = flops.tokens_per_group(features)
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
    found = measured(training, evaluated(training, task, 20), examples_of(task, 20), seconds=6.0)
    rates = found.pop("inference_rates")
    assert all(value > 0 for value in found.values() if value is not None)
    assert found["latency_p50_seconds"] < found["latency_p95_seconds"] and found["latency_examples"] >= LATENCIES
    assert list(rates) == [str(size) for size in SIZES] and rates["8"] > 0
    assert found["latency_p50_seconds"] / 3 < 1 / rates["1"] < 3 * found["latency_p95_seconds"]
    assert all(value > 0 for value in counted(training, evaluated(training, task, 20)).values())
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in training.weights().items())


@pytest.mark.parametrize("examples", [1, 3, 8, 9])
def test_few_examples_are_enough_for_all_sizes(start, examples):
    training = start("bert")
    features = evaluated(training, examples=examples)
    found = measured(training, features, examples_of(number=examples), seconds=5.0)
    assert found["latency_examples"] == 4 * LATENCIES and all(found["inference_rates"].values())
    for size in SIZES:
        batches, tokens = Inference(training, features).batches(size)
        assert {len(batch) for batch in batches} == {size} and len(tokens) == len(batches)


def test_a_p95_needs_fifty_answers(start, monkeypatch):
    training = start("bert")
    monkeypatch.setattr(Inference, "latencies", lambda self, seconds: [0.001] * (LATENCIES - 1))
    found = measured(training, evaluated(training), examples_of(), seconds=0.1)
    assert (found["latency_p50_seconds"], found["latency_p95_seconds"]) == (0.001, None)
    assert found["latency_examples"] == LATENCIES - 1


def test_without_time_there_are_a_few_answers_and_no_large_batches(start):
    training = start("bert")
    found = measured(training, evaluated(training), examples_of(), seconds=0.0)
    assert found["latency_examples"] == 5 and found["latency_p95_seconds"] is None
    assert found["inference_rates"].pop("1") > 0
    assert found["inference_rates"] == {"8": None, "32": None, "128": None}


def test_rates_are_of_the_same_batches_whatever_the_training_s(start, monkeypatch):
    """One pass for each batch, of as many examples as it says, in order of length."""
    passes: list[list[int]] = []
    monkeypatch.setattr(Inference, "seconds", lambda self, groups: passes.append(list(groups)) or 0.01)
    read = []
    for batch_size in (8, 128):
        training = start("bert", batch_size=batch_size)
        features = evaluated(training, examples=80)
        rates = Inference(training, features).rates(0.01, seconds=1000.0)
        assert rates == pytest.approx({"1": 100.0, "8": 800.0, "32": 3200.0, "128": 12800.0})
        read.append(passes.copy())
        passes.clear()
    assert read[0] == read[1] and {len(groups) for groups in read[0]} == {8, 32, 128}
    assert all((np.diff(features.lengths[groups]) >= 0).all() for groups in read[0])


def test_a_batch_that_does_not_fit_in_memory_has_no_rate(start, monkeypatch):
    training = start("bert")
    training.set_micro_batch_tokens(32 * int(evaluated(training).lengths.max()))
    rates = Inference(training, evaluated(training)).rates(0.001, seconds=5.0)
    assert rates["8"] and rates["32"] and rates["128"] is None  # a system would kill the process, so nothing is tried

    def full(*_: Any) -> None:
        raise MemoryError

    training.set_micro_batch_tokens(16384)
    inference = Inference(training, evaluated(training))
    monkeypatch.setattr(training.architecture, "predict", full)
    with pytest.raises(OutOfMemory):
        inference.answer([0])
    assert inference.rates(0.001, seconds=5.0) == {"1": 1000.0, "8": None, "32": None, "128": None}


def test_the_first_seed_is_measured_and_others_where_their_runs_last(start):
    training = start("bert")
    split = Split(TASKS["cola"], "validation", examples_of(), evaluated(training))
    counts: dict[str, Any] = {}
    first, second, long = (measured_cost(training, split, taken, counts, "key") for taken in (1.0, 1.0, 20.0))
    assert first.keys() == long.keys() > second.keys() == counts["key"].keys()
    assert {"flops_per_example", "train_flops_per_example", "tokens_per_example"} == second.keys()


def test_the_machine_s_rate_is_measured_once():
    flops._kept_matrix_rate.cache_clear()
    first, threads = matrix_rate(CPU, "fp32"), torch.get_num_threads()
    assert first > 1e8 and matrix_rate(CPU, "fp32") == first
    matrix_rate(CPU, "tf32")
    assert flops._kept_matrix_rate.cache_info().currsize == 2  # the same type of numbers, another rate
    torch.set_num_threads(threads + 1)
    try:
        matrix_rate(CPU, "fp32")
    finally:
        torch.set_num_threads(threads)
    assert flops._kept_matrix_rate.cache_info().currsize == 3


def test_peaks_are_of_whole_names():
    assert datasheet_peak("NVIDIA H100 80GB HBM3", "bf16") == datasheet_peak("NVIDIA H200", "fp16") == 989.4e12
    assert datasheet_peak("Tesla T4", "fp16") == 65e12 and datasheet_peak("Tesla T4", "bf16") is None
    assert datasheet_peak("NVIDIA A100-SXM4-80GB", "tf32") == datasheet_peak("NVIDIA A100 80GB PCIe", "tf32") == 156e12
    assert datasheet_peak("Tesla V100-PCIE-16GB", "fp16") == 112e12
    assert datasheet_peak("NVIDIA L4", "bf16") != datasheet_peak("NVIDIA L40S", "bf16")
    assert datasheet_peak("NVIDIA H100 SXM5 80GB", "tf32") == 494.7e12 == datasheet_peak("NVIDIA H200", "tf32")
    others = (
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H100 SXM5 80GB MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100",
        "cpu",
        "",
    )
    assert [datasheet_peak(name, "fp32") for name in others] == [None] * len(others)
    for peaks in PEAKS.values():  # tensor cores multiply halves at least twice as fast as single precision
        assert min(peaks[name] for name in ("bf16", "fp16") if name in peaks) >= 2 * 0.99 * peaks.get("fp32", 0)


def test_mfu_is_a_share_of_the_datasheet_s_peak(start, monkeypatch):
    training = start("bert")
    plain = training_speed(training, examples=100, seconds=2.0, flops=10**9)
    assert "mfu" not in plain and plain["train_examples_per_second"] == 50.0
    assert plain["train_share_of_matrix_rate"] == pytest.approx(50e9 / plain["matrix_flops_per_second"])
    monkeypatch.setattr(efficiency, "device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    speed = training_speed(training, examples=100, seconds=2.0, flops=10**9)
    assert (speed["mfu"], speed["datasheet_flops_per_second"]) == (50e9 / 19.5e12, 19.5e12)


def test_a_run_says_what_it_took(bench, monkeypatch):
    monkeypatch.setattr(efficiency, "SHORTEST", 2.0)  # a busy machine, too, has time for a batch of 8
    bench.write(seeds=[1, 2], models=["bert", "t5"])
    bench.run()
    for model in ("bert", "t5"):
        first, second = (bench.record(model=model, seed=seed) for seed in (1, 2))
        assert first.parameters.keys() == {"total", "trained", "active"}
        assert first.efficiency.flops_per_example == second.efficiency.flops_per_example > 0
        assert first.efficiency.inference_rates["8"] > 0
        assert first.efficiency.latency_p50_seconds > 0 and second.efficiency.latency_p50_seconds is None
        assert 0 < second.efficiency.train_share_of_matrix_rate < 2 and second.efficiency.mfu is None
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


LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux looks for a peak anew")


@LINUX
def test_the_peak_of_memory_is_that_of_the_run():
    run = Usage(CPU)
    before = run.read()["peak_memory_bytes"]
    assert before < 50 * 2**20
    large = np.ones(200 * 2**20, dtype=np.uint8)
    assert 0.95 * 200 * 2**20 < run.read()["peak_memory_bytes"] - before < 1.05 * 200 * 2**20
    del large
    assert Usage(CPU).read()["peak_memory_bytes"] < before + 50 * 2**20


def test_a_system_that_cannot_begin_anew_tells_no_peak(monkeypatch):
    def refused(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    assert "peak_memory_bytes" not in Usage(CPU).read()


ORDER = """
import json, sys
from pathlib import Path
import harness

def bert(size, layers):
    config = {"model_type": "bert", "hidden_size": size, "intermediate_size": 4 * size, "num_hidden_layers": layers,
              "num_attention_heads": 4}
    return {"architecture": "bert", "config": config, "tokenizer": "sample"}

models = {"small": bert(384, 6), "large": bert(384, 15)}
recipe = {"max_steps": 2, "batch_size": 32, "max_length": 32, "precision": "fp32"}
entry = {"tasks": ["cola"], "data": "sample", "limit": {"train": 64, "validation": 8}, "recipe": recipe}
for folder, names in ("first", ["small"]), ("second", ["large", "small"]):
    file = Path(sys.argv[1]) / f"{folder}.yaml"
    file.write_text(json.dumps({"models": models, "benchmarks": {"b": {**entry, "models": names}}}))
    harness.run(file, results=file.with_suffix(""))
"""


@pytest.mark.slow
@LINUX
def test_the_order_of_runs_does_not_decide_their_memory(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", ORDER, str(tmp_path)], check=True, env=environment)
    first, second = (
        {model: record.efficiency.peak_memory_bytes for _, model, _, record in Store(tmp_path / name, "b").current()}
        for name in ("first", "second")
    )
    assert abs(first["small"] - second["small"]) < 0.1 * first["small"], (first, second)
    assert second["large"] > 1.5 * second["small"]


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
    usage.tracker.cache_clear()
    try:
        with Usage(CPU) as run:
            found = run.read()
        assert (found["energy_joules"], found["energy_source"]) == (3600.0, "codecarbon")
        with Usage(CPU):
            pass
        assert usage.tracker().tasks == ["start", "stop", "start", "stop"]
        assert usage.tracker().options["save_to_file"] is False
    finally:
        usage.tracker.cache_clear()


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
    usage.tracker.cache_clear()
    meter = usage.Energy(torch.device("cuda"))
    assert meter.stop() == ({"energy_joules": 2.5, "energy_source": "GPU (NVML)"} if tells else {})
    assert gpu.open == 0


def test_of_several_processes_the_largest_peak_and_the_energy_of_all():
    gpus = [{"peak_memory_bytes": size, "energy_joules": 5.0, "energy_source": "GPU (NVML)"} for size in (3, 7)]
    energy = {"energy_joules": 10.0, "energy_source": "GPU (NVML)"}
    assert of_all_processes(gpus, whole=True) == {"peak_memory_bytes": 7, **energy}
    assert of_all_processes(gpus, whole=False) == {"peak_memory_bytes": 7}
    machine = [{**usage, "energy_source": "codecarbon"} for usage in gpus]
    assert of_all_processes(machine, whole=True)["energy_joules"] == 5.0
    assert of_all_processes([{"peak_memory_bytes": 1}, gpus[0]], whole=True) == {"peak_memory_bytes": 3}
