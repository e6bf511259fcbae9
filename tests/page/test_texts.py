"""The page of a benchmark that was run: `run` writes what `report` writes; texts are in it where they are asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from running import Bench

from harness.cli import main


@pytest.fixture(scope="module")
def done(tmp_path_factory, sample_cache) -> Path:
    """The results of a run of two models that learn nothing."""
    bench = Bench(tmp_path_factory.mktemp("done"), sample_cache)
    bench.write(models=["bert", "enct5"], recipe={"max_steps": 1})
    bench.run()
    return bench.results


def test_run_and_report_write_the_same_page_without_texts(done, capsys):
    path = done / "b" / "index.html"
    written = path.read_text(encoding="utf-8")
    assert "What is taken for what" in written and 'class="text"' not in written
    path.unlink()
    assert main(["report", str(done)]) == 0
    assert path.read_text(encoding="utf-8") == written
    assert str(path) in capsys.readouterr().out


def test_texts_are_shown_where_they_are_asked_for(done):
    assert main(["report", str(done), "--texts"]) == 0
    text = (done / "b" / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<span class="text">sentence: ([^<]+)</span>', text)
    assert 0 < len(shown) <= 12
