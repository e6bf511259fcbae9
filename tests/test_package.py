"""The wheel carries the built-in tasks, and a user's own `tasks` folder does not shadow them."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "harness" / "page"
PRINT = "import harness; print(','.join(harness.load_tasks())); print(harness.__file__)"


def tasks_in(folder: Path, path: Path) -> tuple[set[str], str]:
    """The tasks a fresh process finds that works in ``folder`` with the package in ``path``."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    names, file = done.stdout.splitlines()
    return set(names.split(",")), file


def built(folder: Path, source: str) -> tuple[Path, Message]:
    """A wheel that is built with this address of the repository, and its metadata."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "SOURCE_URL": source},
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    return wheel, Parser().parsestr(metadata)


def test_the_wheel_finds_the_built_in_tasks(tmp_path):
    wheel, metadata = built(tmp_path / "dist", source="")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    readme = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown" and "EncT5, T5 or BERT: which is better" in readme
    assert "(https://arxiv.org/abs/2110.08426)" in readme and not re.search(r"\]\((?!https://)", readme)
    assert "Project-URL" not in metadata
    data = {"harness/data/sample_words.yaml", "harness/leaderboard/references.yaml"}
    data |= {f"harness/page/{p.relative_to(PAGE)}" for p in PAGE.rglob("*.*") if p.suffix not in (".py", ".pyc")}
    assert {"harness/page/vendor/vega.min.js", "harness/page/vendor/vega-LICENSE.txt"} <= data
    assert {"harness/py.typed", "harness/_tasks/glue.py", *data} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "tasks/", "results/"))]
    found, file = tasks_in(tmp_path, tmp_path / "installed")
    assert file.startswith(str(tmp_path / "installed"))
    assert {"cola", "mnli", "ax", "record", "wsc"} <= found


def test_a_folder_called_tasks_shadows_nothing(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError('imported')")
    found, _ = tasks_in(tmp_path, ROOT)
    assert {"cola", "record"} <= found


@pytest.mark.parametrize("ending", ["", "/"])
def test_links_of_the_package_lead_into_the_repository_once_it_has_an_address(tmp_path, ending):
    address = "https://example.org/me/harness"
    _, metadata = built(tmp_path, source=address + ending)
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL"))
    assert links.pop("Source") == address and {*links} == {"Documentation", "Changelog"}
    paths = re.findall(rf"\]\({address}/(?:raw|blob)/HEAD/([^)#]+)\)", metadata.get_payload())
    assert {"docs/page.png", "docs/tasks.md", "benchmarks.yaml"} <= {*paths}
    assert all((ROOT / path).exists() for path in paths)
    for link in links.values():
        assert (ROOT / link.removeprefix(f"{address}/").split("/HEAD/")[1]).exists()


def test_links_of_the_readme_lead_into_the_repository():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "![A page](docs/page.png) [tasks](docs/tasks.md#files) [paper](https://a.b/c) [below](#below)"
    address = "https://example.org/me/harness"
    assert hook.readable_anywhere(text, f"{address}/") == (
        f"![A page]({address}/raw/HEAD/docs/page.png) [tasks]({address}/blob/HEAD/docs/tasks.md#files) "
        "[paper](https://a.b/c) [below](#below)"
    )
    assert hook.readable_anywhere(text, "") == " tasks [paper](https://a.b/c) [below](#below)"
