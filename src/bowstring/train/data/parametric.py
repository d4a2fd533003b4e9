"""A grammar of short Python functions with a number or a text of the prompt in them, so that whoever writes them
has to copy: thousands of prompts, most of which no training has seen.

As in `snippets`, every choice comes from the `random.Random` that is passed in, and each function has its check.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .snippets import ITEM, ITEMS, NEW, Snippet, indented, snippet

PARAMETRIC = 0.65  # share of the drawn snippets
Template = tuple[tuple[str, ...], str, str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Slots:
    """What fills a template, as Python writes it: two numbers (n < m), a divisor, a length, two texts."""

    n: str
    m: str
    p: str
    k: str
    c: str
    e: str

    @classmethod
    def drawn(cls, rng: random.Random) -> Slots:
        low = rng.choice((rng.randint(0, 20), rng.randint(0, 200), rng.randint(-50, -1), rng.randint(100, 2000)))
        n, m, p, k = map(str, (low, low + rng.randint(1, 40), rng.randint(2, 30), rng.randint(2, 9)))
        first = second = text(rng)
        while second == first:
            second = text(rng)
        return cls(n, m, p, k, repr(first), repr(second))

    def used(self, pattern: str) -> frozenset[str]:
        """The fillers of a pattern's slots."""
        return frozenset(getattr(self, name) for name in "nmpkce" if f"{{{name}}}" in pattern)

    def fill(self, pattern: str, **names: str) -> str:
        return pattern.format(**vars(self), **names)

    def tried(self, kind: str) -> str:
        """The lists that a function is tried on: one with all there is, every pair of neighbours in it, none."""
        near = self.near(kind)
        return str([near, *map(list, pairwise(near)), []])

    def near(self, kind: str) -> list[Any]:
        """Values of which some pass a test, and would not with another number or text in it; no order."""
        n, p, k, c = int(self.n), int(self.p), int(self.k), self.c.strip("'")
        if kind == "numbers":
            m = int(self.m)
            return [7 * p, 3, n + 1, -4, m + 1, n, 0, 3 * p, n - 1, m, p + 1, 10 * n + 3, -7 * n, p]
        return [f"x{c}y", "apple", f"{c}an", "", f"ku{c}", "z" * k, "y" * (k + 1), f"a{c}", "x" * (k - 1), "banana"]


def text(rng: random.Random) -> str:
    """One to three letters that can be spoken.

    >>> text(random.Random(1)).isalpha()
    True
    """
    consonants = "bcdfghklmnprstvw"
    size = rng.choices((1, 2, 3), (3, 4, 3))[0]
    if size == 1:
        return rng.choice(f"{consonants}aeiou")
    return (rng.choice(consonants) + rng.choice("aeiou") + rng.choice(consonants))[:size]


# words after "numbers" or "words" -> (what a name calls it, condition on x)
TESTS = {
    "numbers": {
        "greater than {n}": ("greater", "{x} > {n}"),
        "less than {n}": ("less", "{x} < {n}"),
        "at least {n}": ("at_least", "{x} >= {n}"),
        "at most {n}": ("at_most", "{x} <= {n}"),
        "divisible by {p}": ("divisible", "{x} % {p} == 0"),
        "not divisible by {p}": ("not_divisible", "{x} % {p} != 0"),
        "between {n} and {m}": ("between", "{n} <= {x} <= {m}"),
        "other than {n}": ("other", "{x} != {n}"),
    },
    "words": {
        "longer than {k} letters": ("longer", "len({x}) > {k}"),
        "shorter than {k} letters": ("shorter", "len({x}) < {k}"),
        "of exactly {k} letters": ("sized", "len({x}) == {k}"),
        "starting with {c}": ("starting", "{x}.startswith({c})"),
        "ending with {c}": ("ending", "{x}.endswith({c})"),
        "containing {c}": ("containing", "{c} in {x}"),
        "without {c}": ("without", "{c} not in {x}"),
    },
}
# words after "every number" or "every word" -> (what a name calls it, value of x)
CHANGES = {
    "numbers": {
        "plus {n}": ("plus", "{x} + {n}"),
        "minus {n}": ("minus", "{x} - {n}"),
        "times {n}": ("times", "{x} * {n}"),
        "divided by {p}": ("divided", "{x} / {p}"),
        "modulo {p}": ("modulo", "{x} % {p}"),
        "limited to at most {n}": ("limited", "min({x}, {n})"),
    },
    "words": {
        "cut to {k} letters": ("cut", "{x}[:{k}]"),
        "without its first {k} letters": ("tail", "{x}[{k}:]"),
        "repeated {k} times": ("repeated", "{x} * {k}"),
        "with {c} in front": ("prefixed", "{c} + {x}"),
        "followed by {c}": ("suffixed", "{x} + {c}"),
        "with {c} replaced by {e}": ("replaced", "{x}.replace({c}, {e})"),
    },
}
# action -> (ways to ask, names, bodies, of which the first says what is right); T is the test's words, {if} its condition
ACTIONS = {
    "keep": (("keep only the {kind} {T}", "return the {kind} {T} from a list", "filter a list for {kind} {T}"),
        ("keep_{short}", "{short}_{kind}"),
        ("return [{x} for {x} in {xs} if {if}]", "result = []\nfor {x} in {xs}:\n    if {if}:\n        result.append({x})\nreturn result")),
    "remove": (("remove the {kind} {T} from a list", "drop all {kind} {T}"),
        ("remove_{short}", "drop_{short}"),
        ("return [{x} for {x} in {xs} if not ({if})]",)),
    "count": (("count the {kind} {T}", "return the number of {kind} {T}"),
        ("count_{short}",),
        ("return sum(1 for {x} in {xs} if {if})", "count = 0\nfor {x} in {xs}:\n    if {if}:\n        count += 1\nreturn count")),
    "first": (("return the first of the {kind} {T}, or None", "find the first of the {kind} {T}"),
        ("first_{short}", "find_{short}"),
        ("return next(({x} for {x} in {xs} if {if}), None)", "for {x} in {xs}:\n    if {if}:\n        return {x}\nreturn None")),
    "any": (("check whether a list has {kind} {T}", "check whether there are any {kind} {T}"),
        ("has_{short}", "any_{short}"),
        ("return any({if} for {x} in {xs})",)),
    "all": (("check whether a list has only {kind} {T}", "check whether a list holds nothing but {kind} {T}"),
        ("all_{short}", "only_{short}"),
        ("return all({if} for {x} in {xs})",)),
    "place": (("return the indices of the {kind} {T}", "find where in a list the {kind} {T} are"),
        ("indices_{short}", "where_{short}"),
        ("return [i for i, {x} in enumerate({xs}) if {if}]",)),
    "sort": (("return the {kind} {T} in order", "sort the {kind} {T}"),
        ("sorted_{short}", "sort_{short}"),
        ("return sorted({x} for {x} in {xs} if {if})",)),
}
OF_NUMBERS = {
    "sum": (("add up the numbers {T}", "return the sum of the numbers {T}"),
        ("sum_{short}", "total_{short}"),
        ("return sum({x} for {x} in {xs} if {if})", "total = 0\nfor {x} in {xs}:\n    if {if}:\n        total += {x}\nreturn total")),
    "largest": (("return the largest of the numbers {T}, or None",),
        ("largest_{short}",),
        ("return max(({x} for {x} in {xs} if {if}), default=None)",)),
    "smallest": (("return the smallest of the numbers {T}, or None",),
        ("smallest_{short}",),
        ("return min(({x} for {x} in {xs} if {if}), default=None)",)),
}
# prompts, name, arguments, body, arguments it is tried on
PLAIN: tuple[Template, ...] = (
    (("list the numbers from {n} to {m}",), "numbers_between", "", "return list(range({n}, {m} + 1))", ("",)),
    (("add up the numbers from {n} to {m}",), "sum_between", "", "return sum(range({n}, {m} + 1))", ("",)),
    (("list the first n multiples of {p}",), "multiples", "n", "return [{p} * i for i in range(1, n + 1)]", ("4", "0")),
    (("check whether a number is divisible by {p}",), "is_divisible", "n", "return n % {p} == 0", ("{p}", "{p} + 1", "5 * {p}")),
    (("check whether a number is greater than {n}",), "is_greater", "x", "return x > {n}", ("{n}", "{n} + 1", "{n} - 1", "{n} + 90", "{n} - 90")),
    (("check whether a number lies between {n} and {m}",), "in_range", "x", "return {n} <= x <= {m}", ("{n}", "{m}", "{m} + 1", "{n} - 1")),
    (("limit a number to at most {n}",), "limit", "x", "return min(x, {n})", ("{n} + 5", "{n} - 5")),
    (("add {n} to a number",), "add", "x", "return x + {n}", ("4", "-9", "1000")),
    (("subtract {n} from a number",), "subtract", "x", "return x - {n}", ("4", "-9", "1000")),
    (("multiply a number by {n}",), "multiply", "x", "return x * {n}", ("4", "-9", "0")),
    (("return the remainder of a division by {p}",), "remainder", "x", "return x % {p}", ("100", "{p}")),
    (("make a list of {k} copies of an item", "repeat an item {k} times in a list"), "copies", "item", "return [item] * {k}", ("1", "'a'")),
    (("return the {k} largest numbers of a list",), "largest", "numbers", "return sorted(numbers, reverse=True)[:{k}]", ("[5, 1, 9, 3, 12, 7, 2, 11, 4, 8, 6, 10]",)),
    (("return the {k} smallest numbers of a list",), "smallest", "numbers", "return sorted(numbers)[:{k}]", ("[5, 1, 9, 3, 12, 7, 2, 11, 4, 8, 6, 10]",)),
    (("drop the first {k} items of a list",), "drop_first", "items", "return items[{k}:]", ("[*range(12)]",)),
    (("take the last {k} items of a list",), "take_last", "items", "return items[-{k}:]", ("[*range(12)]",)),
    (("take every item of a list in steps of {k}",), "every", "items", "return items[::{k}]", ("[*range(30)]",)),
    (("split a list into chunks of {k}",), "chunks_of", "items", "return [items[i:i + {k}] for i in range(0, len(items), {k})]", ("[*range(20)]",)),
    (("rotate a list by {k}",), "rotate", "items", "return items[{k}:] + items[:{k}]", ("[*range(12)]",)),
    (("join words with {c} between them",), "join_words", "words", "return {c}.join(words)", ("['q', 'j']",)),
    (("split a text at every {c}",), "split_at", "text", "return text.split({c})", ("'q' + {c} + 'j'",)),
    (("replace every {c} in a text by {e}",), "replace_text", "text", "return text.replace({c}, {e})", ("'q' + {c} + 'j' + {c}",)),
    (("count how often {c} occurs in a text",), "count_text", "text", "return text.count({c})", ("'q' + {c} + 'j' + {c}", "'zzz'")),
    (("check whether a text starts with {c}",), "starts", "text", "return text.startswith({c})", ("{c} + 'q'", "'z'", "'z' + {c}")),
    (("remove {c} from a text",), "remove_text", "text", "return text.replace({c}, '')", ("'q' + {c} + 'j'",)),
    (("put {c} before and after a text",), "wrap", "text", "return {c} + text + {c}", ("'q'",)),
    (("pad a text with spaces to {k} characters",), "pad", "text", "return text.ljust({k})", ("'a'", "''", "'abcdefghijkl'")),
    (("cut a text to {k} characters",), "cut", "text", "return text[:{k}]", ("'abcdefghijkl'",)),
)

NEVER_LEARNED: tuple[Template, ...] = (  # what no corpus has, in the same form
    (("return the sum of the first {k} items of a list",), "sum_first", "items", "return sum(items[:{k}])", ("[*range(12)]",)),
    (("check whether a list has at least {k} items",), "has_items", "items", "return len(items) >= {k}", ("[0] * {k}", "[0] * ({k} - 1)", "[0] * ({k} + 2)")),
    (("list the numbers from {n} to {m} that are divisible by {p}",), "divisible_between", "", "return [x for x in range({n}, {m} + 1) if x % {p} == 0]", ("",)),
    (("put {c} between the letters of a text",), "spread", "text", "return {c}.join(text)", ("'qj'",)),
    (("check whether a text ends with {c}",), "ends", "text", "return text.endswith({c})", ("'q' + {c}", "'z'", "{c} + 'z'")),
    (("check whether {c} occurs in a text",), "occurs", "text", "return {c} in text", ("'q' + {c} + 'j'", "'zzz'")),
    (("divide a number by {p}",), "divide", "x", "return x / {p}", ("100", "-7", "0")),
    (("raise a number to the power of {k}",), "power", "x", "return x ** {k}", ("3", "-2", "1")),
    (("return the item of a list at index {k}",), "item_at", "items", "return items[{k}]", ("[*range(20, 32)]",)),
    (("return all but the last {k} items of a list",), "all_but_last", "items", "return items[:-{k}]", ("[*range(12)]",)),
    (("replace every number of a list that is below {n} by {n}",), "raised", "numbers", "return [max(x, {n}) for x in numbers]", ("[{n} - 3, {n}, {n} + 4]",)),
    (("join words in reverse order with {c} between them",), "join_reversed", "words", "return {c}.join(words[::-1])", ("['q', 'j', 'x']",)),
    (("return how far a number is from {n}",), "how_far", "x", "return abs(x - {n})", ("{n} + 3", "{n} - 3")),
    (("double the numbers greater than {n} and keep the others",), "double_greater", "numbers", "return [2 * x if x > {n} else x for x in numbers]", ("[{n}, {n} + 1, {n} - 1]",)),
)


def filtered(rng: random.Random, slots: Slots) -> Snippet:
    """What is done to the numbers or words of a list that pass a test."""
    kind = rng.choice(("numbers", "words"))
    words, (short, condition) = rng.choice([*TESTS[kind].items()])
    actions = ACTIONS | (OF_NUMBERS if kind == "numbers" else {})
    action = rng.choice([*actions])
    asked, names, bodies = actions[action]
    given = {"kind": kind, "T": slots.fill(words), "short": short, **items(rng, kind)}
    given["if"] = slots.fill(condition, x=given["x"])
    name, body = (rng.choice(options).format(**given) for options in (names, bodies))
    right = bodies[0].removeprefix("return ").format(**given | {"xs": "tried"})
    check = f"all({name}(tried) == ({right}) for tried in {slots.tried(kind)})"
    ways = tuple(one.format(**given) for one in rng.sample(asked, len(asked)))
    return written(ways, name, given["xs"], body, check, f"parametric {action}", slots.used(words))


def changed(rng: random.Random, slots: Slots) -> Snippet:
    """Every number or word of a list, changed; perhaps of those alone that pass a test."""
    kind = rng.choice(("numbers", "words"))
    words, (short, value) = rng.choice([*CHANGES[kind].items()])
    given = items(rng, kind)
    value = slots.fill(value, x=given["x"])
    if rng.random() < 0.5:
        ways: tuple[str, ...] = (f"return every {kind[:-1]} of a list {words}", f"make a list of every {kind[:-1]} {words}")
        name, used, tail, template = short, words, "", "parametric map"
    else:
        test, (tested, condition) = rng.choice([*TESTS[kind].items()])
        ways = (f"return the {kind} {test}, each {words}", f"take the {kind} {test} and return each {words}")
        name, used, template = f"{tested}_{short}", words + test, "parametric map and filter"
        tail = f" if {slots.fill(condition, x=given['x'])}"
    loop = f"result = []\nfor {given['x']} in {given['xs']}:\n    result.append({value})\nreturn result"
    body = f"return [{value} for {given['x']} in {given['xs']}{tail}]"
    body = loop if not tail and rng.random() < 0.3 else body
    right = f"[{value} for {given['x']} in tried{tail}]"
    check = f"all({name}(tried) == {right} for tried in {slots.tried(kind)})"
    ways = tuple(slots.fill(one) for one in rng.sample(ways, 2))
    return written(ways, name, given["xs"], body, check, template, slots.used(used))


def plain(rng: random.Random, slots: Slots, templates: Sequence[Template] = PLAIN) -> Snippet:
    """A small function with a number or text of the prompt in it."""
    ways, name, arguments, body, tried = rng.choice(templates)
    body, value = slots.fill(body), slots.fill(body).removeprefix("return ")
    calls = [slots.fill(one) for one in tried]
    right = " and ".join(f"{name}({one}) == (lambda {arguments}: {value})({one})" for one in calls)
    asked = tuple(slots.fill(one) for one in rng.sample(ways, len(ways)))
    return written(asked, name, arguments, body, right, f"{NEW if templates is NEVER_LEARNED else 'parametric'} {name}", slots.used(ways[0]))


def items(rng: random.Random, kind: str) -> dict[str, str]:
    """Names of a list and of one of its items."""
    xs = rng.choice(ITEMS[kind])
    return {"xs": xs, "x": rng.choice([name for name in ITEM[kind] if name != xs])}


def written(
    ways: tuple[str, ...], name: str, arguments: str, body: str, check: str, template: str, fillers: frozenset[str]
) -> Snippet:
    source = f"def {name}({arguments}):\n{indented(body)}"
    return Snippet(ways[0], source, check, template, fillers, ways[1:])


def parametric(rng: random.Random) -> Snippet:
    """One function with its prompts and its check.

    >>> one = parametric(random.Random(3))
    >>> one.fillers and all(filler.strip("'") in one.source for filler in one.fillers)
    True
    """
    form = rng.choices((filtered, changed, plain), (5, 3, 3))[0]
    return form(rng, Slots.drawn(rng))


def never_learned(rng: random.Random) -> Snippet:
    """One function of a template that no corpus has."""
    return plain(rng, Slots.drawn(rng), NEVER_LEARNED)


def any_snippet(rng: random.Random) -> Snippet:
    """A function with parameters of the prompt in it, or one of the others."""
    return parametric(rng) if rng.random() < PARAMETRIC else snippet(rng)
