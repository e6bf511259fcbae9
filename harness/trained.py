"""What a finished run left, from Python: its predictions, its model where it was kept, and what this says of rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HarnessError
from harness.io import usable

if TYPE_CHECKING:
    from harness.prediction.predictor import Predictor
    from harness.publish.upload import Pushed
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
    from harness.models.checkpoints import refused
    from harness.models.kept import quietly
    from harness.models.tokenizers import load_tokenizer

    kept = find_model(run)
    kept.check()
    auto: Any = getattr(transformers, _auto_class(kept))
    with torch.random.fork_rng(), quietly(), refused(str(kept.folder)):
        model = auto.from_pretrained(kept.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
        tokenizer = load_tokenizer(kept.folder, str(kept.folder), model.config.model_type)
    return Loaded(model.eval(), tokenizer)


def _auto_class(kept: KeptModel) -> str:
    from harness.config.architectures import ARCHITECTURES

    architecture = ARCHITECTURES.get(kept.settings.model.architecture)
    if architecture is None:
        raise HarnessError(f"{kept.folder}: there is no architecture '{kept.settings.model.architecture}'")
    if architecture.generates:
        return "AutoModelForSeq2SeqLM"
    of_words = kept.settings.tasks.get(kept.task, {}).get("problem_type") == "token_classification"
    return "AutoModelForTokenClassification" if of_words else "AutoModelForSequenceClassification"


def find_model(where: str | Path) -> KeptModel:
    """The notes of a kept model, by its own folder or that of its run.

    Raises:
        HarnessError: neither; a run that failed, or whose model was not kept.
    """
    from harness.results.folder import read_record
    from harness.results.kept import NOTES, kept_of, read_notes

    if os.path.lexists(usable(where) / NOTES):
        return read_notes(Path(where))
    record = read_record(where)
    kept = kept_of(record) if record.finished else None
    if kept is None:
        why = {"finished": "its model was not kept", "failed": "the run failed", "pruned": "the run was pruned"}
        raise HarnessError(
            f"{where}: {why[record.status]}: set 'keep: best' "
            "(or all-seeds) in its benchmark, remove the folder of this run, and run the benchmark again"
        )
    return kept


def predict(
    where: str | Path,
    rows: str | Path | Iterable[str | Mapping[str, Any]],
    *,
    file: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> list[dict[str, Any]]:
    """What a kept model says of rows: each row again, with columns for the answer.

    Args:
        where: the folder of a run, or that of the kept model.
        rows: a file, mappings with the fields of the task, or, of a task with one text, texts.
        file, plugins: a benchmarks.yaml and folders with task plugins, for a task with functions of its own.

    Returns:
        The rows with ``prediction``: the name of a label, of several labels or of each word's tag, a number or a text;
        ``probability`` of the predicted label and ``probabilities`` by label; of T5 ``output``, the text it wrote.

    Raises:
        HarnessError: a model that was not kept or was altered; a row that lacks a field.
    """
    from harness.prediction.rows import place_in, rows_of

    predictor = _predictor(where, file, plugins)
    if isinstance(rows, str | Path):
        return list(predictor.predict(rows_of(usable(rows)), place_in(Path(rows))))
    field = predictor.task.text_fields[0]
    numbered = enumerate({field: row} if isinstance(row, str) else dict(row) for row in rows)
    return list(predictor.predict(numbered, lambda number, problem: HarnessError(f"row {number}: {problem}")))


def predict_file(
    where: str | Path,
    source: str | Path,
    output: str | Path | None = None,
    *,
    file: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
) -> int:
    """`predict` from file to file, as a stream, however large; without an ``output`` it is printed.

    Returns:
        The number of rows.
    """
    from harness.prediction.rows import check_output, place_in, rows_of, show_rows, write_rows

    path = usable(source)
    if output is not None:
        check_output(Path(output))
    rows = _predictor(where, file, plugins).predict(rows_of(path), place_in(path))
    return show_rows(rows, path.suffix) if output is None else write_rows(rows, Path(output))


def export_model(
    run: str | Path, folder: str | Path, *, file: str | Path | None = None, plugins: Sequence[str | Path] = ()
) -> Path:
    """Write a folder that is ready for the Hub: the files of a run's kept model, and a model card.

    The card has a ``model-index`` with the run's scores, its data, recipe and cost, and the mean and the 95 % interval
    over the seeds of its benchmark; licence and intended use are left to fill. `push_model` uploads it.

    Args:
        run: its folder.
        folder: does not exist, or is empty.
        file, plugins: a benchmarks.yaml and folders with task plugins, for own tasks.

    Raises:
        HarnessError: a model that was not kept or was altered; a folder with something in it.
    """
    from harness.api import definitions
    from harness.publish.folder import write_hub_folder
    from harness.results.folder import read_record

    defined = definitions(file, plugins)
    return write_hub_folder(find_model(run), read_record(run), usable(folder), defined.tasks, defined.suites)


def push_model(folder: str | Path, name: str, *, public: bool = False) -> Pushed:
    """Upload a folder that `export_model` wrote to the Hub, perhaps with its card filled since, with the user's login.

    Args:
        folder: with a card, config.json and weights.
        name: of the repository, ``owner/name``; made where it is not there, one that is there gets a new commit.
        public: whether a new repository is public.

    Returns:
        A `Pushed`: ``url``, ``private``, ``to_fill``.

    Raises:
        HarnessError: no such folder, no token, no network, no right to write.
    """
    from harness.data.hub_access import network
    from harness.publish.upload import push_folder

    with network():
        return push_folder(Path(folder), name, public)


def _predictor(where: str | Path, file: str | Path | None, plugins: Sequence[str | Path]) -> Predictor:
    from harness.api import definitions

    kept = find_model(where)
    kept.check()
    from harness.prediction.predictor import Predictor, task_of  # loads torch

    return Predictor(kept, task_of(kept, lambda: definitions(file, plugins).tasks))
