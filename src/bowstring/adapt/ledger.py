"""The ledger: every adaptation that was tried, in a durable store; the kept ones with their bytes.

A kept adaptation lies under the vectors of the prompts that it is for. A newer one of the same domain
supersedes the older, which `undo` brings back to the byte. One that was thrown away leaves its reason alone.
Shapes: p prompts, d numbers of a vector.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.options import shown, whole
from ..core.options import text as checked_text
from ..memory.record import Entry, Memory
from ..memory.store import ArrowStorage
from .gate import Verdict

NAMESPACE = "adaptations"
KEPT, REJECTED = "kept", "rejected"
PROMPTS = 32  # vectors that are kept of an adaptation's prompts
NEARER = 0.6  # a wrong adaptation does more harm than a missed one
LOOKED_AT = 64  # adaptations whose prompts are compared with a new one


@dataclass(frozen=True)
class Provenance:
    """Where an adaptation comes from: the lesson's id, its counts of examples, seed, level (L0 to L4), steps,
    seconds, the share of the parameters that was trained, base (`base_hash`), kind (ar, diffusion), the id of
    the adaptation that it superseded, and further numbers.
    """

    lesson: str
    examples: int
    held_out: int
    seed: int
    level: str
    steps: int
    seconds: float
    share: float
    base: str
    kind: str
    parent: str | None = None


@dataclass(frozen=True)
class Adaptation:
    """An adaptation in the ledger. threshold: cosine from which a prompt is one of its domain."""

    id: str
    version: int
    domain: str
    kept: bool
    verdict: Verdict
    provenance: Provenance
    threshold: float
    time: float
    sha256: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """An adaptation that fits a prompt, and the cosine of the nearest of its own prompts."""

    adaptation: Adaptation
    similarity: float


class Ledger:
    """The adaptations of one model.

    Raises:
        ValueError: a folder that is no store.
    """

    def __init__(self, folder: Path | str, base: str) -> None:
        """base: `base_hash` of the model's trunk; adaptations of others are listed and never found."""
        self.store, self.base = ArrowStorage(folder), checked_text(base, "base", blank=False)
        self.folder = self.store.folder

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def keep(
        self,
        domain: str,
        adapter: bytes,
        prompts: np.ndarray,
        threshold: float,
        verdict: Verdict,
        provenance: Provenance,
    ) -> str:
        """Keeps an adaptation, in one transaction, and returns its id; the same domain's older one is
        superseded. prompts: `(p, d)` unit vectors.

        Raises:
            ValueError: the gate did not let it pass.
        """
        if not verdict.kept:
            raise ValueError(f"this adaptation did not pass the gate: {verdict.reason}")
        prompts = np.asarray(prompts, np.float32)
        few = prompts[np.linspace(0, len(prompts) - 1, min(PROMPTS, len(prompts))).round().astype(int)]
        facts = self._facts(domain, verdict, provenance) | {
            "threshold": float(threshold),
            "sha256": hashlib.sha256(adapter).hexdigest(),
            "prompts": base64.b64encode(few.astype("<f2").tobytes()).decode(),
        }
        mean = few.mean(0)
        return self.store.add(
            f"{domain}, {provenance.level}: {verdict.gain:.1%} better",
            vector=mean / max(float(np.linalg.norm(mean)), 1e-12),
            adapter=adapter,
            payload=facts,
            namespace=NAMESPACE,
            key=f"{provenance.base} {domain}",
            source=provenance.lesson,
            tags=(KEPT, provenance.level),
        )

    def reject(self, domain: str, verdict: Verdict, provenance: Provenance) -> str:
        """Notes an adaptation that was thrown away, and why; returns its id."""
        facts = self._facts(domain, verdict, provenance) | {"threshold": 1.0, "sha256": None}
        said = f"{domain}, {provenance.level} at {time.time():.3f}: {verdict.reason}"
        tags = (REJECTED, provenance.level)
        return self.store.add_many(
            [Entry(said, payload=facts, namespace=NAMESPACE, source=provenance.lesson, tags=tags)]
        )[0]

    @staticmethod
    def _facts(domain: str, verdict: Verdict, provenance: Provenance) -> dict[str, Any]:
        return {
            "domain": checked_text(domain, "domain", blank=False),
            "verdict": asdict(verdict),
            "provenance": asdict(provenance),
        }

    def show(self, id: str) -> Adaptation:
        """One adaptation, by its id or the beginning of it.

        Raises:
            ValueError: there is none.
        """
        return adaptation_of(self.store.get(self.store.resolve(id)))

    def find(self, vector: np.ndarray) -> Sequence[Found]:
        """Adaptations of this model whose own prompts are near a prompt's unit vector `(d,)`, the nearest
        first.
        """
        found = []
        where = {"namespace": NAMESPACE, "tags": [KEPT]}
        with self.store.reading():
            for hit in self.store.search(np.asarray(vector, np.float32), LOOKED_AT, where):
                one = adaptation_of(hit.memory)
                if one.provenance.base == self.base:
                    near = float((prompts_of(hit.memory) @ vector).max())
                    if near >= one.threshold:
                        found.append(Found(one, near))
        return sorted(found, key=lambda one: -one.similarity)

    def adapter(self, id: str) -> bytes:
        """The bytes of a kept adaptation.

        Raises:
            ValueError: none is kept there, or its bytes are not those that passed the gate.
        """
        memory = self.store.get(self.store.resolve(id))
        data, wanted = memory.parts.get("adapter"), adaptation_of(memory).sha256
        if data is None or wanted is None:
            raise ValueError(f"{memory.id} was thrown away; only its reason is kept")
        if hashlib.sha256(data).hexdigest() != wanted:
            raise ValueError(f"the bytes of adaptation {memory.id} are not those that passed the gate")
        return data

    def undo(self, id: str) -> Adaptation | None:
        """Takes an adaptation back; what it superseded is in force again, to the byte, and is returned."""
        id = self.store.resolve(id)
        self.store.undo(id)
        kept = [one for one in self.list() if one.id == id]
        return kept[0] if kept else None

    def prune(self, keep: int) -> Sequence[str]:
        """Erases from every file what was thrown away, and all but each model's newest `keep` adaptations."""
        keep = whole(keep, "keep", 0)
        kept, left = set(), Counter[str]()
        for one in self.list():
            left[one.provenance.base] += 1
            if left[one.provenance.base] <= keep:
                kept.add(one.id)
        gone = [one.id for one in self.list(rejected=True) if one.id not in kept]
        return self.store.forget(gone, erase=True) if gone else []

    def export(self, id: str, path: Path | str) -> Path:
        """Writes the bytes of an adaptation into a file."""
        path = Path(path)
        files.write(path, self.adapter(id))
        return path

    def list(self, *, rejected: bool = False) -> list[Adaptation]:
        """Adaptations in force, the newest first; with `rejected` those that were thrown away, too."""
        where: dict[str, Any] = {"namespace": NAMESPACE} | ({} if rejected else {"tags": [KEPT]})
        with self.store.reading():
            return [adaptation_of(self.store.get(one.id)) for one in self.store.list(where)]


def adaptation_of(memory: Memory) -> Adaptation:
    """An adaptation from its record."""
    facts = memory.parts.get("payload")
    if not isinstance(facts, Mapping):
        raise ValueError(f"the record {shown(memory.id)} is no adaptation: it has no facts")
    return Adaptation(
        memory.id,
        memory.version,
        facts["domain"],
        KEPT in memory.tags,
        Verdict(**facts["verdict"]),
        Provenance(**facts["provenance"]),
        facts["threshold"],
        memory.time,
        facts["sha256"],
    )


def prompts_of(memory: Memory) -> np.ndarray:
    """Vectors of the prompts that an adaptation is for, `(p, d)`."""
    assert memory.vector is not None
    data = base64.b64decode(memory.parts["payload"]["prompts"], validate=True)
    return np.frombuffer(data, "<f2").astype(np.float32).reshape(-1, len(memory.vector))


def threshold_between(own: np.ndarray, others: np.ndarray) -> float:
    """The cosine from which a prompt counts as one of a domain: above all but a hundredth of what prompts of
    other domains reach, `NEARER` of the way to what 95 of 100 held-out prompts of its own reach.

    own, others: the largest cosine of each held-out prompt with the domain's learned prompts.
    """
    beyond, within = float(np.quantile(others, 0.99)), float(np.quantile(own, 0.05))
    return max(beyond, beyond + NEARER * (within - beyond))
