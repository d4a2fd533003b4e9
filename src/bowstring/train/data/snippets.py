"""A grammar of short Python functions, each with the sentence that asks for it and checks that it must pass.

Every choice comes from the `random.Random` that is passed in; `check` is a Python expression that is true for
a correct function, to be evaluated with the function's own name bound.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .splits import bucket, least

NEW = "new"  # begins the names of templates that no corpus has
LITERALS_HELD_OUT = 12  # per cent of the numbers and texts that fill templates


@dataclass(frozen=True)
class Snippet:
    """A function, the sentence that asks for it, its check, its template, and the fillers of the template: words,
    or numbers and texts as Python writes them. others: further ways to ask for it.
    """

    prompt: str
    source: str
    check: str
    template: str
    fillers: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()

    @property
    def novelty(self) -> str:
        """What of it no snippet of training has: its template, a filler, both, or only the combination."""
        new_template = self.template in HELD_OUT_TEMPLATES or self.template.startswith(NEW)
        new = {"template": new_template, "filler": any(map(is_held_out, self.fillers))}
        return "both" if all(new.values()) else next((name for name, is_new in new.items() if is_new), "combination")


PREDICATES = {  # words -> (condition on x, wording of the function's name)
    "numbers": {
        "even": "{x} % 2 == 0",
        "odd": "{x} % 2 == 1",
        "positive": "{x} > 0",
        "negative": "{x} < 0",
        "non-zero": "{x} != 0",
        "large": "{x} > 100",
        "small": "abs({x}) < 10",
        "round": "{x} % 10 == 0",
    },
    "words": {
        "long": "len({x}) > 5",
        "short": "len({x}) <= 3",
        "upper-case": "{x}.isupper()",
        "lower-case": "{x}.islower()",
        "empty": "not {x}",
        "capitalised": "{x}.istitle()",
        "numeric": "{x}.isdigit()",
    },
}
MAPS = {
    "numbers": {
        "doubles": "{x} * 2",
        "squares": "{x} ** 2",
        "cubes": "{x} ** 3",
        "halves": "{x} / 2",
        "opposites": "-{x}",
        "absolute values": "abs({x})",
        "successors": "{x} + 1",
        "string forms": "str({x})",
    },
    "words": {
        "lengths": "len({x})",
        "first letters": "{x}[:1]",
        "last letters": "{x}[-1:]",
        "upper-case forms": "{x}.upper()",
        "lower-case forms": "{x}.lower()",
        "reversals": "{x}[::-1]",
        "stripped forms": "{x}.strip()",
        "titles": "{x}.title()",
    },
}
SAMPLE = {"numbers": "[3, -4, 0, 120, 7, 10, -15, 8]", "words": "['apple', 'Kiwi', '', 'FIG', 'banana', '42', 'Cherry', ' pear ']"}
ITEMS = {"numbers": ("numbers", "values", "items", "xs", "nums"), "words": ("words", "names", "items", "strings", "texts")}
ITEM = {"numbers": ("number", "value", "x", "n"), "words": ("word", "name", "text", "s")}
STRING_FUNCTIONS = (
    ("reverse a string", "reverse", "s", "return s[::-1]", "f('abc') == 'cba'"),
    ("check whether a string is a palindrome", "is_palindrome", "s", "return s == s[::-1]", "f('level') and not f('abc')"),
    ("count the vowels in a string", "count_vowels", "s", "return sum(1 for c in s.lower() if c in 'aeiou')", "f('Hello') == 2"),
    ("count the words in a text", "count_words", "text", "return len(text.split())", "f('a b c') == 3"),
    ("return the longest word in a text", "longest_word", "text", "return max(text.split(), key=len)", "f('a bbb cc') == 'bbb'"),
    ("remove all spaces from a string", "remove_spaces", "s", "return s.replace(' ', '')", "f('a b') == 'ab'"),
    ("capitalise every word in a text", "capitalise_words", "text", "return ' '.join(word.capitalize() for word in text.split())", "f('a bc') == 'A Bc'"),
    ("return the initials of a name", "initials", "name", "return ''.join(part[0].upper() for part in name.split())", "f('ada king') == 'AK'"),
    ("repeat a string n times", "repeat", "s, n", "return s * n", "f('ab', 2) == 'abab'"),
    ("check whether a string starts with a prefix", "starts_with", "s, prefix", "return s.startswith(prefix)", "f('abc', 'ab')"),
    ("join words with a comma", "join_words", "words", "return ', '.join(words)", "f(['a', 'b']) == 'a, b'"),
    ("split a line into fields", "split_fields", "line", "return line.strip().split(',')", "f('a,b') == ['a', 'b']"),
    ("count how often a letter occurs in a string", "count_letter", "s, letter", "return s.count(letter)", "f('banana', 'a') == 3"),
    ("return the unique letters of a string", "unique_letters", "s", "return sorted(set(s))", "f('abca') == ['a', 'b', 'c']"),
)
MATH_FUNCTIONS = (
    ("add two numbers", "add", "a, b", "return a + b", "f(2, 3) == 5"),
    ("subtract two numbers", "subtract", "a, b", "return a - b", "f(2, 3) == -1"),
    ("multiply two numbers", "multiply", "a, b", "return a * b", "f(2, 3) == 6"),
    ("divide two numbers", "divide", "a, b", "if b == 0:\n    raise ValueError('division by zero')\nreturn a / b", "f(6, 3) == 2"),
    ("return the larger of two numbers", "larger", "a, b", "if a > b:\n    return a\nreturn b", "f(2, 3) == 3"),
    ("return the smaller of two numbers", "smaller", "a, b", "if a < b:\n    return a\nreturn b", "f(2, 3) == 2"),
    ("return the absolute value of a number", "absolute", "x", "if x < 0:\n    return -x\nreturn x", "f(-2) == 2"),
    ("compute the factorial of n", "factorial", "n", "if n <= 1:\n    return 1\nreturn n * factorial(n - 1)", "f(5) == 120"),
    ("compute the factorial of n", "factorial", "n", "result = 1\nfor i in range(2, n + 1):\n    result *= i\nreturn result", "f(5) == 120"),
    ("return the nth fibonacci number", "fibonacci", "n", "a, b = 0, 1\nfor _ in range(n):\n    a, b = b, a + b\nreturn a", "f(10) == 55"),
    ("return the nth fibonacci number", "fib", "n", "if n < 2:\n    return n\nreturn fib(n - 1) + fib(n - 2)", "f(10) == 55"),
    ("compute the greatest common divisor of two numbers", "gcd", "a, b", "while b:\n    a, b = b, a % b\nreturn a", "f(12, 18) == 6"),
    ("check whether a number is prime", "is_prime", "n", "if n < 2:\n    return False\nfor i in range(2, int(n ** 0.5) + 1):\n    if n % i == 0:\n        return False\nreturn True", "f(7) and not f(9)"),
    ("check whether a number is even", "is_even", "n", "return n % 2 == 0", "f(4) and not f(3)"),
    ("raise a number to a power", "power", "base, exponent", "return base ** exponent", "f(2, 3) == 8"),
    ("clamp a value between low and high", "clamp", "value, low, high", "return max(low, min(value, high))", "f(5, 0, 3) == 3"),
    ("convert celsius to fahrenheit", "celsius_to_fahrenheit", "celsius", "return celsius * 9 / 5 + 32", "f(100) == 212"),
    ("convert fahrenheit to celsius", "fahrenheit_to_celsius", "fahrenheit", "return (fahrenheit - 32) * 5 / 9", "f(212) == 100"),
    ("compute the area of a circle", "circle_area", "radius", "return 3.14159 * radius ** 2", "abs(f(1) - 3.14) < 0.01"),
    ("compute the area of a rectangle", "rectangle_area", "width, height", "return width * height", "f(2, 3) == 6"),
    ("return the sum of the digits of a number", "digit_sum", "n", "return sum(int(d) for d in str(n))", "f(123) == 6"),
    ("swap two values", "swap", "a, b", "return b, a", "f(1, 2) == (2, 1)"),
    ("compute the distance between two points", "distance", "x1, y1, x2, y2", "return ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5", "f(0, 0, 3, 4) == 5"),
)
LIST_FUNCTIONS = (
    ("return the sum of a list", "total", "{xs}", "return sum({xs})", "f([1, 2, 3]) == 6"),
    ("return the sum of a list", "total", "{xs}", "result = 0\nfor {x} in {xs}:\n    result += {x}\nreturn result", "f([1, 2, 3]) == 6"),
    ("return the mean of a list", "mean", "{xs}", "return sum({xs}) / len({xs})", "f([1, 2, 3]) == 2"),
    ("return the largest item of a list", "largest", "{xs}", "best = {xs}[0]\nfor {x} in {xs}:\n    if {x} > best:\n        best = {x}\nreturn best", "f([1, 3, 2]) == 3"),
    ("return the smallest item of a list", "smallest", "{xs}", "return min({xs})", "f([3, 1, 2]) == 1"),
    ("reverse a list", "reverse_list", "{xs}", "return list(reversed({xs}))", "f([1, 2]) == [2, 1]"),
    ("remove duplicates from a list", "unique", "{xs}", "seen = set()\nresult = []\nfor {x} in {xs}:\n    if {x} not in seen:\n        seen.add({x})\n        result.append({x})\nreturn result", "f([1, 1, 2]) == [1, 2]"),
    ("flatten a list of lists", "flatten", "lists", "return [item for inner in lists for item in inner]", "f([[1], [2]]) == [1, 2]"),
    ("split a list into chunks", "chunks", "{xs}, size", "return [{xs}[i:i + size] for i in range(0, len({xs}), size)]", "f([1, 2, 3], 2) == [[1, 2], [3]]"),
    ("count how often each item occurs in a list", "count_items", "{xs}", "counts = {{}}\nfor {x} in {xs}:\n    counts[{x}] = counts.get({x}, 0) + 1\nreturn counts", "f([1, 1]) == {1: 2}"),
    ("return the index of an item in a list", "find_index", "{xs}, target", "for i, {x} in enumerate({xs}):\n    if {x} == target:\n        return i\nreturn -1", "f([5, 6], 6) == 1"),
    ("sort a list in descending order", "sort_descending", "{xs}", "return sorted({xs}, reverse=True)", "f([1, 2]) == [2, 1]"),
    ("return the items that two lists share", "common", "first, second", "return [{x} for {x} in first if {x} in second]", "f([1, 2], [2, 3]) == [2]"),
    ("merge two dictionaries", "merge", "first, second", "result = dict(first)\nresult.update(second)\nreturn result", "f({1: 2}, {3: 4}) == {1: 2, 3: 4}"),
    ("invert a dictionary", "invert", "mapping", "return {{value: key for key, value in mapping.items()}}", "f({1: 2}) == {2: 1}"),
    ("group words by their length", "group_by_length", "words", "groups = {{}}\nfor word in words:\n    groups.setdefault(len(word), []).append(word)\nreturn groups", "f(['a', 'b']) == {1: ['a', 'b']}"),
    ("check whether a list is sorted", "is_sorted", "{xs}", "return all(a <= b for a, b in zip({xs}, {xs}[1:]))", "f([1, 2]) and not f([2, 1])"),
    ("return the last item of a list", "last", "{xs}", "return {xs}[-1]", "f([1, 2]) == 2"),
)
ACTIONS = {  # what a composed function does, and the template it belongs to: twins are one
    "count": "count",
    "keep": "filter",
    "remove": "filter",
    "map": "map",
    "map_filter": "map and filter",
    "first": "first",
    "any": "quantifier",
    "all": "quantifier",
}


def indented(body: str) -> str:
    return "".join(f"    {line}\n" for line in body.split("\n"))


def fixed(rng: random.Random) -> Snippet:
    """A classic small function under its usual names."""
    prompt, name, arguments, body, check = rng.choice(rng.choice((STRING_FUNCTIONS, MATH_FUNCTIONS, LIST_FUNCTIONS)))
    if "{" in body + arguments:
        words = {"xs": rng.choice(ITEMS["numbers"]), "x": rng.choice(("item", "value", "x"))}
        arguments, body = arguments.format(**words), body.format(**words)
    return Snippet(prompt, f"def {name}({arguments}):\n{indented(body)}", check.replace("f(", f"{name}("), template=prompt)


def composed(rng: random.Random) -> Snippet:
    """Filter, map or reduce, over numbers or words, as a loop or as an expression."""
    kind = rng.choice(("numbers", "words"))
    adjective, condition = rng.choice(list(PREDICATES[kind].items()))
    noun, value = rng.choice(list(MAPS[kind].items()))
    xs = rng.choice(ITEMS[kind])
    x = rng.choice([name for name in ITEM[kind] if name != xs])
    condition, value = condition.format(x=x), value.format(x=x)
    short, sample = adjective.replace("-", "_"), SAMPLE[kind]
    loop = rng.random() < 0.4
    action = rng.choice([*ACTIONS])
    if action == "count":
        prompt, name = f"count the {adjective} {kind} in a list", f"count_{short}"
        oracle = f"sum(1 for {x} in {sample} if {condition})"
        body = f"count = 0\nfor {x} in {xs}:\n    if {condition}:\n        count += 1\nreturn count" if loop else f"return sum(1 for {x} in {xs} if {condition})"
    elif action == "keep":
        prompt, name = f"keep only the {adjective} {kind} of a list", f"keep_{short}"
        oracle = f"[{x} for {x} in {sample} if {condition}]"
        body = f"result = []\nfor {x} in {xs}:\n    if {condition}:\n        result.append({x})\nreturn result" if loop else f"return [{x} for {x} in {xs} if {condition}]"
    elif action == "remove":
        prompt, name = f"remove the {adjective} {kind} from a list", f"remove_{short}"
        oracle = f"[{x} for {x} in {sample} if not ({condition})]"
        body = f"return [{x} for {x} in {xs} if not ({condition})]"
    elif action == "map":
        prompt, name = f"return the {noun} of all {kind} in a list", noun.replace(" ", "_").replace("-", "_")
        oracle = f"[{value} for {x} in {sample}]"
        body = f"result = []\nfor {x} in {xs}:\n    result.append({value})\nreturn result" if loop else f"return [{value} for {x} in {xs}]"
    elif action == "map_filter":
        prompt, name = f"return the {noun} of the {adjective} {kind}", f"{noun}_of_{short}".replace(" ", "_").replace("-", "_")
        oracle = f"[{value} for {x} in {sample} if {condition}]"
        body = f"return [{value} for {x} in {xs} if {condition}]"
    elif action == "first":
        prompt, name = f"return the first {adjective} {kind[:-1]} of a list", f"first_{short}"
        oracle = f"next(({x} for {x} in {sample} if {condition}), None)"
        body = f"for {x} in {xs}:\n    if {condition}:\n        return {x}\nreturn None"
    else:
        prompt = f"check whether {'any' if action == 'any' else 'every'} {kind[:-1]} in a list is {adjective}"
        name, oracle = f"{action}_{short}", f"{action}({condition} for {x} in {sample})"
        body = f"return {action}({condition} for {x} in {xs})"
    fillers = frozenset(word for word in (adjective, noun) if word in prompt)
    return Snippet(prompt, f"def {name}({xs}):\n{indented(body)}", f"{name}({sample}) == {oracle}", ACTIONS[action], fillers)


# Kept from training: whole templates, and, apart from them, words that fill the slots of composed ones.
FIXED = sorted({row[0] for row in (*STRING_FUNCTIONS, *MATH_FUNCTIONS, *LIST_FUNCTIONS)})
HELD_OUT_TEMPLATES = least(FIXED, 6, "fixed function") | least(ACTIONS.values(), 1, "composed function")
HELD_OUT_WORDS = frozenset().union(
    *(
        least(table[kind], 1, f"{name} of {kind}")
        for name, table in (("predicate", PREDICATES), ("map", MAPS))
        for kind in table
    )
)


def is_held_out(filler: str) -> bool:
    """Whether no snippet of training has a filler. One digit and one letter are everywhere.

    >>> is_held_out("7"), is_held_out("'a'")
    (False, False)
    """
    literal = filler.lstrip("-").isdigit() or filler.startswith("'")
    long = len(filler.strip("-'")) > 1
    return filler in HELD_OUT_WORDS or (literal and long and bucket(filler) < LITERALS_HELD_OUT)


def snippet(rng: random.Random) -> Snippet:
    """One function with its prompt and its check.

    >>> one = snippet(random.Random(3))
    >>> one.source.startswith("def ")
    True
    """
    return fixed(rng) if rng.random() < 0.35 else composed(rng)
