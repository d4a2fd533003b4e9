"""Do functions that nobody asked for before do what they should? They are run, and their checks say."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence

from ..train.data.parametric import never_learned, parametric
from ..train.data.running import verdicts
from ..train.data.snippets import Snippet, is_held_out
from ..train.data.splits import RULE
from .results import Measured, announce

NEW = {"pass_rate": "filler", "pass_rate_new": "template"}  # what of a function no training has seen
Write = Callable[[Sequence[str]], Iterable[str]]


def unseen_functions(novelty: str, count: int) -> list[Snippet]:
    """Functions with different prompts, of which this is new: a number or text in a template that was
    learned, or a template that no corpus has. Numbers of which only the sign is new do not count, and neither
    do words that say nothing of what they mean.
    """
    draw, found = {"filler": parametric, "template": never_learned}[novelty], dict[str, Snippet]()
    for i in range(40 * count):
        one = draw(random.Random(f"never asked {i}"))
        if one.novelty == novelty and len(found) < count and (novelty == "template" or is_far(one)):
            found.setdefault(one.prompt, one)
    return [*found.values()]


def is_far(function: Snippet) -> bool:
    """Whether a held-out filler is a text, or a number whose negative is held out, too, or never drawn."""
    new = (one for one in function.fillers if is_held_out(one))
    return any(one.startswith("'") or abs(int(one)) > 50 or is_held_out(str(-int(one))) for one in new)


def named(source: str, wanted: str) -> str:
    """A module that knows its first function by this name, too: a right one may be called otherwise.

    >>> named("def f(x):\\n    return x", "g").splitlines()[-1]
    'g = f'
    """
    names = re.findall(r"^def (\w+)", source, re.MULTILINE)
    return f"{source}\n{wanted} = {names[0]}\n" if names and wanted not in names else source


def passing(sources: Iterable[str], functions: Sequence[Snippet]) -> Measured:
    """Share of these sources that do what the checks of these functions say; those of one template are not
    independent.
    """
    cases = []
    for source, one in zip(sources, functions, strict=True):
        wanted = one.source.removeprefix("def ").partition("(")[0]
        cases.append((named(source, wanted), one.check))
    passed = [float(one) for one in verdicts(cases)]
    return Measured.ratio(passed, [1.0] * len(passed), [one.template for one in functions])


def pass_rates(write: Write, rule: int, count: int) -> dict[str, Measured]:
    """Of first draws: functions of known templates with new fillers, and of new templates; None for a model
    of the first rule of splitting, from whose training neither was kept.
    """
    if rule != RULE:
        return {name: Measured(None, n=0) for name in NEW}
    announce("functions that nobody asked for before")
    chosen = {name: unseen_functions(novelty, count) for name, novelty in NEW.items()}
    return {name: passing(write([one.prompt for one in some]), some) for name, some in chosen.items()}
