"""The tables of exposed cards' imports and reviews, of card reference data, and of lines of reissued cards."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from fraud.store.tables import BIG_KEY, CARD_REF, metadata

# One import of exposed cards, from the dry run on. What it has found stays until it is published or discarded.
exposure_import = Table(
    "exposure_import",
    metadata,
    Column("import_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False, index=True),
    Column("status", String(16), nullable=False),  # STAGING, STAGED, PUBLISHED, DISCARDED, FAILED
    Column("provenance", String(20), nullable=False),  # ALERT_FILE, ARCHIVE, MANUAL
    Column("name", String(200), nullable=False),
    Column("sha256", String(64)),
    Column("reason", Text),
    Column("share", Float, nullable=False),  # of the rows, read so far: 0 to 1
    Column("rows", BigInteger, nullable=False),
    Column("counts", JSON, nullable=False),  # finding to rows
    Column("problem", Text),  # why it failed
    Column("no_op", Boolean, nullable=False, server_default=text("false")),  # this very file had been published
    Column("exposure_version", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("published_at", BigInteger),
    Column("published_by", String(64)),
)

exposure_import_row = Table(
    "exposure_import_row",
    metadata,
    Column("import_id", ForeignKey("exposure_import.import_id"), primary_key=True, autoincrement=False),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", String(16), nullable=False),  # CARD, UNKNOWN, DUPLICATE, MALFORMED
    Column("reason", String(20)),
    Column("card_ref", CARD_REF),  # only of the issuer's own cards
    Column("pan_last4", String(4)),
    Column("expiry", String(7)),
    Column("marks", Integer, nullable=False),  # bits, see fraud.store.import_findings
    sqlite_with_rowid=False,
)

# The same card under older keys, while keys rotate.
exposure_import_alias = Table(
    "exposure_import_alias",
    metadata,
    Column("import_id", ForeignKey("exposure_import.import_id"), primary_key=True, autoincrement=False),
    Column("alias_ref", CARD_REF, primary_key=True),
    Column("card_ref", CARD_REF, nullable=False),
)

# Where an exposure is known from besides what stands on the exposed card itself: each further source, once.
exposure_source = Table(
    "exposure_source",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("card_ref", CARD_REF, primary_key=True),
    Column("provenance", String(20), primary_key=True),  # ALERT_FILE, ARCHIVE, MANUAL, LINEAGE
    Column("source", CARD_REF, primary_key=True),  # sha256 of the file, or the card that this one came after
    Column("reason", Text),
    Column("recorded_at", BigInteger, nullable=False),
    Column("recorded_by", String(64), nullable=False),
)

card_reference = Table(
    "card_reference",
    metadata,
    Column("card_ref", CARD_REF, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("expiry", String(7)),  # YYYY-MM
    Column("product", String(64)),
    Column("replaced_by", CARD_REF, index=True),
    Column("updater_suppressed", Boolean),
    Column("as_of_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

card_reference_load = Table(
    "card_reference_load",
    metadata,
    Column("load_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("complete", Boolean, nullable=False),  # it named every card of the portfolio
    Column("loaded_at", BigInteger, nullable=False),
    Column("loaded_by", String(64), nullable=False),
)

# A card's line of reissues, for cards that replaced another or were replaced.
card_lineage = Table(
    "card_lineage",
    metadata,
    Column("card_ref", CARD_REF, primary_key=True),
    Column("root_ref", CARD_REF, nullable=False, index=True),
    Column("generation", Integer, nullable=False),  # reissues since the root; an alias has its card's
    Column("exposure_version", BigInteger, nullable=False, index=True),
)

# What a card's line was before it changed.
card_lineage_history = Table(
    "card_lineage_history",
    metadata,
    Column("card_ref", CARD_REF, primary_key=True),
    Column("exposure_version", BigInteger, primary_key=True),
    Column("until_version", BigInteger, nullable=False, index=True),  # exclusive
    Column("root_ref", CARD_REF, nullable=False),
    Column("generation", Integer, nullable=False),
)

# Watching never ends by a timer: at `due_at` a person extends or releases, one task a compromise event.
exposure_review = Table(
    "exposure_review",
    metadata,
    Column("review_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("decision", String(16)),  # EXTENDED, RELEASED; none while it is open
    Column("reason", Text),
    Column("exceptions", BigInteger, nullable=False, server_default=text("0")),  # cards decided the other way
    Column("opened_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("decided_by", String(64)),
    Index(
        "uq_exposure_review_open",
        "compromise_event_id",
        unique=True,
        sqlite_where=text("decision IS NULL"),
        postgresql_where=text("decision IS NULL"),
    ),
    Index("ix_exposure_review_due", "decision", "due_at"),
)
