"""What the sample data draws at random: labels, events, sentences, and the signs that tell a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.task.task import Example, Task

NOISE = 0.03
"""Share of examples whose sign belongs to another label, so that a perfect score is out of reach."""
TURNED, RARE = 0.2, 0.15
"""Shares of signs that are turned, and rare."""
STATEMENTS = (
    "{e.who} {e.past} the {e.adjective} {e.thing} {e.where}",
    "{e.where} {e.who} {e.past} the {e.adjective} {e.thing}",
    "the {e.adjective} {e.thing} {e.where} was what {e.who} {e.past}",
)
QUESTIONS = ("why did", "when did", "how did", "is it true that yesterday")
PASSAGES = ("passage", "paragraph", "context", "document", "article")


@dataclass(frozen=True)
class Event:
    """Who did what to which thing, and where: what the texts of one example say."""

    who: str
    past: str
    infinitive: str
    adjective: str
    thing: str
    where: str


@dataclass(frozen=True)
class Draw:
    """Random labels, events and texts for one split.

    Attributes:
        task: the task that the examples are for.
        words: the word lists of one genre and those of all genres, by name.
        rng: used by ``random()`` alone, whose sequence Python guarantees for all versions.
    """

    task: Task
    words: Mapping[str, Any]
    rng: Random

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count - 1``."""
        return int(self.rng.random() * count)

    def pick(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.below(len(options))]

    def shuffled(self, options: Iterable[str]) -> list[str]:
        """The options in a random order."""
        return sorted(options, key=lambda option: self.rng.random())

    def label(self, count: int | None = None) -> int:
        """A class index; the first class is a little more frequent than the last (two classes: 55 to 45 %)."""
        count = len(self.task.labels) if count is None else count
        weights = [1.1 - 0.2 * i / max(count - 1, 1) for i in range(count)]
        point = self.rng.random() * sum(weights)
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return count - 1

    def mistaken(self, label: int, count: int | None = None) -> int:
        """The label, or now and then another one: the noise of the data."""
        count = len(self.task.labels) if count is None else count
        if count > 1 and self.rng.random() < NOISE:
            return (label + 1 + self.below(count - 1)) % count
        return label

    def sign(self, label: int) -> str:
        """A closing phrase that belongs to a label: plain, turned or rare."""
        words, count = self.words["rare"], len(self.task.labels)
        point = self.rng.random()
        if point < RARE and count <= len(words):
            return f"with {self.pick(words[label::count])} at the end"
        if point < RARE + TURNED:
            return self.turned(self.plain_sign((label + 1) % count))
        return self.plain_sign(label)

    def turned(self, phrase: str) -> str:
        """The phrase after words that turn its meaning."""
        return f"{self.pick(self.words['turns'])} {phrase}"

    def plain_sign(self, label: int) -> str:
        """A phrase of a label: of its own by its name, or else made of an adjective and a noun."""
        if phrases := self.words["signs"].get(self.task.labels[label].lower()):
            return self.pick(phrases)
        # More labels than adjectives share the adjectives out again, each time with other nouns.
        adjectives, nouns = self.words["sign_adjectives"], self.words["sign_nouns"]
        rounds = -(-len(self.task.labels) // len(adjectives))
        round_, adjective = divmod(label, len(adjectives))
        own_nouns = nouns[round_ % len(nouns) :: min(rounds, len(nouns))]
        return f"with the {adjectives[adjective]} {self.pick(own_nouns)}"

    def event(self) -> Event:
        """A made-up event."""
        words = self.words
        who = self.pick(words["names"]) if self.rng.random() < 0.5 else f"the {self.pick(words['people'])}"
        past, infinitive = self.pick([*words["verbs"].items()])
        return Event(who, past, infinitive, *(self.pick(words[name]) for name in ("adjectives", "things", "places")))

    def statement(self, event: Event, sign: str = "") -> str:
        """The event as a sentence, closed by the sign."""
        return sentence(self.pick(STATEMENTS).format(e=event), sign)

    def question(self, event: Event, sign: str = "") -> str:
        """The event as a question."""
        asked = self.pick(QUESTIONS)
        verb = event.past if asked.startswith("is") else event.infinitive
        return sentence(f"{asked} {event.who} {verb} the {event.adjective} {event.thing} {event.where}", sign, "?")

    def field_text(self, name: str, event: Event, sign: str = "") -> str:
        """The event as the field's name wants it: a question, a passage (it follows another event), or a statement."""
        if "question" in name:
            return self.question(event, sign)
        before = f"{self.statement(self.event())} " if name in PASSAGES else ""
        return before + self.statement(event, sign)

    def fields(self, sign: str) -> Example:
        """Every text field tells one event; the sign closes the last field that asks nothing (else the last one)."""
        event, names = self.event(), self.task.text_fields
        signed = ([name for name in names if "question" not in name] or list(names))[-1]
        return {name: self.field_text(name, event, sign if name == signed else "") for name in names}


def sentence(text: str, sign: str = "", end: str = ".") -> str:
    text = f"{text}, {sign}" if sign else text
    return text[0].upper() + text[1:] + end
