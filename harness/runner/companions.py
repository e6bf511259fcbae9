"""The processes of one launch: each shows signs of life, and ends when another one has ended or stands still.

They wait for one another in every update, without a message when one of them is gone, or stopped, for hours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from harness.errors import HarnessError
from harness.output import complain
from harness.results.leases import Leases

LOOK_EVERY = 2.0
"""Seconds between two looks at the other processes."""
END_SECONDS = 10.0
"""How long a process whose connections are gone may take to end."""


def end_alone(index: int, reason: str) -> NoReturn:
    """End this process at once after a failure that the others of its launch do not know of.

    They wait for it, and no message can reach them; their launcher ends them when one of its processes is gone.
    """
    complain(f"process {index} ends: {reason}; the same command resumes")
    os._exit(1)


@contextlib.contextmanager
def watching(accelerator: Accelerator, leases: Leases, folder: Path) -> Iterator[None]:
    """A block in which this process ends where another one of its launch has ended or gives no sign of life.

    Args:
        accelerator: the processes of the launch; of a single one nothing is watched.
        leases: whose patience is the time without a sign.
        folder: a folder that all of them see.
    """
    if accelerator.num_processes == 1:
        yield
        return
    [launch] = broadcast_object_list([secrets.token_hex(8)])
    lease = leases.take(folder / f"launch-{launch}" / str(accelerator.process_index))
    paths = gather_object([None if lease is None else lease.path])
    if lease is None or None in paths:
        raise HarnessError(f"{folder}: the processes of one launch cannot show signs of life here")
    ended = threading.Event()
    others = {index: path for index, path in enumerate(paths) if index != accelerator.process_index}

    def end(index: int) -> None:
        if not ended.is_set():
            reason = f"process {index} has ended, or gave no sign of life for {leases.patience:.0f} seconds"
            end_alone(accelerator.process_index, reason)

    thread = threading.Thread(target=_watch, args=(ended, leases, others, end), daemon=True)
    thread.start()
    try:
        with lease:
            yield
            accelerator.wait_for_everyone()
            ended.set()
    except Exception as error:
        if lost_connection(error):
            gone = _gone(leases, others)
            who = f"process {', '.join(gone)}, which has ended" if gone else "another process of this launch"
            end_alone(accelerator.process_index, f"it lost the connection to {who}")
        raise
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            lease.path.parent.parent.rmdir()


def _gone(leases: Leases, others: dict[int, Path]) -> list[str]:
    """Which processes have ended: the connections of one that is killed go a moment before itself."""
    deadline = time.monotonic() + END_SECONDS
    while not (gone := [str(index) for index, path in others.items() if _is_gone(leases, path)]):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return gone


def _is_gone(leases: Leases, path: Path) -> bool:
    return path.exists() and leases.is_dead(path)  # one that ended in order has removed its lease


def _watch(ended: threading.Event, leases: Leases, others: dict[int, Path], end: Callable[[int], None]) -> None:
    while not ended.wait(LOOK_EVERY):
        for index, path in others.items():
            if _is_gone(leases, path):
                end(index)


def lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process of the launch is gone: nothing is wrong with what this one does."""
    import torch

    if isinstance(error, torch.distributed.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "NCCL", "ProcessGroup", "c10d"))
