"""Tables of compromise events beside the event itself: its versions, dated facts and scheme alerts.

Same rules as in `tables`: times are epoch milliseconds UTC (`..._at`), days are ISO dates in the event's zone.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, String, Table, Text, UniqueConstraint

from fraud.store.tables import BIG_KEY, metadata

# An event as it was known at each version. Rows are only added. Where two versions have the same window and tier, they
# have the same exposure version: the one from which the stream works with them.
compromise_event_version = Table(
    "compromise_event_version",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("change", String(24), nullable=False),  # RECORDED, AMENDED, STATUS, DISCLOSURE, FACT, FACT_WITHDRAWN, ALERT
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", String(128), nullable=False),
    Column("reason", Text),
    Column("exposure_version", BigInteger, nullable=False),
    Column("name", String(200), nullable=False),
    Column("code_name", String(80), nullable=False),
    Column("status", String(20), nullable=False),
    Column("disclosure", String(20), nullable=False),
    Column("vector", String(200)),
    Column("starts_on", String(10), nullable=False),
    Column("ends_on", String(10), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("precision", String(8), nullable=False),
    Column("window_start_at", BigInteger, nullable=False),
    Column("window_end_at", BigInteger, nullable=False),
    Column("data_elements", JSON, nullable=False),
    Column("tier", Integer, nullable=False),
    Column("entities", JSON, nullable=False),
)

# Who did or was told what, and on which day. A mistake is withdrawn, not deleted.
compromise_fact = Table(
    "compromise_fact",
    metadata,
    Column("compromise_fact_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False, index=True),
    Column("kind", String(40), nullable=False),
    Column("happened_on", String(10), nullable=False),
    Column("author", String(200)),  # of a report
    Column("note", Text),
    Column("recorded_at", BigInteger, nullable=False),
    Column("recorded_by", String(128), nullable=False),
    Column("withdrawn_at", BigInteger),
    Column("withdrawn_by", String(128)),
    Column("withdrawn_reason", Text),
)

# Word from outside, as it came in.
scheme_alert = Table(
    "scheme_alert",
    metadata,
    Column("scheme_alert_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False),
    Column("source", String(40), nullable=False),
    Column("external_id", String(128), nullable=False),  # theirs
    Column("received_at", BigInteger, nullable=False),
    Column("note", Text),
    Column("recorded_at", BigInteger, nullable=False),
    Column("recorded_by", String(128), nullable=False),
    UniqueConstraint("compromise_event_id", "source", "external_id"),
)
