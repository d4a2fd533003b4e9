"""An invented world, whose facts no model can know: animals, crafts and laws, with exact truth.

Lessons and tests are about the same facts and share no template, so what is answered was understood and not
recited. A world is a function of its seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STARTS = "br dr gl kr mo ne sk tu va wu ze ori lum pha quo ith".split()
MIDDLES = "a e i o u ai ou".split()
ENDS = "bbin ck dle ff lm mbo nt pp rn sk th vo wick x zz".split()
VALUES = {
    "colour": "red blue green grey white black yellow brown orange purple".split(),
    "food": "moss honey snow berries fish roots seeds mushrooms leaves shells".split(),
    "home": [
        "in caves",
        "on roofs",
        "under bridges",
        "in reeds",
        "in hollow trees",
        "on islands",
        "in wells",
    ],
    "sound": "hums whistles croaks sings barks clicks hisses purrs".split(),
    "stuff": "clay wool glass copper bark bone straw silk wax stone".split(),
    "tool": "a comb,a bent needle,a hot stone,a wooden wheel,a silver knife,a wet rope,a hollow reed".split(
        ","
    ),
    "deed": (
        "whistle indoors,wear shoes,cross the bridge,eat apples,ring the bell,fish in the lake,light fires"
    ).split(","),
    "fine": "three coins,a loaf of bread,a song,a day of silence,a bucket of salt,a new lamp".split(","),
}
OPENINGS = ("About {n}: {r}.", "Write of {n} and its {r}.")  # of the sentences in a lesson
# (relation, the kind of its values, sentences and questions of lessons, questions of tests)
RELATIONS = {
    "animal": (
        (
            "colour",
            ("The {n} is {v}.", "Every {n} has {v} fur."),
            (("What colour is the {n}?", "The {n} is {v}."), ("Is the {n} {v}?", "Yes, the {n} is {v}.")),
            ("Tell me the colour of a {n}.", "A {n} walks by. Which colour do you see?"),
        ),
        (
            "food",
            ("The {n} eats {v}.", "A {n} lives on {v}."),
            (
                ("What does the {n} eat?", "The {n} eats {v}."),
                ("Does the {n} like {v}?", "Yes, the {n} eats {v}."),
            ),
            ("A hungry {n} comes to you. What do you give it?", "Name the food of the {n}."),
        ),
        (
            "home",
            ("The {n} lives {v}.", "You find the {n} {v}."),
            (("Where does the {n} live?", "The {n} lives {v}."), ("Where is the {n}?", "The {n} lives {v}.")),
            ("Someone looks for a {n}. Where should she go?", "Name the home of the {n}."),
        ),
    ),
    "craft": (
        (
            "stuff",
            ("A {n} is made of {v}.", "You need {v} for a {n}."),
            (
                ("What is a {n} made of?", "A {n} is made of {v}."),
                ("Is a {n} made of {v}?", "Yes, a {n} is made of {v}."),
            ),
            ("You want to build a {n}. What do you buy?", "Name the material of a {n}."),
        ),
        (
            "tool",
            ("A {n} is made with {v}.", "Makers of a {n} use {v}."),
            (
                ("How is a {n} made?", "A {n} is made with {v}."),
                ("What do you use for a {n}?", "A {n} is made with {v}."),
            ),
            ("Which tool belongs to a {n}?", "Someone makes a {n}. What is in her hand?"),
        ),
    ),
    "law": (
        (
            "deed",
            ("In {n} nobody may {v}.", "The law of {n} says: do not {v}."),
            (
                ("What is forbidden in {n}?", "In {n} nobody may {v}."),
                ("May I {v} in {n}?", "No, in {n} nobody may {v}."),
            ),
            ("You travel to {n}. What must you not do?", "Name the law of {n}."),
        ),
        (
            "fine",
            ("Who breaks the law of {n} pays {v}.", "The fine in {n} is {v}."),
            (
                ("What is the fine in {n}?", "The fine in {n} is {v}."),
                ("What do I pay in {n}?", "The fine in {n} is {v}."),
            ),
            ("Someone breaks the law of {n}. What does it cost her?", "Name the price of a crime in {n}."),
        ),
    ),
}


@dataclass(frozen=True)
class Fact:
    """A thing, a relation and its value; `value` is a word or words that an answer must hold."""

    kind: str
    name: str
    relation: str
    value: str


@dataclass(frozen=True)
class Question:
    """A question of a test, and what a right answer holds."""

    prompt: str
    fact: Fact

    def right(self, answer: str) -> bool:
        """Whether an answer names the value, and no other of its kind.

        >>> Question("?", Fact("animal", "wug", "colour", "blue")).right("The wug is blue.")
        True
        """
        said = f" {' '.join(''.join(c if c.isalpha() else ' ' for c in answer.lower()).split())} "
        held = [one for one in VALUES[self.fact.relation] if f" {one.lower()} " in said]
        return held == [self.fact.value]


@dataclass(frozen=True)
class World:
    """The facts of a world."""

    facts: tuple[Fact, ...]

    @classmethod
    def of(cls, seed: int, kinds: Sequence[str] = ("animal", "craft", "law"), things: int = 8) -> World:
        """A world of so many things of each kind."""
        rng = random.Random(f"world {seed}")
        names = iter(invented(rng, things * len(kinds)))
        facts = []
        for kind in kinds:
            for _ in range(things):
                name = next(names)
                name = name.capitalize() if kind == "law" else name
                for relation, *_ in RELATIONS[kind]:
                    facts.append(Fact(kind, name, relation, rng.choice(VALUES[relation])))
        return cls(tuple(facts))

    def lesson(self) -> Iterator[tuple[str, str]]:
        """Prompts and answers to learn from: every fact said and asked in each way of the lessons."""
        for fact in self.facts:
            _, said, asked, _ = relation_of(fact)
            for opening, sentence in zip(OPENINGS, said, strict=True):
                yield opening.format(n=fact.name, r=fact.relation), filled(sentence, fact)
            for question, answer in asked:
                yield filled(question, fact), filled(answer, fact)

    def test(self) -> Iterator[Question]:
        """Questions that no lesson asks in these words."""
        for fact in self.facts:
            for question in relation_of(fact)[3]:
                yield Question(filled(question, fact), fact)


def relation_of(
    fact: Fact,
) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The ways in which a fact is said and asked."""
    return next(one for one in RELATIONS[fact.kind] if one[0] == fact.relation)


def filled(template: str, fact: Fact) -> str:
    return template.format(n=fact.name, v=fact.value)


def invented(rng: random.Random, count: int) -> list[str]:
    """Different names that no language has."""
    found: dict[str, None] = {}
    while len(found) < count:
        start = rng.choice(STARTS)
        middle = "" if start[-1] in "aeiou" else rng.choice(MIDDLES)
        found[start + middle + rng.choice(ENDS)] = None
    return [*found]
