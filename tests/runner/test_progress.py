"""What a person sees of the runs: lines in a pipe, a live view on a terminal, nothing from other processes."""

import io

import pytest
from hand_made import settings
from rich.console import Console

from harness.results.record import Record
from harness.runner.progress import Display, Lines, LiveView, make_display


def record(**changes):
    data = {
        "fingerprint": "0" * 64, "status": "finished", "task": "mrpc", "model": "tiny", "settings": settings("mrpc"),
        "scores": {"mrpc": {"validation": {"f1": 0.9, "accuracy": 0.875}}, "ax": {"test": {"accuracy": 0.5}}},
        "efficiency": {"train_examples_per_second": 1234.5, "total_seconds": 75.2},
    }  # fmt: skip
    return Record.model_validate({**data, **changes})


FAILED = record(status="failed", scores={}, error="the training loss is nan", traceback="")


def show(display):
    """A benchmark of four runs, one of them done before."""
    display.plan(4, 1)
    for seed in (1, 2):
        display.run_started("mrpc", "tiny", seed, 20)
        display.evaluated(0, {"f1": 0.5, "accuracy": 0.25}, 0.375)
        display.progress(20, 0.654321, 1000.0)
        display.run_finished(record())
    display.run_started("mrpc", "wild", 1, 20)
    display.run_failed(FAILED)
    display.message("a [bold] word with [brackets]")
    display.close()


def test_lines_tell_what_is_done_and_what_is_left(capsys):
    show(Lines())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 runs, 1 of them done"
    assert lines[1].startswith("[2/4] mrpc · tiny · seed 1: f1 90.0, accuracy 87.5 in 75 s (1,234 examples/s); ")
    assert lines[1].endswith(" to go")
    assert lines[2].startswith("[3/4] mrpc · tiny · seed 2: ")
    assert lines[3:] == [
        "[4/4] mrpc · wild · seed 1: FAILED: the training loss is nan",
        "a [bold] word with [brackets]",
    ]


def test_lines_tell_the_step_of_a_long_run_at_most_every_30_seconds(capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("harness.runner.progress.time.monotonic", lambda: clock[0])
    lines = Lines()
    lines.run_started("mrpc", "tiny", 1, 2000)
    for step in range(100, 1001, 100):
        clock[0] += 10
        lines.progress(step, 0.654321, 1000.0)
    assert capsys.readouterr().out.splitlines() == [
        f"mrpc · tiny · seed 1: step {step} of 2,000, loss 0.654" for step in (300, 600, 900)
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_live_view_shows_the_same_and_the_current_run(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=20, color_system=None)
    view = LiveView(console)
    view.plan(4, 1)
    view.run_started("mrpc", "tiny", 1, 20)
    view.evaluated(0, {"accuracy": 0.25}, 0.25)
    view.progress(10, 0.654321, 1000.0)
    with console.capture() as drawn:
        console.print(view.bars.get_renderable())
    text = drawn.get()
    assert "1/4" in text and "10/20" in text and "━━━━━━━━━━" in text
    parts = ("mrpc · tiny · seed 1", "loss 0.654", "1,000 examples/s", "accuracy 25.0 at step 0")
    for part in parts[: {40: 0, 80: 3, 120: 4}[width]]:
        assert part in text
    view.run_finished(record())
    view.close()
    assert "[2/4] mrpc" in console.file.getvalue()


def test_the_live_view_survives_everything_a_benchmark_tells():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    show(LiveView(console))
    assert "FAILED: the training loss is nan" in console.file.getvalue()


def test_the_display_fits_where_the_output_goes(capsys):
    show(Display())  # of the processes that do not speak
    assert capsys.readouterr().out == ""
    assert type(make_display()) is Lines  # the output is caught: no terminal
