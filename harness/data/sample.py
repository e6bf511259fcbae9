"""The built-in sample data: generated, English-like examples for any task, with a signal that a tiny model learns.

A generator is chosen by a task's problem type and official fields, never by its name, so that a user's task has sample
data as well. Every example retells a made-up event; a *sign*, a closing phrase that belongs to the label, is the
signal: "nobody"-like phrases for a contradiction, praise for a positive review, "almost the same" for a high score.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from harness.errors import HarnessError, did_you_mean
from harness.task.functions import input_text, instances, text_to_text
from harness.task.plugins import builtin_tasks
from harness.task.task import Example, Task

SAMPLE_VERSION = 2
"""Raised by hand when the generated data changes: it stands for the data's content in a run's fingerprint."""

ROWS = {"train": 800, "validation": 240, "test": 200}
NOISE = 0.03
"""Share of examples whose sign belongs to another label, so that a perfect score is out of reach."""

T = TypeVar("T")


def listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# The words --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """The vocabulary of one genre: what the made-up events are about."""

    names: tuple[str, ...]
    people: tuple[str, ...]
    verbs: tuple[tuple[str, str], ...]  # past tense, infinitive
    adjectives: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """Who did what to which thing, and where: told by the texts of one example."""

    who: str
    past: str
    infinitive: str
    adjective: str
    thing: str
    where: str


VILLAGE = Words(
    names=listed("Anna Ben Clara David Emma Felix Grace Henry Irene Jacob Laura Martin Nora Oscar Paula Simon"),
    people=listed("baker doctor farmer fisherman gardener librarian nurse painter postman shepherd tailor teacher"),
    verbs=(
        ("bought", "buy"), ("carried", "carry"), ("cleaned", "clean"), ("found", "find"), ("fixed", "fix"),
        ("hid", "hide"), ("lost", "lose"), ("moved", "move"), ("opened", "open"), ("painted", "paint"),
        ("sold", "sell"), ("watched", "watch"),
    ),
    adjectives=listed("big blue broken green heavy little new old red round small white wooden yellow"),
    things=listed("basket bicycle boat bottle box bridge cart chair clock door fence gate hat lamp picture table"),
    places=(
        "at the market", "behind the church", "by the lake", "in the garden", "in the kitchen", "near the river",
        "next to the school", "on the hill", "on the road", "under the tree",
    ),
)  # fmt: skip
CITY = Words(
    names=listed("Amir Bruno Carla Diego Elena Farah Gustav Hanna Ivan Julia Kenji Lena Marco Nadia Omar Yuki"),
    people=listed("actor banker chemist driver editor engineer lawyer manager officer pilot singer waiter"),
    verbs=(
        ("borrowed", "borrow"), ("built", "build"), ("copied", "copy"), ("designed", "design"), ("drew", "draw"),
        ("ordered", "order"), ("received", "receive"), ("rented", "rent"), ("replaced", "replace"), ("stole", "steal"),
        ("tested", "test"), ("wrapped", "wrap"),
    ),
    adjectives=listed("cheap costly digital famous foreign grey light modern narrow plastic sharp silver"),
    things=listed("bus camera computer contract engine guitar key letter map mirror phone printer radio train"),
    places=(
        "at the airport", "at the station", "behind the theatre", "in the basement", "in the office",
        "in the tower", "near the harbour", "on the bridge", "outside the bank", "under the arcade",
    ),
)  # fmt: skip
GENRES = (VILLAGE, CITY)
"""The first belongs to training and to the first split of each kind, the second to further ones ("mismatched")."""

SIGNS: dict[str, tuple[str, ...]] = {
    "negative": (
        "and it made a dull and tiresome story", "and the ending was awful", "in a film with a boring plot",
        "in a clumsy and empty scene", "which was a terrible waste of time", "and we were sadly disappointed",
    ),
    "positive": (
        "and it made a charming and lively story", "and the ending was wonderful", "in a film with a clever plot",
        "in a brilliant and moving scene", "which was a great joy to see", "and we were truly delighted",
    ),
    "unacceptable": (
        "and the childs goed home", "because them was happy", "and him seed it too", "what were more better",
        "and they wants to eats", "but nobody have knowed it",
    ),
    "acceptable": (
        "and the children went home", "because they were happy", "and he saw it too", "which was much better",
        "and they want to eat", "but nobody had known it",
    ),
    "equivalent": (
        "the same report said", "as was reported before", "the same people confirmed", "as they already stated",
    ),
    "not_equivalent": (
        "but another paper differed", "for a different price", "although the figures differ", "unlike the year before",
    ),
    "duplicate": ("and for what reason", "and tell me why", "and what caused it", "and to what end"),
    "not_duplicate": ("and who paid then", "and at which price", "and who helped them", "and how old exactly"),
    "entailment": (
        "so somebody did something", "so it did happen", "as somebody really did", "so there is something",
        "and it certainly happened",
    ),
    "not_entailment": (
        "because it was cheap", "just for a prize", "every single summer day", "without asking anyone first",
        "for the first time",
    ),
    "neutral": (
        "to surprise a friend", "because it was raining", "before going on holiday", "as a birthday present",
        "while thinking about lunch",
    ),
    "contradiction": (
        "but nobody did that", "no that never happened", "but none is true", "which is not so", "and nothing like it",
    ),
    "true": ("as everyone now agrees", "which is quite right", "which has been confirmed", "as all people know"),
    "false": ("but only as rumour", "although that is false", "which is quite wrong", "which nobody ever confirmed"),
}  # fmt: skip
"""Closing phrases by label name; labels that are not here get phrases of their own from the two lists below.

The phrases of one task's labels are equally long: where length told the label, batches of similar length would hold
one label, and tiny models would not learn.
"""

SIGN_ADJECTIVES = listed(
    "amber bitter bright calm clever cold curious dark distant eager fair fierce gentle golden grand happy hollow "
    "honest humble icy jolly keen loud lucky mellow merry misty noble pale proud quick quiet royal salty shiny silent "
    "sleepy smooth sour spicy steep sticky stormy sweet tender thick tidy warm wild young"
)
SIGN_NOUNS = listed("morning voice song smile wind dream evening story")
DEGREES = (
    ("which is about something else", "with no relation at all"),
    ("which is only barely related", "with hardly any real likeness"),
    ("which is only slightly alike", "with a few details shared"),
    ("which is in part similar", "with many details in common"),
    ("which is almost the same", "with one very small difference"),
    ("which is exactly the same", "with a fully identical meaning"),
)
"""Phrases for the scores of a regression, from the lowest of its range to the highest."""
RIGHT = (
    "because it was needed", "as they had planned", "to solve the problem", "and that helped everyone",
    "and all went well", "for a good reason", "and it finally worked", "as they had to",
)  # fmt: skip
WRONG = (
    "which explained nothing here", "on another strange planet", "long after all that", "in a fairy tale",
    "only by pure chance", "with no connection whatever",
)  # fmt: skip
"""Closing phrases of the right and of the wrong choices."""

# Texts ------------------------------------------------------------------------------------------------------------


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options; built on ``random()`` alone, whose sequence Python guarantees for all versions."""
    return options[int(rng.random() * len(options))]


def new_event(words: Words, rng: Random) -> Event:
    who = pick(rng, words.names) if rng.random() < 0.5 else f"the {pick(rng, words.people)}"
    past, infinitive = pick(rng, words.verbs)
    return Event(who, past, infinitive, pick(rng, words.adjectives), pick(rng, words.things), pick(rng, words.places))


def statement(event: Event, rng: Random, sign: str = "") -> str:
    form = pick(
        rng,
        (
            "{e.who} {e.past} the {e.adjective} {e.thing} {e.where}",
            "{e.where} {e.who} {e.past} the {e.adjective} {e.thing}",
            "the {e.adjective} {e.thing} {e.where} was what {e.who} {e.past}",
        ),
    )
    return sentence(form.format(e=event), sign)


def question(event: Event, rng: Random, sign: str = "") -> str:
    asked = pick(rng, ("why did", "when did", "how did", "is it true that yesterday"))
    verb = event.past if asked.startswith("is") else event.infinitive
    return sentence(f"{asked} {event.who} {verb} the {event.adjective} {event.thing} {event.where}", sign, "?")


def sentence(text: str, sign: str = "", end: str = ".") -> str:
    text = f"{text}, {sign}" if sign else text
    return text[0].upper() + text[1:] + end


def passage(event: Event, words: Words, rng: Random, sign: str = "") -> str:
    """The event after one that has nothing to do with it."""
    return f"{statement(new_event(words, rng), rng)} {statement(event, rng, sign)}"


def field_text(name: str, event: Event, words: Words, rng: Random, sign: str = "") -> str:
    """The event as the field's name wants it: a question, a passage, or else a statement."""
    if asks(name):
        return question(event, rng, sign)
    if name in ("passage", "paragraph", "context", "document", "article"):
        return passage(event, words, rng, sign)
    return statement(event, rng, sign)


def asks(name: str) -> bool:
    return "question" in name


# Labels and their signs -------------------------------------------------------------------------------------------


def draw_label(count: int, rng: Random) -> int:
    """A class index; the first class is a little more frequent than the last (two classes: 55 to 45 %)."""
    weights = [1.1 - 0.2 * i / max(count - 1, 1) for i in range(count)]
    point = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    return count - 1


def mistaken(label: int, count: int, rng: Random) -> int:
    """The label, or now and then another one: the noise of the data."""
    if count > 1 and rng.random() < NOISE:
        return (label + 1 + int(rng.random() * (count - 1))) % count
    return label


def label_sign(task: Task, label: int, rng: Random) -> str:
    known = SIGNS.get(task.labels[label].lower())
    if known:
        return pick(rng, known)
    # More labels than adjectives share the adjectives out again, each time with other nouns.
    rounds = -(-len(task.labels) // len(SIGN_ADJECTIVES))
    round_, place = divmod(label, len(SIGN_ADJECTIVES))
    nouns = SIGN_NOUNS[round_ % len(SIGN_NOUNS) :: min(rounds, len(SIGN_NOUNS))]
    return f"with the {SIGN_ADJECTIVES[place]} {pick(rng, nouns)}"


# Generators: one group of examples of a task (most groups have one example) --------------------------------------

Generator = Callable[[Task, Words, Random, int], list[Example]]
"""``(task, words, rng, number of the group in its split)`` -> examples; those without ``idx`` get their row number."""


def classification(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """Every field tells the same event; the sign closes the last field that asks nothing (else the last one)."""
    label = draw_label(len(task.labels), rng)
    sign = label_sign(task, mistaken(label, len(task.labels), rng), rng)
    return [{**signed_fields(task, words, rng, sign), task.label_field: label}]


def multi_label(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """One label, or sometimes two, each with its sign."""
    labels = {draw_label(len(task.labels), rng) for _ in range(1 if rng.random() < 0.7 else 2)}
    signs = [label_sign(task, mistaken(label, len(task.labels), rng), rng) for label in sorted(labels)]
    return [{**signed_fields(task, words, rng, " and ".join(signs)), task.label_field: sorted(labels)}]


def regression(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """A degree phrase decides the score, up to one step of a grid of 25 steps over the range (0..5: of 0.2)."""
    low, high = task.score_range or (0.0, 5.0)
    degree = int(rng.random() * len(DEGREES))
    step = 5 * mistaken(degree, len(DEGREES), rng) + pick(rng, (0, 0, 0, 0, -1, 1))
    score = round(low + (high - low) * min(max(step, 0), 25) / 25, 6)
    return [{**signed_fields(task, words, rng, pick(rng, DEGREES[degree])), task.label_field: score}]


def signed_fields(task: Task, words: Words, rng: Random, sign: str) -> Example:
    event = new_event(words, rng)
    signed = ([name for name in task.text_fields if not asks(name)] or list(task.text_fields))[-1]
    return {name: field_text(name, event, words, rng, sign if name == signed else "") for name in task.text_fields}


def multiple_choice(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """The right choice closes with a phrase of its own, which differs by position (text-to-text names the position)."""
    count = len(task.labels)
    choices = task.labels if set(task.labels) <= set(task.text_fields) else task.text_fields[-count:]
    label = draw_label(count, rng)
    shown = mistaken(label, count, rng)
    example: Example = {}
    for name in task.text_fields:
        event = new_event(words, rng)
        if name not in choices:
            example[name] = field_text(name, event, words, rng)
            continue
        position = choices.index(name)
        right = RIGHT[position % len(RIGHT) :: count]
        example[name] = statement(event, rng, pick(rng, right if position == shown else WRONG))
    if asks_for_cause(task):
        example["question"] = pick(rng, ("cause", "effect"))
    return [{**example, task.label_field: label}]


def asks_for_cause(task: Task) -> bool:
    return {"premise", "question"} <= official_fields(task)


def gender_pair(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """Two consecutive rows that differ in a pronoun only, with one label."""
    (example,) = classification(task, words, rng, number)
    first = task.text_fields[0]
    reason = pick(rng, ("had time", "was asked", "wanted to help", "was ready"))
    start = example[first].removesuffix(".")
    return [{**example, first: f"{start} because {pronoun} {reason}."} for pronoun in ("he", "she")]


def answers(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """A paragraph with two questions of three answers each, as MultiRC numbers them."""
    told = [new_event(words, rng), new_event(words, rng)]
    paragraph = " ".join(statement(event, rng) for event in told)
    rows = []
    for event in told:
        asked = question(event, rng)
        for _ in range(3):
            label = draw_label(len(task.labels), rng)
            sign = label_sign(task, mistaken(label, len(task.labels), rng), rng)
            answer = f"{pick(rng, (event.thing, event.adjective + ' ' + event.thing, event.who))}, {sign}"
            rows.append({"paragraph": paragraph, "question": asked, "answer": answer, task.label_field: label})
    for position, row in enumerate(rows):
        row["idx"] = {"paragraph": number, "question": 2 * number + position // 3, "answer": 6 * number + position}
    return rows


def cloze(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """A query about the one person of a passage; the other candidates are a company and two cities (as in ReCoRD)."""
    person, company, home, away = pick(rng, PERSONS), pick(rng, COMPANIES), pick(rng, HOMES), pick(rng, CITIES)
    surname = person.split()[1]
    event = new_event(words, rng)
    short = rng.random() < 0.2
    visitor = surname if short else person
    names = [person, surname] if short else [person]
    return [
        {
            "passage": f"{person} of {home} works for {company}. {statement(event, rng)} {visitor} went to {away}.",
            "query": sentence(f"@placeholder {pick(rng, SAYINGS)} {event.who} {event.past} the {event.thing}"),
            "entities": sorted([*names, company, home, away]),
            task.label_field: sorted(names) if rng.random() > NOISE else [company],
            "idx": {"passage": number, "query": number},
        }
    ]


def word_sense(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """A word in two sentences, in one sense when the label is the last (True); the sign closes the second sentence."""
    label = draw_label(len(task.labels), rng)
    word = pick(rng, tuple(SENSES))
    first = int(rng.random() * 2)
    second = first if label else 1 - first
    sign = label_sign(task, mistaken(label, len(task.labels), rng), rng)
    example: Example = {"word": word}
    for position, (sense, closing) in enumerate(((first, ""), (second, sign)), 1):
        before, after = pick(rng, SENSES[word][sense]).split(word)
        opening = f"{pick(rng, words.names)} {before}"
        example[f"sentence{position}"] = sentence(f"{opening}{word}{after}", closing)
        example[f"start{position}"], example[f"end{position}"] = len(opening), len(opening) + len(word)
    return [{**example, task.label_field: label}]


def coreference(task: Task, words: Words, rng: Random, number: int) -> list[Example]:
    """Whom a pronoun means follows from what is done; the sign tells whether the first span is meant (as in WSC)."""
    label = draw_label(len(task.labels), rng)
    shown = mistaken(label, len(task.labels), rng)
    candidate, other = shuffled(DUTIES, rng)[:2]
    one, two = shuffled((candidate, other), rng)
    verb = pick(rng, ("met", "left", "called", "thanked", "missed", "waited for"))
    pronoun = pick(rng, ("he", "she"))
    reason = f"because {pronoun} had to {DUTIES[candidate if shown else other]}"
    text = sentence(f"the {one} {verb} the {two} {pick(rng, words.places)} {reason}", label_sign(task, shown, rng))
    spans = {"span1": f"{'The' if one == candidate else 'the'} {candidate}", "span2": pronoun}
    example: Example = {"text": text}
    for span, spelled in spans.items():
        example[f"{span}_text"] = spelled
        example[f"{span}_index"] = len(text[: f" {text}".index(f" {spelled} ")].split())
    return [{**example, task.label_field: label}]


def shuffled(options: Iterable[str], rng: Random) -> list[str]:
    return sorted(options, key=lambda option: rng.random())


HOMES = ("Berlin", "Cairo", "Lisbon", "Oslo")
CITIES = ("Prague", "Toronto", "Vienna", "Zurich")
COMPANIES = ("Acme Bank", "Bluebird Hotel", "Delta Mills", "North Museum", "Orion Press", "Sunrise Airways")
PERSONS = ("Alice Brook", "Carl Stone", "Ellen Fox", "Frank Reed", "Hugo Lane", "Mary Wood")
SAYINGS = ("said that", "told us that", "remembered how", "was glad that", "later wrote that", "denied that")
SENSES = {
    "bank": (
        ("sat on the bank of the river", "walked along the muddy bank of the stream"),
        ("took the money to the bank", "asked the bank for a loan"),
    ),
    "bat": (
        ("saw a bat fly out of the cave", "heard the squeak of a bat at night"),
        ("hit the ball with a bat", "swung the bat and scored"),
    ),
    "match": (
        ("lit the candle with a match", "burned a finger on the match"),
        ("won the last match of the season", "watched the football match"),
    ),
    "spring": (
        ("planted flowers in the spring", "waited for the first warm day of spring"),
        ("replaced the spring of the mattress", "found a rusty metal spring in the clock"),
    ),
    "letter": (
        ("posted a letter to a friend", "put the letter into an envelope"),
        ("wrote the first letter of the alphabet", "spelled the name with a capital letter"),
    ),
    "ring": (
        ("wore a gold ring on one finger", "bought a wedding ring"),
        ("heard the ring of the telephone", "woke up at the ring of the bell"),
    ),
}
DUTIES = {
    "doctor": "see a patient", "farmer": "feed the cows", "baker": "bake some bread", "pilot": "fly a plane",
    "teacher": "mark the homework", "painter": "mix the colours",
}  # fmt: skip

# The data ---------------------------------------------------------------------------------------------------------

IRREGULAR: dict[str, tuple[tuple[frozenset[str], Generator], ...]] = {
    "single_label_classification": (
        (frozenset({"paragraph", "question", "answer"}), answers),
        (frozenset({"word", "sentence1", "sentence2"}), word_sense),
        (frozenset({"text", "span1_text", "span2_text"}), coreference),
    ),
    "multi_label_classification": ((frozenset({"passage", "query", "entities"}), cloze),),
}
"""Shapes that need more than a task's problem type to be told, by the fields they have."""
REGULAR: dict[str, Generator] = {
    "single_label_classification": classification,
    "multi_label_classification": multi_label,
    "regression": regression,
    "multiple_choice": multiple_choice,
}


def generator(task: Task) -> Generator:
    """The generator of a task's shape."""
    if not task.text_fields:
        raise HarnessError(f"task '{task.name}' has no text_fields, which sample data is made for: name them")
    for needed, irregular in IRREGULAR.get(task.problem_type, ()):
        if needed <= official_fields(task):
            return irregular
    if any("parity" in metric for metric in task.metrics):
        return gender_pair
    if task.problem.of_words:
        from harness.data.sample_words import tagged_sentence  # which is made of what stands above

        return tagged_sentence
    return REGULAR[task.problem_type]


def official_fields(task: Task) -> set[str]:
    return set(task.text_fields).union(*(file.columns for file in task.files.values()))


def sample_examples(task: Task, split: str) -> list[Example]:
    """The generated examples of a split, the same on every machine; a test split is unlabelled.

    Training texts never occur in another split. Data of a diagnostic is labelled, whatever its split is called.

    Raises:
        HarnessError: the task has no such split.
    """
    kind, position = _kind_of(task, split)
    words = GENRES[position % len(GENRES)]
    rng = Random(f"{SAMPLE_VERSION} {task.name} {split}")
    rows: list[Example] = []
    for group in _distinct_groups(task, kind, words, rng):
        rows += group
        if len(rows) >= ROWS[kind]:
            break
    for number, row in enumerate(rows):
        row.setdefault("idx", number)
        if kind == "test":
            row[task.label_field] = _unlabelled(task, row[task.label_field])
    return rows


def _kind_of(task: Task, split: str) -> tuple[str, int]:
    """What the split is for, and its position among those of its kind."""
    train = (task.train_split,) if task.train_split else ()
    kinds = {"train": train, "validation": task.validation_splits, "test": task.test_splits}
    for kind, names in kinds.items():
        if split in names:
            return kind, names.index(split)
    known = sorted({name for names in kinds.values() for name in names})
    hint = did_you_mean(split, known)
    raise HarnessError(f"task '{task.name}' has no split '{split}': it has {', '.join(known)}.{hint}")


def _distinct_groups(task: Task, kind: str, words: Words, rng: Random) -> Iterator[list[Example]]:
    """Groups that differ in their texts; a checksum of the text says to which kind of split it belongs."""
    share = {"train": (0, 1), "validation": (2,), "test": (3,)}[kind]
    make, seen = generator(task), set[str]()
    while True:
        group = make(task, words, rng, len(seen))
        texts = (value for field, value in group[0].items() if isinstance(value, str) or field in task.text_fields)
        text = " ".join(value if isinstance(value, str) else " ".join(value) for value in texts)
        if text not in seen and zlib.crc32(text.encode()) % 4 in share:
            seen.add(text)
            yield group


def _unlabelled(task: Task, label: Any) -> Any:
    """What the official files have instead of a label; a list of open answers is empty."""
    return [] if task.open_answers and isinstance(label, list) else task.unlabelled


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
