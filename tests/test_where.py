"""Where results go: beside the benchmark file, whatever the current folder is."""

from __future__ import annotations

import json

import pytest
from running import LIMIT, RECIPE, Bench, tiny

import harness
from harness.cli import main


@pytest.fixture(scope="module")
def project(tmp_path_factory, sample_cache):
    """A folder with a benchmark file, whose benchmark ran from another folder with no word on results."""
    bench = Bench(tmp_path_factory.mktemp("project"), sample_cache)
    bench.write({"max_steps": 2}, models=["bert", "enct5"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert main(["run", str(bench.path), "--jobs", "1"]) == 0
    return bench


def test_the_results_lie_beside_the_file(project, tmp_path, monkeypatch, capsys):
    assert (project.results / "b" / "leaderboard.md").is_file()
    for folder, file in ((project.folder, "benchmarks.yaml"), (tmp_path, str(project.path))):
        monkeypatch.chdir(folder)
        assert main(["run", file, "--jobs", "1"]) == 0
        assert capsys.readouterr().out.startswith(f"results: {project.results / 'b'}\n")
        assert main(["run", file, "--dry-run"]) == 0 and "2 done" in capsys.readouterr().out
        assert main(["plan", file]) == 0 and "2 runs, 2 done" in capsys.readouterr().out
        assert harness.run(file)["b"].rows[0].model == "bert"
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_is_named_is_seen_from_the_current_one(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(project.path), "--results", "mine", "--dry-run"]) == 0
    assert "0 done" in capsys.readouterr().out


def test_a_mapping_has_the_current_folder(sample_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Bench(tmp_path, sample_cache)
    entry = {"tasks": "cola", "models": "bert", "data": "sample", "limit": LIMIT, "recipe": RECIPE | {"max_steps": 1}}
    harness.run({"models": {"bert": tiny("bert")}, "benchmarks": {"b": entry}})
    assert (tmp_path / "results" / "b" / "leaderboard.md").is_file()


READING = {
    "report": ["report"],
    "status": ["status"],
    "compare": ["compare"],
    "audit": ["audit"],
    "errors": ["errors"],
    "export": ["export", "--to", "tensorboard", "tb"],
}


@pytest.mark.parametrize("command", READING)
def test_reading_takes_the_file_its_folder_and_the_results(project, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    shown = []
    for where in (project.path, project.folder, project.results):
        code = main([*READING[command][:1], str(where), *READING[command][1:]])
        shown.append((code, capsys.readouterr().out))
    assert shown[0] == shown[1] == shown[2] and shown[0][0] == 0 and shown[0][1]


@pytest.mark.parametrize("command", ["report", "status", "compare", "audit", "export"])
def test_where_no_results_are_a_command_says_how_to_name_them(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main([command, *READING[command][1:]]) == 2
    assert "name the results folder, or the benchmark file" in capsys.readouterr().err


def test_a_file_that_is_no_benchmark_file_stands_for_no_results(project, tmp_path, capsys):
    other = tmp_path / "notes.json"
    other.write_text(json.dumps({}))
    assert main(["report", str(other)]) == 2
    assert str(other) in capsys.readouterr().err
