"""The built-in sample data: generated, English-like examples for any task, with a signal that a tiny model learns.

A generator is chosen by a task's problem type and official fields, never by its name, so that a user's task has sample
data as well. Every example retells a made-up event; a *sign*, a closing phrase that belongs to the label, is the
signal: "nobody"-like phrases for a contradiction, praise for a positive review, "almost the same" for a high score.
The signal is graded, so that scores tell models apart: a plain sign is learnt at once; a *turned* one means the label
before its own, which takes two cues together; a *rare* one has a word that training shows only a few times.
The words are in ``sample_words.yaml``.
"""

from __future__ import annotations

import copy
import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any

import yaml

from harness.data.sample_draw import NOISE, RARE, TURNED, Draw, sentence
from harness.errors import HarnessError, did_you_mean
from harness.task.entities import entity_types, tags_of
from harness.task.functions import instances, text_to_text
from harness.task.plugins import builtin_tasks
from harness.task.task import Example, Task
from harness.task.texts import input_text

SAMPLE_VERSION = 3
"""Raised by hand when the generated data changes: it stands for the data's content in a run's fingerprint."""

WORD_LISTS = Path(__file__).with_name("sample_words.yaml")
ROWS = {"train": 800, "validation": 240, "test": 200}


# Generators: one group of examples of a task (most groups have one example) --------------------------------------

Generator = Callable[[Draw, int], list[Example]]
"""``(draw, number of the group in its split)`` -> examples; those without ``idx`` get their row number."""


def classification(draw: Draw, number: int) -> list[Example]:
    """The sign tells the label."""
    label = draw.label()
    return [{**draw.fields(draw.sign(draw.mistaken(label))), draw.task.label_field: label}]


def multi_label(draw: Draw, number: int) -> list[Example]:
    """One label, or sometimes two, each with its sign."""
    labels = sorted({draw.label() for _ in range(1 if draw.rng.random() < 0.7 else 2)})
    signs = [draw.sign(draw.mistaken(label)) for label in labels]
    return [{**draw.fields(" and ".join(signs)), draw.task.label_field: labels}]


def regression(draw: Draw, number: int) -> list[Example]:
    """A degree phrase decides the score, up to one step of a grid of 25 steps over the range (0..5: of 0.2).

    A turned one means two degrees less.
    """
    low, high = draw.task.score_range or (0.0, 5.0)
    degrees = draw.words["degrees"]
    degree = draw.below(len(degrees))
    step = 5 * draw.mistaken(degree, len(degrees)) + draw.pick((0, 0, 0, 0, -1, 1))
    score = round(low + (high - low) * min(max(step, 0), 25) / 25, 6)
    turned = draw.rng.random() < TURNED
    phrase = draw.pick(degrees[(degree + 2 * turned) % len(degrees)])
    return [{**draw.fields(draw.turned(phrase) if turned else phrase), draw.task.label_field: score}]


def multiple_choice(draw: Draw, number: int) -> list[Example]:
    """The right choice closes with a phrase of its own, which differs by position (text-to-text names the position).

    Now and then wrong choices close with turned phrases of right ones.
    """
    task, count = draw.task, len(draw.task.labels)
    choices = task.labels if set(task.labels) <= set(task.text_fields) else task.text_fields[-count:]
    label = draw.label()
    signed, turned = draw.mistaken(label), draw.rng.random() < TURNED
    example: Example = {}
    for name in task.text_fields:
        event = draw.event()
        if name in choices:
            position = choices.index(name)
            right = draw.words["right"][position % len(draw.words["right"]) :: count]
            is_right = position == signed
            phrase = draw.pick(right if is_right or turned else draw.words["wrong"])
            example[name] = draw.statement(event, draw.turned(phrase) if turned and not is_right else phrase)
        else:
            example[name] = draw.field_text(name, event)
    if {"premise", "question"} <= _official_fields(task):
        example["question"] = draw.pick(("cause", "effect"))
    return [{**example, task.label_field: label}]


def tagged_sentence(draw: Draw, number: int) -> list[Example]:
    """A statement and up to two entities, whose words tell their type, now and then a wrong one.

    After a word that turns it, a name means the type before its own.
    """
    task, types = draw.task, entity_types(draw.task.labels)
    tokens = draw.statement(draw.event()).removesuffix(".").split()
    entities = []
    for _ in range(draw.pick((0, 1, 1, 2))):
        label = draw.label(len(types))
        turned = draw.rng.random() < TURNED
        named = (draw.mistaken(label, len(types)) + turned) % len(types)
        name = _entity_name(draw, named, len(types))
        tokens.append(draw.pick(draw.words["turning_cues" if turned else "cues"]))
        if f"I-{types[label]}" not in task.labels:
            name = name[:1]
        entities.append((types[label], len(tokens), len(tokens) + len(name)))
        tokens += name
    tags = tags_of(entities, len(tokens) + 1)
    return [{task.text_fields[0]: [*tokens, "."], task.label_field: [task.labels.index(tag) for tag in tags]}]


def _entity_name(draw: Draw, label: int, types: int) -> list[str]:
    """One or two capitalised words; each type has adjectives and nouns of its own, as far as there are enough."""
    lists = (draw.words["sign_adjectives"], draw.words["sign_nouns"])
    own = [draw.pick(words[label % len(words) :: min(types, len(words))]) for words in lists]
    return [word.capitalize() for word in own[: 2 if draw.rng.random() < 0.7 else 1]]


def gender_pair(draw: Draw, number: int) -> list[Example]:
    """Two consecutive rows that differ in a pronoun only, with one label."""
    (example,) = classification(draw, number)
    first = draw.task.text_fields[0]
    reason = draw.pick(("had time", "was asked", "wanted to help", "was ready"))
    start = example[first].removesuffix(".")
    return [{**example, first: f"{start} because {pronoun} {reason}."} for pronoun in ("he", "she")]


def answers(draw: Draw, number: int) -> list[Example]:
    """A paragraph with two questions of three answers each, as MultiRC numbers them."""
    events = [draw.event(), draw.event()]
    paragraph = " ".join(draw.statement(event) for event in events)
    rows = []
    for event in events:
        asked = draw.question(event)
        for _ in range(3):
            label = draw.label()
            sign = draw.sign(draw.mistaken(label))
            answer = f"{draw.pick((event.thing, f'{event.adjective} {event.thing}', event.who))}, {sign}"
            rows.append({"paragraph": paragraph, "question": asked, "answer": answer, draw.task.label_field: label})
    for position, row in enumerate(rows):
        row["idx"] = {"paragraph": number, "question": 2 * number + position // 3, "answer": 6 * number + position}
    return rows


def cloze(draw: Draw, number: int) -> list[Example]:
    """A query about the one person of a passage; the other candidates are a company and two cities (as in ReCoRD).

    Some sayings are those of companies.
    """
    person, company, home, away = (draw.pick(draw.words[name]) for name in ("persons", "companies", "homes", "cities"))
    surname = person.split()[1]
    event = draw.event()
    names = [person, surname] if draw.rng.random() < 0.2 else [person]
    passage = f"{person} of {home} works for {company}. {draw.statement(event)} {names[-1]} went to {away}."
    of_company = draw.rng.random() < RARE
    saying = draw.pick(draw.words["company_sayings" if of_company else "sayings"])
    query = sentence(f"@placeholder {saying} {event.who} {event.past} the {event.thing}")
    is_right = draw.rng.random() > NOISE
    return [
        {
            "passage": passage,
            "query": query,
            "entities": sorted([*names, company, home, away]),
            draw.task.label_field: sorted(names) if is_right != of_company else [company],
            "idx": {"passage": number, "query": number},
        }
    ]


def word_sense(draw: Draw, number: int) -> list[Example]:
    """A word in two sentences, in one sense when the label is the last (True); the sign closes the second sentence."""
    label = draw.label()
    word, senses = draw.pick([*draw.words["senses"].items()])
    first = draw.below(2)
    second = first if label else 1 - first
    sign = draw.sign(draw.mistaken(label))
    example: Example = {"word": word}
    for position, (sense, closing) in enumerate(((first, ""), (second, sign)), 1):
        before, after = draw.pick(senses[sense]).split(word)
        opening = f"{draw.pick(draw.words['names'])} {before}"
        example[f"sentence{position}"] = sentence(f"{opening}{word}{after}", closing)
        example[f"start{position}"], example[f"end{position}"] = len(opening), len(opening) + len(word)
    return [{**example, draw.task.label_field: label}]


def coreference(draw: Draw, number: int) -> list[Example]:
    """Whom a pronoun means follows from what is done; the sign tells whether the first span is meant (as in WSC)."""
    label, duties = draw.label(), draw.words["duties"]
    signed = draw.mistaken(label)
    candidate, other = draw.shuffled(duties)[:2]
    one, two = draw.shuffled((candidate, other))
    verb = draw.pick(("met", "left", "called", "thanked", "missed", "waited for"))
    pronoun = draw.pick(("he", "she"))
    reason = f"because {pronoun} had to {duties[candidate if signed else other]}"
    text = sentence(f"the {one} {verb} the {two} {draw.pick(draw.words['places'])} {reason}", draw.sign(signed))
    spans = {"span1": f"{'The' if one == candidate else 'the'} {candidate}", "span2": pronoun}
    example: Example = {"text": text}
    for span, spelled in spans.items():
        example[f"{span}_text"] = spelled
        example[f"{span}_index"] = len(text[: f" {text}".index(f" {spelled} ")].split())
    return [{**example, draw.task.label_field: label}]


# The data ---------------------------------------------------------------------------------------------------------

IRREGULAR: dict[str, tuple[tuple[frozenset[str], Generator], ...]] = {
    "single_label_classification": (
        (frozenset({"paragraph", "question", "answer"}), answers),
        (frozenset({"word", "sentence1", "sentence2"}), word_sense),
        (frozenset({"text", "span1_text", "span2_text"}), coreference),
    ),
    "multi_label_classification": ((frozenset({"passage", "query", "entities"}), cloze),),
}
"""Shapes that the problem type alone does not decide: recognised by their fields."""
REGULAR: dict[str, Generator] = {
    "single_label_classification": classification,
    "multi_label_classification": multi_label,
    "regression": regression,
    "multiple_choice": multiple_choice,
    "token_classification": tagged_sentence,
}


def generator(task: Task) -> Generator:
    """The generator of a task's shape."""
    if not task.text_fields:
        raise HarnessError(f"task '{task.name}' has no text_fields, which sample data is made for: name them")
    for needed, irregular in IRREGULAR.get(task.problem_type, ()):
        if needed <= _official_fields(task):
            return irregular
    return gender_pair if any("parity" in metric for metric in task.metrics) else REGULAR[task.problem_type]


def _official_fields(task: Task) -> set[str]:
    return set(task.text_fields).union(*(file.columns for file in task.files.values()))


@functools.cache
def word_lists() -> Mapping[str, Any]:
    """The word lists by name; ``genres`` holds those of each genre."""
    return yaml.safe_load(WORD_LISTS.read_text(encoding="utf-8"))


def sample_examples(task: Task, split: str) -> list[Example]:
    """The generated examples of a split, the same on every machine; a test split is unlabelled.

    Training texts never occur in another split. Data of a diagnostic is labelled, whatever its split is called.

    Raises:
        HarnessError: the task has no such split.
    """
    values = {item.name: getattr(task, item.name) for item in fields(task)}
    plain = repr({name: value for name, value in values.items() if not callable(value)})
    return copy.deepcopy(_generated(_Split(plain, split, task)))


@dataclass(frozen=True)
class _Split:
    """What generated examples depend on: all of a task but its functions, and the name of the split."""

    plain: str
    name: str
    task: Task = field(compare=False)


@functools.lru_cache(maxsize=64)
def _generated(wanted: _Split) -> list[Example]:
    """A command asks for the same examples several times, and generating them takes longer than a tiny training."""
    task, split = wanted.task, wanted.name
    role, position = _role(task, split)
    lists = word_lists()
    words = {**lists, **lists["genres"][position % len(lists["genres"])]}
    draw = Draw(task, words, Random(f"{SAMPLE_VERSION} {task.name} {split}"))
    rows: list[Example] = []
    for group in _distinct_groups(draw, role):
        rows += group
        if len(rows) >= ROWS[role]:
            break
    for number, row in enumerate(rows):
        row.setdefault("idx", number)
        if role == "test":
            open_answers = task.open_answers and isinstance(row[task.label_field], list)
            row[task.label_field] = [] if open_answers else task.unlabelled
    return rows


def _role(task: Task, split: str) -> tuple[str, int]:
    """What the split is for (train, validation or test), and its position among those of its role."""
    train = (task.train_split,) if task.train_split else ()
    roles = {"train": train, "validation": task.validation_splits, "test": task.test_splits}
    for role, names in roles.items():
        if split in names:
            return role, names.index(split)
    splits = sorted({name for names in roles.values() for name in names})
    hint = did_you_mean(split, splits)
    raise HarnessError(f"task '{task.name}' has no split '{split}': it has {', '.join(splits)}.{hint}")


def _distinct_groups(draw: Draw, role: str) -> Iterator[list[Example]]:
    """Groups that differ in their texts; a checksum of the text says to which role's splits it belongs."""
    shares = {"train": (0, 1), "validation": (2,), "test": (3,)}[role]
    make, seen, fields = generator(draw.task), set[str](), draw.task.text_fields
    while True:
        group = make(draw, len(seen))
        texts = (value for field, value in group[0].items() if isinstance(value, str) or field in fields)
        text = " ".join(value if isinstance(value, str) else " ".join(value) for value in texts)
        if text not in seen and zlib.crc32(text.encode()) % 4 in shares:
            seen.add(text)
            yield group


def sample_texts() -> list[str]:
    """All texts of the sample data of the built-in tasks, as encoders and as T5 read them, and what T5 writes.

    Tiny tokenizers are trained on them. The tasks come in the order of their names, whichever are selected for a run.
    """
    texts: dict[str, None] = {}
    for _, task in sorted(builtin_tasks().items()):
        for split in (task.train_split, *task.validation_splits):
            for example in sample_examples(task, split) if split else ():
                texts |= dict.fromkeys(text_to_text(task, example))
                texts |= dict.fromkeys(input_text(task, instance) for instance in instances(task, example))
    return [*(texts | dict.fromkeys(f"{step / 5:.1f}" for step in range(26)))]
