"""The first command of an installed package."""

from __future__ import annotations

from harness.cli import main
from harness.config.benchmark import read_benchmarks


def test_the_first_file_is_valid_and_its_sample_runs(tmp_path, capsys):
    assert main(["init", str(tmp_path)]) == 0
    path = tmp_path / "benchmarks.yaml"
    assert f"run {path}" in capsys.readouterr().out
    assert main(["validate", str(path)]) == 0
    file = read_benchmarks(path)
    assert file.default == "sample" and set(file.benchmarks) == {"sample", "first-glue"}
    options = ["--tasks", "cola", "--seeds", "1", "--jobs", "1", "--set", "recipe.max_steps=4"]
    assert main(["run", str(path), "--results", str(tmp_path / "results"), *options]) == 0
    assert (tmp_path / "results" / "sample" / "leaderboard.md").is_file()


def test_a_file_that_is_there_is_left_as_it_is(tmp_path, capsys):
    path = tmp_path / "benchmarks.yaml"
    path.write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert path.read_text() == "mine" and "is there already" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_made(tmp_path):
    assert main(["init", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "benchmarks.yaml").is_file()
