"""predict: a kept model on a user's own rows gives what the evaluation of its run gave, in every format."""

import csv
import json

import pyarrow.parquet
import pytest
from running import Bench

import harness
from harness.cli import main
from harness.data.datasets import open_examples
from harness.errors import HarnessError
from harness.prediction import predictor

LIMIT = {"train": 16, "validation": 10}


@pytest.fixture(scope="module")
def kept(tmp_path_factory, sample_cache) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("predict"), sample_cache)
    bench.models["enct5"]["threshold"] = 0.2
    bench.write(tasks=["cola", "stsb", "goemotions", "wnut17", "copa"], models=["enct5"], keep="best", limit=LIMIT)
    bench.run()
    bench.write(tasks=["cola", "wnut17"], models=["t5", "bert"], keep="best", limit=LIMIT)
    bench.run()
    return bench


def rows_of(task: str) -> list[dict]:
    """The texts of a sample's validation split, as a user has them."""
    defined = harness.load_tasks()[task]
    examples = open_examples(defined, "sample", "validation", limit=LIMIT["validation"])
    return [{"id": f"row {i}", **{name: e[name] for name in (*defined.text_fields, *("question",) * (task == "copa"))}}
            for i, e in enumerate(examples)]  # fmt: skip


def pairs() -> list[tuple[str, str]]:
    enct5 = [("enct5", task) for task in ("cola", "stsb", "goemotions", "wnut17", "copa")]
    return [*enct5, ("t5", "cola"), ("t5", "wnut17"), ("bert", "cola"), ("bert", "wnut17")]


def record_of(kept: Bench, model: str, task: str):
    return next(r for r in kept.store.records() if (r.model, r.task) == (model, task))


@pytest.mark.parametrize(("model", "task"), pairs())
def test_predictions_are_those_of_the_evaluation(kept, model, task, monkeypatch):
    monkeypatch.setattr(predictor, "WINDOW", 4)
    record, rows = record_of(kept, model, task), rows_of(task)
    answers = harness.predict(record.folder, rows)
    assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
    for answer, row in zip(answers, record.predictions(), strict=True):
        expected = row.get("prediction_name", row["prediction"])
        if answer["prediction"] is None:  # a text that stands for no answer, which counts as none in a score
            assert model == "t5" and not expected
            continue
        assert answer["prediction"] == (pytest.approx(expected, abs=1e-4) if task == "stsb" else expected)
        if model == "t5":
            assert answer["output"] == row["output"] and "probabilities" not in answer
        elif task in ("cola", "goemotions"):
            labels = harness.load_tasks()[task].labels
            assert list(answer["probabilities"]) == list(labels)
            assert list(answer["probabilities"].values()) == pytest.approx(row["probabilities"][0], abs=1e-3)
        elif task == "wnut17":
            assert len(answer["probability"]) == len(answer["prediction"])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("output", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_in_and_out(kept, tmp_path, suffix, output, capsys):
    folder = kept.model_folder(record_of(kept, "bert", "cola"))
    rows = [{**row, "note": "a, b"} for row in rows_of("cola")]
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{output}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    elif suffix == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "csv":
        with open(source, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        source.write_text("\n".join("\t".join(cells) for cells in (rows[0], *(r.values() for r in rows))) + "\n")
    assert main(["predict", str(folder), str(source), "--output", str(target)]) == 0
    printed = capsys.readouterr()
    assert f"{target}: {len(rows)} rows in " in printed.err and printed.err.count("\n") == 1 and not printed.out
    expected = harness.predict(folder, rows)
    if output == "parquet":
        back = pyarrow.parquet.read_table(target).to_pylist()
    elif output == "jsonl":
        back = [json.loads(line) for line in target.read_text().splitlines()]
    else:
        with open(target, newline="") as file:
            quoting = csv.QUOTE_NONE if output == "tsv" else csv.QUOTE_MINIMAL
            back = list(csv.DictReader(file, delimiter="," if output == "csv" else "\t", quoting=quoting))
        for row in back:
            row["probabilities"], row["probability"] = json.loads(row["probabilities"]), float(row["probability"])
    assert back == expected


def test_words_come_out_with_their_tags(kept, tmp_path, capsys):
    folder = record_of(kept, "enct5", "wnut17").folder
    (tmp_path / "in.conll").write_text("Ada\tB-person\nwent\tO\n\nNobody\tO\n")
    assert main(["predict", str(folder), str(tmp_path / "in.conll")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines if line] == [["Ada", "B-person"], ["went", "O"], ["Nobody", "O"]]
    assert all(line.split("\t")[2] in harness.load_tasks()["wnut17"].labels for line in lines if line)


def test_texts_alone_are_enough(kept):
    [answer] = harness.predict(record_of(kept, "bert", "cola").folder, ["The cat sleeps."])
    assert answer["sentence"] == "The cat sleeps." and answer["prediction"] in answer["probabilities"]
    assert answer["probability"] == max(answer["probabilities"].values())


def test_what_is_wrong_is_said_with_its_line(kept, tmp_path, capsys):
    folder = str(record_of(kept, "bert", "cola").folder)
    source = tmp_path / "in.jsonl"
    for row, words in [
        ({"text": "x"}, "in.jsonl:2: no 'sentence'. Found: text"),
        ({"sentence": 3}, "in.jsonl:2: 'sentence' must be a text, found 3"),
        ({"sentence": "x", "prediction": 1}, "in.jsonl:2: there is a column 'prediction' already"),
    ]:
        source.write_text(json.dumps({"sentence": "The cat sleeps."}) + "\n" + json.dumps(row) + "\n")
        assert main(["predict", folder, str(source), "--output", str(tmp_path / "out.csv")]) == 2
        assert words in capsys.readouterr().err and not (tmp_path / "out.csv").exists()
    assert main(["predict", folder, str(source), "--output", str(tmp_path / "out.doc")]) == 2
    assert "out.doc: the ending says how it is written" in capsys.readouterr().err


def test_a_run_without_its_model_says_how_to_keep_one(bench, capsys):
    bench.write()
    bench.run()
    (bench.folder / "in.csv").write_text("sentence\nThe cat sleeps.\n")
    assert main(["predict", str(bench.record().folder), str(bench.folder / "in.csv")]) == 2
    assert "its model was not kept: set 'keep: best'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "key"), [("recipe", "precision"), ("recipe", "max_length"), ("model", "options"), ("", "tasks")]
)
def test_notes_that_lack_what_the_run_had_are_refused(kept, part, key):
    """A value that is missing would be the default's, and the model would read other texts than in its run."""
    folder = kept.model_folder(record_of(kept, "bert", "cola"))
    before = (folder / "harness.json").read_bytes()
    notes = json.loads(before)
    settings = notes["settings"]
    del (settings[part] if part else settings)[key]
    try:
        (folder / "harness.json").write_text(json.dumps(notes))
        with pytest.raises(HarnessError, match=r"harness\.json: altered"):
            harness.load_model(folder)
        with pytest.raises(HarnessError, match=r"harness\.json: altered"):
            harness.predict(folder, ["The cat sleeps."])
    finally:
        (folder / "harness.json").write_bytes(before)


def test_own_tasks_need_their_file_only_for_functions(bench):
    (bench.folder / "mine.tsv").write_text("text\tlabel\n" + "a fine film\tgood\na bad one\tbad\n" * 20)
    bench.write(tasks=["mine", "choose"], keep="best")
    lines = [{"start": f"Rain {i} stopped.", "one": "We went.", "two": "No.", "right": "one"} for i in range(20)]
    (bench.folder / "choose.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mine = {"problem_type": "single_label_classification", "text": "text", "train": "mine.tsv"}
    choose = {"problem_type": "multiple_choice", "text": "start", "choices": ["one", "two"], "label": "right",
              "labels": ["one", "two"], "train": "choose.jsonl"}  # fmt: skip
    document = json.loads(bench.path.read_text())
    bench.path.write_text(json.dumps({**document, "tasks": {"mine": mine, "choose": choose}}))
    bench.run()
    [answer] = harness.predict(bench.record("mine").folder, ["a fine film"])
    assert answer["prediction"] in ("good", "bad")
    with pytest.raises(HarnessError, match="needs its own functions: name its file with --file"):
        harness.predict(bench.record("choose").folder, lines[:1])
    [answer] = harness.predict(bench.record("choose").folder, lines[:1], file=bench.path)
    assert list(answer["probabilities"]) == ["one", "two"] and answer["prediction"] in ("one", "two")
