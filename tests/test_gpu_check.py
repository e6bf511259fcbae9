"""`scripts/gpu_check.py` on a CPU: the same code with small models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import gpu_check  # noqa: E402


def check(folder, *options):
    command = [sys.executable, "scripts/gpu_check.py", "--device", "cpu", "--output", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = json.loads((folder / "gpu_check.json").read_text()) if (folder / "gpu_check.json").exists() else []
    return done, rows


def test_a_part_leaves_rows_a_table_and_a_log(tmp_path):
    done, rows = check(tmp_path / "out", "--parts", "memory,equal", "--minutes", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["what"] for row in rows if row["part"] == "memory"] == ["out of memory", "seconds"]
    assert [row["ok"] for row in rows if row["part"] == "equal"] == [True, True, None]
    assert (tmp_path / "out" / "gpu_check.md").read_text().startswith("2 checks passed, 0 failed")
    assert (tmp_path / "out" / "log.txt").is_file()


def test_an_unknown_part_is_named(tmp_path):
    done, rows = check(tmp_path, "--parts", "memory,speeed")
    assert done.returncode == 2 and "no such part: speeed" in done.stdout and not rows


def test_a_part_that_takes_the_process_with_it_does_not_stop_the_others(tmp_path, monkeypatch):
    """The worker of one part dies; another worker goes on after it."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys\nparts = sys.argv[sys.argv.index('--parts') + 1].split(',')\n"
        "for name in parts:\n"
        "    print(json.dumps({'part': name, 'begins': True}), flush=True)\n"
        "    if name == 'runs':\n        sys.exit(9)\n"
        "    print(json.dumps({'part': name, 'what': 'w', 'value': 1, 'ok': True}), flush=True)\n"
        "    print(json.dumps({'part': name, 'ends': True}), flush=True)\n"
    )
    monkeypatch.setattr(gpu_check, "__file__", str(script))
    options = gpu_check.parser().parse_args(["--output", str(tmp_path), "--parts", "precision,runs,equal"])
    rows = gpu_check.supervise(options)
    assert [(row["part"], row["ok"]) for row in rows] == [("precision", True), ("runs", False), ("equal", True)]
    assert gpu_check.as_table(rows).startswith("2 checks passed, 1 failed: runs")


def test_packages_that_are_missing_are_named_together(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "NEEDED", ("torch", "no-such-package", "nor-this-one"))
    assert gpu_check.main([]) == 2
    assert "missing: no-such-package nor-this-one" in capsys.readouterr().out


@pytest.mark.slow
def test_all_parts_run_on_a_cpu(tmp_path):
    done, rows = check(tmp_path / "out", "--minutes", "15")
    assert done.returncode == 0, done.stdout
    assert {row["part"] for row in rows if row["what"] != "not run"} == set(gpu_check.PARTS)
