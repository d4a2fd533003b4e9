"""Functions are run, and only those that do what their checks say are learned from.

They run in a process of their own, without files, network, other processes or modules beyond a few: an
audit hook refuses what Python tells of before it does it, limits of the system hold for the rest, and a
process that hangs or dies loses the function that it was at and no other. That stops mistakes, not an
attacker who knows the interpreter's insides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .corpora import Document, load_corpus, save_corpus

SECONDS = 1.0  # that a function and its check may take
TOGETHER = 256  # functions of a process
MEMORY = 512 << 20  # bytes of a process
MODULES = (
    "bisect collections datetime decimal fractions functools heapq itertools json math operator random re"
)
RUNNER = f"""
import contextlib, io, json, signal, sys
import {", ".join([*MODULES.split(), "statistics", "string", "textwrap", "typing"])}

cases, seconds, memory = json.load(sys.stdin)
answer = sys.stdout
with contextlib.suppress(ImportError):
    import resource
    for kind, most in (("AS", memory), ("FSIZE", 0), ("CORE", 0)):
        resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (most, most))

ALLOWED = {{"compile", "exec", "object.__getattr__", "code.__new__", "builtins.id", "sys._getframe"}}

def refuse(event, arguments):
    if event == "import" and arguments[0] in sys.modules or event in ALLOWED:
        return
    raise PermissionError(event)

def late(*_):
    raise TimeoutError

def passes(source, check):
    space = {{}}
    exec(source, space)
    return eval(check, space) is True

signal.signal(signal.SIGALRM, late)
sys.addaudithook(refuse)
for source, check in cases:
    sys.stdout = sys.stderr = io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds)  # ends the process of one that catches everything
    try:
        passed = passes(source, check)
    except BaseException:
        passed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(int(passed), file=answer, flush=True)
"""


def started(cases: Sequence[tuple[str, str]], seconds: float) -> list[bool]:
    """What a process said of the first of some functions before it ended or was ended."""
    command, limit = [sys.executable, "-I", "-S", "-c", RUNNER], 5 + seconds * (len(cases) + 1)
    given = json.dumps([[*cases], seconds, MEMORY]).encode()
    how: dict[str, Any] = {"input": given, "capture_output": True, "env": {}, "timeout": limit}
    with tempfile.TemporaryDirectory() as place:
        try:
            said = subprocess.run(command, cwd=place, check=False, **how).stdout
        except subprocess.TimeoutExpired as late:
            said = late.stdout
    return [line == b"1" for line in (said or b"").splitlines()[: len(cases)]]


def verdicts(cases: Sequence[tuple[str, str]], seconds: float = SECONDS) -> list[bool]:
    """Whether each function passes its check, an expression that has to be `True` where the function's own
    names are bound; one that hangs, dies or reaches out of its process does not.

    >>> verdicts([("def twice(x): return 2 * x", "twice(4) == 8"), ("def half(x): return x", "half(4) == 2")])
    [True, False]
    """
    out: list[bool] = []
    while len(out) < len(cases):
        some = cases[len(out) : len(out) + TOGETHER]
        found = started(some, seconds)
        out += found if len(found) == len(some) else [*found, False]
    return out


def checked(documents: Sequence[Document], seconds: float = SECONDS) -> tuple[list[Document], Counter[str]]:
    """The documents without those that fail their checks, and how many passed, failed and have none."""
    asked = [one for one in documents if one.check]
    passed = dict(
        zip(map(id, asked), verdicts([(one.body, one.check) for one in asked], seconds), strict=True)
    )
    counts: Counter[str] = Counter()
    for one in documents:
        state = {True: "passed", False: "failed", None: "without a check"}[passed.get(id(one))]
        counts[f"{one.source}: {state}"] += 1
    return [one for one in documents if passed.get(id(one), True)], counts


def check_corpus(folder: Path, seconds: float = SECONDS) -> dict[str, int]:
    """Rewrites the corpus of code in a folder without functions that fail, and says what was found.

    Raises:
        FileNotFoundError: there is none.
    """
    path = folder / "code.jsonl.gz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; build it with `bowstring data code`")
    kept, counts = checked(load_corpus(path), seconds)
    save_corpus(path, kept)
    return dict(sorted(counts.items()))
