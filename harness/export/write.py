"""Results of a benchmark as files of other tools, beside its leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError, did_you_mean
from harness.export.eee import eee_file
from harness.export.lm_eval import lm_eval_file
from harness.export.results import Model, models_of
from harness.io import write_file
from harness.results.store import Store
from harness.task.plugins import Plugins

FOLDER = "export"
FORMS: Mapping[str, Callable[[Model], tuple[str, bytes]]] = {"lm-eval": lm_eval_file, "eee": eee_file}
"""By the name of a form, what makes the path and the content of a model's file."""


def write_exports(stores: Sequence[Store], defined: Plugins, forms: Sequence[str]) -> list[Path]:
    """Write the results of a benchmark in the forms of other tools, below ``export/`` of the first folder.

    Args:
        forms: of `FORMS`: ``lm-eval``, ``eee``.

    Returns:
        The files, one for each model and form.

    Raises:
        HarnessError: an unknown form; the disk refuses.
    """
    for form in forms:
        if form not in FORMS:
            raise HarnessError(f"there is no export '{form}'.{did_you_mean(form, FORMS)} There are: {', '.join(FORMS)}")
    paths = []
    for model in models_of(stores, defined) if forms else ():
        for form in forms:
            name, content = FORMS[form](model)
            paths.append(stores[0].folder / FOLDER / form / name)
            write_file(paths[-1], content)
    return paths
