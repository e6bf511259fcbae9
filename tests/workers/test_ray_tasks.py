"""Ray: on this machine, with a worker killed, and on two raylets of which one is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from grids import check_bytes, check_searched, elsewhere, signal_runs

import harness
from harness.errors import HarnessError
from harness.workers.cluster import Watch

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow


def run(bench, results: Path, **options):
    where = harness.OnRay(**options)
    return harness.run(bench.path, results=results, on=where, progress=True)["b"]


def at_the_first_scores(monkeypatch: pytest.MonkeyPatch, results: Path, act) -> list:
    """From here on, call ``act`` once a run has been evaluated, until it gives something; gives what it gave."""
    look, given = Watch.look, list()

    def looking(self, begun, runs):
        look(self, begun, runs)
        if not given and any(begun[r.fingerprint].scores for r in runs if r.fingerprint in begun):
            given.extend(act())

    monkeypatch.setattr(Watch, "look", looking)
    return given


def test_on_this_machine_with_a_worker_killed(reference, sample_cache, monkeypatch, capsys):
    results = elsewhere(reference, sample_cache, "ray")
    killed = at_the_first_scores(monkeypatch, results, lambda: signal_runs(results))
    before = signal.getsignal(signal.SIGTERM)
    run(reference, results)
    check_bytes(reference, results)
    output = capsys.readouterr().out
    assert len(killed) == 1 and output.count("[6/6]") == 1
    assert "runs at a time" in output and not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_search_makes_the_same_trials(searched, sample_cache):
    results = elsewhere(searched, sample_cache, "ray")
    run(searched, results)
    check_searched(searched, results)


def test_a_machine_is_lost(reference, sample_cache, monkeypatch, capsys):
    from ray.cluster_utils import Cluster

    results = elsewhere(reference, sample_cache, "lost")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()

        def lose():
            cluster.remove_node(second, allow_graceful=False)
            return [second]

        lost = at_the_first_scores(monkeypatch, results, lose)
        run(reference, results, address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
    check_bytes(reference, results, measured=False)
    output = capsys.readouterr().out
    assert lost and "Ray on 2 machines: up to 2 runs at a time" in output
    assert "efficiency of 6 models is not measured" in output  # the command does not know what it runs on


def test_ctrl_c_saves_the_states(bench, monkeypatch):
    bench.write({"max_steps": 5000, "eval_every": 50})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        at_the_first_scores(patched, bench.results, lambda: os.kill(os.getpid(), signal.SIGINT) or [True])
        run(bench, bench.results)
    assert list((bench.results / ".work").glob("*/state.safetensors"))
    assert not list((bench.results / ".work").glob("*/lease.*"))


def test_a_cluster_that_is_not_there(reference, sample_cache):
    with pytest.raises(HarnessError, match="--address"):
        run(reference, elsewhere(reference, sample_cache, "nowhere"), address="127.0.0.1:1")


def test_gpus_that_are_not_there(reference, sample_cache):
    with pytest.raises(HarnessError, match="0 GPUs"):
        run(reference, elsewhere(reference, sample_cache, "gpus"), gpus_per_run=0.5)
