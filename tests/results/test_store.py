"""The store: records are whole or not there, never mixed, never used when altered."""

from __future__ import annotations

import builtins
import errno
import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import caveats
from hand_made import settings as settings_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.io import fingerprint, this_machine
from harness.results.folder import read_record
from harness.results.record import CaveatKind, Efficiency, Record
from harness.results.store import Store, benchmarks_in

FINGERPRINT = fingerprint({"recipe": {"learning_rate": 1e-4}, "seed": 1})
OTHER = fingerprint({"recipe": {"learning_rate": 3e-4}, "seed": 1})
PREDICTIONS = [
    {"task": "cola", "split": "validation", "index": i, "idx": i, "prediction": i % 2, "label": 1, "scores": [[0.1, i]]}
    for i in range(3)
]
HISTORY: list[dict[str, Any]] = [
    {"step": 0, "epoch": 0.0, "learning_rate": 0.0, "loss": None, "selection_score": 0.0},
    {"step": 10, "epoch": 1.0, "learning_rate": 1e-4, "loss": 0.7, "selection_score": 0.5},
]


def content(**changes: Any) -> Record:
    fields = {
        "fingerprint": FINGERPRINT,
        "status": "finished",
        "benchmark": "glue",
        "task": "cola",
        "model": "bert-tiny",
        "settings": settings_of("cola"),
        "scores": {"cola": {"validation": {"matthews_correlation": 0.5}}},
        "selection_score": 0.5,
        "caveats": caveats(CaveatKind.SAMPLE_DATA),
        "efficiency": {"train_seconds": 3.5, "train_examples_per_second": 100.0},
    }
    return Record.model_validate({**fields, **changes})


def in_memory(record: Record) -> Record:
    """A record as it was before it had a folder."""
    return record.model_copy(update={"folder": None, "predictions_digest": None, "history_digest": None})


def write(store: Store, **changes: Any) -> Record:
    return store.write(content(**changes), predictions=PREDICTIONS, history=HISTORY, log="hello\n")


def find(store: Store, fp: str = FINGERPRINT) -> Record | None:
    return store.find(fp, "cola", "bert-tiny", 1)


def failed(reason: str = "out of memory") -> dict[str, Any]:
    return {"status": "failed", "scores": {}, "selection_score": None, "error": reason, "traceback": "..."}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", "glue")


# Writing and finding ---------------------------------------------------------------------------------------------


def test_the_folder_of_test_predictions_says_so(store: Store) -> None:
    write(store)
    tests = write(store, fingerprint=OTHER, predicts_tests_of=FINGERPRINT)
    assert tests.folder is not None and tests.folder.name == f"seed1-tests-{OTHER[:12]}"
    old = tests.folder.with_name(f"seed1-{OTHER[:12]}")  # as older versions called it
    for folder in (tests.folder, old):
        if folder == old:
            tests.folder.rename(old)
        for seen in (store, Store(store.results, "other")):
            found = find(seen, OTHER)
            assert found is not None and found.folder == folder and found.predicts_tests_of == FINGERPRINT
        assert len(store.records()) == 2 and not store.warnings


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    assert find(store) is None
    write(store)
    record = find(store)
    assert record is not None and record.finished
    assert record.folder == store.folder / "runs" / "cola" / "bert-tiny" / f"seed1-{FINGERPRINT[:12]}"
    assert (record.fingerprint, record.task, record.model, record.seed) == (FINGERPRINT, "cola", "bert-tiny", 1)
    assert (record.architecture, record.selection_score) == ("bert", 0.5)
    assert [str(caveat) for caveat in record.caveats] == ["sample data"]
    assert record.scores == {"cola": {"validation": {"matthews_correlation": 0.5}}}
    assert in_memory(record) == content()
    assert list(record.predictions()) == PREDICTIONS
    assert record.history() == HISTORY
    assert record.efficiency.measured() == {"train_examples_per_second": 100.0, "train_seconds": 3.5}
    assert record.log() == "hello\n"
    assert store.warnings == []
    assert [r.fingerprint for r in store.records()] == [FINGERPRINT]
    assert read_record(record.folder) == record


def test_only_exactly_the_same_run_is_found(store: Store) -> None:
    write(store)
    assert find(store, OTHER) is None
    assert store.find(FINGERPRINT, "cola", "bert-tiny", 2) is None
    assert store.find(FINGERPRINT, "sst2", "bert-tiny", 1) is None
    assert store.find(FINGERPRINT, "rte", "bert-tiny", 1) is None


def test_a_finished_run_is_found_under_another_name_of_its_model_and_from_another_benchmark(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    for other in (store, Store(store.results, "another")):
        record = other.find(FINGERPRINT, "cola", "bert-base", 1)
        assert record is not None and (record.model, record.folder) == ("bert-base", folder)
    shutil.rmtree(folder)
    assert store.find(FINGERPRINT, "cola", "bert-base", 1) is None


def test_a_failed_run_is_not_that_of_another_name(store: Store) -> None:
    write(store, status="failed", error="no", scores={})
    assert find(store) is not None and store.find(FINGERPRINT, "cola", "bert-base", 1) is None


def test_two_fingerprints_with_one_beginning_are_not_mixed(store: Store) -> None:
    write(store)
    twin = FINGERPRINT[:12] + "0" * 52
    assert find(store, twin) is None
    assert "another fingerprint" in store.warnings[0]


def test_what_json_cannot_say_comes_back(store: Store) -> None:
    scores = {"stsb": {"validation": {"pearson": math.nan, "spearmanr": -0.0}}}
    predictions = [
        {"prediction": math.nan, "label": 2.5, "scores": [[math.inf, -math.inf, math.nan]], "index": np.int64(0)},
        {"prediction": "nan", "label": ["nan"], "output": "nan \ud800 \u2028 é", "index": np.int64(1)},
    ]
    predictions = [{"task": "stsb", "split": "validation", **row} for row in predictions]
    history: list[dict[str, Any]] = [{"step": np.int64(1), "loss": np.float32(0.5), "selection_score": math.nan}]
    store.write(content(scores=scores, selection_score=math.nan), predictions=predictions, history=history)
    record = find(store)
    assert record is not None and record.selection_score is not None and math.isnan(record.selection_score)
    assert math.isnan(record.scores["stsb"]["validation"]["pearson"])
    numeric, text = record.predictions()
    assert math.isnan(numeric["prediction"]) and numeric["scores"][0][:2] == [math.inf, -math.inf]
    assert text == {**predictions[1], "index": 1}
    (point,) = record.history()
    assert (point["step"], point["loss"]) == (1, 0.5) and math.isnan(point["selection_score"])
    for name, text_of in files(store.folder).items():
        for line in text_of.decode().split("\n") if name.endswith("jsonl") else [text_of]:
            if line:
                json.loads(line, parse_constant=pytest.fail)


def test_equal_results_leave_equal_bytes(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "a", "glue"), Store(tmp_path / "b", "glue")
    write(first)
    backwards = Record.model_validate(dict(reversed(list(content(efficiency={"train_seconds": 99})))))
    second.write(backwards, predictions=PREDICTIONS, history=HISTORY, log="other")
    a, b = files(first.folder), files(second.folder)
    assert a.keys() == b.keys()
    assert {name.rsplit("/", 1)[1] for name in a if a[name] != b[name]} == {"efficiency.json", "run.log"}


def test_records_are_indented_sorted_and_end_with_a_newline(store: Store) -> None:
    record = content(caveats=[{"kind": "intermediate_training", "detail": "é"}], scores={}, selection_score=None)
    folder = store.write(record).folder
    assert folder is not None
    text = (folder / "record.json").read_text(encoding="utf-8")
    block = '  "caveats": [\n    {\n      "detail": "é",\n      "kind": "intermediate_training"\n    }\n  ],\n'
    assert text.startswith("{\n") and block in text and text.endswith("}\n")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert (folder / "predictions.jsonl").read_bytes() == b""


def test_a_finished_record_is_never_touched(store: Store) -> None:
    write(store)
    before = files(store.folder)
    kept = write(store, selection_score=0.9)
    assert kept.selection_score == 0.5
    assert write(store, **failed()).finished
    assert files(store.folder) == before


def test_a_failed_record_is_found_and_replaced(store: Store) -> None:
    write(store, **failed("out of memory"))
    record = find(store)
    assert record is not None and not record.finished and record.error == "out of memory"
    write(store, **failed("disk full"))
    assert (found := find(store)) is not None and found.error == "disk full"
    write(store)
    assert (found := find(store)) is not None and found.finished
    assert len(list(found.folder.parent.iterdir())) == 1  # type: ignore[union-attr]


def test_a_damaged_record_is_replaced(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    (folder / "history.jsonl").unlink()
    assert find(store) is None
    write(store, selection_score=0.75)
    assert (found := find(store)) is not None and found.selection_score == 0.75


# Altered records -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("whole"), "glue")
    write(store)
    return store


CHECKED = ("record.json", "predictions.jsonl", "history.jsonl", "checksums.json")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(CHECKED), where=st.integers(0, 10**6), change=st.integers(1, 255))
def test_any_changed_byte_is_detected(whole: Store, name: str, where: int, change: int) -> None:
    path = whole.run_folder(FINGERPRINT, "cola", "bert-tiny", 1) / name
    original = path.read_bytes()
    altered = bytearray(original)
    altered[where % len(altered)] ^= change
    path.write_bytes(bytes(altered))
    try:
        reader = Store(whole.results, "glue")
        assert find(reader) is None
        assert reader.records() == []
        assert len(reader.warnings) == 1 and "altered" in reader.warnings[0]
        with pytest.raises(HarnessError, match="altered"):
            read_record(path.parent)
    finally:
        path.write_bytes(original)
    assert find(Store(whole.results, "glue")) is not None


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(CHECKED), length=st.integers(0, 10**6), tail=st.binary(max_size=3))
def test_any_cut_or_appended_file_is_detected(whole: Store, name: str, length: int, tail: bytes) -> None:
    path = whole.run_folder(FINGERPRINT, "cola", "bert-tiny", 1) / name
    original = path.read_bytes()
    altered = original + tail if tail else original[: length % len(original)]
    path.write_bytes(altered)
    try:
        assert find(Store(whole.results, "glue")) is None
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", CHECKED)
def test_a_missing_file_is_detected(store: Store, name: str) -> None:
    folder = write(store).folder
    assert folder is not None
    (folder / name).unlink()
    assert find(store) is None
    assert f"{name} is missing" in store.warnings[0]
    find(store)
    assert len(store.warnings) == 1


def test_a_copied_record_is_not_another_models_record(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    other = store.run_folder(FINGERPRINT, "cola", "bert-base", 1)
    shutil.copytree(folder, other)
    record = store.find(FINGERPRINT, "cola", "bert-base", 1)
    assert record is not None and record.folder == folder
    assert "copied or renamed" in store.warnings[0]
    assert [record.model for record in store.records()] == ["bert-tiny"]


def test_a_record_of_another_schema_is_not_used(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    text = (folder / "record.json").read_text().replace('"schema": 2', '"schema": 3')
    sums = json.loads((folder / "checksums.json").read_text())
    sums["record.json"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "record.json").write_text(text)
    (folder / "checksums.json").write_text(json.dumps(sums, indent=2, sort_keys=True) + "\n")
    assert find(store) is None
    assert "another version" in store.warnings[0]


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "device"])
@pytest.mark.parametrize("name", [*CHECKED, "efficiency.json"])
def test_what_is_no_regular_file_is_not_read(store: Store, kind: str, name: str) -> None:
    folder = write(store).folder
    assert folder is not None
    (folder / name).unlink()
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: os.symlink(path, path)}
    make.get(kind, lambda path: os.symlink("/dev/zero", path))(folder / name)
    assert (find(store) is None) == (name in CHECKED)
    assert len(store.warnings) == 1 and name in store.warnings[0]
    if name in CHECKED:
        assert write(store).finished and len(list(folder.parent.iterdir())) == 1


def test_damaged_times_do_not_cost_the_scores(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    (folder / "efficiency.json").write_text('{"train_sec')
    record = find(store)
    assert record is not None and record.finished and record.efficiency == Efficiency()
    assert "efficiency.json" in store.warnings[0]


# Failures while writing ------------------------------------------------------------------------------------------

STEPS = ("open", "fsync", "rename")


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str, call: int, action: Any) -> list[int]:
    """Make the ``call``-th file opened for writing, fsync or rename do ``action`` instead; returns [calls seen]."""
    seen = [0]

    def wrap(function: Any, writes: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if writes(args):
                seen[0] += 1
                if seen[0] == call:
                    action()
            return function(*args, **kwargs)

        return wrapped

    if step == "open":
        monkeypatch.setattr(builtins, "open", wrap(open, lambda args: len(args) > 1 and args[1] in ("wb", "r+b")))
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", wrap(os.fsync, lambda args: True))
    else:
        monkeypatch.setattr(os, "rename", wrap(os.rename, lambda args: True))
        monkeypatch.setattr(os, "replace", wrap(os.replace, lambda args: True))
    return seen


def disk_is_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("before", ["nothing", "failed", "damaged"])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_the_old_state_or_the_new_one(tmp_path: Path, before: str, step: str) -> None:
    failures = 0
    for call in range(1, 20):
        store = Store(tmp_path / f"{call}", "glue")
        prepare(store, before)
        with pytest.MonkeyPatch.context() as monkeypatch:
            seen = fail_at(monkeypatch, step, call, disk_is_full)
            try:
                write(store)
            except HarnessError as error:
                failures += 1
                assert "the disk is full: make space" in str(error)
        check_state(store, before)
        assert write(store).finished
        assert leftovers(store) == []
        if seen[0] < call:
            break
    assert failures >= 1 and seen[0] < call


@pytest.mark.parametrize("before", ["nothing", "failed", "damaged"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_leaves_the_old_state_or_the_new_one(tmp_path: Path, before: str, step: str) -> None:
    kills = 0
    for call in range(1, 20):
        store = Store(tmp_path / f"{call}", "glue")
        prepare(store, before)
        killed = write_in_a_process_that_dies(store, step, call)
        kills += killed
        check_state(store, before, moved_aside=killed)
        store.clean()
        assert leftovers(store) == []
        check_state(store, before)
        assert write(store).finished
        if not killed:
            break
    assert kills >= 1 and not killed


def prepare(store: Store, before: str) -> None:
    if before != "nothing":
        folder = write(store, **(failed() if before == "failed" else {"selection_score": 0.1})).folder
        assert folder is not None
        if before == "damaged":
            (folder / "record.json").write_text("{")


def check_state(store: Store, before: str, moved_aside: bool = False) -> None:
    """What was there before, or the new record, whole; for a moment between two renames a failed one is aside."""
    record = find(Store(store.results, "glue"))
    if record is not None and record.finished:
        assert (
            in_memory(record) == content() and list(record.predictions()) == PREDICTIONS and record.history() == HISTORY
        )
    elif record is not None:
        assert before == "failed" and record.error == "out of memory"
    else:
        assert before != "failed" or moved_aside


def leftovers(store: Store) -> list[Path]:
    return [path for path in store.folder.rglob(".*") if path.name != ".work"]


def write_in_a_process_that_dies(store: Store, step: str, call: int) -> bool:
    child = os.fork()
    if child == 0:
        fail_at(pytest.MonkeyPatch(), step, call, lambda: os._exit(9))
        write(store)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("before", ["nothing", "failed", "damaged"])
def test_a_record_that_was_whole_when_its_process_died_is_kept(store: Store, before: str) -> None:
    prepare(store, before)
    assert write_in_a_process_that_dies(store, "rename", 1)
    assert (record := find(store)) is None or not record.finished
    store.clean()
    assert (record := find(store)) is not None and in_memory(record) == content()
    assert leftovers(store) == []


def test_the_files_of_a_living_process_are_left_alone(store: Store) -> None:
    folder = write(store).folder
    assert folder is not None
    living = folder.with_name(f".new.{folder.name}.{this_machine()}.{os.getppid()}-0a")
    shutil.copytree(folder, living)
    elsewhere = folder.with_name(f".new.{folder.name}.another-machine.12")
    shutil.copytree(folder, elsewhere)
    store.clean()
    assert living.is_dir() and elsewhere.is_dir()
    os.utime(elsewhere, (0, 0))
    store.clean()
    assert living.is_dir() and not elsewhere.exists()


def test_predictions_that_fail_half_way_leave_nothing(store: Store) -> None:
    def rows() -> Any:
        yield PREDICTIONS[0]
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        store.write(content(), predictions=rows())
    assert find(store) is None and leftovers(store) == []


# Messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", ".", "..", ".hidden", "x\0", "x\n", "x" * 101, "ü", "a:b"])
def test_names_never_become_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="a name is made of"):
        Store(tmp_path, name)
    store = Store(tmp_path, "glue")
    for task, model in ((name, "bert"), ("cola", name)):
        with pytest.raises(HarnessError, match="a name is made of"):
            store.find(FINGERPRINT, task, model, 1)
        with pytest.raises(HarnessError, match="a name is made of"):
            write(store, task=task, model=model)
        with pytest.raises(HarnessError, match="a name is made of"):
            store.update_manifest({(task, model, 1): FINGERPRINT})
    for wrong in ("../x", FINGERPRINT[:12], FINGERPRINT + "\n", FINGERPRINT.upper() + "G"):
        with pytest.raises(HarnessError, match="fingerprint"):
            store.checkpoint_directory(wrong)
    with pytest.raises(HarnessError, match="seed"):
        store.find(FINGERPRINT, "cola", "bert", "1/../..")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_results_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(HarnessError, match="results is a file"):
        Store(tmp_path / "results", "glue")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "glue").write_text("")
    with pytest.raises(HarnessError, match="glue is a file"):
        Store(tmp_path / "other", "glue")


def test_a_file_in_the_way(store: Store) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "runs").write_text("")
    with pytest.raises(HarnessError, match="a file is in the way"):
        write(store)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota"), (errno.EIO, "output error")],
)
def test_what_the_disk_says_is_explained(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(HarnessError, match=words):
        write(store)
    with pytest.raises(HarnessError, match=words):
        store.update_manifest({("cola", "bert-tiny", 1): FINGERPRINT})
    assert leftovers(store) == [] and not (store.folder / "manifest.json").exists()


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "none", "glue")
    assert (find(store), store.records(), store.current()) == (None, [], [])
    store.clean()
    assert list(tmp_path.iterdir()) == []


def test_read_record_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no such folder"):
        read_record(tmp_path / "nothing")
    with pytest.raises(HarnessError, match=r"record\.json is missing"):
        read_record(tmp_path)


def test_folders(store: Store) -> None:
    directory = store.checkpoint_directory(FINGERPRINT)
    assert directory == store.results / ".work" / FINGERPRINT and directory.is_dir()
    assert store.checkpoint_directory(FINGERPRINT) == directory
    assert store.cache == store.results / ".cache"
    store.update_manifest({("cola", "bert-tiny", 1): FINGERPRINT})
    assert benchmarks_in(store.results) == ["glue"]
    with pytest.raises(HarnessError, match="no such file or folder"):
        benchmarks_in(store.results / "none")


# The current runs ------------------------------------------------------------------------------------------------


def keys(store: Store) -> list[tuple[str, str, int, str | None]]:
    return [(t, m, s, record.fingerprint if record else None) for t, m, s, record in store.current()]


def test_current_follows_the_pointer(store: Store) -> None:
    write(store)
    store.update_manifest({("rte", "bert-tiny", 1): OTHER, ("cola", "bert-tiny", 1): FINGERPRINT}, "sample")
    assert keys(store) == [("rte", "bert-tiny", 1, None), ("cola", "bert-tiny", 1, FINGERPRINT)]
    # A changed recipe: another fingerprint, whose run is not done. The old record stays on disk.
    store.update_manifest({("cola", "bert-tiny", 1): OTHER}, "sample")
    assert keys(store) == [("rte", "bert-tiny", 1, None), ("cola", "bert-tiny", 1, None)]
    assert len(store.records()) == 1
    store.update_manifest({("cola", "bert-tiny", 1): FINGERPRINT}, "sample")
    assert keys(store)[1] == ("cola", "bert-tiny", 1, FINGERPRINT)


def test_a_smaller_selection_keeps_the_others_and_a_larger_one_sets_the_order(store: Store) -> None:
    store.update_manifest({("a", "x", 1): OTHER, ("b", "x", 1): OTHER})
    store.update_manifest({("b", "x", 1): FINGERPRINT, ("c", "x", 1): OTHER})
    assert [key[0] for key in keys(store)] == ["a", "b", "c"]
    store.update_manifest({("c", "x", 1): OTHER, ("b", "x", 1): OTHER, ("a", "x", 1): OTHER})
    assert [key[0] for key in keys(store)] == ["c", "b", "a"]


def test_another_configuration_forgets_the_seeds_of_the_one_before(store: Store) -> None:
    both = {("a", "x", 1): OTHER, ("a", "x", 2): OTHER, ("b", "x", 1): OTHER, ("b", "x", 2): OTHER}
    old, new = {("a", "x"): "one", ("b", "x"): "one"}, {("a", "x"): "another"}
    store.update_manifest(both, configurations=old)
    store.update_manifest({("a", "x", 1): FINGERPRINT}, configurations=new)
    assert [key[:3] for key in keys(store)] == [("b", "x", 1), ("b", "x", 2), ("a", "x", 1)]
    store.update_manifest({("b", "x", 2): OTHER}, configurations={("b", "x"): "one"})  # the same as before
    assert [key[:3] for key in keys(store)] == [("b", "x", 1), ("b", "x", 2), ("a", "x", 1)]


def test_other_data_starts_anew(store: Store) -> None:
    store.update_manifest({("a", "x", 1): OTHER}, {"source": "hub"})
    store.update_manifest({("b", "x", 1): OTHER}, {"source": "hub"})
    assert len(keys(store)) == 2
    store.update_manifest({("b", "x", 1): OTHER}, {"source": "sample"})
    assert keys(store) == [("b", "x", 1, None)]


def test_the_pointer_is_written_only_when_it_changes(store: Store) -> None:
    store.update_manifest({("a", "x", 1): OTHER}, ("tuple", 1.5))
    before = (store.folder / "manifest.json").stat()
    store.update_manifest({("a", "x", 1): OTHER}, ("tuple", 1.5))
    after = (store.folder / "manifest.json").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def manifest(task: Any = "t", model: Any = "m", seed: Any = 1, fp: Any = "0" * 64, schema: int = 1) -> str:
    run = {"task": task, "model": model, "seed": seed, "fingerprint": fp}
    return json.dumps({"schema": schema, "data": None, "runs": [run]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "data": null, "runs": 7}',
        manifest(schema=9),
        manifest(task="../../x"),
        manifest(model=".."),
        manifest(model=[]),
        manifest(seed="1/../.."),
        manifest(fp="../x"),
    ],
)
def test_a_damaged_pointer_is_not_used(store: Store, text: str) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "manifest.json").write_text(text)
    assert store.current() == []
    assert "manifest.json: damaged" in store.warnings[0]
    store.update_manifest({("a", "x", 1): OTHER})
    assert keys(Store(store.results, "glue")) == [("a", "x", 1, None)]


def test_a_sound_pointer_is_used(store: Store) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "manifest.json").write_text(manifest())
    assert keys(store) == [("t", "m", 1, None)]


@pytest.mark.parametrize("step", STEPS)
def test_the_pointer_is_replaced_at_once(store: Store, step: str) -> None:
    store.update_manifest({("a", "x", 1): OTHER})
    before = files(store.folder)
    failures = 0
    for call in range(1, 5):
        with pytest.MonkeyPatch.context() as monkeypatch:
            fail_at(monkeypatch, step, call, disk_is_full)
            try:
                store.update_manifest({("a", "x", 1): FINGERPRINT})
            except HarnessError:
                failures += 1
        found = files(store.folder)
        assert found.keys() == before.keys()
        assert found == before or json.loads(found["manifest.json"])["runs"][0]["fingerprint"] == FINGERPRINT
    assert failures >= 1


# Fingerprints ----------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """Equal only for values of equal types."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, repr(value))


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_key_order_does_not_matter(parts: dict[str, Any]) -> None:
    assert fingerprint(parts) == fingerprint(shuffled(parts))


@given(PLAIN, PLAIN)
def test_different_parts_have_different_fingerprints(a: Any, b: Any) -> None:
    assert (fingerprint({"x": a}) == fingerprint({"x": b})) == (typed(a) == typed(b))


def test_types_matter() -> None:
    values = [1, 1.0, True, "1", [1], None, "nan", math.nan, "null", {"1": None}]
    assert len({fingerprint({"x": value}) for value in values}) == len(values)
    assert fingerprint({"x": (1, 2)}) == fingerprint({"x": [1, 2]})


def test_the_fingerprint_is_the_hash_of_canonical_json() -> None:
    canonical = '{"a":{"x":true,"y":null},"b":[1,2.5,"\\u00e9",1e-05]}'
    parts = {"b": [1, 2.5, "é", 1e-5], "a": {"y": None, "x": True}}
    assert fingerprint(parts) == hashlib.sha256(canonical.encode("ascii")).hexdigest()


@pytest.mark.parametrize("value", [Path("/data"), {1, 2}, b"x", np.int64(1), {1: "x"}, object()])
def test_only_plain_data_is_hashed(value: Any) -> None:
    with pytest.raises(HarnessError, match=r"cannot fingerprint recipe\.x"):
        fingerprint({"recipe": {"x": value}})


# Records of schema 1 ---------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """A results folder as the first version of the program left it, with fewer runs and predictions."""
    shutil.copytree(Path(__file__).parents[1] / "golden" / "results_schema1", tmp_path / "results")
    return Store(tmp_path / "results", "sample")


def test_records_of_schema_1_are_read(old: Store) -> None:
    assert benchmarks_in(old.results) == ["sample"]
    first, second = old.current()
    assert first[:3] == ("mnli", "t5-tiny", 1) and second == ("mnli", "t5-tiny", 2, None)
    record = first[3]
    assert record is not None and record.finished and old.warnings == []
    assert (record.architecture, record.seed, record.settings.parent, record.checkpoint) == ("t5", 1, None, None)
    assert [caveat.kind for caveat in record.caveats] == ["sample_data", "selected_on_validation"]
    assert record.invalid == {"ax": {"test": 0.0}, "mnli": {"validation_matched": 0.0, "validation_mismatched": 0.0}}
    assert record.selection_score == record.scores["mnli"]["validation_matched"]["accuracy"] == 0.9625
    assert record.settings.model.options["decoding"] == "generate" and record.settings.recipe["max_steps"] == 80
    assert record.columns["ax"].parts == (("test", "matthews_correlation"),)
    assert record.efficiency.startup_seconds == 0.035937989000558446
    took = record.efficiency  # what was measured in other ways is left out
    assert took.latency_p50_seconds is not None and took.train_share_of_matrix_rate == 0.15861172086140132
    assert took.latency_p95_seconds is took.inference_rates is took.peak_memory_bytes is None
    assert [row["output"] for row in record.predictions()] == ["neutral", "entailment", "entailment"]
    evaluations = [row for row in record.history() if "scores" in row]
    assert [(row["step"], row["selection_score"]) for row in evaluations][:2] == [(0, 0.0), (40, 0.9625)]


def test_a_manifest_of_schema_1_is_replaced_by_one_of_this_schema(old: Store) -> None:
    before = old.current()
    data = {"allow_partial": False, "data": "sample", "limit": None}
    old.update_manifest({("cola", "bert-tiny", 1): FINGERPRINT}, data)
    assert [entry[:3] for entry in old.current()] == [*(entry[:3] for entry in before), ("cola", "bert-tiny", 1)]
    assert json.loads((old.folder / "manifest.json").read_text())["schema"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"marks": ["of another program"]},
        {"marks": 7},
        {"settings": {}},
        {"settings": None},
        {"primary": "much"},
        {"error": "text"},
        {"seed": None},
        {"unknown": 1},
    ],
)
def test_what_is_no_record_of_schema_1_is_damaged(old: Store, change: dict[str, Any]) -> None:
    path = next(old.folder.rglob("record.json"))
    rewrite(path, {**json.loads(path.read_text()), **change})
    assert old.records() == [] and "not a record" in old.warnings[0]
    with pytest.raises(HarnessError, match="not a record"):
        read_record(path.parent)


def rewrite(path: Path, data: Any) -> None:
    """Change a record.json together with its checksum."""
    text = json.dumps(data)
    sums = json.loads((path.parent / "checksums.json").read_text())
    sums["record.json"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(text)
    (path.parent / "checksums.json").write_text(json.dumps(sums, indent=2, sort_keys=True) + "\n")
