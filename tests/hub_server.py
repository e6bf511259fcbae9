"""A small Hugging Face Hub on loopback: what the real clients ask for and send, and the ways in which a Hub fails.

    with HubServer() as hub:
        hub.add_dataset("nyu-mll/glue", "cola", commit, {"train": pyarrow_table})
        hub.add_model("org/tiny", folder, commit)
        hub.writers["a token"] = {"org"}  # who may write where
        hub.fail("429", times=2)
        subprocess.run([...], env={**os.environ, **hub.environment()})

The clients read ``HF_ENDPOINT`` when they are imported: give `HubServer.environment` to a new process, or call
functions in the process of `calling`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".bin", ".model")
"""Files that the Hub keeps in large-file storage: their address answers with a redirect to another host."""

QUICK_RETRIES = """
import time
_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.01))
"""
"""A `sitecustomize.py`: the clients' waits between retries cannot be set, so the tests' processes sleep short."""


@dataclass
class Repo:
    """One repository: its files at every commit, and the branches and tags that point to commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        """Those of the branch main."""
        return self.commits[self.refs["main"]]


@dataclass
class Failure:
    """The next ``times`` requests (None: all) whose path holds ``path`` go wrong in the way of ``mode``."""

    mode: str
    times: int | None
    path: str


@dataclass(frozen=True)
class Request:
    """What a client asked for, and the status that it got."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]


class HubServer:
    """A Hub on 127.0.0.1 for as long as the ``with`` block lasts.

    ``requests`` lists what the clients asked for. ``url`` is the address that `environment` sets as ``HF_ENDPOINT``.
    ``writers`` are the tokens that it accepts from those who write, each with the owners for whom it may.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.writers: dict[str, set[str]] = {}
        self.requests: list[Request] = []
        self.failures: list[Failure] = []
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="hub-server-")
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.cdn = f"http://localhost:{self.port}/cdn"  # another host name, as the real CDN is

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._folder.cleanup()

    def stop(self) -> None:
        """Go off the network: every further connection is refused."""
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: str | Path | None = None) -> dict[str, str]:
        """Environment variables for a process that shall take this server for the Hub, with an empty cache of its own.

        Args:
            home: the folder of the cache (``HF_HOME``), to share it between processes; default: one per server.
        """
        site = Path(self._folder.name, "site")
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(QUICK_RETRIES)
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home or Path(self._folder.name, "home")),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        }

    def add_model(self, repo_id: str, folder: str | Path, revision: str, branch: str = "main") -> None:
        """Put a folder's files under ``repo_id`` at the commit ``revision``, which becomes the head of ``branch``."""
        folder = Path(folder)
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self._add("models", repo_id, revision, branch, files)

    def add_dataset(
        self, repo_id: str, config: str, revision: str, splits: Mapping[str, Any], branch: str = "main"
    ) -> None:
        """Put one configuration of a data set, a `pyarrow.Table` (or raw bytes) per split, as parquet files."""
        files = self.repos.get(("datasets", repo_id), Repo()).commits.get(revision, {})
        names = {split: f"{config}/{split}-00000-of-00001.parquet" for split in splits}
        configs = {**_configs(files), config: names}
        added = {names[split]: _parquet(table) for split, table in splits.items()}
        self._add("datasets", repo_id, revision, branch, {**files, **added, "README.md": _card(configs)})

    def add_converted(self, repo_id: str, config: str, revision: str, splits: Mapping[str, Any]) -> None:
        """One configuration, as the Hub itself converts data sets that are scripts: without a card."""
        files = {f"{config}/{split}/0000.parquet": _parquet(table) for split, table in splits.items()}
        self._add("datasets", repo_id, revision, "refs/convert/parquet", files)

    def _add(self, kind: str, repo_id: str, revision: str, branch: str, files: dict[str, bytes]) -> None:
        assert re.fullmatch("[0-9a-f]{40}", revision), "a commit has 40 hexadecimal digits"
        repo = self.repos.setdefault((kind, repo_id), Repo())
        repo.commits[revision] = files
        repo.refs[branch] = revision
        self.blobs.update({hashlib.sha256(data).hexdigest(): data for data in files.values()})

    def fail(self, mode: str, times: int | None = None, path: str = "") -> None:
        """Let requests go wrong from now on.

        Args:
            mode: a status ("401", "403", "404", "429", "503", ...), "gated" (403 as the Hub says it), "drop" (the
                connection is closed without an answer), "cut" (a file's bytes break off half-way), or "short" (they
                end half-way, as if that were all).
            times: how many requests; None: until `heal`.
            path: only requests whose path holds this text.
        """
        self.failures.append(Failure(mode, times, path))

    def heal(self) -> None:
        """Let everything go well again, and forget the requests seen so far."""
        self.failures.clear()
        self.requests.clear()

    def failure_for(self, method: str, path: str) -> str | None:
        """The mode in which this request goes wrong; None: it goes well."""
        with self._lock:
            for failure in self.failures:
                is_file = "/resolve/" in path or path.startswith("/cdn/")
                fits = failure.path in path and (failure.mode not in ("cut", "short") or (method == "GET" and is_file))
                if fits and failure.times != 0:
                    failure.times = None if failure.times is None else failure.times - 1
                    return failure.mode
        return None


@contextlib.contextmanager
def calling(hub: HubServer) -> Iterator[Callable[..., Any]]:
    """A block with a process in which the server is the Hub: ``call(function, *arguments)`` calls it there."""
    before = dict(os.environ)
    os.environ.update(hub.environment())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(len, ()).result()
        os.environ.clear()
        os.environ.update(before)
        yield lambda function, *args, **options: pool.submit(function, *args, **options).result()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or is gone when its answer comes, is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        mode = self.hub.failure_for(self.command, self.path)
        if mode == "drop":
            self.close_connection = True
            self._note(0)
        elif mode == "gated":
            self._error(403, "GatedRepo", "Access to this repository is restricted")
        elif mode and mode.isdigit():
            self._error(int(mode), "", f"The server says {mode}")
        else:
            self._route(body, mode)

    def _route(self, body: bytes, mode: str | None) -> None:
        url = urlsplit(self.path)
        path = url.path  # a revision's slashes are quoted: refs%2Fpr%2F1
        write = re.fullmatch(
            r"/api/(?:repos/(create)|(validate-yaml)|models/([^/]+/[^/]+)/(preupload|commit)/main)", path
        )
        if write:
            self._write(write[1] or write[2] or write[4], write[3], body)
        elif batch := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._write("batch", batch[1], body)
        elif self.command == "PUT" and (blob := re.fullmatch("/cdn/([0-9a-f]{64})", path)):
            assert hashlib.sha256(body).hexdigest() == blob[1]
            self.hub.blobs[blob[1]] = body
            self._json({})
        elif blob := re.fullmatch("/cdn/([0-9a-f]{64})", path):
            self._bytes(self.hub.blobs[blob[1]], {"ETag": f'"{blob[1]}"'}, mode)
        elif api := re.fullmatch(
            r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)/?(.*))?", path
        ):
            kind, repo_id, what, revision, folder = (part and unquote(part) for part in api.groups())
            self._api(kind, repo_id, what, revision, folder, body.decode(), parse_qs(url.query))
        elif file := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file("datasets" if file[1] else "models", *map(unquote, file.groups()[1:]), mode)
        else:
            self._error(404, "", f"this small Hub has no {path}")

    def _commit(self, kind: str, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repo = self.hub.repos.get((kind, repo_id))
        if repo is None:
            self._error(404, "RepoNotFound", "Repository not found")
            return None
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repo.commits[commit]

    def _api(
        self, kind: str, repo_id: str, what: str, revision: str, folder: str, body: str, query: dict[str, list[str]]
    ) -> None:
        found = self._commit(kind, repo_id, revision or "main")
        if found is None:
            return
        commit, files = found
        if what == "tree":
            entries = _tree(files, folder, recursive=query.get("recursive", ["false"])[0].lower() in ("true", "1"))
            if folder and not entries:
                return self._error(404, "EntryNotFound", f"{folder} does not exist")
            self._json(entries)
        elif what == "paths-info":
            wanted = parse_qs(body).get("paths", [])
            everything = _tree(files, "", recursive=True)
            self._json([entry for entry in everything if entry["path"] in wanted])
        else:
            private = self.hub.repos[kind, repo_id].private
            info = {"id": repo_id, "sha": commit, "private": private, "gated": False, "disabled": False, "tags": []}
            self._json({**info, "siblings": [{"rfilename": name} for name in files]})

    def _write(self, what: str, repo_id: str | None, body: bytes) -> None:
        """The answers to those who upload a model, as the Hub's documentation and clients have them."""
        if what == "validate-yaml":
            broken = "model-index" not in json.loads(body)["content"]
            errors = [{"message": "there is no model-index"}] if broken else []
            return self._json({"errors": errors, "warnings": []}, 400 if broken else 200)
        lines = [json.loads(line) for line in body.splitlines()]
        owner = repo_id.split("/")[0] if repo_id else lines[0]["organization"]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.writers:
            return self._error(401, "", "Invalid credentials in Authorization header")
        if owner not in self.hub.writers[token]:
            return self._error(403, "", f"You don't have the rights to create a model under {owner}")
        if what == "create":
            return self._create(f"{owner}/{lines[0]['name']}", lines[0].get("visibility") == "private")
        repo = self.hub.repos.get(("models", str(repo_id)))
        if repo is None:
            return self._error(404, "RepoNotFound", "Repository not found")
        answers = {"preupload": self._preupload, "batch": self._batch, "commit": self._commit_files}
        answers[what](repo, str(repo_id), lines)

    def _create(self, repo_id: str, private: bool) -> None:
        taken = ("models", repo_id) in self.hub.repos
        if not taken:
            self.hub.repos["models", repo_id] = Repo({"0" * 40: {}}, {"main": "0" * 40}, private)
        self._json({"url": f"{self.hub.url}/{repo_id}"}, 409 if taken else 200)

    def _preupload(self, repo: Repo, repo_id: str, lines: list[Any]) -> None:
        paths = [file["path"] for file in lines[0]["files"]]
        modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
        self._json({"files": [{"path": p, "uploadMode": modes[p], "shouldIgnore": False} for p in paths]})

    def _batch(self, repo: Repo, repo_id: str, lines: list[Any]) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.cdn}/{wanted['oid']}"}}}
            for wanted in lines[0]["objects"]
        ]
        self._json({"objects": objects, "transfer": "basic"})

    def _commit_files(self, repo: Repo, repo_id: str, lines: list[Any]) -> None:
        files = dict(repo.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        commit = hashlib.sha1(b"".join(sorted(files.values())) + str(len(repo.commits)).encode()).hexdigest()
        repo.commits[commit], repo.refs["main"] = files, commit
        self.hub.blobs.update({hashlib.sha256(data).hexdigest(): data for data in files.values()})
        self._json({"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def _file(self, kind: str, repo_id: str, revision: str, name: str, mode: str | None) -> None:
        found = self._commit(kind, repo_id, revision)
        if found is None:
            return
        commit, files = found
        if name not in files:
            return self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        sha256 = hashlib.sha256(files[name]).hexdigest()
        if not name.endswith(LARGE):
            return self._bytes(files[name], {"X-Repo-Commit": commit, "ETag": f'"{_git_id(files[name])}"'}, mode)
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(files[name])), "X-Repo-Commit": commit}
        self._answer(302, {**linked, "Location": f"{self.hub.cdn}/{sha256}"}, b"")

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        body = json.dumps({"error": message}).encode()
        self._answer(status, {**(headers or {}), **named, "X-Error-Message": message}, body)

    def _bytes(self, data: bytes, headers: dict[str, str], mode: str | None) -> None:
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start:
            headers["Content-Range"] = f"bytes {start[1]}-{len(data) - 1}/{len(data)}"
        part = data[int(start[1]) :] if start else data
        if mode == "short":
            part = part[: len(part) // 2]
        self._answer(206 if start else 200, headers, part, len(part) // 2 if mode == "cut" else None)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, cut_at: int | None = None) -> None:
        self._note(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_at])
        if cut_at is not None:
            self.close_connection = True

    def _note(self, status: int) -> None:
        self.hub.requests.append(Request(self.command, self.path, status, dict(self.headers)))


def _tree(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, None] = {}
    entries = []
    for name, data in files.items():
        if not name.startswith(prefix):
            continue
        inner = name[len(prefix) :].split("/")
        parents = [prefix + "/".join(inner[:depth]) for depth in range(1, len(inner))]
        folders.update(dict.fromkeys(parents if recursive else parents[:1]))
        if recursive or len(inner) == 1:
            entries.append(_entry(name, data))
    return [{"type": "directory", "path": path, "oid": _git_id(path.encode()), "size": 0} for path in folders] + entries


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "oid": _git_id(data), "size": len(data)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet

    if isinstance(table, bytes):
        return table
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _configs(files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    configs: dict[str, dict[str, str]] = {}
    for name in files:
        if name.endswith(".parquet"):
            config, file = name.split("/")
            configs.setdefault(config, {})[file.split("-0")[0]] = name
    return configs


def _card(configs: Mapping[str, Mapping[str, str]]) -> bytes:
    """The data set's README.md, whose YAML head tells which files make up which configuration."""
    head = [
        {"config_name": config, "data_files": [{"split": split, "path": path} for split, path in names.items()]}
        for config, names in configs.items()
    ]
    return f"---\nconfigs: {json.dumps(head)}\n---\n# A data set\n".encode()
