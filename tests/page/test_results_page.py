"""The page as a file: what stands in it without a browser, its policy, and that it is made again byte by byte."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from answered import Answered, seeds
from hand_made import entries, failed

import harness
from harness.leaderboard.build import board_and_runs
from harness.page.content import content_of
from harness.page.write import page
from harness.report.boards import leaderboard
from harness.results.store import Store

SHARES = {"best": 0.95, "middle": 0.9, "worst": 0.6}


class Tables(HTMLParser):
    """The tables of a page by their ids: rows of the texts of their cells."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] | None = None
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attrs).get("id", f"table {len(self.tables)}"), [])
        elif tag == "tr" and self.rows is not None:
            self.rows.append([])
        elif tag in ("th", "td") and self.rows:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data):
        if self.inside and self.rows:
            self.rows[-1][-1] += data


def put(folder: Path, *records, tasks=("one", "pair"), **manifest) -> Store:
    """Records of a benchmark ``mini`` in a results folder, as its present ones."""
    store = Store(folder, "mini")
    fingerprints = {(r.task, r.model, r.seed): r.fingerprint for r in records}
    store.update_manifest({**fingerprints, **manifest.get("missing", {})}, table={"tasks": list(tasks)})
    return store


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A benchmark of three models, two tasks and three seeds, with a run that failed and one to do."""
    folder = tmp_path_factory.mktemp("results")
    answered = Answered(folder)
    records = [r for name in ("one", "pair") for r in seeds(answered, SHARES, name=name)]
    wreck = answered.store.write(failed("nli", "<b>out of memory</b>", model="best"))
    put(folder, *records, wreck, missing={("nli", "worst", 1): "0" * 64})
    harness.report(folder)
    return folder


@pytest.fixture(scope="module")
def text(results) -> str:
    return (results / "mini" / "index.html").read_text(encoding="utf-8")


def visible(text: str) -> str:
    """The page's text, without scripts, styles and tags."""
    plain = re.sub(r"<(script|style|noscript).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", plain).split())


def test_the_answer_is_a_sentence_for_each_pair(text):
    said = visible(text)
    assert re.search(r"best is better than middle on Average of 2 tasks", said)
    assert "1 task better" in said or "2 tasks better" in said


def test_the_tables_are_there_without_a_script(text, results):
    tables = Tables(text).tables
    heads = tables["scores"][1]
    assert [head.split()[0] for head in heads] == ["nli", "one", "pair"]
    board = harness.report(results)["mini"]
    rows = {row[0]: row[1:] for row in tables["scores"][2:]}
    shown = f"{100 * board.rows[0].cells['one'].score.mean:.1f}"
    assert rows["best"][1].startswith(shown)
    assert [row[0] for row in tables["matrix"][1:]] == ["best", "middle", "worst"]
    assert "costs" in tables


def test_what_failed_and_what_is_missing_is_said_and_escaped(text):
    said = visible(text)
    assert "18 runs done, 1 failed, 1 to do" in said
    assert "no record yet" in said
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in text and "<b>out of memory" not in text


def test_the_policy_allows_what_stands_in_the_page_and_nothing_else(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'" and "unsafe" not in policy

    def allowed(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 6 and {allowed(script) for script in scripts} == set(parts["script-src"].split())
    [style] = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert parts["style-src"] == allowed(style)
    markup = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\s(style|on\w+)=", markup)
    assert not re.search(r'(src|href)="(?!#)', markup)


def test_report_makes_the_same_bytes_again(results, text):
    (results / "mini" / "index.html").unlink()
    harness.report(results)
    assert (results / "mini" / "index.html").read_text(encoding="utf-8") == text


def test_a_name_that_is_markup_stays_text(tmp_path):
    answered = Answered(tmp_path)
    records = [*seeds(answered, {"a": 0.9, "b": 0.8})]
    board, runs = board_and_runs(
        {"": entries(*records)}, {}, {}, benchmark="</script><b>", asked=(), references=False, choices={}
    )
    made = page(content_of(board, runs))
    assert "</script><b>" not in made and "&lt;/script&gt;&lt;b&gt;" in made


def test_of_one_model_and_of_none_there_is_a_page(tmp_path):
    answered = Answered(tmp_path)
    board, runs = board_and_runs(
        {"": entries(*seeds(answered, {"a": 0.9}))}, {}, {}, benchmark="mini", asked=(), references=False, choices={}
    )
    assert "one model here" in page(content_of(board, runs))
    empty = leaderboard([("one", "a", 1, None)], {}, {}, benchmark="mini")
    assert "1 to do" in page(content_of(empty, {("", "a"): {"one": {1: None}}}, live=True))


def test_a_page_needs_no_torch(results):
    code = f"import sys, harness; harness.report({str(results)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
