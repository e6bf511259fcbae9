"""What is sent to a cluster, in which order, and that a worker there finds the run again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from harness.cli import parser
from harness.commands.clusters import cluster_of
from harness.config.benchmark import read_benchmarks
from harness.errors import HarnessError
from harness.results.leases import Leases
from harness.runner.plan import expand
from harness.runner.progress import Display
from harness.runner.resources import Resources
from harness.runner.signals import Interrupts
from harness.training.device import Machine
from harness.workers.cluster import Request, longest_first, waves
from harness.workers.job import Assignment, Job, OnRay, OnSlurm
from harness.workers.load import Load
from harness.workers.ray_tasks import check_address
from harness.workers.slurm import minutes
from harness.workers.worker import Worker, do_one

RECIPE = {"precision": "auto"}


def runs_of(bench, machine=None):
    file = read_benchmarks(bench.path)
    resources = Resources(file.benchmark("b"), bench.results / ".cache", machine)
    return {run.label: run for run in expand(file, resources, torch.device("cpu"))}


@pytest.fixture
def chain(bench):
    """cola; mnli, rte that starts from it, wnli that starts from rte."""
    bench.write(RECIPE, tasks=["cola", "wnli", "rte", "mnli"], init_from={"rte": "mnli", "wnli": "rte"})
    return bench


def test_a_worker_resolves_auto_as_the_command_does_and_not_as_its_own_machine_would(chain, monkeypatch):
    """The speed of bf16 is measured, and a machine under load measures something else."""
    monkeypatch.setattr("harness.training.device.bf16_speedup", lambda: 0.5)
    slow = runs_of(chain)
    machine = Machine("cpu", fast_bf16=True)
    fast = runs_of(chain, machine)
    assert {run.recipe.precision for run in slow.values()} == {"fp32"}
    assert {run.recipe.precision for run in fast.values()} == {"bf16"}
    for decided, runs in ((machine, fast), (Machine("cpu", False), slow)):
        for run in runs.values():
            job = Job(str(chain.path), "b", str(chain.results), machine=asdict(decided))
            worker = Worker.of(Job(**json.loads(json.dumps(job.as_json()))), Display(), Interrupts(), Leases())
            assert worker.find(Assignment(run.fingerprint, run.model.name)) == run


def test_a_worker_on_another_kind_of_machine_says_so(chain):
    job = Job(str(chain.path), "b", str(chain.results), machine=asdict(Machine("cuda", True)))
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    said = json.loads(do_one(json.dumps(job.as_json()), json.dumps(asdict(Assignment("0" * 64, "bert")))))
    assert "a machine with cuda" in said["error"] and "--gpus-per-run" in said["error"]


def test_a_run_that_is_no_more_is_an_error_that_says_so(chain):
    job = Job(str(chain.path), "b", str(chain.results), tasks=["cola"])
    said = json.loads(do_one(json.dumps(job.as_json()), json.dumps(asdict(Assignment("0" * 64, "bert")))))
    assert "there is no run 000000000000 any more" in said["error"]


def test_the_longest_runs_come_first_counting_those_that_wait_for_them(chain):
    runs = runs_of(chain)
    seconds = {"cola": 5.0, "mnli": 2.0, "rte": 3.0, "wnli": 1.0}
    loads = {run: Load(1, 1e9, seconds[run.task.name]) for run in runs.values()}
    assert [run.task.name for run in longest_first(loads)] == ["mnli", "cola", "rte", "wnli"]
    requests = {run: Request(run, "", "", loads[run]) for run in runs.values()}
    names = [sorted(request.run.task.name for request in wave) for wave in waves(requests)]
    assert names == [["cola", "mnli"], ["rte"], ["wnli"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30:00", 90), ("1-12", 2160), ("1-0:30", 1470), ("10:01", 11), ("00:00:30", 1)],
)
def test_slurms_times(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-5", "1:2:3:4", "0", "1h"])
def test_what_is_no_time(text):
    with pytest.raises(HarnessError, match="--slurm-time"):
        minutes(text)


def options(*words: str):
    return parser().parse_args(["run", "benchmarks.yaml", *words])


def test_options_become_a_cluster():
    assert cluster_of(options()) is None
    assert cluster_of(options("--on", "ray")) == OnRay()
    assert cluster_of(options("--on", "ray", "--address", "auto", "--gpus-per-run", "0.5")) == OnRay("auto", 0.5)
    words = ["--slurm-partition", "gpu", "--slurm-time", "2:00:00", "--slurm-setup", "module load cuda"]
    words += ["--slurm-option", "account=nlp", "--slurm-option", "mem=16G", "--gpus-per-run", "1", "--detach"]
    expected = OnSlurm("gpu", "2:00:00", ["module load cuda"], {"account": "nlp", "mem": "16G"}, 1, detach=True)
    assert cluster_of(options("--on", "slurm", *words)) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detach"], "--detach: belongs to --on"),
        (["--gpus-per-run", "1"], "--gpus-per-run: belongs to --on"),
        (["--on", "ray", "--slurm-time", "5"], "--slurm-time: belongs to another --on"),
        (["--on", "slurm", "--address", "auto"], "--address: belongs to another --on"),
        (["--on", "slurm", "--slurm-option", "mem"], "write KEY=VALUE"),
        (["--on", "slurm", "--slurm-option", "a\nb=c"], "write KEY=VALUE"),
    ],
)
def test_options_that_do_not_belong_together(words, message):
    with pytest.raises(HarnessError, match=message):
        cluster_of(options(*words))


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    from harness.workers.local import workers_for

    job = Job("benchmarks.yaml", "b", str(tmp_path))
    with pytest.raises(HarnessError, match=r"enct5-harness\[slurm\]"):
        workers_for(job, None, on=OnSlurm())
    with pytest.raises(HarnessError, match=r"enct5-harness\[ray\]"):
        workers_for(job, None, on=OnRay())
    assert not list(Path(tmp_path).iterdir())


def test_an_address_where_nothing_answers():
    with pytest.raises(HarnessError, match="nothing answers there"):
        check_address("127.0.0.1:1")
    check_address("auto")
    check_address(None)
