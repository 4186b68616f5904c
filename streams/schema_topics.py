"""The smaller topics, described by hand. Each is a draft until the code that reads or writes it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraud.card_references import CardStatus
from fraud.cases import FraudType, Outcome
from fraud.watchlist import Stance

Schema = Mapping[str, Any]

CARD_REF: Schema = {
    "type": "string",
    "maxLength": 80,
    "pattern": "^(?:v[0-9]{1,4}:[0-9a-f]{64}|x:[!-~]{1,78})$",
}
IDENTIFIER: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
MILLISECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
AMOUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 10**15}
TIER: Schema = {"type": "integer", "minimum": 0, "maximum": 5}
IDENTIFIERS: Schema = {"type": "array", "items": IDENTIFIER}
REASONS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["code", "facts"],
        "properties": {"code": IDENTIFIER, "facts": {"type": "object"}},
    },
}


def one_of(*values: str) -> Schema:
    """One of a few words."""
    return {"enum": list(values)}


@dataclass(frozen=True, slots=True)
class TopicField:
    """One field of a topic: its name, its JSON Schema, and what it means."""

    name: str
    schema: Schema
    meaning: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `tombstone` allows a null value; one of the `alternatives` (field names) must be complete."""

    name: str
    description: str
    fields: tuple[TopicField, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()
    tombstone: bool = False


TOPICS: tuple[Topic, ...] = (
    Topic(
        "card.detections",
        "Contract draft. Out: one message for each detection, as it was made. Key: card_ref.",
        (
            TopicField(
                "detection_id", IDENTIFIER, "derived from the event and its origin; the same after a restore", True
            ),
            TopicField("event_id", IDENTIFIER, "the transaction", True),
            TopicField("card_ref", CARD_REF, "the card", True),
            TopicField("occurred_at", MILLISECONDS, "time of the transaction, epoch milliseconds UTC", True),
            TopicField("kind", one_of("EXPOSED", "LOOKBACK", "ANOMALY"), "watched card, its past, or any other", True),
            TopicField("origin", one_of("LIVE", "LOOKBACK"), "found as it happened, or when looking back"),
            TopicField("tier", TIER, "exposure tier; 0 is unexposed", True),
            TopicField("compromise_event_ids", IDENTIFIERS, "compromise events of the card"),
            TopicField(
                "fraud_probability", {"type": "number", "minimum": 0, "maximum": 1}, "after exposure odds", True
            ),
            TopicField("expected_loss_minor", AMOUNT, "minor units of the portfolio's currency", True),
            TopicField("reasons", REASONS, "what speaks for fraud, strongest first", True),
            TopicField("counter_evidence", REASONS, "what speaks against it", True),
            TopicField("case_id", IDENTIFIER, "the case that it was folded into"),
        ),
    ),
    Topic(
        "card.labels",
        "Contract draft. In: what became known of a transaction, from claims, chargebacks and reports. Key: label_id.",
        (
            TopicField("label_id", IDENTIFIER, "unique; a later label of the same id replaces the earlier one", True),
            TopicField("event_id", IDENTIFIER, "the transaction, where its id is known"),
            TopicField("network_transaction_id", IDENTIFIER, "the transaction, by the network's id"),
            TopicField("acquirer_reference_number", IDENTIFIER, "the transaction, by the acquirer's reference"),
            TopicField("card_ref", CARD_REF, "the card, with merchant, date and amount"),
            TopicField("merchant_id", IDENTIFIER, "merchant of the transaction"),
            TopicField(
                "transaction_date", {"type": "string", "format": "date"}, "day in the portfolio's time zone, YYYY-MM-DD"
            ),
            TopicField("amount_minor", AMOUNT, "amount in minor units"),
            TopicField("outcome", one_of(*Outcome), "what was found out", True),
            TopicField("fraud_type", one_of(*FraudType), "kind of fraud, with CONFIRMED_FRAUD"),
            TopicField(
                "basis", IDENTIFIER, "what the outcome rests on: a holder's claim, a chargeback, a reviewer", True
            ),
            TopicField("reported_at", MILLISECONDS, "when the issuer knew; epoch milliseconds UTC", True),
            TopicField("withdrawn", {"type": "boolean"}, "the label no longer holds"),
        ),
        alternatives=(
            ("event_id",),
            ("network_transaction_id",),
            ("acquirer_reference_number",),
            ("card_ref", "merchant_id", "transaction_date", "amount_minor"),
        ),
    ),
    Topic(
        "card.holder-responses",
        "Contract draft. In: what a card holder answered when asked about a transaction. Key: card_ref.",
        (
            TopicField("response_id", IDENTIFIER, "unique", True),
            TopicField("event_id", IDENTIFIER, "the transaction that was asked about", True),
            TopicField("card_ref", CARD_REF, "the card", True),
            TopicField("response", one_of("genuine", "not_mine", "no_answer"), "the answer", True),
            TopicField("responded_at", MILLISECONDS, "epoch milliseconds UTC", True),
        ),
    ),
    Topic(
        "card.references",
        "In: what became of cards, one change a message, in any order. Key: card_ref.",
        (
            TopicField("change_id", IDENTIFIER, "unique", True),
            TopicField("change", one_of("reissue", "renewal", "closure", "alias", "update"), "what happened", True),
            TopicField("card_ref", CARD_REF, "the card as it was known before", True),
            TopicField(
                "new_card_ref", CARD_REF, "the card as it is known from now on; none for a closure or an update"
            ),
            TopicField("effective_at", MILLISECONDS, "epoch milliseconds UTC; what is older changes nothing", True),
            TopicField("status", one_of(*CardStatus), "of the card, or of the new one"),
            TopicField("expiry", {"type": "string", "pattern": "^20[0-9]{2}-(?:0[1-9]|1[0-2])$"}, "month, YYYY-MM"),
            TopicField("product", IDENTIFIER, "what kind of card it is, in the issuer's words"),
            TopicField("updater_suppressed", {"type": "boolean"}, "account updaters do not hand out the new number"),
        ),
    ),
    Topic(
        "card.watchlist",
        "Out, compacted: what is asked for while a card is exposed. Key: card_ref. The last message of a card counts; "
        "one without a value releases the card.",
        (
            TopicField("card_ref", CARD_REF, "the card", True),
            TopicField("tier", {**TIER, "minimum": 1}, "worst exposure tier of the card's compromise events", True),
            TopicField(
                "stance",
                {"type": "array", "items": one_of(*Stance), "uniqueItems": True},
                "what the authorization host and the 3-D Secure server are asked to do; none is to watch",
                True,
            ),
            TopicField("compromise_event_ids", IDENTIFIERS, "compromise events of the card", True),
            TopicField(
                "events",
                {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}},
                "what these are called, in the same order: by code names until they are published",
                True,
            ),
            TopicField("version", {"type": "integer", "minimum": 1}, "of a card it never falls", True),
            TopicField(
                "expiry",
                {"type": ["string", "null"], "pattern": "^20[0-9]{2}-(?:0[1-9]|1[0-2])$"},
                "month in which the card expires, YYYY-MM, as the alert gave it; the entry does not end by itself",
            ),
        ),
        tombstone=True,
    ),
)
