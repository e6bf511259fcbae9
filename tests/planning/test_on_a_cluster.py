"""Plans for a cluster: as many runs at a time as it has places."""

import os

import pytest
from running import Bench

import harness
from harness.cli import main
from harness.errors import HarnessError

SINFO = """#!/bin/bash
[[ "$*" == *gpus* ]] && echo "2 64 gpu:a100:4(S:0-1)" || { echo "2 64 gpu:a100:4(S:0-1)"; echo "3 16+ (null)"; }
"""


@pytest.fixture
def planned(bench: Bench, tmp_path, monkeypatch):
    """A benchmark of twenty runs, on a machine where SLURM tells of its nodes."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sinfo").write_text(SINFO)
    (tmp_path / "bin" / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    bench.write(seeds=[*range(1, 21)])
    return bench


def test_a_plan_is_for_the_places_of_the_cluster(planned, capsys):
    command = ["plan", str(planned.path), "--results", str(planned.results), "--on", "slurm", "--rate", "1G"]
    assert main(command) == 0
    assert " 176 at a time" in capsys.readouterr().out
    assert main([*command, "--slurm-partition", "gpus", "--gpus-per-run", "2"]) == 0
    assert " 4 at a time" in capsys.readouterr().out
    assert main([*command, "--jobs", "7"]) == 0
    assert " 7 at a time" in capsys.readouterr().out
    assert main([*command, "--gpus-per-run", "8"]) == 2
    assert "no node" in capsys.readouterr().err
    assert main([*command[:4], "--jobs", "7"]) == 2
    assert "--devices" in capsys.readouterr().err


def test_from_python(planned):
    plans = {jobs: harness.plan(planned.path, rate=1e9, on=harness.OnSlurm(), jobs=jobs)["b"] for jobs in (1, 20)}
    alone, together = (plan.forecast.wall_seconds(plan.at_once) for plan in plans.values())
    assert alone == pytest.approx(20 * together)
    assert len(plans[1].left) == 20 and "1 at a time" in plans[1].text()


def test_where_slurm_does_not_tell_its_size_it_is_asked_for(planned, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match=r"sinfo.*give --jobs"):
        harness.plan(planned.path, on=harness.OnSlurm())
