"""GoEmotions (Demszky et al. 2020, arXiv 2005.00547): which of 27 emotions, or none of them, a comment shows."""

from harness.task import Example, HubSource, SplitFile, Task

EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
"""In the order of the official labels.txt, by whose line numbers the files name them."""


def read_line(cells: dict[str, str]) -> list[Example]:
    """A line of the official files: text, label numbers separated by commas, the comment's id."""
    numbers = sorted({int(number) for number in cells["1"].split(",")})
    if not 0 <= numbers[0] <= numbers[-1] < len(EMOTIONS):
        raise ValueError(f"the label numbers must be from 0 to {len(EMOTIONS) - 1}, found {cells['1']}")
    return [{"text": cells["0"], "labels": numbers, "id": cells["2"]}]


def file(name: str, rows: int) -> SplitFile:
    return SplitFile(f"GoEmotions/{name}.tsv", header=False, rows=(rows,), expand=read_line)


GOEMOTIONS = Task(
    name="goemotions",
    title="GoEmotions",
    suite="",
    problem_type="multi_label_classification",
    labels=EMOTIONS,
    text_fields=("text",),
    metrics=("micro_f1", "macro_f1"),
    label_field="labels",
    hub=HubSource("google-research-datasets/go_emotions", "simplified"),
    files={"train": file("train", 43410), "validation": file("dev", 5426), "test": file("test", 5427)},
)
