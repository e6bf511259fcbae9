"""LaTeX: what is escaped, what is bold, footnotes as table notes, wide and long tables in parts; it compiles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from answered import Answered, seeds
from answered import board as answered_board
from hand_made import board, entries, failed, record, task

import harness
from harness.cli import main
from harness.report.boards import leaderboard
from harness.report.latex import efficiency_tex, leaderboard_tex, tex
from harness.task.task import Suite

NASTY = r"a_b & 50% #1 \x {y} ~z^2 <t> [u]"
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[textwidth=14cm]{geometry}
\usepackage{booktabs,threeparttable}
\begin{document}
%s
\end{document}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("-0.4 ± 1", r"$-$0.4 $\pm$ 1"),
        ("bert-base", "bert-base"),
        ("MAE ↓", r"MAE $\downarrow$"),
        ("\\", r"\textbackslash{}"),
        ("[x]", "{}[x]"),
        ("*x", "{}*x"),
        ("naïve 模", "naïve [U+6A21]"),
        ("two\nlines", "two lines"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert tex(text) == expected


def test_tie_groups_are_bold_and_footnotes_are_table_notes(tmp_path: Path) -> None:
    answered = Answered(tmp_path)
    runs = [*seeds(answered, {"a": 0.85, "b": 0.84, "c": 0.6}), failed("one", "oom", model="d")]
    text = leaderboard_tex(answered_board(*runs))
    rows = {line[0]: line for line in text.splitlines() if " & " in line}
    assert [r"\textbf{" in rows[name] for name in "abc"] == [True, True, False]
    [letter] = re.findall(r"\\item\[(\w)\] failed: oom", text)
    assert f"failed\\tnote{{{letter}}}" in rows["d"]
    assert r"$\pm$" in rows["a"] and r"\label{tab:mini-mini}" in text
    assert text.count(r"\begin{threeparttable}") == text.count(r"\end{threeparttable}") == 1
    assert r"\item Bold: the best of a column" in text


def many(tasks: int, models: int) -> str:
    own = {f"t{i}": task(f"t{i}", f"Task number {i}") for i in range(tasks)}
    scores = {name: {name: {"validation": {"accuracy": 0.5}}} for name in own}
    runs = [record("one", f"m{m}", task=name, scores=scores[name]) for m in range(models) for name in own]
    return leaderboard_tex(leaderboard(entries(*runs), own, {"mini": Suite("mini", "Mini", {})}, benchmark="x"))


def test_of_many_tasks_and_few_models_tasks_are_the_rows() -> None:
    text = many(20, 2)
    assert text.count(r"\begin{tabular}") == 1
    assert re.search(r"^Task & m0 & m1 \\\\$", text, re.M) and re.search(
        r"^Task number 7 acc & 50.0 & 50.0", text, re.M
    )


def test_wide_and_long_tables_are_cut_and_the_models_repeated() -> None:
    text = many(20, 45)
    assert text.count(r"\begin{tabular}") == 2 * text.count("\nm44 & ") > 2
    assert "(1 of " in text and r"\label{tab:x-mini-2}" in text
    assert text.count(r"\item Scores on the validation sets") == 1
    for i in range(20):
        assert f"Task number {i} " in text


def test_files_and_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answered = Answered(tmp_path)
    runs = seeds(answered, {"a": 0.85, "b": 0.6})
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in runs}, {"data": "hub"})
    harness.report(tmp_path)
    folder = answered.store.folder
    for form in ("md", "csv", "tex", "json"):
        assert main(["report", str(tmp_path), "--format", form]) == 0
        assert capsys.readouterr().out == (folder / f"leaderboard.{form}").read_text()
    assert r"\caption{Efficiency, benchmark mini" in (folder / "efficiency.tex").read_text()
    json.loads((folder / "leaderboard.json").read_text())
    shutil.copytree(folder, tmp_path / "other")
    assert (
        main(["report", str(tmp_path), "--format", "tex"]) == 0
        and main(["report", str(tmp_path), "--format", "csv"]) == 2
    )
    assert "there are benchmarks mini, other: choose with --benchmark" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex (Debian: texlive-latex-extra)")
def test_it_compiles(tmp_path: Path) -> None:
    answered = Answered(tmp_path / "results")
    runs = seeds(answered, {"a_b-50": 0.85, "b": 0.84, "c": 0.6})
    answered.store.update_manifest({(r.task, r.model, r.seed): r.fingerprint for r in runs}, {"data": "hub"})
    made = answered_board(*runs, failed("one", f"it said {NASTY}", model="d"))
    nasty = board(record("one", NASTY), record("one", "[x]"), record("pair", "*y"))
    compared = harness.compare("a_b-50", "c", answered.store.results).text("tex")
    parts = [leaderboard_tex(made), efficiency_tex(made), leaderboard_tex(nasty), many(20, 45), many(20, 3), compared]
    (tmp_path / "paper.tex").write_text(DOCUMENT % "\n\\clearpage\n".join(parts), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull \\hbox" not in log
