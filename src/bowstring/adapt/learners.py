"""Models that learn: our own text and imported ones, both as decoders whose weights stay as they are.

Losses are taken on the packed weights that the model runs with; gradients on the same weights dequantised.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..decode.decoder import Decoder
from ..decode.deltas import NONE, Deltas
from ..decode.generate import Sampling as Choosing
from ..decode.generate import one_by_one
from ..decode.mixture import MixedDecoder, log_softmax
from ..llm import adapters as imported_files
from ..llm.chat import chat_tokens
from ..llm.folder import is_imported
from ..llm.folder import load as load_imported
from ..nn.adapters import Adapter, ControlNet, FullRank, LoRA
from ..text import native
from ..text.decoder import MAPS, decoder_of, deltas_of
from ..text.sampling import Sampling
from ..text.tokenizer import EOS, KINDS, MASK, SEP
from ..text.weights import load_model
from ..train.adapt.body import Bends, Body
from ..train.adapt.fit import FitOptions, Row, answer_losses, control_net, fit, lora, share, whole
from ..train.data.grammar import ANIMALS, SETTINGS
from ..weights.adapter_files import MODEL
from ..weights.adapters import base_hash, load_adapter, save_adapter
from ..weights.layout import TRUNK, find
from .fusion import fitted_weights
from .learning import NOTHING, Learned, Tell
from .lesson import Example
from .levels import Level

RATES: dict[Level, float] = {"L1": 1.5e-3, "L2": 4e-3, "L3": 3e-4, "L4": 2e-4}
MASKED = 0.25  # share of steps that teach masked blocks, where the model writes by them
RANK = {"L1": 256, "L2": 4}  # at a width of 384; others have the same shares
OLD = 96  # texts that the model writes of what it knows
OLD_LENGTH = 40  # tokens of each


@dataclass(frozen=True)
class Speech:
    """How a model is talked to: tokens of a prompt, tokens of an answer with its end, and prompts of what it
    was made for. mask: the token of masked places, where it writes by them.
    """

    head: Callable[[str], list[int]]
    body: Callable[[str], list[int]]
    prompts: Sequence[str]
    mask: int | None = None


class DecoderLearner:
    """A decoder that learns deltas. steps: instead of seconds, a number of steps, which repeats exactly.
    pace: of `RATES`. at_once: examples of a step. keep: how much it weighs that beliefs elsewhere move.
    """

    steps: int | None = None
    pace, at_once, keep = 1.0, FitOptions.rows, FitOptions.keep

    def __init__(self, decoder: Decoder, speech: Speech, kind: str, base: str) -> None:
        self.decoder, self.speech, self.kind, self.base = decoder, speech, kind, base

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        """Examples as tokens; of a prompt its last ones, of an answer its first, a quarter of the context
        each.
        """
        return [self._row(one)[0] for one in examples]

    def _row(self, example: Example) -> tuple[Row, float]:
        """A row, and how many bytes of the answer it holds."""
        most = min(self.decoder.config.context, 1024) // 4
        head, body = self.speech.head(example.prompt), self.speech.body(example.answer)
        kept = body[:most]
        return Row(tuple(head[-most:]), tuple(kept)), len(example.answer.encode()) * len(kept) / len(body)

    def losses(self, examples: Sequence[Example], learned: Learned = NOTHING) -> np.ndarray:
        decoder = self._bent(learned)
        pairs = [self._row(one) for one in examples]
        return np.array([-self.log_likelihoods(decoder, row).sum() / size for row, size in pairs])

    def old_losses(self, learned: Learned = NOTHING) -> np.ndarray:
        decoder = self._bent(learned)
        return np.array([-self.log_likelihoods(decoder, row).mean() for row in self._old[1::2]])

    def old_prompts(self) -> Sequence[str]:
        return self.speech.prompts

    def other_prompts(self) -> Sequence[str]:
        """Prompts that are of no new domain: what the model was made for, and what people ask anybody."""
        return (*self.speech.prompts, *CHAT_PROMPTS)

    def _bent(self, learned: Learned) -> Decoder | MixedDecoder:
        made = learned.deltas
        return made if isinstance(made, MixedDecoder) else self.decoder.with_deltas(made or NONE)

    @staticmethod
    def log_likelihoods(decoder: Decoder | MixedDecoder, row: Row) -> np.ndarray:
        """Log-probability of each token of a row's body, `(l,)` FP64, on packed weights."""
        tokens = np.array([*row.head, *row.body[:-1]])
        hidden = decoder.forward(tokens, decoder.cache())[len(row.head) - 1 :]  # type: ignore[arg-type]
        return log_softmax(decoder.logits(hidden))[np.arange(len(row.body)), list(row.body)]

    def mixed(
        self, decoders: Sequence[Decoder], examples: Sequence[Example]
    ) -> tuple[MixedDecoder, np.ndarray]:
        """The mixture of decoders under which examples are likeliest, and its weights."""
        rows = self.rows(examples)
        logs = [np.concatenate([self.log_likelihoods(one, row) for row in rows]) for one in decoders]
        weights = fitted_weights(np.stack(logs))
        return MixedDecoder(decoders, weights), weights

    @cached_property
    def body(self) -> Body:
        """The decoder for gradients; made when something is learned."""
        return Body(self.decoder)

    def learn(
        self,
        examples: Sequence[Example],
        level: Level,
        seconds: float,
        seed: int,
        tell: Tell,
        start: Learned = NOTHING,
    ) -> Learned:
        rows = self.rows(examples)
        bends = self._fresh(level, rows, seed) if start.deltas is None else Bends.of(start.deltas)
        return self._fitted(rows, self._old[::2], bends, level, seconds, seed, tell, self.steps)

    def compete(self, learned: Learned, level: Level, seed: int, tell: Tell) -> Learned:
        bends, steps = Bends.of(learned.deltas), max(learned.steps, 1)
        return self._fitted(self._old[::2], (), bends, level, learned.seconds, seed, tell, steps)

    def _fitted(
        self,
        rows: Sequence[Row],
        kept: Sequence[Row],
        bends: Bends,
        level: Level,
        seconds: float,
        seed: int,
        tell: Tell,
        steps: int | None,
    ) -> Learned:
        masks = 0.0 if self.speech.mask is None else MASKED
        options = FitOptions(
            rate=self.pace * RATES[level],
            seconds=seconds,
            steps=steps,
            rows=self.at_once,
            keep=self.keep,
            masks=masks,
            seed=seed,
        )
        made, count, spent = fit(self.body, bends, rows, options, kept, self.speech.mask, tell)
        return Learned(made.deltas(), count, spent, share(self.body, made))

    def _fresh(self, level: Level, rows: Sequence[Row], seed: int) -> Bends:
        scale = self.body.config.width / 384
        match level:
            case "L1":
                return control_net(self.body, round(RANK["L1"] * scale), seed)
            case "L2":
                return lora(self.body, max(2, round(RANK["L2"] * scale)), seed)
            case "L3":
                return whole(self.body, doubtful_layers(self.body, rows))
            case "L4":
                return whole(self.body, range(len(self.body.layers)))
        raise ValueError(f"{level} learns no deltas: it mixes what is there")

    @cached_property
    def _old(self) -> list[Row]:
        """What the model writes of what it knows, at temperature 1: its own law, so that a rise of the loss
        is the divergence from it. Half of it is learned beside a lesson, half judges.
        """
        heads = [self.speech.head(prompt) for prompt in self.speech.prompts]
        made = []
        for number in range(OLD):
            head = heads[number % len(heads)]
            if tokens := self._drawn(head, number):
                made.append(Row(tuple(head), tuple(tokens)))
        return made

    def _drawn(self, head: list[int], number: int) -> list[int]:
        """Tokens that the model writes behind a head, by its own law."""
        how = Choosing(temperature=1.0, top_k=0, top_p=1.0, seed=number)
        made = one_by_one(self.decoder, head, self.decoder.cache(), how, number)
        return [one.token for one in islice(made, OLD_LENGTH)]

    def to_bytes(self, learned: Learned, domain: str, gain: float) -> bytes:
        """An adapter's file, as the ledger keeps it."""
        with tempfile.TemporaryDirectory() as place:
            self._save(Path(place), learned.deltas, domain, gain)
            return (Path(place) / f"{MODEL}.safetensors").read_bytes()

    def _save(self, folder: Path, deltas: Deltas, domain: str, gain: float) -> None:
        raise NotImplementedError

    def deltas(self, folder: Path) -> Deltas:
        """Those of the adapter in a folder, checked."""
        raise NotImplementedError


class OurLearner(DecoderLearner):
    """Our own text model."""

    def __init__(self, folder: Path) -> None:
        network, tokenizer, metadata = load_model(folder)
        speech = Speech(
            head=lambda prompt: [KINDS["text"], *tokenizer.encode(prompt), SEP],
            body=lambda answer: [*tokenizer.encode(answer), EOS],
            prompts=OWN_PROMPTS,
            mask=MASK,
        )
        self.network, self.tokenizer = network, tokenizer
        base = base_hash(find(folder, TRUNK))
        super().__init__(decoder_of(network, metadata.context), speech, "diffusion", base)

    def _drawn(self, head: list[int], number: int) -> list[int]:
        how = Sampling("ar", OLD_LENGTH, temperature=1.0, top_p=1.0, seed=number)
        written = native.write(self.decoder, head, how, self.decoder.config.context, number)
        return [one.token for one in written]

    def _save(self, folder: Path, deltas: Deltas, domain: str, gain: float) -> None:
        whole_maps = any(one.b is None for some in deltas.low_rank.values() for one in some)
        save_adapter(
            folder,
            adapter_of(deltas),
            kind="diffusion",
            base=self.base,
            domain=domain[:200],
            gain=gain,
            numbers="F16" if whole_maps else "F32",
        )

    def deltas(self, folder: Path) -> Deltas:
        adapter, _ = load_adapter(folder, self.network.trunk, base=self.base, kind="diffusion")
        return deltas_of(adapter.conditioning())


class ImportedLearner(DecoderLearner):
    """An imported model that writes one token at a time. It is larger and knows more than ours: a step costs
    seconds, so it takes fewer examples, and shorter steps that are held back more keep what it knows.
    """

    pace, at_once, keep = 0.25, 8, 80.0

    def __init__(self, folder: Path) -> None:
        model = load_imported(folder)
        tokenizer, template = model.tokenizer, model.template
        if model.decoder.config.blocks is not None:
            raise ValueError(
                "imported models that write in blocks do not learn here; choose one that writes by 'ar'"
            )
        stop = model.decoder.config.stops[:1]
        speech = Speech(
            head=lambda prompt: (
                tokenizer.encode(prompt)
                if template is None
                else chat_tokens(tokenizer, template, [{"role": "user", "content": prompt}])
            ),
            body=lambda answer: [*tokenizer.encode(answer), *stop],
            prompts=CHAT_PROMPTS,
        )
        super().__init__(model.decoder, speech, "ar", model.base)

    def _save(self, folder: Path, deltas: Deltas, domain: str, gain: float) -> None:
        imported_files.save_adapter(
            folder,
            deltas,
            self.decoder.config,
            kind="ar",
            base=self.base,
            domain=domain[:200],
            gain=gain,
        )

    def deltas(self, folder: Path) -> Deltas:
        return imported_files.load_adapter(folder, self.decoder, base=self.base, kind="ar")[0]


def learner_of(folder: Path) -> DecoderLearner:
    """The model in a folder as one that learns."""
    return ImportedLearner(folder) if is_imported(folder) else OurLearner(folder)


def doubtful_layers(body: Body, rows: Sequence[Row]) -> list[int]:
    """The third of the layers whose weights a lesson pulls at hardest: the largest gradients a number."""
    bends = whole(body, range(len(body.layers)))
    for one in bends.parameters():
        one.requires_grad_()
    answer_losses(body, rows[:16], bends).sum().backward()
    pull = torch.zeros(len(body.layers))
    for (i, _), one in bends.full.items():
        assert one.grad is not None
        pull[i] += one.grad.square().sum()
    return sorted(int(i) for i in pull.topk(math.ceil(len(body.layers) / 3)).indices)


def adapter_of(deltas: Deltas) -> Adapter:
    """Deltas of our own decoder as the adapter that the whole network takes."""
    names = {short: full for full, short in MAPS.items()}
    low = {f"layers.{i}.{names[name]}": one for (i, name), (one,) in deltas.low_rank.items()}
    if deltas.branches:
        branches = {i: one for i, (one,) in deltas.branches.items()}
        return ControlNet(
            {i: torch.tensor(b.down) for i, b in branches.items()},
            {i: torch.tensor(b.scale * b.up) for i, b in branches.items()},
            {i: torch.zeros(len(b.down), 1) for i, b in branches.items()},
        )
    if any(one.b is None for one in low.values()):
        return FullRank({name: torch.tensor(one.scale * one.a) for name, one in low.items()})
    first = next(iter(low.values()))
    halves = {name: (torch.tensor(one.a), torch.tensor(one.b)) for name, one in low.items()}
    alpha = first.scale * len(first.a)
    return LoRA({n: a for n, (a, _) in halves.items()}, {n: b for n, (_, b) in halves.items()}, alpha)


OWN_PROMPTS = tuple(
    f"a story about a {animal} {place}"
    for animal, (place, _) in zip(ANIMALS[:24], [*SETTINGS.values()] * 2, strict=False)
)
CHAT_PROMPTS = tuple(
    """What is the capital of France?
Name three fruits.
How do I boil an egg?
Write a short poem about rain.
Explain gravity to a child.
What should I pack for a day at the sea?
Give me a tip for better sleep.
Summarise why plants need light.
Tell me about the moon.
How does a bicycle stay upright?
What is a prime number?
Suggest a name for a cat.
Describe a forest in autumn.
What is the difference between a lake and a river?
How can I learn a language?
Write one sentence about friendship.""".splitlines()
)
