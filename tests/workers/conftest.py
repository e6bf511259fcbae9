"""What the tests of workers share."""

import pytest
from grids import grid
from running import Bench


@pytest.fixture(scope="session")
def reference(tmp_path_factory, sample_cache) -> Bench:
    """A grid whose runs were done one after another in this process."""
    bench = grid(tmp_path_factory.mktemp("workers"), sample_cache)
    bench.run()
    return bench
