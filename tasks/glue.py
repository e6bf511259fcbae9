# fmt: off  (one task, a few lines: the page reads as a table)
"""GLUE (https://gluebenchmark.com): nine tasks and the diagnostic set AX, which the MNLI model answers."""

from harness.task import Example, HubSource, SplitFile, Suite, Task

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
DIGITS = ("0", "1")


def hub(config: str) -> HubSource:
    return HubSource("nyu-mll/glue", config, REVISION)


def files(folder, rows, columns, **options) -> dict[str, SplitFile]:
    """train.tsv, dev.tsv and test.tsv of a folder; the test file has neither labels nor another difference."""
    unlabelled = {name: column for name, column in columns.items() if name != "label"}
    return {
        split: SplitFile(f"{folder}/{file}.tsv", columns if rest else unlabelled, rows=(count,), **options)
        for split, file, count, rest in zip(
            ("train", "validation", "test"), ("train", "dev", "test"), rows, (True, True, False), strict=True
        )
    }


def pair(first: str, second: str, label: str = "label") -> dict[str, str]:
    return {first: first, second: second, "label": label}


def both_ways(example: Example) -> str:
    """AX has every pair of sentences in both directions."""
    return "\n".join(sorted((example["premise"], example["hypothesis"])))


COLA_COLUMNS = {"sentence": 3, "label": 1}
MNLI_COLUMNS = {"premise": "sentence1", "hypothesis": "sentence2"}
MNLI_LABELS = ("entailment", "neutral", "contradiction")
ENTAILMENT = ("entailment", "not_entailment")
MRPC_COLUMNS = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}

TASKS = [
    Task(
        name="cola",
        title="CoLA",
        suite="glue",
        problem_type="single_label_classification",
        labels=("unacceptable", "acceptable"),
        text_fields=("sentence",),
        metrics=("matthews_correlation",),
        hub=hub("cola"),
        files={
            "train": SplitFile("CoLA/train.tsv", COLA_COLUMNS, header=False, labels=DIGITS, rows=(8551,)),
            "validation": SplitFile("CoLA/dev.tsv", COLA_COLUMNS, header=False, labels=DIGITS, rows=(1043,)),
            "test": SplitFile("CoLA/test.tsv", {"sentence": "sentence"}, rows=(1063,)),
        },
    ),
    Task(
        name="sst2",
        title="SST-2",
        suite="glue",
        problem_type="single_label_classification",
        labels=("negative", "positive"),
        text_fields=("sentence",),
        metrics=("accuracy",),
        hub=hub("sst2"),
        files=files("SST-2", (67349, 872, 1821), {"sentence": "sentence", "label": "label"}, labels=DIGITS),
    ),
    Task(
        name="mrpc",
        title="MRPC",
        suite="glue",
        problem_type="single_label_classification",
        labels=("not_equivalent", "equivalent"),
        text_fields=("sentence1", "sentence2"),
        metrics=("f1", "accuracy"),
        selection_metric="mean",
        hub=hub("mrpc"),
        files=files("MRPC", (3668, 408, 1725), MRPC_COLUMNS, labels=DIGITS),
    ),
    Task(
        name="stsb",
        title="STS-B",
        suite="glue",
        problem_type="regression",
        score_range=(0.0, 5.0),
        text_fields=("sentence1", "sentence2"),
        metrics=("pearson", "spearmanr"),
        selection_metric="mean",
        invalid_prediction=-1.0,
        hub=hub("stsb"),
        files=files("STS-B", (5749, 1500, 1379), pair("sentence1", "sentence2", "score")),
    ),
    Task(
        name="qqp",
        title="QQP",
        suite="glue",
        problem_type="single_label_classification",
        labels=("not_duplicate", "duplicate"),
        text_fields=("question1", "question2"),
        metrics=("f1", "accuracy"),
        selection_metric="mean",
        hub=hub("qqp"),
        files=files("QQP", (363846, 40430, 390965), pair("question1", "question2", "is_duplicate"), labels=DIGITS),
    ),
    Task(
        name="mnli",
        title="MNLI",
        suite="glue",
        problem_type="single_label_classification",
        labels=MNLI_LABELS,
        text_fields=("premise", "hypothesis"),
        metrics=("accuracy",),
        hub=hub("mnli"),
        validation_splits=("validation_matched", "validation_mismatched"),
        test_splits=("test_matched", "test_mismatched"),
        files={
            "train": SplitFile("MNLI/train.tsv", {**MNLI_COLUMNS, "label": "gold_label"}, rows=(392702,)),
            "validation_matched": SplitFile(
                "MNLI/dev_matched.tsv", {**MNLI_COLUMNS, "label": "gold_label"}, rows=(9815,)
            ),
            "validation_mismatched": SplitFile(
                "MNLI/dev_mismatched.tsv", {**MNLI_COLUMNS, "label": "gold_label"}, rows=(9832,)
            ),
            "test_matched": SplitFile("MNLI/test_matched.tsv", MNLI_COLUMNS, rows=(9796,)),
            "test_mismatched": SplitFile("MNLI/test_mismatched.tsv", MNLI_COLUMNS, rows=(9847,)),
        },
    ),
    Task(
        name="qnli",
        title="QNLI",
        suite="glue",
        problem_type="single_label_classification",
        labels=ENTAILMENT,
        text_fields=("question", "sentence"),
        metrics=("accuracy",),
        hub=hub("qnli"),
        files=files("QNLI", (104743, 5463, 5463), pair("question", "sentence")),
    ),
    Task(
        name="rte",
        title="RTE",
        suite="glue",
        problem_type="single_label_classification",
        labels=ENTAILMENT,
        text_fields=("sentence1", "sentence2"),
        metrics=("accuracy",),
        hub=hub("rte"),
        files=files("RTE", (2490, 277, 3000), pair("sentence1", "sentence2")),
    ),
    Task(
        name="wnli",
        title="WNLI",
        suite="glue",
        problem_type="single_label_classification",
        labels=("not_entailment", "entailment"),
        text_fields=("sentence1", "sentence2"),
        metrics=("accuracy",),
        hub=hub("wnli"),
        files=files("WNLI", (635, 71, 146), pair("sentence1", "sentence2"), labels=DIGITS),
    ),
    Task(
        name="ax",
        title="AX",
        suite="glue",
        problem_type="single_label_classification",
        labels=MNLI_LABELS,
        text_fields=("premise", "hypothesis"),
        metrics=("matthews_correlation",),
        hub=hub("ax"),
        t5_prefix="mnli",
        evaluated_by="mnli",
        train_split=None,
        validation_splits=("test",),
        cluster=both_ways,
        files={
            "test": SplitFile(
                "diagnostic/diagnostic.tsv",
                MNLI_COLUMNS,
                rows=(1104,),
                alternatives=(
                    SplitFile(
                        "diagnostic/diagnostic-full.tsv",
                        {"premise": "Premise", "hypothesis": "Hypothesis", "label": "Label"},
                        rows=(1104,),
                    ),
                ),
            ),
        },
    ),
]

NINE = tuple(task.name for task in TASKS if task.evaluated_by is None)
GLUE = Suite(
    "glue", "GLUE", {"GLUE avg (9)": NINE, "GLUE avg (8, no WNLI)": tuple(name for name in NINE if name != "wnli")}
)
