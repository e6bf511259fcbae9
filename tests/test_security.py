"""What SECURITY.md promises: nothing from a file runs, names never become paths, and offline means no socket."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from running import LIMIT, Bench, tiny
from safetensors.torch import load_file, save_file

import harness
from harness import HarnessError, load_tasks
from harness.cli import main
from harness.config.benchmark import read_benchmarks
from harness.config.yaml import read
from harness.data.datasets import load_examples
from harness.data.hub import resolve_checkpoint
from harness.data.hub_access import network
from harness.report.show import show_run
from harness.results.fields import Damaged
from harness.results.store import Store
from harness.results.tensors import load_state
from harness.submission.check import check_submission
from harness.task.task import HubSource, Task

ROOT = Path(__file__).parent.parent
SOURCES = [*sorted((ROOT / "harness").rglob("*.py")), *sorted((ROOT / "tasks").glob("*.py"))]
ESCAPES = ["../x", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "..", ".", ".hidden", "x\0y", "~", "CON:", "x\n"]


@pytest.fixture
def bench(tmp_path, sample_cache) -> Bench:
    return Bench(tmp_path, sample_cache)


# Nothing from a file runs ----------------------------------------------------------------------------------------


WORKER = "sys.executable, '-m', 'harness.workers.worker'"
STARTED = [
    ("process.py", f"[{WORKER}]"),
    ("process.py", f"[{WORKER}, FORKS]"),
    ("ahead.py", "[sys.executable, '-P', '-m', 'harness.results.ahead']"),
    ("slurm.py", "['sinfo', '--noheader', '--exact', '--format', '%D %c %G', *chosen]"),
]
"""The processes that the program starts: itself, by its module's name, and SLURM's ``sinfo`` for a plan."""


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_source_runs_no_text_and_reads_no_pickle(file):
    """No eval, exec, pickle, torch.load, shell or remote code in the program; plugins are loaded in one place."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), (
                called,
                node.lineno,
            )
            assert called not in ("torch.load", "torch.save", "yaml.load", "yaml.unsafe_load"), (called, node.lineno)
            assert not called.startswith(("pickle.", "marshal.", "shelve.")), (called, node.lineno)
            if called.startswith("subprocess."):
                assert (file.name, ast.unparse(node.args[0])) in STARTED, node.lineno
            assert called != "spec.loader.exec_module" or file.name == "plugins.py", node.lineno
            for keyword in node.keywords:
                value = ast.unparse(keyword.value)
                assert keyword.arg != "trust_remote_code" or value == "False", node.lineno
                assert keyword.arg != "allow_pickle" or value == "False", node.lineno
                assert keyword.arg != "shell" or value == "False", node.lineno
            if called.endswith((".from_pretrained", ".load_dataset")) and "super()" not in called:
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if called.startswith(("AutoConfig", "AutoTokenizer")):
                    assert given.get("trust_remote_code") == "False", node.lineno
                elif called.startswith("AutoModel"):
                    assert given.get("use_safetensors") == "True", node.lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & set(names), node.lineno
            assert "subprocess" not in names or file.name in dict(STARTED), node.lineno


@pytest.mark.parametrize(
    "value",
    ["!!python/object/apply:os.system ['touch hacked']", "!!python/name:os.system", "!!python/object:os.PathLike {}",
     "!!python/module:os", "!own {}", "!!binary aGk="],
)  # fmt: skip
def test_yaml_makes_plain_data_only(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "b.yaml"
    path.write_text(f"default: {value}\nmodels: {{}}\nbenchmarks: {{}}\n")
    assert any("unknown tag" in message for _, message in read(path).problems)
    with pytest.raises(HarnessError, match=r"b\.yaml:1: unknown tag '.*': only plain YAML values are read"):
        read_benchmarks(path)
    assert not (tmp_path / "hacked").exists()


class Bomb:
    """What a pickle does that should never be read."""

    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_pickles_beside_a_checkpoint_are_never_read(bench, monkeypatch):
    """Optimizer states and weights of other tools: nothing reads them, whatever they are called."""
    from transformers import BertConfig, BertModel

    from harness.models.tokenizers import sample_tokenizer

    monkeypatch.chdir(bench.folder)
    tokenizer = sample_tokenizer("bert", bench.results / ".cache")
    BertModel(BertConfig(vocab_size=len(tokenizer), **tiny("bert")["config"])).save_pretrained("model")
    tokenizer.save_pretrained("model")
    for name in ("pytorch_model.bin", "optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "x.pkl"):
        Path("model", name).write_bytes(pickle.dumps(Bomb()))
    bench.models = {"m": {"architecture": "bert", "checkpoint": "./model"}}
    bench.write(models=["m"])
    bench.run()
    assert bench.record(model="m").finished and not Path("hacked").exists()
    Path("model", "model.safetensors").unlink()
    with pytest.raises(
        HarnessError, match=r"as optimizer\.pt, .*a format that can run code and is refused: look among"
    ):
        resolve_checkpoint("./model")
    assert not Path("hacked").exists()


def test_a_training_state_that_is_a_pickle_is_damaged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "state.safetensors"
    torch.save({"x": torch.zeros(1), "y": Bomb()}, state)
    with pytest.raises(Damaged):
        load_state(state)
    state.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Damaged):
        load_state(state)
    assert not (tmp_path / "hacked").exists()


def test_a_plugin_runs_only_from_the_folder_that_was_named(bench, monkeypatch):
    """A ``tasks`` folder or a ``sitecustomize``-like file beside the benchmark file is not loaded."""
    monkeypatch.chdir(bench.folder)
    for folder in ("tasks", "plugins", "harness_tasks"):
        Path(folder).mkdir()
        Path(folder, "own.py").write_text("import os; os.mkdir('hacked')")
    bench.write()
    assert main(["validate", str(bench.path)]) == 0 and not Path("hacked").exists()


def test_of_plugins_the_sound_ones_load_and_the_broken_one_is_named(bench, capsys):
    (bench.folder / "plugins").mkdir()
    sound = (
        "from harness import Task\nfine = Task(name='fine', suite='own', problem_type='regression', "
        "text_fields=('text',), metrics=('pearson',))\n"
    )
    (bench.folder / "plugins" / "a_broken.py").write_text("from harness import Task\n\nTask(nam='x')\n")
    (bench.folder / "plugins" / "b_syntax.py").write_text("x = (\n")
    (bench.folder / "plugins" / "c_fine.py").write_text(sound)
    content = json.loads(bench.write(tasks=["fine", "cola"]).read_text())
    bench.path.write_text(json.dumps({**content, "plugins": ["plugins"]}))
    with pytest.raises(HarnessError) as error:
        read_benchmarks(bench.path)
    first, second = str(error.value).splitlines()  # and none about task 'fine'
    assert "a_broken.py:3: the plugin does not load: TypeError" in first
    assert "b_syntax.py:1: the plugin does not load: SyntaxError" in second


# Names never become paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESCAPES)
def test_names_in_a_benchmark_file(name, bench):
    content = json.loads(bench.write().read_text())
    model, entry = content["models"]["bert"], content["benchmarks"]["b"]
    for change in (
        {"models": {name: model}, "benchmarks": {"b": {**entry, "models": [name]}}},
        {"models": {"bert": model}, "benchmarks": {name: entry}},
        {**content, "tasks": {name: {"problem_type": "regression", "text": "t", "train": "t.csv"}}},
    ):
        bench.path.write_text(json.dumps(change))
        assert main(["run", str(bench.path), "--results", str(bench.results)]) == 2
    with pytest.raises(HarnessError, match="a name is made of"):
        Store(bench.results, name)
    with pytest.raises(HarnessError, match="a name is made of"):
        Task(name=name, suite="own", problem_type="regression", text_fields=("x",), metrics=("pearson",))
    assert {path.name for path in bench.folder.iterdir()} == {"results", "benchmarks.yaml"}
    assert {path.name for path in bench.results.iterdir()} == {".cache"}


@pytest.mark.parametrize("name", ["../x", "a/../b", "../../etc", "a--b/..", "x\0y", "a/b/c", "a b"])
def test_names_on_the_hub(name, bench):
    """Neither a checkpoint nor a data set can be asked for by a path."""
    with network(offline=True), pytest.raises(HarnessError):
        resolve_checkpoint(name)
    task = Task(
        name="own",
        suite="own",
        problem_type="regression",
        text_fields=("x",),
        metrics=("pearson",),
        hub=HubSource(name),
    )
    with network(offline=True), pytest.raises(HarnessError):
        load_examples(task, "hub", "train")


def test_an_idx_is_data_and_no_path(bench):
    """Whatever stands in an idx or a text goes into predictions.jsonl as a value, and the table shows no HTML."""
    folder = bench.folder / "data" / "CB"
    folder.mkdir(parents=True)
    text = "<script>alert(1)</script> ../../x \x1b[2J"
    rows = [{"premise": text, "hypothesis": "h", "label": "entailment", "idx": f"{i}"} for i in range(9)]
    for name in ("train", "val"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.write(tasks=["cb"], data="./data", allow_partial=True, limit=None)
    bench.run()
    assert [row["idx"] for row in bench.record("cb").predictions()] == list(range(9))
    assert "<script>" not in (bench.results / "b" / "leaderboard.md").read_text()
    (folder / "train.jsonl").write_text(json.dumps({**rows[0], "idx": "../../x"}) + "\n")
    with pytest.raises(HarnessError, match=r"train\.jsonl:1: the idx must be a whole number, found '\.\./\.\./x'"):
        load_examples("cb", bench.folder / "data", "train", allow_partial=True)


def test_entries_of_a_zip_file(tmp_path):
    path = tmp_path / "GLUE.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../RTE.tsv", "/tmp/WNLI.tsv", "C:\\CoLA.tsv", "a/../../SST-2.tsv"):
            archive.writestr(name, "index\tprediction\n")
    found = "\n".join(check_submission(path))
    assert found.count("its path leads out of the archive: a file's path must be its name") == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["GLUE.zip"]


@pytest.mark.parametrize("nested", [False, True])
def test_zip_bombs(nested, tmp_path):
    path = tmp_path / "GLUE.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("RTE.zip" if nested else "RTE.tsv", bytes(40 * 2**20))
    (found,) = check_submission(path)
    assert "unpack to 41943040 bytes: no submission is that large" in found


def test_a_zip_entry_that_lies_about_its_size(tmp_path):
    """The directory says 10 bytes, the data unpack to 40 MB: no more than the 10 are unpacked."""
    path = tmp_path / "GLUE.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("RTE.tsv", bytes(40 * 2**20))
    content = path.read_bytes().replace((40 * 2**20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    found = check_submission(path)
    assert any(line.startswith("RTE.tsv") for line in found)


def test_a_record_cannot_name_its_own_place(bench):
    """A record that was copied under another name, or names another place, is not used."""
    bench.write()
    bench.run()
    record = bench.record()
    target = record.folder.parent.parent / "other" / record.folder.name
    target.parent.mkdir()
    record.folder.rename(target)
    assert bench.store.records() == []
    assert main(["show", str(target)]) == 2


def test_what_a_record_holds_is_shown_as_text(bench):
    bench.write()
    bench.run()
    assert "\x1b" not in show_run(bench.record())


# The network -----------------------------------------------------------------------------------------------------

GUARD = """
import sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        print("NETWORK", event, arguments[1:], file=sys.stderr, flush=True)
        raise RuntimeError("a socket was opened")
sys.addaudithook(guard)
from harness.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_sockets(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that ends when a socket is used."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "home"),
        **variables,
    }
    command = [sys.executable, "-c", GUARD, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("offline", [(), pytest.param(("--offline",), marks=pytest.mark.slow)])
def test_sample_data_and_tiny_models_need_no_network(offline, bench):
    bench.write(tasks=["cola", "copa"], models=["bert", "enct5", "t5"], limit=LIMIT, predict=["test"])
    done = without_sockets(bench.folder, "run", "benchmarks.yaml", *offline)
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stdout + done.stderr
    assert "6 runs" in done.stdout


def test_a_source_on_the_hub_opens_no_socket_offline(bench):
    bench.models["hub"] = {"architecture": "bert", "checkpoint": "org/name", "revision": "a" * 40}
    bench.models["branch"] = {"architecture": "bert", "checkpoint": "org/name"}
    bench.write(tasks=["rte"], models=["bert", "hub", "branch"], data="hub")
    for models, asked in (
        (
            ["--models", "hub,branch"],
            [
                f"checkpoint org/name at revision {'a' * 40} is not",
                "checkpoint org/name is not",
                "data set nyu-mll/glue at revision ",
            ],
        ),
        (["--models", "bert"], ["data set nyu-mll/glue at revision "]),
    ):
        done = without_sockets(bench.folder, "run", "benchmarks.yaml", "--offline", *models)
        assert done.returncode == 2 and "NETWORK" not in done.stderr and "Traceback" not in done.stderr, done.stderr
        lines = [line for line in done.stderr.splitlines() if "offline" in line]
        assert len(lines) == len(asked)
        for line, start in zip(lines, asked, strict=True):
            assert line.startswith(start)
            assert " in the cache, and offline mode (--offline, HF_HUB_OFFLINE) forbids the network: run once w" in line
            assert ("name a commit" in line) == (start == "checkpoint org/name is not")


def test_the_guard_of_these_tests_sees_a_socket(bench):
    bench.write(tasks=["rte"], data="hub")
    done = without_sockets(bench.folder, "run", "benchmarks.yaml", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode != 0 and "NETWORK" in done.stderr


def test_offline_holds_for_libraries_that_were_imported_before(monkeypatch):
    import datasets
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    with network(offline=True):
        assert constants.is_offline_mode() and datasets.config.HF_HUB_OFFLINE
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not constants.is_offline_mode() and not datasets.config.HF_HUB_OFFLINE and "HF_HUB_OFFLINE" not in os.environ
    with network():
        assert constants.HF_HUB_DISABLE_TELEMETRY and not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
        assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1" and not constants.is_offline_mode()
    assert not constants.HF_HUB_DISABLE_TELEMETRY


def test_python_can_ask_for_offline_mode_too(bench):
    bench.write(tasks=["rte"], data="hub")
    with pytest.raises(HarnessError, match=r"nyu-mll/glue .* is not in the cache, and offline mode"):
        harness.run(bench.path, results=bench.results, offline=True)


def test_the_checks_of_weights_know_tampering(bench):
    """Kept models carry a checksum: an altered one is not started from."""
    bench.write(keep="best")
    bench.run()
    file = bench.model_file(bench.record())
    weights = load_file(file)
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, file)
    assert not bench.has_model(bench.record())


def test_every_claim_of_the_page_points_at_something_that_is_there():
    import re

    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    manifest_entries = re.findall(r"`((?:tests|harness|tasks)/[\w./]+\.py)(?:::(\w+))?`", text)
    assert len(manifest_entries) > 10
    for file, name in manifest_entries:
        content = (ROOT / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"^(?:def|class) {name}\b|^{name}\b", content, re.MULTILINE), (file, name)
    assert load_tasks()
