"""Entities in sentences: IOB2 tags, the spans that they mark, how T5 writes them, and their exact F1."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.errors import HarnessError

OUTSIDE = "O"
NOTHING = "none"
"""What T5 writes for a sentence without entities."""
SEPARATOR = " $$ "
"""What T5 writes between two entities, as in ``person: Anna Brook $$ location: Oslo``."""

Span = tuple[str, int, int]
"""An entity: its type, its first word, and the word after its last one."""


def entity_types(tags: Sequence[str]) -> tuple[str, ...]:
    """The types that tag names speak of, in their order."""
    return tuple(dict.fromkeys(tag[2:] for tag in tags if tag != OUTSIDE))


def tag_order(tags: Iterable[str]) -> tuple[str, ...]:
    """Tag names in the usual order: ``O``, then each type's ``B-`` and ``I-``; types by name."""
    return tuple(sorted({OUTSIDE, *tags}, key=lambda tag: (tag != OUTSIDE, tag[2:], tag)))


def tag_names_problem(tags: Sequence[str]) -> str | None:
    """What is wrong with a list of tag names for IOB2; None: nothing."""
    for tag in tags:
        if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and tag[2:].strip()):
            return f"'{tag}' is no IOB2 tag: 'O', or 'B-' or 'I-' and a type"
    if OUTSIDE not in tags:
        return "IOB2 tags need 'O'"
    missing = [f"B-{entity_type}" for entity_type in entity_types(tags) if f"B-{entity_type}" not in tags]
    return f"there is no '{missing[0]}', with which an entity begins" if missing else None


def iob2_problem(tags: Sequence[str]) -> str | None:
    """Where a sentence's tags break the rules of IOB2: an entity begins with B-, and I- continues one."""
    for i, tag in enumerate(tags):
        before = tags[i - 1] if i else OUTSIDE
        if tag.startswith("I-") and before[2:] != tag[2:]:
            return f"word {i + 1} has tag '{tag}' after '{before}', which is not IOB2: an entity begins with 'B-'"
    return None


SCHEMES = ("iob1", "iob2", "bioes")
"""How files mark entities. BILOU is BIOES with other letters, and is read as it."""
_ENDS, _SINGLE = ("E-", "L-"), ("S-", "U-")


def as_iob2(tags: Sequence[str], scheme: str) -> list[str]:
    """A sentence's tags of another scheme as IOB2, which marks the same entities.

    In IOB1, ``I-`` also begins an entity, and ``B-`` only one right behind another of its type. In BIOES, ``E-`` is
    the last word of an entity and ``S-`` an entity of one word.

    Raises:
        ValueError: tags that break the rules of BIOES, or belong to no scheme.

    >>> as_iob2(["I-PER", "B-PER", "O"], "iob1"), as_iob2(["B-PER", "E-PER", "S-LOC"], "bioes")
    (['B-PER', 'B-PER', 'O'], ['B-PER', 'I-PER', 'B-LOC'])
    """
    if scheme == "iob2":
        return list(tags)
    for number, tag in enumerate(tags, start=1):
        if tag != OUTSIDE and (tag[:2] not in ("B-", "I-", *(_ENDS + _SINGLE if scheme == "bioes" else ()))):
            raise ValueError(f"word {number} has tag '{tag}', which is not {scheme.upper()}")
    if scheme == "iob1":
        return tags_of(spans(tags), len(tags))
    for number, (before, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True), start=1):
        is_open = before[:2] in ("B-", "I-")
        goes_on = tag[:2] in ("I-", *_ENDS)
        if is_open != goes_on or (is_open and before[2:] != tag[2:]):
            where = f"word {number} has tag '{tag}'" if number <= len(tags) else "the sentence ends"
            raise ValueError(f"{where} after '{before}', which is not BIOES")
    letters = {**dict.fromkeys(_ENDS, "I-"), **dict.fromkeys(_SINGLE, "B-")}
    return [letters.get(tag[:2], tag[:2]) + tag[2:] for tag in tags]


def scheme_of(sentences: Iterable[Sequence[str]]) -> tuple[str, str]:
    """The scheme of sentences' tags, and what tells it: BIOES has own letters, and IOB1 breaks the rule of IOB2."""
    broken = ""
    for tags in sentences:
        if own := next((tag for tag in tags if tag[:2] in _ENDS + _SINGLE), None):
            return "bioes", f"there is '{own}'"
        broken = broken or iob2_problem(tags) or ""
    return ("iob1", broken.partition(",")[0]) if broken else ("iob2", "every entity begins with 'B-'")


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities that tags mark, in order.

    Tags that break IOB2 are read as seqeval's default mode and conlleval do: ``I-`` after another type or after ``O``
    begins an entity.
    """
    entities: list[Span] = []
    for i, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        goes_on = tag.startswith("I-") and i > 0 and tags[i - 1][2:] == tag[2:]
        start = entities.pop()[1] if goes_on else i
        entities.append((tag[2:], start, i + 1))
    return entities


def tags_of(entities: Sequence[Span], words: int) -> list[str]:
    """The IOB2 tags of a sentence of so many words with these entities, none of which overlap."""
    tags = [OUTSIDE] * words
    for entity_type, start, end in entities:
        tags[start:end] = [f"B-{entity_type}", *[f"I-{entity_type}"] * (end - start - 1)]
    return tags


# Text-to-text ----------------------------------------------------------------------------------------------------


def write_entities(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """A sentence's entities as T5 writes them: ``type: words $$ type: words``, or ``none``."""
    return (
        SEPARATOR.join(f"{entity_type}: {' '.join(tokens[start:end])}" for entity_type, start, end in spans(tags))
        or NOTHING
    )


def read_entities(text: str, tokens: Sequence[str], types: Sequence[str]) -> list[str] | None:
    """The IOB2 tags that a written answer gives to a sentence; None for a text that is no answer.

    Entities are found from left to right: each at the first place after the one before it where its words stand, or
    else at the first free place. What cannot be placed (an unknown type, words that the sentence does not have) is
    left out; where nothing can be, the text is no answer.
    """
    if text.strip() == NOTHING:
        return [OUTSIDE] * len(tokens)
    placed: list[Span] = []
    for part in re.split(r"\s+\$\$\s+", text.strip()):
        entity_type = next((entity_type for entity_type in types if part.startswith(f"{entity_type}: ")), None)
        words = part[len(entity_type) + 2 :].split() if entity_type is not None else []
        if entity_type is not None and words and (span := _place(words, tokens, placed)) is not None:
            placed.append((entity_type, *span))
    return tags_of(placed, len(tokens)) if placed else None


def _place(words: Sequence[str], tokens: Sequence[str], placed: Sequence[Span]) -> tuple[int, int] | None:
    taken = {i for _, start, end in placed for i in range(start, end)}
    after = placed[-1][2] if placed else 0
    starts = [*range(after, len(tokens)), *range(after)]
    candidates = ((start, _end(words, tokens, start)) for start in starts)
    return next(((s, e) for s, e in candidates if e is not None and taken.isdisjoint(range(s, e))), None)


def _end(words: Sequence[str], tokens: Sequence[str], start: int) -> int | None:
    """Where words that begin at a token end. A token with spaces in it, which T5 does not tell apart, is several."""
    read: list[str] = []
    for end in range(start, len(tokens)):
        read += tokens[end].split()
        if len(read) >= len(words) or list(words[: len(read)]) != read:
            return end + 1 if read == list(words) and tokens[start].split() else None
    return None


# Scores ----------------------------------------------------------------------------------------------------------


def entity_f1(predictions: Sequence[Any], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of entities, micro-averaged over all types and sentences; with it come precision and recall.

    An entity is right when its type, its first and its last word are. This is seqeval's definition (default mode),
    which is that of the CoNLL-2003 script (Tjong Kim Sang and De Meulder 2003); 0 where there is nothing to divide by.

    Args:
        predictions: a tag name per word of each sentence; anything else (an invalid answer) has no entity.
        references: a tag name per word of each sentence, or ``{"words": [...], "tags": [...]}``.

    Raises:
        HarnessError: a reference that is no list of tag names.

    >>> entity_f1([["B-person", "O", "B-place"]], [["B-person", "O", "O"]])["entity_precision"]
    0.5
    """
    located, right = _located(predictions), _located([_sentence(row, r)[0] for row, r in enumerate(references)])
    hits = len(located & right)
    precision = hits / len(located) if located else 0.0
    recall = hits / len(right) if right else 0.0
    return {"entity_f1": _f1(hits, located, right), "entity_precision": precision, "entity_recall": recall}


def surface_f1(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """F1 of the different names that are found: each type and words count once, however often they stand there.

    A name is found where an entity with its words is right in type and place at least once. 0 where there is nothing
    to divide by. Source: the evaluation script of WNUT-17 (``wnuteval.py``; Derczynski et al. 2017).

    Args:
        predictions: as of `entity_f1`.
        references: ``{"words": [...], "tags": [...]}`` of each sentence.

    Raises:
        HarnessError: a reference without words, or as of `entity_f1`.

    >>> sentence = {"words": ["Ann", "met", "Ann"], "tags": ["B-person", "O", "B-person"]}
    >>> surface_f1([["B-person", "O", "O"]], [sentence])
    {'surface_f1': 1.0}
    """
    sentences = [_sentence(row, reference) for row, reference in enumerate(references)]
    for row, (tags, words) in enumerate(sentences):
        if len(words) != len(tags):
            raise HarnessError(
                f"reference {references[row]!r} of row {row} does not have a word for each tag, as in "
                "{'words': [...], 'tags': [...]}"
            )
    located, right = _located(predictions), _located([tags for tags, _ in sentences])

    def names(entities: set[tuple[int, str, int, int]]) -> set[tuple[str, tuple[str, ...]]]:
        return {(kind, tuple(sentences[row][1][start:end])) for row, kind, start, end in entities}

    return {"surface_f1": _f1(len(names(located & right)), names(located), names(right))}


def _located(rows: Sequence[Any]) -> set[tuple[int, str, int, int]]:
    """The entities of all sentences, each with its sentence; a row that is no list of tags has none."""
    return {(row, *span) for row, tags in enumerate(rows) if _are_tags(tags) for span in spans(tags)}


def _f1(hits: int, predicted: Collection[Any], right: Collection[Any]) -> float:
    return 2 * hits / (len(predicted) + len(right)) if hits else 0.0


def _sentence(row: int, reference: Any) -> tuple[Sequence[str], Sequence[str]]:
    """The tags of a reference, and its words where it has them."""
    tags: Any
    words: Any
    tags, words = reference, ()
    if isinstance(reference, Mapping):
        tags, words = reference.get("tags"), reference.get("words", ())
    if not _are_tags(tags) or not _are_tags(words):
        raise HarnessError(f"reference {reference!r} of row {row} is not a list of one tag name per word")
    return tags, words


def _are_tags(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and all(isinstance(tag, str) for tag in row)
