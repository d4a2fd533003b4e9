"""Kills a process that has the gate judge adaptations, of drawn losses, and keeps them. Loads no torch."""

from __future__ import annotations

import hashlib
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from ...adapt.gate import Trial, judge
from ...adapt.ledger import Ledger, Provenance
from .writers import FRESH, Outcome, in_child, wait_for, within

BASE = "sha256:" + "0" * 64
DOMAINS, SIZE = 5, 64_000  # bytes of an adapter


def killed(folder: Path, cycles: int, seed: int = 0, seconds: float = math.inf) -> Outcome:
    """Kills at random times; the ledger opens, and holds every adaptation that it acknowledged."""
    rng, faults, done = random.Random(seed), list[str](), 0
    told: dict[str, int] = {}
    for cycle in within(seconds, cycles):
        if cycle % FRESH == 0:
            shutil.rmtree(folder, ignore_errors=True)
            told = {}
        told |= killed_once(folder, cycle, rng.uniform(0.002, 0.08))
        try:
            look_at(folder, told)
        except Exception as error:
            faults.append(f"cycle {cycle}: {error!r}")
        done += 1
    return done, faults


def killed_once(folder: Path, cycle: int, seconds: float) -> dict[str, int]:
    """Lets a process learn and keep for so long; the newest lesson that it said was kept, by domain."""
    ear, mouth = os.pipe()
    child = in_child(lambda: learn_forever(folder, cycle, mouth))
    os.close(mouth)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    wait_for(child)
    with os.fdopen(ear, "rb") as said:
        lines = said.read().split(b"\n")[:-1]
    return {f"domain {int(line) % DOMAINS}": int(line) for line in lines}


def learn_forever(folder: Path, cycle: int, mouth: int) -> None:
    """Good lessons and bad ones in turn; says which were kept."""
    rng = np.random.default_rng(cycle)
    ledger = Ledger(folder, BASE)
    for i in range(1_000_000 * cycle, 1_000_000 * (cycle + 1)):
        good = bool(rng.random() < 0.5)
        before = 2 + 0.1 * rng.normal(size=16)
        after = before - (0.3 if good else -0.1) + 0.01 * rng.normal(size=16)
        verdict = judge(Trial(before, after, before, before, before, before))
        prompts = rng.normal(size=(8, 32)).astype(np.float32)
        prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
        made = Provenance(f"lesson {i}", 16, 16, i, "L2", 1, 0.1, 0.01, BASE, "ar")
        if good:
            ledger.keep(f"domain {i % DOMAINS}", adapter(i), prompts, 0.9, verdict, made)
            os.write(mouth, f"{i}\n".encode())
        else:
            ledger.reject(f"domain {i % DOMAINS}", verdict, made)


def adapter(lesson: int) -> bytes:
    """Bytes that a lesson decides."""
    return hashlib.sha256(b"%d" % lesson).digest() * (SIZE // 32)


def look_at(folder: Path, told: dict[str, int]) -> None:
    """What is in force passed the gate, is whole, and is no older than what was acknowledged."""
    with Ledger(folder, BASE) as ledger:
        assert ledger.store.verify() == []
        there = {one.domain: one for one in ledger.list()}
        for domain, one in there.items():
            lesson = int(one.provenance.lesson.split()[1])
            assert one.kept and one.verdict.kept, domain
            assert ledger.adapter(one.id) == adapter(lesson), domain
            assert lesson >= told.get(domain, 0), (domain, lesson, told[domain])
        assert told.keys() <= there.keys(), sorted(told.keys() - there.keys())
