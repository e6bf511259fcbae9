"""What a command prints: where the reader has gone or the disk is full, printing ends and the work goes on."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class Output(io.TextIOBase):
    """A text stream before another one, that never raises.

    What the encoding of the stream cannot say is replaced. After the first error nothing more is written, and
    ``problem`` says what it was.

    Args:
        stream: standard output, say; None where the process was started without one.
    """

    def __init__(self, stream: TextIO | None):
        self.stream = stream
        self.problem: Exception | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What is done with characters that the encoding does not have."""
        return "replace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return self.stream is not None and self.stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("there is no stream")
        return self.stream.fileno()

    def write(self, text: str) -> int:
        if self.problem is None:
            try:
                self._write(text)
            except (OSError, ValueError) as error:
                self.problem = error
        return len(text)

    def _write(self, text: str) -> None:
        if self.stream is None:
            raise ValueError("standard output is closed")
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.stream.write(text.encode(self.encoding, "replace").decode(self.encoding))

    def flush(self) -> None:
        if self.problem is None and self.stream is not None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.problem = error

    def is_whole(self) -> bool:
        """Whether all that was printed so far could be written."""
        self.flush()
        return self.problem is None

    def drop(self) -> None:
        """Lead to nowhere what the stream still holds: Python would try to write it once more when it ends."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


@contextlib.contextmanager
def guarded() -> Iterator[Output]:
    """A block in which standard output and standard error never raise; gives the former."""
    _fill_descriptors()
    before: Any = sys.stdout, sys.stderr
    output, errors = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = before
        for stream in (output, errors):
            if not stream.is_whole():
                stream.drop()


def guarded_code(command: Callable[[], int]) -> int:
    """The exit code of a command in `guarded`: 1 in place of 0 where not all could be printed."""
    with guarded() as output:
        try:
            code = command()
        except SystemExit as end:  # --help, --version, wrong arguments, SIGTERM
            if end.code or output.is_whole():
                raise
            code = 0
        if not output.is_whole() and not isinstance(output.problem, BrokenPipeError):
            complain(f"not all could be printed: {output.problem}")
        return code or int(not output.is_whole())


def _fill_descriptors() -> None:
    """Open what the process was started without (``>&-``): the next file would get its number, and its text."""
    if os.name == "posix":
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)


def standard_output() -> TextIO:
    """Standard output, for callers outside of `guarded`, too."""
    stream: Any = sys.stdout
    return stream if isinstance(stream, Output) else Output(stream)  # type: ignore[return-value]


def complain(text: str) -> None:
    """A line on standard error."""
    errors: Any = sys.stderr if isinstance(sys.stderr, Output) else Output(sys.stderr)
    errors.write(f"{text}\n")
    errors.flush()
