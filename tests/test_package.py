"""The wheel carries the built-in tasks, and a user's own `tasks` folder does not shadow them."""

import os
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
