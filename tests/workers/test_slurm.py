"""SLURM by submitit: in this process, as processes on this machine, and what a job of a cluster looks like."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from grids import check_bytes, check_searched, elsewhere, signal_runs

import harness
from harness.errors import HarnessError
from harness.report.status import statuses
from harness.results.live import live_log
from harness.results.store import Store
from harness.workers.cluster import Watch
from harness.workers.slurm import SlurmJobs

submitit = pytest.importorskip("submitit", reason="needs the extra slurm")

SBATCH = """#!/bin/bash
n=$(ls "$(dirname "$0")"/script.* 2>/dev/null | wc -l)
cp "$1" "$(dirname "$0")/script.$n"
echo "Submitted batch job 70$n"
"""


def run(bench, results: Path, models=None, **options):
    where = harness.OnSlurm(**options)
    return harness.run(bench.path, results=results, models=models, on=where, jobs=2, progress=True)["b"]


def test_in_this_process_it_leaves_the_same_bytes(reference, sample_cache, capsys):
    results = elsewhere(reference, sample_cache, "debug")
    run(reference, results, models=["bert"], executor="debug")
    check_bytes(reference, results, models=["bert"])
    output = capsys.readouterr().out
    assert output.count("[3/3]") == 1
    assert not (results / ".slurm").exists()
    # Efficiency was measured afterwards: jobs share machines.
    assert all(record.efficiency.at_once == 2 for *_, record in Store(results, "b").current())


def test_a_search_makes_the_same_trials(searched, sample_cache):
    results = elsewhere(searched, sample_cache, "debug")
    run(searched, results, executor="debug")
    check_searched(searched, results)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of SLURM that take jobs and do nothing; gives the scripts of the jobs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", "#!/bin/bash\n"), ("sbatch", SBATCH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: [path.read_text() for path in sorted(folder.glob("script.*"))]


def test_detached_jobs_of_a_cluster(reference, sample_cache, capsys, slurm):
    results = elsewhere(reference, sample_cache, "detached")
    board = run(
        reference,
        results,
        partition="gpu",
        time="1-00:00:00",
        setup=["module load cuda"],
        options={"account": "nlp"},
        detach=True,
    )
    assert board.rows
    first, second = slurm()
    flags = {line.removeprefix("#SBATCH --") for line in first.splitlines() if line.startswith("#SBATCH")}
    assert {"partition=gpu", "time=1440", "account=nlp", "signal=USR2@90", "array=0-3%2", "job-name=harness"} <= flags
    assert "cpus-per-task=1" in flags and "\nmodule load cuda\n" in first
    assert "--dependency" not in first and "#SBATCH --dependency=afterany:700\n" in second
    assert "array=0-1%2" in second  # rte, which starts from mnli
    output = capsys.readouterr().out
    assert "submitted 6 runs, jobs 700, 701" in output and "status" in output
    folder = results / ".slurm"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.glob("*_submitted.pkl"):  # the file's path, the fingerprint and words: no program, no object
        content = path.read_bytes()
        assert b"harness.workers.slurm" in content and str(reference.path).encode() in content
        assert b"torch" not in content
    [status] = statuses(results)
    assert len(status.waiting) == 6 and not status.finished


def test_without_slurm_there_is_a_message(reference, sample_cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match=r"srun.*--slurm-executor local"):
        run(reference, elsewhere(reference, sample_cache, "none"))


@pytest.mark.slow
def test_processes_that_run_out_of_time_or_are_killed_leave_the_same_bytes(
    reference, sample_cache, monkeypatch, capsys
):
    """submitit sends the signal of SLURM's time-outs to one; another one is killed."""
    results, interrupted, killed, logs = elsewhere(reference, sample_cache, "local"), [], [], []
    look = Watch.look
    cluster: list[SlurmJobs] = []
    submit = SlurmJobs.submit
    monkeypatch.setattr(SlurmJobs, "submit", lambda self, requests: (cluster.append(self), submit(self, requests)))

    def looking(self, begun, runs):
        look(self, begun, runs)
        under_way = [r for r in runs if r.fingerprint in begun and begun[r.fingerprint].scores]
        if not interrupted and under_way:
            interrupted.append(under_way[0])
            cluster[-1].jobs[under_way[0]]._interrupt()
        elif interrupted and not killed and signal_runs(results):
            killed.append(True)
        for r in interrupted:
            logs.append(live_log(results / ".work" / r.fingerprint))

    monkeypatch.setattr(Watch, "look", looking)
    run(reference, results, executor="local", setup=["export PLACE=here"])
    check_bytes(reference, results)
    output = capsys.readouterr().out
    print(output)
    assert interrupted and killed
    assert "without a record; it is sent again" in output
    assert output.count("[6/6]") == 1


@pytest.mark.slow
def test_detached_processes_go_on_alone(reference, sample_cache, capsys):
    results = elsewhere(reference, sample_cache, "alone")
    run(reference, results, executor="local", detach=True)
    assert "submitted 2 runs" in capsys.readouterr().out
    deadline = time.monotonic() + 120
    while len(statuses(results)[0].done) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    run(reference, results, executor="local")
    check_bytes(reference, results)
