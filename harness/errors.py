"""The one exception a user is meant to read, and what the system says, whoever tells it."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


class HarnessError(Exception):
    """A mistake or a missing thing that the user can put right.

    The message says what is wrong, where (``file:line`` when there is one) and what to do about it. The command line
    prints it without a traceback and ends with exit code 2.
    """


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Make an OSError of what the system says through a library in Rust, which has exceptions of its own for it."""
    try:
        yield
    except Exception as error:
        number = None if isinstance(error, OSError) else re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def printable(text: str) -> str:
    """A message in one line that a terminal bears, whatever the names and values in it hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def in_one_line(error: Exception) -> str:
    """What an exception says."""
    return " ".join(str(error).split()) or type(error).__name__


def shortened(text: str, most: int = 60) -> str:
    """A text as part of a message: printable, with dots in place of its end where it is too long."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown(value: object) -> str:
    """A value as part of a message."""
    return shortened(repr(value))


def did_you_mean(name: str, known: object) -> str:
    """`` Did you mean 'x'?`` for the closest of the ``known`` names, or an empty string."""
    import difflib

    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)  # type: ignore[attr-defined]
    return f" Did you mean '{close[0]}'?" if close else ""
