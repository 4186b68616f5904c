"""A card's transactions as one list, put together from everything that was stored about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fraud.store.views import DetectionView, ExposureMatchView


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction of the card. What is not known is None; only its time is always there."""

    occurred_at: int
    amount_minor: int | None
    currency: str | None
    event_id: str | None = None
    event_type: str | None = None
    merchant_name: str | None = None
    merchant_country: str | None = None
    mcc_group: str | None = None
    channel: str | None = None
    three_ds: str | None = None
    cvv2_result: str | None = None
    approved: bool | None = None
    probability: float | None = None
    anomaly: float | None = None
    detection_id: str | None = None


def card_timeline(detections: Sequence[DetectionView], matches: Iterable[ExposureMatchView] = ()) -> list[Entry]:
    """Every transaction known of one card, each once, oldest first.

    A detection says most about a transaction, an exposure match less; an event out of the worker's memory has neither
    id nor merchant, so it counts as new only where no fuller entry has its time.
    """
    by_event: dict[str, Entry] = {}
    for detection in detections:
        entry = as_entry(detection.transaction, detection.probability, detection.anomaly, detection.detection_id)
        by_event.setdefault(entry.event_id or detection.detection_id, entry)
    for match in matches:
        entry = as_entry(match.transaction, match.probability, match.anomaly)
        by_event.setdefault(entry.event_id or f"{entry.occurred_at}", entry)
    entries = list(by_event.values())
    known = {entry.occurred_at for entry in entries}
    for detection in detections:
        for event in detection.recent_events:
            entry = as_entry(event)
            if entry.occurred_at not in known:
                known.add(entry.occurred_at)
                entries.append(entry)
    return sorted(entries, key=lambda entry: entry.occurred_at)


def as_entry(
    event: Mapping[str, Any],
    probability: float | None = None,
    anomaly: float | None = None,
    detection_id: str | None = None,
) -> Entry:
    """One transaction, from the contract's spellings or the worker's memory; the billed amount where there is one."""
    billed = event.get("billing_amount_minor")
    amount = billed if billed is not None else event.get("amount_minor")
    currency = event.get("billing_currency") if billed is not None else event.get("currency")
    return Entry(
        occurred_at=int(event["occurred_at"]),
        amount_minor=None if amount is None else int(amount),
        currency=currency,
        event_id=event.get("event_id"),
        event_type=event.get("event_type"),
        merchant_name=event.get("merchant_name"),
        merchant_country=event.get("merchant_country") or event.get("country"),
        mcc_group=event.get("mcc_group"),
        channel=event.get("channel"),
        three_ds=event.get("three_ds"),
        cvv2_result=event.get("cvv2_result"),
        approved=event.get("approved"),
        probability=probability,
        anomaly=anomaly,
        detection_id=detection_id,
    )
