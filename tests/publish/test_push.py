"""export --push against a Hub on loopback: what arrives there, who may see it, and every way in which it is refused."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, calling
from running import Bench

import harness
from harness.cli import main

TOKEN = "hf_of_the_tests"


def command(token: str, arguments: list[str]) -> tuple[int, str, str]:
    """The exit code, output and errors of a command in the process that it is called in."""
    os.environ["HF_TOKEN"] = token
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main(arguments)
    return code, out.getvalue(), errors.getvalue()


def config_of(name: str, token: str) -> dict:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(name, token=token).to_dict()


@pytest.fixture(scope="module")
def kept(tmp_path_factory, sample_cache) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("push"), sample_cache)
    bench.write(recipe={"max_steps": 1}, models=["bert"], seeds=[1, 2], keep="all-seeds")
    bench.run()
    return bench


@pytest.fixture(scope="module")
def folder(kept, tmp_path_factory) -> Path:
    return harness.export_model(kept.record("cola", "bert").folder, tmp_path_factory.mktemp("folder") / "cola")


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.writers[TOKEN] = {"me"}
        yield hub


@pytest.fixture(scope="module")
def call(server) -> Iterator[Callable]:
    with calling(server) as process:
        yield process


@pytest.fixture
def hub(server) -> HubServer:
    server.heal()
    server.repos.clear()
    return server


@pytest.fixture
def push(hub, call) -> Callable:
    return lambda *arguments, token=TOKEN: call(command, token, ["export", *map(str, arguments)])


def test_a_run_arrives_as_its_folder_in_a_private_repository(hub, push, call, kept, tmp_path):
    run, target = kept.record("cola", "bert").folder, tmp_path / "cola"
    code, out, errors = push(run, "--to", "hub", target, "--push", "me/cola")
    assert code == 0, errors
    assert f"pushed: {hub.url}/me/cola (private" in out and "README.md says TO FILL on 3 lines" in out
    repository = hub.repos["models", "me/cola"]
    assert repository.private
    assert repository.files == {path.name: path.read_bytes() for path in target.iterdir()}
    assert TOKEN not in out + errors + "".join(path.read_text(errors="ignore") for path in target.iterdir())
    assert call(config_of, "me/cola", TOKEN)["id2label"] == {0: "unacceptable", 1: "acceptable"}


def test_a_filled_card_is_pushed_again_and_the_repository_stays_as_it_is(hub, push, folder, tmp_path):
    filled = shutil.copytree(folder, tmp_path / "filled")
    assert push(filled, "--push", "me/cola", "--public")[0] == 0
    card = filled / "README.md"
    card.write_text(card.read_text().replace("TO FILL", "apache-2.0"))
    code, out, _ = push(filled, "--push", "me/cola")
    assert code == 0 and "(public)" in out and "TO FILL" not in out
    repository = hub.repos["models", "me/cola"]
    assert not repository.private and repository.files["README.md"] == card.read_bytes()
    assert len(repository.commits) == 3


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [
        ("me/cola", "", "there is no token: log in with `hf auth login`, or set HF_TOKEN"),
        ("me/cola", "hf_unknown", "does not accept the token (401)"),
        ("others/cola", TOKEN, "may not write to others (403)"),
        ("cola", TOKEN, "name the owner, too, as in --push my-organisation/cola"),
        ("me/../cola", TOKEN, "no name on the Hub"),
    ],
)
def test_who_may_not_write_gets_one_clear_line(hub, push, folder, name, token, words):
    code, out, errors = push(folder, "--push", name, token=token)
    assert code == 2 and out == "" and words in errors and len(errors.splitlines()) == 1
    assert not hub.repos


def test_a_refused_name_or_token_leaves_no_folder_behind(push, kept, tmp_path):
    run = kept.record("cola", "bert").folder
    assert push(run, "--to", "hub", tmp_path / "x", "--push", "me/cola", token="")[0] == 2
    assert push(kept.results, "--model", "bert", "--to", "hub", tmp_path / "x", "--push", "me/cola")[0] == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("mode", "path", "words"),
    [
        ("drop", "/api/repos/create", "cannot reach the Hub"),
        ("500", "/api/repos/create", "the Hub answers 500"),
        ("403", "/cdn/", "Error while uploading 'model.safetensors'"),
        ("403", "/commit/", "may not write to me (403)"),
    ],
)
def test_a_hub_that_fails(hub, push, folder, mode, path, words):
    hub.fail(mode, path=path)
    code, _, errors = push(folder, "--push", "me/cola")
    assert code == 2 and words in errors and "Traceback" not in errors
    hub.heal()
    assert push(folder, "--push", "me/cola")[0] == 0


def test_offline_asks_nothing_of_the_network(hub, push, folder):
    code, _, errors = push(folder, "--push", "me/cola", "--offline")
    assert code == 2 and "offline mode (--offline, HF_HUB_OFFLINE) forbids the network" in errors
    assert not hub.requests


def test_only_a_folder_for_the_hub_is_pushed(hub, push, kept, folder, tmp_path):
    assert "no folder for the Hub, it lacks README.md" in push(kept.results, "--push", "me/cola")[2]
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "README.md").write_text("---\nlicense: mit\n---\n")
    assert "Invalid metadata in README.md" in push(broken, "--push", "me/cola")[2]
    assert "goes with --to hub" in push(kept.results, "--to", "tensorboard", tmp_path / "tb", "--push", "me/cola")[2]
    assert "--public goes with --push" in push(folder, "--public")[2]
