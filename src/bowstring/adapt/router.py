"""EvolutionRouter: doubt picks a level, a process learns, the gate judges, the ledger keeps; a prompt of the
same domain finds it again.

Shapes: p prompts, d numbers of a vector.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core import files
from ..core.cancel import Cancel
from ..core.options import real, whole
from ..core.options import text as checked_text
from ..decode.decoder import Decoder
from ..decode.mixture import MixedDecoder
from .gate import Verdict, judge
from .learners import DecoderLearner, learner_of
from .learning import Learned, trial
from .ledger import Adaptation, Found, Ledger, Provenance, threshold_between
from .lesson import Lesson
from .levels import Level, checked_level, level_for
from .process import ADAPTER, job_of
from .subject import encode as subjects
from .worker import Progress, supervised

FOLDER = Path.home() / ".local" / "share" / "bowstring" / "adaptations"
SECONDS = 120.0  # of learning, unless said otherwise
OVERHEAD = 8.0  # a process may take so many times its seconds of learning, and a minute
MIXED = 3  # adaptations that guide one prompt at most
BASE = "base"  # the model as it is, in a mixture
Encode = Callable[[Sequence[str]], np.ndarray]


class Model(Protocol):
    """What the router needs of an engine, our own or an imported one."""

    folder: Path | None

    @property
    def base(self) -> str: ...

    def load_adapter(self, path: Path | str, name: str | None = None, weight: float = 1.0) -> str: ...

    def with_adapters(self, weights: Mapping[str, float] | None) -> Any: ...


class EvolutionRouter:
    """Evolves one model, and finds what was kept.

    Raises:
        ValueError: a model that lies in no folder, from which a process could load it.
    """

    def __init__(
        self,
        model: Model,
        folder: Path | str | None = None,
        encode: Encode | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """folder: of the ledger, by default one in the user's data. encode: texts to unit vectors `(p, d)`,
        by default those of `subject`, so that one ledger serves all models. seconds: of a lesson that
        says nothing else.
        """
        if model.folder is None:
            raise ValueError("the model was made without a folder; load it from one, or a process cannot")
        self.model, self.place = model, Path(model.folder)
        self.encode = subjects if encode is None else encode
        self.seconds = real(seconds, "seconds", 0, 1e7)
        self.ledger = Ledger(FOLDER if folder is None else folder, model.base)
        self._known: dict[tuple[str, int], str] = {}
        self._learner: DecoderLearner | None = None

    def close(self) -> None:
        self.ledger.close()

    @property
    def learner(self) -> DecoderLearner:
        """The model as one that says how surprised it is; read when it is first needed."""
        if self._learner is None:
            self._learner = learner_of(self.place)
        return self._learner

    def level(self, uncertainty: float, examples: int, seconds: float | None = None) -> Level | None:
        """The level that this much doubt calls for, or None; see `level_for`."""
        known = len(self._own())
        return level_for(uncertainty, examples, self.seconds if seconds is None else seconds, known=known)

    def _own(self) -> Sequence[Adaptation]:
        """What was kept of this model, the newest first."""
        return [one for one in self.ledger.list() if one.provenance.base == self.ledger.base]

    def evolve(
        self,
        lesson: Lesson,
        domain: str,
        *,
        level: Level | str | None = None,
        uncertainty: float = 2.0,
        seconds: float | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Adaptation:
        """Learns a lesson in a process of its own, and returns the ledger's record of it, kept or not.

        Args:
            level: L0 to L4; by default what `uncertainty`, the examples and the seconds call for.
            seconds: of learning; judging takes some more.
            progress: is told of stages and steps. cancel: see `ArrowEngine.image`.

        Raises:
            ValueError: nothing calls for learning, or L0 has nothing to mix. LearningFailed: the process
            failed; nothing was kept. Cancelled: it was asked to stop.
        """
        domain = checked_text(domain, "domain", blank=False)
        seconds = self.seconds if seconds is None else real(seconds, "seconds", 1, 1e7)
        seed = whole(seed, "seed", 0)
        chosen = (
            self.level(uncertainty, len(lesson.train), seconds) if level is None else checked_level(level)
        )
        if chosen is None:
            raise ValueError(
                f"a doubt of {uncertainty:.2f}, {len(lesson.train)} examples and {seconds:.0f} s call for no "
                "learning; give a level to learn all the same"
            )
        if chosen == "L0":
            return self._mixed(lesson, domain, seed)
        with tempfile.TemporaryDirectory() as out:
            job = Path(out) / "job.json"
            said = job_of(self.place, domain, chosen, seconds, seed, lesson, Path(out))
            files.write(job, json.dumps(said).encode())
            limit = OVERHEAD * seconds + 60
            result = supervised("bowstring.adapt.process", job, limit, progress, cancel)
            verdict = Verdict(**result["verdict"])
            made = self._provenance(lesson, domain, seed, chosen, result)
            if not verdict.kept:
                return self.ledger.show(self.ledger.reject(domain, verdict, made))
            adapter = (Path(out) / ADAPTER).read_bytes()
        return self._keep(domain, adapter, lesson, verdict, made)

    def _provenance(
        self, lesson: Lesson, domain: str, seed: int, level: Level, result: Mapping[str, Any]
    ) -> Provenance:
        before = [one.id for one in self._own() if one.domain == domain]
        sizes = (len(lesson.train), len(lesson.held_out))
        costs = (result["steps"], result["seconds"], result["share"])
        kind, parent = result["kind"], before[0] if before else None
        return Provenance(lesson.id, *sizes, seed, level, *costs, self.ledger.base, kind, parent)

    def _keep(
        self, domain: str, adapter: bytes, lesson: Lesson, verdict: Verdict, made: Provenance
    ) -> Adaptation:
        own = self.encode([one.prompt for one in lesson.train])
        held = self.encode([one.prompt for one in lesson.held_out]) @ own.T
        others = self.encode([*self.learner.other_prompts()]) @ own.T
        threshold = threshold_between(held.max(1), others.max(1))
        return self.ledger.show(self.ledger.keep(domain, adapter, own, threshold, verdict, made))

    def _mixed(self, lesson: Lesson, domain: str, seed: int) -> Adaptation:
        """L0: the likeliest weights of the model as it is and of what was kept, judged as all levels are."""
        clock, names = time.monotonic(), [BASE]
        names += [one.id for one in self._own() if is_file(one)]
        if len(names) == 1:
            raise ValueError("there is nothing to mix; L0 needs adaptations that were kept")
        mixture, weights = self.learner.mixed([self._decoder(name) for name in names], lesson.train)
        learned = Learned(mixture, 0, time.monotonic() - clock, 0.0)
        verdict = judge(trial(self.learner, lesson, learned))
        result = {"steps": 0, "seconds": learned.seconds, "share": 0.0, "kind": self.learner.kind}
        made = self._provenance(lesson, domain, seed, "L0", result)
        if not verdict.kept:
            return self.ledger.show(self.ledger.reject(domain, verdict, made))
        said = {name: float(share) for name, share in zip(names, weights, strict=True) if share > 1e-3}
        total = sum(said.values())
        data = json.dumps({name: share / total for name, share in said.items()}).encode()
        return self._keep(domain, data, lesson, verdict, made)

    def _decoder(self, name: str) -> Decoder:
        """The packed decoder of an adaptation, or of the model as it is."""
        if name == BASE:
            return self.learner.decoder
        return self.learner.decoder.with_deltas(self.learner.deltas(self._folder(self.ledger.show(name))))

    def find(self, prompt: str) -> Sequence[Found]:
        """Adaptations whose domain a prompt is of, the nearest first; none for prompts of other domains."""
        return self.ledger.find(np.asarray(self.encode([prompt]))[0])[:MIXED]

    def get_fused_score(self, prompt: str) -> Decoder | MixedDecoder:
        """What the model believes about a prompt's continuation with all that was learned for it: a decoder
        whose law is the mean of those of the adaptations that fit, each weighed by how near it is.
        """
        return self._fused(self._weights(self.find(prompt)))

    def _fused(self, parts: Mapping[str, float]) -> Decoder | MixedDecoder:
        decoders = [self._decoder(name) for name in parts]
        return decoders[0] if len(decoders) == 1 else MixedDecoder(decoders, [*parts.values()])

    def adapted(self, prompt: str) -> tuple[Any, Sequence[Found]]:
        """The model as it answers this prompt, and what it was adapted by."""
        found = self.find(prompt)
        parts = self._weights(found)
        if [*parts] == [BASE]:
            return self.model, found
        if len(parts) == 1:
            one = self.ledger.show(next(iter(parts)))
            return self.model.with_adapters({self._loaded(one): 1.0}), found
        return with_decoder(self.model, self._fused(parts)), found

    def _weights(self, found: Sequence[Found]) -> dict[str, float]:
        """Shares of what is mixed, by id; the base alone where nothing was found."""
        if not found:
            return {BASE: 1.0}
        shares: dict[str, float] = {}
        total = sum(one.similarity for one in found)
        there = {BASE, *(kept.id for kept in self.ledger.list())}
        for one in found:
            share = one.similarity / total
            parts = (
                {one.adaptation.id: 1.0}
                if is_file(one.adaptation)
                else json.loads(self.ledger.adapter(one.adaptation.id))
            )
            parts = {name: weight for name, weight in parts.items() if name in there} or {BASE: 1.0}
            for name, weight in parts.items():
                shares[name] = shares.get(name, 0.0) + share * weight / sum(parts.values())
        return shares

    def _loaded(self, one: Adaptation) -> str:
        """The name by which the model knows an adaptation."""
        key = (one.id, one.version)
        if key not in self._known:
            self._known[key] = self.model.load_adapter(self._folder(one), f"{one.id}-{one.version}", 0.0)
        return self._known[key]

    def _folder(self, one: Adaptation) -> Path:
        """A folder with an adaptation's file, made of the ledger's bytes; a copy that anybody may delete."""
        assert one.sha256 is not None
        place = self.ledger.folder / "unpacked" / one.sha256
        path = place / "adapter_model.safetensors"
        if not path.exists():
            place.mkdir(parents=True, exist_ok=True)
            files.write(path, self.ledger.adapter(one.id))
        return place


def is_file(one: Adaptation) -> bool:
    """Whether an adaptation is an adapter, and no mixture of others."""
    return one.provenance.level != "L0"


def with_decoder(model: Any, decoder: Any) -> Any:
    """The model as it writes by another decoder of its own vocabulary."""
    view = copy.copy(model)
    view.adapters, view._bent = type(model.adapters)(), {}
    if hasattr(model, "text_pipeline"):
        view._parts = {"text": model.text_pipeline.with_decoder(decoder)}
        return view
    view.decoder, view._kept = decoder, None
    return view
