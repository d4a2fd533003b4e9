"""Do functions that nobody asked for before do what they should? They are run, and their checks say."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence

from ..train.data.parametric import any_snippet, never_learned
from ..train.data.running import verdicts
from ..train.data.snippets import Snippet
from ..train.data.splits import RULE
from .results import Measured, announce

NEW = {"pass_rate": "filler", "pass_rate_new": "template"}  # what of a function no training has seen
Write = Callable[[Sequence[str]], Iterable[str]]


def unseen_functions(novelty: str, count: int) -> list[Snippet]:
    """Functions of the grammar with different prompts, of which this is new; fewer if there are fewer."""
    found: dict[str, Snippet] = {}
    for i in range(40 * count):
        draw = never_learned if i % 2 else any_snippet
        one = draw(random.Random(f"never asked {i}"))
        if one.novelty == novelty and len(found) < count:
            found.setdefault(one.prompt, one)
    return [*found.values()]


def named(source: str, wanted: str) -> str:
    """A module that knows its first function by this name, too: a right one may be called otherwise.

    >>> named("def f(x):\\n    return x", "g").splitlines()[-1]
    'g = f'
    """
    first = re.search(r"^def (\w+)", source, re.MULTILINE)
    return f"{source}\n{wanted} = {first[1]}\n" if first and first[1] != wanted else source


def passing(sources: Iterable[str], functions: Sequence[Snippet]) -> Measured:
    """Share of these sources that do what the checks of these functions say."""
    cases = []
    for source, one in zip(sources, functions, strict=True):
        wanted = one.source.removeprefix("def ").partition("(")[0]
        cases.append((named(source, wanted), one.check))
    return Measured.mean([float(passed) for passed in verdicts(cases)])


def pass_rates(write: Write, rule: int, count: int) -> dict[str, Measured]:
    """Of first draws: functions of known templates with new fillers, and of new templates; None for a model
    of the first rule of splitting, from whose training neither was kept.
    """
    if rule != RULE:
        return {name: Measured(None, n=0) for name in NEW}
    announce("functions that nobody asked for before")
    chosen = {name: unseen_functions(novelty, count) for name, novelty in NEW.items()}
    return {name: passing(write([one.prompt for one in some]), some) for name, some in chosen.items()}
