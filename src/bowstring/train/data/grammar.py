"""A grammar of small stories: who wants what, what is in the way, who helps, how it ends.

Each story keeps its details (names, kinds, colours, places, pronouns) from the first line to the last, so
that a reader, or a test, can check them. Every choice comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from .splits import least

ANIMALS = (
    "fox bear rabbit mouse owl hedgehog squirrel badger wolf otter frog turtle duck hen goat lamb pony cat dog "
    "kitten puppy crow robin sparrow swan beaver deer mole bat elephant lion tiger monkey giraffe zebra penguin seal "
    "whale dolphin crab octopus snail bee ant butterfly ladybird spider dragon donkey pig cow parrot camel hippo"
).split()
PEOPLE = (
    "girl boy king queen prince princess baker farmer sailor fisherman shepherd miller tailor gardener knight wizard "
    "witch giant robot painter clockmaker pirate doctor teacher postman cook shoemaker woodcutter"
).split()
SHE = "Lily Mia Rosa Nell Ada Tess Ruby Ivy Clara Wren Luna Daisy Hazel Pearl Olive Juno Maya Greta Anna Kiki".split()
HE = "Finn Tom Otto Max Leo Sam Hugo Bruno Ned Oscar Felix Jasper Milo Pip Toby Gus Rufus Kofi Ravi Emil".split()
ADJECTIVES = "little brave shy clever kind curious lazy proud gentle stubborn cheerful quiet hungry young old careful".split()
COLOUR_WORDS = "red blue green yellow golden silver white black purple orange brown pink".split()
OBJECTS = (
    "kite ball boat hat scarf lantern bell drum basket book key ring cup coat umbrella wheel feather shell stone map "
    "flute button mirror blanket clock box spoon whistle star crown mitten rope bucket candle ladder marble wagon"
).split()
FOODS = "apples berries nuts cakes pears plums carrots cookies mushrooms cherries pancakes honey-buns pies oranges".split()
SETTINGS = {
    "forest": ("in the forest", "under the tall trees"),
    "meadow": ("in the meadow", "in the long grass"),
    "village": ("in the village", "behind the old well"),
    "river": ("by the river", "among the reeds"),
    "mountain": ("on the mountain", "between two rocks"),
    "sea": ("by the sea", "in the warm sand"),
    "garden": ("in the garden", "behind the roses"),
    "castle": ("in the castle", "at the foot of the stairs"),
    "farm": ("on the farm", "beside the hay"),
    "lake": ("by the lake", "near the water lilies"),
    "hill": ("on the hill", "beneath the oak"),
    "town": ("in the town", "next to the market stalls"),
    "island": ("on the island", "below the palm trees"),
    "valley": ("in the valley", "beside the mill"),
}
FEARS = {
    "the dark": ("lit a small lamp", "the dark is only the day asleep"),
    "thunder": ("counted slowly after each flash", "thunder is only a noise that is passing by"),
    "deep water": ("stepped in up to the knees", "water holds up those who are calm"),
    "high places": ("climbed one step and then one more", "you need not look down to go up"),
    "strangers": ("said good morning first", "a stranger is a friend who has not spoken yet"),
    "being alone": ("sang a song aloud", "someone who is loved is never quite alone"),
    "loud noises": ("hummed along with the noise", "a noise cannot bite"),
    "the cold": ("ran in circles until it felt warm", "a warm heart makes a warm coat"),
}
TRAPS = ("in a thorn bush", "in a deep hole", "under a fallen branch", "in an old net", "on a broken bridge", "in the mud")
CONTESTS = {
    "race": ("ran", "who could run the fastest"),
    "singing contest": ("sang", "who could sing the sweetest song"),
    "swimming race": ("swam", "who could swim across first"),
    "baking contest": ("baked", "who could bake the best cake"),
    "climbing contest": ("climbed", "who could climb the highest"),
    "dancing contest": ("danced", "who could dance the longest"),
}
BUILDS = {
    "a bridge": ("logs and rope", "so that nobody had to get wet"),
    "a treehouse": ("planks and nails", "so that friends could meet above the rain"),
    "a raft": ("barrels and string", "so that everyone could cross the water"),
    "a swing": ("rope and a board", "so that the small ones could fly"),
    "a bell tower": ("bricks and clay", "so that all would know when supper was ready"),
    "a windmill": ("cloth and sticks", "so that the wind would grind the corn"),
    "a warm nest": ("moss and wool", "so that winter could not get in"),
    "a garden": ("seeds and patience", "so that there would be flowers for all"),
}
QUESTS = ("where the sun sleeps", "the end of the rainbow", "why the moon is white", "where the wind begins", "who paints the leaves", "what the stars are made of")
WEATHER = ("sunny", "windy", "rainy", "cold", "warm", "misty", "bright", "snowy")
DAY_TIMES = ("morning", "afternoon", "evening", "spring day", "summer day", "autumn day", "winter morning")


def article(noun: str) -> str:
    """The noun with a or an."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


@dataclass(frozen=True)
class Being:
    """Someone in a story and the words that point to them."""

    name: str
    kind: str
    trait: str
    she: bool

    @property
    def subject(self) -> str:
        return "she" if self.she else "he"

    @property
    def object(self) -> str:
        return "her" if self.she else "him"

    @property
    def own(self) -> str:
        return "her" if self.she else "his"


@dataclass(frozen=True)
class Story:
    """A finished story: prompts that ask for it, the text, the words that the prompts promise, and the name
    of the plot it follows.
    """

    prompts: tuple[str, ...]
    text: str
    words: tuple[str, ...]
    plot: str

    @property
    def novelty(self) -> str:
        """What of it no story of training has: its template, a filler, both, or only the combination."""
        new = {
            "template": self.plot in HELD_OUT_PLOTS,
            "filler": bool(HELD_OUT_FILLERS & set(re.findall(r"[\w-]+", self.text))),
        }
        return "both" if all(new.values()) else next((name for name, is_new in new.items() if is_new), "combination")


def being(rng: random.Random, others: tuple[Being, ...] = ()) -> Being:
    she = rng.random() < 0.5
    taken_kinds, taken_names = {o.kind for o in others}, {o.name for o in others}
    kinds = [k for k in (ANIMALS if rng.random() < 0.72 else PEOPLE) if k not in taken_kinds]
    male, female = {"boy", "king", "prince", "fisherman", "wizard", "postman"}, {"girl", "queen", "princess", "witch", "hen", "cow"}
    kind = rng.choice(kinds)
    she = (she or kind in female) and kind not in male
    name = rng.choice([n for n in (SHE if she else HE) if n not in taken_names])
    return Being(name, kind, rng.choice(ADJECTIVES), she)


class Slots:
    """Fills the slots of one story; `pick` chooses a way of saying a thing."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.hero = being(rng)
        self.friend = being(rng, (self.hero,))
        self.place = rng.choice(list(SETTINGS))
        self.where, self.spot = SETTINGS[self.place]
        self.colour = rng.choice(COLOUR_WORDS)
        self.thing = rng.choice(OBJECTS)
        self.food = rng.choice(FOODS)

    def pick(self, *ways: str) -> str:
        return self.rng.choice(ways)

    def opening(self) -> str:
        h = self.hero
        who = f"{article(h.trait)} {h.kind}"
        return self.pick(
            f"Once upon a time there was {who} named {h.name}. {h.name} lived {self.where}.",
            f"Once there was {who} who lived {self.where}. {h.own.capitalize()} name was {h.name}.",
            f"{h.name} was {who}. {h.subject.capitalize()} lived {self.where}.",
            f"Far away, {self.where}, lived {who} called {h.name}.",
            f"There once lived {who} {self.where}, and everyone called {h.object} {h.name}.",
        )

    def day(self) -> str:
        weather, time = self.rng.choice(WEATHER), self.rng.choice(DAY_TIMES)
        return self.pick(f"One {weather} {time}", f"One {time}", f"On a {weather} {time}")

    def meets(self) -> str:
        h, f = self.hero, self.friend
        kind = f"{f.name} the {f.kind}"
        return self.pick(
            f"Just then {kind} came along.",
            f"Soon {h.subject} met {kind}.",
            f"On the way {h.subject} met {article(f.trait)} {f.kind} named {f.name}.",
            f"Then {kind} walked by and stopped.",
        )

    def asks(self) -> str:
        h, f = self.hero, self.friend
        return self.pick(
            f'"What is the matter, {h.name}?" asked {f.name}.',
            f'"Why do you look so sad?" asked {f.name}.',
            f'"Can I help you?" asked {f.name}.',
            f'"What are you doing, {h.name}?" said {f.name}.',
        )

    def ending(self, moral: str) -> str:
        h, f = self.hero, self.friend
        return self.pick(
            f"From that day on, {h.name} and {f.name} were the best of friends.",
            f"{h.name} never forgot that {moral}.",
            f"And {h.name} learned that {moral}.",
            f"That night {h.name} slept well, for now {h.subject} knew that {moral}.",
            f"{h.name} smiled and went home happy.",
        )


def lost(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f, thing = s.hero, s.friend, f"{s.colour} {s.thing}"
    lines = [
        s.pick(f"{h.name} had {article(thing)} that {h.subject} loved very much.", f"More than anything, {h.name} loved {h.own} {thing}."),
        f"{s.day()}, the {s.thing} was gone.",
        s.pick(f"{h.name} looked under the bed and behind the door, but it was not there.", f"{h.subject.capitalize()} looked high and low, but could not find it."),
        s.pick(f"{h.name} sat down and cried.", f"{h.name} felt very sad."),
        s.meets(),
        s.asks(),
        s.pick(f'"I have lost my {thing}," said {h.name}.', f'"My {thing} is gone!" cried {h.name}.'),
        s.pick(f'"Let us look for it together," said {f.name}.', f'"Do not worry," said {f.name}. "Four eyes see more than two."'),
        s.pick(f"They searched and searched, and at last {f.name} saw something {s.colour} {s.spot}.", f"They walked slowly and looked everywhere. There, {s.spot}, {f.name} saw something {s.colour}."),
        s.pick(f"It was the {s.thing}!", f'"There is your {s.thing}!" said {f.name}.'),
        s.pick(f'"Thank you, {f.name}," said {h.name}, and hugged {f.object}.', f"{h.name} jumped for joy and thanked {f.name}."),
    ]
    return lines, "a friend makes every search shorter", [f"who lost {article(thing)}", f"and {article(f.kind)} and a lost {s.thing}"]


def wish(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f, thing = s.hero, s.friend, f"{s.colour} {s.thing}"
    work = s.pick("carry water", "sweep the yard", "pick apples", "mend the fence", "feed the hens", "stack the wood")
    lines = [
        s.pick(f"{h.name} wanted {article(thing)} more than anything.", f"Every night {h.name} dreamed of {article(thing)}."),
        s.pick(f"But {h.subject} had no money to buy one.", f"But there was none to be found {s.where}."),
        f"{s.day()}, {h.subject} went to {f.name} the {f.kind}, who had just such a {s.thing}.",
        s.pick(f'"May I have your {s.thing}?" asked {h.name}.', f'"Please, {f.name}, will you give me the {thing}?" asked {h.name}.'),
        s.pick(f'"You may have it if you help me to {work}," said {f.name}.', f'"Help me to {work}, and it is yours," said {f.name}.'),
        s.pick(f"So {h.name} worked all day long.", f"{h.name} worked until the sun went down."),
        s.pick(f"{h.own.capitalize()} arms were tired, but {h.subject} did not stop.", f"It was hard, but {h.subject} did not give up."),
        s.pick(f'"Well done!" said {f.name}, and gave {h.object} the {thing}.', f"When the work was done, {f.name} gave {h.object} the {thing}."),
        s.pick(f"It was the finest {s.thing} {h.subject} had ever seen.", f"{h.name} held it up in the light and laughed."),
    ]
    return lines, "what we work for is worth the most", [f"who wanted {article(thing)}", f"who worked for {article(s.thing)}"]


def fear(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f = s.hero, s.friend
    what = s.rng.choice(list(FEARS))
    deed, wisdom = FEARS[what]
    lines = [
        s.pick(f"{h.name} was afraid of {what}.", f"There was one thing that made {h.name} tremble, and that was {what}."),
        s.pick(f"When the others went out to play, {h.subject} stayed at home.", f"The others laughed at {h.object}, and that made it worse."),
        f"{s.day()}, {f.name} the {f.kind} came to visit.",
        s.pick(f'"I am afraid of {what}," said {h.name} in a small voice.', f'"Do not laugh," said {h.name}. "I am afraid of {what}."'),
        s.pick(f'{f.name} did not laugh. "I was afraid too, once," said {f.subject}.', f'"Everyone is afraid of something," said {f.name} kindly.'),
        f'"Remember this: {wisdom}."',
        s.pick(f"So {h.name} took a deep breath and {deed}.", f"The next day {h.name} was very brave and {deed}."),
        s.pick(f"{h.own.capitalize()} heart beat fast, but nothing bad happened.", f"At first {h.subject} shook all over, and then, little by little, {h.subject} felt better."),
        s.pick(f'"I did it!" cried {h.name}.', f'"Look at me!" said {h.name}. "I am not afraid any more!"'),
    ]
    return lines, wisdom, [f"who was afraid of {what}", "about being brave"]


def sharing(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f = s.hero, s.friend
    lines = [
        s.pick(f"{h.name} had a big basket of {s.food}.", f"One autumn {h.name} gathered more {s.food} than anyone else."),
        s.pick(f'"They are all mine," said {h.name}.', f"{h.subject.capitalize()} hid them away and told nobody."),
        f"{s.day()}, {f.name} the {f.kind} knocked at the door.",
        s.pick(f'"I am hungry," said {f.name}. "May I have some {s.food}?"', f'"Have you anything to eat?" asked {f.name}.'),
        s.pick(f'"No," said {h.name}, and shut the door.', f'{h.name} shook {h.own} head. "I have none to spare," {h.subject} said.'),
        s.pick(f"But when {h.subject} sat down to eat alone, the {s.food} did not taste good.", f"{h.name} ate and ate, but {h.subject} felt lonely."),
        s.pick(f"So {h.subject} ran out into the road and called {f.name} back.", f'"I was wrong," thought {h.name}, and went to find {f.name}.'),
        s.pick(f'"Come in and eat with me," said {h.name}.', f'"Half of them are for you," said {h.name}.'),
        s.pick("They ate together and told each other stories.", f"They ate the {s.food} and laughed until dark."),
        s.pick(f"Never had {s.food} tasted so sweet.", f"Now the {s.food} tasted better than ever."),
    ]
    return lines, "things taste better when they are shared", [f"who would not share the {s.food}", "about sharing", f"and a basket of {s.food}"]


def rescue(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f, trap = s.hero, s.friend, s.rng.choice(TRAPS)
    lines = [
        f"{s.day()}, {h.name} heard a cry for help.",
        s.pick(f"{f.name} the {f.kind} was stuck {trap}.", f"There was {f.name}, {article(f.trait)} {f.kind}, caught {trap}."),
        s.pick(f'"Please help me!" cried {f.name}.', f'"Help! I cannot get out!" called {f.name}.'),
        s.pick(f"{h.name} pulled and pulled, but {h.subject} was not strong enough.", f"{h.name} tried once and tried twice, but it was no use."),
        s.pick(f"Then {h.subject} had an idea.", f"{h.subject.capitalize()} sat down to think."),
        s.pick(f"{h.subject.capitalize()} ran home and came back with a long {s.colour} rope.", f"{h.subject.capitalize()} took {h.own} {s.colour} scarf and made a rope of it."),
        s.pick(f'"Hold on tight!" said {h.name}, and pulled with all {h.own} might.', f'"One, two, three!" called {h.name}, and pulled.'),
        s.pick(f"Out came {f.name}, dirty but safe.", f"At last {f.name} was free."),
        s.pick(f'"You saved me," said {f.name}. "I will never forget it."', f'"Thank you," said {f.name}. "One day I will help you too."'),
        s.pick(f"And {f.subject} kept that promise.", "And so it was."),
    ]
    return lines, "even the small can be of great help", [f"who saved {article(f.kind)}", f"and {article(f.kind)} caught {trap}"]


def contest(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f = s.hero, s.friend
    name = s.rng.choice(list(CONTESTS))
    verb, question = CONTESTS[name]
    lines = [
        f"{s.day()}, there was {article(name)} {s.where}.",
        s.pick(f"Everyone wanted to know {question}.", f"They all came to see {question}."),
        s.pick(f'"I shall win," said {f.name} the {f.kind}. "Nobody is better than I am."', f"{f.name} the {f.kind} was sure to win and told everyone so."),
        s.pick(f"{h.name} said nothing, but practised every day.", f'"I will do my best," said {h.name}.'),
        s.pick(f"When the day came, {f.name} began too fast and was soon tired.", f"On the day itself {f.name} stopped to wave to the crowd."),
        s.pick(f"{h.name} {verb} steadily and did not look around.", f"{h.name} {verb} as well as {h.subject} could."),
        s.pick(f"And when it was over, {h.name} had won.", f"In the end it was {h.name} who won the prize, {article(s.colour)} {s.thing}."),
        s.pick(f'{f.name} hung {f.own} head. "You are better than I thought," {f.subject} said.', f'"Well done," said {f.name}. "I talked too much and did too little."'),
        s.pick(f'"Next time we will practise together," said {h.name}.', f'{h.name} shook {f.own} hand. "Come and have some {s.food} with me," {h.subject} said.'),
    ]
    return lines, "patience goes further than pride", [f"who won {article(name)}", f"and {article(f.kind)} in {article(name)}"]


def confession(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f, thing = s.hero, s.friend, f"{s.colour} {s.thing}"
    lines = [
        s.pick(f"{f.name} the {f.kind} had a beautiful {thing}.", f"In the house of {f.name} the {f.kind} there was {article(thing)}."),
        f"{s.day()}, {h.name} played with it, and it broke.",
        s.pick(f"{h.name} was frightened and hid the pieces {s.spot}.", f"Quickly {h.subject} hid the pieces {s.spot}."),
        s.pick(f'"Have you seen my {s.thing}?" asked {f.name}.', f'When {f.name} came home, {f.subject} asked, "Where is my {s.thing}?"'),
        s.pick(f'"No," said {h.name}, and {h.own} face grew hot.', f'"Perhaps the wind took it," said {h.name}.'),
        s.pick(f"All night {h.subject} could not sleep.", f"But the lie was heavy, and {h.name} could not eat."),
        s.pick(f'In the morning {h.subject} went to {f.name}. "I broke it," said {h.name}. "I am sorry."', f'At last {h.subject} told the truth. "It was I who broke the {s.thing}," said {h.name}.'),
        s.pick(f"{f.name} was quiet for a while.", f"{f.name} looked at {h.object} for a long time."),
        s.pick(f'"A {s.thing} can be mended," said {f.name}. "It is good that you told me."', f'"Thank you for telling me," said {f.name}. "Now let us mend it."'),
        s.pick(f"Together they glued the {s.thing}, piece by piece.", f"They worked together until the {s.thing} was whole again."),
    ]
    return lines, "the truth is lighter than a lie", [f"who broke {article(thing)}", "about telling the truth"]


def newcomer(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f = s.hero, s.friend
    skill = s.pick("tell wonderful stories", "whistle like a bird", "mend anything", "make soup from almost nothing", "see in the dark", "count to a thousand")
    lines = [
        f"{s.day()}, {article(f.kind)} named {f.name} moved {s.pick('into the house next door', 'to the place across the road')}.",
        s.pick(f"Nobody {s.where} had ever seen {article(f.kind)} before.", f'"What does {article(f.kind)} want here?" people said.'),
        s.pick(f"{h.name} hid behind the fence and watched.", f"{h.name} did not know what to say."),
        s.pick(f"{f.name} sat alone on the steps with {article(s.colour)} {s.thing}.", f"All day {f.name} played alone with {article(s.colour)} {s.thing}."),
        s.pick(f'In the end {h.name} went over. "Hello," {h.subject} said.', f'"{f.subject.capitalize()} looks lonely," thought {h.name}, and went over to say hello.'),
        s.pick(f'"Hello," said {f.name}. "Would you like to play?"', f'{f.name} looked up and smiled. "I was hoping you would come," {f.subject} said.'),
        s.pick(f"It turned out that {f.name} could {skill}.", f"Soon {h.name} found out that {f.name} could {skill}."),
        s.pick("They played until the stars came out.", f"Before long everyone wanted to be friends with {f.name}."),
    ]
    return lines, "a hello costs nothing and can buy a friend", [f"and {article(f.kind)} who moved in", "about a new friend"]


def quest(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f, goal = s.hero, s.friend, s.rng.choice(QUESTS)
    lines = [
        s.pick(f"{h.name} wanted to know {goal}." if not goal.startswith("the") else f"{h.name} wanted to find {goal}.", f'"Tomorrow I will go and find {goal if goal.startswith("the") else "out " + goal}," said {h.name}.'),
        s.pick(f"{h.subject.capitalize()} packed some {s.food} and {article(s.colour)} {s.thing} and set off.", f"So {h.subject} put on {article(s.colour)} hat and walked away from home."),
        s.pick(f"{h.subject.capitalize()} walked over hills and through valleys.", f"{h.subject.capitalize()} walked for three days and three nights."),
        s.meets(),
        s.pick(f'"Where are you going?" asked {f.name}.', f'"You look tired," said {f.name}. "Where are you going?"'),
        f'"I want to {"find " + goal if goal.startswith("the") else "know " + goal}," said {h.name}.',
        s.pick(f'"I have always wondered about that," said {f.name}. "May I come with you?"', f'"That is far," said {f.name}. "Two walk better than one."'),
        s.pick(f"So they went on together, and shared the {s.food} and the stories.", "They climbed the highest hill and sat down to rest."),
        s.pick("They did not find the answer that day, but they saw the whole world below them, shining.", "They never came to the end of the road, but every step of it was beautiful."),
        s.pick(f'"I am glad we looked," said {h.name}.', f'"The best part was the way," said {h.name}, and {f.name} agreed.'),
    ]
    return lines, "the road is as good as the place it leads to", [f"who wanted to find out {goal}" if not goal.startswith("the") else f"who looked for {goal}", f"and {article(f.kind)} on a long journey"]


def building(s: Slots) -> tuple[list[str], str, list[str]]:
    h, f = s.hero, s.friend
    what = s.rng.choice(list(BUILDS))
    material, purpose = BUILDS[what]
    lines = [
        s.pick(f"{h.name} wanted to build {what}.", f'"I am going to build {what}," said {h.name} one day.'),
        s.pick(f"{h.subject.capitalize()} took {material} and began.", f"{h.subject.capitalize()} gathered {material} and set to work."),
        s.pick(f"But {s.day().lower()} the wind came and blew it all down.", "On the first day it fell down. On the second day it fell down again."),
        s.pick(f"{h.name} wanted to give up.", f'"It will never work," sighed {h.name}.'),
        s.meets(),
        s.pick(f'"Let me hold this side while you hold that one," said {f.name}.', f'"You are strong and I am careful," said {f.name}. "Let us do it together."'),
        s.pick("They worked side by side, and sang as they worked.", "They worked all week and did not hurry."),
        s.pick(f"At last it was finished: {what}, {purpose}.", f"And then it stood there: {what}, {purpose}."),
        s.pick(f"Everyone {s.where} came to look.", f"They tied {article(s.colour)} ribbon to it and cheered."),
    ]
    return lines, "many hands make light work", [f"who built {what}", f"and {article(f.kind)} who built {what}"]


PLOTS: tuple[Callable[[Slots], tuple[list[str], str, list[str]]], ...] = (
    lost, wish, fear, sharing, rescue, contest, confession, newcomer, quest, building,
)  # fmt: skip


# Kept from training: whole plots, and, apart from them, words that fill the slots of any plot.
HELD_OUT_PLOTS = least((plot.__name__ for plot in PLOTS), 2, "plot")
HELD_OUT_FILLERS = frozenset().union(
    *(
        least(words, count, name)
        for name, words, count in (
            ("animal", ANIMALS, 3), ("person", PEOPLE, 2), ("she", SHE, 1), ("he", HE, 1), ("object", OBJECTS, 2),
            ("food", FOODS, 1), ("place", SETTINGS, 1),
        )
    )
)  # fmt: skip


def story(rng: random.Random) -> Story:
    """One story with the prompts it answers.

    >>> one = story(random.Random(1))
    >>> all(word in one.text for word in one.words)
    True
    """
    s = Slots(rng)
    plot = rng.choice(PLOTS)
    lines, moral, requests = plot(s)
    body = [s.opening(), *lines, s.ending(moral)]
    breaks = sorted(rng.sample(range(2, len(body)), 2))
    paragraphs = [body[: breaks[0]], body[breaks[0] : breaks[1]], body[breaks[1] :]]
    h, f = s.hero, s.friend
    about = "a story about"
    prompts = [
        f"{about} {article(h.kind)}",
        f"{about} {article(h.kind)}",
        f"{about} {article(h.kind)} and {article(f.kind)}",
        f"{about} {article(h.trait)} {h.kind}",
        f"{about} {article(h.kind)} named {h.name}",
        f"tell me {about} {article(h.trait)} {h.kind} {s.where}",
        f"{h.name} the {h.kind}",
        *(f"{about} {article(h.kind)} {ask}" if not ask.startswith("about") else f"a story {ask} with {article(h.kind)}" for ask in requests),
    ]
    return Story(tuple(prompts), "\n".join(" ".join(p) for p in paragraphs), (h.kind, h.name), plot.__name__)
