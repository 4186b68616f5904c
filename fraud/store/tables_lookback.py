"""Tables of look-back and of the watch list. Same rules as in `tables`: times are epoch milliseconds UTC (`..._at`)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from fraud.store.tables import BIG_KEY, CARD_REF, TOPIC_ID, metadata

# One for each change of who is exposed: the cards of one event that this exposure version added or changed.
lookback_run = Table(
    "lookback_run",
    metadata,
    Column("lookback_run_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False),
    Column("exposure_version", BigInteger, nullable=False),
    Column("reason", String(40), nullable=False),  # IMPORT, AMENDMENT, ...
    Column("status", String(16), nullable=False),  # REQUESTED, SCANNING, WAITING, DONE
    Column("window_start_at", BigInteger),  # as it was when the archive was last searched
    Column("cards", BigInteger, nullable=False, server_default=text("0")),
    Column("coverage", JSON, nullable=False),  # `fraud.lookback.Coverage`
    Column("rows_total", BigInteger, nullable=False, server_default=text("0")),  # of the present way through
    Column("rows_scanned", BigInteger, nullable=False, server_default=text("0")),
    Column("next_day", String(10)),  # where that way goes on: the first UTC day that is not searched yet
    Column("matches", BigInteger, nullable=False, server_default=text("0")),
    Column("not_scored", BigInteger, nullable=False, server_default=text("0")),  # matches without any score
    Column("detections", BigInteger, nullable=False, server_default=text("0")),
    Column("error", String(64)),  # class of what stopped the last attempt
    Column("requested_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("updated_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    UniqueConstraint("compromise_event_id", "exposure_version"),
    Index("ix_lookback_run_status", "status", "lookback_run_id"),
)

# How far a run has got in one partition of the stream, or in one imported history (partition -1).
lookback_partition = Table(
    "lookback_partition",
    metadata,
    Column("lookback_run_id", ForeignKey("lookback_run.lookback_run_id"), primary_key=True),
    Column("topic_id", TOPIC_ID, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("status", String(24), nullable=False),  # WAITING_FOR_WORKER, WAITING_FOR_ARCHIVE, SCANNING, DONE
    Column("to_offset", BigInteger),  # exclusive: from here on the worker knows these cards
    Column("archived_offset", BigInteger),  # exclusive: what the archive holds
    Column("scanned_offset", BigInteger, nullable=False, server_default=text("0")),  # exclusive
    Column("scanning_to", BigInteger),  # exclusive: where the present way through ends
    Column("days", JSON, nullable=False),  # days of the search that the archive holds of this partition: day to rows
    Column("updated_at", BigInteger, nullable=False),
)

# Up to which exposure version the watch list is on its topic.
watchlist_cursor = Table(
    "watchlist_cursor",
    metadata,
    Column("topic_id", TOPIC_ID, primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("published_version", BigInteger, nullable=False),
    Column("publishing_version", BigInteger),  # what is being published now
    Column("after_card_ref", CARD_REF),  # and the last card of it that the broker has acknowledged
    Column("event_names", JSON, nullable=False),  # names of compromise events as they were published
    Column("entries", BigInteger, nullable=False, server_default=text("0")),
    Column("tombstones", BigInteger, nullable=False, server_default=text("0")),
    Column("updated_at", BigInteger, nullable=False),
)
