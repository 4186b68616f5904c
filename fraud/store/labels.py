"""What a reviewer's decision leaves behind: labels for training, and patterns that stay quiet for a while."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from fraud.cases import Outcome, ReasonCode, Resolution
from fraud.compromise import DAY_MS
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.statements import insert_or_update
from fraud.store.tables import label, quiet_pattern
from fraud.store.views import DetectionView

HOLDER_CONFIRMED = "holder_confirmed"  # the holder has said so, one way or the other
REVIEWER_JUDGEMENT = "reviewer_judgement"

_HOLDER_SPOKE = frozenset({ReasonCode.HOLDER_CONFIRMED, ReasonCode.HOLDER_DENIED})
# No holder can vouch for the scorer: that a score is missing is said every time.
_NEVER_QUIET = frozenset({"SCORING_FAILED"})


def store_labels(
    connection: Connection, detections: Sequence[DetectionView], resolution: Resolution, actor: str, now: int
) -> None:
    """Label each detected event of a case with the outcome and with what the outcome rests on."""
    decided = {
        "outcome": resolution.outcome.value,
        "reason_code": resolution.reason_code.value,
        "fraud_type": resolution.fraud_type.value if resolution.fraud_type else None,
        "basis": HOLDER_CONFIRMED if resolution.reason_code in _HOLDER_SPOKE else REVIEWER_JUDGEMENT,
        "reported_at": now,
        "reported_by": actor,
    }
    rows = {
        item.event_id: {
            "label_id": hashlib.sha256(f"case {item.case_id}\x00{item.event_id}".encode()).hexdigest(),
            "event_id": item.event_id,
            "card_ref": item.card_ref,
            "case_id": item.case_id,
            **decided,
        }
        for item in detections
    }
    insert_or_update(connection, label, list(rows.values()), ["label_id"], update=list(decided))


def store_quiet_patterns(
    connection: Connection, detections: Sequence[DetectionView], resolution: Resolution, now: int, quiet_days: int
) -> None:
    """Keep the reasons of a payment that its holder has confirmed as genuine quiet on that card for some days."""
    if (resolution.outcome, resolution.reason_code) != (Outcome.GENUINE, ReasonCode.HOLDER_CONFIRMED):
        return
    patterns = {
        (item.card_ref, reason["code"]): item.case_id
        for item in detections
        for reason in item.reasons
        if reason["code"] not in _NEVER_QUIET
    }
    if not patterns or not quiet_days:
        return
    version = next_exposure_version(connection)
    until_at = now + quiet_days * DAY_MS
    rows = [
        {"card_ref": ref, "reason_code": code, "exposure_version": version, "until_at": until_at, "case_id": case_id}
        for (ref, code), case_id in sorted(patterns.items())
    ]
    connection.execute(insert(quiet_pattern), rows)


def quiet_patterns(connection: Connection, version: int, earliest_at: int = 0) -> dict[str, dict[str, int]]:
    """Card reference to reason code to the time before which it opens nothing there, as of an exposure version.

    Patterns that had ended by `earliest_at` are left out.
    """
    statement = (
        select(quiet_pattern.c.card_ref, quiet_pattern.c.reason_code, func.max(quiet_pattern.c.until_at))
        .where(quiet_pattern.c.exposure_version <= version, quiet_pattern.c.until_at > earliest_at)
        .group_by(quiet_pattern.c.card_ref, quiet_pattern.c.reason_code)
    )
    found: dict[str, dict[str, int]] = {}
    for card_ref, code, until_at in connection.execute(statement):
        found.setdefault(card_ref, {})[code] = until_at
    return found
