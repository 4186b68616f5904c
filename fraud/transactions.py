"""The card transaction: one table of its fields, what each event type does, and a batch of them as columns.

The field table is the wire contract. The decoder, the JSON Schema, the PAN guard and the features all read it, so a
field is described once. Names follow ISO 8583 and ISO 20022 use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.codes import MISSING, country_alpha_2, currency_codes

Column = NDArray[Any]


class Kind(Enum):
    """How a field is read, and how its column looks."""

    IDENTIFIER = "identifier"  # object column of str | None
    TEXT = "text"  # object column of str | None; hostile free text
    ENUM = "enum"  # int8 column: index into `values`, MISSING
    INTEGER = "integer"  # int64 column, MISSING; never negative
    TIMESTAMP = "timestamp"  # int64 column: epoch milliseconds UTC, MISSING
    BOOLEAN = "boolean"  # int8 column: 0, 1, MISSING
    COUNTRY = "country"  # int16 column: ISO 3166 number, MISSING
    CURRENCY = "currency"  # int16 column: ISO 4217 number, MISSING
    DIGITS = "digits"  # int16 column of a short digit string (MCC, DE22), MISSING
    NUMBER = "number"  # float64 column, NaN


DTYPES: Mapping[Kind, Any] = {
    Kind.IDENTIFIER: np.object_,
    Kind.TEXT: np.object_,
    Kind.ENUM: np.int8,
    Kind.INTEGER: np.int64,
    Kind.TIMESTAMP: np.int64,
    Kind.BOOLEAN: np.int8,
    Kind.COUNTRY: np.int16,
    Kind.CURRENCY: np.int16,
    Kind.DIGITS: np.int16,
    Kind.NUMBER: np.float64,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the contract. `limit` is a maximum length for strings and a maximum value for numbers."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    values: tuple[str, ...] = ()
    limit: int | None = None


EVENT_TYPES: tuple[str, ...] = (
    "authorization",
    "advice",
    "financial",
    "reversal",
    "clearing",
    "refund",
    "account_verification",
    "token_provision",
    "authentication",
    "account_change",
)


@dataclass(frozen=True, slots=True)
class EventTypeRule:
    """What one event type does: is it scored, counted in windows, does its amount count, may it be a loss."""

    scored: bool
    counted: bool
    amount_counts: bool
    loss_when_approved: bool


_PURCHASE = EventTypeRule(scored=True, counted=True, amount_counts=True, loss_when_approved=True)
_ATTEMPT = EventTypeRule(scored=True, counted=True, amount_counts=False, loss_when_approved=False)
_CORRECTION = EventTypeRule(scored=False, counted=False, amount_counts=False, loss_when_approved=False)
_CONTEXT = EventTypeRule(scored=False, counted=False, amount_counts=False, loss_when_approved=False)

EVENT_TYPE_RULES: Mapping[str, EventTypeRule] = {
    "authorization": _PURCHASE,
    "advice": _PURCHASE,
    "financial": _PURCHASE,
    "reversal": _CORRECTION,
    # An unlinked clearing is a monthly charge without authorization: scored as posted. Linking needs the event's
    # original, which comes with the archive; until then only a clearing without any link is scored.
    "clearing": _PURCHASE,
    "refund": _CORRECTION,
    "account_verification": _ATTEMPT,
    "token_provision": _ATTEMPT,
    "authentication": _CONTEXT,
    "account_change": _CONTEXT,
}

_RESULTS = ("match", "mismatch", "not_provided", "not_processed")

FIELDS: tuple[Field, ...] = (
    Field("event_id", Kind.IDENTIFIER, "unique id of the event; duplicates are dropped", required=True, limit=64),
    Field(
        "event_type",
        Kind.ENUM,
        "what happened; an unknown value is matched, not scored",
        required=True,
        values=EVENT_TYPES,
    ),
    Field("occurred_at", Kind.TIMESTAMP, "network time of the event, epoch milliseconds UTC", required=True),
    Field(
        "card_ref",
        Kind.IDENTIFIER,
        "`v{key}:{64 hex}`, a keyed hash of the whole PAN, or `x:{issuer's own id}`",
        required=True,
        limit=80,
    ),
    Field("schema_version", Kind.INTEGER, "absent is 1; a higher major parks", limit=1_000_000),
    Field("account_ref", Kind.IDENTIFIER, "the account, stable over reissue", limit=80),
    Field("issuer_card_id", Kind.IDENTIFIER, "the issuer's own opaque id of the card", limit=64),
    Field("bin", Kind.IDENTIFIER, "first digits of the card number, for display and rules", limit=8),
    Field("pan_last4", Kind.IDENTIFIER, "last four digits, for display", limit=4),
    Field("network", Kind.IDENTIFIER, "card network; ECI values differ by network", limit=32),
    Field("network_transaction_id", Kind.IDENTIFIER, "links events of one transaction", limit=64),
    Field("original_event_id", Kind.IDENTIFIER, "the event that this one corrects or completes", limit=64),
    Field("acquirer_reference_number", Kind.IDENTIFIER, "links clearing and refund", limit=64),
    Field(
        "transaction_type",
        Kind.ENUM,
        "kind of transaction",
        values=("purchase", "cash_advance", "withdrawal", "refund", "account_funding", "quasi_cash"),
    ),
    Field("authorization_kind", Kind.ENUM, "kind of authorization", values=("initial", "incremental", "partial")),
    Field("amount_minor", Kind.INTEGER, "amount in minor units of `currency`", limit=10**15),
    Field("currency", Kind.CURRENCY, "ISO 4217, alpha or numeric"),
    Field("billing_amount_minor", Kind.INTEGER, "amount in minor units of `billing_currency`", limit=10**15),
    Field("billing_currency", Kind.CURRENCY, "ISO 4217, alpha or numeric"),
    Field("acquirer_id", Kind.IDENTIFIER, "acquirer; half of the merchant's identity", limit=64),
    Field("merchant_id", Kind.IDENTIFIER, "merchant at that acquirer", limit=64),
    Field("terminal_id", Kind.IDENTIFIER, "terminal", limit=64),
    Field("merchant_name", Kind.TEXT, "name as the acquirer sent it; hostile text", limit=256),
    Field("mcc", Kind.DIGITS, "merchant category code, ISO 18245", limit=9999),
    Field("merchant_country", Kind.COUNTRY, "ISO 3166, alpha or numeric"),
    Field("payment_facilitator_id", Kind.IDENTIFIER, "payment facilitator", limit=64),
    Field("sub_merchant_id", Kind.IDENTIFIER, "merchant behind the facilitator", limit=64),
    Field("pos_entry_mode", Kind.DIGITS, "first two digits of DE22", limit=99),
    Field("channel", Kind.ENUM, "how the card was used", values=("card_present", "ecommerce", "moto", "atm")),
    Field("eci", Kind.DIGITS, "electronic commerce indicator; meaning differs by network", limit=99),
    Field(
        "three_ds",
        Kind.ENUM,
        "3-D Secure result",
        values=(
            "none",
            "attempted",
            "frictionless",
            "challenge_passed",
            "challenge_failed",
            "rejected",
            "unavailable",
        ),
    ),
    Field("liability_shift", Kind.BOOLEAN, "the issuer bears a fraud"),
    Field("cvv2_result", Kind.ENUM, "result only, never the value", values=_RESULTS),
    Field("avs_result", Kind.ENUM, "result only", values=_RESULTS),
    Field("expiry_result", Kind.ENUM, "result only", values=_RESULTS),
    Field("initiator", Kind.ENUM, "who started it (CIT or MIT)", values=("cardholder", "merchant")),
    Field(
        "stored_credential",
        Kind.ENUM,
        "use of a stored card",
        values=("first", "recurring", "instalment", "unscheduled"),
    ),
    Field("token_ref", Kind.IDENTIFIER, "reference of a wallet token", limit=80),
    Field("token_requestor", Kind.IDENTIFIER, "wallet or merchant that asked for the token", limit=64),
    Field("token_provisioned_at", Kind.TIMESTAMP, "when the token was made, epoch milliseconds UTC"),
    Field("provisioning_path", Kind.IDENTIFIER, "how the token was approved", limit=32),
    Field("approved", Kind.BOOLEAN, "the authorization was approved"),
    Field("response_code", Kind.IDENTIFIER, "DE39", limit=4),
    Field("decision_by", Kind.ENUM, "who decided", values=("issuer", "stand_in", "other_fraud_system")),
    Field("decline_reason", Kind.IDENTIFIER, "why it was declined", limit=64),
    Field(
        "open_to_buy_minor", Kind.INTEGER, "what is left to spend, minor units of the billing currency", limit=10**15
    ),
    Field("network_score", Kind.NUMBER, "the network's own risk score"),
    Field("compromise_indicator", Kind.IDENTIFIER, "the network's hint of a compromised account", limit=32),
    Field("device_ref", Kind.IDENTIFIER, "opaque reference of the device", limit=80),
    Field("ip_ref", Kind.IDENTIFIER, "opaque reference of the network address", limit=80),
    Field("ip_country", Kind.COUNTRY, "country of the network address"),
)

FIELD_BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
REQUIRED_FIELDS: tuple[str, ...] = tuple(field.name for field in FIELDS if field.required)

# Columns that are worked out from the contract's fields, once, when a batch is made.
DERIVED_DTYPES: Mapping[str, Any] = {
    "card_key": np.uint64,  # first 64 bits of the card reference
    "merchant_key": np.uint64,  # 64-bit digest of (acquirer_id, merchant_id); 0 is missing
    "amount": np.float64,  # minor units of the portfolio's currency; NaN where unknown
    "mcc_group": np.int8,  # index into codes.MCC_GROUPS
    "clamped": np.bool_,  # occurred_at was outside the accepted range and was clamped
}


class Columns:
    """n transactions, in log order, one array a field.

    A column that a source does not have is there all the same, full of missing values, so that no reader asks twice.
    """

    __slots__ = ("_columns", "_n")

    def __init__(self, columns: Mapping[str, Column], n: int) -> None:
        complete: dict[str, Column] = {}
        for field in FIELDS:
            complete[field.name] = _as_column(columns.get(field.name), DTYPES[field.kind], n, field.name)
        for name, dtype in DERIVED_DTYPES.items():
            complete[name] = _as_column(columns.get(name), dtype, n, name)
        self._columns = complete
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def take(self, rows: Column | Sequence[int]) -> Columns:
        """The named rows (indices or a boolean mask), in the order given."""
        picked = {name: column[rows] for name, column in self._columns.items()}
        return Columns(picked, len(picked["event_id"]))

    def row(self, index: int) -> dict[str, Any]:
        """One transaction as a plain dictionary of what is known of it, in the contract's own spellings."""
        (found,) = self.rows([index])
        return found

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several transactions as `row` gives one; column by column, which is several times as quick."""
        found: list[dict[str, Any]] = [{} for _ in indices]
        chosen = np.asarray(indices, dtype=np.intp)
        for field in FIELDS:
            name, kind = field.name, field.kind
            values = self._columns[name][chosen].tolist()
            if kind in (Kind.IDENTIFIER, Kind.TEXT):
                for known, value in zip(found, values, strict=True):
                    if value is not None:
                        known[name] = value
                continue
            missing: Callable[[Any], bool] = math.isnan if kind is Kind.NUMBER else MISSING.__eq__
            spelled: Callable[[Any], Any] = float if kind is Kind.NUMBER else partial(_SPELLINGS[kind], field)
            for known, value in zip(found, values, strict=True):
                if not missing(value):
                    known[name] = spelled(value)
        return found

    @staticmethod
    def concatenate(parts: Sequence[Columns]) -> Columns:
        """Several batches as one, in the order given."""
        if not parts:
            return Columns({}, 0)
        names = list(parts[0])
        return Columns(
            {name: np.concatenate([part[name] for part in parts]) for name in names}, sum(len(part) for part in parts)
        )


_SPELLINGS: Mapping[Kind, Callable[[Field, int], Any]] = {
    Kind.ENUM: lambda field, code: field.values[code],
    Kind.INTEGER: lambda _, number: number,
    Kind.TIMESTAMP: lambda _, number: number,
    Kind.BOOLEAN: lambda _, number: bool(number),
    Kind.COUNTRY: lambda _, number: country_alpha_2()[number],
    Kind.CURRENCY: lambda _, number: currency_codes()[number],
    Kind.DIGITS: lambda field, number: f"{number:0{len(str(field.limit))}d}",
}


def _as_column(values: Column | None, dtype: Any, n: int, name: str) -> Column:
    if values is not None:
        column = np.asarray(values, dtype=dtype)
        if column.shape != (n,):
            message = f"column {name} has shape {column.shape}, expected ({n},)"
            raise ValueError(message)
        return column
    if dtype is np.object_:
        return np.full(n, None, dtype=np.object_)
    if dtype is np.float64:
        return np.full(n, np.nan)
    if dtype in (np.uint64, np.bool_):
        return np.zeros(n, dtype=dtype)
    return np.full(n, MISSING, dtype=dtype)


def enum_code(field: str, value: str) -> int:
    """The column code of an enum value, for rules and tests: `enum_code("channel", "ecommerce")`."""
    return FIELD_BY_NAME[field].values.index(value)


def is_linked_clearing(columns: Columns) -> NDArray[np.bool_]:
    """(n,) True for a clearing that names its authorization: the authorization was judged, so this is not."""
    linked: NDArray[np.bool_] = columns["event_type"] == _CLEARING
    named = columns["original_event_id"][linked]
    linked[linked] = named != None  # noqa: E711 - element by element, on an object column
    return linked


_CLEARING = enum_code("event_type", "clearing")
