"""Training states: stopped or killed at any moment, the same command goes on to the same bytes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import RECIPE, UNMOVED, Bench, Updates, content
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from harness.errors import HarnessError
from harness.io import this_machine
from harness.results import tensors as checkpoints
from harness.results.fields import Damaged
from harness.results.tensors import load_state, load_tensors, save_state, save_tensors
from harness.runner import execute
from harness.training import loop
from harness.training.update import Training

STEPS = 6
SETTINGS: dict[str, Any] = {"checkpoint_every": 0, "recipe": {"max_steps": STEPS, "eval_every": 2}}


def states(bench: Bench) -> list[Path]:
    return list((bench.results / ".work").rglob("*.safetensors"))


# Tensors and states on disk --------------------------------------------------------------------------------------

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    st.text(),
    st.builds(
        lambda dtype, shape, seed: (
            (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 9).round().to(dtype)
        ),
        st.sampled_from(DTYPES),
        st.lists(st.integers(0, 3), max_size=3),
        st.integers(0, 9),
    ),
)
trees = st.dictionaries(
    st.text(),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=4,
)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@given(trees)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_state_comes_back_as_it_was(tmp_path, tree):
    tree.pop("version", None)
    save_state(tmp_path / "state", tree)
    assert equal(load_state(tmp_path / "state"), tree)
    assert os.listdir(tmp_path) == ["state"]


def test_numbers_that_json_does_not_know_and_arrays_come_back(tmp_path):
    save_state(
        tmp_path / "s", {"best": float("-inf"), "loss": float("nan"), "count": np.int64(3), "a": np.eye(2)[:, :1]}
    )
    state = load_state(tmp_path / "s")
    assert state is not None
    assert state["best"] == float("-inf") and state["loss"] != state["loss"] and state["count"] == 3
    assert state["a"].tolist() == [[1.0], [0.0]]


def test_no_state_is_none_and_one_of_another_version_is_not_used(tmp_path, monkeypatch):
    assert load_state(tmp_path / "state") is None
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "STATE_VERSION", 0)
        save_state(tmp_path / "state", {"step": 1})
    with pytest.raises(Damaged, match="another version"):
        load_state(tmp_path / "state")


def test_a_model_is_no_state(tmp_path):
    save_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    with pytest.raises(Damaged, match="another version"):
        load_state(tmp_path / "t")


def test_tied_and_cut_tensors_are_written_once_and_whole(tmp_path):
    table = torch.arange(12.0).reshape(4, 3)
    tensors = {"shared": table, "tied": table.view(4, 3), "row": table[1], "across": table.T, "none": torch.empty(0)}
    save_tensors(tmp_path / "t", tensors)
    with safe_open(tmp_path / "t", "pt") as file:
        assert sorted(file.keys()) == ["across", "none", "row", "shared"]
    back = load_tensors(tmp_path / "t")
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_equal_tensors_leave_equal_bytes(tmp_path):
    tensors = {name: torch.full((3,), float(i)) for i, name in enumerate("abcdefgh")}
    for file in ("one", "two"):
        save_tensors(tmp_path / file, tensors | {"x": tensors["a"], "y": tensors["b"]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "state"
    save_state(path, {"step": 3, "weights": {"a": torch.arange(6.0), "b": torch.ones(2, 2).bfloat16()}, "text": "é"})
    return path


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 10**6), change=st.integers(1, 255))
def test_any_changed_byte_is_noticed(sound, tmp_path, where, change):
    altered = bytearray(sound.read_bytes())
    altered[where % len(altered)] ^= change
    (tmp_path / "state").write_bytes(altered)
    with pytest.raises(Damaged):
        load_state(tmp_path / "state")


def test_any_cut_is_noticed(sound, tmp_path):
    whole = sound.read_bytes()
    assert load_state(sound)["step"] == 3 and load_state(tmp_path / "state") is None
    for cut in (*(whole[:length] for length in range(0, len(whole), 7)), whole + b"\0"):
        (tmp_path / "state").write_bytes(cut)
        with pytest.raises(Damaged):
            load_state(tmp_path / "state")


def test_a_full_disk_leaves_the_state_before(sound, tmp_path, monkeypatch):
    path = tmp_path / "state"
    shutil.copy(sound, path)

    def refuse(*args: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", refuse)
    with pytest.raises(HarnessError, match="state: the disk is full: make space"):
        save_state(path, {"step": 4})
    assert path.read_bytes() == sound.read_bytes() and os.listdir(tmp_path) == ["state"]


def test_a_write_that_ends_half_way_leaves_the_state_before(sound, tmp_path):
    path = tmp_path / "state"
    shutil.copy(sound, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(HarnessError, match=r"state: .*too large"):
            save_tensors(path, {"big": torch.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == sound.read_bytes() and os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_the_disk_says_is_told(tmp_path, monkeypatch, step):
    def refuse(*args: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(HarnessError, match="read-only"):
        save_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    assert os.listdir(tmp_path) == []


# Killed and gone on ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run as nothing in it expects."""


def kill(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool = False) -> None:
    """Make the ``call``-th call of a function the last thing that happens, before or after it does its work."""
    function, calls = getattr(owner, name), [0]

    def killing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        result = function(*args, **kwargs) if after or calls[0] < call else None
        if calls[0] >= call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, killing)


def run_killed(bench: Bench, owner: Any, name: str, call: int, after: bool = False) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill(monkeypatch, owner, name, call, after)
        with pytest.raises(Killed):
            bench.run()


def reference(folder: Path, cache: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    bench = Bench(folder, cache)
    settings = {**SETTINGS, **changes, "recipe": {**SETTINGS["recipe"], **changes.pop("recipe", {})}}
    bench.write(**settings)
    bench.run()
    assert not states(bench)
    return settings, content(bench.results / "b" / "runs")


KINDS: dict[str, dict[str, Any]] = {
    "bert": {"models": ["bert"], "tasks": ["mnli"]},  # has a diagnostic, so the best weights are kept
    "enct5": {"models": ["enct5"], "tasks": ["stsb"], "selection": "holdout", "recipe": {"gradient_accumulation": 2}},
    "t5": {"models": ["t5"], "tasks": ["cola"], "recipe": {"optimizer": "adafactor"}},
}


@pytest.fixture(scope="module", params=KINDS)
def uninterrupted(request, tmp_path_factory, sample_cache):
    return reference(tmp_path_factory.mktemp("reference"), sample_cache, **KINDS[request.param])


@pytest.mark.parametrize("call", [2, 5])
def test_killed_in_training_it_goes_on_to_the_same_bytes(bench, uninterrupted, call):
    settings, expected = uninterrupted
    bench.write(**settings)
    run_killed(bench, Training, "update", call)
    with pytest.MonkeyPatch.context() as monkeypatch:
        updates = Updates(monkeypatch)
        bench.run()
    assert updates.new() <= STEPS - (call - 1)
    assert content(bench.results / "b" / "runs") == expected
    assert not states(bench)


@pytest.mark.parametrize(
    ("owner", "name", "call"), [(loop, "evaluate_checkpoint", 2), (execute, "result_of", 1)], ids=["training", "result"]
)
def test_killed_while_evaluating_it_goes_on_to_the_same_bytes(bench, uninterrupted, owner, name, call):
    settings, expected = uninterrupted
    bench.write(**settings)
    run_killed(bench, owner, name, call)
    assert len(states(bench)) == 1
    bench.run()
    assert content(bench.results / "b" / "runs") == expected


@pytest.mark.parametrize("after", [False, True])
def test_killed_while_saving_it_goes_on_to_the_same_bytes(bench, uninterrupted, after):
    settings, expected = uninterrupted
    bench.write(**settings)
    run_killed(bench, checkpoints, "save_tensors", 4, after)
    run_killed(bench, checkpoints, "save_tensors", 2, after)
    bench.run()
    assert content(bench.results / "b" / "runs") == expected


def test_killed_again_and_again_it_comes_to_the_same_bytes(bench, uninterrupted):
    settings, expected = uninterrupted
    bench.write(**settings)
    for _ in range(2):
        run_killed(bench, Training, "update", 2, after=True)
    run_killed(bench, loop, "evaluate_checkpoint", 1, after=True)
    bench.run()
    assert content(bench.results / "b" / "runs") == expected


@pytest.mark.parametrize(("name", "call"), [("update", 3), ("result_of", 1)])
def test_patience_goes_on_where_it_was(bench, monkeypatch, name, call):
    settings, expected = reference(
        bench.folder / "reference", bench.results / ".cache", recipe=UNMOVED | {"eval_every": 1, "patience": 2}
    )
    bench.write(**settings)
    run_killed(bench, Training if name == "update" else execute, name, call)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == (1 if name == "update" else 0)
    assert bench.record().steps == 3
    assert content(bench.results / "b" / "runs") == expected


def test_times_add_up_over_the_parts(bench):
    bench.write(**SETTINGS)
    run_killed(bench, Training, "update", 5)
    (path,) = states(bench)
    before = load_state(path)
    assert before is not None and before["training"]["step"] == 4
    bench.run()
    efficiency = bench.record().efficiency
    assert efficiency.total_seconds > before["run"]["earlier_seconds"] > before["run"]["train_seconds"] > 0
    assert efficiency.train_seconds > before["run"]["train_seconds"]
    assert efficiency.evaluate_seconds > before["run"]["evaluate_seconds"]


def test_a_state_is_saved_by_time(bench, monkeypatch):
    bench.write(SETTINGS["recipe"], checkpoint_every=3600)
    run_killed(bench, Training, "update", 5)
    assert not states(bench)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == STEPS


def test_there_is_one_state_and_it_goes_with_the_run(bench, monkeypatch):
    bench.write(**SETTINGS, models=["bert", "enct5"])
    most, save = [0], checkpoints.save_tensors

    def saving(*args: Any) -> None:
        save(*args)
        most[0] = max(most[0], len(list((bench.results / ".work").rglob("*tensors*"))))

    monkeypatch.setattr(checkpoints, "save_tensors", saving)
    bench.run()
    assert most == [1] and not list((bench.results / ".work").iterdir())


def test_a_damaged_state_is_not_used(bench, monkeypatch, capsys):
    settings, expected = reference(bench.folder / "reference", bench.results / ".cache")
    bench.write(**settings)
    run_killed(bench, Training, "update", 4)
    (path,) = states(bench)
    damaged = bytearray(path.read_bytes())
    damaged[-10] ^= 1
    path.write_bytes(damaged)
    updates = Updates(monkeypatch)
    assert bench.command() == 0
    assert "altered (its checksum does not fit): not used; the run starts from the beginning" in capsys.readouterr().out
    assert updates.new() == STEPS
    assert content(bench.results / "b" / "runs") == expected


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("training", "step", "4"), ("training", "micro_batch_tokens", 0), ("run", "train_seconds", -1.0),
     ("run", "history", [{"step": 1, "loss": "much"}]), ("run", "best", {}), ("run", "log", None)],
)  # fmt: skip
def test_a_forged_state_is_not_used_and_ends_no_run(bench, monkeypatch, capsys, part, key, value):
    bench.write(**SETTINGS)
    run_killed(bench, Training, "update", 4)
    (path,) = states(bench)
    state = load_state(path)
    state[part][key] = value
    save_state(path, {name: state[name] for name in ("fingerprint", "run", "training")})
    updates = Updates(monkeypatch)
    assert bench.command() == 0
    assert f"damaged ({part}.{key}" in capsys.readouterr().out
    assert updates.new() == STEPS


def test_a_state_of_another_model_is_removed_and_the_run_starts_from_the_beginning(bench, updates, capsys):
    bench.write(**SETTINGS)
    bench.run()
    expected = content(bench.results / "b" / "runs")
    shutil.rmtree(bench.results / "b")
    run_killed(bench, Training, "update", 4)
    (path,) = states(bench)
    state = load_state(path)
    assert state is not None
    state["training"]["weights"]["renamed"] = state["training"]["weights"].popitem()[1]
    save_state(path, state)
    updates.new()
    assert bench.command() == 0
    assert "removed; the run starts from the beginning" in capsys.readouterr().out
    assert not states(bench) and updates.new() == STEPS
    assert content(bench.results / "b" / "runs") == expected


def test_a_state_without_the_best_model_is_not_used_when_that_is_wanted_now(bench, monkeypatch):
    bench.write(**SETTINGS)
    run_killed(bench, Training, "update", 4)
    bench.write(**SETTINGS, keep="best")
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == STEPS and bench.has_model(bench.record())


def test_killed_between_record_and_tidying_up_nothing_is_done_again_and_nothing_stays(bench, monkeypatch):
    bench.write(**SETTINGS)
    run_killed(bench, checkpoints, "save_tensors", STEPS, after=True)
    (path,) = states(bench)
    state = path.read_bytes()
    bench.run()
    before = {file: file.stat().st_mtime_ns for file in (bench.results / "b" / "runs").rglob("*")}
    path.parent.mkdir()
    path.write_bytes(state)
    monkeypatch.setattr(Training, "update", None)
    bench.run()
    assert not states(bench)
    assert {file: file.stat().st_mtime_ns for file in (bench.results / "b" / "runs").rglob("*")} == before


def test_half_written_files_of_dead_processes_go(bench, monkeypatch):
    bench.write(**SETTINGS, keep="best")
    run_killed(bench, Training, "update", 3)
    (path,) = states(bench)
    (bench.results / "b" / "models").mkdir()
    dead = f".{this_machine()}.{2**22 + 1}-0a"
    for place in (path, bench.results / "b" / "models" / "m.safetensors"):
        place.with_name(f".new.{place.name}{dead}").write_bytes(b"x")
    features = bench.results / ".cache" / "features"
    (features / f".new.abc{dead}").mkdir()
    bench.run()
    assert not [file for file in bench.results.rglob("*") if file.name.startswith(".new")]


# Stopped by a signal ---------------------------------------------------------------------------------------------


def signal_at(monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    update = Training.update

    def updating(training: Training) -> None:
        if training.step == step - 1:
            os.kill(os.getpid(), number)
        update(training)

    monkeypatch.setattr(Training, "update", updating)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_at_the_next_step(bench, capsys, number, code):
    settings, expected = reference(bench.folder / "reference", bench.results / ".cache")
    bench.write(settings["recipe"], checkpoint_every=3600)
    handler = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as monkeypatch:
        signal_at(monkeypatch, number, 3)
        try:
            assert bench.command() == code
        except SystemExit as stopped:
            assert stopped.code == code
    assert signal.getsignal(number) is handler
    shown = capsys.readouterr()
    assert "cola · bert stops at step 3" in shown.out
    assert "the same command resumes" in shown.err
    (path,) = states(bench)
    state = load_state(path)
    assert state is not None and state["training"]["step"] == 3
    with pytest.MonkeyPatch.context() as monkeypatch:
        updates = Updates(monkeypatch)
        assert bench.command() == 0
    assert updates.new() == STEPS - 3
    assert "cola · bert resumes from step 3" in capsys.readouterr().out
    assert content(bench.results / "b" / "runs") == expected


def test_outside_of_training_a_signal_ends_the_command_at_once(bench, monkeypatch):
    bench.write(**SETTINGS)

    def evaluate(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    monkeypatch.setattr(execute, "final_evaluations", evaluate)
    with pytest.raises(SystemExit) as stopped:
        bench.run()
    assert stopped.value.code == 143
    assert len(states(bench)) == 1


# Models that stay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "steps"), [("none", None), ("best", []), ("all", [0, 2, 4, 6])])
def test_the_models_that_are_asked_for_stay(bench, keep, steps):
    bench.write(**SETTINGS, keep=keep)
    run_killed(bench, Training, "update", 4)
    bench.run()
    record = bench.record()
    names = {path.name for path in (bench.results / "b" / "models").glob("*")}
    if steps is None:
        assert names == set()
        return
    folder = bench.model_folder(record)
    assert names == {folder.name, *(f"{folder.name}-step{step}" for step in steps)}
    if steps:
        best = bench.weights(record)
        same = load_file(folder.with_name(f"{folder.name}-step{record.best_step}") / "model.safetensors")
        assert all(torch.equal(best[name], same[name]) for name in best)


def test_a_damaged_model_is_never_started_from(bench, monkeypatch):
    bench.write(tasks=["mnli", "rte"], init_from={"rte": "mnli"}, keep="best")
    bench.run()
    expected = content(bench.results / "b" / "runs")
    shutil.rmtree(bench.record("rte").folder)
    path = bench.model_file(bench.record("mnli"))
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    updates = Updates(monkeypatch)
    bench.run()
    assert updates.new() == 2 * RECIPE["max_steps"]  # the parent as well
    assert bench.has_model(bench.record("mnli"))
    assert content(bench.results / "b" / "runs") == expected


def test_a_damaged_model_that_was_to_predict_is_removed_and_trained_again(bench, capsys):
    bench.write(keep="best")
    bench.run()
    path = bench.model_file(bench.record())
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    bench.write(keep="best", predict=["test"])
    assert bench.command() == 1  # the header alone says nothing of it
    assert "altered (its checksum does not fit): removed; the next 'run' trains it again" in capsys.readouterr().out
    assert bench.command("--retrain") == 0
    assert bench.has_model(bench.record()) and bench.tests_of(bench.record()) is not None


# All together ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_soak_test_in_short():
    root = Path(__file__).parents[2]
    short = ["--kills", "4", "--suspensions", "2", "--steps", "6", "--commands", "2"]
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "soak.py"), *short],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "everything is byte for byte as without interruption" in done.stdout
