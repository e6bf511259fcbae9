"""Access to the Hugging Face Hub: what may use the network, further attempts, and messages for what its clients raise.

The clients' own ``http_backoff`` repeats listings of files only: `ask` repeats whatever is asked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import HarnessError, did_you_mean

T = TypeVar("T")
log = logging.getLogger(__name__)

# The network -----------------------------------------------------------------------------------------------------

QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""Environment variables, for processes that are started and for libraries that are not imported yet."""

READERS = {
    "HF_HUB_DISABLE_TELEMETRY": ("huggingface_hub.constants",),
    "HF_UPDATE_DOWNLOAD_COUNTS": ("datasets.config", "evaluate.config"),
    "HF_HUB_OFFLINE": ("huggingface_hub.constants", "datasets.config"),
}
"""The modules that keep what they read from a variable when they were imported, and read it there at each request."""

ON = ("1", "ON", "YES", "TRUE")


@contextlib.contextmanager
def network(offline: bool = False, wait: bool = False) -> Iterator[None]:
    """A block without telemetry; ``offline``: also without the network, whatever was imported before.

    What is asked of the Hub then comes from its cache, or is a `HarnessError`. Afterwards all is as it was.

    Args:
        wait: for a Hub that cannot be reached, until it can be.
    """
    token = _WAITS.set(wait or _WAITS.get())
    try:
        with _without(QUIET | (OFFLINE if offline else {})):
            yield
    finally:
        _WAITS.reset(token)


@contextlib.contextmanager
def _without(wanted: dict[str, str]) -> Iterator[None]:
    """A block with these environment variables, also for the libraries that have read them already."""
    environment = {name: os.environ.get(name) for name in wanted}
    constants = {(module, name): getattr(sys.modules[module], name) for module, name in _constants(wanted)}
    os.environ.update(wanted)
    for module, name in constants:
        setattr(sys.modules[module], name, wanted[name] == "1")
    try:
        yield
    finally:
        for variable, value in environment.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        for module, name in _constants(wanted):
            setattr(sys.modules[module], name, constants.get((module, name), _default(name, environment[name])))


def _constants(names: dict[str, str]) -> list[tuple[str, str]]:
    """(module, name) of what the imported libraries keep."""
    return [(module, name) for name in names for module in READERS[name] if hasattr(sys.modules.get(module), name)]


def _default(name: str, value: str | None) -> bool:
    """What a library that was imported in the block would have read before it."""
    return name == "HF_UPDATE_DOWNLOAD_COUNTS" if value is None else value.upper() in ON


# Whether there is one ---------------------------------------------------------------------------------------------

REACHED_WITHIN = 8.0
"""Seconds in which a Hub that can be reached gives its first answer."""
LOOKS_EVERY = 15.0
"""Seconds between two attempts to reach one that is waited for."""
_WAITS: ContextVar[bool] = ContextVar("waits", default=False)
_LOOKED: dict[str, bool] = {}


def reach() -> bool:
    """Whether the Hub answers at all, with whatever; asked once in a process.

    Its clients would try for minutes. Where `network` waits, so does this.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return True  # nothing is asked: the cache answers
    address = constants.ENDPOINT
    if address not in _LOOKED:
        _LOOKED[address] = _answers(address)
    while _WAITS.get() and not _LOOKED[address]:
        log.warning("cannot reach %s: trying again every %.0f seconds", address, LOOKS_EVERY)
        time.sleep(LOOKS_EVERY)
        _LOOKED[address] = _answers(address)
    return _LOOKED[address]


def is_offline() -> bool:
    """Whether the network is forbidden, by `network` or by the user's environment."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _answers(address: str) -> bool:
    """Whether a server gives an answer in time; looking up its name may take longer, and is left to itself then."""
    from huggingface_hub.utils import get_session, httpx

    answers: queue.Queue[bool] = queue.Queue()

    def look() -> None:
        try:
            get_session().head(address, timeout=REACHED_WITHIN, follow_redirects=False)
        except (httpx.TransportError, OSError) as error:
            answers.put(isinstance(error, httpx.RemoteProtocolError | httpx.ReadError))
        except Exception:  # a proxy, a certificate: the clients' own message says more
            answers.put(True)
        else:
            answers.put(True)

    threading.Thread(target=look, daemon=True).start()
    try:
        return answers.get(timeout=REACHED_WITHIN)
    except queue.Empty:
        return False


# Requests --------------------------------------------------------------------------------------------------------

ATTEMPTS = 3
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP statuses that another attempt may change."""


class Unclear(Exception):
    """A client library hid the reason of its failure: another attempt may help."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the Hub, for messages: ``noun`` is "data set" or "checkpoint"."""

    noun: str
    id: str
    revision: str | None = None

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{'datasets/' if self.noun == 'data set' else ''}{self.id}"

    def __str__(self) -> str:
        return f"{self.noun} {self.id}" + (f" at revision {self.revision}" if self.revision else "")


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit, and neither a branch nor a tag."""
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def ask(asked: Asked, call: Callable[[], T]) -> T:
    """The result of a call to the Hub's clients; a busy server or a broken transfer gets further attempts.

    Raises:
        HarnessError: what the clients raise for a reason outside of this program.
    """
    if not reach():
        return _from_cache(asked, call)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except HarnessError:
            raise
        except Exception as error:
            again = _broke_off(error) or _cause(error, Unclear) or _status(error) in BUSY
            if not again or attempt == ATTEMPTS:
                message = _refused(asked, error) or _unreachable(asked, error) or _unfit(asked, error)
                if message is None:
                    raise
                raise HarnessError(message) from error
            wait = min(LONGEST_WAIT, max(FIRST_WAIT * 2 ** (attempt - 1), _requested_wait(error)))
        log.warning("%s: the Hub is busy, or a transfer broke off; trying again in %.0f seconds", asked, wait)
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _from_cache(asked: Asked, call: Callable[[], T]) -> T:
    """What a call finds without the Hub, which cannot be reached.

    Raises:
        HarnessError: it is not there.
    """
    try:
        with network(offline=True):
            return call()
    except HarnessError:
        raise
    except Exception as error:
        if _unreachable(asked, error) or _unfit(asked, error):
            raise HarnessError(no_network(asked)) from error
        raise


def _requested_wait(error: BaseException) -> float:
    """The seconds that a busy Hub asks its client to wait."""
    from huggingface_hub.utils import parse_ratelimit_headers

    for part in _chain(error):
        headers: Any = getattr(getattr(part, "response", None), "headers", {})
        limit = parse_ratelimit_headers(headers)
        if limit and not limit.remaining:
            return float(limit.reset_in_seconds)
        if (seconds := headers.get("retry-after", "")).isdecimal():
            return float(seconds)
    return 0.0


# Causes of an error ----------------------------------------------------------------------------------------------


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


def _cause(error: BaseException, *classes: type[BaseException]) -> BaseException | None:
    """The first error of the chain that is of one of these classes."""
    return next((part for part in _chain(error) if isinstance(part, classes)), None)


def _status(error: BaseException) -> int | None:
    """The HTTP status of the answer that an error came from.

    404 does not count: the clients look for optional files first, and a chain may hold that answer only by chance.
    """
    statuses = (getattr(getattr(part, "response", None), "status_code", None) for part in _chain(error))
    return next((status for status in statuses if isinstance(status, int) and status >= 400 and status != 404), None)


def _broke_off(error: BaseException) -> bool:
    """Whether a transfer began, but did not end."""
    from huggingface_hub.utils import httpx

    broken = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
    incomplete = (isinstance(part, OSError) and "Consistency check failed" in str(part) for part in _chain(error))
    return _cause(error, *broken) is not None or any(incomplete)


# Messages --------------------------------------------------------------------------------------------------------


def _refused(asked: Asked, error: BaseException) -> str | None:
    """The Hub answered, but with no."""
    from huggingface_hub import errors

    login = f"log in with `hf auth login` ({asked.page})"
    status = _status(error)
    if _cause(error, errors.GatedRepoError):
        return f"{asked} is gated: ask for access at {asked.page}, then log in with `hf auth login`"
    if _cause(error, errors.RevisionNotFoundError):
        return f"{asked.noun} {asked.id} has no revision '{asked.revision or 'main'}': see {asked.page}/commits/main"
    if _cause(error, errors.DisabledRepoError):
        return f"{asked}: the Hub has disabled this repository ({asked.page})"
    if _cause(error, errors.RepositoryNotFoundError):
        here = f", and there is no folder {asked.id} here" if asked.noun == "checkpoint" else ""
        return f"the Hub has no {asked.noun} {asked.id}{here}: check the name, or, if it is private, {login}"
    if status is None:
        return None
    by_status = {
        401: f"the Hub refuses {asked} (401): check the name, or, if it is private or gated, {login}",
        403: f"the Hub forbids {asked} (403): ask for access, or {login} with a token that may read it",
        429: f"the Hub limits requests (429) for {asked}: wait some minutes and run again, or {login}",
    }
    return by_status.get(status, f"the Hub answers {status} for {asked}, again and again: run the same command later")


def _unreachable(asked: Asked, error: BaseException) -> str | None:
    """No answer, or half of one."""
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    if _cause(error, OfflineModeIsEnabled):
        return not_cached(asked)
    if _broke_off(error):
        return f"the transfer of {asked} broke off, again and again: nothing incomplete is used; run the command again"
    if _cause(error, httpx.TransportError, ConnectionError):
        return no_network(asked)
    return None


def not_cached(asked: Asked) -> str:
    """What is said of something that offline mode does not find."""
    hint = "run once without" + (
        "" if is_commit(asked.revision) else ", or name a commit that is in the cache as its revision"
    )
    return f"{asked} is not in the cache, and offline mode (--offline, HF_HUB_OFFLINE) forbids the network: {hint}"


def no_network(asked: Asked) -> str:
    """What is said of something that is asked of a Hub that cannot be reached."""
    return (
        f"cannot reach the Hub for {asked}: check the network, proxies and HF_ENDPOINT, "
        "or name a folder on this machine"
    )


def _unfit(asked: Asked, error: BaseException) -> str | None:
    """The Hub has it, but not in the form that is needed."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError
    from huggingface_hub.utils import httpx
    from pyarrow import ArrowException

    text = " ".join(str(error).split())
    if match := re.search(r"BuilderConfig '(.+?)' not found\. Available: \[(.*)\]", text):
        configurations = re.findall("'(.+?)'", match[2])
        hint = did_you_mean(match[1], configurations)
        return f"{asked} has no configuration '{match[1]}'.{hint} It has: {', '.join(configurations)}"
    if match := re.search(r"[Uu]nknown split \"(.+?)\"\. Should be one of \[(.*)\]", text):
        splits = match[2].replace("'", "")
        return f"{asked} has no split '{match[1]}'. It has: {splits}"
    if "Config name is missing" in text:
        return f"{asked} has several configurations, and none is named. {text.split(' Example of usage')[0]}"
    if "Dataset scripts are no longer supported" in text:
        return f"{asked} is a script, and no remote code is run: choose a data set of parquet, csv or json files"
    if _cause(error, HFValidationError):
        return f"'{asked.id}' is neither a folder here nor a name on the Hub: {_first_line(error)}"
    if _cause(error, DatasetsError, ArrowException, Unclear, httpx.HTTPError, EntryNotFoundError):
        return f"{asked} cannot be read: {_first_line(_cause(error, ArrowException) or error)}"
    if isinstance(error, OSError) and error.errno:
        return f"{asked}: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
