"""The reference decoder of `card.transactions`: records of one partition in, columns and dead letters out.

Degrade, never drop: only `event_id`, `event_type`, `occurred_at` and `card_ref` can refuse a record. Anything else
that cannot be used counts as missing, and the record goes on. Whatever the bytes, every record is accounted for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys, is_card_ref, merchant_keys
from fraud.codes import MISSING, currency_numbers, mcc_group
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.transactions import FIELDS, Column, Columns
from streams.dead_letters import DeadLetter, ErrorClass, RefusedError, card_ref_in_text, payload_digest, safe_path
from streams.wire_encoder import encode, keys
from streams.wire_fields import INT64_MAX, READERS, UNKNOWN_EVENT_TYPE, read_column
from streams.wire_json import parse_record

# Raised whenever a record could come out differently; part of the reference set that a batch runs under.
DECODER_VERSION: Final = 1

__all__ = ["DecodedBatch", "Decoder", "RawRecord", "encode", "keys"]

SCHEMA_MAJOR: Final = 1
UNREADABLE: Final = "(unreadable record)"  # the path of a card number in a record that has no fields

# Group of every merchant category code; the extra last item answers the index -1, which is `MISSING`.
_MCC_GROUPS: Final = np.array([*(mcc_group(code) for code in range(10_000)), MISSING], dtype=np.int8)


class RawRecord(NamedTuple):
    """One record as the log has it. The Kafka client's own record class has the same attributes and will do."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What came of n records: rows and dead letters, n together.

    Args:
        columns: the good rows, in log order.
        offsets: (rows,) their offsets, int64.
        dead_letters: the refused records, in log order.
        missing: field name to the number of values that were there but unusable.
        security_findings: field path to the number of records with a card number there; it has been blanked.

    """

    columns: Columns
    offsets: NDArray[np.int64]
    dead_letters: tuple[DeadLetter, ...]
    missing: dict[str, int]
    security_findings: dict[str, int]


class Decoder:
    """Decodes records of `card.transactions`. Holds no state between batches.

    Args:
        guard: finds card numbers of the issuer's own ranges.
        digest_key: key of the payload digests, at least 128 bits.
        max_record_bytes: a longer value is a dead letter.
        portfolio_currency: ISO 4217 code of the currency that the issuer bills in.
        max_future_ms: an event later than its record's timestamp by more is set to that timestamp, and flagged.
        max_past_ms: an event earlier by more is set to that bound, and flagged; None is no bound.

    Raises:
        ConfigurationError: the currency is unknown or the key is short.

    """

    def __init__(
        self,
        guard: PanGuard,
        digest_key: bytes,
        max_record_bytes: int,
        portfolio_currency: str,
        max_future_ms: int,
        max_past_ms: int | None = None,
    ) -> None:
        if portfolio_currency not in currency_numbers():
            message = "portfolio.currency is not a code of ISO 4217"
            raise ConfigurationError(message)
        if len(digest_key) < 16:
            message = "the key of the payload digests must have at least 128 bits"
            raise ConfigurationError(message)
        self._guard = guard
        self._digest_key = digest_key
        self._max_record_bytes = max_record_bytes
        self._currency = currency_numbers()[portfolio_currency]
        self._max_future_ms = max_future_ms
        self._max_past_ms = max_past_ms

    def decode(self, records: Sequence[RawRecord], now_ms: int) -> DecodedBatch:
        """Decode records of one partition, in log order.

        Event times are judged against the record's own timestamp, so that reading it again gives the same;
        `now_ms` (epoch milliseconds UTC) stands in where a record has none.
        """
        rows: list[dict[str, Any]] = []
        offsets: list[int] = []
        logged_at: list[int] = []
        dead_letters: list[DeadLetter] = []
        findings: Counter[str] = Counter()
        for record in records:
            try:
                rows.append(self._open(record, findings))
            except RefusedError as refusal:
                dead_letters.append(self._dead_letter(record, refusal))
            else:
                offsets.append(record.offset)
                logged_at.append(record.timestamp if record.timestamp >= 0 else now_ms)
        columns, missing = self._columns(rows, np.array(logged_at, dtype=np.int64))
        if len(columns) + len(dead_letters) != len(records):
            message = "the decoder lost count of its records"
            raise RuntimeError(message)
        return DecodedBatch(columns, np.array(offsets, dtype=np.int64), tuple(dead_letters), missing, dict(findings))

    def payload_digest(self, payload: bytes | None) -> str:
        """The keyed digest under which this decoder's dead letters know a payload."""
        return payload_digest(self._digest_key, payload)

    def _open(self, record: RawRecord, findings: Counter[str]) -> dict[str, Any]:
        """The fields of one record with card numbers blanked, or `RefusedError`."""
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

    def _columns(self, rows: list[dict[str, Any]], logged_at: Column) -> tuple[Columns, dict[str, int]]:
        columns: dict[str, Column] = {}
        missing: dict[str, int] = {}
        present: set[str] = set().union(*rows)
        for field in FIELDS:
            if field.name in present:
                columns[field.name], unusable = read_column(field, rows)
                if unusable:
                    missing[field.name] = unusable
        # Fields that no row has are filled in here, so that what is derived below finds every column.
        complete = Columns(columns, len(rows))
        occurred_at, clamped = self._clamped(complete["occurred_at"], logged_at)
        derived = {
            "occurred_at": occurred_at,
            "clamped": clamped,
            "card_key": card_keys(complete["card_ref"]),
            "merchant_key": merchant_keys(complete["acquirer_id"], complete["merchant_id"]),
            "amount": self._amounts(complete),
            "mcc_group": _MCC_GROUPS[complete["mcc"]],
        }
        return Columns(columns | derived, len(rows)), missing

    def _clamped(self, occurred_at: Column, logged_at: Column) -> tuple[Column, Column]:
        """(n,) event times inside the accepted range, and which of them were not."""
        too_late = occurred_at > logged_at + self._max_future_ms
        clamped = np.where(too_late, logged_at, occurred_at)
        if self._max_past_ms is None:
            return clamped, too_late
        earliest = logged_at - self._max_past_ms
        return np.maximum(clamped, earliest), too_late | (occurred_at < earliest)

    def _amounts(self, columns: Columns) -> Column:
        """(n,) amounts in minor units of the portfolio's currency; NaN where they are not known in it."""
        billed_at_home = columns["billing_currency"] == self._currency
        spent_at_home = (columns["currency"] == self._currency) & (
            billed_at_home | (columns["billing_currency"] == MISSING)
        )
        billed, spent = columns["billing_amount_minor"], columns["amount_minor"]
        return np.select(
            [billed_at_home & (billed != MISSING), spent_at_home & (spent != MISSING)],
            [billed.astype(np.float64), spent.astype(np.float64)],
            default=math.nan,
        )


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
