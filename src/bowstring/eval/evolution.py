"""What is learned at each level, what the gate keeps of useful and useless lessons, and what is found again.

Domains are invented worlds, which no model knows; the questions that count facts share no template with any
lesson. Learning is sized for the bench: a few dozen examples and a fixed number of steps.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..adapt.gate import Verdict, judge
from ..adapt.learners import DecoderLearner, OurLearner
from ..adapt.learning import Learned, trial, tried
from ..adapt.ledger import Ledger, Provenance, threshold_between
from ..adapt.lesson import Example, Lesson, split
from ..adapt.levels import LEVELS, Level
from ..decode.decoder import Decoder
from ..decode.mixture import MixedDecoder
from ..engine import ArrowEngine
from ..memory.embed import encode
from ..text import native
from ..text.sampling import Sampling
from ..text.tokenizer import EOS
from ..train.data.sentences import HARVARD
from ..train.data.world import World
from ..weights.layout import weights_files
from ..weights.shipped import model_folder
from .board import adaptations, rows
from .results import Measured, Measurement, Setting, announce

STEPS: dict[Level, int] = {"L1": 60, "L2": 60, "L3": 40, "L4": 40}
SHORT = 40  # steps of a lesson that only the gate looks at, useful or not
THINGS = 3  # of each kind in a world: 21 facts, 84 examples
USEFUL, USELESS = 10, 40
DOMAINS, PROMPTS = 20, 200
FACT_TOKENS = 24


def lesson_of(world: World) -> Lesson:
    return split(Example(*pair) for pair in world.lesson())


def quiet(said: Any) -> None:
    """Progress that nobody watches."""


def answered(learner: DecoderLearner, decoder: Decoder | MixedDecoder, world: World) -> list[bool]:
    """Which questions of a world's test are answered with the right fact, and no other of its kind."""
    how = Sampling("ar", FACT_TOKENS, temperature=0)
    right = []
    for question in world.test():
        head = learner.speech.head(question.prompt)
        tokens = [one.token for one in native.write(decoder, head, how, 512, 0)]  # type: ignore[arg-type]
        right.append(
            question.right(tokenizer().to_bytes([t for t in tokens if t != EOS]).decode("utf-8", "ignore"))
        )
    return right


def tokenizer() -> Any:
    return ArrowEngine.load().tokenizer


def level_numbers(learner: OurLearner, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Gain, share, minutes and loss of old domains at each level, facts answered before and after."""
    world = World.of(900, things=THINGS)
    lesson, found = lesson_of(world), dict[str, Any]()
    found["facts_before"] = Measured.mean(np.array(answered(learner, learner.decoder, world), float))
    for level in LEVELS:
        if quick and level not in ("L0", "L2"):
            continue
        announce(f"level {level}")
        if level == "L0":
            learned, verdict = mixed(learner, lesson)
        else:
            learner.steps = STEPS[level]
            learned, verdict = tried(learner, lesson, level, 0, 0, quiet)
        bent = learned.deltas
        decoder = bent if isinstance(bent, MixedDecoder) else learner.decoder.with_deltas(bent)
        held = len(lesson.held_out)
        found[level] = {
            "gain": Measured(verdict.gain, verdict.gain_se, held),
            "share": learned.share,
            "minutes": learned.seconds / 60,
            "base_loss": Measured(verdict.base_loss, verdict.base_loss_se, len(learner.old_losses())),
            "kept": verdict.kept,
            "facts_after": Measured.mean(np.array(answered(learner, decoder, world), float)),
        }
    learner.steps = SHORT
    return found


def mixed(learner: OurLearner, lesson: Lesson) -> tuple[Learned, Verdict]:
    """L0: adaptations of two neighbouring worlds and the base, mixed by weights fitted on the lesson."""
    decoders = [learner.decoder]
    learner.steps = STEPS["L2"]
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


def gate_numbers(learner: OurLearner, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """How many of useless lessons are kept, and how many of useful ones."""
    kept = []
    for number in range(4 if quick else USELESS):
        announce(f"useless lesson {number + 1}")
        kept.append(tried(learner, useless(number), "L2", 0, number, quiet)[1].kept)
    good = []
    for number in range(2 if quick else USEFUL):
        announce(f"useful lesson {number + 1}")
        lesson = lesson_of(World.of(2000 + number, things=THINGS))
        good.append(tried(learner, lesson, "L2", 0, number, quiet)[1].kept)
    return {
        "wrongly_kept": Measured.mean(np.array(kept, float)),
        "rightly_kept": Measured.mean(np.array(good, float)),
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


def finding_numbers(learner: DecoderLearner) -> dict[str, Any]:
    """Whether prompts find the adaptation of their domain among twenty, and none where none is meant.

    What is stored is a record of each domain; finding depends on its prompts alone.
    """
    verdict = Verdict(True, "better", 0.1, 0.01, 0.1, 0.01, 0.0, 0.001)
    worlds = [World.of(3000 + i, things=THINGS) for i in range(DOMAINS)]
    with tempfile.TemporaryDirectory() as place, Ledger(Path(place) / "ledger", learner.base) as ledger:
        for i, world in enumerate(worlds):
            lesson = lesson_of(world)
            own = encode([one.prompt for one in lesson.train])
            held = encode([one.prompt for one in lesson.held_out]) @ own.T
            others = encode([*learner.speech.prompts]) @ own.T
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
    learned, _ = tried(learner, lesson, "L2", 0, 0, quiet)
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
    learner = OurLearner(folder)
    learner.steps = SHORT
    numbers: dict[str, Any] = {"levels": level_numbers(learner, setting.quick)}
    numbers |= gate_numbers(learner, setting.quick)
    announce("finding")
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
