"""Lessons of the controls that ship: sums that are told as stories and solved in numbered steps, and requests
that become calls of tools. Every answer is exact; the templates of a test are those of no lesson.

Every choice comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .grammar import ADJECTIVES, COLOUR_WORDS, FOODS, HE, OBJECTS, SHE

STRUCTURE = re.compile(r"Plan: [^\n]+\n(?P<steps>(?:\d+\. [^\n]+\n)+)Answer: (?P<answer>[^\n]+)")
NUMBER = re.compile(r"\d+")
NAMES = (*SHE, *HE)
THINGS = (
    *FOODS,
    "balls",
    "books",
    "bells",
    "boats",
    "shells",
    "stones",
    "stars",
    "keys",
    "eggs",
    "coins",
    "buttons",
)
MOST = 10  # of what somebody has or gets


@dataclass(frozen=True)
class Question:
    """A story that ends in a question, how it is solved, and the number that is asked for."""

    prompt: str
    answer: str
    number: int


@dataclass(frozen=True)
class Request:
    """What somebody says, and the call that is meant."""

    prompt: str
    call: Mapping[str, Any]

    @property
    def answer(self) -> str:
        return json.dumps(self.call, separators=(",", ":"))


# {n} who, {o} what, {a} {b} {c} how many; the last of each list stand in tests alone
SUMS: dict[str, tuple[str, ...]] = {
    "more": (
        "{n} has {a} {o} and gets {b} more. How many {o} does {n} have?",
        "{n} finds {a} {o}. Then {n} finds {b} {o}. How many {o} are there?",
        "There are {a} {o} in the box. {n} puts in {b} more. How many {o} are in the box?",
        "In the morning {n} sees {a} {o}, in the evening {b} {o}. How many {o} does {n} see?",
        "{n} bakes, and {a} {o} are done. {b} {o} come later. How many {o} come in all?",
        "A friend gives {b} {o} to {n}, who had {a}. How many {o} has {n} now?",
        "{n} counts {a} {o} on the table and {b} {o} on the floor. How many {o} are there?",
        "First {n} takes {a} {o}, and after that {b} {o}. How many {o} did {n} take?",
        "{n} keeps {a} {o} at home and {b} {o} at school. How many {o} does {n} own?",
        "On Monday {n} picked {a} {o}. On Tuesday {n} picked {b} more. How many {o} is that?",
    ),
    "fewer": (
        "{n} has {a} {o} and loses {b}. How many {o} are left?",
        "There are {a} {o}. {n} takes {b} away. How many {o} are left?",
        "{n} had {a} {o} and gave {b} to a friend. How many {o} does {n} keep?",
        "{n} eats {b} of {a} {o}. How many {o} are left?",
        "Of {a} {o} on the table, {b} fall down. How many {o} stay there?",
        "{n} sells {b} {o} and had {a}. How many {o} has {n} now?",
        "A basket holds {a} {o}. {b} are bad, and {n} throws them away. How many good {o} are there?",
        "{n} saw {a} {o}, and {b} of them were gone at night. How many {o} stayed?",
        "{n} starts with {a} {o} and hands out {b}. How many {o} does {n} still have?",
        "From {a} {o}, the wind carries {b} away. How many {o} does {n} have then?",
    ),
    "both": (
        "{n} has {a} {o}, gets {b} more and gives {c} away. How many {o} does {n} have?",
        "There are {a} {o}. {n} brings {b} and takes {c}. How many {o} are there?",
        "{n} finds {a} {o}, then {b} more, and loses {c} of them. How many {o} are left?",
        "{n} picks {a} {o} and {b} {o}, and eats {c}. How many {o} are left?",
        "A box has {a} {o}. {b} go in, {c} go out. How many {o} are in the box?",
        "{n} got {a} {o} from one friend and {b} {o} from another, and sold {c}. How many {o} are left?",
        "At first {n} owns {a} {o}. {n} buys {b} and breaks {c}. How many {o} does {n} own now?",
    ),
}
HELD_OUT = {"more": 2, "fewer": 2, "both": 1}  # of the last templates


def templates(kind: str, *, test: bool) -> tuple[str, ...]:
    """Templates of lessons or of tests; no one is in both."""
    some, aside = SUMS[kind], HELD_OUT[kind]
    return some[-aside:] if test else some[:-aside]


def question(rng: random.Random, *, test: bool = False) -> Question:
    """A sum that is told as a story.

    >>> print(question(random.Random(3)).answer)
    Plan: start with 10, then add.
    1. At first 10 stones.
    2. 10 + 3 = 13
    Answer: 13
    """
    kind = rng.choice([*SUMS])
    a, b = rng.randint(2, MOST), rng.randint(1, MOST)
    if kind == "fewer":
        b = rng.randint(1, a - 1)
    c = rng.randint(1, min(MOST, a + b - 1))
    things = rng.choice(THINGS)
    said = rng.choice(templates(kind, test=test)).format(n=rng.choice(NAMES), o=things, a=a, b=b, c=c)
    steps = [f"At first {a} {things}.", f"{a} + {b} = {a + b}" if kind != "fewer" else f"{a} - {b} = {a - b}"]
    number = a - b if kind == "fewer" else a + b
    if kind == "both":
        steps.append(f"{number} - {c} = {number - c}")
        number -= c
    then = {"more": "add", "fewer": "take away", "both": "add, then take away"}[kind]
    told = "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
    return Question(said, f"Plan: start with {a}, then {then}.\n{told}\nAnswer: {number}", number)


def structured(text: str) -> bool:
    """Whether a text is a plan, steps that are numbered from 1 on, and an answer, and nothing else.

    >>> structured("Plan: add.\\n1. 2 + 2 = 4\\nAnswer: 4"), structured("Plan: add.\\n2. 4\\nAnswer: 4")
    (True, False)
    """
    found = STRUCTURE.fullmatch(text.strip())
    if found is None:
        return False
    numbers = [int(line.partition(".")[0]) for line in found["steps"].splitlines()]
    return numbers == [*range(1, len(numbers) + 1)]


def answered(text: str) -> int | None:
    """The number that a text ends with, in a structure or anywhere.

    >>> answered("Plan: add.\\n1. 2 + 2 = 4\\nAnswer: 4"), answered("She has 7 now."), answered("none")
    (4, 7, None)
    """
    found = NUMBER.findall(text)
    return int(found[-1]) if found and len(found[-1]) < 10 else None


CITIES = (
    "Paris London Rome Berlin Madrid Oslo Vienna Prague Dublin Lisbon Athens Warsaw Cairo Tokyo Delhi Sydney Boston Denver "
    "Dallas Lima Quito Havana Nairobi Accra Hanoi Seoul Osaka Perth Geneva Zurich Milan Naples Turin Porto Seville Lyon "
    "Nice Bonn Essen Bremen Leeds York Bath Derby Cork Bergen Malmo Turku Riga Minsk Kiev Sofia Split Izmir Haifa Beirut "
    "Baku Almaty Lahore Kochi"
).split()
DAYS = ("today", "tomorrow", "on Monday", "on Friday", "on Sunday")
ROOMS = ("kitchen", "bedroom", "garden", "hall", "office", "bathroom")
NOUNS = (*OBJECTS, "song", "dance", "morning", "river", "road", "dream", "night", "garden", "moon", "rain")
Values = Callable[[random.Random, Sequence[str]], Mapping[str, Any]]


def text_of(limit: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": limit}


def called(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call."""
    inner = {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False,
    }
    own = {"name": {"const": name}, "arguments": inner}
    return {"type": "object", "properties": own, "required": [*own], "additionalProperties": False}


@dataclass(frozen=True)
class Tool:
    """A tool, what it takes, and how it is asked for; the last two templates stand in tests alone."""

    name: str
    properties: Mapping[str, Any]
    templates: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        return called(self.name, self.properties)


TOOLS = (
    Tool(
        "set_timer",
        {"minutes": {"type": "integer", "minimum": 1, "maximum": 99}},
        (
            "Set a timer for {minutes} minutes.",
            "Wake me in {minutes} minutes.",
            "Please start a timer of {minutes} minutes.",
            "Tell me when {minutes} minutes are over.",
            "I need a timer, {minutes} minutes.",
            "Count down {minutes} minutes for me.",
            "Could you time {minutes} minutes?",
            "Ring after {minutes} minutes, please.",
            "Start counting, {minutes} minutes from now.",
            "Let the timer run for {minutes} minutes.",
        ),
    ),
    Tool(
        "get_weather",
        {"city": text_of(16), "day": {"enum": [*DAYS]}},
        (
            "What is the weather in {city} {day}?",
            "How warm will it be in {city} {day}?",
            "Will it rain in {city} {day}?",
            "Tell me the weather of {city} {day}.",
            "Do I need a coat in {city} {day}?",
            "Is it sunny in {city} {day}?",
            "Weather for {city} {day}, please.",
            "Show me how {city} will be {day}: sun or rain?",
            "Can I expect snow in {city} {day}?",
            "Look up the weather {day} for {city}.",
        ),
    ),
    Tool(
        "send_message",
        {"to": text_of(16), "text": text_of(48)},
        (
            "Tell {to}: {text}",
            "Send a message to {to}: {text}",
            "Write to {to}: {text}",
            "Please let {to} know: {text}",
            "Message {to}: {text}",
            "Text {to} this: {text}",
            "Say to {to}: {text}",
            "Send {to} the words: {text}",
            "Pass this on to {to}: {text}",
            "Drop {to} a line: {text}",
        ),
    ),
    Tool(
        "add_item",
        {"item": text_of(24), "count": {"type": "integer", "minimum": 1, "maximum": 20}},
        (
            "Put {count} {item} on my list.",
            "Add {count} {item} to the list.",
            "I must buy {count} {item}.",
            "We need {count} {item}, write it down.",
            "Remember {count} {item} for the shop.",
            "Please add {item} to the list, {count} of them.",
            "Note that I want {count} {item}.",
            "My list lacks {count} {item}.",
            "Write {count} {item} on the shopping list.",
            "For the market: {count} {item}.",
        ),
    ),
    Tool(
        "set_light",
        {"room": {"enum": [*ROOMS]}, "state": {"enum": ["on", "off"]}},
        (
            "Turn {state} the light in the {room}.",
            "Switch the {room} light {state}.",
            "Light {state} in the {room}, please.",
            "The light of the {room} should be {state}.",
            "Please turn the light in the {room} {state}.",
            "Set the lamp of the {room} to {state}.",
            "I want the {room} light {state}.",
            "In the {room}, switch the lamp {state}.",
            "Make the {room} lights go {state}.",
            "Can the light be {state} in the {room}?",
        ),
    ),
    Tool(
        "play_music",
        {"title": text_of(32)},
        (
            "Play {title}.",
            "I want to hear {title}.",
            "Put on {title}, please.",
            "Let us listen to {title}.",
            "Start the song {title}.",
            "Please play {title} for me.",
            "Could we have {title} now?",
            "Find {title} and play it.",
            "Let the music be {title}.",
            "How about some {title}?",
        ),
    ),
)
CALL_SCHEMA: dict[str, Any] = {"anyOf": [tool.schema for tool in TOOLS]}
MESSAGES = (
    "I am {x}",
    "the {o} is {c}",
    "we have {k} {f}",
    "bring the {o}",
    "see you {d}",
    "I found a {c} {o}",
    "my {o} is {x}",
)


def parted(words: Sequence[str], *, test: bool) -> list[str]:
    """Words of lessons, or the sixth of them that stands in tests alone."""
    return [word for i, word in enumerate(words) if (i % 6 == 5) == test]


def values_of(tool: Tool, rng: random.Random, *, test: bool) -> dict[str, Any]:
    """Arguments of a call; cities, names and things of tests are those of no lesson."""
    some = lambda words: rng.choice(parted(words, test=test))  # noqa: E731
    match tool.name:
        case "set_timer":
            return {"minutes": rng.randint(1, 99)}
        case "get_weather":
            return {"city": some(CITIES), "day": rng.choice(DAYS)}
        case "send_message":
            parts = {
                "x": some(ADJECTIVES),
                "o": some(OBJECTS),
                "c": some(COLOUR_WORDS),
                "k": rng.randint(2, 20),
            }
            said = rng.choice(MESSAGES).format(**parts, f=some(FOODS), d=rng.choice(DAYS))
            return {"to": some(NAMES), "text": said}
        case "add_item":
            return {
                "item": f"{some(COLOUR_WORDS)} {some(FOODS)}" if rng.random() < 0.5 else some(FOODS),
                "count": rng.randint(1, 20),
            }
        case "set_light":
            return {"room": rng.choice(ROOMS), "state": rng.choice(["on", "off"])}
    return {"title": f"{some(ADJECTIVES)} {some(NOUNS)}"}


def request(rng: random.Random, *, test: bool = False) -> Request:
    """A request and the call that it means.

    >>> request(random.Random(0)).answer
    '{"name":"add_item","arguments":{"item":"cookies","count":2}}'
    """
    tool = rng.choice(TOOLS)
    values = values_of(tool, rng, test=test)
    said = rng.choice(tool.templates[-2:] if test else tool.templates[:-2])
    return Request(said.format(**values), {"name": tool.name, "arguments": values})
