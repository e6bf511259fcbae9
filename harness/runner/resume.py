"""Resuming: the checkpoint directory of a run, with its training state."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from accelerate import Accelerator
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.io import read_file, remove, write_file
from harness.results.caveats import STRICT
from harness.results.fields import Amount, Count, Damaged, Digest, Json, Score
from harness.results.leases import Lease, TakenOver
from harness.results.live import LiveFiles
from harness.results.record import Point, problem
from harness.results.tensors import load_state, save_state
from harness.runner.signals import Interrupts

Step = Annotated[int, Field(ge=-1, lt=2**63)]
"""-1: none yet."""


class SavedTraining(TypedDict):
    """What `harness.training.update.Training.state_dict` gives."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    step: Count
    examples: Count
    micro_batch_tokens: Annotated[int, Field(ge=1, lt=2**63)]
    loss_steps: Count
    weights: dict[str, Any]
    optimizer: dict[str, dict[str, Any]]
    scaler: dict[str, Any]
    own: dict[str, Any]


class SavedEvaluation(TypedDict):
    """What `harness.training.evaluation.Evaluation.state_dict` gives."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    predictions: list[Json]
    outputs: list[str] | dict[str, Any]
    invalid: Count
    scores: dict[str, Score]
    unread: Count


class SavedBest(TypedDict):
    """What `harness.training.loop.Best.state_dict` gives."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    step: Step
    selection_score: Score
    evaluations: dict[str, SavedEvaluation]
    threshold: Amount
    weights: dict[str, Any] | None


class SavedRun(TypedDict):
    """What `harness.training.loop.RunState.state_dict` gives."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    history: list[Point]
    log: list[str]
    best: SavedBest
    evaluated: Step
    threshold: Amount
    waited: Count
    earlier_seconds: Amount
    train_seconds: Amount
    evaluate_seconds: Amount
    startup_seconds: Amount
    startup_examples: Count
    compile_seconds: Amount


class SavedState(TypedDict):
    """The state of a run under way; tensors are checked where they are loaded."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    fingerprint: Digest
    run: SavedRun
    training: SavedTraining


SAVED: TypeAdapter[Any] = TypeAdapter(SavedState)


def sound_state(path: Path) -> dict[str, Any] | None:
    """The state in a file, None where there is none.

    Raises:
        Damaged: it was altered, cut short, or is no `SavedState`.
    """
    state = load_state(path)
    if state is None:
        return None
    try:
        SAVED.validate_python(state)
    except ValidationError as error:
        raise Damaged(f"{path}: damaged ({problem(error)})") from None
    return state


class UnfitState(HarnessError):
    """A saved state that cannot be taken over."""


@dataclass
class CheckpointDirectory:
    """Where a run keeps its training state while it is under way; it belongs to this process (or its group) alone.

    Args:
        folder: where the state is kept until the run is done.
        every: seconds between two savings.
        interrupts: signals to stop.
        accelerator: the processes that work on the run; they decide together, and the main one writes.
        lease: the main process's lease on the folder.
    """

    folder: Path
    every: float
    interrupts: Interrupts
    accelerator: Accelerator
    lease: Lease | None = None
    saved: float = field(default_factory=time.monotonic)
    live: LiveFiles | None = None
    """On the main process: what others see of the run."""

    @property
    def state(self) -> Path:
        """The file of the training state."""
        return self.folder / "state.safetensors"

    @property
    def memory(self) -> Path:
        """A file with the number of tokens that fit in a forward pass, where memory ran out before."""
        return self.folder / "micro_batch_tokens"

    def requests(self) -> tuple[bool, int]:
        """Whether it is time to save the state, and the signal to stop (0: none); the same for all processes.

        Raises:
            TakenOver: the lease was lost.
        """
        due = self.accelerator.is_main_process and time.monotonic() - self.saved >= self.every
        lost = self.lease is not None and self.lease.lost
        flags = [int(due), int(lost), self.interrupts.received]
        if self.accelerator.num_processes > 1:
            rows = self.accelerator.gather(torch.tensor([flags], device=self.accelerator.device))
            flags = rows.amax(0).tolist()
        if flags[1]:
            raise TakenOver(f"{self.folder}: another process took over this run")
        return bool(flags[0]), flags[2]

    def save(self, state: dict[str, Any]) -> str | None:
        """Keep a state in place of the one before.

        Returns:
            Why that was not possible; None when it was.

        Raises:
            TakenOver: the lease was lost.
        """
        reason = None
        if self.accelerator.is_main_process:
            check = self.lease.check if self.lease is not None and self.accelerator.num_processes == 1 else lambda: None
            try:
                save_state(self.state, state, check)
            except TakenOver:
                raise
            except HarnessError as error:
                reason = f"the training state was not saved: {error}"
        self.saved = time.monotonic()
        return reason

    def load(self, fingerprint: str) -> tuple[dict[str, Any] | None, str | None]:
        """The state of the run with this fingerprint (None without any), and what was wrong with it.

        Raises:
            HarnessError: the processes do not see the same state.
        """
        wrong = None
        try:
            state = sound_state(self.state)
        except Damaged as damage:
            state, wrong = None, f"{damage}: not used; the run starts from the beginning"
        if state is not None and state.get("fingerprint") != fingerprint:
            state = None
        if self.accelerator.num_processes > 1:
            step = state["training"]["step"] if state else -1
            steps = self.accelerator.gather(torch.tensor([step], device=self.accelerator.device))
            if len(steps.unique()) > 1:
                raise HarnessError(f"{self.folder}: the processes see different states: they need one results folder")
        return state, wrong

    def discard(self) -> None:
        """Remove the state."""
        if self.accelerator.is_main_process:
            remove(self.state)

    def limit(self) -> int | None:
        """The number of tokens that `set_limit` left for the next launch; None where nothing sound is there."""
        try:
            tokens = int(read_file(self.memory))
        except (OSError, ValueError):
            return None
        return tokens if tokens > 0 else None

    def set_limit(self, tokens: int) -> None:
        """Leave the number of tokens that fit for the next launch."""
        write_file(self.memory, str(tokens).encode())
