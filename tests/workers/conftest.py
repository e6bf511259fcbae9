"""What the tests of workers share."""

import pytest
from grids import grid, searches
from running import Bench

from harness.workers.process import Nursery


class Kept(Nursery):
    """A nursery that several commands share: they do not import the libraries again."""

    def close(self) -> None:
        """It is ended with the tests."""


@pytest.fixture(scope="session")
def nursery():
    """One for all tests."""
    kept = Kept()
    yield kept
    Nursery.close(kept)


@pytest.fixture(scope="session")
def reference(tmp_path_factory, sample_cache) -> Bench:
    """A grid whose runs were done one after another in this process."""
    bench = grid(tmp_path_factory.mktemp("workers"), sample_cache)
    bench.run()
    return bench


@pytest.fixture(scope="session")
def searched(tmp_path_factory, sample_cache) -> Bench:
    """A search whose trials were made one after another in this process."""
    pytest.importorskip("optuna", reason="needs the extra search")
    bench = searches(tmp_path_factory.mktemp("searches"), sample_cache)
    bench.run()
    return bench
