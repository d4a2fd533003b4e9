"""Addresses of houses: streets in short, directions, states of the USA and their postal codes."""

from __future__ import annotations

import re

from .numbers import digits
from .rules import Rule, after, before, follows_word, rule

STREETS = {"Ave": "Avenue", "St": "Street", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane", "Dr": "Drive"}
STREETS |= {
    "Ct": "Court",
    "Pl": "Place",
    "Hwy": "Highway",
    "Pkwy": "Parkway",
    "Sq": "Square",
    "Ter": "Terrace",
}
DIRECTIONS = {"NW": "Northwest", "NE": "Northeast", "SW": "Southwest", "SE": "Southeast"}
DIRECTIONS |= {"N": "North", "S": "South", "E": "East", "W": "West"}
STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DE": "Delaware", "DC": "D.C.", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii",
    "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky",
    "LA": "Louisiana", "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan",
    "MN": "Minnesota", "MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska",
    "NV": "Nevada", "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico", "NY": "New York",
    "NC": "North Carolina", "ND": "North Dakota", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon",
    "PA": "Pennsylvania", "RI": "Rhode Island", "SC": "South Carolina", "SD": "South Dakota",
    "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VT": "Vermont", "VA": "Virginia", "WA": "Washington",
    "WV": "West Virginia", "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip
NAMED = r"(?:\d[\w-]*|[A-Z][a-z]+)"  # of a street
STREET = rf"(?:{'|'.join(STREETS)}|{'|'.join(STREETS.values())})"


def _street(match: re.Match[str]) -> str | None:
    """A street without a point, behind its name, at the end or before a mark, a direction or a house."""
    named = re.search(rf"\d (?:[NESW]\.? )?(?:{NAMED} ){{1,3}}$", before(match))
    return STREETS[match[1]] if named and not follows_word(match) else None


def _direction(match: re.Match[str]) -> str | None:
    """Behind a street, or between a house's number and its street."""
    behind = re.search(rf"\b{STREET}\.?,? $", before(match)) and match[0] not in (
        "N",
        "S",
        "E",
        "W",
        "N.",
        "S.",
    )
    inside = re.search(r"\d $", before(match)) and re.match(rf" (?:{NAMED} ){{1,3}}{STREET}\b", after(match))
    return DIRECTIONS[match[1]] if behind or inside else None


def _state(match: re.Match[str]) -> str | None:
    """Behind a town and a comma, or before a postal code."""
    code = re.match(r",? \d{5}(?!\d)", after(match))
    town = re.search(r"[A-Z][a-z.]+, $", before(match)) and re.match(
        r"(?:$|[,.;:!?)\n]| [a-z])", after(match)
    )
    return STATES[match[0]] if (code or town) and not follows_word(match) else None


def _postal_code(match: re.Match[str]) -> str | None:
    state = re.search(rf"\b(?:{'|'.join(STATES)}|{'|'.join(STATES.values())}),? $", before(match))
    return ", ".join(map(digits, match[0].split("-"))) if state else None


RULES: tuple[Rule, ...] = (
    rule("d", r"\d{5}(?:-\d{4})?(?![\w-])", _postal_code),
    rule("l", rf"({'|'.join(STREETS)})\b(?!\.)", _street),
    rule("l", rf"({'|'.join(sorted(DIRECTIONS, key=len, reverse=True))})\b\.?(?! [A-Z]\.)", _direction),
    rule("l", rf"(?:{'|'.join(STATES)})(?![A-Za-z0-9'])", _state),
)
