"""Sentences to be read aloud: from the training texts, and a fixed list that nothing learns from."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from .corpora import Document

# Lists 1 to 5 of the Harvard sentences (IEEE Recommended Practice for Speech Quality Measurements, 1969).
HARVARD = tuple(
    """The birch canoe slid on the smooth planks.
Glue the sheet to the dark blue background.
It's easy to tell the depth of a well.
These days a chicken leg is a rare dish.
Rice is often served in round bowls.
The juice of lemons makes fine punch.
The box was thrown beside the parked truck.
The hogs were fed chopped corn and garbage.
Four hours of steady work faced us.
A large size in stockings is hard to sell.
The boy was there when the sun rose.
A rod is used to catch pink salmon.
The source of the huge river is the clear spring.
Kick the ball straight and follow through.
Help the woman get back to her feet.
A pot of tea helps to pass the evening.
Smoky fires lack flame and heat.
The soft cushion broke the man's fall.
The salt breeze came across from the sea.
The girl at the booth sold fifty bonds.
The small pup gnawed a hole in the sock.
The fish twisted and turned on the bent hook.
Press the pants and sew a button on the vest.
The swan dive was far short of perfect.
The beauty of the view stunned the young boy.
Two blue fish swam in the tank.
Her purse was full of useless trash.
The colt reared and threw the tall rider.
It snowed, rained, and hailed the same morning.
Read verse out loud for pleasure.
Hoist the load to your left shoulder.
Take the winding path to reach the lake.
Note closely the size of the gas tank.
Wipe the grease off his dirty face.
Mend the coat before you go out.
The wrist was badly strained and hung limp.
The stray cat gave birth to kittens.
The young girl gave no clear response.
The meal was cooked before the bell rang.
What joy there is in living.
A king ruled the state in the early days.
The ship was torn apart on the sharp reef.
Sickness kept him home the third week.
The wide road shimmered in the hot sun.
The lazy cow lay in the cool grass.
Lift the square stone over the fence.
The rope will bind the seven books at once.
Hop over the fence and plunge in.
The friendly gang left the drug store.
Mesh wire keeps chicks inside.""".splitlines()
)
PLAIN_SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,;:'\u2019-]*[.!?]")
MIN_WORDS, MAX_WORDS = 3, 20  # words


def sentences(documents: Iterable[Document], count: int, seed: int = 0) -> list[str]:
    """`count` different sentences of tales and stories, at random, none of them of the fixed list."""
    found: dict[str, None] = {}
    for document in documents:
        if document.kind != "text":
            continue
        for part in re.split(r"(?<=[.!?])\s+", document.body.replace("\n", " ")):
            sentence = part.strip().replace("\u2019", "'")
            if PLAIN_SENTENCE.fullmatch(sentence) and MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
                found.setdefault(sentence)
    everything = [sentence for sentence in found if sentence not in HARVARD]
    random.Random(seed).shuffle(everything)
    return everything[:count]
