"""The typed decoder of `card.transactions`, record by record: what the contract means, in the plainest way.

The decoder in `streams.wire` is faster and gives the same; it leaves to this one every record that is in any way
unusual.

Degrade, never drop: only `event_id`, `event_type`, `occurred_at` and `card_ref` can refuse a record. Anything else
that cannot be used counts as missing, and the record goes on. Whatever the bytes, every record is accounted for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np

from fraud.cards import card_keys, is_card_ref
from fraud.codes import MISSING
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.transactions import FIELDS, Column
from streams.dead_letters import DeadLetter, ErrorClass, RefusedError, card_ref_in_text, payload_digest, safe_path
from streams.wire_batch import DecodedBatch, RawRecord, check_count
from streams.wire_derived import Derivation
from streams.wire_fields import INT64_MAX, READERS, UNKNOWN_EVENT_TYPE, read_column
from streams.wire_json import parse_record

SCHEMA_MAJOR: Final = 1
UNREADABLE: Final = "(unreadable record)"  # the path of a card number in a record that has no fields


class ReferenceDecoder:
    """Decodes records of `card.transactions`. Holds no state between batches; arguments as in `streams.wire.Decoder`.

    Raises:
        ConfigurationError: the key is short.

    """

    def __init__(self, guard: PanGuard, digest_key: bytes, max_record_bytes: int, derivation: Derivation) -> None:
        if len(digest_key) < 16:
            message = "the key of the payload digests must have at least 128 bits"
            raise ConfigurationError(message)
        self._guard = guard
        self._digest_key = digest_key
        self._max_record_bytes = max_record_bytes
        self._derivation = derivation

    def decode(self, records: Sequence[RawRecord], now_ms: int) -> DecodedBatch:
        """Decode records of one partition, in log order.

        Event times are judged against the record's own timestamp, so that reading it again gives the same;
        `now_ms` (epoch milliseconds UTC) stands in where a record has none.
        """
        rows: list[dict[str, Any]] = []
        good: list[RawRecord] = []
        dead_letters: list[DeadLetter] = []
        findings: Counter[str] = Counter()
        for record in records:
            opened = self.open(record, findings)
            if isinstance(opened, DeadLetter):
                dead_letters.append(opened)
            else:
                rows.append(opened)
                good.append(record)
        columns, missing = read_columns(rows)
        logged_at = np.array([record.timestamp for record in good], dtype=np.int64)
        batch = DecodedBatch(
            columns=self._derivation.complete(columns, logged_at, now_ms),
            offsets=np.array([record.offset for record in good], dtype=np.int64),
            logged_at=logged_at,
            dead_letters=tuple(dead_letters),
            missing=missing,
            security_findings=dict(findings),
        )
        return check_count(batch, len(records))

    def payload_digest(self, payload: bytes | None) -> str:
        """The keyed digest under which this decoder's dead letters know a payload."""
        return payload_digest(self._digest_key, payload)

    def open(self, record: RawRecord, findings: Counter[str]) -> dict[str, Any] | DeadLetter:
        """The fields of one record with card numbers blanked, or what is left of a record that is refused.

        Card numbers that were found are counted in `findings` either way.
        """
        try:
            return self._fields(record, findings)
        except RefusedError as refusal:
            return self._dead_letter(record, refusal)

    def _fields(self, record: RawRecord, findings: Counter[str]) -> dict[str, Any]:
        if record.key is not None and self._guard.contains_pan_bytes(record.key):
            findings["(key)"] += 1
            raise RefusedError(ErrorClass.PAN_IN_KEY)
        value = record.value
        if value is None:
            raise RefusedError(ErrorClass.NULL_VALUE)
        try:
            fields = parse_record(value, self._max_record_bytes)
        except RefusedError:
            if self._guard.contains_pan_bytes(value[: self._max_record_bytes]):
                findings[UNREADABLE] += 1
            raise
        self._blank_card_numbers(value, fields, findings)
        _check_schema_version(fields.get("schema_version"))
        _check_required(fields)
        _check_key(record.key, fields)
        return fields

    def _blank_card_numbers(self, value: bytes, fields: dict[str, Any], findings: Counter[str]) -> None:
        """Blank what the guard finds and count it; only a card number in `card_ref` refuses the record."""
        card_ref, event_id = fields.get("card_ref"), fields.get("event_id")
        event_type, occurred_at = fields.get("event_type"), fields.get("occurred_at")
        paths = set(self._guard.scan_record(value, fields))
        if not paths:
            return
        findings.update(map(safe_path, paths))
        inside = type(card_ref) in (dict, list) and any(path.startswith(("card_ref.", "card_ref[")) for path in paths)
        if "card_ref" in paths or inside:
            raise RefusedError(ErrorClass.PAN_IN_CARD_REF, "card_ref")
        # The other required fields go on under stand-ins: an id that is the same whenever the event comes again, an
        # event type that is matched but not scored, and a time that will be clamped.
        if "event_id" in paths and type(event_id) is str:
            fields["event_id"] = f"redacted:{self.payload_digest(event_id.encode())[:32]}"
        if "event_type" in paths and type(event_type) is str:
            fields["event_type"] = UNKNOWN_EVENT_TYPE
        if "occurred_at" in paths and type(occurred_at) is int:
            fields["occurred_at"] = INT64_MAX

    def _dead_letter(self, record: RawRecord, refusal: RefusedError) -> DeadLetter:
        value = record.value
        return DeadLetter(
            offset=record.offset,
            error_class=refusal.error_class,
            field_path=refusal.field_path,
            payload_digest=self.payload_digest(value),
            payload_bytes=0 if value is None else len(value),
            card_ref=None if value is None else self._readable_card_ref(value),
        )

    def _readable_card_ref(self, value: bytes) -> str | None:
        """The card of a refused record, if that can be told, is in the contract's format and is no card number."""
        try:
            card_ref: object = parse_record(value, self._max_record_bytes).get("card_ref")
        except RefusedError:
            card_ref = card_ref_in_text(value[: self._max_record_bytes])
        return card_ref if _is_usable_card_ref(card_ref) and not self._guard.finds_in_card_ref(card_ref) else None


def read_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Column], dict[str, int]]:
    """The fields that any of n opened records has: (n,) columns, and the numbers of unusable values by field.

    With them comes `card_key`.
    """
    columns: dict[str, Column] = {}
    missing: dict[str, int] = {}
    present: set[str] = set().union(*rows)
    for field in FIELDS:
        if field.name in present:
            columns[field.name], unusable = read_column(field, rows)
            if unusable:
                missing[field.name] = unusable
    if rows:
        columns["card_key"] = card_keys(columns["card_ref"])
    return columns, missing


def _check_schema_version(version: object) -> None:
    if isinstance(version, (int, float)) and version >= SCHEMA_MAJOR + 1:
        raise RefusedError(ErrorClass.UNKNOWN_SCHEMA_VERSION, "schema_version")


def _is_usable_card_ref(value: Any) -> TypeGuard[str]:
    return READERS["card_ref"](value) is not None and is_card_ref(value)


_REQUIRED: Final[Mapping[str, Callable[[object], bool]]] = {
    "event_id": lambda value: READERS["event_id"](value) is not None,
    "event_type": lambda value: type(value) is str and not _is_blank(value),
    "occurred_at": lambda value: READERS["occurred_at"](value) != MISSING,
    "card_ref": _is_usable_card_ref,
}


def _check_required(fields: dict[str, Any]) -> None:
    """Refuse a record whose identity, type, time or card cannot be read."""
    for name, is_usable in _REQUIRED.items():
        value = fields.get(name)
        if not is_usable(value):
            raise RefusedError(ErrorClass.MISSING_FIELD if _is_blank(value) else ErrorClass.INVALID_FIELD, name)


def _check_key(key: bytes | None, fields: dict[str, Any]) -> None:
    """Refuse a record whose key is not its card or its account: events of one card could overtake each other."""
    if key == fields["card_ref"].encode():
        return
    account_ref = READERS["account_ref"](fields.get("account_ref"))
    if account_ref is None or key != account_ref.encode():
        raise RefusedError(ErrorClass.KEY_MISMATCH)


def _is_blank(value: object) -> bool:
    return value is None or (type(value) is str and not value.strip())
