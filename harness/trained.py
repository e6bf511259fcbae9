"""What a finished run left, from Python: its predictions, and its model where it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.results.kept import KeptModel


class Loaded(NamedTuple):
    """A model of transformers in float32, in evaluation mode, and its tokenizer."""

    model: Any
    tokenizer: Any


def load_predictions(run: str | Path, tests: bool = False) -> list[dict[str, Any]]:
    """The predictions of a run: a dict for each example, as ``pandas.DataFrame`` takes them.

    Args:
        run: its folder, ``results/<benchmark>/runs/<task>/<model>/seed<seed>-<fingerprint>``.
        tests: those of the test splits, which are a record of their own, instead.

    Raises:
        HarnessError: no record there, an altered one, no test predictions.
    """
    from harness.results.folder import read_record
    from harness.results.store import Store

    record = read_record(run)
    if tests:
        folder = Path(run).absolute()
        records = Store(folder.parents[4], folder.parents[3].name).records()
        own = [r for r in records if r.predicts_tests_of == record.fingerprint]
        if not own:
            raise HarnessError(f"{run}: no test predictions: run its benchmark with 'predict: [test]'")
        record = own[-1]
    return [dict(row) for row in record.predictions()]


def load_model(run: str | Path) -> Loaded:
    """The model of a run, checked and loaded; no code of its folder is run.

    Args:
        run: its folder, or that of the kept model, ``results/<benchmark>/models/...``.

    Returns:
        ``(model, tokenizer)`` of transformers.

    Raises:
        HarnessError: no such run, a model that was not kept or was altered.
    """
    import torch
    import transformers

    import harness.enct5  # noqa: F401  (the auto classes then know it)

    kept = find_model(run)
    kept.check()
    auto: Any = getattr(transformers, _auto_class(kept))
    with torch.random.fork_rng():
        model = auto.from_pretrained(kept.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    return Loaded(model.eval(), transformers.AutoTokenizer.from_pretrained(kept.folder, trust_remote_code=False))


def _auto_class(kept: KeptModel) -> str:
    from harness.config.architectures import ARCHITECTURES

    if ARCHITECTURES[kept.settings.model.architecture].generates:
        return "AutoModelForSeq2SeqLM"
    of_words = kept.settings.tasks[kept.task]["problem_type"] == "token_classification"
    return "AutoModelForTokenClassification" if of_words else "AutoModelForSequenceClassification"


def find_model(where: str | Path) -> KeptModel:
    """The notes of a kept model, by its own folder or that of its run.

    Raises:
        HarnessError: neither; a run that failed, or whose model was not kept.
    """
    from harness.results.folder import read_record
    from harness.results.kept import NOTES, kept_of, read_notes

    if (Path(where) / NOTES).is_file():
        return read_notes(Path(where))
    record = read_record(where)
    kept = kept_of(record) if record.finished else None
    if kept is None:
        raise HarnessError(
            f"{where}: {'its model was not kept' if record.finished else 'the run failed'}: set 'keep: best' "
            "(or all-seeds) in its benchmark, remove the folder of this run, and run the benchmark again"
        )
    return kept
