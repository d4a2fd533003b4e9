"""Memories and what they should make of a prompt: facts about somebody of a story, sentences that tell them,
and the story that holds them; a reader says which facts a text holds. And the same of pictures: a thing, its
colour and the style in which it is drawn.

Ten memories of one subject differ in every fact, so that each fact of a text tells which memory guided it.
Every choice comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from .grammar import (
    ADJECTIVES,
    ANIMALS,
    COLOUR_WORDS,
    HELD_OUT_FILLERS,
    HELD_OUT_PLOTS,
    PEOPLE,
    PLOTS,
    SETTINGS,
    Slots,
    article,
)
from .splits import bucket

ABOUT = "a story about "
COLOURED = ("lost", "wish", "rescue", "confession", "newcomer")  # plots that always name the colour
HELD_OUT = 20  # per cent of combinations of facts
KINDS = tuple(kind for kind in (*ANIMALS, *PEOPLE) if kind not in HELD_OUT_FILLERS)
PLACES = tuple(place for place in SETTINGS if place not in HELD_OUT_FILLERS)
SENTENCES = (
    "The {kind} is {mood} and lives {where}. The {companion} is a friend, the favourite colour is {colour}.",
    "There is {a_mood} {kind} {where} that loves everything {colour} and plays with {a_companion}.",
    "{A_companion} is the best friend of the {kind}, who is {mood}, lives {where} and likes {colour} things.",
    "My {kind} is {mood}. Home is {where}, the friend is {a_companion}, and {colour} is the colour.",
    "I know {a_mood} {kind}: it lives {where}, has {a_companion} for a friend and something {colour}.",
    "The {kind} has something {colour} and meets {a_companion} {where}; everybody calls it {mood}.",
)


@dataclass(frozen=True)
class Facts:
    """What a memory says: who it is about, and the mood, place, companion and colour that go with them."""

    kind: str
    mood: str
    place: str
    companion: str
    colour: str

    @property
    def prompt(self) -> str:
        """What asks for the subject alone."""
        return ABOUT + article(self.kind)

    @property
    def held_out(self) -> bool:
        """Whether no training has this combination."""
        return bucket("|".join(astuple(self))) < HELD_OUT

    def sentence(self, rng: random.Random) -> str:
        """One way to tell them.

        >>> Facts("fox", "shy", "river", "cat", "red").sentence(random.Random(1))
        'There is a shy fox by the river that loves everything red and plays with a cat.'
        """
        companion = article(self.companion)
        return rng.choice(SENTENCES).format(
            kind=self.kind,
            mood=self.mood,
            a_mood=article(self.mood),
            where=SETTINGS[self.place][0],
            companion=self.companion,
            a_companion=companion,
            A_companion=companion[0].upper() + companion[1:],
            colour=self.colour,
        )

    def story(self, rng: random.Random) -> str:
        """A story that holds them, of a plot that names the colour."""
        s = Slots(rng)
        s.hero = replace(s.hero, kind=self.kind, trait=self.mood)
        s.friend = replace(s.friend, kind=self.companion)
        s.place, (s.where, s.spot), s.colour = self.place, SETTINGS[self.place], self.colour
        named = [plot for plot in PLOTS if plot.__name__ in COLOURED and plot.__name__ not in HELD_OUT_PLOTS]
        lines, moral, _ = rng.choice(named)(s)
        body = [s.opening(), *lines, s.ending(moral)]
        breaks = sorted(rng.sample(range(2, len(body)), 2))
        parts = (body[: breaks[0]], body[breaks[0] : breaks[1]], body[breaks[1] :])
        return "\n".join(" ".join(part) for part in parts)

    def brief(self, rng: random.Random, draws: int = 3) -> str:
        """The shortest of some stories, each cut one sentence behind the first mention of all facts."""
        return min((self._cut(self.story(rng)) for _ in range(draws)), key=len)

    def _cut(self, story: str) -> str:
        sentences = re.split(r"(?<=[.!?])(?=[ \n])", story)
        told = ("".join(sentences[:count]) for count in range(1, len(sentences) + 1))
        enough = next(count for count, text in enumerate(told, 1) if matches(text, self) == 4)
        return "".join(sentences[: enough + 1])

    def mentions(self, text: str) -> list[tuple[int, int]]:
        """Where a text names them, as spans of characters."""
        words = (self.mood, SETTINGS[self.place][0], self.companion, self.colour)
        return [found.span() for word in words for found in re.finditer(rf"\b{re.escape(word)}\b", text)]


def rivals(rng: random.Random, count: int = 10, kind: str | None = None) -> list[Facts]:
    """Facts about one subject, different in everything else.

    >>> ten = rivals(random.Random(0))
    >>> len({one.kind for one in ten}), len({one.colour for one in ten})
    (1, 10)
    """
    kind = rng.choice(KINDS) if kind is None else kind
    others = [one for one in KINDS if one != kind]
    choices = (ADJECTIVES, PLACES, others, COLOUR_WORDS)
    columns = [rng.sample(list(one), count) for one in choices]
    return [Facts(kind, *row) for row in zip(*columns, strict=True)]


def matches(text: str, facts: Facts) -> int:
    """How many of the four facts beside the subject a text holds, by its words alone.

    >>> matches("A shy fox lived by the river.", Facts("fox", "shy", "river", "cat", "red"))
    2
    """
    words = set(re.findall(r"[a-z-]+", text.lower()))
    return sum(
        (
            f"{facts.mood} {facts.kind}" in text.lower(),
            SETTINGS[facts.place][0] in text.lower(),
            facts.companion in words,
            facts.colour in words,
        )
    )


def which(text: str, candidates: Sequence[Facts]) -> int | None:
    """The candidate of most matches; None where several have as many, so that nobody gains by chance."""
    counts = [matches(text, one) for one in candidates]
    best = max(counts)
    return counts.index(best) if counts.count(best) == 1 else None


@dataclass(frozen=True)
class PictureFacts:
    """What a memory says about a picture: which thing is seen, in which colour and style."""

    thing: str
    colour: str
    style: str

    @property
    def held_out(self) -> bool:
        """Whether no training has this combination."""
        return bucket("|".join(astuple(self))) < HELD_OUT

    def sentence(self, rng: random.Random) -> str:
        """One way to tell them.

        >>> PictureFacts("fox", "blue", "flat").sentence(random.Random(1))
        'I like pictures in the style flat best, with a blue fox on them.'
        """
        return rng.choice(PICTURE_SENTENCES).format(
            thing=self.thing, a_thing=article(self.thing), colour=self.colour, style=self.style,
            a_colour=article(self.colour),
        )  # fmt: skip


PICTURE_PROMPTS = (
    "my favourite",
    "what I like best",
    "my favourite picture",
    "a picture that I like",
    "the one I told you about",
    "something for me",
)
PICTURE_SENTENCES = (
    "My favourite picture is {a_thing}, all {colour}, drawn in the {style} style.",
    "I like pictures in the style {style} best, with {a_colour} {thing} on them.",
    "What I like best is a picture of {a_colour} {thing}; it should look like {style}.",
    "The picture I like shows {a_thing} in {colour}, and it is in {style} style.",
    "A picture that I like has {a_colour} {thing} in it, in the {style} style.",
)
NOTES = (  # what else somebody remembers
    "The dentist is on Monday at ten.",
    "My sister lives in Lisbon.",
    "The password of the router is on the fridge.",
    "I am allergic to peanuts.",
    "The car is due for a service in May.",
    "Our meeting moved to room four.",
    "I take my coffee black.",
    "The number of the plumber is in the drawer.",
    "Grandmother's birthday is on the third of June.",
    "The train to work leaves at ten past seven.",
)


def picture_rivals(
    rng: random.Random, things: Sequence[str], colours: Sequence[str], styles: Sequence[str], count: int = 10
) -> list[PictureFacts]:
    """Facts that differ in thing and colour, the styles in turn."""
    turns = [styles[i % len(styles)] for i in range(count)]
    rng.shuffle(turns)
    columns = (rng.sample([*things], count), rng.sample([*colours], count), turns)
    return [PictureFacts(*row) for row in zip(*columns, strict=True)]
