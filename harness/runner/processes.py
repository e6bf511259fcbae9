"""What the processes of a launch decide together; a process alone needs neither accelerate nor torch for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def shared(accelerator: Accelerator, value: T) -> T:
    """The first process's value, in all."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    [value] = broadcast_object_list([value])
    return value


def together(accelerator: Accelerator, attempt: Callable[[], T]) -> T:
    """The result of ``attempt`` in each process; an error in one of them ends all."""
    if accelerator.num_processes == 1:
        return attempt()
    from harness.training import device

    return device.together(accelerator, attempt)
