"""The files of checkpoints, looked at before anything is trained, without loading torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from harness.config.schema import Model
from harness.errors import HarnessError
from harness.io import open_regular, read_file, unreadable

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"[^/\\:\0]+\.safetensors")
POINTER = b"version https://git-lfs"


def check_files(checkpoint: str, folder: Path) -> None:
    """Refuse weights that are missing, cut short or damaged, and JSON that is not what its name says.

    Args:
        checkpoint: what messages call it.
        folder: its files, in the layout of transformers: ``model.safetensors``, or shards and their index.

    Raises:
        HarnessError: which file, what is wrong with it, and what to do.
    """
    config = folder / "config.json"
    if not isinstance(_json(checkpoint, config), dict):
        raise HarnessError(f"{checkpoint}: {config} is no configuration: get the checkpoint again")
    for name in [SINGLE] if (folder / SINGLE).is_file() else _shards(checkpoint, folder):
        problem = _problem(folder / name)
        if problem:
            raise HarnessError(f"{checkpoint}: {folder / name} {problem}")


def _shards(checkpoint: str, folder: Path) -> Iterable[str]:
    index = folder / INDEX
    if not index.is_file():
        raise HarnessError(f"{checkpoint}: {folder} has neither {SINGLE} nor {INDEX}: its weights have other names")
    content = _json(checkpoint, index)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise HarnessError(f"{checkpoint}: {index} is no index of weights: get the checkpoint again")
    for shard in shards.values():
        if not isinstance(shard, str) or not SHARD.fullmatch(shard):
            raise HarnessError(
                f"{checkpoint}: {index} names {shard!r}: shards are .safetensors files in the folder itself"
            )
    return sorted(set(shards.values()))


def _json(checkpoint: str, path: Path) -> Any:
    try:
        return json.loads(read_file(path))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):
        raise HarnessError(f"{checkpoint}: {path} is not valid JSON: get the checkpoint again") from None


def _problem(path: Path) -> str | None:
    """What is wrong with a safetensors file; None where its header is sound and fits its size."""
    try:
        with open_regular(path) as file:
            if file.read(len(POINTER)) == POINTER:
                return "is only a pointer of Git LFS: fetch the file itself with `git lfs pull`"
        with safe_open(path, framework="numpy"):
            return None
    except FileNotFoundError:
        return f"is missing, and the index names it: get the checkpoint again, with all files that {INDEX} names"
    except SafetensorError as error:
        problem = str(error).removeprefix("Error while deserializing header: ")
        return f"is cut short or damaged, or no safetensors file ({problem}): get it again"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def model_type_of(model: Model, folder: Path | None) -> str:
    """What transformers calls the type of a model: its checkpoint's, its config's, or its architecture's usual one.

    Args:
        model: the entry of benchmarks.yaml.
        folder: the files of its checkpoint, checked, or None.
    """
    config = _json(f"model '{model.name}'", folder / "config.json") if folder else model.config or {}
    return str(config.get("model_type", model.tokenizer_family))
