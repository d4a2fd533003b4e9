"""Layout as pauses: Markdown and simple HTML lose their signs, lists and lines keep their breaks.

A line break stays where a reader pauses: one for a breath, two for the end of a sentence.
"""

from __future__ import annotations

import re

LONG = 60  # a line of so many letters that goes on in lower case was wrapped
FENCE = re.compile(r" {0,3}(?:```|~~~)")
RULER = re.compile(r" {0,3}(?:(?:- ?){3,}|(?:\* ?){3,}|(?:_ ?){3,}|={3,})$")
TABLE_RULER = re.compile(r"[|: -]*-[|: -]*$")
HEADING = re.compile(r"^ {0,3}#{1,6} +")
BULLET = re.compile(r"^[ \t]*[-*+•‣◦▪●–] +(?:\[[ xX]\] +)?(?=\S)")
STEP = re.compile(r"^[ \t]*(\d{1,3})[.)] +(?=\S)")
QUOTED = re.compile(r"^ {0,3}(?:> ?)+(?!\d)")
LINK = re.compile(
    r"!?\[([^\[\]\n]{0,300})\](?:\([^()\s]{0,500}(?: +\"[^\"\n]{0,200}\")?\)|\[[^\[\]\n]{0,100}\])"
)
FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,40}\]")
AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]{1,500})>")
BREAK = re.compile(r"<(?:br|hr)\s*/?>|</(?:p|div|li|tr|h[1-6])>", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|body|br|code|dd|del|div|dl|dt|em|figure|h[1-6]|head|hr|html|i|img|ins|kbd|li|mark"
    r"|ol|p|pre|q|s|samp|small|span|strike|strong|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul|var)"
    r"(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
STRESS = re.compile(r"(\*{1,3}|_{1,3}|~~)")
ENDED = tuple(".,;:!?—…")


def unmarked(text: str) -> str:
    """Text without the signs of its markup.

    >>> unmarked("# Title\\n* **one**\\n* two")
    'Title\\n\\none\\ntwo'
    """
    text = BREAK.sub("\n", text)
    if "<" in text:
        text = TAG.sub("", AUTOLINK.sub(r"\1", text))
    lines = text.split("\n")
    out: list[str] = []
    for number, line in enumerate(lines):
        said = _line(line, _is_list(lines, number))
        if out:
            out.append(_gap(lines[number - 1], line))
        out.append(_inline(said))
    return "".join(out)


def _line(line: str, in_list: bool) -> str:  # noqa: FBT001
    if FENCE.match(line) or RULER.match(line):
        return ""
    line = QUOTED.sub("", line, count=1)
    if line.lstrip().startswith("|"):
        return (
            "" if TABLE_RULER.match(line) else ", ".join(cell.strip() for cell in line.strip(" |").split("|"))
        )
    if HEADING.match(line):
        line = HEADING.sub("", line, count=1).rstrip("# ")
    line = BULLET.sub("", line, count=1)
    return STEP.sub(r"\1, ", line, count=1) if in_list else line


def _is_list(lines: list[str], number: int) -> bool:
    """Whether a number at the beginning of a line counts a list: a neighbour begins with one, too."""
    near = lines[max(0, number - 2) : number] + lines[number + 1 : number + 3]
    return any(STEP.match(line) for line in near)


def _gap(line: str, following: str) -> str:
    """What parts two lines: a space where the text was only wrapped."""
    if not following.strip() or not line.strip() or HEADING.match(line) or RULER.match(line):
        return "\n\n"
    if BULLET.match(following) or STEP.match(following) or HEADING.match(following):
        return "\n"
    wrapped = following.lstrip()[:1].islower() and len(line) >= LONG
    return " " if wrapped else "\n"


def _inline(line: str) -> str:
    line = FOOTNOTE.sub("", LINK.sub(r"\1", line)) if "[" in line else line
    line = re.sub(r"(?<=[a-z])`(?=[a-z])", "'", line).replace("`", "")
    return STRESS.sub(_stress, line) if "*" in line or "_" in line or "~~" in line else line


def _stress(match: re.Match[str]) -> str:
    """Signs that open or close a stressed part fall away; between numbers or letters they stay."""
    left = match.string[match.start() - 1 : match.start()] if match.start() else " "
    right = match.string[match.end() : match.end() + 1] or " "
    if match[0] == "~~":
        return ""
    apart = left.isspace() and right.isspace()
    inside = (left.isalnum() or left == ")") and (right.isalnum() or right == "(")
    return match[0] if apart or inside else ""
