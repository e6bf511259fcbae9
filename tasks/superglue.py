"""SuperGLUE (https://super.gluebenchmark.com): eight tasks, and AX-b and AX-g, which the RTE model answers.

First what is irregular, task by task; then the table of tasks. T5's forms are those of the ``t5`` package, 0.9.4.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from harness.errors import HarnessError
from harness.task import Example, HubSource, Instance, SplitFile, Suite, Task

REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"
UNKNOWN = "<unk>"
"""What T5's form has for the target of an unlabelled example."""


def label_of(example: Example) -> int | None:
    return None if example.get("label", -1) == -1 else example["label"]


def target(labels: tuple[str, ...], example: Example) -> str:
    return UNKNOWN if label_of(example) is None else labels[example["label"]]


def distinct(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


# COPA: the model scores each alternative as the answer to a question -----------------------------------------------


def copa_instances(example: Example) -> list[Instance]:
    questions = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
    if example["question"] not in questions:
        raise HarnessError(
            f"copa, idx {example.get('idx')!r}: the question is 'cause' or 'effect', found {example['question']!r}"
        )
    shown = {"premise": example["premise"], "question": questions[example["question"]]}
    label = label_of(example)
    return [
        Instance({**shown, "choice": example[choice]}, None if label is None else int(label == i), "premise")
        for i, choice in enumerate(CHOICES)
    ]


# MultiRC: an example per answer; metrics group them by question ----------------------------------------------------


def multirc_examples(record: dict[str, Any]) -> list[Example]:
    return [
        {
            "paragraph": record["passage"]["text"],
            "question": question["question"],
            "answer": answer["text"],
            "idx": {"paragraph": record["idx"], "question": question["idx"], "answer": answer["idx"]},
            **({"label": dict(enumerate(BOOLEAN))[answer["label"]]} if "label" in answer else {}),
        }
        for question in record["passage"]["questions"]
        for answer in question["answers"]
    ]


def without_markup(text: str) -> str:
    """T5's rule (``t5.data.preprocessors.glue``): it knows these three tags, in lower case, and nothing else."""
    return re.sub("</?b>", "", text.replace("<br>", " "))


def multirc_instances(example: Example) -> list[Instance]:
    texts = {name: without_markup(example[name]) for name in ("paragraph", "question", "answer")}
    return [Instance(texts, label_of(example), "paragraph")]


def multirc_text(example: Example) -> tuple[str, str]:
    parts = (f"{name}: {example[name]}" for name in ("question", "answer", "paragraph"))
    return without_markup(f"multirc {' '.join(parts)}"), target(BOOLEAN, example)


def multirc_metric_inputs(prediction: Any, example: Example) -> tuple[Any, Any]:
    return {"idx": example["idx"], "prediction": prediction}, example["label"]


# ReCoRD: which of the passage's entities fills the query's gap? ----------------------------------------------------


def record_examples(record: dict[str, Any]) -> list[Example]:
    text = record["passage"]["text"]
    entities = distinct(text[entity["start"] : entity["end"] + 1] for entity in record["passage"]["entities"])
    return [
        {
            "passage": text,
            "query": query["query"],
            "entities": entities,
            "answers": distinct(answer["text"] for answer in query.get("answers", ())),
            "idx": {"passage": record["idx"], "query": query["idx"]},
        }
        for query in record["qas"]
    ]


def readable(passage: str) -> str:
    """The passage with its highlights as plain sentences (``t5.data.preprocessors.record``)."""
    return re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", passage).replace("\n@highlight\n", ". ")


def record_instances(example: Example) -> list[Instance]:
    passage = readable(example["passage"])
    answers = example.get("answers") or None
    return [
        Instance(
            {"passage": passage, "query": example["query"].replace("@placeholder", entity)},
            None if answers is None else [0] if entity in answers else [],
            "passage",
        )
        for entity in distinct(example["entities"])
    ]


def record_decide(scores: Any, example: Example) -> str:
    entities = distinct(example["entities"])
    return entities[max(range(len(entities)), key=lambda i: scores[i][0])]


def record_training_texts(example: Example) -> list[tuple[str, str]]:
    entities = ", ".join(distinct(example["entities"]))
    source = f"record query: {example['query']} entities: {entities} passage: {readable(example['passage'])}"
    return [(source, answer) for answer in distinct(example.get("answers", ())) or [UNKNOWN]]


def record_text(example: Example) -> tuple[str, str]:
    return record_training_texts(example)[0]


def record_parse(text: str, example: Example) -> str | None:
    return text or None


def record_metric_inputs(prediction: Any, example: Example) -> tuple[Any, Any]:
    idx = example["idx"]
    return {"idx": idx, "prediction_text": prediction}, {"idx": idx, "answers": distinct(example["answers"])}


# Marked words (WiC, WSC) -------------------------------------------------------------------------------------------

Place = tuple[int, int]
"""From where to where a span goes, in characters."""


def places(text: str, span: str) -> list[Place]:
    """Where the span stands in the text without cutting a word."""
    pattern = rf"((?<!\w)|(?!\w)){re.escape(span)}((?<!\w)|(?!\w))"
    return [match.span() for match in re.finditer(pattern, text)] if span.strip() else []


def marked(text: str, marks: Sequence[tuple[int, int, str]]) -> str:
    """The text with ``* `` and `` *`` (or another mark) around each (start, end, mark); one span may hold another."""
    opening = [(start, 1, -end, f"{mark} ") for start, end, mark in marks]
    closing = [(end, 0, -start, f" {mark}") for start, end, mark in marks]
    pieces, done = [], 0
    for position, _, _, mark in sorted(opening + closing):
        pieces += [text[done:position], mark]
        done = position
    return "".join(pieces) + text[done:]


# WiC: is the word used in the same sense? --------------------------------------------------------------------------

SUPPLETIVE = ("am", "are", "is", "was", "were", "'m", "'re", "'s", "'ve", "ate", "went", "better", "best", "worse")
"""Forms that do not begin like their word."""


def whole_number(task: str, example: Example, name: str) -> int:
    value = example[name]
    if type(value) is not int:
        raise HarnessError(f"{task}, idx {example.get('idx')!r}: {name} must be a whole number, found {value!r}")
    return value


def wic_instances(example: Example) -> list[Instance]:
    texts = {}
    for number in "12":
        sentence = example[f"sentence{number}"]
        (start, end), _ = wic_place(example, number)
        texts[f"sentence{number}"] = marked(sentence, [(start, end, "*")])
    return [Instance({**texts, "word": example["word"]}, label_of(example))]


def wic_repairs(example: Example) -> list[str]:
    return [note for number in "12" for _, note in [wic_place(example, number)] if note]


def wic_place(example: Example, number: str) -> tuple[Place, str | None]:
    """Where a form of the word stands in a sentence, and a note when that is not where the data says.

    The data's place holds when a whole word stands there (or "do" of "don't") that is a form of the word or begins
    like it. Otherwise the one regular form of the word in the sentence is taken (train row 1868 marks "round" for
    "called").
    """
    sentence, word = example[f"sentence{number}"], example["word"].lower()
    start, end = whole_number("wic", example, f"start{number}"), whole_number("wic", example, f"end{number}")
    shown = sentence[start:end]
    whole = (start, end) in places(sentence, shown) or sentence[end : end + 3] == "n't"
    if whole and (shown[:1].lower() == word[:1] or shown.lower() in (*SUPPLETIVE, *wic_forms(word))):
        return (start, end), None
    forms = [match.span() for match in re.finditer(r"\w+", sentence) if match.group().lower() in wic_forms(word)]
    if len(forms) != 1:
        raise HarnessError(
            f"wic, idx {example.get('idx')!r}: characters {start} to {end} of sentence{number} are {shown!r}, not a "
            f"form of {word!r}, and {'several words are' if forms else 'no other word is'}: put start{number} and "
            f"end{number} right"
        )
    found = sentence[slice(*forms[0])]
    return forms[0], f"sentence{number}: {shown!r} is marked as a form of {word!r}; {found!r} is read instead"


def wic_forms(word: str) -> tuple[str, ...]:
    last = word[-1:]
    endings = ("", "s", "es", "'s", "d", "ed", "ing", f"{last}s", f"{last}ed", f"{last}ing")
    return (*(word + ending for ending in endings), *(word[:-1] + ending for ending in ("ing", "ied", "ies")))


# WSC: does the pronoun (span2) stand for the candidate (span1)? ----------------------------------------------------

DETERMINERS = (
    "a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that", "the", "their",
    "these", "this", "those", "which", "whose", "your",
)  # fmt: skip


def wsc_instances(example: Example) -> list[Instance]:
    """Both spans marked, as ``t5.data.preprocessors.wsc`` does (which loses a mark in five official rows)."""
    candidate, _ = wsc_places(example, "span1")
    pronoun, _ = wsc_places(example, "span2")
    marks = [(*place, "*") for place in candidate] + [(*place, "#") for place in pronoun]
    return [Instance({"text": marked(example["text"], marks)}, label_of(example))]


def wsc_text(example: Example) -> tuple[str, str]:
    """``wsc: ... *he* ...`` and the candidate (``t5.data.preprocessors.wsc_simple``).

    A word that ends in other characters than the pronoun's is parted from them, and the ends of the text are
    stripped, as in the one such text that the reference writes out by hand.
    """
    text = example["text"]
    ((start, end), *_), _ = wsc_places(example, "span2")
    rest = text[end:] if text[end : end + 1].isspace() else f" {text[end:]}"
    source = f"{text[:start]}*{text[start:end]}*{rest}".strip()
    return f"wsc: {source}", wsc_spelling(example, "span1")


def wsc_training_texts(example: Example) -> list[tuple[str, str]]:
    """Only where the candidate is the referent is there something to write."""
    return [wsc_text(example)] if label_of(example) == 1 else []


def wsc_parse(text: str, example: Example) -> int | None:
    """Whether the text means the candidate: the words of one are among the other's (``postprocessors.wsc_simple``)."""
    answer, candidate = bare(text), bare(wsc_spelling(example, "span1"))
    if not answer:
        return None
    if ("'" in answer) != ("'" in candidate):
        return 0
    said, meant = set(answer.split(" ")), set(candidate.split(" "))
    return int(said <= meant or meant <= said)


def bare(text: str) -> str:
    return " ".join(word for word in text.strip().lower().split(" ") if word not in DETERMINERS)


def wsc_repairs(example: Example) -> list[str]:
    notes = []
    for span in ("span1", "span2"):
        given, read = example[f"{span}_text"], wsc_spelling(example, span)
        _, note = wsc_places(example, span)
        notes.append(note if given == read else f"{span}_text {given!r} is read as {read!r}")
    return [note for note in notes if note]


def wsc_spelling(example: Example, span: str) -> str:
    """The span as the text spells it: the case of its first letter, no final dot, no line break.

    The rules of ``wsc.fixed`` in TFDS and on the Hub; a span that they do not bring into the text stays as it is.
    """
    text, given, index = example["text"], example[f"{span}_text"], whole_number("wsc", example, f"{span}_index")
    words = text.split()
    if given in text or not given or not 0 <= index < len(words):
        return given
    first = given[0].lower() if words[index][0].islower() else given[0].upper()
    read = (first + given[1:]).rstrip(".").replace("\n", " ")
    return read if read in text else given


def wsc_places(example: Example, span: str) -> tuple[list[Place], str | None]:
    """Where the span stands, [(start, end), ...], and a note when that is not where the data says.

    The word numbered by the index decides; failing that, the span's only place in the text; failing that, for
    things named apart ("Kamenev and Zinoviev"), the first place of each from that word on.
    """
    text, index, read = example["text"], whole_number("wsc", example, f"{span}_index"), wsc_spelling(example, span)
    words = [match.span() for match in re.finditer(r"\S+", text)]
    first, behind = words[index] if 0 <= index < len(words) else (0, 0)
    found = places(text, read)
    if here := [place for place in found if first <= place[0] < behind]:
        return here[:1], None
    if len(found) == 1:
        return found, f"{span}_text {read!r} is not word {index}; its only place in the text is read"
    named = [[p for p in places(text, name) if p[0] >= first] for name in re.split(",? and |, ", read)]
    if not found and len(named) > 1 and all(named):
        note = f"{span}_text {read!r} is not in the text; what it names is read part by part"
        return [part[0] for part in named], note
    where = f"stands there {len(found)} times, never as word {index}" if found else "is not in the text"
    raise HarnessError(f"wsc, idx {example.get('idx')!r}: {span}_text {read!r} {where}: put the data right")


# AX-b: has fields of its own, but is asked of the RTE model --------------------------------------------------------


def axb_instances(example: Example) -> list[Instance]:
    return [Instance({"premise": example["sentence1"], "hypothesis": example["sentence2"]}, label_of(example))]


def axb_text(example: Example) -> tuple[str, str]:
    return f"rte hypothesis: {example['sentence2']} premise: {example['sentence1']}", target(ENTAILMENT, example)


def axb_cluster(example: Example) -> str:
    """AX-b has every pair of sentences in both directions."""
    return "\n".join(sorted((example["sentence1"], example["sentence2"])))


# AX-g: rows 2k and 2k + 1 differ in a pronoun's gender alone -------------------------------------------------------


def axg_cluster(example: Example) -> int:
    return int(example["idx"]) // 2


# The tasks ---------------------------------------------------------------------------------------------------------


def hub(config: str) -> HubSource:
    return HubSource("aps/super_glue", config, REVISION)


def files(folder, rows, columns, label="label", **options) -> dict[str, SplitFile]:
    """train.jsonl, val.jsonl and test.jsonl of a folder; the test file has no labels."""
    labelled = {**columns, label: label}
    return {
        split: SplitFile(f"{folder}/{file}.jsonl", names, rows=(count,), **options)
        for split, file, count, names in zip(
            ("train", "validation", "test"), ("train", "val", "test"), rows, (labelled, labelled, columns), strict=True
        )
    }


def diagnostic(folder, rows, columns) -> dict[str, SplitFile]:
    return {"test": SplitFile(f"{folder}/{folder}.jsonl", {**columns, "label": "label"}, rows=(rows,))}


def same(*fields: str) -> dict[str, str]:
    """Columns under their own names."""
    return {name: name for name in (*fields, "idx")}


CLASSES = "single_label_classification"
BOOLEAN = ("False", "True")
CHOICES = ("choice1", "choice2")
ENTAILMENT = ("entailment", "not_entailment")
WIC_COLUMNS = same("word", "sentence1", "sentence2", "start1", "start2", "end1", "end2")
WSC_SPANS = ("span1_index", "span2_index", "span1_text", "span2_text")
WSC_COLUMNS = {**same("text"), **{name: f"target.{name}" for name in WSC_SPANS}}
MULTIRC_COLUMNS = same("paragraph", "question", "answer")
RECORD_COLUMNS = same("passage", "query", "entities")

# fmt: off
TASKS = [
    Task(
        name="boolq", title="BoolQ", suite="superglue", problem_type=CLASSES, labels=BOOLEAN,
        text_fields=("question", "passage"), truncate="passage", metrics=("accuracy",), cluster="passage",
        hub=hub("boolq"), files=files("BoolQ", (9427, 3270, 3245), same("question", "passage")),
    ),
    Task(
        name="cb", title="CB", suite="superglue", problem_type=CLASSES,
        labels=("entailment", "contradiction", "neutral"),
        text_fields=("premise", "hypothesis"), metrics=("cb_f1", "accuracy"),
        selection_metric="mean",
        hub=hub("cb"), files=files("CB", (250, 56, 250), same("premise", "hypothesis")),
    ),
    Task(
        name="copa", title="COPA", suite="superglue", problem_type="multiple_choice", labels=CHOICES,
        text_fields=("premise", *CHOICES, "question"), metrics=("accuracy",),
        hub=hub("copa"),
        files=files("COPA", (400, 100, 500), same("premise", *CHOICES, "question"), labels=("0", "1")),
        instances=copa_instances,
    ),
    Task(
        name="multirc", title="MultiRC", suite="superglue", problem_type=CLASSES, labels=BOOLEAN,
        text_fields=("paragraph", "question", "answer"), truncate="paragraph", metrics=("f1_a", "exact_match"),
        selection_metric="mean",
        hub=hub("multirc"),
        files=files("MultiRC", (27243, 4848, 9693), MULTIRC_COLUMNS, expand=multirc_examples),
        instances=multirc_instances, text_to_text=multirc_text, metric_inputs=multirc_metric_inputs,
    ),
    Task(
        name="record", title="ReCoRD", suite="superglue", problem_type="multi_label_classification",
        labels=("answer",), label_field="answers", open_answers=True, invalid_prediction="",
        text_fields=("passage", "query"), truncate="passage", metrics=("f1", "exact_match"),
        selection_metric="mean",
        hub=hub("record"),
        files=files("ReCoRD", (100730, 10000, 10000), RECORD_COLUMNS, label="answers", expand=record_examples),
        instances=record_instances, decide=record_decide, metric_inputs=record_metric_inputs,
        text_to_text=record_text, training_texts=record_training_texts, parse=record_parse,
    ),
    Task(
        name="superglue_rte", title="RTE", suite="superglue", problem_type=CLASSES, labels=ENTAILMENT,
        text_fields=("premise", "hypothesis"), t5_prefix="rte", metrics=("accuracy",),
        hub=hub("rte"), files=files("RTE", (2490, 277, 3000), same("premise", "hypothesis")),
    ),
    Task(
        name="wic", title="WiC", suite="superglue", problem_type=CLASSES, labels=BOOLEAN,
        text_fields=("sentence1", "sentence2", "word"), metrics=("accuracy",),
        hub=hub("wic"), files=files("WiC", (5428, 638, 1400), WIC_COLUMNS),
        instances=wic_instances, repairs=wic_repairs, cluster="word",
    ),
    Task(
        name="wsc", title="WSC", suite="superglue", problem_type=CLASSES, labels=BOOLEAN, open_answers=True,
        text_fields=("text", "span1_text", "span2_text"), metrics=("accuracy",),
        hub=hub("wsc"), files=files("WSC", (554, 104, 146), WSC_COLUMNS),
        instances=wsc_instances, repairs=wsc_repairs,
        text_to_text=wsc_text, training_texts=wsc_training_texts, parse=wsc_parse,
    ),
    Task(
        name="axb", title="AX-b", suite="superglue", problem_type=CLASSES, labels=ENTAILMENT,
        text_fields=("sentence1", "sentence2"), t5_prefix="rte", metrics=("matthews_correlation",),
        hub=hub("axb"), files=diagnostic("AX-b", 1104, same("sentence1", "sentence2")),
        evaluated_by="superglue_rte", train_split=None, validation_splits=("test",),
        instances=axb_instances, text_to_text=axb_text, cluster=axb_cluster,
    ),
    Task(
        name="axg", title="AX-g", suite="superglue", problem_type=CLASSES, labels=ENTAILMENT,
        text_fields=("premise", "hypothesis"), t5_prefix="rte", metrics=("gender_parity", "accuracy"),
        selection_metric="mean",
        hub=hub("axg"), files=diagnostic("AX-g", 356, same("premise", "hypothesis")),
        evaluated_by="superglue_rte", train_split=None, validation_splits=("test",), cluster=axg_cluster,
    ),
]
# fmt: on

SUPERGLUE = Suite(
    "superglue", "SuperGLUE", {"SuperGLUE avg": tuple(task.name for task in TASKS if task.evaluated_by is None)}
)
