"""Processes that learn and keep are killed at random: what is in force has always passed the gate."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

from bowstring.adapt.ledger import Ledger
from bowstring.adapt.worker import supervised

BASE = "sha256:" + "0" * 64
KEEPS = """
import hashlib, sys
import numpy as np
from bowstring.adapt.gate import Trial, judge
from bowstring.adapt.ledger import Ledger, Provenance

rng = np.random.default_rng(0)
ledger = Ledger(sys.argv[1], "sha256:" + "0" * 64)
print("open", flush=True)
for i in range(10_000):
    before = 2 + 0.1 * rng.normal(size=40)
    good = i % 2 == 0
    after = before - (0.3 if good else -0.1) + 0.01 * rng.normal(size=40)
    verdict = judge(Trial(before, after, before, before, before, before))
    assert verdict.kept == good
    prompts = rng.normal(size=(8, 32)).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
    made = Provenance(f"lesson {i}", 40, 40, i, "L2", 1, 0.1, 0.01, ledger.base, "ar")
    if good:
        ledger.keep(f"domain {i % 5}", hashlib.sha256(b"%d" % i).digest() * 2000, prompts, 0.9, verdict, made)
        print(f"kept {i}", flush=True)
    else:
        ledger.reject(f"domain {i % 5}", verdict, made)
"""


def test_whatever_is_killed_the_ledger_opens_and_holds_what_was_acknowledged(tmp_path):
    rng, acknowledged, folder = random.Random(0), {}, tmp_path / "ledger"
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", KEEPS, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        time.sleep(rng.random() * 0.15)
        os.kill(child.pid, signal.SIGKILL)
        said = child.stdout.read().split("\n")[:-1]
        child.stdout.close()
        child.wait()
        acknowledged |= {f"domain {int(line.split()[1]) % 5}": int(line.split()[1]) for line in said}
        with Ledger(folder, BASE) as ledger:
            assert not ledger.store.verify()
            there = {one.domain: one for one in ledger.list()}
            assert acknowledged.keys() <= there.keys()
            for one in there.values():
                assert one.verdict.kept and len(ledger.adapter(one.id)) == 64_000
            assert not any(one.verdict.kept for one in ledger.list(rejected=True) if not one.kept)
            if there:
                vector = ledger.store.get(next(iter(there.values())).id).vector
                assert np.isfinite(vector).all()


def test_a_killed_learner_leaves_nothing(tmp_path, monkeypatch):
    """It is killed before its result: nothing comes back that could be kept."""
    (tmp_path / "dies_here.py").write_text(
        "import os, signal\nfrom bowstring.adapt.worker import behave, tell\nbehave()\ntell(step=1)\n"
        "open('adapter.safetensors', 'wb').write(b'half')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.chdir(tmp_path)
    try:
        supervised("dies_here", tmp_path, 30)
    except RuntimeError as error:
        assert "code -9" in str(error)
    else:
        raise AssertionError("it had a result")
