"""Tensors on disk: the state from which a training goes on; safetensors and JSON, never pickle.

A file is there whole or not at all, and carries a checksum of its content, so that a damaged one is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import system_errors
from harness.io import disk_errors, replacing, sync
from harness.results.fields import Damaged

STATE_VERSION = 3
"""Raise when the content of a training state changes: one of another version is not used."""

PLAIN = "json"
"""The name of the tensor that holds a state's plain part."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], check: Callable[[], None] = lambda: None) -> None:
    """Replace a safetensors file, all at once. Tensors that are the same memory (tied weights) are written once.

    Args:
        check: called right before the new file takes its place; what it raises leaves the old one there.

    Raises:
        HarnessError: the disk says no; the old file is then still there.
    """
    distinct, aliases = _distinct(tensors)
    # One key only: the order of several would change the bytes.
    metadata = {"harness": json.dumps({"sha256": _digest(distinct, aliases), "aliases": aliases}, sort_keys=True)}
    with replacing(path) as draft:
        draft.touch()
        mode = draft.stat().st_mode
        with system_errors(path):
            save_file(distinct, draft, metadata)
        draft.chmod(mode)  # save_file makes files that only their owner can read, whatever the umask
        with open(draft, "rb+") as file:
            sync(file)
        check()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote, on the CPU and in memory of its own.

    Raises:
        Damaged: the file was altered or cut short, or is not one of ours.
        FileNotFoundError: there is none.
        HarnessError: the disk says no.
    """
    with _opened(path) as (file, notes):
        # A mapped file would be read again later, when it may be gone.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if notes["sha256"] != _digest(tensors, notes["aliases"]):
            raise Damaged(f"{path}: altered (its checksum does not fit)")
        return tensors | {name: tensors[first] for name, first in notes["aliases"].items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A file of ours and its notes; safetensors checks its header and its size."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with disk_errors(path), safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {})["harness"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: altered or cut short ({error})") from error


def save_state(path: Path, state: Mapping[str, Any], check: Callable[[], None] = lambda: None) -> None:
    """Write a training state: nested dictionaries and lists of plain data, tensors and arrays; ``check`` as above.

    Raises:
        HarnessError: the disk says no; the old state is then still there.
    """
    tensors: dict[str, Tensor] = {}
    plain = _take_tensors({"version": STATE_VERSION, **state}, (), tensors)
    text = json.dumps(plain, default=lambda value: value.tolist())
    tensors[PLAIN] = torch.frombuffer(bytearray(text.encode("ascii")), dtype=torch.uint8)
    save_tensors(path, tensors, check)


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote (arrays come back as tensors); None where there is none.

    Raises:
        Damaged: it was altered, cut short, or written by another version of the program.
    """
    if not path.is_file():
        return None
    tensors = load_tensors(path)
    try:
        state: dict[str, Any] = json.loads(tensors.pop(PLAIN).numpy().tobytes()) if PLAIN in tensors else {}
        if state.pop("version", None) != STATE_VERSION:
            raise Damaged(f"{path}: written by another version of this program")
        for name, tensor in tensors.items():
            *way, last = json.loads(name)
            node = state
            for key in way:
                node = node[key]
            node[last] = tensor
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: no training state ({error})") from error
    return state


def _take_tensors(node: Any, place: tuple[str | int, ...], tensors: dict[str, Tensor]) -> Any:
    """The tree with None for every tensor; the tensors go to ``tensors``, named by their place as JSON."""
    if isinstance(node, Mapping):
        return {key: _take_tensors(value, (*place, key), tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_take_tensors(value, (*place, i), tensors) for i, value in enumerate(node)]
    if isinstance(node, np.ndarray):
        node = torch.from_numpy(np.ascontiguousarray(node))
    if isinstance(node, Tensor):
        tensors[json.dumps(place)] = node
        return None
    return node


def _distinct(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, as save_file takes them, and the further names of those that have several."""
    first: dict[tuple[Any, ...], str] = {}
    distinct: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        memory = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and memory in first:
            aliases[name] = first[memory]
            continue
        first[memory] = name
        plain = tensor.detach().to("cpu").contiguous()
        distinct[name] = plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()
    return distinct, aliases


def _digest(tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(aliases, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
