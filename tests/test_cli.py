"""The commands as a user gives them: what they print, what they refuse, and what they return."""

import errno
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from running import UNMOVED, Bench, tiny

import harness
from harness.cli import main
from harness.data.datasets import load_examples
from harness.results.store import Store
from harness.submission.check import check_submission
from harness.submission.predictions import majorities
from harness.submission.write import submission_files

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def done(tmp_path_factory, sample_cache):
    """A benchmark of two models that is done."""
    bench = Bench(tmp_path_factory.mktemp("done"), sample_cache)
    bench.write(tasks=["cola"], models=["bert", "t5"])
    bench.run()
    return bench


def shown(capsys, *arguments, code=0):
    """What a command prints, to stdout and to stderr."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    found = capsys.readouterr()
    return found.out if code != 2 else found.err


# Starting --------------------------------------------------------------------------------------------------------

HEAVY = ("torch", "transformers", "datasets", "accelerate", "sklearn", "scipy", "pandas")


def modules_after(*commands):
    """The heavy modules that a new process has loaded after each of the commands."""
    code = f"""
import contextlib, io, json, sys
from harness.cli import main
found = []
for command in {list(map(list, commands))!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(command)
    found.append([name for name in {(*HEAVY, "pydantic")!r} if name in sys.modules])
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("flag", "command"),
    [
        ("-O", ["tasks"]),
        *(("-OO", command) for command in (["--version"], ["tasks"], ["run", "absent.yaml"])),
        pytest.param("-OO", ["report", "absent"], marks=pytest.mark.slow),
        *(pytest.param("-O", c, marks=pytest.mark.slow) for c in (["--version"], ["run", "absent.yaml"])),
    ],
)
def test_without_docstrings_a_message_says_so(flag, command):
    """transformers raises a ValueError where Python has removed them."""
    process = [sys.executable, flag, "-m", "harness", *command]
    done = subprocess.run(process, cwd=REPOSITORY, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert ("removes the docstrings" in done.stderr) == (flag == "-OO")
    assert done.returncode == (2 if flag == "-OO" or command[-1].startswith("absent") else 0)


def test_help_and_checks_load_nothing_heavy(done):
    commands = [["--help"], ["run", "--help"], ["tasks"], ["validate", str(done.path)], ["models", str(done.path)]]
    help_, run_help, tasks, validate, models = modules_after(*commands)
    assert help_ == run_help == tasks == []
    assert validate == models == ["pydantic"]
    records = [["show", str(done.record().folder)], ["report", str(done.results)]]
    assert not {*HEAVY[:-1]} - {"scipy"} & {name for names in modules_after(*records) for name in names}


def test_it_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "harness", "validate", str(tmp_path / "absent.yaml")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2
    assert "absent.yaml" in result.stderr and "Traceback" not in result.stderr


def test_help_names_every_command_and_gives_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in ("run", "report", "show", "tasks", "models", "validate", "submit", "check-submission"):
        assert re.search(rf"^    {command}\s", text, re.MULTILINE), command
    assert "python -m harness run benchmarks.yaml" in text


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "b.yaml", "--seeds", "one"], ["submit", "r", "b"]])
def test_wrong_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: python -m harness" in capsys.readouterr().err


def test_run_without_a_file_says_what_to_do(capsys):
    with pytest.raises(SystemExit):
        main(["run"])
    said = capsys.readouterr().err
    assert "name a benchmark file, for example: python -m harness run benchmarks.yaml" in said
    assert "the following arguments are required: file\n" in said


# Lists and checks ------------------------------------------------------------------------------------------------


def test_tasks_lists_the_built_in_ones_and_a_files_own(bench, capsys):
    lines = {line.split()[0]: line for line in shown(capsys, "tasks").splitlines()}
    assert {"cola", "stsb", "ax", "record", "axg"} <= set(lines)
    assert "regression" in lines["stsb"] and "pearson, spearmanr" in lines["stsb"]
    assert "answered by the mnli model" in lines["ax"]
    (bench.folder / "plugins").mkdir()
    (bench.folder / "plugins" / "mine.py").write_text(
        "from harness import Task\n"
        "MINE = Task(name='mine', suite='own', problem_type='single_label_classification', labels=('a', 'b'),\n"
        "            text_fields=('text',), metrics=('accuracy',))\n"
    )
    text = json.loads(bench.write().read_text())
    bench.path.write_text(json.dumps({**text, "plugins": "./plugins"}))
    own = next(line for line in shown(capsys, "tasks", bench.path).splitlines() if line.startswith("mine"))
    assert own.split() == ["mine", "own", "single_label_classification", "accuracy", "a,", "b"]


def test_models_says_where_each_comes_from(bench, capsys):
    bench.models["base"] = {"architecture": "bert", "checkpoint": "google-bert/bert-base-uncased", "revision": "main"}
    lines = shown(capsys, "models", bench.write()).splitlines()
    assert ["bert", "bert", "random", "weights"] in [line.split() for line in lines]
    assert "base   bert   google-bert/bert-base-uncased @ main" in lines


def test_validate_tells_all_mistakes_with_their_lines(bench, capsys):
    assert "is valid" in shown(capsys, "validate", bench.write(tasks=["cola", "rte"], seeds=[1, 2, 3]))
    text = shown(capsys, "validate", bench.path)
    assert "b: 2 tasks x 1 model x 3 seeds" in text
    bench.path.write_text(
        "models:\n"
        "  tiny: {architecture: brt, checkpoint: ./none}\n"
        "benchmarks:\n"
        "  b:\n"
        "    tasks: [colla]\n"
        "    models: [tinny]\n"
        "    recipe: {learning_rat: 1e-3, batch_size: -1}\n"
    )
    lines = shown(capsys, "validate", bench.path, code=2).splitlines()
    numbers = [int(line.removeprefix(f"{bench.path}:").split(":")[0]) for line in lines]
    assert numbers == sorted(numbers) and set(numbers) >= {2, 5, 6, 7}
    assert any("Did you mean 'cola'" in line for line in lines)
    assert any("Did you mean 'learning_rate'" in line for line in lines)


# run -------------------------------------------------------------------------------------------------------------


def test_unknown_names_are_told_with_suggestions(bench, capsys):
    path = bench.write(tasks=["cola", "mrpc"])
    run = ["run", path, "--results", bench.results]
    assert "Did you mean 'mrpc'" in shown(capsys, *run, "--tasks", "cola,mrcp", code=2)
    assert "Did you mean 'bert'" in shown(capsys, *run, "--models", "brt", code=2)
    assert "'glu'" in shown(capsys, "run", path, "glu", code=2)
    assert "there is no folder 'smple'" in shown(capsys, *run, "--data", "smple", code=2)
    assert "no such" in shown(capsys, "run", bench.folder / "absent.yaml", code=2).lower()
    assert not (bench.results / "b").exists()


def test_settings_on_the_command_line_win_and_are_checked(bench, capsys):
    path = bench.write(overrides={"tasks": {"cola": {"batch_size": 4}}})
    run = ["run", path, "--results", bench.results]
    shown(capsys, *run, "--set", "recipe.batch_size=16", "--set", "recipe.learning_rate=1e-4")
    recipe = bench.record().settings.recipe
    assert (recipe["batch_size"], recipe["learning_rate"]) == (16, 1e-4)
    assert "Did you mean 'batch_size'" in shown(capsys, *run, "--set", "recipe.batch_sise=1", code=2)
    assert "--set recipe.epochs" in shown(capsys, *run, "--set", "recipe.epochs=no", code=2)
    assert "only recipe.KEY=VALUE" in shown(capsys, *run, "--set", "model.dropout=1", code=2)
    assert "write recipe.KEY=VALUE" in shown(capsys, *run, "--set", "recipe.epochs", code=2)
    assert "fp16 needs a CUDA device" in shown(capsys, *run, "--set", "recipe.precision=fp16", code=2)


def test_a_dry_run_lists_the_runs_and_their_states_and_does_nothing(bench, capsys):
    bench.write(tasks=["mnli", "cola", "rte"], init_from={"rte": "mnli"}, models=["bert", "enct5"])
    run = ["run", bench.path, "--results", bench.results]
    rows = [line.split() for line in shown(capsys, *run, "--dry-run").splitlines()]
    assert ["b:", "6", "runs,", "0", "done"] in rows
    assert not (bench.results / "b" / "runs").exists() and not (bench.results / "b" / "manifest.json").exists()
    table = [row for row in rows if row and row[0] in ("mnli", "cola", "rte")]
    assert [row[:3] for row in table] == [
        ["mnli", "bert", "1"], ["mnli", "enct5", "1"], ["cola", "bert", "1"], ["cola", "enct5", "1"],
        ["rte", "bert", "1"], ["rte", "enct5", "1"],
    ]  # fmt: skip
    assert table[0][3] == "ax" and table[4][3] == "mnli"
    shown(capsys, *run, "--models", "bert", "--tasks", "cola")
    text = shown(capsys, *run, "--dry-run", "--seeds", "1,2")
    assert "12 runs, 1 done" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("cola"))
    assert row[3] == "done" and bench.record().fingerprint.startswith(row[-1])


def test_several_benchmarks_run_one_after_the_other(bench, capsys):
    entry = json.loads(bench.write().read_text())
    entry["benchmarks"]["c"] = {**entry["benchmarks"]["b"], "tasks": ["rte"]}
    bench.path.write_text(json.dumps({**entry, "default": "c"}))
    text = shown(capsys, "run", bench.path, "b", "c", "--results", bench.results)
    assert "Benchmark b: 1 model" in text and "Benchmark c: 1 model" in text
    assert "Benchmark c: 1 model" in (text := shown(capsys, "run", bench.path, "--results", bench.results))
    assert "Benchmark b" not in text


def test_progress_is_told_in_lines(bench, capsys):
    bench.write(models=["bert"], seeds=[1, 2])
    lines = shown(capsys, "run", bench.path, "--results", bench.results).splitlines()
    assert "2 runs" in lines
    done = [line for line in lines if line.startswith("[")]
    assert done[0].startswith("[1/2] cola · bert · seed 1: matthews_correlation ") and "to go" in done[0]
    assert done[1].startswith("[2/2] cola · bert · seed 2: matthews_correlation ") and "examples/s" in done[1]


# Records and tables ----------------------------------------------------------------------------------------------


def test_show_tells_everything_about_a_run(done, capsys):
    record = done.record(model="t5")
    text = shown(capsys, "show", record.folder)
    assert text.startswith("cola · t5 · seed 1: finished\n")
    for part in (record.fingerprint, "cola validation matthews_correlation", "cola validation invalid answers",
                 "sample data", "learning_rate", "trained parameters", "step 4", "cola.validation"):  # fmt: skip
        assert part in text, part
    assert "no such folder" in shown(capsys, "show", done.folder / "absent", code=2)


def test_show_puts_scores_first_and_then_what_is_not_the_default(done, capsys):
    blocks = shown(capsys, "show", done.record(model="t5").folder).split("\n\n")
    assert blocks[1].startswith("Scores x 100\n")
    [changed] = [block for block in blocks if block.startswith("Settings that differ from the defaults\n")]
    assert blocks.index(changed) < next(i for i, block in enumerate(blocks) if block.startswith("Run\n"))
    rows = dict(line.split() for line in changed.splitlines()[1:])
    assert rows["learning_rate"] == "0.001" and rows["batch_size"] == "8"
    assert not {"epochs", "precision", "optimizer"} & rows.keys()


def test_run_says_first_where_results_go(bench, capsys, monkeypatch, tmp_path):
    bench.write()
    monkeypatch.chdir(tmp_path)
    lines = shown(capsys, "run", bench.path, "--results", "results").splitlines()
    assert lines[0] == f"results: {tmp_path / 'results' / 'b'}"


def test_report_on_a_folder_that_is_only_to_be_read(done, capsys, monkeypatch):
    table = shown(capsys, "report", done.results).split("\nwritten:")[0]

    def refuse(*paths):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    assert main(["report", str(done.results)]) == 2
    output = capsys.readouterr()
    assert output.out.strip() == table.strip() and "Read-only file system" in output.err
    assert "--format md, csv, tex or json" in output.err and "--results" not in output.err
    assert main(["report", str(done.results), "--format", "md"]) == 0
    assert capsys.readouterr().out == (done.results / "b" / "leaderboard.md").read_text()


def test_names_of_benchmarks_may_stand_after_options(done, capsys):
    text = shown(capsys, "run", done.path, "--results", done.results, "--dry-run", "b")
    assert text == shown(capsys, "run", done.path, "b", "--results", done.results, "--dry-run")
    with pytest.raises(SystemExit):
        main(["run", str(done.path), "--drei", "b"])
    assert "unrecognized arguments: --drei" in capsys.readouterr().err
    assert list(harness.run(done.path, "b", results=done.results)) == ["b"]


def test_report_makes_the_tables_again(done, capsys):
    folder = done.results / "b"
    kept = {
        name: (folder / name).read_bytes()
        for name in ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "index.html")
    }
    for name in kept:
        (folder / name).unlink()
    text = shown(capsys, "report", done.results)
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert text == shown(capsys, "report", done.results, "--benchmark", "b")
    assert text == f"{done.run().text}\n\nwritten: {folder / 'leaderboard.md'}, {folder / 'index.html'}\n"
    assert "Did you mean 'bb'" not in shown(capsys, "report", done.results, "--benchmark", "x", code=2)
    assert "no results" in shown(capsys, "report", done.results / "b", code=2)


def test_report_puts_several_folders_into_one_table(done, bench, capsys):
    bench.models["other"] = tiny("enct5")
    bench.write(models=["bert", "other"])
    bench.run()
    text = shown(capsys, "report", bench.results, done.results)
    rows = [line.split("  ")[0].strip() for line in text.splitlines()]
    for name in (f"bert ({bench.results})", f"other ({bench.results})", f"t5 ({done.results})"):
        assert any(row.rstrip("…") and name.startswith(row.rstrip("…")) for row in rows), (name, rows)
    boards = harness.report([bench.results, done.results])
    assert [row.model for row in boards["b"].rows].count("bert") == 2


# Submissions -----------------------------------------------------------------------------------------------------


def official_files(folder):
    """WNLI and CB with their official number of test rows, in the official layout, with made-up texts."""
    wnli, cb = folder / "GLUE" / "WNLI", folder / "SuperGLUE" / "CB"
    for place in (wnli, cb):
        place.mkdir(parents=True)
    for file, split, count in (("train", "train", 40), ("dev", "validation", 20), ("test", "test", 146)):
        examples = load_examples("wnli", "sample", split)[:count]
        label = [] if split == "test" else ["label"]
        header = "\t".join(["index", "sentence1", "sentence2", *label])
        rows = ["\t".join(str(e[c]) for c in ("idx", "sentence1", "sentence2", *label)) for e in examples]
        (wnli / f"{file}.tsv").write_text("\n".join([header, *rows]) + "\n")
    names = harness.load_tasks()["cb"].labels
    for file, split, count in (("train", "train", 40), ("val", "validation", 20), ("test", "test", 250)):
        examples = (load_examples("cb", "sample", split) * 2)[:count]
        rows = []
        for number, example in enumerate(examples):
            row = {"premise": example["premise"], "hypothesis": example["hypothesis"], "idx": number}
            rows.append(row if split == "test" else {**row, "label": names[example["label"]]})
        (cb / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, sample_cache):
    """Test predictions of WNLI and CB."""
    bench = Bench(tmp_path_factory.mktemp("predicted"), sample_cache)
    official_files(bench.folder / "data")
    bench.write(tasks=["wnli", "cb"], data="./data", limit=None, allow_partial=True, predict=["test"], seeds=[1, 2])
    bench.run()
    return bench


def lines_of(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode().splitlines()


def test_a_submission_holds_the_predictions_and_names_what_is_missing(predicted, tmp_path, capsys):
    submit = ["submit", predicted.results, "b", "--model", "bert", "--output", tmp_path, "--seed", 2]
    assert "choose with --suite" in shown(capsys, *submit, code=2)
    text = shown(capsys, *submit, "--suite", "superglue", code=1)
    missing = [file.name for file in submission_files("superglue") if file.name != "CB.jsonl"]
    assert f"INCOMPLETE: no test predictions for {', '.join(missing)}; --fill-majority" in text
    rows = list(predicted.tests_of(predicted.record("cb", seed=2)).predictions())
    names = harness.load_tasks()["cb"].labels
    expected = [{"idx": row["idx"], "label": names[row["prediction"]]} for row in rows]
    assert [json.loads(line) for line in lines_of(tmp_path / "SuperGLUE.zip", "CB.jsonl")] == expected
    defects = shown(capsys, "check-submission", tmp_path / "SuperGLUE.zip", code=1).splitlines()
    assert [line.split(":")[0] for line in defects] == missing and all("missing" in line for line in defects)

    assert "WNLI.tsv" in shown(capsys, *submit, "--suite", "glue", code=1)
    rows = predicted.tests_of(predicted.record("wnli", seed=2)).predictions()
    expected = ["index\tprediction", *(f"{row['index']}\t{row['prediction']}" for row in rows)]
    assert lines_of(tmp_path / "GLUE.zip", "WNLI.tsv") == expected and len(expected) == 147


def test_a_filled_submission_is_accepted(predicted, tmp_path, capsys):
    submit = ["submit", predicted.results, "b", "--model", "bert", "--best", "--fill-majority"]
    text = shown(capsys, *submit, "--suite", "glue", "--output", tmp_path / "mine.zip")
    filled = [file.name for file in submission_files("glue") if file.name != "WNLI.tsv"]
    assert f"filled with the majority class, not predicted: {', '.join(filled)}" in text
    assert "no defects found" in shown(capsys, "check-submission", tmp_path / "mine.zip")
    scores = {seed: predicted.record("wnli", seed=seed).selection_score for seed in (1, 2)}
    best = predicted.tests_of(predicted.record("wnli", seed=max(scores, key=scores.get))).predictions()
    assert [line.split()[1] for line in lines_of(tmp_path / "mine.zip", "WNLI.tsv")[1:]] == [
        str(row["prediction"]) for row in best
    ]
    # Rows that are not just numbered cannot be filled without the data.
    text = shown(capsys, *submit, "--suite", "superglue", "--output", tmp_path, code=1)
    assert "INCOMPLETE: no test predictions for MultiRC.jsonl, ReCoRD.jsonl" in text
    assert [line.split(":")[0] for line in check_submission(tmp_path / "SuperGLUE.zip")] == [
        "MultiRC.jsonl", "ReCoRD.jsonl"
    ]  # fmt: skip


def test_the_majority_is_counted_in_the_training_data(done):
    fill = majorities(submission_files("glue"), {}, Store(done.results, "b"), data="sample")
    for task in ("cola", "qnli", "mnli"):
        labels = Counter(example["label"] for example in load_examples(task, "sample", "train"))
        assert fill[task] == labels.most_common(1)[0][0]
    assert fill["stsb"] == 2.5 and fill["ax"] == 0
    own = majorities(submission_files("glue"), {("rte", "test"): []}, Store(done.results, "b"))
    labels = Counter(row["label"] for row in done.record().predictions())
    assert own["cola"] == labels.most_common(1)[0][0] and "rte" not in own


def test_what_a_submission_lacks_is_told(predicted, done, capsys):
    submit = ["submit", predicted.results, "b", "--suite", "glue"]
    assert "Did you mean 'bert'" in shown(capsys, *submit, "--model", "brt", code=2)
    assert "there are seeds 1, 2: choose with --seed N, or --best" in shown(capsys, *submit, "--model", "bert", code=2)
    assert "there is no seed 3" in shown(capsys, *submit, "--model", "bert", "--seed", 3, code=2)
    text = shown(capsys, "submit", done.results, "b", "--model", "bert", code=2)
    assert "no test predictions of 'bert': run it with 'predict: [test]'" in text
    text = shown(capsys, "submit", done.results, "c", "--model", "bert", code=2)
    assert "no results of benchmark 'c' here" in text
    assert "no such file" in shown(capsys, "check-submission", done.folder / "absent.zip", code=2)


def test_predictions_of_changed_test_data_take_the_place_of_the_old_ones(bench, capsys):
    official_files(bench.folder / "data")
    bench.write(UNMOVED, tasks=["wnli"], data="./data", limit=None, allow_partial=True, predict="test", keep="best")
    bench.run()
    file = bench.folder / "data" / "GLUE" / "WNLI" / "test.tsv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *(line.replace("\t", "\tMoreover, ", 1) for line in lines[1:])]) + "\n")
    bench.run()
    submit = ["submit", bench.results, "b", "--model", "bert", "--output", bench.folder / "a.zip"]
    assert "WNLI.tsv" in shown(capsys, *submit, code=1)
    latest = max(bench.store.records(), key=lambda record: record.folder.stat().st_mtime_ns)
    expected = [f"{row['index']}\t{row['prediction']}" for row in latest.predictions()]
    assert lines_of(bench.folder / "a.zip", "WNLI.tsv")[1:] == expected
