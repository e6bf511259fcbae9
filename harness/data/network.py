"""The network: only a source on the Hub uses it, nothing is reported to anyone, and offline mode forbids it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""Environment variables, for processes that are started and for libraries that are not imported yet."""

READERS = {
    "HF_HUB_DISABLE_TELEMETRY": ("huggingface_hub.constants",),
    "HF_UPDATE_DOWNLOAD_COUNTS": ("datasets.config", "evaluate.config"),
    "HF_HUB_OFFLINE": ("huggingface_hub.constants", "datasets.config"),
}
"""Where the libraries keep what they read from a variable when they were imported; they look there for each request."""

ON = ("1", "ON", "YES", "TRUE")


@contextlib.contextmanager
def network(offline: bool = False) -> Iterator[None]:
    """A block without telemetry; ``offline``: also without the network, whatever was imported before.

    What is asked of the Hub then comes from its cache, or is a `HarnessError`. Afterwards all is as it was.
    """
    wanted = QUIET | (OFFLINE if offline else {})
    before = {name: os.environ.get(name) for name in wanted}
    known = {place: getattr(sys.modules[place[0]], place[1]) for place in _places(wanted)}
    os.environ.update(wanted)
    for module, name in known:
        setattr(sys.modules[module], name, wanted[name] == "1")
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        for module, name in _places(wanted):
            setattr(sys.modules[module], name, known.get((module, name), _default(name, before[name])))


def _places(names: dict[str, str]) -> list[tuple[str, str]]:
    """(module, name) of what the imported libraries keep."""
    return [(module, name) for name in names for module in READERS[name] if hasattr(sys.modules.get(module), name)]


def _default(name: str, variable: str | None) -> bool:
    """What a library that was imported in the block would have read before it."""
    return name == "HF_UPDATE_DOWNLOAD_COUNTS" if variable is None else variable.upper() in ON
