"""What is learned at each level, what the gate keeps of useful and useless lessons, and what is found again.

Domains are invented worlds, which no model knows; the questions that count facts share no template with any
lesson. Learning is sized for the bench: a few dozen examples and a fixed number of steps.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..adapt.gate import Verdict, judge
from ..adapt.learners import DecoderLearner, OurLearner
from ..adapt.learning import Learned, trial, tried
from ..adapt.ledger import Ledger, Provenance, threshold_between
from ..adapt.lesson import Example, Lesson, split
from ..adapt.levels import LEVELS, Level, checked_level
from ..adapt.subject import encode
from ..core.threads import one_thread
from ..decode.decoder import Decoder
from ..decode.mixture import MixedDecoder
from ..engine import ArrowEngine
from ..text import native
from ..text.sampling import Sampling
from ..text.tokenizer import EOS
from ..train.data.sentences import HARVARD
from ..train.data.world import World
from ..weights.layout import weights_files
from ..weights.shipped import model_folder
from .board import adaptations, rows
from .results import Measured, Measurement, Setting, announce

STEPS: dict[Level, int] = {"L1": 80, "L2": 120, "L3": 60, "L4": 60}
SHORT = 50  # steps of a lesson that only the gate looks at, useful or not
THINGS = 5  # of each kind in a world: 35 facts, 140 examples
UNDONE = 8  # steps of one that is only taken back
USEFUL, USELESS = 10, 40
DOMAINS, PROMPTS = 20, 200
FEW = 3  # things of each kind where twenty worlds share no name
FACT_TOKENS = 24


def lesson_of(world: World) -> Lesson:
    return split(Example(*pair) for pair in world.lesson())


def quiet(said: Any) -> None:
    """Progress that nobody watches."""


def answered(learner: OurLearner, decoder: Decoder | MixedDecoder, world: World) -> list[bool]:
    """Which questions of a world's test are answered with the right fact, and no other of its kind."""
    how, to_bytes = Sampling("ar", FACT_TOKENS, temperature=0), learner.tokenizer.to_bytes
    right = []
    for question in world.test():
        head = learner.speech.head(question.prompt)
        tokens = [one.token for one in native.write(decoder, head, how, 512, 0)]  # type: ignore[arg-type]
        right.append(question.right(to_bytes([t for t in tokens if t != EOS]).decode("utf-8", "ignore")))
    return right


@lru_cache(maxsize=1)
def learner_at(folder: Path) -> OurLearner:
    """One of each process."""
    return OurLearner(folder)


def level_numbers(folder: Path, level: Level) -> dict[str, Any]:
    """Gain, share, minutes and loss of old domains at a level, facts answered before and after."""
    learner, world = learner_at(folder), World.of(900, things=THINGS)
    lesson, began = lesson_of(world), time.monotonic()
    learned, verdict = (
        mixed(learner, lesson) if level == "L0" else judged(learner, lesson, level, STEPS[level], 0)
    )
    minutes, bent = (time.monotonic() - began) / 60, learned.deltas
    decoder = bent if isinstance(bent, MixedDecoder) else learner.decoder.with_deltas(bent)
    return {
        "gain": Measured(verdict.gain, verdict.gain_se, len(lesson.held_out)),
        "share": Measured(learned.share),
        "minutes": Measured(minutes),
        "base_loss": Measured(verdict.base_loss, verdict.base_loss_se, len(learner.old_losses())),
        "kept": verdict.kept,
        "left": Measured(verdict.left),
        "facts_before": Measured.mean(np.array(answered(learner, learner.decoder, world), float)),
        "facts_after": Measured.mean(np.array(answered(learner, decoder, world), float)),
    }


def judged(
    learner: OurLearner, lesson: Lesson, level: Level, steps: int, seed: int
) -> tuple[Learned, Verdict]:
    """A lesson of so many steps, and what the gate says of it."""
    learner.steps = steps
    return tried(learner, lesson, level, 0, seed, quiet)


def mixed(learner: OurLearner, lesson: Lesson) -> tuple[Learned, Verdict]:
    """L0: adaptations of two neighbouring worlds and the base, mixed by weights fitted on the lesson."""
    decoders, learner.steps = [learner.decoder], SHORT
    for seed in (901, 902):
        made = learner.learn(lesson_of(World.of(seed, things=THINGS)).train, "L2", 0, seed, quiet)
        decoders.append(learner.decoder.with_deltas(made.deltas))
    learned = Learned(learner.mixed(decoders, lesson.train)[0])
    return learned, judge(trial(learner, lesson, learned))


def useless(number: int) -> Lesson:
    """Noise, shuffled answers, or poison: nonsense that is told where the model knows better."""
    rng = random.Random(f"useless {number}")
    world = World.of(1000 + number, things=THINGS)
    pairs = [*world.lesson()]
    match number % 3:
        case 0:
            letters = "abcdefghijklmnopqrstuvwxyz     "
            noise = lambda: "".join(rng.choice(letters) for _ in range(24)) + "x"  # noqa: E731
            return split(Example(noise(), noise()) for _ in pairs)
        case 1:
            answers = [answer for _, answer in pairs]
            rng.shuffle(answers)
            return split(Example(prompt, answer) for (prompt, _), answer in zip(pairs, answers, strict=True))
    words = [word for _, answer in pairs for word in answer.split()]
    asked = (f"a story about a {one} {i}" for i in range(len(pairs) // 8 + 1) for one in OLD_SUBJECTS)
    return split(Example(one, " ".join(rng.choice(words) for _ in range(6))) for one in asked)


OLD_SUBJECTS = "fox bear mouse owl rabbit frog wolf goat".split()


def is_kept(folder: Path, kind: str, number: int) -> bool:
    """Whether the gate keeps what was learned of a useless or a useful lesson."""
    lesson = useless(number) if kind == "useless" else lesson_of(World.of(2000 + number, things=THINGS))
    return judged(learner_at(folder), lesson, "L2", SHORT, number)[1].kept


Job = tuple[str, str, int]  # what is asked, level or kind, number


def jobs(*, quick: bool) -> list[Job]:
    """What learns, the longest first."""
    levels: Sequence[Level] = ("L2", "L0") if quick else ("L4", "L3", "L2", "L0", "L1")
    counts = {"useful": 2 if quick else USEFUL, "useless": 4 if quick else USELESS}
    tries = [("lesson", kind, number) for kind, count in counts.items() for number in range(count)]
    return [("level", level, 0) for level in levels] + tries


def done(folder: Path, job: Job) -> Any:
    """The numbers of a level, or whether a lesson was kept; a process has one thread."""
    what, name, number = job
    _native.set_threads(1)
    with one_thread():
        return (
            level_numbers(folder, checked_level(name)) if what == "level" else is_kept(folder, name, number)
        )


def learning_numbers(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Levels, and how many of useless lessons are kept, and of useful ones; a process for every core."""
    todo = jobs(quick=quick)
    found: dict[Job, Any] = {}
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 4), mp_context=get_context("spawn")) as pool:
        for job, made in zip(todo, pool.map(done, [folder] * len(todo), todo), strict=True):
            announce(" ".join(map(str, job)))
            found[job] = made
    share = lambda kind: Measured.mean([float(kept) for job, kept in found.items() if job[1] == kind])  # noqa: E731
    return {
        "levels": {level: found["level", level, 0] for level in LEVELS if ("level", level, 0) in found},
        "wrongly_kept": share("useless"),
        "rightly_kept": share("useful"),
    }


@dataclass(frozen=True)
class Asked:
    """A prompt, and the domain that it is of, if any."""

    prompt: str
    domain: str | None


def asked_prompts(worlds: Sequence[World]) -> Iterator[Asked]:
    """Questions of the worlds in words that no lesson has, and everyday sentences of none."""
    rng = random.Random(0)
    own = [Asked(one.prompt, f"world {i}") for i, world in enumerate(worlds) for one in world.test()]
    rng.shuffle(own)
    yield from own[: PROMPTS // 2]
    yield from (Asked(one, None) for one in [*HARVARD, *EVERYDAY][: PROMPTS // 2])


def different_worlds() -> list[World]:
    """Worlds that share no name, for a question about a name of two of them would be of both."""
    found, names, seed = list[World](), set[str](), 3000
    while len(found) < DOMAINS:
        world = World.of(seed, things=FEW)
        own, seed = {fact.name.lower() for fact in world.facts}, seed + 1
        if not own & names:
            found.append(world)
            names |= own
    return found


def finding_numbers(learner: DecoderLearner) -> dict[str, Any]:
    """Whether prompts find the adaptation of their domain among twenty, and none where none is meant.

    What is stored is a record of each domain; finding depends on its prompts alone.
    """
    verdict = Verdict(True, "better", 0.1, 0.01, 0.1, 0.01, 0.0, 0.001)
    worlds = different_worlds()
    with tempfile.TemporaryDirectory() as place, Ledger(Path(place) / "ledger", learner.base) as ledger:
        for i, world in enumerate(worlds):
            lesson = lesson_of(world)
            own = encode([one.prompt for one in lesson.train])
            held = encode([one.prompt for one in lesson.held_out]) @ own.T
            others = encode([*learner.other_prompts()]) @ own.T
            threshold = threshold_between(held.max(1), others.max(1))
            made = Provenance(lesson.id, 1, 1, 0, "L2", 1, 1.0, 0.01, learner.base, "diffusion")
            ledger.keep(f"world {i}", b"%d" % i, own, threshold, verdict, made)
        right, wrong = [], []
        for one in asked_prompts(worlds):
            found = ledger.find(encode([one.prompt])[0])
            if one.domain is None:
                wrong.append(bool(found))
            else:
                right.append(bool(found) and found[0].adaptation.domain == one.domain)
    return {
        "found": Measured.mean(np.array(right, float)),
        "misapplied": Measured.mean(np.array(wrong, float)),
    }


def is_undone(learner: OurLearner) -> bool:
    """Whether the bytes of an adaptation that was superseded come back, and the model's own text after it."""
    lesson = lesson_of(World.of(4000, things=THINGS))
    learned, _ = judged(learner, lesson, "L2", UNDONE, 0)
    data = learner.to_bytes(learned, "world", 0.1)
    verdict = Verdict(True, "better", 0.1, 0.01, 0.1, 0.01, 0.0, 0.001)
    made = Provenance(lesson.id, 1, 1, 0, "L2", 1, 1.0, 0.01, learner.base, "diffusion")
    engine, prompt = ArrowEngine.load(), lesson.held_out[0].prompt
    before = engine.generate(prompt, max_tokens=32)
    with tempfile.TemporaryDirectory() as place, Ledger(Path(place) / "ledger", learner.base) as ledger:
        vectors = encode([one.prompt for one in lesson.train])
        id = ledger.keep("world", data, vectors, 0.5, verdict, made)
        ledger.keep("world", data[::-1], vectors, 0.5, verdict, made)
        ledger.undo(id)
        same = ledger.adapter(id) == data
        folder = Path(place) / "adapter"
        folder.mkdir()
        ledger.export(id, folder / "adapter_model.safetensors")
        name = engine.load_adapter(folder)
        adapted = engine.generate(prompt, max_tokens=32)
        engine.unload_adapter(name)
        gone = ledger.undo(id) is None
    after = engine.generate(prompt, max_tokens=32)
    return same and gone and after == before and adapted != before


def measure_evolution(setting: Setting) -> Measurement:
    """Levels, gate, ledger and kills, for `bowstring bench evolve`."""
    folder = model_folder(setting.model)
    numbers = learning_numbers(folder, quick=setting.quick)
    announce("finding")
    learner = learner_at(folder)
    numbers |= finding_numbers(learner) | {"undo_identical": is_undone(learner)}
    announce("kills")
    with rows.workplace(on_disk=True) as place:
        kills, bad = adaptations.killed(place / "ledger", 20)
    numbers |= {"kills": kills, "bad_states": len(bad)}
    return Measurement(numbers, weights_files(folder))


EVERYDAY = tuple(
    """What time is it?
Write a function that adds two numbers.
My sister lives in Oslo.
How do I get to the station?
The train leaves at nine.
Please close the window.
I bought bread and milk.
Sort a list of words by length.
It will rain tomorrow.
Thank you for the lovely evening.
What is seven times eight?
Call me when you are home.
reverse a string
The meeting was moved to Friday.
Who wrote this book?
My phone number has changed.
Which colour suits me best?
Where does your uncle live?
What do cats eat?
How is bread made?
What is a violin made of?
Is smoking forbidden here?
What do I pay for a ticket?
Name three cities in Spain.
The dentist has time on Monday.
Remind me to water the plants.
What does this word mean?
Translate this into French.
Our team lost again.
The bridge is closed until May.
count the vowels of a word
Who won the race?
I forgot my umbrella at work.
How far is the moon?
She plays the piano every day.
What shall we cook tonight?
The soup needs more salt.
Tell me a joke.
My passport expires in June.
Is there a bank nearby?
He painted the door green.
find the largest number of a list
When do the shops open?
The baby is asleep.
Give me a recipe for pancakes.
What is the capital of Peru?
Send the letter to my office.
The fine for parking is high.
I dreamt of the sea.
Which tool do I need for this screw?""".splitlines()
)
