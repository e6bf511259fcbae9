"""Sample data written as the files that the harness reads: the official layouts, and a user's own formats."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

from harness.data.datasets import load_examples
from harness.task.task import Example, SplitFile, Task


def official_file(task: Task, split: str, rows: int) -> bytes:
    """A split's first sample examples as its official file (TSV of GLUE, JSON lines of SuperGLUE)."""
    spec = task.files[split]
    examples = load_examples(task, "sample", split)[:rows]
    if spec.expand is not None:
        return json_lines([INVERSE[task.name](example) for example in examples])
    records = [_record(task, spec, example) for example in examples]
    return json_lines(records) if spec.path.endswith(".jsonl") else _tsv(spec, records)


def own_file(suffix: str, records: list[dict[str, Any]]) -> bytes:
    """Records as a user's .tsv, .csv, .jsonl, .json, .parquet or .conll file, packed where ``.gz`` follows."""
    if suffix.endswith(".gz"):
        return gzip.compress(own_file(suffix.removesuffix(".gz"), records), mtime=0)
    if suffix == ".json":
        return json.dumps(records, indent=1).encode()
    if suffix == ".jsonl":
        return json_lines(records)
    if suffix == ".conll":
        sentences = [zip(record["tokens"], record["tags"], strict=True) for record in records]
        return "".join("".join(f"{word}\t{tag}\n" for word, tag in pairs) + "\n" for pairs in sentences).encode()
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), sink)
        return sink.getvalue()
    stream = io.StringIO()
    if suffix == ".csv":
        writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return stream.getvalue().encode()
    lines = ["\t".join(records[0]), *("\t".join(map(str, record.values())) for record in records)]
    return "".join(f"{line}\n" for line in lines).encode()


def json_lines(records: list[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _record(task: Task, spec: SplitFile, example: Example) -> dict[str, Any]:
    """One row by column; ``a.b`` is b inside of a."""
    record: dict[str, Any] = {}
    for field, column in spec.columns.items():
        value = example[field]
        if field == task.label_field and task.labels:
            value = (spec.labels or task.labels)[value]
            if spec.path.endswith(".jsonl") and value in ("True", "False", "0", "1"):
                value = json.loads(value.lower())
        *outer, name = str(column).split(".")
        place = record
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = value
    return record


def _tsv(spec: SplitFile, records: list[dict[str, Any]]) -> bytes:
    if spec.header:
        names = [str(column) for column in spec.columns.values()]
        lines = [names] + [[str(record[name]) for name in names] for record in records]
    else:
        width = max(map(int, spec.columns.values())) + 1
        lines = [[str(record.get(str(i), "x")) for i in range(width)] for record in records]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _multirc(example: Example) -> dict[str, Any]:
    idx = example["idx"]
    answer = {"text": example["answer"], "idx": idx["answer"]}
    if example["label"] != -1:
        answer["label"] = example["label"]
    question = {"question": example["question"], "idx": idx["question"], "answers": [answer]}
    return {"idx": idx["paragraph"], "passage": {"text": example["paragraph"], "questions": [question]}}


def _record_task(example: Example) -> dict[str, Any]:
    text = example["passage"]
    places = [(text.index(entity), entity) for entity in example["entities"]]
    entities = [{"start": start, "end": start + len(entity) - 1} for start, entity in places]
    query: dict[str, Any] = {"query": example["query"], "idx": example["idx"]["query"]}
    if example["answers"]:
        query["answers"] = [{"text": answer, "start": 0, "end": 1} for answer in example["answers"]]
    return {
        "source": "sample",
        "idx": example["idx"]["passage"],
        "passage": {"text": text, "entities": entities},
        "qas": [query],
    }


INVERSE = {"multirc": _multirc, "record": _record_task}
