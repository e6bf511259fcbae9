"""What a run costs does not grow with the records that are there already."""

import time

import pytest
from running import Bench

from harness.results.record import Record
from harness.runner import runner
from harness.runner.progress import Display

NEW = 24


class Clock(Display):
    """Notes the processor time at the start of each run."""

    def __init__(self):
        self.times = []

    def run_started(self, *arguments, **options):
        self.times.append(time.process_time())


def fill(bench: Bench, seeds: int):
    """Records of all seeds but the last: copies of that of seed 1."""
    bench.write(seeds=[1])
    bench.run()
    template = bench.record()
    bench.write(seeds=[*range(1, seeds + NEW + 1)])
    settings = template.settings.model_dump()
    for seed in range(2, seeds + 1):
        changed = type(template.settings).model_validate({**settings, "seed": seed})
        data = {**template.model_dump(), "settings": changed, "fingerprint": changed.fingerprint}
        bench.store.write(
            Record.model_validate({**data, "folder": None, "efficiency": template.efficiency}),
            predictions=template.predictions(),
            history=template.history(),
        )


def seconds_per_run(bench, monkeypatch):
    """The mean processor time from the start of a run to that of the next."""
    clock = Clock()
    monkeypatch.setattr(runner, "make_display", lambda: clock)
    bench.run(progress=True)
    assert len(clock.times) == NEW
    return (clock.times[-1] - clock.times[1]) / (NEW - 2)  # the first run warms up, and makes the first leaderboard


@pytest.mark.slow
def test_the_cost_of_a_run_does_not_grow_with_the_records(tmp_path, sample_cache, monkeypatch):
    seconds = {}
    for seeds in (10, 2000):
        (tmp_path / str(seeds)).mkdir()
        bench = Bench(tmp_path / str(seeds), sample_cache)
        fill(bench, seeds)
        seconds[seeds] = seconds_per_run(bench, monkeypatch)
        assert len(bench.store.current()) == seeds + NEW
    print(seconds)
    assert seconds[2000] < 1.2 * seconds[10]
