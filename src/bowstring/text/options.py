"""How text is sampled, as a value; nothing here knows of torch or of networks."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.options import choice, real, settle, whole
from ..core.options import seed as checked_seed
from .tokenizer import KINDS, MASK, MIDDLE, SEP, SUFFIX

NEVER = (MASK, KINDS["text"], KINDS["code"], SEP, SUFFIX, MIDDLE)
LONGEST = 65_536  # tokens of a text
DIFFUSION_DEFAULTS = (4, None, None, "leftmost")  # block, steps by either name, order
ORDERS = ("confidence", "entropy", "leftmost", "margin", "random")  # those of core/samplers/masked.py
MAX_TOKENS = 192  # unless more are asked for


@dataclass(frozen=True)
class Sampling:
    """How text is sampled: `steps` counts evaluations per block; mode "ar" is one token per evaluation, and
    "auto" writes the same text, from packed networks in fewer evaluations where that is faster.

    Among what may stand in a place, the `top_k` likeliest tokens (0: all) are drawn from, and of these the
    likeliest that together have `top_p`; temperature 0 takes the likeliest. Logits of tokens that the prompt
    or the text holds are divided by `repetition_penalty` where positive and multiplied where negative (Keskar
    et al. 2019, arXiv 1909.05858). A text does not end before it has `min_tokens`.

    Raises:
        ValueError: a value out of its range.
    """

    mode: str = "diffusion"
    max_tokens: int = MAX_TOKENS
    block: int = 4
    steps: int = 4
    order: str = "leftmost"
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    min_tokens: int = 0

    def __post_init__(self) -> None:
        settle(
            self,
            mode=choice(self.mode, "mode", ("auto", "ar", "diffusion")),
            max_tokens=whole(self.max_tokens, "max_tokens", 1, LONGEST),
            block=whole(self.block, "block", 1, 32),
            steps=whole(self.steps, "steps", 1, 1024),
            order=choice(self.order, "order", ORDERS),
            temperature=real(self.temperature, "temperature", 0, 100),
            top_p=real(self.top_p, "top_p", above=0, high=1),
            seed=checked_seed(self.seed),
            top_k=whole(self.top_k, "top_k", 0, advice="0 is off"),
            repetition_penalty=real(
                self.repetition_penalty, "repetition_penalty", above=0, high=10, advice="1 is off"
            ),
            min_tokens=whole(self.min_tokens, "min_tokens", 0, self.max_tokens, advice="max_tokens at most"),
        )


def mode_for(mode: str, asked: tuple[int, int | None, int | None, str]) -> str:
    """The mode that is meant: "auto" with an option of diffusion (block, steps, their other name, order) is
    diffusion.
    """
    return "diffusion" if mode == "auto" and asked != DIFFUSION_DEFAULTS else mode
