"""CoNLL files: a word and its tag a line, an empty line between sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.data.labels import BadValue

SUFFIXES = (".conll", ".annotated")
TOKENS, TAGS = "tokens", "tags"
DOCUMENT = "-DOCSTART-"


class BadLine(BadValue):
    """What is wrong with a line, and its number."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line


def sentences(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """The sentences of a file as ``{"tokens": [...], "tags": [...]}``, each with the number of its first line.

    The word is the first column and the tag the last one; columns are separated by tabs or, in a line without one, by
    spaces. A file of one column has no tags. Lines that begin with ``-DOCSTART-`` (CoNLL-2003) are no sentences.

    Raises:
        BadLine: another number of columns than in the lines before, an empty word or tag.
    """
    width, start = 0, 0
    rows: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t") if "\t" in line else line.split(" ")
        if any(cells) and cells[0] != DOCUMENT:
            width = width or len(cells)
            if len(cells) != width:
                raise BadLine(number, f"found {len(cells)} columns, and {width} in the lines before")
            if not cells[0] or not cells[-1]:
                raise BadLine(number, f"a line must hold a word and its tag, found {line!r}")
            start = start or number
            rows.append(cells)
        elif rows:
            yield start, _sentence(rows)
            rows, start = [], 0
    if rows:
        yield start, _sentence(rows)


def _sentence(rows: list[list[str]]) -> dict[str, list[str]]:
    tokens = {TOKENS: [cells[0] for cells in rows]}
    return tokens if len(rows[0]) == 1 else {**tokens, TAGS: [cells[-1] for cells in rows]}
