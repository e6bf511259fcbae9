"""A whole run against the Hub: data at the pinned commit, checkpoints pinned and unpinned, and a Hub that refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hub_server import HubServer
from tiny import TINY
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from harness import load_examples, load_tasks
from harness.models.tokenizers import sample_tokenizer

ROOT = Path(__file__).parent.parent
COMMITS = {"org/encoder": "a" * 40, "org/t5": "b" * 40}

YAML = """
models:
  encoder: {architecture: bert, checkpoint: org/encoder, revision: refs/pr/1}
  enct5: {architecture: enct5, checkpoint: org/t5, revision: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}
benchmarks:
  hub: {tasks: rte, models: [encoder, enct5], data: hub, recipe: {max_steps: 3, max_length: 32, precision: fp32}}
"""
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def hub(tmp_path, sample_cache):
    """A Hub with RTE at its pinned commit (parquet, as on the real one), a tiny encoder and a tiny T5."""
    names = pa.schema(
        [("sentence1", pa.string()), ("sentence2", pa.string()), ("label", pa.int64()), ("idx", pa.int32())]
    )
    feature = {"label": {"names": ["entailment", "not_entailment"], "_type": "ClassLabel"}}
    others = {"sentence1": {"dtype": "string", "_type": "Value"}, "sentence2": {"dtype": "string", "_type": "Value"}}
    features = {**others, **feature, "idx": {"dtype": "int32", "_type": "Value"}}
    schema = names.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    splits = {
        split: pa.Table.from_pylist(load_examples("rte", "sample", split)[:40], schema=schema)
        for split in ("train", "validation", "test")
    }
    wordpiece, pieces = sample_tokenizer("bert", sample_cache), sample_tokenizer("t5", sample_cache)
    BertModel(BertConfig(vocab_size=len(wordpiece), **TINY["bert"])).save_pretrained(tmp_path / "encoder")
    wordpiece.save_pretrained(tmp_path / "encoder")
    config = T5Config(vocab_size=len(pieces), decoder_start_token_id=0, **TINY["t5"])
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    pieces.save_pretrained(tmp_path / "t5")
    with HubServer() as server:
        server.add_dataset("nyu-mll/glue", "rte", str(load_tasks()["rte"].hub.revision), splits)
        server.add_model("org/t5", tmp_path / "t5", COMMITS["org/t5"])
        server.add_model("org/encoder", tmp_path / "encoder", COMMITS["org/encoder"], branch="refs/pr/1")
        (tmp_path / "encoder/model.safetensors").rename(tmp_path / "encoder/pytorch_model.bin")
        server.add_model("org/encoder", tmp_path / "encoder", "c" * 40)  # safetensors are on the other branch only
        yield server


def harness(hub, folder, *arguments, **variables):
    """A fresh process whose clients talk to the server."""
    environment = {**os.environ, **hub.environment(), "OMP_NUM_THREADS": "1", **variables}
    environment.pop("HF_HUB_OFFLINE", None)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_data_and_checkpoints_come_from_the_hub_and_are_recorded(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML)
    done = harness(hub, tmp_path, "run", "hub.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    records = {
        record["model"]: record
        for record in (json.loads(path.read_text()) for path in tmp_path.glob("results/hub/runs/*/*/*/record.json"))
    }
    assert records["encoder"]["revision"] == COMMITS["org/encoder"]
    assert records["enct5"]["revision"] == COMMITS["org/t5"]
    assert load_tasks()["rte"].hub.revision in json.dumps(records["enct5"]["settings"]["data"])
    assert "unpinned_checkpoint" in [caveat["kind"] for caveat in records["encoder"]["caveats"]]
    assert "unpinned_checkpoint" not in [caveat["kind"] for caveat in records["enct5"]["caveats"]]
    assert "unpinned" in (tmp_path / "results/hub/leaderboard.md").read_text()
    hub.fail("503")  # what is done needs no files again
    again = harness(hub, tmp_path, "run", "hub.yaml", "--models", "enct5")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 run, 1 of them done" in again.stdout


@pytest.mark.slow
def test_pickled_weights_are_refused_with_a_hint_where_others_may_be(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML.replace("refs/pr/1", "main"))
    refused = harness(hub, tmp_path, "run", "hub.yaml")
    assert refused.returncode == 2
    assert "pytorch_model.bin only" in refused.stderr and "revision: refs/pr/1" in refused.stderr


def test_a_gated_checkpoint_is_one_message_and_no_traceback(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML)
    hub.fail("gated", path="org/encoder")
    refused = harness(hub, tmp_path, "run", "hub.yaml")
    assert refused.returncode == 2
    assert "org/encoder" in refused.stderr and "login" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_what_is_downloaded_is_all_that_a_run_without_network_needs(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML)
    nothing = harness(hub, tmp_path, "run", "hub.yaml", "--offline")
    assert nothing.returncode == 2 and hub.requests == []
    missing = [line for line in nothing.stderr.splitlines() if "is not in the cache" in line]
    assert [line.split(" at ")[0] for line in missing] == [
        "checkpoint org/encoder", "checkpoint org/t5", "data set nyu-mll/glue",
    ]  # fmt: skip
    assert "python -m harness download hub.yaml hub fetches all that is missing" in nothing.stderr
    sizes = harness(hub, tmp_path, "download", "hub.yaml", "--sizes")
    assert sizes.returncode == 0, sizes.stdout + sizes.stderr
    assert "3 parts are needed from the Hub, 0 are here already" in sizes.stdout
    assert "data set nyu-mll/glue, rte" in sizes.stdout and "[1/3]" not in sizes.stderr
    hub.fail("gated", path="parquet")
    ended = harness(hub, tmp_path, "download", "hub.yaml")
    assert ended.returncode == 2 and "is gated" in ended.stderr and "in all" in ended.stdout
    hub.heal()
    done = harness(hub, tmp_path, "download", "hub.yaml")  # goes on where it was
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 are here already" in done.stdout and "[1/1] data set nyu-mll/glue, rte: here after" in done.stdout
    assert not [request for request in hub.requests if "/org/" in request.path]
    assert "3 are here already" in harness(hub, tmp_path, "download", "hub.yaml", "hub").stdout
    hub.heal()
    run = harness(hub, tmp_path, "run", "hub.yaml", "--offline", "--jobs", "1")
    assert run.returncode == 0 and hub.requests == [], run.stdout + run.stderr


def test_a_hub_that_cannot_be_reached_ends_a_command_at_once(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML)
    ended = harness(hub, tmp_path, "run", "hub.yaml", **NOWHERE)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert "cannot reach the Hub for checkpoint org/encoder" in ended.stderr
    assert "cannot reach the Hub for data set nyu-mll/glue" in ended.stderr
    plan = harness(hub, tmp_path, "run", "hub.yaml", "--dry-run", **NOWHERE)
    assert plan.returncode == 0 and "2 runs, 0 done" in plan.stdout


@pytest.mark.slow
def test_of_a_hub_that_cannot_be_reached_what_is_here_is_used(hub, tmp_path):
    (tmp_path / "hub.yaml").write_text(YAML)
    ended = harness(hub, tmp_path, "download", "hub.yaml", **NOWHERE)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert "cannot reach the Hub for checkpoint org/encoder" in ended.stderr
    assert harness(hub, tmp_path, "download", "hub.yaml").returncode == 0
    cached = harness(hub, tmp_path, "run", "hub.yaml", "--jobs", "1", **NOWHERE)  # all is here
    assert cached.returncode == 0, cached.stdout + cached.stderr
