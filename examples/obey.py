"""How far does a story obey energies? Each is asked for with and without, of the same seeds.

Run: python examples/obey.py   (a minute; prints how often words were there and how long the texts were)
"""

import numpy as np

from bowstring.engine import ArrowEngine
from bowstring.text.energies import Banned, Length, Wanted, words

PROMPT, SEEDS = "a story about a fox", range(8)
ASKED = {"max_tokens": 64}


def letter_energy(engine: ArrowEngine, letter: str) -> np.ndarray:
    """An energy of tokens, `(v,)`: how often a letter stands in each."""
    vocab = engine.network.config.vocab
    return np.array([engine.tokenizer.to_bytes([i]).count(letter.encode()) for i in range(vocab)], np.float32)


def main() -> None:
    engine = ArrowEngine.load()
    free = [engine.generate(PROMPT, seed=seed, **ASKED) for seed in SEEDS]
    letters = [(letter_energy(engine, "e"), 2.0)]
    few = [engine.generate(PROMPT, seed=seed, energies=letters, **ASKED) for seed in SEEDS]
    print("letters e of 100:", *(f"{100 * share(texts, 'e'):.1f}" for texts in (free, few)))
    energies = [(Wanted(("river",)), 4.0), (Banned(("happy", "sad")), 4.0), (Length(30, 4), 1.0)]
    asked = {"energies": energies, "candidates": 16} | ASKED
    steered = [engine.generate(PROMPT, seed=seed, **asked) for seed in SEEDS]
    for name, texts in (("free", free), ("steered", steered)):
        there = sum("river" in words(one) for one in texts)
        lengths = np.mean([len(words(one)) for one in texts])
        print(f"{name}: river in {there} of 8, {lengths:.0f} words, energy {total(energies, texts):.2f}")
    said = engine.generate(PROMPT, valid=lambda text: "moon" in words(text), retries=8, **ASKED)
    print(f"a moon after {len(said.tries)} tries: {said.tries[-1].valid}")


def share(texts: list, letter: str) -> float:
    return sum(one.count(letter) for one in texts) / sum(map(len, texts))


def total(energies: list, texts: list) -> float:
    return float(np.mean([sum(weight * energy(one) for energy, weight in energies) for one in texts]))


if __name__ == "__main__":
    main()
