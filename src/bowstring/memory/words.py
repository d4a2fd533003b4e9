"""Words of a query that tell something, and those that only hold sentences together."""

from __future__ import annotations

import re

FUNCTION_WORDS = frozenset(
    """a about above after again against all also am an and any anybody anyone anything are as at be
    because been before behind being below beneath beside between but by can could d did do does doing
    done down during each either else every everybody everyone everything few for from had has have
    having he her here hers herself him himself his how i if in inside into is it its itself ll me might
    mine more most much must my myself near neither no nobody none nor not nothing now of off on once
    one only onto or other our ours ourselves out outside over own re s shall she should so some
    somebody someone something such t than that the their theirs them themselves then there these they
    this those through till to too toward towards under until up upon us ve very was we were what
    whatever when whenever where wherever whether which while who whoever whom whose why will with
    within without would yet you your yours yourself yourselves""".split()
)


def telling(query: str) -> list[str]:
    """The words that a query is looked for by, each once: all that are no function words, or all of them.

    >>> telling("Where is the fox?"), telling("who is it")
    (['fox'], ['who', 'is', 'it'])
    """
    words = [*dict.fromkeys(re.findall(r"\w+", query.lower()))]
    return [word for word in words if word not in FUNCTION_WORDS] or words
