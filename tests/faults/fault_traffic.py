"""Seeded traffic: some of the simulation, with poison, duplicates, reused ids, late records and card numbers in it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fraud.transactions import Columns
from streams.wire import encode, keys

MAX_RECORD_BYTES: Final = 16_384


def _luhn(digits: str) -> str:
    total = sum(
        sum(divmod(int(digit) * (2 if place % 2 == 0 else 1), 10)) for place, digit in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


# Numbers of the portfolio's own range with right check digits. None of them may turn up anywhere but in the log.
CANARIES: Final = tuple(_luhn(f"453201{number:09d}") for number in (0, 123_456_789, 987_654_321, 555_000_555))


class Record(NamedTuple):
    """One record to publish. A key of None needs a `partition`."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the records that are followed (or replaced) by something else."""

    poison: float = 0.015
    duplicate: float = 0.02
    reused_id: float = 0.004
    late: float = 0.0
    card_number: float = 0.004
    schema_change: float = 0.0
    wrong_clock: float = 0.0


ORDINARY: Final = Mix()
OUT_OF_ORDER: Final = Mix(late=0.05)
CLEAN: Final = Mix(0.0, 0.0, 0.0, 0.0, 0.0)


def _changed(fields: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(fields | changes).encode()


def _without(fields: dict[str, Any], *names: str) -> bytes:
    return json.dumps({name: value for name, value in fields.items() if name not in names}).encode()


# Every way in which a record can be of no use (reliability.md, row 16), made from a good one. What is only partly
# unusable goes on with that part missing, and is here too: it must not harm what comes after it.
_Poison = Callable[[dict[str, Any], bytes, bytes], tuple[bytes | None, bytes | None]]
POISON: Final[dict[str, _Poison]] = {
    "cut off": lambda _fields, key, value: (key, value[:-1]),
    "empty": lambda _fields, key, _value: (key, b""),
    "not an object": lambda _fields, key, _value: (key, b"[1, 2, 3]"),
    "no value": lambda _fields, key, _value: (key, None),
    "a raw line break": lambda fields, key, _value: (key, _changed(fields).replace(b", ", b",\n", 1)),
    "too large": lambda fields, key, _value: (key, _changed(fields, note="x" * MAX_RECORD_BYTES)),
    "an unknown version": lambda fields, key, _value: (key, _changed(fields, schema_version=2)),
    "no time": lambda fields, key, _value: (key, _without(fields, "occurred_at")),
    "no card": lambda fields, key, _value: (key, _without(fields, "card_ref")),
    "a time in words": lambda fields, key, _value: (key, _changed(fields, occurred_at="yesterday")),
    "a time that is NaN": lambda fields, key, _value: (key, _changed(fields, occurred_at=float("nan"))),
    "an id that is a number": lambda fields, key, _value: (key, _changed(fields, event_id=17)),
    "an id that is a list": lambda fields, key, _value: (key, _changed(fields, event_id=["a"])),
    "another key": lambda fields, _key, _value: (b"another", _changed(fields)),
    "no key": lambda fields, _key, _value: (None, _changed(fields)),
    "a card number as key": lambda fields, _key, _value: (CANARIES[0].encode(), _changed(fields)),
    "a card number as card": lambda fields, key, _value: (key, _changed(fields, card_ref=CANARIES[1])),
    "a card number in rubbish": lambda _fields, key, _value: (key, CANARIES[2].encode() + b" is no JSON"),
    "not UTF-8": lambda fields, key, _value: (key, _changed(fields, merchant_name="@").replace(b"@", b"\xff\xfe")),
    "deeply nested": lambda _fields, key, _value: (key, b'{"a":' * 3_000 + b"1" + b"}" * 3_000),
    "a huge number": lambda fields, key, _value: (key, _changed(fields, amount_minor=10**40)),
    "an amount that is NaN": lambda fields, key, _value: (key, _changed(fields, amount_minor=float("nan"))),
    "an unknown type": lambda fields, key, _value: (key, _changed(fields, event_type="teleportation")),
    "an unknown currency": lambda fields, key, _value: (key, _changed(fields, currency="???", mcc="none")),
    "an amount in units": lambda fields, key, _value: (key, _changed(fields, amount_minor="10.75")),
    "all fields of the wrong type": lambda fields, key, _value: (
        key,
        _changed({name: {"a": []} for name in fields} | _required(fields)),
    ),
    "hostile text": lambda fields, key, _value: (key, _changed(fields, merchant_name="\x00\ud800'; DROP TABLE--\r\n")),
}

# What a producer of another build sends (row 25): all of it is either understood or parked.
SCHEMA_CHANGES: Final[dict[str, _Poison]] = {
    "a new optional field": lambda fields, key, _value: (key, _changed(fields, loyalty_points=17, new={"a": [1]})),
    "a removed optional field": lambda fields, key, _value: (key, _without(fields, "merchant_name", "mcc", "channel")),
    "a minor version": lambda fields, key, _value: (key, _changed(fields, schema_version=1)),
    "an unknown major version": lambda fields, key, _value: (key, _changed(fields, schema_version=2)),
}


def _required(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("event_id", "event_type", "occurred_at", "card_ref")}


def make_traffic(columns: Columns, rng: random.Random, mix: Mix = ORDINARY, partitions: int = 3) -> list[Record]:
    """The transactions with the mix put in, in the order in which they are published. The same seed, the same bytes."""
    good = [Record(key, value) for key, value in zip(keys(columns), encode(columns), strict=True)]
    placed: list[tuple[float, Record]] = []
    for number, record in enumerate(good):
        at = float(number)
        if rng.random() < mix.late:
            at += rng.choice((3, 40, 400, 3_300)) + 0.5
        placed.append((at, record))
        for share, make in (
            (mix.duplicate, _duplicate),
            (mix.reused_id, _reused_id),
            (mix.card_number, _with_card_number),
            (mix.poison, _poisoned),
            (mix.schema_change, _of_another_schema),
            (mix.wrong_clock, _of_a_wrong_clock),
        ):
            if rng.random() < share:
                later = rng.choice((0.1, 7.1, 150.1)) if make in (_duplicate, _reused_id) else 0.1
                placed.append((at + later, make(record, rng, partitions)))
    placed.sort(key=lambda item: item[0])
    return [record for _, record in placed]


def poison_records(good: Record, prefix: str, partitions: int) -> list[Record]:
    """One record of every kind of poison, each with an id of its own."""
    made = []
    for number, make in enumerate(POISON.values()):
        made.append(_remade(make, good, f"{prefix}-{number}", number % partitions))
    return made


def _remade(make: _Poison, good: Record, event_id: str, partition: int) -> Record:
    assert good.key is not None
    assert good.value is not None
    fields = json.loads(good.value) | {"event_id": event_id}
    key, value = make(fields, good.key, json.dumps(fields).encode())
    return Record(key, value, partition if key is None else None)


def _poisoned(good: Record, rng: random.Random, partitions: int) -> Record:
    make = rng.choice(list(POISON.values()))
    return _remade(make, good, f"bad-{rng.randrange(10**9)}", rng.randrange(partitions))


def _of_another_schema(good: Record, rng: random.Random, partitions: int) -> Record:
    make = rng.choice(list(SCHEMA_CHANGES.values()))
    return _remade(make, good, f"new-{rng.randrange(10**9)}", rng.randrange(partitions))


def _of_a_wrong_clock(good: Record, rng: random.Random, _partitions: int) -> Record:
    assert good.value is not None
    fields = json.loads(good.value)
    hours = rng.choice((-72, -2, 2, 24, 72, 24 * 365 * 40))
    changes = {"event_id": f"clock-{rng.randrange(10**9)}", "occurred_at": fields["occurred_at"] + hours * 3_600_000}
    return good._replace(value=_changed(fields, **changes))


def _duplicate(good: Record, _rng: random.Random, _partitions: int) -> Record:
    return good


def _reused_id(good: Record, rng: random.Random, _partitions: int) -> Record:
    assert good.value is not None
    return good._replace(value=_changed(json.loads(good.value), amount_minor=rng.randrange(1, 10**6)))


def _with_card_number(good: Record, rng: random.Random, _partitions: int) -> Record:
    assert good.value is not None
    changes = {"event_id": f"pan-{rng.randrange(10**9)}", "merchant_name": f"Shop {rng.choice(CANARIES)}"}
    return good._replace(value=_changed(json.loads(good.value), **changes))
