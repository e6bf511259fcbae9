"""The model and the data of a run, at step 0."""

from __future__ import annotations

from collections.abc import Mapping

from accelerate.utils import set_seed
from torch import Tensor

from harness.runner.plan import Run
from harness.runner.resources import Context
from harness.training.threads import set_threads
from harness.training.update import Training, start_from


def prepare(context: Context, run: Run, initial: Mapping[str, Tensor] | None) -> Training:
    """The model at step 0, with its data; it starts from the ``initial`` weights of the parent's model, if given."""
    set_seed(run.seed)
    architecture = context.resources.architecture(run.model, run.task, run.recipe)
    module = architecture.build()
    if initial is not None:
        assert run.parent is not None
        start_from(module, initial, same_labels=run.parent.task.labels == run.task.labels)
    features = context.resources.features(architecture, run.task, str(run.task.train_split), training=True)
    training = Training(architecture, module, features, run.recipe, run.seed, context.accelerator)
    set_threads(training.module, training.plan, context.accelerator.num_processes, context.accelerator.device)
    set_seed(run.seed, device_specific=True)  # dropout differs between processes
    return training
