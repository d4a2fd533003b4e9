"""Roman numerals: which capitals are numbers, and whether they count or rank."""

from __future__ import annotations

import re

from .numbers import cardinal, ordinal, year
from .rules import Rule, after, before, follows_word, letters, rule, shouted, word_after

VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
NUMERAL = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
COUNTED = set(
    "war chapter act scene part volume vol book section article level phase type class grade stage bowl "
    "title appendix figure fig table episode mark version round group unit tier schedule page canto psalm "
    "number no lesson rocky apollo saturn division category annex amendment battalion corps module exhibit "
    "step item question problem".split()
)
RULERS = set(
    "henry louis elizabeth george edward richard charles james william philip napoleon paul benedict pius "
    "leo francis gregory clement innocent catherine peter ivan nicholas alexander wilhelm frederick "
    "friedrich ramses ptolemy otto mary alfonso ferdinand carl gustav christian harald margrethe carlos "
    "constantine xerxes darius emmanuel franz joseph selassie umberto john urban boniface julius adrian "
    "celestine sixtus frederik haakon olav albert baudouin leopold rainier juan felipe isabella joan "
    "stephen robert david thutmose cleopatra rudolf maximilian ludwig karl mehmed murad selim suleiman "
    "cyrus theodosius anne victoria matilda kamehameha".split()
)
RANKED = set("century centuries dynasty olympiad olympiads congress army".split())
TITLE = re.compile(r"\b(?:King|Queen|Pope|Emperor|Empress|Tsar|Czar|Sultan|Pharaoh|Kaiser|Prince|Princess)\b")
DRIPS = set(
    "drip drips fluid fluids line lines bag bags therapy antibiotics catheter infusion needle".split()
)
SPEAKER = re.compile(
    r" (?:am|have|had|was|like|think|thought|want|need|love|do|did|know|can|will|would|saw)\b"
)
REIGN = re.compile(
    r"$|[.,;:!?)\n]|'s| (?:of|was|is|ruled|reigned|died|became|and|in|had|made|signed|never)\b"
)
LATE = 1000  # larger numerals alone are years, as films end with


def value(numeral: str) -> int:
    """
    >>> value("XIV"), value("LVIII")
    (14, 58)
    """
    values = [VALUES[c] for c in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _name_before(match: re.Match[str]) -> str:
    found = re.search(r"([A-Za-z']+)\.? $", before(match))
    return found[1] if found else ""


def _heading(match: re.Match[str]) -> str | None:
    """The number of a chapter at the beginning of a line."""
    return cardinal(value(match[1])) if re.search(r"(?:^|\n)$", before(match)) else None


def _world_war(match: re.Match[str]) -> str | None:
    return (
        None
        if follows_word(match)
        else f"World War {cardinal(len(match[1]) if match[1][0] == 'I' else int(match[1]))}"
    )


def _roman(match: re.Match[str]) -> str | None:
    text, name = match[1], _name_before(match)
    if follows_word(match) or not NUMERAL.fullmatch(text):
        return None
    if word_after(match).lower() in RANKED and text != "I":
        return ordinal(value(text))
    if name.lower().rstrip("s") in COUNTED or name.lower() in COUNTED:
        return cardinal(value(text)) if len(text) > 1 or _is_counted(match, name) else None
    if name[:1].isupper() and name.lower() in RULERS and set(text) <= set("IVX") and _rules(match, text):
        return f"the {ordinal(value(text))}"
    return _alone(match, text, name)


def _is_counted(match: re.Match[str], name: str) -> bool:
    """Whether one letter behind `Part` is its number: not in `the part I like`."""
    kinds = "IVXLC" if name.lower() == "bowl" else "IVX"
    return name[:1].isupper() and match[1] in kinds and not SPEAKER.match(after(match))


def _rules(match: re.Match[str], text: str) -> bool:
    """Whether a numeral behind a name is a ruler's: not in `George, and Henry I think`."""
    if len(text) > 1:
        return True
    titled = bool(TITLE.search(before(match)))
    if text == "I":
        return not SPEAKER.match(after(match)) and bool(titled or REIGN.match(after(match)))
    return titled or bool(REIGN.match(after(match)))


def _alone(match: re.Match[str], text: str, name: str) -> str | None:
    """A numeral that no word announces: of I, V and X, behind a name or another numeral; or a year."""
    if text.startswith("M") and len(text) > 4 and value(text) > LATE:
        return year(value(text))
    if len(text) < 2 or not set(text) <= set("IVX") or text in ("XX", "XXX") or shouted(match):
        return None
    if text == "IV" and (word_after(match) in DRIPS or not name[:1].isupper()) and not _listed(match):
        return letters(text)
    return cardinal(value(text)) if name or _listed(match) else None


def _listed(match: re.Match[str]) -> bool:
    return bool(re.search(r"\b[IVX]+(?:,| and| or| to| &|[-–]) ?$", before(match)))


RULES: tuple[Rule, ...] = (
    rule("l", r"WW(II?|[12])(?![A-Za-z0-9])", _world_war),
    rule("l", r"([IVX]{1,5})(?=\. +[A-Z])", _heading),
    rule("l", r"([IVXLCDM]{1,12})(?![A-Za-z0-9&]|\.[A-Z])", _roman),
)
