"""Several processes: they really are several, compute what one computes, and leave what one leaves."""

import itertools
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from running import Bench, content, evaluations, losses, tiny
from tiny import TINY

from harness.errors import HarnessError
from harness.results.store import Store
from harness.training.device import make_accelerator

REPOSITORY = Path(__file__).parent.parent
MODELS = ("bert", "enct5", "t5", "bigbird")
BIGBIRD = {**TINY["bert"], "model_type": "big_bird", "attention_type": "original_full"}
"""Its sequence classifier has a layer that takes no part in the loss, for whose gradients two processes would wait."""
RECIPE = {"batch_size": 5, "max_steps": 9, "eval_every": 5, "learning_rate": 1e-4}
LIMIT = {"train": 41, "validation": 31}
"""Of 5 examples one process has 3, and one update of the epoch has a single one; 31 cannot be halved either."""


def launch(*arguments):
    """Run a command in two processes on the CPU, as the README says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--main_process_port", str(port), "-m", "harness", *map(str, arguments)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def both(tmp_path_factory, sample_cache):
    """A benchmark done by one process and, in another results folder, by two; and what the two printed."""
    bench = Bench(tmp_path_factory.mktemp("distributed"), sample_cache)
    bench.models = {name: tiny(name, dropout=0.0) for name in MODELS if name != "bigbird"}
    bench.models["bigbird"] = {**tiny("bert", dropout=0.0), "config": BIGBIRD}
    bench.write(RECIPE, models=MODELS, tasks=["copa"], limit=LIMIT, predict=["test"])
    bench.run()
    two = bench.folder / "two"
    shutil.copytree(sample_cache / "tokenizers", two / ".cache" / "tokenizers")
    done = launch("run", bench.path, "--results", two)
    assert done.returncode == 0, done.stderr
    return bench, Store(two, "b"), done.stdout


def pairs(both):
    """The records of one process and of two, side by side."""
    bench, two, _ = both
    other = {model: record for _, model, _, record in two.current()}
    assert all(record is not None and record.finished for record in other.values())
    return [(bench.record("copa", model), other[model]) for model in MODELS]


def test_there_are_two_and_the_run_is_the_same(both):
    for one, two in pairs(both):
        assert one.provenance["processes"] == 1
        assert two.provenance["processes"] == 2
        assert one.fingerprint == two.fingerprint
        assert one.counts == two.counts and one.parameters == two.parameters
        assert one.steps == two.steps == 9


def test_losses_and_scores_agree(both):
    for one, two in pairs(both):
        first, second = losses(one), losses(two)
        assert list(first) == list(second) == [5, 9]
        assert list(second.values()) == pytest.approx(list(first.values()), abs=1e-5)
        first, second = evaluations(one), evaluations(two)
        assert list(first) == list(second) == [0, 5, 9]
        assert first[0] == second[0]
        for step in (5, 9):
            assert second[step]["selection_score"] == pytest.approx(first[step]["selection_score"], abs=1e-5)


def check_alike(row, other):
    """Equal answers; sums of another order may turn one only where the scores are as good as equal."""
    assert other.get("output") == row.get("output")
    for scores, others in zip(row.get("scores", []), other.get("scores", []), strict=True):
        assert others == pytest.approx(scores, abs=1e-3)
    scores = list(itertools.chain(*row.get("scores", [])))
    margins = [abs(a - b) for a, b in itertools.combinations(scores, 2)]
    assert other["prediction"] == row["prediction"] or min(margins) < 1e-3


def test_every_example_is_answered_once_and_alike(both):
    for one, two in pairs(both):
        first, second = list(one.predictions()), list(two.predictions())
        assert [row["index"] for row in second] == list(range(31))
        for row, other in zip(first, second, strict=True):
            check_alike(row, other)


def test_test_splits_are_predicted_alike(both):
    bench, two, _ = both
    for one in (one for one, _ in pairs(both)):
        (found,) = (r for r in two.records() if r.predicts_tests_of == one.fingerprint)
        expected = bench.tests_of(one)
        for row, other in zip(expected.predictions(), found.predictions(), strict=True):
            check_alike(row, other)


def test_only_one_process_writes_and_speaks(both):
    bench, two, printed = both
    assert set(content(two.folder)) == set(content(bench.results / "b"))
    assert len(two.records()) == 2 * len(MODELS)
    assert printed.count("Benchmark b: 4 models") == 1
    assert printed.count("4 runs") == 1
    for number in range(1, 5):
        assert printed.count(f"[{number}/4]") == 1


def test_processes_without_a_group_are_an_error(monkeypatch):
    """``--cpu --num_processes 2`` starts several processes that know nothing of one another."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(HarnessError, match="ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"):
        make_accelerator()


@pytest.mark.slow
def test_a_mistake_is_told_once(both):
    bench, _, _ = both
    wrong = bench.folder / "wrong.yaml"
    wrong.write_text(bench.path.read_text().replace('"copa"', '"coopa"'))
    absent = bench.folder / "absent.yaml"
    absent.write_text(bench.path.read_text().replace('"data": "sample"', '"data": "./no"'))
    for path, message in ((wrong, "unknown task or suite 'coopa'"), (absent, "there is no such folder")):
        done = launch("run", path, "--results", bench.folder / "none")
        assert done.returncode != 0
        assert done.stderr.count(message) == 1, done.stderr
