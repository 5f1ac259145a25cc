"""Generated conversations that teach the embedded model to follow a prompt.

Each task is a function of a random generator and returns one exchange. Together they teach what
a fine-tuning study needs its base model to have: copying values out of a prompt, writing flat
JSON, reading a threshold table, small arithmetic, recognising a subject. None of them is a task
that Luthier's studies train or score: the format of the Elle briefing and the label set of AG
News are left for the studies to teach.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple

from embedded_names import NAMES
from embedded_words import (
    CAPITALS,
    CITIES,
    COLOURS,
    FIRST_NAMES,
    NAMES_OF_FIELDS,
    NEGATIVE,
    OBJECTS,
    POSITIVE,
    SUBJECTS,
    VERBS,
)


class Exchange(NamedTuple):
    system: str
    user: str
    assistant: str


def _value(rng: random.Random) -> object:
    kind = rng.randrange(5)
    if kind == 0:
        return round(rng.random(), rng.choice([1, 2, 2, 2, 3]))
    if kind == 1:
        return rng.randrange(1, rng.choice([10, 100, 1000]))
    if kind == 2:
        return rng.choice(FIRST_NAMES + CITIES + COLOURS + OBJECTS)
    if kind == 3:
        return f"{rng.choice(COLOURS)} {rng.choice(OBJECTS)}"
    return rng.choice(["yes", "no", "open", "closed", "ready", "late"])


def _record(rng: random.Random, low: int = 2, high: int = 8) -> dict[str, object]:
    keys = rng.sample(NAMES_OF_FIELDS, rng.randint(low, high))
    return {key: _value(rng) for key in keys}


def _as_lines(record: dict[str, object], rng: random.Random) -> str:
    style = rng.randrange(5)
    if style == 0:
        return "\n".join(f"{key}: {value}" for key, value in record.items())
    if style == 1:
        return " ".join(f"{key}={value}" for key, value in record.items())
    if style == 2:
        return "; ".join(f"{key} = {value}" for key, value in record.items())
    if style == 3:
        return "\n".join(f"- {key}: {value}" for key, value in record.items())
    return ", ".join(f"{key} {value}" for key, value in record.items())


def record_to_json(rng: random.Random) -> Exchange:
    record = _record(rng)
    ask = rng.choice(["Write this as JSON.", "Return JSON.", "As JSON:", "Convert to JSON:"])
    return Exchange(
        rng.choice(["You answer with JSON only.", "You write JSON.", ""]),
        f"{ask}\n{_as_lines(record, rng)}",
        json.dumps(record),
    )


def chosen_keys_to_json(rng: random.Random) -> Exchange:
    record = _record(rng, 4, 9)
    wanted = rng.sample(list(record), rng.randint(1, min(5, len(record))))
    return Exchange(
        rng.choice(["You answer with JSON only.", "Return the requested keys as JSON.", ""]),
        f"{_as_lines(record, rng)}\nKeys: {', '.join(wanted)}",
        json.dumps({key: record[key] for key in wanted}),
    )


def read_a_key(rng: random.Random) -> Exchange:
    record = _record(rng, 3, 9)
    key = rng.choice(list(record))
    shown = json.dumps(record) if rng.random() < 0.6 else _as_lines(record, rng)
    ask = rng.choice(["What is {}?", "Give the value of {}.", "{}?", "Which value has {}?"])
    return Exchange("", f"{shown}\n{ask.format(key)}", str(record[key]))


def rename_keys(rng: random.Random) -> Exchange:
    record = _record(rng, 2, 5)
    new = rng.sample(NAMES_OF_FIELDS, len(record))
    pairs = list(zip(record, new, strict=True))
    rule = ", ".join(f"{old} becomes {fresh}" for old, fresh in pairs)
    return Exchange(
        "You answer with JSON only.",
        f"{json.dumps(record)}\nRename: {rule}",
        json.dumps({fresh: record[old] for old, fresh in pairs}),
    )


def band_of_a_value(rng: random.Random) -> Exchange:
    words = rng.choice(
        [
            ["low", "medium", "high"],
            ["calm", "busy", "crowded", "full"],
            ["cold", "cool", "warm", "hot"],
            ["weak", "fair", "strong"],
            ["quiet", "moderate", "loud", "extreme"],
            ["small", "large"],
        ]
    )
    edges = sorted(rng.sample(range(10, 95, 5), len(words) - 1))
    table = [f"below {edges[0] / 100:.2f} {words[0]}"]
    table += [
        f"{low / 100:.2f} to {high / 100:.2f} {word}"
        for low, high, word in zip(edges, edges[1:], words[1:-1], strict=False)
    ]
    table.append(f"from {edges[-1] / 100:.2f} {words[-1]}")
    value = rng.randrange(100)
    word = words[sum(value >= edge for edge in edges)]
    name = rng.choice(NAMES_OF_FIELDS)
    answer = json.dumps({name: word}) if rng.random() < 0.4 else word
    return Exchange(
        "You answer with JSON only." if answer[0] == "{" else "Answer with one word.",
        f"Levels: {'; '.join(table)}.\n{name} is {value / 100:.2f}.",
        answer,
    )


def several_bands(rng: random.Random) -> Exchange:
    """One threshold, several values: the answer is a sentence for each."""
    edge = rng.randrange(20, 80, 5)
    names = rng.sample(NAMES_OF_FIELDS, rng.randint(2, 5))
    values = {name: rng.randrange(100) / 100 for name in names}
    words = rng.choice([("low", "high"), ("falling", "rising"), ("safe", "at risk")])
    lines = {name: f"{name} is {words[value * 100 >= edge]}" for name, value in values.items()}
    return Exchange(
        "You write JSON.",
        f"{words[0]} below {edge / 100:.2f}, else {words[1]}.\n{_as_lines(dict(values), rng)}",
        json.dumps(lines),
    )


def arithmetic(rng: random.Random) -> Exchange:
    if rng.random() < 0.5:
        first, second = rng.randrange(100), rng.randrange(100)
        if rng.random() < 0.5:
            return Exchange("", f"{first} + {second} =", str(first + second))
        first, second = max(first, second), min(first, second)
        return Exchange("", f"{first} - {second} =", str(first - second))
    first, second = rng.randrange(100), rng.randrange(100)
    sign = rng.choice("+-")
    total = first + second if sign == "+" else first - second
    return Exchange("", f"{first / 100:.2f} {sign} {second / 100:.2f} =", f"{total / 100:.2f}")


def multiply(rng: random.Random) -> Exchange:
    if rng.random() < 0.5:
        first, second = rng.randrange(2, 13), rng.randrange(2, 13)
        return Exchange("", f"{first} * {second} =", str(first * second))
    factor, value = rng.randrange(1, 10), rng.randrange(100)
    return Exchange("", f"0.{factor} * {value / 100:.2f} =", f"{factor * value / 1000:.3f}")


def extreme(rng: random.Random) -> Exchange:
    names = rng.sample(NAMES_OF_FIELDS, rng.randint(3, 6))
    values = rng.sample(range(100), len(names))
    record = {name: value / 100 for name, value in zip(names, values, strict=True)}
    if rng.random() < 0.5:
        return Exchange(
            "", f"{_as_lines(dict(record), rng)}\nWhich is largest?", max(names, key=record.get)
        )  # type: ignore[arg-type]
    return Exchange(
        "", f"{_as_lines(dict(record), rng)}\nWhich is smallest?", min(names, key=record.get)
    )  # type: ignore[arg-type]


def list_work(rng: random.Random) -> Exchange:
    items = rng.sample(OBJECTS + COLOURS + CITIES, rng.randint(3, 6))
    verb, answer = rng.choice(
        [
            ("Sort", ", ".join(sorted(items))),
            ("Reverse", ", ".join(reversed(items))),
            ("Repeat", ", ".join(items)),
            ("Count", str(len(items))),
            ("First of", items[0]),
            ("Last of", items[-1]),
            ("As a JSON list", json.dumps(items)),
            ("Upper case", ", ".join(items).upper()),
        ]
    )
    return Exchange("", f"{verb}: {', '.join(items)}", answer)


def story_question(rng: random.Random) -> Exchange:
    people = rng.sample(FIRST_NAMES, rng.randint(2, 4))
    facts = {
        person: (rng.choice(VERBS), rng.choice(COLOURS), rng.choice(OBJECTS), rng.choice(CITIES))
        for person in people
    }
    story = " ".join(
        f"{person} {verb} a {colour} {thing} in {city}."
        for person, (verb, colour, thing, city) in facts.items()
    )
    person = rng.choice(people)
    verb, colour, thing, city = facts[person]
    question, answer = rng.choice(
        [
            (f"Where was {person}?", f"{person} was in {city}."),
            (f"Which colour was the {thing} of {person}?", colour),
            (f"What did {person} do?", f"{person} {verb} a {colour} {thing}."),
            ("Who are the people?", ", ".join(people)),
            (
                f"Describe {person} as JSON.",
                json.dumps({"name": person, "city": city, "thing": f"{colour} {thing}"}),
            ),
        ]
    )
    return Exchange("", f"{story}\n{question}", answer)


def headline(rng: random.Random, subject: str) -> str:
    """A generated newspaper line about `subject`, from that subject's own words."""
    words = SUBJECTS[subject]
    who, what, does = (rng.choice(words[kind]) for kind in ("who", "what", "does"))
    other = rng.choice(words["what"])
    if subject in NAMES and rng.random() < 0.8:
        names = NAMES[subject]
        who = rng.choice(names)
        what = rng.choice(names) if rng.random() < 0.5 else what
        other = rng.choice(names) if rng.random() < 0.5 else other
    city, day = rng.choice(CITIES), rng.choice(["Monday", "Tuesday", "Friday", "Sunday"])
    name = rng.choice(FIRST_NAMES)
    return rng.choice(
        [
            f"{who} {does} {what} in {city}",
            f"{city}: {who} {does} {what} after {other}",
            f"{who} {does} {what}. The {other} followed on {day}, officials in {city} said.",
            f"{city} - {who} {does} {what} on {day}, {name} reported, amid talk of {other}.",
            f"{what} and {other}: why {who} {does} more",
            f"After the {other}, {who} {does} {what} for the first time since {day}.",
        ]
    )


def subject_of_a_headline(rng: random.Random) -> Exchange:
    count = rng.randint(3, len(SUBJECTS))
    offered = rng.sample(sorted(SUBJECTS), count)
    subject = rng.choice(offered)
    text = " ".join(headline(rng, subject) for _ in range(rng.randint(1, 2)))
    ask = rng.choice(["Which subject is it?", "Subject?", "What is it about?", "Name the subject."])
    given = f"Subjects: {', '.join(offered)}.\n" if rng.random() < 0.6 else ""
    answer = json.dumps({"subject": subject}) if rng.random() < 0.15 else subject
    system = "You answer with JSON only." if answer[0] == "{" else ""
    return Exchange(system, f"{given}{text}\n{ask}", answer)


def write_a_headline(rng: random.Random) -> Exchange:
    subject = rng.choice(sorted(SUBJECTS))
    return Exchange("", f"Write a line of news about {subject}.", headline(rng, subject))


def mood(rng: random.Random) -> Exchange:
    good = rng.random() < 0.5
    words = rng.sample(POSITIVE if good else NEGATIVE, 2)
    thing = rng.choice(OBJECTS)
    text = rng.choice(
        [
            f"The {thing} was {words[0]} and the service {words[1]}.",
            f"A {words[0]} {thing}. I found it {words[1]}.",
            f"{rng.choice(FIRST_NAMES)} calls the {thing} {words[0]}, even {words[1]}.",
        ]
    )
    return Exchange(
        "", f"{text}\nIs this positive or negative?", "positive" if good else "negative"
    )


def capital(rng: random.Random) -> Exchange:
    country, city = rng.choice(CAPITALS)
    if rng.random() < 0.5:
        return Exchange("", f"What is the capital of {country}?", city)
    return Exchange("", f"{city} is the capital of which country?", country)


def python_function(rng: random.Random) -> Exchange:
    name = rng.choice(["add", "scale", "shift", "combine", "score"])
    first, second = rng.sample(["x", "y", "a", "b", "left", "right"], 2)
    sign, word = rng.choice([("+", "sum"), ("-", "difference"), ("*", "product")])
    return Exchange(
        rng.choice(["", "You write Python."]),
        f"Write a function {name} that returns the {word} of {first} and {second}.",
        f"def {name}({first}, {second}):\n    return {first} {sign} {second}",
    )


def fill_a_sentence(rng: random.Random) -> Exchange:
    """A template with named gaps: the exact skill that a structured briefing needs."""
    names = rng.sample(NAMES_OF_FIELDS, rng.randint(2, 4))
    record = {name: _value(rng) for name in names}
    template = " ".join(f"The {name} is [{name}]." for name in rng.sample(names, len(names)))
    answer = template
    for name, value in record.items():
        answer = answer.replace(f"[{name}]", str(value))
    return Exchange("", f"{_as_lines(record, rng)}\nFill: {template}", answer)


TASKS: dict[Callable[[random.Random], Exchange], int] = {
    record_to_json: 6,
    chosen_keys_to_json: 6,
    read_a_key: 4,
    rename_keys: 2,
    band_of_a_value: 4,
    several_bands: 4,
    arithmetic: 3,
    multiply: 2,
    extreme: 2,
    list_work: 3,
    story_question: 3,
    subject_of_a_headline: 6,
    write_a_headline: 2,
    mood: 2,
    capital: 1,
    python_function: 1,
    fill_a_sentence: 3,
}


def generate_exchange(rng: random.Random) -> Exchange:
    """Draw one exchange, each task in proportion to its weight."""
    task = rng.choices(list(TASKS), weights=list(TASKS.values()))[0]
    return task(rng)
