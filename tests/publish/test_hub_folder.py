"""export_model: a folder for the Hub that transformers loads, and a card that the Hub's own classes read back."""

import pytest
import torch
from huggingface_hub import ModelCard
from running import Bench
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import harness
from harness.cli import main
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def kept(tmp_path_factory, sample_cache) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("publish"), sample_cache)
    bench.write(tasks=["cola", "wnut17"], models=["enct5", "t5"], seeds=[1, 2], keep="all-seeds")
    bench.run()
    return bench


@pytest.mark.parametrize(("model", "task"), [("enct5", "cola"), ("t5", "cola"), ("enct5", "wnut17")])
def test_the_card_is_read_back_with_the_scores_of_the_record(kept, tmp_path, model, task):
    record = kept.record(task, model, seed=2)
    folder = harness.export_model(record.folder, tmp_path / "hub")
    card = ModelCard.load(folder / "README.md")
    scores = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert scores == pytest.approx(record.scores[task]["validation"])
    assert {result.dataset_name for result in card.data.eval_results} == {task}
    generated = {"t5": "text2text-generation"}
    expected = generated.get(model, {"cola": "text-classification", "wnut17": "token-classification"}[task])
    assert card.data.pipeline_tag == expected and card.data.license_name == "TO FILL"
    for words in ("## Intended use", "## Recipe", "learning_rate", "95 % interval", "sample data", record.fingerprint):
        assert words in card.content
    assert ("trust_remote_code=True" in card.content) is (model == "enct5")
    names = {path.name for path in folder.iterdir()}
    assert names == {*(p.name for p in kept.model_folder(record).iterdir()), "README.md"} - {"harness.json"}


def test_the_folder_is_loaded_as_it_is(kept, tmp_path):
    record = kept.record("cola", "enct5")
    folder = harness.export_model(record.folder, tmp_path / "hub")
    original, tokenizer = harness.load_model(record.folder)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)("a fine film", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(
            loaded(ids).logits, original(tokenizer("a fine film", return_tensors="pt")["input_ids"]).logits
        )


def test_what_is_there_is_not_touched(kept, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(HarnessError, match="is there already: name a new folder"):
        harness.export_model(kept.record("cola", "t5").folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_one_or_all_of_a_name(kept, tmp_path, capsys):
    run = kept.record("cola", "t5").folder
    assert main(["export", str(run), "--to", "hub", str(tmp_path / "one")]) == 0
    assert (tmp_path / "one" / "README.md").is_file()
    assert main(["export", str(kept.results), "--model", "enct5", "--to", "hub", str(tmp_path / "all")]) == 0
    names = {f"enct5-{task}-seed{seed}" for task in ("cola", "wnut17") for seed in (1, 2)}
    assert {path.name for path in (tmp_path / "all").iterdir()} == names
    assert main(["export", str(kept.results), "--model", "tf", "--to", "hub", str(tmp_path / "none")]) == 2
    assert "no model 'tf' was kept" in capsys.readouterr().err
