"""The documentation's own text, run: README.md and docs/, each page's examples in order in a folder of its own.

An example is a block after ``<!-- example: NAME -->``: a file to write (NAME has a dot), ``commands ...`` to run, or
``python``, of which those of a page are one program.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny import TINY
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from harness import load_tasks
from harness.cli import main, parser
from harness.config import yaml as yaml12
from harness.config.benchmark import read_benchmarks
from harness.models.tokenizers import sample_tokenizer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = re.compile(r"<!-- example: (.+?) -->\n```\w+\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"-m harness (.+)")
WORDS = ["river", "house", "garden", "music", "letter", "winter", "bread", "window", "teacher", "train"]
TABLES = {
    "README.md": {"mine": ["reviews", "tiny"]},
    "benchmarks.md": {
        "many": ["MNLI", "RTE", "AX", "intermediate training on mnli"],
        "sweep": ["Chosen recipes"],
        "search": ["Chosen recipes"],
    },
    "models.md": {"random": ["RTE", "random"]},
    "python.md": {},
    "tasks.md": {
        "mine": ["reviews", "2 seeds"],
        "types": ["topics", "pairs", "endings", "names"],
        "plugin": ["questions"],
    },
}
"""Of each page with examples that run: what the leaderboards of its benchmarks show."""


def examples(page: Path) -> list[tuple[str, str]]:
    return EXAMPLE.findall(page.read_text(encoding="utf-8"))


def example(page: str, name: str) -> str:
    return dict(examples(ROOT / page))[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_data(folder: Path) -> None:
    """The data files that the pages describe, but do not show."""
    pairs = [(a, b) for a in WORDS for b in WORDS]
    reviews = [
        f"the {a} and the {b} are {'good' if i % 2 else 'bad'}\t{'yes' if i % 2 else 'no'}\n"
        for i, (a, b) in enumerate(pairs * 2)
    ]
    write(folder / "reviews.tsv", "text\tlabel\n" + "".join(reviews))
    rows = [{"text": f"is the {a} near the {b} ?", "kind": "question"} for a, b in pairs]
    rows += [{"text": f"the {a} is near the {b} .", "kind": "statement"} for a, b in pairs]
    for name, part in (("train", rows), ("dev", rows[::7])):
        write(folder / f"my_data/questions/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in part))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in TABLES], ids=lambda page: page.name)
def test_a_page_by_following_it(page, tmp_path, monkeypatch, sample_cache):
    for family in ("bert", "t5"):
        sample_tokenizer(family, sample_cache)
    shutil.copytree(sample_cache / "tokenizers", tmp_path / "results" / ".cache" / "tokenizers")
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    programs = []
    for name, text in examples(page):
        if name.startswith("commands"):
            for command in COMMAND.findall(text):
                assert main(command.split()) == 0, command
        elif name == "python":
            programs.append(text)
        else:
            write(tmp_path / name, text)
    for benchmark, words in TABLES[page.name].items():
        board = (tmp_path / "results" / benchmark / "leaderboard.md").read_text()
        assert all(word in board for word in words), (benchmark, words)
    if programs:
        run_programs(programs, tmp_path)
    check_files(tmp_path / "results")


def check_files(results: Path) -> None:
    """docs/tables.md explains every file and folder that a run left."""
    explained = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    left = {path.name for pattern in ("*", "*/*", "*/runs/*/*/*/*") for path in results.glob(pattern)}
    benchmarks = {path.parent.name for path in results.glob("*/manifest.json")}
    cached = {path.name for path in results.glob(".cache/*")}
    for name in left - benchmarks - cached:
        assert re.search(rf"`[^`]*\b{re.escape(name)}" if name[0] != "." else f"`[^`]*{re.escape(name)}", explained), (
            name
        )


def run_programs(programs: list[str], folder: Path) -> None:
    """All as one program in a process of its own, with the shipped benchmarks.yaml, but for its number of steps."""
    text = (ROOT / "benchmarks.yaml").read_text().replace("max_steps: 80", "max_steps: 4")
    write(folder / "benchmarks.yaml", text)
    done = subprocess.run(
        [sys.executable, str(write(folder / "example.py", "\n".join(programs)))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in ("bert-tiny", "CoLA", "acceptable", "'f1': 0.8", "wrong"):
        assert words in done.stdout, words


def test_every_page_with_examples_is_run():
    named = {page.name for page in PAGES if any(n == "python" or n[:8] == "commands" for n, _ in examples(page))}
    assert named == set(TABLES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_one(page):
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
    for line in COMMAND.findall(re.sub(r"\\\n\s*", "", blocks)):
        parser().parse_args(shlex.split(line, comments=True))


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_models_on_a_page_are_valid(page, tmp_path):
    models = yaml12.read(write(tmp_path / "models.yaml", example(page, "models.yaml"))).data["models"]
    benchmark = {"tasks": "cola", "models": list(models), "data": "sample"}
    path = write(tmp_path / "all.yaml", json.dumps({"models": models, "benchmarks": {"all": benchmark}}))
    assert set(read_benchmarks(path).models) == set(models)


def test_own_encoder_and_t5_folders(tmp_path, sample_cache):
    models = yaml12.read(write(tmp_path / "models.yaml", example("docs/models.md", "models.yaml"))).data["models"]
    for name, build in {"my-encoder": save_encoder, "enct5-two": save_t5, "t5-ranked": save_t5}.items():
        build(tmp_path / name, sample_cache)
        models[name] = {**models[name], "checkpoint": f"./{name}"}
    benchmark = {"tasks": "cola", "models": ["my-encoder", "enct5-two", "t5-ranked"], "data": "sample"}
    benchmark |= {"recipe": {"max_steps": 3}, "limit": {"train": 50, "validation": 20}}
    chosen = {name: models[name] for name in benchmark["models"]}
    write(tmp_path / "own.yaml", json.dumps({"models": chosen, "benchmarks": {"own": benchmark}}))
    assert main(["run", str(tmp_path / "own.yaml"), "--results", str(tmp_path / "results")]) == 0
    board = json.loads((tmp_path / "results" / "own" / "leaderboard.json").read_text())
    assert {row["model"] for row in board["rows"]} == set(chosen)


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


def test_a_task_from_an_installed_package(tmp_path, monkeypatch):
    write(tmp_path / "my_package/__init__.py", "")
    write(tmp_path / "my_package/questions.py", example("docs/tasks.md", "my_tasks/questions.py"))
    entry_points = tomllib.loads(example("docs/tasks.md", "pyproject.toml"))["project"]["entry-points"]
    info = tmp_path / "my_package-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in entry_points.items()
    ]
    write(info / "entry_points.txt", "\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_tasks()["questions"].labels == ("statement", "question")


def test_a_plugin_with_a_function(tmp_path):
    write(tmp_path / "politeness.py", example("docs/tasks.md", "my_tasks/politeness.py"))
    task = load_tasks([tmp_path])["politeness"]
    assert [task.parse(text, {}) for text in ("Polite.", "rude", "quite polite")] == [1, 0, None]
