"""A subset of regular expressions that needs no going back, for people's patterns and those of schemas.

Literals, classes, groups, alternation, ? * + {m,n}, and anchors at the ends. \\d, \\w and \\s mean ASCII,
as in ECMA 262 (of its spaces, those in ASCII); a dot is any character that is no end of a line.
"""

from __future__ import annotations

from .expression import LAST, GrammarError, Node, Ranges, Spell, chain, literal, repeat, union, utf8, without

LONGEST, DEEPEST, MOST = 10_000, 40, 10_000
ALL = [(0, LAST)]
ASCII = [(0, 127)]
DIGITS, WORDS, SPACES = [(48, 57)], [(48, 57), (65, 90), (95, 95), (97, 122)], [(9, 13), (32, 32)]
WIDE_SPACES = [(9, 13), (28, 32), (133, 133), (160, 160), (5760, 5760), (8192, 8202)]
WIDE_SPACES += [(8232, 8233), (8239, 8239), (8287, 8287), (12288, 12288), (65279, 65279)]
DOT = without(ALL, [(10, 10), (13, 13), (0x2028, 0x2029)])
SHORTHANDS = {
    "d": DIGITS,
    "w": WORDS,
    "s": SPACES,
    "D": without(ASCII, DIGITS),  # engines disagree about digits and letters beyond
    "W": without(ASCII, WORDS),
    "S": without(ALL, WIDE_SPACES),
}
CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
HEX = {"x": 2, "u": 4}
QUANTIFIERS = {"?": (0, 1), "*": (0, None), "+": (1, None)}


def full_match(pattern: str, spell: Spell = utf8) -> Node:
    """Texts that the whole pattern describes.

    Raises:
        GrammarError: what is no such pattern, or is not known here.
    """
    return Parser(pattern, spell).parsed(search=False)


def search(pattern: str, spell: Spell = utf8) -> Node:
    """Texts that hold the pattern somewhere, as schemas mean it."""
    return Parser(pattern, spell).parsed(search=True)


class Parser:
    """One pattern, read from left to right. spell: how a character is written in bytes."""

    def __init__(self, pattern: str, spell: Spell) -> None:
        if len(pattern) > LONGEST:
            raise GrammarError(f"the pattern has {len(pattern)} characters; expected at most {LONGEST}")
        self.pattern, self.spell, self.at, self.depth = pattern, spell, 0, 0

    def refuse(self, what: str) -> GrammarError:
        return GrammarError(f"the pattern {self.pattern[:60]!r} has {what} at character {self.at}")

    def parsed(self, *, search: bool) -> Node:
        around = repeat(self.spell(ALL), 0, None)
        parts = [self._anchored(around if search else None)]
        while self._take("|"):
            parts.append(self._anchored(around if search else None))
        if self.at < len(self.pattern):
            raise self.refuse(f"{self.pattern[self.at]!r} without a beginning")
        return union(parts)

    def _anchored(self, around: Node | None) -> Node:
        begins = self._take("^")
        inner = self._sequence()
        ends = self._take("$")
        if around is None:
            return inner
        return chain(*([] if begins else [around]), inner, *([] if ends else [around]))

    def _take(self, mark: str) -> bool:
        if self.pattern.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise self.refuse("no end")
        self.at += 1
        return self.pattern[self.at - 1]

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return union(parts)

    def _sequence(self) -> Node:
        parts = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)$":
            parts.append(self._quantified(self._atom()))
        return chain(*parts) if parts else literal("")

    def _quantified(self, part: Node) -> Node:
        if self.at >= len(self.pattern):
            return part
        mark = self.pattern[self.at]
        if mark in QUANTIFIERS:
            self.at += 1
            low, high = QUANTIFIERS[mark]
        elif mark == "{":
            low, high = self._bounds()
        else:
            return part
        if self._take("+"):
            raise self.refuse("a possessive quantifier, which is not known here,")
        self._take("?")  # lazy ones match the same texts
        if self.pattern[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise self.refuse("two quantifiers")
        return repeat(part, low, high)

    def _bounds(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at + 1 : max(end, 0)].partition(",")
        numbers = [one for one in (low, high) if one]
        if end < 0 or not low or not all(n.isascii() and n.isdigit() and len(n) < 8 for n in numbers):
            raise self.refuse("'{' that is no {m,n}; write \\{ for the sign,")
        a, b = int(low), int(high) if high else (None if comma else int(low))
        if max(a, b or 0) > MOST or (b is not None and b < a):
            raise self.refuse(f"bounds that are not 0 <= m <= n <= {MOST}")
        self.at = end + 1
        return a, b

    def _atom(self) -> Node:
        mark = self._next()
        if mark == "(":
            return self._group()
        if mark == "[":
            return self._spelled(self._class())
        if mark == ".":
            return self.spell(DOT)
        if mark == "\\":
            return self._spelled(self._escape())
        if mark in "*+?{":
            raise self.refuse(f"nothing to repeat before {mark!r}")
        if mark in "^$":
            raise self.refuse(f"the anchor {mark!r} inside of it, which is not known here,")
        return self.spell([(ord(mark), ord(mark))])

    def _spelled(self, ranges: Ranges) -> Node:
        if not without(ranges, [(0xD800, 0xDFFF)]):
            raise self.refuse("a class without characters")
        return self.spell(ranges)

    def _group(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.refuse(f"groups nested deeper than {DEEPEST}")
        if self._take("?P<"):
            while self._next() != ">":
                pass
        elif not self._take("?:") and self._take("?"):
            raise self.refuse("a lookaround, flag or other extension, which is not known here,")
        inner = self._alternatives()
        if not self._take(")"):
            if self.pattern[self.at : self.at + 1] == "$":
                raise self.refuse("the anchor '$' inside of a group, which is not known here,")
            raise self.refuse("a group without an end")
        self.depth -= 1
        return inner

    def _escape(self) -> Ranges:
        mark = self._next()
        if mark in SHORTHANDS:
            return SHORTHANDS[mark]
        if mark == "0" and self.pattern[self.at : self.at + 1].isdigit():
            raise self.refuse("an octal number, which is not known here,")
        if mark in CONTROLS:
            return [(CONTROLS[mark], CONTROLS[mark])]
        if mark in HEX:
            digits = self.pattern[self.at : self.at + HEX[mark]]
            if len(digits) < HEX[mark] or not all(d in "0123456789abcdefABCDEF" for d in digits):
                raise self.refuse(f"\\{mark} without {HEX[mark]} hexadecimal digits")
            self.at += HEX[mark]
            return [(int(digits, 16), int(digits, 16))]
        if mark.isalnum():
            raise self.refuse(f"\\{mark}, which is not known here,")
        return [(ord(mark), ord(mark))]

    def _class(self) -> Ranges:
        negated = self._take("^")
        if self.pattern[self.at : self.at + 1] == "]":
            raise self.refuse("a class that begins with ']'; write \\] for the sign,")
        found: list[tuple[int, int]] = []
        wide = False
        while (mark := self._next()) != "]":
            short = mark == "\\" and self.pattern[self.at : self.at + 1] in SHORTHANDS
            ranges = self._member(mark)
            wide = wide or short
            following = self.pattern[self.at : self.at + 2]
            if not short and following[:1] == "-" and following[1:] not in ("]", ""):
                self.at += 1
                last = self._member(self._next())
                if len(last) != 1 or last[0][0] != last[0][1] or last[0][0] < ranges[0][0]:
                    raise self.refuse("a range that falls")
                ranges = [(ranges[0][0], last[0][0])]
            found += WIDE_SPACES if negated and ranges is SPACES else ranges
        if not negated:
            return found
        return without(ASCII if wide else ALL, found)  # as for \D and \W

    def _member(self, mark: str) -> Ranges:
        if mark != "\\":
            return [(ord(mark), ord(mark))]
        if self._take("b"):
            return [(8, 8)]
        return self._escape()
