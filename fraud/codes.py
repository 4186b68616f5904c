"""Code tables: countries (ISO 3166), currencies (ISO 4217), groups of merchant category codes (ISO 18245)."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

MISSING = -1

# Our own coarse grouping of ISO 18245 codes. The order is part of the feature schema: append, never insert.
MCC_GROUPS: tuple[str, ...] = (
    "other",
    "grocery",
    "restaurant",
    "fuel",
    "transport",
    "travel",
    "lodging",
    "clothing",
    "home",
    "electronics",
    "digital_goods",
    "tickets",
    "electronic_money",
    "cash",
    "health",
    "utilities",
    "telecom",
    "education",
    "government",
    "cosmetics",
)

# (first code, last code, group); the first range that holds a code wins.
_MCC_RANGES: tuple[tuple[int, int, str], ...] = (
    (5411, 5499, "grocery"),
    (5811, 5814, "restaurant"),
    (5541, 5542, "fuel"),
    (5983, 5983, "fuel"),
    (4111, 4131, "transport"),
    (4784, 4789, "transport"),
    (7523, 7523, "transport"),
    (3000, 3499, "travel"),
    (4411, 4411, "travel"),
    (4511, 4511, "travel"),
    (4722, 4723, "travel"),
    (7512, 7513, "travel"),
    (3500, 3999, "lodging"),
    (7011, 7012, "lodging"),
    (5611, 5699, "clothing"),
    (5200, 5261, "home"),
    (5712, 5722, "home"),
    (5045, 5045, "electronics"),
    (5732, 5734, "electronics"),
    (5735, 5735, "digital_goods"),
    (5815, 5818, "digital_goods"),
    (7994, 7995, "digital_goods"),
    (7832, 7841, "tickets"),
    (7922, 7929, "tickets"),
    (7941, 7941, "tickets"),
    (6051, 6051, "electronic_money"),
    (6540, 6540, "electronic_money"),
    (4829, 4829, "electronic_money"),
    (6010, 6012, "cash"),
    (5912, 5912, "health"),
    (8011, 8099, "health"),
    (4900, 4900, "utilities"),
    (6300, 6300, "utilities"),
    (4812, 4816, "telecom"),
    (4899, 4899, "telecom"),
    (8211, 8299, "education"),
    (9211, 9402, "government"),
    (5977, 5977, "cosmetics"),
)

# Goods that Japan's Credit Card Security Guideline names as often bought with stolen numbers.
HIGH_RISK_MCC_GROUPS: frozenset[str] = frozenset(
    {"digital_goods", "electronics", "electronic_money", "tickets", "lodging"}
)


def mcc_group(mcc: int) -> int:
    """Index into `MCC_GROUPS` of a merchant category code; 0 ("other") for a code in no range, `MISSING` for none."""
    if mcc == MISSING:
        return MISSING
    for first, last, group in _MCC_RANGES:
        if first <= mcc <= last:
            return MCC_GROUPS.index(group)
    return 0


def _rows(name: str) -> list[dict[str, str]]:
    text = files("fraud").joinpath("reference_data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def country_numbers() -> dict[str, int]:
    """Every accepted spelling of a country (alpha-2, alpha-3, numeric with leading zeros) to its ISO 3166 number."""
    table: dict[str, int] = {}
    for row in _rows("countries.csv"):
        table.update(dict.fromkeys((row["alpha_2"], row["alpha_3"], row["numeric"]), int(row["numeric"])))
    return table


@cache
def country_alpha_2() -> dict[int, str]:
    """ISO 3166 number to alpha-2 code."""
    return {int(row["numeric"]): row["alpha_2"] for row in _rows("countries.csv")}


@cache
def currency_numbers() -> dict[str, int]:
    """Every accepted spelling of a currency (alpha, numeric with leading zeros) to its ISO 4217 number."""
    table: dict[str, int] = {}
    for row in _rows("currencies.csv"):
        table.update(dict.fromkeys((row["code"], row["numeric"]), int(row["numeric"])))
    return table


@cache
def currency_codes() -> dict[int, str]:
    """ISO 4217 number to alpha code."""
    return {int(row["numeric"]): row["code"] for row in _rows("currencies.csv")}


@cache
def currency_exponents() -> dict[str, int]:
    """ISO 4217 alpha code to the number of decimals of its minor unit (JPY 0, USD 2, KWD 3)."""
    return {row["code"]: int(row["exponent"]) for row in _rows("currencies.csv")}


def format_amount(amount_minor: int, currency: str) -> str:
    """An amount in minor units as people write it: `¥12,300`, `$12.30`, otherwise `12.30 KWD`."""
    exponent = currency_exponents().get(currency, 2)
    sign = {"JPY": "¥", "USD": "$", "EUR": "€", "GBP": "£"}.get(currency)
    digits = f"{amount_minor / 10**exponent:,.{exponent}f}"
    return f"{sign}{digits}" if sign else f"{digits} {currency}"
