"""What the Hub's clients raise, as messages that say what is wrong and what to do; and patience where it helps."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import HarnessError, did_you_mean

ATTEMPTS = 3
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
BUSY = (408, 429, 500, 502, 503, 504)
"""Answers that another attempt may change."""

BROKEN = ("ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "RemoteProtocolError", "Unclear")
"""Errors that another attempt may change. By name: the clients' versions use different HTTP libraries."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Unclear(Exception):
    """A client library hid the reason of its failure."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the Hub, for messages: ``kind`` is "data set" or "checkpoint"."""

    kind: str
    id: str
    revision: str | None = None

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{'datasets/' if self.kind == 'data set' else ''}{self.id}"

    def __str__(self) -> str:
        return f"{self.kind} {self.id}" + (f" at revision {self.revision}" if self.revision else "")


def ask(asked: Asked, call: Callable[[], T]) -> T:
    """The result of a call to the Hub's clients; a busy server or a broken transfer gets further attempts.

    The clients resume and check transfers themselves, but they do not repeat every kind of request.

    Raises:
        HarnessError: what the clients raise for a reason outside of this program.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except HarnessError:
            raise
        except Exception as error:
            wait = _wait(error, attempt)
            if wait is None or attempt == ATTEMPTS:
                message = _refused(asked, error) or _unreachable(asked, error) or _unfit(asked, error)
                if message is None:
                    raise
                raise HarnessError(message) from error
        log.warning("%s: the Hub is busy, or a transfer broke off; trying again in %.0f seconds", asked, wait)
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _wait(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None where another one would not help."""
    if not _find(error, *BROKEN) and not _is_incomplete(error) and _status(error) not in BUSY:
        return None
    return min(LONGEST_WAIT, max(FIRST_WAIT * 2 ** (attempt - 1), _asked_wait(error)))


def _asked_wait(error: BaseException) -> float:
    """The seconds that a busy Hub asks its client to wait."""
    for part in _chain(error):
        headers: Any = getattr(getattr(part, "response", None), "headers", {})
        limits = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
        asked = limits[1] if limits else headers.get("retry-after", "")
        if asked.isdecimal():
            return float(asked)
    return 0.0


# What is found in an error and the errors that it came from ------------------------------------------------------


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop(0)
        if current is not None and not any(current is other for other in seen):
            seen.append(current)
            todo += [current.__cause__, current.__context__]
            yield current


def _find(error: BaseException, *names: str) -> BaseException | None:
    """The first error of the chain that is of a class with one of these names."""
    for part in _chain(error):
        if not {cls.__name__ for cls in type(part).__mro__}.isdisjoint(names):
            return part
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status of the answer that an error came from.

    404 does not count: the clients look for optional files first, and a chain may hold that answer only by chance.
    """
    for part in _chain(error):
        status = getattr(getattr(part, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400 and status != 404:
            return status
    return None


def _is_incomplete(error: BaseException) -> bool:
    return any(isinstance(part, OSError) and "Consistency check failed" in str(part) for part in _chain(error))


# Messages --------------------------------------------------------------------------------------------------------


def _refused(asked: Asked, error: BaseException) -> str | None:
    """The Hub answered, but with no."""
    status = _status(error)
    login = f"log in with `hf auth login` ({asked.page})"
    if _find(error, "GatedRepoError"):
        return f"{asked} is gated: ask for access at {asked.page}, then log in with `hf auth login`"
    if _find(error, "RevisionNotFoundError"):
        return f"{asked.kind} {asked.id} has no revision '{asked.revision or 'main'}': see {asked.page}/commits/main"
    if _find(error, "DisabledRepoError"):
        return f"{asked}: the Hub has disabled this repository ({asked.page})"
    if _find(error, "RepositoryNotFoundError"):
        here = f", and there is no folder {asked.id} here" if asked.kind == "checkpoint" else ""
        return f"the Hub has no {asked.kind} {asked.id}{here}: check the name, or, if it is private, {login}"
    if status == 401:
        return f"the Hub refuses {asked} (401): check the name, or, if it is private or gated, {login}"
    if status == 403:
        return f"the Hub forbids {asked} (403): ask for access, or {login} with a token that may read it"
    if status == 429:
        return f"the Hub limits requests (429) for {asked}: wait some minutes and run again, or {login}"
    if status is not None:
        return f"the Hub answers {status} for {asked}, again and again: run the same command later"
    return None


def _unreachable(asked: Asked, error: BaseException) -> str | None:
    """No answer, or half of one."""
    if _find(error, "OfflineModeIsEnabled"):
        found = asked.revision is not None and re.fullmatch("[0-9a-f]{40}", asked.revision)
        hint = "run once without" + ("" if found else ", or name a commit that is in the cache as its revision")
        return f"{asked} is not in the cache, and offline mode (--offline, HF_HUB_OFFLINE) forbids the network: {hint}"
    if _find(error, *BROKEN[:-1]) or _is_incomplete(error):
        return f"the transfer of {asked} broke off, again and again: nothing incomplete is used; run the command again"
    if _find(error, "TransportError", "ConnectionError"):
        return (
            f"cannot reach the Hub for {asked}: check the network, proxies and HF_ENDPOINT, "
            "or name a folder on this machine"
        )
    return None


def _unfit(asked: Asked, error: BaseException) -> str | None:
    """The Hub has it, but not in the form that is needed."""
    text = " ".join(str(error).split())
    if unknown := re.search(r"BuilderConfig '(.+?)' not found\. Available: \[(.*)\]", text):
        known = re.findall("'(.+?)'", unknown[2])
        hint = did_you_mean(unknown[1], known)
        return f"{asked} has no configuration '{unknown[1]}'.{hint} It has: {', '.join(known)}"
    if unknown := re.search(r"[Uu]nknown split \"(.+?)\"\. Should be one of \[(.*)\]", text):
        known = re.findall("'(.+?)'", unknown[2])
        return f"{asked} has no split '{unknown[1]}'. It has: {', '.join(known)}"
    if "Config name is missing" in text:
        return f"{asked} has several configurations, and none is named. {text.split(' Example of usage')[0]}"
    if "Dataset scripts are no longer supported" in text:
        return f"{asked} is a script, and no remote code is run: choose a data set of parquet, csv or json files"
    if _find(error, "HFValidationError"):
        return f"'{asked.id}' is neither a folder here nor a name on the Hub: {_first(error)}"
    if _find(error, "DatasetsError", "ArrowException", "Unclear", "HTTPError", "EntryNotFoundError"):
        return f"{asked} cannot be read: {_first(_find(error, 'ArrowException') or error)}"
    if isinstance(error, OSError) and error.errno:
        return f"{asked}: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return None


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
