"""SIGINT and SIGTERM: they wait until the state of a run is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

STOPPED = "stopped; the same command resumes where this one ended"


REPEATED = 2.0
"""Seconds in which a second signal counts as the first one, come twice (from the terminal and from a launcher)."""


class Terminated(SystemExit):
    """SIGTERM: the process ends with the exit code 143; other signals to stop: with 128 and their number."""


class Interrupts:
    """While this context lasts, the first SIGINT or SIGTERM in a `deferred` block is only stored, as ``received``.

    Everywhere else, and the second time, it raises `KeyboardInterrupt` or `Terminated`. A signal that the process
    was started to ignore stays ignored; outside the main thread nothing changes.

    Args:
        others: signals that count like SIGTERM, such as the one by which a cluster announces that the time is over.
    """

    def __init__(self, others: Sequence[int] = ()) -> None:
        self.received = 0
        self._signals = (signal.SIGINT, signal.SIGTERM, *others)
        self._time = 0.0
        self._deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that looks at ``received`` by itself, and often; what it did not see counts at its end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received:
            raise stop(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._deferred:
            raise stop(number)
        if not self.received:
            self.received, self._time = number, time.monotonic()
        elif time.monotonic() - self._time > REPEATED:
            raise stop(number)


def stop(number: int) -> BaseException:
    """The exception that ends the program after a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(128 + number)
