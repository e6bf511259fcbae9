"""Work in a notebook: leaderboards that show themselves, benchmarks as mappings, what runs left."""

import builtins
import json
from dataclasses import replace

import pytest
import torch
from running import LIMIT, RECIPE, Bench, tiny

import harness
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def bench_and_board(tmp_path_factory, sample_cache):
    bench = Bench(tmp_path_factory.mktemp("notebook"), sample_cache)
    bench.write(tasks=["cola", "wnut17"], models=["bert", "enct5"], seeds=[1, 2], keep="best", predict=["test"])
    return bench, bench.run()


def test_the_scores_are_a_data_frame(bench_and_board):
    bench, board = bench_and_board
    frame = board.to_dataframe()
    assert list(frame.columns) == ["model", "task", "split", "seed", "metric", "value"]
    chosen = frame[(frame.model == "bert") & (frame.task == "cola") & (frame.seed == 2)]
    scores = bench.record("cola", seed=2).scores["cola"]["validation"]
    assert dict(zip(chosen.metric, chosen.value, strict=True)) == pytest.approx(scores)
    assert set(frame.split) == {"validation"} and set(frame.task) == {"cola", "wnut17"}
    assert frame[frame.seed.isna()].model.nunique() == 1  # the baseline


def test_without_pandas_the_message_says_what_to_install(bench_and_board, monkeypatch):
    load = builtins.__import__

    def without(name, *arguments, **options):
        if name == "pandas":
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HarnessError, match="pip install pandas"):
        bench_and_board[1].to_dataframe()


def test_a_leaderboard_shows_itself(bench_and_board):
    board = bench_and_board[1]
    assert repr(board).startswith("Leaderboard 'b': 2 models x 2 tasks\n") and board.text.rstrip() in repr(board)
    assert board._repr_markdown_() == board.markdown
    html = board._repr_html_()
    assert html.count("<table>") >= 2 and "<h1>Leaderboard: b</h1>" in html and "&lt;" not in html
    words = board.markdown.replace("# Leaderboard: b", "# <script>alert(1)</script>")
    assert "<script>" not in replace(board, markdown=words)._repr_html_()


def test_a_mapping_is_as_good_as_a_file(bench, monkeypatch):
    entry = {"tasks": ("cola",), "models": ["bert"], "data": "sample", "limit": LIMIT, "recipe": RECIPE}
    content = {"models": {"bert": tiny("bert")}, "benchmarks": {"b": entry}}
    board = harness.run(content, results=bench.results)["b"]
    bench.write()
    assert bench.run().markdown == board.markdown
    content["models"]["bert"]["drop"] = 0.1
    with pytest.raises(HarnessError, match=r"^benchmarks:models\.bert\.drop: unknown key 'drop'"):
        harness.run(content, results=bench.results)
    with pytest.raises(HarnessError, match="only what a YAML file could hold"):
        harness.run({"models": {"bert": print}}, results=bench.results)


def test_the_predictions_of_a_run_are_loaded(bench_and_board):
    record = bench_and_board[0].record("wnut17", "enct5")
    rows = harness.load_predictions(record.folder)
    assert [row["index"] for row in rows] == list(range(30)) and rows == list(record.predictions())
    tests = harness.load_predictions(record.folder, tests=True)
    assert {row["split"] for row in tests} == {"test"}


@pytest.mark.parametrize("model", ["bert", "enct5"])
def test_the_model_of_a_run_is_loaded(bench_and_board, model):
    bench, _ = bench_and_board
    records = [bench.record("cola", model, seed) for seed in (1, 2)]
    best = max(records, key=lambda record: (record.selection_score, -record.seed))
    loaded, tokenizer = harness.load_model(best.folder)
    twin, _ = harness.load_model(bench.model_folder(best))
    inputs = tokenizer("a fine film", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded(inputs["input_ids"]).logits, twin(inputs["input_ids"]).logits)
    assert list(loaded.config.id2label.values()) == list(harness.load_tasks()["cola"].labels)
    [other] = [record for record in records if record is not best]
    with pytest.raises(HarnessError, match="its model was not kept: set 'keep: best'"):
        harness.load_model(other.folder)


def test_an_altered_model_is_not_loaded(bench):
    bench.write(keep="best")
    bench.run()
    folder = bench.model_folder(bench.record())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(HarnessError, match=r"config\.json: altered"):
        harness.load_model(bench.record().folder)
