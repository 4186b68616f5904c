"""Detections become rows, and fold into cases: one open case for each card lineage, whatever detected it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text, update

from fraud.cases import CaseStatus, Priority, fold_priority
from fraud.store.records import DetectionRecord, PartitionEffects
from fraud.store.statements import chunks, insert_ignore, storable_text
from fraud.store.tables import case, case_event, detection, detection_compromise_event, outbox

ACTOR = "mimamori"  # the product itself, in a case's history
DETECTIONS_TOPIC = "card.detections"

_OPEN = text("status <> 'RESOLVED'")  # the condition of the unique index on open cases
_DETECTION = tuple(item.name for item in fields(DetectionRecord) if item.name in detection.c)
# What others are told; the vector, the card's other events and the place in the log stay in the database.
_MESSAGE = (
    "detection_id",
    "event_id",
    "origin",
    "card_ref",
    "kind",
    "tier",
    "compromise_event_ids",
    "occurred_at",
    "detected_at",
    "probability",
    "fraud_probability",
    "anomaly",
    "expected_loss_minor",
    "reasons",
    "counter_evidence",
)

_KINDS = ("EXPOSED", "LOOKBACK", "ANOMALY")  # what a case is, when its detections are of several kinds: the first

Fold = Mapping[str, Any]  # the columns of a case that detections change


@dataclass(frozen=True, slots=True)
class _Placed:
    """A detection and the batch that it came in."""

    record: DetectionRecord
    effects: PartitionEffects


def store_detections(connection: Connection, live: Sequence[PartitionEffects]) -> None:
    """Store the detections that are not there yet and fold them into their cases; what is there changes nothing."""
    placed = _not_stored(connection, live)
    if not placed:
        return
    by_lineage = {lineage: list(group) for lineage, group in groupby(placed, lambda item: item.record.card_lineage)}
    cases = _open_cases(connection, {lineage: group[0].record for lineage, group in by_lineage.items()})
    folded, detections, history, links, messages = [], [], [], [], []
    for lineage, group in by_lineage.items():
        current = {**cases[lineage], "version": cases[lineage]["version"] + 1}
        case_id = current.pop("case_id")
        for item in group:
            history.append(_history(case_id, item.record, opens=not current["detections"]))
            current = fold(current, item.record)
            detections.append(_detection(case_id, item))
            links.extend(_links(item.record))
            messages.append(_message(case_id, item))
        folded.append({"at_case_id": case_id, **current})
    connection.execute(update(case).where(case.c.case_id == bindparam("at_case_id")), folded)
    connection.execute(insert(detection), detections)
    connection.execute(insert(case_event), history)
    insert_ignore(connection, detection_compromise_event, links, ["compromise_event_id", "detection_id"])
    insert_ignore(connection, outbox, messages, ["message_id"])


def fold(current: Fold, record: DetectionRecord) -> dict[str, Any]:
    """A case's columns after one more detection: tier and priority only rise, the due time only comes nearer."""
    highest = fold_priority(
        Priority(current["priority"], current["priority_reason"]),
        Priority(record.expected_loss_minor, record.priority_reason),
    )
    rises = highest.expected_loss_minor > current["priority"]
    is_latest = record.detected_at >= current["last_detection_at"]
    return {
        **current,
        **(_latest(record) if is_latest else {}),
        "kind": min(current["kind"], record.kind, key=_KINDS.index),
        "tier": max(current["tier"], record.tier),
        "compromise_event_ids": sorted({*current["compromise_event_ids"], *record.compromise_event_ids}),
        "priority": highest.expected_loss_minor,
        "priority_reason": highest.reason,
        "headline": record.reasons[0] if rises else current["headline"],
        "detections": current["detections"] + 1,
        "due_at": min(current["due_at"], record.due_at),
    }


def _opened(record: DetectionRecord) -> dict[str, Any]:
    """A case as its first detection opens it, before that is folded in."""
    return {
        "card_lineage": record.card_lineage,
        "status": CaseStatus.NEW.value,
        "version": 0,
        "kind": record.kind,
        "tier": record.tier,
        "compromise_event_ids": [],
        "priority": record.expected_loss_minor,
        "priority_reason": record.priority_reason,
        "headline": record.reasons[0],
        "detections": 0,
        "opened_at": record.detected_at,
        "due_at": record.due_at,
        **_latest(record),
    }


def _latest(record: DetectionRecord) -> dict[str, Any]:
    """What a case shows of its latest transaction."""
    seen = record.transaction
    billed = "billing_" if seen.get("billing_amount_minor") is not None else ""
    return {
        "card_ref": record.card_ref,
        "last_detection_at": record.detected_at,
        "last_amount_minor": seen.get(f"{billed}amount_minor"),
        "currency": _text(seen, f"{billed}currency"),
        "merchant_name": _text(seen, "merchant_name"),
        "merchant_country": _text(seen, "merchant_country"),
        "pan_last4": _text(seen, "pan_last4"),
    }


def _text(transaction: Mapping[str, Any], name: str) -> str | None:
    """Whatever a merchant's name holds, it must not stop the stream."""
    value = transaction.get(name)
    column_type = case.c[name.removeprefix("billing_")].type
    return None if value is None else storable_text(str(value), getattr(column_type, "length", None))


def _not_stored(connection: Connection, live: Sequence[PartitionEffects]) -> list[_Placed]:
    """The detections that are not in the database, each id once, by lineage and then in log order.

    Not by their own time: a late event would otherwise change a case's history with how batches are cut.
    """
    placed: dict[str, _Placed] = {}
    for effects in live:
        for record in effects.detections:
            placed.setdefault(record.detection_id, _Placed(record, effects))
    for ids in chunks(list(placed)):
        known = select(detection.c.detection_id).where(detection.c.detection_id.in_(ids))
        for detection_id in connection.execute(known).scalars():
            del placed[detection_id]
    return sorted(placed.values(), key=_in_log_order)


def _in_log_order(item: _Placed) -> tuple[str, int, int]:
    return item.record.card_lineage, item.effects.key.partition, item.record.offset


def _open_cases(connection: Connection, first: Mapping[str, DetectionRecord]) -> dict[str, dict[str, Any]]:
    """Lineage to the folding columns of its open case, locked. `first` has the detection that opens one if need be."""
    found = _lock(connection, list(first))
    while missing := [lineage for lineage in first if lineage not in found]:
        # Another worker may be opening the same case: then ours is ignored, and theirs is found once it commits. In
        # between a reviewer may resolve that one; then the next round opens ours.
        insert_ignore(connection, case, [_opened(first[lineage]) for lineage in missing], ["card_lineage"], _OPEN)
        found |= _lock(connection, missing)
    return found


def _lock(connection: Connection, lineages: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for chunk in chunks(lineages):
        statement = (
            select(case).where(case.c.card_lineage.in_(chunk), _OPEN).order_by(case.c.card_lineage).with_for_update()
        )
        for row in connection.execute(statement).mappings():
            found[row["card_lineage"]] = {name: row[name] for name in _FOLDING}
    return found


def _history(case_id: int, record: DetectionRecord, *, opens: bool) -> dict[str, Any]:
    return {
        "case_id": case_id,
        "at": record.detected_at,
        "actor": ACTOR,
        "kind": "OPENED" if opens else "DETECTION_ADDED",
        "data": {"detection_id": record.detection_id, "expected_loss_minor": record.expected_loss_minor},
    }


def _detection(case_id: int, item: _Placed) -> dict[str, Any]:
    return {
        **{name: getattr(item.record, name) for name in _DETECTION},
        "case_id": case_id,
        "reference_set_id": item.effects.reference_set_id,
        "topic_id": item.effects.key.topic_id,
        "partition": item.effects.key.partition,
    }


def _links(record: DetectionRecord) -> list[dict[str, str]]:
    return [
        {"compromise_event_id": compromise_event_id, "detection_id": record.detection_id}
        for compromise_event_id in record.compromise_event_ids
    ]


def _message(case_id: int, item: _Placed) -> dict[str, Any]:
    payload = {name: getattr(item.record, name) for name in _MESSAGE}
    return {
        "message_id": item.record.detection_id,
        "topic": DETECTIONS_TOPIC,
        "key": item.record.card_ref,
        "payload": {**payload, "case_id": str(case_id)},
        "created_at": item.effects.committed_at,
    }


_FOLDING = (
    "case_id",
    "version",
    "kind",
    "tier",
    "compromise_event_ids",
    "priority",
    "priority_reason",
    "headline",
    "detections",
    "due_at",
    "card_ref",
    "last_detection_at",
    "last_amount_minor",
    "currency",
    "merchant_name",
    "merchant_country",
    "pan_last4",
)
