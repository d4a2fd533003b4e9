"""Processes that learn: their results, their ends, and what they leave."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from bowstring.adapt.worker import Cancelled, LearningFailed, supervised

LEARNS = """
import sys, time
from bowstring.adapt.worker import behave, tell
behave()
print("a library's chatter")
for i in range(3):
    tell(step=i)
mode = sys.argv[1]
if mode == "fails":
    raise ValueError("no such lesson")
if mode == "hangs":
    time.sleep(60)
if mode == "dies":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
import os
tell(result={"nice": os.nice(0), "pid": os.getpid()})
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "learns_here.py").write_text(textwrap.dedent(LEARNS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))


def test_progress_comes_and_then_the_result():
    seen = []
    result = supervised("learns_here", "fine", 30, seen.append)
    assert [one["step"] for one in seen] == [0, 1, 2]
    assert result["nice"] >= 10


@pytest.mark.parametrize("mode, words", [("fails", "no such lesson"), ("dies", "code -9")])
def test_failures_are_told(mode, words):
    with pytest.raises(LearningFailed, match=words):
        supervised("learns_here", mode, 30)


def test_a_process_that_takes_too_long_is_ended():
    clock = time.monotonic()
    with pytest.raises(LearningFailed, match="longer than it was given"):
        supervised("learns_here", "hangs", 2)
    assert time.monotonic() - clock < 20


def test_a_cancelled_process_is_over():
    stop = threading.Event()
    with pytest.raises(Cancelled):
        supervised("learns_here", "hangs", 30, lambda said: stop.set(), stop)


def test_a_process_ends_with_its_parent():
    parent = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'learns_here', 'hangs'], stdin=subprocess.PIPE, "
        "stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); os._exit(0)\n"
    )
    pid = int(
        subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, timeout=60).stdout
    )
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as file:
            if file.read().split()[2] == "Z":
                return
        time.sleep(0.1)
    raise AssertionError("it lives on")
