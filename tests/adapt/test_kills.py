"""Processes that learn and keep are killed at random: what is in force has always passed the gate."""

import os
import sys

import numpy as np
import pytest

from bowstring.adapt.gate import Verdict
from bowstring.adapt.ledger import Ledger, Provenance
from bowstring.adapt.worker import LearningFailed, supervised
from bowstring.eval.board.adaptations import BASE, adapter, killed, look_at


def test_whatever_is_killed_the_ledger_opens_and_holds_what_was_acknowledged(tmp_path):
    assert killed(tmp_path / "ledger", 20) == (20, [])


def test_the_look_at_what_is_left_sees_what_is_lost(tmp_path):
    verdict = Verdict(True, "better", 0.1, 0.01, 0.1, 0.01, 0.0, 0.001)
    made = Provenance("lesson 5", 16, 16, 0, "L2", 1, 0.1, 0.01, BASE, "ar")
    with Ledger(tmp_path / "ledger", BASE) as ledger:
        ledger.keep("domain 0", adapter(5), np.eye(8, dtype=np.float32), 0.9, verdict, made)
        there = ledger.list()
    look_at(tmp_path / "ledger", {"domain 0": 5})
    with pytest.raises(AssertionError):
        look_at(tmp_path / "ledger", {"domain 9": 3})
    with pytest.raises(AssertionError):
        look_at(tmp_path / "ledger", {there[0].domain: 10**9})


def test_a_killed_learner_leaves_nothing(tmp_path, monkeypatch):
    """It is killed before its result: nothing comes back that could be kept."""
    (tmp_path / "dies_here.py").write_text(
        "import os, signal\nfrom bowstring.adapt.worker import behave, tell\nbehave()\ntell(step=1)\n"
        "open('adapter.safetensors', 'wb').write(b'half')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LearningFailed, match="code -9"):
        supervised("dies_here", tmp_path, 30)
