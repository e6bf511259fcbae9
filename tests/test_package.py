"""The wheel carries the built-in tasks, and a user's own `tasks` folder does not shadow them."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

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


def test_the_wheel_finds_the_built_in_tasks(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]
    assert "Description-Content-Type: text/markdown" in metadata and "EncT5, T5 or BERT: which is better" in metadata
    assert "(https://arxiv.org/abs/2110.08426)" in metadata and not re.search(r"\]\((?!https://)", metadata)
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


def test_links_of_the_readme_lead_into_the_repository_once_it_has_an_address():
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
