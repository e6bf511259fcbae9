"""The README's own text, run: a user's task from a file, a plugin, the Python example."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny import TINY
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from harness import load_tasks
from harness.cli import main
from harness.config import yaml as yaml12
from harness.models.tokenizers import sample_tokenizer

README = Path(__file__).parent.parent / "README.md"
EXAMPLE = re.compile(r"<!-- example: (.+?) -->\n```\w+\n(.*?)```", re.DOTALL)
WORDS = ["river", "house", "garden", "music", "letter", "winter", "bread", "window", "teacher", "train"]


@pytest.fixture
def examples() -> dict[str, str]:
    return dict(EXAMPLE.findall(README.read_text(encoding="utf-8")))


def commands(text: str) -> list[list[str]]:
    """The arguments after ``python -m harness`` of each line."""
    return [line.removeprefix("python -m harness ").split() for line in text.strip().splitlines()]


def table(folder: Path, benchmark: str) -> dict:
    return json.loads((folder / "results" / benchmark / "leaderboard.json").read_text())


def test_a_task_from_a_tsv_by_following_the_readme(examples, tmp_path, monkeypatch):
    rows = [f"the {a} and the {b} are {'good' if i % 2 else 'bad'}\t{'yes' if i % 2 else 'no'}"
            for i, (a, b) in enumerate([(a, b) for a in WORDS for b in WORDS] * 2)]  # fmt: skip
    (tmp_path / "reviews.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    (tmp_path / "mine.yaml").write_text(examples["mine.yaml"])
    monkeypatch.chdir(tmp_path)
    for command in commands(examples["commands mine.yaml"]):
        assert main(command) == 0
    board = (tmp_path / "results" / "mine" / "leaderboard.md").read_text()
    assert "reviews" in board and "tiny" in board


def test_a_plugin_by_following_the_readme(examples, tmp_path, monkeypatch):
    plugin = tmp_path / "my_tasks" / "questions.py"
    plugin.parent.mkdir()
    plugin.write_text(examples["my_tasks/questions.py"])
    data = tmp_path / "my_data" / "questions"
    data.mkdir(parents=True)
    rows = [{"text": f"is the {a} near the {b} ?", "kind": "question"} for a in WORDS for b in WORDS]
    rows += [{"text": f"the {a} is near the {b} .", "kind": "statement"} for a in WORDS for b in WORDS]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[::7]))
    (tmp_path / "plugin.yaml").write_text(examples["plugin.yaml"])
    monkeypatch.chdir(tmp_path)
    for command in commands(examples["commands plugin.yaml"]):
        assert main(command) == 0
    assert "questions" in (tmp_path / "results" / "mine" / "leaderboard.md").read_text()


def test_the_python_example(examples, tmp_path):
    (tmp_path / "benchmarks.yaml").write_text(
        (README.parent / "benchmarks.yaml").read_text().replace("max_steps: 80", "max_steps: 4")
    )
    (tmp_path / "example.py").write_text(examples["python"])
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bert-tiny" in done.stdout and "CoLA" in done.stdout


def test_a_task_from_an_installed_package(examples, tmp_path, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "questions.py").write_text(examples["my_tasks/questions.py"])
    entry_points = tomllib.loads(examples["pyproject.toml"])["project"]["entry-points"]
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_tasks()["questions"].labels == ("statement", "question")


def test_own_encoder_and_t5_folders(examples, tmp_path, sample_cache):
    models = yaml12.read(write(tmp_path / "models.yaml", examples["models.yaml"])).data["models"]
    for name, build in {"my-encoder": save_encoder, "enct5-two": save_t5, "t5-ranked": save_t5}.items():
        build(tmp_path / name, sample_cache)
        models[name] = {**models[name], "checkpoint": f"./{name}"}
    benchmark = {"tasks": "cola", "models": ["my-encoder", "enct5-two", "t5-ranked"], "data": "sample"}
    benchmark |= {"recipe": {"max_steps": 3}, "limit": {"train": 50, "validation": 20}}
    chosen = {name: models[name] for name in benchmark["models"]}
    write(tmp_path / "own.yaml", json.dumps({"models": chosen, "benchmarks": {"own": benchmark}}))
    assert main(["run", str(tmp_path / "own.yaml"), "--results", str(tmp_path / "results")]) == 0
    assert {row["model"] for row in table(tmp_path, "own")["rows"]} == set(chosen)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def save_encoder(folder: Path, cache: Path) -> None:
    """An encoder without a task's head, as pre-training leaves it."""
    tokenizer = sample_tokenizer("bert", cache)
    BertModel(BertConfig(vocab_size=len(tokenizer), **TINY["bert"])).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_t5(folder: Path, cache: Path) -> None:
    tokenizer = sample_tokenizer("t5", cache)
    config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **TINY["t5"])
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_every_file_the_readme_names_is_there():
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w./-]+)\)", text) + re.findall(r"`((?:harness|scripts|tasks)/[\w./]+)`", text):
        assert (README.parent / name).exists(), name
