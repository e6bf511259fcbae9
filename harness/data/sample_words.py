"""Sample data of token classification: the sample texts' sentences with made-up entities of a task's types."""

from __future__ import annotations

from random import Random

from harness.data.sample import (
    SIGN_ADJECTIVES,
    SIGN_NOUNS,
    Words,
    draw_label,
    mistaken,
    new_event,
    pick,
    statement,
)
from harness.task.entities import entity_types, tags_of
from harness.task.task import Example, Task

CUES = ("with", "near", "about", "like", "for")


def tagged_sentence(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """A statement and up to two entities, whose words tell their type, now and then a wrong one."""
    types = entity_types(task.labels)
    tokens = statement(new_event(words, rng), rng).removesuffix(".").split()
    entities = []
    for _ in range(pick(rng, (0, 1, 1, 2))):
        kind = draw_label(len(types), rng)
        name = entity_name(mistaken(kind, len(types), rng), len(types), rng)
        tokens.append(pick(rng, CUES))
        if f"I-{types[kind]}" not in task.labels:
            name = name[:1]
        entities.append((types[kind], len(tokens), len(tokens) + len(name)))
        tokens += name
    tags = tags_of(entities, len(tokens) + 1)
    return [{task.text_fields[0]: [*tokens, "."], task.label_field: [task.labels.index(tag) for tag in tags]}]


def entity_name(kind: int, types: int, rng: Random) -> list[str]:
    """One or two capitalised words; each type has adjectives and nouns of its own, as far as there are enough."""
    own = [pick(rng, words[kind % len(words) :: min(types, len(words))]) for words in (SIGN_ADJECTIVES, SIGN_NOUNS)]
    return [word.capitalize() for word in own[: 2 if rng.random() < 0.7 else 1]]
