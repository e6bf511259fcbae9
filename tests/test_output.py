"""Output that nobody reads, or that has no room or no letters: it ends no run, and touches no record and no table."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import UNMOVED, Bench, content
from test_cli import official_files

import harness
from harness.cli import main
from harness.training.update import Training

REPOSITORY = Path(__file__).parent.parent


class Breaks(io.StringIO):
    """A stream that takes so many characters and then raises."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, text):
        taken = super().write(text[: self.room])
        self.room -= taken
        if taken < len(text):
            raise BrokenPipeError(32, "Broken pipe")
        return taken


def reader_gone():
    read, write = os.pipe()
    os.close(read)
    return open(write, "w", encoding="utf-8")


def closed():
    stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    stream.close()
    return stream


BROKEN = {
    "none": lambda: None,
    "closed": closed,
    "full": lambda: open("/dev/full", "w", encoding="utf-8"),  # noqa: SIM115
    "reader gone": reader_gone,
    "reader gone at once": lambda: Breaks(0),
    "reader gone after a while": lambda: Breaks(10),
    "full, unbuffered": lambda: io.TextIOWrapper(open("/dev/full", "wb", 0), write_through=True),  # noqa: SIM115
}
POOR = {
    name: lambda name=name: io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("ascii", "latin-1", "cp1252")
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, sample_cache):
    """A benchmark that is done."""
    bench = Bench(tmp_path_factory.mktemp("done"), sample_cache)
    write(bench)
    bench.run()
    return bench


def write(bench):
    """A benchmark whose test predictions can be submitted."""
    official_files(bench.folder / "data")
    bench.write(tasks=["wnli"], data="./data", limit=None, allow_partial=True, seeds=[1, 2], predict="test")


def into(stream, *arguments):
    """The exit code of a command that prints into a stream, and the stream."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        assert sys.stdout is stream
    return code


def commands(bench, folder):
    results = ("--results", bench.results)
    return {
        "--help": ["--help"],
        "--version": ["--version"],
        "run": ["run", bench.path, *results],
        "dry run": ["run", bench.path, *results, "--dry-run"],
        "report": ["report", bench.results],
        "show": ["show", bench.record("wnli").folder],
        "validate": ["validate", bench.path],
        "tasks": ["tasks"],
        "models": ["models", bench.path],
        "submit": ["submit", bench.results, "b", "--model", "bert", "--seed", 1, "--output", folder],
    }


@pytest.mark.parametrize("kind", BROKEN)
def test_no_command_ends_with_a_traceback_or_0(done, tmp_path, kind):
    expected = content(done.results)
    for name, command in commands(done, tmp_path).items():
        assert into(BROKEN[kind](), *command) == 1, name
    assert (tmp_path / "GLUE.zip").exists()
    assert content(done.results) == expected


@pytest.mark.parametrize("encoding", POOR)
def test_what_an_encoding_lacks_is_replaced(done, tmp_path, encoding):
    for name, command in commands(done, tmp_path).items():
        stream = POOR[encoding]()
        assert into(stream, *command) == (1 if name == "submit" else 0), name  # a submission of one task is incomplete
        stream.flush()
        assert stream.buffer.getvalue(), name
        if name == "show":
            dot = "?" if encoding == "ascii" else "·"
            assert stream.buffer.getvalue().decode(encoding).startswith(f"wnli {dot} bert {dot} seed 1: finished\n")


@pytest.mark.parametrize("kind", BROKEN)
def test_runs_and_tables_are_those_of_another_output(done, bench, kind):
    write(bench)
    assert into(BROKEN[kind](), "run", bench.path, "--results", bench.results) == 1
    assert content(bench.results / "b" / "runs") == content(done.results / "b" / "runs")
    assert harness.report(bench.results)["b"].rows and (bench.results / "b" / "leaderboard.md").exists()


@pytest.mark.parametrize("kind", ["none", "full", "reader gone", "ascii"])
def test_stopping_and_resuming_do_not_fail(bench, kind, monkeypatch, request):
    """As with ``| tee log``, whose reader ends with the same Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    bench.write(UNMOVED, checkpoint_every=0)
    command = ["run", bench.path, "--results", bench.results]
    update = Training.update

    def interrupted(training):
        update(training)
        if training.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Training, "update", interrupted)
    stream = (BROKEN | POOR)[kind]
    assert into(stream(), *command) == 130
    assert not bench.store.records()
    monkeypatch.setattr(Training, "update", update)
    assert into(stream(), *command) == (0 if kind == "ascii" else 1)
    assert bench.record().finished and "resumes from step 2" in bench.record().log()


def test_a_program_that_shows_the_progress_is_safe_too(bench, monkeypatch):
    bench.write()
    monkeypatch.setattr(sys, "stdout", Breaks(1))
    assert bench.run(progress=True).rows[0].cells["cola"].score is not None


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "0>&- >&- 2>&-", ">/dev/full", "2>/dev/full >&2"])
def test_descriptors_that_a_shell_closed(redirection):
    command = f"exec {sys.executable} -m harness tasks {redirection}"
    assert subprocess.run(["sh", "-c", command], cwd=REPOSITORY, stderr=subprocess.PIPE).returncode == 1
    assert subprocess.run(["sh", "-c", command.replace("tasks", "validate absent")], cwd=REPOSITORY).returncode == 2


def test_a_file_never_takes_the_place_of_a_closed_output(tmp_path):
    """The first file that is opened would get the number of the closed descriptor, and what is printed into it."""
    path = tmp_path / "written"
    code = (
        "import sys; from harness.output import guarded\n"
        "with guarded(), open(sys.argv[1], 'w') as file: print(file.fileno() > 2, file=file)"
    )
    shell = ["sh", "-c", 'exec "$0" -c "$1" "$2" >&- <&-', sys.executable, code, str(path)]
    subprocess.run(shell, cwd=REPOSITORY, check=True)
    assert path.read_text() == "True\n"
