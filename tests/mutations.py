"""Mutations for the fuzz tests: of bytes, of lines, of the values of documents; and what is no file at all."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness import HarnessError
from harness.cli import main

CPU_SECONDS, SECONDS = 10, 300
"""After which a call counts as hanging: of the process's own time, whatever else the machine does, and of waiting."""


class Hangs(BaseException):
    """A call took too long; no run takes it for an error of its own."""


@contextlib.contextmanager
def in_time(what: object = "") -> Iterator[None]:
    """A block that ends, or fails: nothing may compute for long, or wait for what never comes."""

    def late(number: int, frame: Any) -> None:
        limit = f"{CPU_SECONDS} s of computing" if number == signal.SIGPROF else f"{SECONDS} s"
        raise Hangs(f"longer than {limit}: {what}")

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def fuzz(number: int, check: Any, *strategies: Any) -> None:
    """Call ``check`` with so many examples, and end each in time."""

    @functools.wraps(check)
    def checked(*arguments: Any, **named: Any) -> None:
        with in_time((arguments, named)):
            check(*arguments, **named)

    phases = [Phase.explicit, Phase.reuse, Phase.generate]  # to shrink what whole commands found would take minutes
    kept = settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck), phases=phases)
    kept(given(*strategies)(checked))()


def amounts(short: int, long: int) -> Any:
    """So many examples, and more of them in the slow run."""
    return pytest.mark.parametrize("number", [short, pytest.param(long, marks=pytest.mark.slow)])


def command(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of a command, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        return main(list(map(str, arguments))), out.getvalue()


# Mutations -------------------------------------------------------------------------------------------------------

BYTES = [
    *(b"", b"\0", b"\n", b"\r\n", b"\r", b"\t", b"\t\t", b",", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b":", b"- "),
    *(b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\x1b[2J", b"\x85", b"\x0c", b"\x1a"),
    *("é", "\u2028", "\u0085", "\u202e", "\U0001f600", "\ufeff", "İ", "ß", "\u0660"),
    *(b"-1", b"0", b"1e999", b"-1e-999", b"nan", b"NaN", b"Infinity", b"-inf", b"9" * 400, b"9" * 5000, b"0x1f"),
    *(b"null", b"true", b"~", b"&a ", b"*a", b"!!python/object/apply:os.system [id]", b"<<: ", b"---\n", b"../"),
    *(b'\\ud800', b"\\u0000", b"[" * 300, b"x" * 100_000, b"@placeholder", b"<script>", b"%s%n"),
    *(b"[" * 20_000, b'{"a":' * 20_000, b"1" + b"0" * 30, b"\\udfff"),
]  # fmt: skip
PIECES = [piece.encode() if isinstance(piece, str) else piece for piece in BYTES]
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "x", "\0", "\ud800", "../..", "x" * 10_000, "1", "1e-4", "hub", "sample", "cola", "\n", "é\u202e"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": 0},
        ["x"] * 300,
        {"a": {"b": {"c": [1]}}},
        [1, "1"],
        {"x": None},
        "~nouser/x",
        "x.csv",
    ),
]
EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "replace", "double", "move", "drop", "end", "value", "key"]),
              st.integers(0, 2**16), st.integers(0, 2**16), st.integers(0, 2**16)),
    min_size=1, max_size=4,
)  # fmt: skip


def mutated(content: bytes, edits: list[tuple[str, int, int, int]], documents: bool) -> bytes:
    """The content after some edits; ``documents``: lines are JSON objects, whose values change their types."""
    for kind, at, size, what in edits:
        if kind in ("value", "key"):
            content = _retyped(content, kind, at, what) if documents else content
        elif kind in ("double", "move", "drop"):
            content = _lines_moved(content, kind, at, what)
        else:
            at %= len(content) + 1
            piece = PIECES[what % len(PIECES)]
            if kind == "flip" and at < len(content):
                content = content[:at] + bytes([content[at] ^ (1 << what % 8)]) + content[at + 1 :]
            elif kind == "cut":
                content = content[:at] + content[at + 1 + size % 40 :]
            elif kind == "insert":
                content = content[:at] + piece + content[at:]
            elif kind == "replace":
                content = content[:at] + piece + content[at + size % 12 :]
            elif kind == "end":
                content = content[:at]
    return content


def _lines_moved(content: bytes, kind: str, at: int, to: int) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    line = lines[at % len(lines)] if kind == "double" else lines.pop(at % len(lines))
    if kind != "drop":
        lines.insert(to % (len(lines) + 1), line)
    return b"".join(lines)


def _retyped(content: bytes, kind: str, at: int, what: int) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    number = at % len(lines)
    try:
        document = json.loads(lines[number])
    except (ValueError, RecursionError):
        return content
    lines[number] = json.dumps(change_node(document, kind, at, what)).encode() + b"\n"
    return b"".join(lines)


def change_node(document: Any, kind: str, at: int, what: int) -> Any:
    """A document in which one value has another type, or one key another name."""
    places = list(places_in(document))
    if not places:
        return copy.deepcopy(VALUES[what % len(VALUES)])
    parent, key = places[at % len(places)]
    if kind == "value":
        parent[key] = copy.deepcopy(VALUES[what % len(VALUES)])
    elif isinstance(parent, dict):
        value = parent.pop(key)
        if what % 3:
            parent[f"{key}{'s' * (what % 2)}"[what % 2 :]] = value
    else:
        parent.insert(what % (len(parent) + 1), parent[key])
    return document


def places_in(node: Any) -> Iterator[tuple[Any, Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(children):
        yield node, key
        yield from places_in(value)


def is_message(error: HarnessError) -> bool:
    """Whether a mistake is told in lines that a terminal bears."""
    lines = str(error).splitlines()
    return bool(lines) and all(line and line.isprintable() for line in lines)


# What is no regular file -------------------------------------------------------------------------------------------

THINGS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda path: path.mkdir(),
    "full folder": lambda path: (path / "x").mkdir(parents=True),
    "pipe": lambda path: os.mkfifo(path),
    "loop": lambda path: path.symlink_to(path),
    "nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
}


def replaced(path: Path, thing: str) -> None:
    """Put a thing in place of a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    THINGS[thing](path)
