"""The whole path of the stream once more, slow and obvious: records of the log in, all that must come of them out.

One record after the other, plain dictionaries, no batches, no position, no restarts: what a schedule could change does
not exist here, so whatever the schedule was, the deployment must hold exactly this. What is shared with the product
are code tables, the feature table's names, the PAN guard, and the values of the policy.

Which reference set a record ran under is the run's to say (the recorded activations), and so is an input.
"""

from __future__ import annotations

import hashlib
import math
import struct
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))

from reference_archive import archive_row, vector_digest
from reference_cases import cases_of
from reference_contract import Refused, digest, opened, readable_card_ref, transaction_of
from reference_features import COUNTED, reference_features
from reference_policy import detection_of
from reference_scores import single

from fraud.codes import MCC_GROUPS, mcc_group
from models.feature_table import FEATURE_NAMES

DAY_MS = 86_400_000
KEPT_EVENTS, SHOWN_EVENTS = 24, 20


class Record(NamedTuple):
    """One record as the log has it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Exposure(NamedTuple):
    """One card in one compromise event."""

    compromise_event_id: str
    tier: int
    window_start_at: int
    window_end_at: int


@dataclass(frozen=True)
class ReferenceSet:
    """What a record ran under. Without a `model`, rules and exposure alone."""

    exposures: Mapping[str, Sequence[Exposure]]  # by card; a card without any is not there
    policy: Any
    model: Any = None
    quiet: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (card, trigger) to the time when quiet ends


@dataclass(frozen=True)
class Facts:
    """What a deployment is told, apart from its log."""

    topic_id: str
    reference_sets: Mapping[int, ReferenceSet]
    activations: Mapping[int, Sequence[tuple[int, int]]]  # partition to (from_offset, reference set), ascending
    guard: Any
    digest_key: bytes
    currency: str = "JPY"
    home_country: str = "JP"
    timezone: str = "Asia/Tokyo"
    max_record_bytes: int = 65_536
    dedupe_window: int = 200_000
    max_future_ms: int = DAY_MS
    max_past_ms: int | None = None
    case_due_ms: int = DAY_MS


@dataclass
class Outcome:
    """Everything that must be there. Rows are dictionaries by column; keys are what makes a row unique."""

    positions: dict[int, dict[str, Any]] = field(default_factory=dict)
    detections: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # event id, origin
    matches: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # event id, compromise event
    dead_letters: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)  # partition, offset
    security_incidents: Counter[str] = field(default_factory=Counter)  # field path
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)  # card lineage
    histories: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)  # card lineage
    scattered: set[str] = field(default_factory=set)  # lineages whose cases the log alone does not decide
    archive: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)  # partition, offset
    # Archive digests that are right too: where a feature lies between two float32 numbers, either may be served.
    other_digests: dict[tuple[int, int], set[int]] = field(default_factory=dict)


def reference_path(log: Mapping[int, Sequence[Record]], facts: Facts) -> Outcome:
    """What must come of a log: partition to its records, in order."""
    outcome = Outcome()
    for partition in sorted(log):
        partition_path(partition, log[partition], facts, outcome)
    outcome.cases, outcome.histories, outcome.scattered = cases_of(outcome.detections.values())
    return outcome


def partition_path(partition, records, facts, outcome):
    counters = Counter()
    rows = accepted(partition, records, facts, outcome, counters)
    add_features(rows, facts)
    for row in rows:
        reference_set = facts.reference_sets[row["reference_set_id"]]
        add_exposure(row, reference_set.exposures)
        # Without a model there is no probability, and everything counts as ordinary.
        row["probability"], row["anomaly"] = (
            (None, 0.0) if reference_set.model is None else reference_set.model.score(row["vector"])
        )
        said = detection_of(row, reference_set.policy, reference_set.quiet)
        if said is not None:
            detection = detection_row(row, said, reference_set, facts, partition)
            outcome.detections.setdefault((row["transaction"]["event_id"], "LIVE"), detection)
        for match in match_rows(row, said, facts, partition):
            outcome.matches.setdefault((match["event_id"], match["compromise_event_id"]), match)
            counters["matched"] += 1
        counters["detected"] += said is not None
        outcome.archive[partition, row["offset"]] = archive_row(row, facts.topic_id, partition)
        others = {vector_digest(vector) for vector in row["other_vectors"]}
        if others:
            outcome.other_digests[partition, row["offset"]] = others
    names = ("processed", "duplicates", "quarantined", "dead_lettered", "matched", "detected")
    outcome.positions[partition] = {
        "next_offset": records[-1].offset + 1 if records else 0,
        "reached_at": max((row["transaction"]["occurred_at"] for row in rows), default=None),
        **{name: counters[name] for name in names},
    }


def accepted(partition, records, facts, outcome, counters):
    """The records that count, as rows; all others become dead letters, or nothing."""
    rows, remembered = [], {}
    for record in records:
        try:
            fields = opened(record, facts, outcome.security_incidents)
        except Refused as refusal:
            card_ref = readable_card_ref(record.value, facts)
            letter = dead_letter(partition, record, facts, "DEAD_LETTER", refusal, card_ref)
            outcome.dead_letters[partition, record.offset] = letter
            counters["dead_lettered"] += 1
            continue
        event_id = fields["event_id"]
        if remembered.get(event_id) == record.value:
            counters["duplicates"] += 1
        elif event_id in remembered:
            reused = Refused("EVENT_ID_REUSED", "event_id")
            letter = dead_letter(partition, record, facts, "QUARANTINED", reused, fields["card_ref"])
            outcome.dead_letters[partition, record.offset] = letter
            counters["quarantined"] += 1
        else:
            remembered[event_id] = record.value
            if len(remembered) > facts.dedupe_window:
                del remembered[next(iter(remembered))]  # the oldest
            counters["processed"] += 1
            rows.append(row_of(partition, record, fields, facts))
    return rows


def row_of(partition, record, fields, facts):
    transaction, clamped, amount = transaction_of(record, fields, facts)
    code = transaction.get("mcc")
    return {
        "offset": record.offset,
        "logged_at": record.timestamp,
        "transaction": transaction,
        "clamped": clamped,
        "amount": amount,
        "mcc_group": None if code is None else mcc_group(int(code)),
        "reference_set_id": active_at(facts, partition, record.offset),
    }


def active_at(facts, partition, offset):
    """The reference set of an offset: of the last activation that is not after it."""
    active = [number for from_offset, number in facts.activations.get(partition, ()) if from_offset <= offset]
    if not active:
        message = f"no reference set is recorded for partition {partition}, offset {offset}"
        raise AssertionError(message)
    return active[-1]


def dead_letter(partition, record, facts, kind, refusal, card_ref):
    exposures = facts.reference_sets[active_at(facts, partition, record.offset)].exposures
    return {
        "kind": kind,
        "error_class": refusal.error_class,
        "field_path": refusal.field_path,
        "payload_digest": digest(facts, record.value),
        "payload_bytes": len(record.value or b""),
        "card_ref": card_ref,
        "on_exposed_card": card_ref in exposures,
    }


def add_features(rows, facts):
    """Each row's features, by the slow reference that they have of their own, as the float32 numbers served."""
    events = [feature_event(row) for row in rows]
    exact = reference_features(events, home_country=facts.home_country, timezone=facts.timezone)
    kept = {}
    for row, event, numbers in zip(rows, events, exact, strict=True):
        if abs(numbers["amount_z"]) < 1e-9:
            numbers["amount_z"] = 0.0  # of equal amounts the mean is only nearly the amount
        row["features"] = {name: single(float(numbers[name])) for name in FEATURE_NAMES}
        row["vector"] = [row["features"][name] for name in FEATURE_NAMES]
        row["other_vectors"] = other_roundings(row["vector"], [float(numbers[name]) for name in FEATURE_NAMES])
        before = kept.setdefault(event["card"], [])
        row["recent_events"] = [shown for shown in before[-KEPT_EVENTS:] if shown["occurred_at"] < event["at"]]
        if is_counted(row["transaction"]):
            before.append(recent_event(row))


def is_counted(transaction):
    """Counted event types enter the windows; a clearing that names its authorization was counted with that."""
    if transaction.get("event_type") == "clearing":
        return "original_event_id" not in transaction
    return transaction.get("event_type") in COUNTED


def feature_event(row):
    known = row["transaction"]
    merchant = (known.get("acquirer_id", ""), known["merchant_id"]) if "merchant_id" in known else None
    return {
        "card": known["card_ref"],
        "type": known.get("event_type", "unknown"),
        "at": known["occurred_at"],
        "amount": row["amount"],
        "merchant": merchant,
        "mcc_group": row["mcc_group"],
        "country": known.get("merchant_country"),
        "ip_country": known.get("ip_country"),
        "network_score": known.get("network_score"),
        "approved": known.get("approved"),
        "token": known.get("token_ref"),
        "original": known.get("original_event_id"),
        "channel": known.get("channel"),
        "transaction_type": known.get("transaction_type"),
        "three_ds": known.get("three_ds"),
        "cvv2": known.get("cvv2_result"),
        "avs": known.get("avs_result"),
        "expiry": known.get("expiry_result"),
        "initiator": known.get("initiator"),
        "stored_credential": known.get("stored_credential"),
    }


def other_roundings(vector, exact):
    """Vectors that differ by rounding: sums in another order differ in the last digits, and may fall to the other side.

    Nearly every row has none. With several such features in one row each is tried alone and all together.
    """
    others = [
        next((near for near in (single(x * (1 - 1e-11)), single(x * (1 + 1e-11))) if near != x32), x32)
        if math.isfinite(x32)
        else x32
        for x, x32 in zip(exact, vector, strict=True)
    ]
    changed = [at for at, x32 in enumerate(vector) if math.isfinite(x32) and others[at] != x32]
    single_changes = [[*vector[:at], others[at], *vector[at + 1 :]] for at in changed]
    return single_changes + ([others] if len(changed) > 1 else [])


def recent_event(row):
    """A card's earlier event as reviewers are shown it."""
    known = row["transaction"]
    attempt = known["event_type"] in ("account_verification", "token_provision")
    amount = None if attempt else row["amount"]
    return {
        "occurred_at": known["occurred_at"],
        "amount_minor": None if amount is None else round(amount),
        "mcc_group": None if row["mcc_group"] is None else MCC_GROUPS[row["mcc_group"]],
        "country": known.get("merchant_country"),
        "channel": known.get("channel"),
        "approved": known.get("approved"),
    }


def add_exposure(row, exposures):
    """A card's tier is its worst. What happened before a window began is a match, and leaves the row unexposed."""
    known = row["transaction"]
    row["exposures"] = exposures.get(known["card_ref"], ())
    begun = [exposure for exposure in row["exposures"] if known["occurred_at"] >= exposure.window_start_at]
    row["tier"] = max((exposure.tier for exposure in begun), default=0)
    row["days_since_window"] = min((days_since(known, exposure) for exposure in begun), default=0)
    row["compromise_event_ids"] = sorted(exposure.compromise_event_id for exposure in begun)


def days_since(known, exposure):
    return max(0, (known["occurred_at"] - exposure.window_end_at) // DAY_MS)


def match_rows(row, said, facts, partition):
    known = row["transaction"]
    for exposure in row["exposures"]:
        if known["occurred_at"] < exposure.window_start_at:
            kind = "BEFORE_WINDOW"
        elif known["occurred_at"] < exposure.window_end_at:
            kind = "IN_WINDOW"
        else:
            kind = "AFTER_WINDOW"
        yield {
            "event_id": known["event_id"],
            "compromise_event_id": exposure.compromise_event_id,
            "card_ref": known["card_ref"],
            "kind": kind,
            "tier": exposure.tier,
            "origin": "LIVE",
            "days_since_window": days_since(known, exposure),
            "occurred_at": known["occurred_at"],
            "transaction": known,
            "probability": row["probability"],
            "anomaly": row["anomaly"],
            "detection_id": None if said is None else detection_id(known["event_id"]),
            "topic_id": facts.topic_id,
            "partition": partition,
            "offset": row["offset"],
        }


def detection_id(event_id):
    return hashlib.sha256(b"LIVE\x00" + event_id.encode()).hexdigest()[:32]


def detection_row(row, said, reference_set, facts, partition):
    known = row["transaction"]
    return (
        said
        | {
            "detection_id": detection_id(known["event_id"]),
            "event_id": known["event_id"],
            "origin": "LIVE",
            "card_ref": known["card_ref"],
            "compromise_event_ids": row["compromise_event_ids"],
            "occurred_at": known["occurred_at"],
            "detected_at": known["occurred_at"],  # under the stream's clock
            "due_at": known["occurred_at"] + facts.case_due_ms,
            "probability": row["probability"],
            "anomaly": row["anomaly"],
            "transaction": known,
            "recent_events": row["recent_events"][-SHOWN_EVENTS:],
            "features": struct.pack(f"<{len(row['vector'])}f", *row["vector"]),
            "features_digest": f"{vector_digest(row['vector']):016x}",
            "model_digest": None if reference_set.model is None else reference_set.model.digest,
            "reference_set_id": row["reference_set_id"],
            "topic_id": facts.topic_id,
            "partition": partition,
            "offset": row["offset"],
        }
    )
