"""A grammar of what people note down about themselves, with questions that the notes answer.

A question seldom has a word of its note: it names the kind of thing that is meant. Things and their kinds are
WordNet's. The notes that memory is measured with were written by hand and are not from here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from .wordnet import Synset, below

KINDS = {  # of things: WordNet's meaning, and what a question may call it
    "food": ("n07572999", ("dish", "meal", "food")),
    "fruit": ("n13155706", ("fruit", "food", "thing to eat")),
    "vegetable": ("n07723196", ("vegetable", "food", "greens")),
    "drink": ("n07897775", ("drink", "beverage")),
    "nut": ("n13157333", ("food", "kind of nut", "snack")),
    "animal": ("n00015568", ("animal", "creature", "beast")),
    "pet": ("n01320032", ("pet", "animal")),
    "bird": ("n01505702", ("bird", "feathered animal")),
    "instrument": ("n03806455", ("instrument", "musical instrument")),
    "garment": ("n03423924", ("garment", "piece of clothing", "item of clothing")),
    "furniture": ("n03410635", ("piece of furniture", "furniture")),
    "job": ("n09655706", ("job", "profession", "occupation", "line of work")),
    "disease": ("n14093842", ("illness", "disease", "ailment")),
    "sport": ("n00524569", ("sport", "physical activity")),
    "game": ("n00456623", ("game", "pastime")),
    "city": ("n08542298", ("city", "town", "place")),
    "tool": ("n04459089", ("tool", "implement")),
    "vehicle": ("n04531608", ("vehicle", "means of transport")),
    "room": ("n04112987", ("room", "part of the house")),
    "tree": ("n13124818", ("tree", "plant")),
    "flower": ("n11690372", ("flower", "plant", "blossom")),
    "colour": ("n04963771", ("colour", "shade")),
    "medicine": ("n03745652", ("medicine", "drug", "remedy")),
    "science": ("n06008975", ("subject", "field", "science")),
    "language": ("n06293304", ("language", "tongue")),
    "cake": ("n07644479", ("dessert", "pastry", "sweet thing")),
    "cheese": ("n07866305", ("cheese", "dairy product", "food")),
    "appliance": ("n03533443", ("appliance", "household machine", "device")),
}
RELATIVES = (
    ("sister", "sibling"), ("brother", "sibling"), ("mother", "mum"), ("father", "dad"), ("wife", "spouse"),
    ("husband", "spouse"), ("daughter", "girl"), ("son", "boy"), ("uncle", "mother's brother"),
    ("aunt", "father's sister"), ("cousin", "relative"), ("grandmother", "granny"), ("grandfather", "grandpa"),
    ("niece", "brother's daughter"), ("nephew", "sister's son"), ("boss", "manager"), ("colleague", "co-worker"),
    ("neighbour", "person next door"), ("flatmate", "person I live with"), ("best friend", "closest pal"),
    ("teacher", "person who instructs me"), ("doctor", "physician"), ("girlfriend", "partner"),
    ("boyfriend", "partner"), ("landlord", "owner of the flat"),
)  # fmt: skip
NAMES = """Alice Adam Barbara Bob Caroline Charlie Diana David Eleanor Edward Fatima Fred Gabriel Grace Henry
Helen Isaac Isabel Jack Jane Katherine Kevin Laura Louis Margaret Michael Natalie Nathan Olivia Otto Patricia
Patrick Quentin Rachel Robert Sarah Stephen Teresa Thomas Uma Vincent Valerie William Wendy Xavier Yvonne
Zachary Zoe Amir Priya Chen Mei Hiroshi Yuki Carlos Lucia Ahmed Leila Sergei Irina Kofi Ama""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = """two three four five six seven eight nine ten eleven twelve fifteen twenty twenty-five thirty
forty fifty sixty""".split()
PLACES = """under the doormat|in the top drawer|behind the mirror|on the highest shelf|in the glove compartment|
inside the old teapot|beneath the stairs|in the garage|next to the boiler|at the back of the wardrobe|
in the green box|under my bed|in the bottom of my rucksack|on the windowsill|behind the books""".replace(
    "\n", ""
)
FACTS = """
My {r}'s name is {name}.|{name} is my {r}.|My {r} is called {name}. > Who is my {r2}?|Which person is meant by my {r2}?
I live in {city}.|My flat is in {city}.|I moved to {city}. > In which town is my home?|Where do I reside?|What is my address?|Where am I at home?
My {r} comes from {city}.|My {r} was born in {city}.|My {r} grew up in {city}. > What is the birthplace of my {r2}?|In which place was my {r2} a child?
We have a {pet}.|We bought a {pet}.|Our {pet} sleeps in the {room}. > Which {pet_kind} do we keep?|What kind of creature lives with us?
My {pet} is called {name}.|The name of our {pet} is {name}. > Who is our four-legged companion?
I have {disease}.|The doctor says that I have {disease}.|I suffer from {disease}. > What is my diagnosis?|Which {disease_kind} was found in me?|What is wrong with my health?
My {r} has {disease}.|My {r} was in hospital with {disease}. > Why is my {r2} unwell?|Which {disease_kind} troubles my {r2}?|Who was treated on a ward?
I take {medicine} every morning.|I get {medicine} twice a day. > Which {medicine_kind} was prescribed for me?|What do I swallow against my complaint?
My birthday is on the {number} of {month}.|I was born on the {number} of {month}. > When do I get a year older?|On what date should you congratulate me?
The {tool} is {place}.|I keep the {tool} {place}. > Where can I find the {tool_kind}?|With what can I repair something, and where is it?
I go to work by {vehicle}.|I take the {vehicle} to the office. > How do I commute?|By which {vehicle_kind} do I travel in the morning?
My {r} likes {sport}.|My {r} won a medal in {sport}. > Which {sport_kind} does my {r2} do?|Who in my family is an athlete?
We play {game} on {day}s.|{name} taught me {game}. > What do we do for fun in the evening?|Which {game_kind} do I know?
The {appliance} was delivered on {day}.|I ordered a new {appliance}. > What did I buy for the household?|Which device arrived?
The {furniture} in the {room} wobbles.|We need a new {furniture} for the {room}. > Which {furniture_kind} is in bad shape?|What is missing at home?
The doctor will see me on {day}.|My check-up is on the {number} of {month}. > When do I visit the surgery?|When is my medical examination?
We spend our holidays in {city}.|In {month} we travel to {city}.|We booked a hotel in {city}. > Where do we go on vacation?|What is the destination of our trip?|Where will we relax?
I drink {drink} in the evening.|I always order {drink}. > Which {drink_kind} may I be offered?|With what do I quench my thirst?
I go to bed at {number}.|I fall asleep around {number}. > When is it too late to call me?|When does my night begin?
I have {number} children.|We have a son and a daughter.|I am the mother of {number} girls. > How large is my family?|Am I a parent?|Who are my offspring?
{name} is getting divorced.|{name} and {name2} split up. > Whose marriage is over?|Who separated?
{name} and {name2} are a couple.|{name} is in love with {name2}. > Who is dating?|Which romance is new?
{name} died in {month}.|We buried {name} last {month}. > Who passed away?|Whose funeral was it?|Who is no longer alive?
{name} is rich.|{name} won the lottery. > Who has plenty of money?|Who is wealthy?
{name} is always late.|{name} never comes on time. > Who is unpunctual?|For whom do we have to wait?
The {vehicle} needs new brakes.|The {vehicle} does not start. > What must the mechanic repair?|What is wrong with my transport?
Buy {vegetable}, {fruit} and {cheese}.|We are out of {fruit}. > What is on the shopping list?|What do we need from the supermarket?
The shop opens at {number}.|The shop is closed on {day}s. > When can I buy something?|When is nobody at the counter?
The rubbish is collected on {day}.|Put the bins out on {day}. > When is the waste taken away?|When do we get rid of our trash?
I passed the exam in {science}.|I won a prize for my {cake}. > What did I achieve?|Of what can I be proud?
I watched a film about {animal}s.|The documentary showed {bird}s. > What was on television?|What did I see at the cinema?
I saw a {bird} in the garden.|A {bird} nests under our roof. > Which {bird_kind} did I observe?|What wildlife is at our house?
I do not believe in ghosts.|I go to church on {day}s.|I pray every morning. > Am I religious?|What is my faith?
It rained all {day}.|The storm tore off the roof.|Snow fell in {month}. > What was the weather like?|What happened to us because of the climate?
The {instrument} needs tuning.|The {instrument} has a crack. > What is wrong with my music?|What must be brought to an expert?
The roof of our house is made of {tree}.|The walls of the {room} are {colour}. > What does the building look like?|Of what material is my home?
I build a {furniture} out of {tree}.|I made the {furniture} myself. > What do I craft by hand?|Which woodwork did I do?
{name} wants to become a {job}.|{name} dreams of being a {job}. > Who has plans for a career?|What are the ambitions of my friend?
My {r} is angry with me.|My {r} does not talk to me.|I had a quarrel with my {r}. > Who is cross?|With whom must I make peace?|Which conflict do I have?
{name} makes me laugh.|{name} tells good jokes. > Who is funny?|Who has a sense of humour?
{name} helped me when I was ill.|{name} looked after me. > To whom am I grateful?|Who cared for me?
The {animal} ate our {vegetable}.|A {animal} dug up the {flower}s. > Which pest damaged the plants?|What destroyed the harvest?
I cut the {tree} down.|We felled the old {tree}. > What is no longer in front of the house?|What did I do with the axe?
The {vehicle} was too slow.|We ran out of petrol. > Why did we arrive late?|What went wrong on the road?
I have never been to {city}.|I would like to see {city} one day. > Which destination is on my list?|What journey do I dream of?
{name} looks like a {animal}.|{name} has red hair and a big nose. > How can I recognise somebody?|What is the appearance of my friend?
The {room} is too cold.|There is a draught in the {room}. > Where does one freeze?|What must be heated better?
I ate too much {cake}.|I feel sick from the {cake}. > Why do I have a stomach ache?|What was too sweet for me?
The {game} lasted {number} hours.|We finished the {game} at midnight. > For what time did we amuse ourselves?|What took so much time?
{name} beat me at {game}.|{name} won the {game}. > Who was better than I?|Against whom did I lose?
{name} taught me {sport}.|{name} is my coach in {sport}. > Who is my trainer?|From whom did I learn to move like that?
I train my {pet} every {day}.|I walk the {pet} at {number}. > When does the animal get out?|What do I do for my pet?
The {pet} ran away.|Our {pet} has been missing since {day}. > What are we looking for?|Which animal escaped?
The {pet} eats {vegetable}.|Our {pet} gets {number} meals a day. > How must the animal be fed?|What does my pet like?
I need {number} screws and a {tool}.|Bring a {tool} tomorrow. > What is required for the repair?|What should be in the toolbox?
{name} is a good {job}.|I can recommend {name} as a {job}. > Which expert do I know?|Whom should I hire?
I subscribe to a magazine about {sport}.|I follow the news about {science}. > What topics interest me?|What do I want to be informed about?
My {r} is strict.|My {r} never lets me go out. > Who forbids things?|Who has rules for me?
The party begins at {number} on {day}.|{name} gives a party on {day}. > When do we celebrate?|Which invitation did I get?
I was in {city} in {month}.|I visited {name} in {city}. > Where did I travel?|Which trip is behind me?
I cannot remember names.|I forget every number. > What is my memory bad at?|What can I not keep in my head?
I want to learn {language}.|I signed up for a class in {language}. > What am I going to study?|Which lessons will I take?
"""
BODY = "arm leg foot hand knee back shoulder finger toe wrist ankle nose rib elbow neck hip".split()
COMMON = re.compile(r"[a-z]{3,12}( [a-z]{3,10})?")


def things(known: Sequence[Synset], vocabulary: Mapping[str, int], rarest: int) -> dict[str, list[str]]:
    """Words for every slot: things of each kind whose words are among the `rarest` commonest ones."""
    by_id = {one.id: one for one in known}
    common = lambda word: all(vocabulary.get(part.lower(), rarest) < rarest for part in word.split())  # noqa: E731
    found = {
        kind: [
            word for word in below(by_id, top) if common(word) and (kind == "city" or COMMON.fullmatch(word))
        ]
        for kind, (top, _) in KINDS.items()
    }
    found["language"] = [
        word for word in below(by_id, KINDS["language"][0]) if word[0].isupper() and common(word)
    ]
    own = {"name": NAMES, "name2": NAMES, "day": DAYS, "month": MONTHS, "number": NUMBERS, "body": BODY}
    return found | own | {"place": PLACES.split("|")}


def facts() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Ways to note something, and questions about it."""
    rows = [line.split(" > ") for line in FACTS.strip().splitlines()]
    return [(tuple(notes.split("|")), tuple(questions.split("|"))) for notes, questions in rows]


def filled(template: str, words: Mapping[str, str]) -> str:
    said = re.sub(r"\{(\w+)\}", lambda slot: words[slot[1]], template)
    said = re.sub(r"\b(a) (?=[aeiou])", r"\1n ", said)
    return said[0].upper() + said[1:]


def note_pairs(slots: Mapping[str, Sequence[str]], count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Questions and the notes that answer them, all different."""
    rng, all_facts, seen = random.Random(f"notes-{seed}"), facts(), set[tuple[str, str]]()
    while len(seen) < count:
        notes, questions = rng.choice(all_facts)
        relative, other = rng.choice(RELATIVES)
        words = {slot: rng.choice(list(several)) for slot, several in slots.items()}
        words |= {"r": relative, "r2": other, "code": str(rng.randrange(1000, 99999))}
        words |= {f"{kind}_kind": rng.choice(names) for kind, (_, names) in KINDS.items()}
        pair = (filled(rng.choice(questions), words), filled(rng.choice(notes), words))
        if pair not in seen:
            seen.add(pair)
            yield pair
