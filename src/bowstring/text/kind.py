"""Whether what surrounds a gap is code or prose; nothing here knows of networks."""

from __future__ import annotations

import re

NEAR = 1000  # characters on either side that are looked at
VALUE = r"""[\w.]*[\[({'"].*[\])}"']|\w+([ ]*([-+*/%<>|&]|==|!=|and|or|in)[ ]*\w+)+"""
SIGNS = {  # what a line of a program looks like and a line of prose hardly ever does
    "definition": r"^[ \t]*(async[ ]+)?def[ ]|^[ \t]*class[ ]+\w+[ ]*[(:]|^[ \t]*@\w+|->[ ]*[\w\[]",
    "import": r"^[ \t]*(from[ ]+[\w.]+[ ]+)?import[ ]+[\w.*]+([ ]+as[ ]+\w+)?([ ]*,[ ]*[\w.]+)*[ ]*(\#.*)?$",
    "loop or branch": r"^[ \t]*(while[ ]|if[ ]|elif[ ]|for[ ]+[\w, ()]+[ ]in[ ]|with[ ].*(\(|[ ]as[ ])"
    r"|except\b).*[:\])]$|^[ \t]*(try|else|finally)[ ]*:",
    "indented statement": r"^([ ]{2,}|\t)(return|for|if|elif|else|while|with|try|except|raise|yield|pass"
    r"|break|continue|assert|import)\b",
    "returned value": rf"^[ \t]*(return|yield|raise|assert|del)[ ]+({VALUE})[ ]*$",
    "assignment": r"""^[ \t]*[\w.\[\]'"]+([ ]*,[ ]*[\w.]+)*[ ]*(:[ ]*[\w\[\], |.]+)?"""
    r"([-+*/%|&^]|//|\*\*|<<|>>)?=(?!=)",
    "comparison or product": r"[!=]=[ ]|\w[ ]([<>%*/]|[<>]=|//|\*\*)[ ]\w",
    "call": r"""\w\.\w+\(|(?<![A-Za-z])[a-z_]\w*\(([\w ,.='"\[\]{}*:+-]*\))?[ ]*[:,)\]]?[ ]*$|\w_\w+\(""",
    "attribute or item": r"\bself\.\w|\w\[\w*:?[\w-]*\]",
    "comprehension or lambda": r"\bfor[ ]\w+[ ]in[ ][\w.(]+\)?[ ]*(if\b.*)?[\]):]|\blambda\b.*:",
    "end of a list or block": r"""[\d'")]\][ ]*$|[{}][ ]*$|\);[ ]*$""",
    "other marks": r'^\#(!|include\b)|"""',
    "other languages": r"^[ \t]*((const|let|var)[ ]+\w+[ ]*=|(function|fn|func)[ ]+\w+[ ]*\("
    r"|(int|void|float|double|char|bool)[ ]+\w+[ ]*[(=;]|</?[a-z]+[^>]*>"
    r"|(public|private|protected|static)[ ]+(class|static|void|int|final)\b)|\bSELECT\b.*\bFROM\b",
}
CODE = re.compile("|".join(SIGNS.values()), re.MULTILINE)


def guess_kind(prefix: str, suffix: str) -> str:
    """ "code" if a line beside the gap, or the one that runs through it, is one of a program, else "text".

    >>> guess_kind("for numb", "er in range(3):"), guess_kind("A class of ", " sat down.")
    ('code', 'text')
    """
    return "code" if CODE.search(prefix[-NEAR:] + suffix[:NEAR]) else "text"
