"""One fine-tuning, update by update: model, optimizer, schedule, and all that is needed to resume it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from harness.config.schema import Recipe
from harness.data.features import Features
from harness.errors import HarnessError
from harness.models import Architecture, Batch
from harness.models.checkpoints import HEADS
from harness.training.batching import TrainingPlan
from harness.training.cpu_kernels import use_fast_kernels
from harness.training.device import DTYPES, attention_kernels, pass_tokens
from harness.training.optimizer import make_optimizer, schedule_factor, trained_parameters

GRAPH_TOKENS = 32
"""Where a model runs as CUDA graphs, texts are padded to multiples of so many tokens: each shape has its own graph.

On an H200, a step of BERT-base on 32 texts of 128 tokens took 28.7 ms as it comes, for 1,234 kernels that worked 11.8
of them, 33.3 compiled (848 kernels, 9.3), and 10.4 as CUDA graphs.
"""


class NotFinite(HarnessError):
    """The training diverged."""


class OutOfMemory(HarnessError):
    """A forward or backward pass did not fit; nothing has changed, so that it can be tried again in smaller parts.

    Args:
        tokens: the size of a micro-batch that is too large; 0 where one group is, which cannot be cut.
    """

    def __init__(self, message: str, tokens: int):
        super().__init__(message)
        self.tokens = tokens


class Training:
    """One fine-tuning, step by step.

    The order of the data is a function of (seed, epoch, position) alone, and the learning rate one of the step, so
    weights, optimizer state, random states and the number of steps are all there is to save.

    Args:
        architecture: the (model, task) pair.
        module: its model, as `Architecture.build` made it.
        features: the training data.
        recipe: hyper-parameters with ``precision`` and ``compile`` resolved.
        seed: decides the order of the data (weights and dropout come from torch's random state).
        accelerator: places the model and joins the processes.
    """

    def __init__(
        self,
        architecture: Architecture,
        module: nn.Module,
        features: Features,
        recipe: Recipe,
        seed: int,
        accelerator: Accelerator,
    ):
        self.architecture, self.features, self.recipe, self.accelerator = architecture, features, recipe, accelerator
        architecture.weigh_classes(features)
        self.parameters = trained_parameters(module)
        costs = pass_tokens(accelerator.device, recipe.precision, self.parameters["active"])
        self.plan = replace(plan_of(features, recipe, seed), pass_tokens=costs)
        self.steps = steps_of(self.plan, recipe)
        self.step = 0
        self.examples = 0
        self._loss_sum = torch.zeros((), device=accelerator.device)
        self._loss_steps = 0
        self._batches: tuple[int, list[np.ndarray]] = (-1, [])
        padding = architecture.tokenizer.pad_token_id or 0
        use_fast_kernels(module, recipe, accelerator.device, features.columns["input_ids"].values, padding)
        if recipe.gradient_checkpointing:
            new_name = hasattr(module, "activation_checkpointing_enable")  # what later versions of transformers call it
            enable: Any = module.activation_checkpointing_enable if new_name else module.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        torch.backends.cuda.matmul.fp32_precision = "tf32" if recipe.precision == "tf32" else "ieee"
        if accelerator.num_processes > 1:
            self._freeze_unused(module.to(accelerator.device))
        self.optimizer: Any
        self.module: nn.Module
        self.module, self.optimizer = accelerator.prepare(module, make_optimizer(module, recipe))
        self.has_graphs = self._may_have_graphs()
        if self.has_graphs:
            self.plan = replace(self.plan, pass_tokens=max(costs, self.plan.micro_batch_tokens))
        mode = "reduce-overhead" if self.has_graphs else None
        self.forward: Any = torch.compile(self.module, dynamic=True, mode=mode) if recipe.compile else self.module
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=recipe.precision == "fp16")

    def _may_have_graphs(self) -> bool:
        """Whether a compiled model runs as CUDA graphs, one per shape: where batches can have few shapes."""
        accelerator, architecture = self.accelerator, self.architecture
        alone = accelerator.device.type == "cuda" and accelerator.num_processes == 1
        of_texts = not architecture.generates and not architecture.task.problem.of_words
        return alone and of_texts and bool(self.recipe.compile) and self.plan.fits_one_pass

    def _freeze_unused(self, module: nn.Module) -> None:
        """Freeze what takes no part in the loss: processes wait for the gradients of all that is trained."""
        batch = self.architecture.collate(self.features, [0]).to(self.accelerator.device)
        with self.autocast():
            self.architecture.loss(module.train(), batch).backward()
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter.grad is not None)
            parameter.grad = None

    @property
    def micro_batch_tokens(self) -> int:
        """The most padded tokens of a forward pass."""
        return self.plan.micro_batch_tokens

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.step / self.plan.updates_per_epoch

    @property
    def learning_rate(self) -> float:
        """The rate of the coming step."""
        return self.recipe.learning_rate * schedule_factor(self.recipe, self.step, self.steps)

    def update(self) -> None:
        """One optimizer step on the next examples, over all processes; does not wait for the device.

        Raises:
            OutOfMemory: the gradients could not be computed; the step has not begun.
        """
        recipe = self.recipe
        batch = self._next_batch()
        random = self._random_state()
        if self.has_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # the gradients of the last step may be overwritten
        try:
            total = self._add_gradients(batch)
        except OutOfMemory:
            self.optimizer.zero_grad(set_to_none=True)
            self._set_random_state(random)
            raise
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        if recipe.max_grad_norm:
            self.scaler.unscale_(self.optimizer.optimizer)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), recipe.max_grad_norm)
        self.scaler.step(self.optimizer.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._loss_sum += total
        self._loss_steps += 1
        self.step += 1
        self.examples += len(batch)

    def set_micro_batch_tokens(self, tokens: int) -> None:
        """Compute updates in parts of at most so many padded tokens; each stays the same update."""
        self.plan = replace(self.plan, micro_batch_tokens=tokens)
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()

    def _add_gradients(self, batch: np.ndarray) -> Tensor:
        """Forward and backward over this process's share of an update; returns its part of the mean loss."""
        accelerator = self.accelerator
        self.module.train()
        share = self.plan.share(batch, accelerator.process_index, accelerator.num_processes)
        share, scale = (share, 1.0) if share else ([batch[:1]], 0.0)  # a process without a share joins the others
        multiple = GRAPH_TOKENS if self.has_graphs else 1
        micros = [self.architecture.collate(self.features, micro.tolist(), multiple) for micro in share]
        weight = self._global_weight(scale * sum(micro.weight for micro in micros))
        total = torch.zeros((), device=accelerator.device)
        for i, micro in enumerate(micros):
            last = i == len(micros) - 1
            synced = contextlib.nullcontext() if last else accelerator.no_sync(self.module)
            with memory_errors(micro), synced:
                with self.autocast():
                    loss = self.architecture.loss(self.forward, micro.to(accelerator.device))
                # Gradients are averaged over processes; the loss is a sum over the examples of all of them.
                loss = loss * (scale * accelerator.num_processes / weight)
                self.scaler.scale(loss).backward()
            total += loss.detach() / accelerator.num_processes
        return total

    def mean_loss(self) -> float:
        """The mean loss of the updates since the last call, over all processes (waits for the device).

        Raises:
            NotFinite: it is not a finite number.
        """
        loss = float(self.accelerator.reduce(self._loss_sum, "sum")) / max(self._loss_steps, 1)
        self._loss_sum.zero_()
        self._loss_steps = 0
        if not math.isfinite(loss):
            raise NotFinite(f"the training loss is {loss} at step {self.step}: try a lower learning_rate, or fp32")
        return loss

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which the model computes: in the recipe's precision, by kernels that suit texts."""
        device, dtype = self.accelerator.device, DTYPES[self.recipe.precision]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), attention_kernels(device):
            yield

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights on the CPU (tied ones are one tensor under several names)."""
        copies: dict[Any, Tensor] = {}
        weights = {}
        for name, tensor in self._live_weights().items():
            memory = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if memory not in copies:
                copies[memory] = tensor.detach().to("cpu", copy=True)
            weights[name] = copies[memory]
        return weights

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Put weights back that `weights` gave."""
        self.accelerator.unwrap_model(self.module).load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume: tensors and plain numbers only.

        Weights and optimizer state are those in use, not copies. What each process has of its own has a row per
        process, so all of them have to call this.
        """
        own = {"loss_sum": self._loss_sum, **self._random_state()}
        gather, device = self.accelerator.gather, self.accelerator.device
        return {
            "step": self.step,
            "examples": self.examples,
            "micro_batch_tokens": self.plan.micro_batch_tokens,
            "weights": self._live_weights(),
            "optimizer": {str(i): dict(values) for i, values in self.optimizer.state_dict()["state"].items()},
            "scaler": self.scaler.state_dict(),
            "loss_steps": self._loss_steps,
            "own": {name: gather(torch.stack([tensor]).to(device)) for name, tensor in own.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that `state_dict` gave.

        With another number of processes than then, training resumes from the same weights, but not to the same bits.
        """
        accelerator = self.accelerator
        self.step, self.examples = state["step"], state["examples"]
        self.plan = replace(self.plan, micro_batch_tokens=state["micro_batch_tokens"])
        self.load_weights(state["weights"])
        groups = self.optimizer.state_dict()["param_groups"]  # they follow from the recipe
        optimizer = {int(i): values for i, values in state["optimizer"].items()}
        self.optimizer.load_state_dict({"state": optimizer, "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        self._loss_steps = state["loss_steps"]
        own, index = state["own"], accelerator.process_index
        if len(own["loss_sum"]) == accelerator.num_processes:
            self._loss_sum.copy_(own["loss_sum"][index])
            # PyTorch crashes on a random state that is a view.
            mine = {name: tensor[index].clone().cpu() for name, tensor in own.items() if name != "loss_sum"}
            self._set_random_state(mine)
        else:
            self._loss_sum.copy_(own["loss_sum"].sum() * (index == 0))

    def _live_weights(self) -> dict[str, Tensor]:
        return self.accelerator.unwrap_model(self.module).state_dict()

    def _random_state(self) -> dict[str, Tensor]:
        """The state of the generators that dropout draws from."""
        state = {"random": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            state["random_device"] = torch.cuda.get_rng_state(self.accelerator.device)
        return state

    def _set_random_state(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["random"])
        if "random_device" in state:
            torch.cuda.set_rng_state(state["random_device"], self.accelerator.device)

    def _next_batch(self) -> np.ndarray:
        epoch, position = divmod(self.step, self.plan.updates_per_epoch)
        if self._batches[0] != epoch:
            self._batches = (epoch, self.plan.epoch(epoch))
        return self._batches[1][position]

    def _global_weight(self, mine: float) -> float | Tensor:
        """The sum over all processes, on the device, which nobody waits for."""
        if self.accelerator.num_processes == 1:
            return mine
        return self.accelerator.reduce(torch.tensor(mine, device=self.accelerator.device), "sum")


@contextlib.contextmanager
def memory_errors(batch: Batch, passes: int = 1) -> Iterator[None]:
    """Turn PyTorch's errors for a lack of memory, on any device, into `OutOfMemory`.

    ``passes`` is how many passes of this kind a micro-batch is cut into.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).strip() or type(error).__name__
        typed = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not typed and "out of memory" not in text and "can't allocate memory" not in text:
            raise
        alone = len(batch.sizes) == 1
        message = f"out of memory{' for a single example' if alone else ''}: {text.splitlines()[0]}"
        raise OutOfMemory(message, 0 if alone else passes * batch.inputs["input_ids"].numel()) from error


def start_from(module: nn.Module, weights: Mapping[str, Tensor], same_labels: bool) -> None:
    """Intermediate training: take over the parent's weights, but not the head of other labels."""
    own = module.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape and (same_labels or not name.startswith(HEADS))
    }
    module.load_state_dict(fitting, strict=False)


def plan_of(features: Features, recipe: Recipe, seed: int) -> TrainingPlan:
    """The batches that a recipe makes of the training data."""
    size = batch_size_of(features, recipe)
    return TrainingPlan(features.lengths, features.sizes, size, seed, accumulation=recipe.gradient_accumulation)


def batch_size_of(features: Features, recipe: Recipe) -> int:
    """Examples per update: ``batch_size``, or as many examples of mean length as ``batch_tokens`` hold, at least one.

    So many whole examples are what the packed batches of T5 (arXiv 1910.10683, section 3.1.2) hold on the average.
    """
    if recipe.batch_tokens is None:
        return recipe.batch_size
    return max(1, recipe.batch_tokens * len(features) // len(features.columns["input_ids"].values))


def steps_of(plan: TrainingPlan, recipe: Recipe) -> int:
    """Updates in the whole training: ``max_steps``, or as many as ``epochs`` take and at least ``min_steps``."""
    return recipe.max_steps or max(recipe.min_steps or 1, math.ceil(recipe.epochs * plan.updates_per_epoch))
