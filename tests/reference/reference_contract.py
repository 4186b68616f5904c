"""One record of the log, read as the wire contract says: with `json`, and the contract's own table of fields.

The table is taken from the page that producers read, docs/wire-contract.md, not from the code that it is made from.
"""

from __future__ import annotations

import csv
import hmac
import json
import math
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CARD_REF = re.compile(r"v[0-9]{1,4}:[0-9a-f]{64}|x:[!-~]{1,78}")
CARD_REF_IN_TEXT = re.compile(rb'"card_ref"\s*:\s*"(v\d{1,4}:[0-9a-f]{64}|x:[!#-\[\]-~]{1,78})"')
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DEEPEST = 32
LARGEST_TIME = 2**63 - 1
REQUIRED = ("event_id", "event_type", "occurred_at", "card_ref")


class Refused(Exception):  # noqa: N818 - an outcome, not an error
    """The record is a dead letter."""

    def __init__(self, error_class, field_path=None):
        super().__init__(error_class)
        self.error_class, self.field_path = error_class, field_path


def field_types():
    """Field name to the words of the contract's column `type`, in the table's order."""
    page = (ROOT / "docs" / "wire-contract.md").read_text(encoding="utf-8")
    table = page.split("<!-- generated: fields -->")[1].split("<!-- end: fields -->")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.strip().splitlines()[2:]]
    return {row[0].strip("`"): next(cell for cell in row[1:] if cell not in ("", "yes")) for row in rows}


def code_table(file, *spellings):
    """Every accepted spelling of a code, numbers included, to its first one: "JPN", "392" and 392 to "JP"."""
    table = {}
    with (ROOT / "fraud" / "reference_data" / file).open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            table |= dict.fromkeys((*(row[name] for name in spellings), int(row["numeric"])), row[spellings[0]])
    return table


def a_string(limit):
    def read(value):
        usable = type(value) is str and len(value) <= limit and value.strip() and not CONTROL.search(value)
        return value if usable else None

    return read


def a_text(limit):
    def read(value):
        if type(value) is not str or len(value) > limit:
            return None
        spaced = CONTROL.sub(" ", value)
        return spaced if spaced.strip() else None

    return read


def an_integer(largest):
    return lambda value: value if type(value) is int and 0 <= value <= largest else None


def one_of(words):
    return lambda value: value if type(value) is str and value in words else None


def a_code(table):
    return lambda value: table.get(value) if type(value) in (str, int) else None


def up_to_digits(size):
    def read(value):
        if type(value) is int and 0 <= value < 10**size:
            value = str(value)
        right = type(value) is str and len(value) <= size and value.isascii() and value.isdigit()
        return value.zfill(size) if right else None

    return read


def an_entry_mode(value):
    right = type(value) is str and 2 <= len(value) <= 4 and value.isascii() and value.isdigit()
    return value[:2] if right else None


def a_number(value):
    if type(value) not in (int, float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def a_boolean(value):
    return value if type(value) is bool else None


COUNTRIES = code_table("countries.csv", "alpha_2", "alpha_3", "numeric")
CURRENCIES = code_table("currencies.csv", "code", "numeric")


# The contract's words for a type (a pattern), and what reads it, made from the numbers in the words.
TYPES = (
    (r"string, at most .*", lambda numbers: a_string(numbers[0])),
    (r"text, at most .*", lambda numbers: a_text(numbers[0])),
    (r"integer, epoch milliseconds UTC", lambda numbers: an_integer(LARGEST_TIME)),
    (r"integer, 0 to .*", lambda numbers: an_integer(numbers[1])),
    (r"up to \d digits, string or integer", lambda numbers: up_to_digits(numbers[0])),
    (r"string of 2 to 4 digits", lambda numbers: an_entry_mode),
    (r"number", lambda numbers: a_number),
    (r"`true`, `false`", lambda numbers: a_boolean),
    (r'`"JPY"`.*', lambda numbers: a_code(CURRENCIES)),
    (r'`"JP"`.*', lambda numbers: a_code(COUNTRIES)),
)


def reader(words):
    """From the contract's words for a type to a function: a JSON value in, what is known of it out, or None."""
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", words)]
    for pattern, make in TYPES:
        if re.fullmatch(pattern, words):
            return make(numbers)
    return one_of(re.findall(r"`(\w+)`", words))


READERS = {name: reader(words) for name, words in field_types().items()}


def parse(value, max_record_bytes):
    """The fields of one value, or `Refused`."""
    if len(value) > max_record_bytes:
        raise Refused("TOO_LARGE")
    if b"\n" in value or b"\r" in value:
        raise Refused("RAW_NEWLINE")
    try:
        fields = json.loads(
            value.decode(), parse_constant=refuse_constant, parse_float=finite, parse_int=no_endless_integer
        )
        fields = without_half_characters(fields)
        if type(fields) is not dict or depth(fields) > DEEPEST:
            raise Refused("NOT_JSON")
    except (ValueError, RecursionError):
        raise Refused("NOT_JSON") from None
    return fields


def refuse_constant(name):
    raise ValueError(name)  # NaN and Infinity are not JSON


def finite(text):
    return float(text) if math.isfinite(float(text)) else None


def no_endless_integer(text):
    return int(text) if len(text) <= 300 else None


def without_half_characters(value):
    if type(value) is str:
        return value.encode(errors="replace").decode()
    if type(value) is list:
        return [without_half_characters(item) for item in value]
    if type(value) is dict:
        return {without_half_characters(name): without_half_characters(item) for name, item in value.items()}
    return value


def depth(value):
    inner = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def usable_card_ref(value):
    return type(value) is str and len(value) <= 80 and CARD_REF.fullmatch(value) is not None


def is_blank(value):
    return value is None or (type(value) is str and not value.strip())


def is_usable(name, value):
    if name == "event_type":
        return type(value) is str  # an unknown type is accepted
    return usable_card_ref(value) if name == "card_ref" else READERS[name](value) is not None


def opened(record, facts, findings):
    """The fields of a record, with card numbers blanked and counted in `findings`; or `Refused`."""
    if record.key is not None and facts.guard.contains_pan_bytes(record.key):
        findings["(key)"] += 1
        raise Refused("PAN_IN_KEY")
    if record.value is None:
        raise Refused("NULL_VALUE")
    try:
        fields = parse(record.value, facts.max_record_bytes)
    except Refused:
        if facts.guard.contains_pan_bytes(record.value[: facts.max_record_bytes]):
            findings["(unreadable record)"] += 1
        raise
    blank_card_numbers(record, fields, facts, findings)
    version = fields.get("schema_version")
    if type(version) in (int, float) and version >= 2:
        raise Refused("UNKNOWN_SCHEMA_VERSION", "schema_version")
    for name in REQUIRED:
        if not is_usable(name, fields.get(name)) or is_blank(fields[name]):
            raise Refused("MISSING_FIELD" if is_blank(fields.get(name)) else "INVALID_FIELD", name)
    account_ref = READERS["account_ref"](fields.get("account_ref"))
    if record.key is None or record.key not in (fields["card_ref"].encode(), (account_ref or "").encode()):
        raise Refused("KEY_MISMATCH")
    return fields


def blank_card_numbers(record, fields, facts, findings):
    """Where card numbers are is the guard's to say, which has tests of its own; what follows from it is said here."""
    before = dict(fields)
    paths = set(facts.guard.scan_record(record.value, fields))
    findings.update(paths)
    if any(re.match(r"card_ref($|[.\[])", path) for path in paths):
        raise Refused("PAN_IN_CARD_REF", "card_ref")
    if "event_id" in paths and type(before.get("event_id")) is str:
        fields["event_id"] = f"redacted:{digest(facts, before['event_id'].encode())[:32]}"
    if "event_type" in paths and type(before.get("event_type")) is str:
        fields["event_type"] = "unknown"
    if "occurred_at" in paths and type(before.get("occurred_at")) is int:
        fields["occurred_at"] = LARGEST_TIME


def digest(facts, payload):
    return hmac.digest(facts.digest_key, payload or b"", "sha256").hex()


def transaction_of(record, fields, facts):
    """What is known of an accepted record: the contract's fields as it spells them, and what follows from them."""
    known = {name: read(fields.get(name)) for name, read in READERS.items()}
    known = {name: value for name, value in known.items() if value is not None}
    too_late = known["occurred_at"] > record.timestamp + facts.max_future_ms
    if too_late:
        known["occurred_at"] = record.timestamp
    earliest = None if facts.max_past_ms is None else record.timestamp - facts.max_past_ms
    too_early = earliest is not None and known["occurred_at"] < earliest
    if too_early:
        known["occurred_at"] = earliest
    return known, too_late or too_early, amount_of(known, facts.currency)


def amount_of(known, home):
    """Minor units of the portfolio's currency; None where it is not known in that."""
    billing = known.get("billing_currency")
    if billing == home and "billing_amount_minor" in known:
        return float(known["billing_amount_minor"])
    if known.get("currency") == home and billing in (home, None) and "amount_minor" in known:
        return float(known["amount_minor"])
    return None


def readable_card_ref(value, facts):
    """The card of a refused record, if that can be told and is no card number."""
    if value is None:
        return None
    try:
        card_ref = parse(value, facts.max_record_bytes).get("card_ref")
    except Refused:
        found = CARD_REF_IN_TEXT.search(value[: facts.max_record_bytes])
        card_ref = found.group(1).decode() if found else None
    if not usable_card_ref(card_ref) or facts.guard.finds_in_card_ref(card_ref):
        return None
    return card_ref
