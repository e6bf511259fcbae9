"""WNUT-17 (Derczynski et al. 2017): emerging and rare entities in tweets, comments and forum posts."""

from harness.task import HubSource, SplitFile, Task

TYPES = ("corporation", "creative-work", "group", "location", "person", "product")
COLUMNS = {"tokens": "tokens", "ner_tags": "tags"}

WNUT17 = Task(
    name="wnut17",
    title="WNUT-17",
    suite="",
    problem_type="token_classification",
    labels=("O", *(f"{position}-{kind}" for kind in TYPES for position in "BI")),
    text_fields=("tokens",),
    metrics=("entity_f1", "surface_f1"),  # its shared task reports both
    label_field="ner_tags",
    # The Hub's own conversion to parquet: the data set itself is a script, which nothing runs any more.
    hub=HubSource("leondz/wnut_17", revision="1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9"),
    files={
        "train": SplitFile("WNUT-17/wnut17train.conll", COLUMNS, rows=(3394,)),
        "validation": SplitFile("WNUT-17/emerging.dev.conll", COLUMNS, rows=(1009,)),
        "test": SplitFile("WNUT-17/emerging.test.annotated", COLUMNS, rows=(1287,)),
    },
)
