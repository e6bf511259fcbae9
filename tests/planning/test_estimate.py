"""How long runs take by what earlier ones took."""

import pytest
from hand_made import failed
from hand_made import record as hand_made

from harness.planning.estimate import OTHERS, SAME_MODEL, SAME_TASK, STATED, Observed, Rates, forecast, observed
from harness.planning.texts import plan_table, summary
from harness.planning.work import Work, read_plan, write_plan


def work(task="rte", model="m", seed=1, steps=100, **changes):
    usual = {"examples": 32 * steps, "evaluated": 0, "flops": 1e9, "parameters": 10**6}
    return Work(task=task, model=model, seed=seed, steps=steps, **{**usual, **changes})


def run(task="rte", model="m", start=5.0, seconds=32.0, amount=3200.0, flops=1e9, parameters=10**6, share=1.0):
    return Observed(task, model, start, seconds, amount, flops, parameters, share)


def test_the_same_task_and_model_tell_best():
    rates = Rates([run(), run(seconds=34.0), run("cola", seconds=900.0), run(model="n", seconds=900.0)])
    estimate = rates.estimate(work(steps=200))
    assert estimate.source == SAME_TASK and estimate.seconds == pytest.approx(5 + 2 * 33)


def test_another_task_and_another_model_tell_by_flops():
    estimate = Rates([run()]).estimate(work("mnli", flops=3e9))
    assert estimate.source == SAME_MODEL and estimate.seconds == pytest.approx(5 + 3 * 32)
    near, far = run(model="near", parameters=2 * 10**6), run(model="far", parameters=10**9, seconds=1.0)
    estimate = Rates([near, far]).estimate(work("mnli", "new", flops=2e9))
    assert estimate.source == OTHERS and estimate.seconds == pytest.approx(5 + 2 * 32)
    assert Rates([near]).estimate(work("mnli", "new", flops=None)) is None
    assert Rates().estimate(work()) is None


def test_a_stated_rate_wins_and_may_be_of_one_model():
    rates = Rates([run()], {"m": 1e12, "": 2e12})
    assert rates.estimate(work()).seconds == pytest.approx(3200 * 1e9 / 1e12)
    assert rates.estimate(work(model="n")).seconds == pytest.approx(3200 * 1e9 / 2e12)
    assert rates.estimate(work()).source == STATED
    assert rates.estimate(work(flops=None)).source == SAME_TASK


def test_runs_that_end_early_make_the_others_shorter():
    rates = Rates([run(share=0.5)])
    assert rates.estimate(work(stops_early=True)).seconds == pytest.approx(5 + 16)
    assert rates.estimate(work()).seconds == pytest.approx(5 + 32)


def test_what_several_devices_take():
    works = [work(seed=seed, steps=steps) for seed, steps in enumerate((100, 100, 100, 300))]
    left = forecast(works, Rates(stated={"": 1e9 * 32}))
    assert left.device_seconds == pytest.approx(600) and left.longest == pytest.approx(300)
    assert [round(left.wall_seconds(number)) for number in (1, 2, 3, 100)] == [600, 300, 300, 300]
    child = work("cola", steps=300, after=("rte", "m", 3))
    both = forecast([*works, child], Rates(stated={"": 1e9 * 32}))
    assert both.wall_seconds(100) == pytest.approx(600)


def test_the_text_says_what_is_not_known():
    text = summary(forecast([work(), work(model="n", flops=None)], Rates()), "Some CPU")
    assert text.startswith("to do: 2 runs, 200 steps, 3.2 TFLOPs; no estimate of time") and "Some CPU" in text
    known = forecast([work(), work(model="n", flops=None)], Rates([run()]))
    assert "about 37 s on this device (Some CPU), by runs of the same task and model" in summary(known, "Some CPU")
    assert "1 run more of which nothing tells the time" in summary(known, "Some CPU")
    unsized = summary(forecast([work(flops=None)], Rates(stated={"": 1e12})), "Some CPU")
    assert "no estimate of time: no checkpoint here of m tells its size" in unsized
    assert "no data here of rte" in summary(forecast([work(guessed=True)], Rates()), "Some CPU")
    lines = plan_table(known, [1, 8], 2.0).splitlines()
    assert lines[0].split()[-1] == "cost" and "on 8 devices" in lines[0]
    assert lines[2].split()[0] == "m" and lines[3].split()[-1] == "?" and lines[4].split()[0] == "all"


def test_a_plan_is_read_back_and_a_damaged_one_is_nothing(tmp_path):
    write_plan(tmp_path, [work(), work(seed=2, after=("mnli", "m", 2))])
    write_plan(tmp_path, [work(seed=3), work(steps=7)])
    assert [(one.seed, one.steps) for one in read_plan(tmp_path)] == [(1, 7), (2, 100), (3, 100)]
    for content in (b"", b"[]", b'{"runs": [{"task": "../x"}]}', b'{"runs": [' * 10000):
        (tmp_path / "plan.json").write_bytes(content)
        assert not read_plan(tmp_path)
    (tmp_path / "file").touch()
    write_plan(tmp_path / "file", [work()])


def test_records_are_what_is_observed():
    times = {"total_seconds": 100.0, "train_seconds": 70.0, "evaluate_seconds": 10.0, "startup_seconds": 5.0}
    done = {"batch_size": 4, "evaluations": 2, "counts": {"one": {"train": 100, "validation": 30}}}
    [seen] = observed([hand_made("one", efficiency=times, **done)], [work("one", "bert", flops=7.0)])
    assert (seen.start, seen.seconds, seen.amount, seen.flops) == (25.0, 75.0, 4 * 10 + 30.0, 7.0)
    [shared] = observed([hand_made("one", efficiency={**times, "at_once": 2}, **done)])
    assert (shared.start, shared.seconds, shared.flops) == (12.5, 37.5, None)
    settings = {"recipe": {"epochs": 4.0, "patience": 2}}
    [early] = observed([hand_made("one", efficiency=times, settings=settings, updates_per_epoch=10, **done)])
    assert early.share == 0.25
    assert observed([failed("one", "no"), hand_made("one"), hand_made("one", efficiency=times)]) == []
