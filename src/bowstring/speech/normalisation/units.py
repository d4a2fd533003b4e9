"""Measures behind numbers: which unit is meant, in the singular or the plural."""

from __future__ import annotations

import re

from .numbers import DASH, DECIMAL, NUMBER, cardinal, fraction, is_one, mixed, number
from .rules import Rule, after, before, follows_word, rule

PREFIXES = {"k": "kilo", "M": "mega", "G": "giga", "T": "tera", "m": "milli", "c": "centi", "µ": "micro"}
PREFIXES |= {"μ": "micro", "n": "nano", "h": "hecto", "K": "kilo", "P": "peta", "d": "deci", "p": "pico"}
BASES = {  # the unit, and the prefixes that it takes in daily life
    "m": ("meter", "kcmµμnd"),
    "g": ("gram", "kmµμ"),
    "l": ("liter", "mcdhµμ"),
    "L": ("liter", "mcdµμ"),
    "F": ("farad", "mµμnp"),
    "H": ("henry", "mµμn"),
    "W": ("watt", "kMGm"),
    "Hz": ("hertz", "kMGT"),
    "V": ("volt", "kmM"),
    "A": ("amp", "mkµ"),
    "J": ("joule", "kM"),
    "Pa": ("pascal", "khM"),
    "B": ("byte", "kKMGTP"),
    "b": ("bit", "kKMG"),
    "bit": ("bit", "kMG"),
    "Wh": ("watt hour", "kMGT"),
    "s": ("second", "mµμn"),
    "Ω": ("ohm", "kM"),
    "cal": ("calorie", "k"),
}
ALONE = {"m", "g", "l", "L", "W", "Hz", "V", "Wh", "s", "Ω", "J", "Pa", "cal"}
UNITS = {
    "in": ("inch", "inches"),
    "ft": ("foot", "feet"),
    "yd": ("yard", "yards"),
    "mi": ("mile", "miles"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "fl oz": ("fluid ounce", "fluid ounces"),
    "gal": ("gallon", "gallons"),
    "tsp": ("teaspoon", "teaspoons"),
    "tbsp": ("tablespoon", "tablespoons"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"),
    "fps": ("frame per second", "frames per second"),
    "dpi": ("dot per inch", "dots per inch"),
    "ppm": ("part per million", "parts per million"),
    "psi": ("pound per square inch", "pounds per square inch"),
    "px": ("pixel", "pixels"),
    "MP": ("megapixel", "megapixels"),
    "dB": ("decibel", "decibels"),
    "hp": ("horsepower", "horsepower"),
    "ha": ("hectare", "hectares"),
    "mAh": ("milliamp hour", "milliamp hours"),
    "GiB": ("gibibyte", "gibibytes"),
    "MiB": ("mebibyte", "mebibytes"),
    "KiB": ("kibibyte", "kibibytes"),
    "sec": ("second", "seconds"),
    "secs": ("second", "seconds"),
    "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "wk": ("week", "weeks"),
    "yr": ("year", "years"),
    "yrs": ("year", "years"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "° C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "° F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°N": ("degree north", "degrees north"),
    "°S": ("degree south", "degrees south"),
    "°E": ("degree east", "degrees east"),
    "°W": ("degree west", "degrees west"),
    "° N": ("degree north", "degrees north"),
    "° S": ("degree south", "degrees south"),
    "° E": ("degree east", "degrees east"),
    "° W": ("degree west", "degrees west"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
    "‰": ("per thousand", "per thousand"),
}
UNITS |= {
    head + base: (
        PREFIXES.get(head, "") + name,
        PREFIXES.get(head, "") + name + ("" if base == "Hz" else "s"),
    )
    for base, (name, heads) in BASES.items()
    for head in [*heads, *([""] if base in ALONE else [])]
}
WHOLE_WORDS = (  # they stand behind a slash, too
    "second minute hour day night week month quarter year person user head child student seat item unit "
    "piece mile gallon pound ounce liter litre kilo share lesson session call message ticket page box bag cup"
).split()
PER = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day", "wk": "week"}
PER |= {"mo": "month", "yr": "year", "y": "year", "km": "kilometer", "kg": "kilogram", "l": "liter"}
PER |= {"L": "liter", "lb": "pound", "oz": "ounce", "gal": "gallon", "m": "meter", "kWh": "kilowatt hour"}
PER |= {"g": "gram", "ml": "milliliter", "mL": "milliliter", "dl": "deciliter", "dL": "deciliter"}
PER |= {"cm": "centimeter", "ft": "foot", "mi": "mile", "GB": "gigabyte", "MB": "megabyte", "acre": "acre"}
PER |= {word: word for word in WHOLE_WORDS} | {
    "m^2": "square meter",
    "m^3": "cubic meter",
    "sq ft": "square foot",
}


INCHES = UNITS["in"]


def either(names: dict[str, object] | dict[str, str] | dict[str, tuple[str, str]]) -> str:
    """A pattern for any of these, the longest first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


UNIT = rf"(?:{either(UNITS)})(?![A-Za-z0-9])"
SLASHED = rf"(?:/({either(PER)})(?![A-Za-z0-9]))?"


def adjectival(match: re.Match[str]) -> bool:
    """Whether a measure describes what follows and so stays singular: a 5 km run."""
    if not re.search(r"\b[Aa]n? $", before(match)):
        return False
    small = (
        r"(?:of|and|or|in|on|at|to|for|is|was|per|by|with|from|than|but|as|a|an|the|that|when|while|each)\b"
    )
    return bool(re.match(rf" (?!{small})[a-z]{{2,}}", after(match)))


def measure(amount: str, unit: str, power: str | None = None, *, one: bool | None = None) -> str:
    """
    >>> measure("5", "km"), measure("1", "km"), measure("30", "m", "2")
    ('five kilometers', 'one kilometer', 'thirty square meters')
    """
    shape = {"2": "square ", "3": "cubic ", None: ""}[power]
    return f"{number(amount)} {shape}{UNITS[unit][not (is_one(amount) if one is None else one)]}"


def _unit(match: re.Match[str]) -> str | None:
    amount, gap, unit, power, per = match.groups()
    if follows_word(match) or not _meant(match, gap, unit):
        return None
    one = True if gap == "-" or adjectival(match) else None
    said = measure(amount, unit, power, one=one)
    return f"{said} per {PER[per]}" if per else said


def _meant(match: re.Match[str], gap: str, unit: str) -> bool:
    """Whether letters behind a number are its unit, and not a word or a name."""
    if unit == "in":
        return gap != " " or match[0].endswith(".")
    if unit == "s":
        return not _decade(match)
    if unit == "m" and gap == "":
        return not re.match(r" (?!meters)[a-z]+s\b", after(match))
    return not (gap == "-" and unit in ("s", "h", "g", "m", "l", "L", "W", "V", "A", "J"))


def _decade(match: re.Match[str]) -> bool:
    near = re.search(r"(?:\b(?:the|his|her|their|my|our|your|mid|early|late)[ -]|')$", before(match), re.I)
    return bool(near) and match[1][-1:] == "0" and len(match[1]) in (2, 4)


def _part(match: re.Match[str]) -> str | None:
    """A fraction of a unit, or some units and a fraction: 1/2 lb, 2 1/2 lbs."""
    whole, above, below, unit = match.groups()
    names = INCHES if unit == '"' else UNITS[unit]
    if follows_word(match) or not 2 <= int(below) <= 100:
        return None
    some = mixed(whole, int(above), int(below)) if whole else fraction(int(above), int(below))
    return f"{some} {names[bool(whole) or int(above) > int(below)]}"


def _height(match: re.Match[str]) -> str | None:
    feet, inches = match[1], match[2]
    if follows_word(match) or int(inches) > 11:
        return None
    return f"{cardinal(int(feet))} {'foot' if feet == '1' else 'feet'} {number(inches)}"


def _quoted(match: re.Match[str]) -> str | None:
    """Feet and inches by their primes, unless a quotation ends there."""
    mark, left = match[2], match.string[max(0, match.start() - 400) : match.start()]
    if follows_word(match) or len(re.findall(rf"(?<!\d){mark}", left)) % 2:
        return None
    names = INCHES if mark == '"' else UNITS["ft"]
    return f"{number(match[1])} {names[not (is_one(match[1]) or adjectival(match))]}"


def _square(match: re.Match[str]) -> str | None:
    shape = "square" if match[2].startswith("sq") else "cubic"
    names = UNITS[match[3]]
    return f"{number(match[1])} {shape} {names[not is_one(match[1])]}"


POINT = r"(?:\.(?= [a-z]|[,;:]| \d+ ?(?:in|oz|min|sec)\b))?"  # of a short unit, not of a sentence
RULES: tuple[Rule, ...] = (
    rule(
        "d",
        rf"(?:(\d{{1,3}}) )?(\d{{1,3}})[/⁄](\d{{1,3}}) ?(\"|(?!in )(?:{either(UNITS)})(?![A-Za-z0-9]))",
        _part,
    ),
    rule("d", r"(\d{1,2})'(?: ?)(\d{1,2})(?:\"|'')", _height),
    rule("ds", rf"({NUMBER}) ?(\"|'(?=[\s,.;:!?)]|$))(?!\w)", _quoted),
    rule("ds", rf"({NUMBER}) ?({UNIT}){DASH}(?={NUMBER} ?\2(?![A-Za-z]))", lambda m: f"{number(m[1])} to"),
    rule("ds", rf"({NUMBER}) ?(sq\.?|cu\.?) ?({UNIT})\.?(?= |[,;:!?)]|$)", _square),
    rule(
        "ds",
        rf"({DECIMAL})( ?|-)({either(UNITS)})(?:\^?([23]))?{SLASHED}(?![A-Za-z0-9]){POINT}",
        _unit,
    ),
)
