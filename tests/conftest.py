"""Fixtures: the real data when it is there, a cache for the tokenizers of tiny models."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Several test processes share the cores: more threads would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on the speed of the machine, or on luck; `make slow` looks for new examples.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; tests that need them are skipped where there are none."""
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        pytest.skip("needs the real data sets: set HARNESS_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory) -> Path:
    """Where the tokenizers trained on the sample text are kept for the whole test session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(tmp_path, sample_cache):
    """A benchmark of tiny models in a folder of its own (see `running.Bench`)."""
    from running import Bench

    return Bench(tmp_path, sample_cache)


@pytest.fixture
def updates(monkeypatch):
    """Counts optimizer steps (see `running.Updates`)."""
    from running import Updates

    return Updates(monkeypatch)
