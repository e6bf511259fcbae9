"""How many threads compute: as many as there is work for, unless someone has chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from harness.training import threads
from harness.training.batching import TrainingPlan
from harness.training.threads import WORK, is_chosen, own_threads, set_threads, threads_for
from harness.training.update import Training

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine of four cores without a choice; PyTorch's threads are put back."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [0, 1, 2, 3], raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4)
    with own_threads():
        torch.set_num_threads(4)
        yield


def plan(tokens: int = 32, batch_size: int = 32, **options: Any) -> TrainingPlan:
    return TrainingPlan(np.full(100, tokens), np.ones(100, dtype=int), batch_size, seed=1, **options)


def model(size: int) -> nn.Module:
    """A word table, and matrices of which the middle one has so many rows and columns."""
    layers = [nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, 4 * size), nn.LayerNorm(size)]
    return nn.ModuleList([nn.Embedding(10_000, size), *layers])


def test_threads_follow_the_work_of_a_matrix_product() -> None:
    assert threads_for(model(64), plan()) == 1 == threads_for(nn.LayerNorm(4), plan())
    product = 2 * 512 * 512 * 32 * 32
    assert threads_for(model(512), plan()) == int(product / WORK) > 4
    assert threads_for(model(512), plan(batch_size=64)) == int(2 * product / WORK)
    assert (
        threads_for(model(512), plan(accumulation=2)) == int(product / 2 / WORK) == threads_for(model(512), plan(), 2)
    )
    capped = threads_for(model(512), plan(tokens=512, batch_size=64))
    assert capped == int(2 * 512 * 512 * 16384 / WORK)  # a micro-batch has no more tokens


def test_small_models_compute_with_one_thread_and_large_ones_with_all() -> None:
    set_threads(model(768), plan(), 1, CPU)
    assert torch.get_num_threads() == 4
    set_threads(model(64), plan(), 1, torch.device("cuda"))
    assert torch.get_num_threads() == 4
    set_threads(model(64), plan(), 1, CPU)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "4")
    set_threads(model(64), plan(), 1, CPU)
    assert is_chosen() and torch.get_num_threads() == 4


def test_what_a_program_has_set_stays() -> None:
    assert not is_chosen()
    torch.set_num_threads(3)
    set_threads(model(64), plan(), 1, CPU)
    assert is_chosen() and torch.get_num_threads() == 3


def test_a_run_records_its_threads_and_puts_them_back(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    update = Training.update
    monkeypatch.setattr(Training, "update", lambda self: used.append(torch.get_num_threads()) or update(self))
    bench.write()
    bench.run()
    assert set(used) == {1} and torch.get_num_threads() == 4
    assert bench.record().provenance["threads"] == 1


def test_a_failed_run_puts_the_threads_back(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(training: Training) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Training, "update", fails)
    bench.write()
    bench.run()
    assert not bench.record().finished and torch.get_num_threads() == 4
    assert bench.record().provenance["threads"] == 1
