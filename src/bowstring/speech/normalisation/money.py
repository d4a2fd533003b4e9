"""Amounts of money: the currency in front or behind, cents, and large amounts in short."""

from __future__ import annotations

import re
from typing import NamedTuple

from .numbers import DASH, LARGE, NUMBER, SHORT, cardinal, is_one, number, ungrouped
from .rules import Rule, after, follows_word, rule
from .units import PER, SLASHED, adjectival, either


class Currency(NamedTuple):
    """Its name, and that of its hundredth part; empty where there is none in use."""

    one: str
    many: str
    cent: str = ""
    cents: str = ""


DOLLAR = Currency("dollar", "dollars", "cent", "cents")
EURO = Currency("euro", "euros", "cent", "cents")
POUND = Currency("pound", "pounds", "penny", "pence")
RUPEE = Currency("rupee", "rupees", "paisa", "paise")


def _dollar(country: str) -> Currency:
    return Currency(f"{country} dollar", f"{country} dollars", "cent", "cents")


SYMBOLS = {
    "$": DOLLAR,
    "€": EURO,
    "£": POUND,
    "¥": Currency("yen", "yen"),
    "₹": RUPEE,
    "₩": Currency("won", "won"),
    "₽": Currency("ruble", "rubles", "kopeck", "kopecks"),
    "₺": Currency("lira", "lira"),
    "₴": Currency("hryvnia", "hryvnias"),
    "₿": Currency("bitcoin", "bitcoins"),
    "₫": Currency("dong", "dong"),
    "₦": Currency("naira", "naira"),
    "₱": Currency("peso", "pesos", "centavo", "centavos"),
    "฿": Currency("baht", "baht"),
    "円": Currency("yen", "yen"),
    "元": Currency("yuan", "yuan"),
    "Rs.": RUPEE,
    "Rs": RUPEE,
    "kr": Currency("krona", "kronor"),
    "₪": Currency("shekel", "shekels"),
    "zl": Currency("zloty", "zlotys"),
    "US$": _dollar("U.S."),
    "U.S.$": _dollar("U.S."),
    "A$": _dollar("Australian"),
    "AU$": _dollar("Australian"),
    "C$": _dollar("Canadian"),
    "CA$": _dollar("Canadian"),
    "NZ$": _dollar("New Zealand"),
    "HK$": _dollar("Hong Kong"),
    "S$": _dollar("Singapore"),
    "R$": Currency("real", "reais", "centavo", "centavos"),
}
CODES = {
    "USD": _dollar("U.S."),
    "EUR": EURO,
    "GBP": POUND,
    "JPY": Currency("yen", "yen"),
    "INR": RUPEE,
    "CNY": Currency("yuan", "yuan"),
    "CHF": Currency("Swiss franc", "Swiss francs"),
    "AUD": _dollar("Australian"),
    "CAD": _dollar("Canadian"),
    "NZD": _dollar("New Zealand"),
    "HKD": _dollar("Hong Kong"),
    "SGD": _dollar("Singapore"),
    "SEK": Currency("Swedish krona", "Swedish kronor"),
    "NOK": Currency("Norwegian krone", "Norwegian kroner"),
    "DKK": Currency("Danish krone", "Danish kroner"),
    "PLN": Currency("zloty", "zlotys"),
    "CZK": Currency("Czech crown", "Czech crowns"),
    "MXN": Currency("Mexican peso", "Mexican pesos"),
    "BRL": Currency("real", "reais"),
    "KRW": Currency("won", "won"),
    "RUB": Currency("ruble", "rubles"),
    "TRY": Currency("lira", "lira"),
    "ZAR": Currency("rand", "rand"),
    "BTC": Currency("bitcoin", "bitcoins"),
}
CURRENCIES = SYMBOLS | CODES
DOLLARS = {code: code for code in ("USD", "AUD", "CAD", "NZD", "HKD", "SGD")}
NAMES = {symbol: symbol for symbol in CURRENCIES}
SIGNED = either(NAMES)
SCALE = rf"(?: ?(?:({'|'.join(SHORT)})|({LARGE}))(?![A-Za-z]))?"
COMMA = r"\d+,\d\d(?!\d)"  # of Europe
AMOUNT = rf"({COMMA}|{NUMBER})"


def money(amount: str, currency: Currency, *, one: bool = False) -> str:
    """
    >>> money("12.50", DOLLAR), money("1", EURO), money("0.99", DOLLAR), money("3.999", DOLLAR)
    ('twelve dollars and fifty cents', 'one euro', 'ninety-nine cents', 'three point nine nine nine dollars')
    """
    whole, _, part = ungrouped(amount).partition(".")
    if not part or not int(part):
        return f"{number(whole)} {currency.one if one or is_one(whole) else currency.many}"
    if len(part) != 2 or not currency.cent:
        return f"{number(amount)} {currency.one if one else currency.many}"
    small = f"{cardinal(int(part))} {currency.cent if int(part) == 1 else currency.cents}"
    if not int(whole or 0):
        return small
    return f"{number(whole)} {currency.one if is_one(whole) else currency.many} and {small}"


def amount_of(amount: str, short: str | None, large: str | None) -> str:
    """
    >>> amount_of("1.5", "M", None)
    'one point five million'
    """
    scale = SHORT[short] if short else large
    return f"{number(amount)} {scale}" if scale else number(amount)


def _in_front(match: re.Match[str]) -> str | None:
    sign, minus, amount, short, large, code, per = match.groups()
    if follows_word(match) and not match.string[match.start() - 1].isdecimal():
        return None
    currency, one = CURRENCIES[code or sign], adjectival(match)
    if short or large:
        said = f"{amount_of(amount, short, large)} {currency.one if one else currency.many}"
    else:
        said = money(amount, currency, one=one)
    return ("minus " if minus else "") + said + (f" per {PER[per]}" if per else "")


def _range(match: re.Match[str]) -> str | None:
    """The currency of a range is said once, at its end."""
    sign, first, short, large, last, last_short, last_large = match.groups()
    if follows_word(match):
        return None
    lower, upper = amount_of(first, short, large), amount_of(last, last_short, last_large)
    return f"{lower} to {upper} {CURRENCIES[sign].many}"


def _behind(match: re.Match[str]) -> str | None:
    amount, short, large, sign, per = match.groups()
    if follows_word(match):
        return None
    tail = f" per {PER[per]}" if per else ""
    if sign == "¢":
        return f"{number(amount)} {'cent' if is_one(amount) else 'cents'}{tail}"
    currency, one = CURRENCIES[sign], adjectival(match)
    if short or large:
        return f"{amount_of(amount, short, large)} {currency.many}{tail}"
    return money(amount, currency, one=one) + tail


def _alone(match: re.Match[str]) -> str:
    return SYMBOLS[match[0]].many if after(match)[:1] != "$" else ""


RULES: tuple[Rule, ...] = (
    rule("ls", rf"({SIGNED}) ?{AMOUNT}{SCALE}{DASH}(?:\1 ?)?{AMOUNT}{SCALE}(?![\w])", _range),
    rule(
        "ls",
        rf"({SIGNED}) ?([-−]?){AMOUNT}{SCALE}(?: ({either(DOLLARS)}))?{SLASHED}(?![A-Za-z0-9])",
        _in_front,
    ),
    rule("ds", rf"{AMOUNT}{SCALE} ?({SIGNED}|¢){SLASHED}(?![A-Za-z0-9])", _behind),
    rule("s", "|".join(re.escape(symbol) for symbol in SYMBOLS if len(symbol) == 1), _alone),
)
