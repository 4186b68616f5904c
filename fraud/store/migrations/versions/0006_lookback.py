"""Look-back and prevention: runs with their coverage by partition, where a match was found, the watch list's cursor.

Revision ID: 0006_lookback
Revises: 0005_exposed_cards
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0006_lookback"
down_revision = "0005_exposed_cards"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO = sa.text("0")


def _recreate() -> Literal["always", "never"]:
    """SQLite makes a changed table anew, and so its definition is exactly the one of the code."""
    return "always" if op.get_context().dialect.name == "sqlite" else "never"


def upgrade() -> None:
    op.create_table(
        "lookback_run",
        sa.Column("lookback_run_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("window_start_at", sa.BigInteger()),
        sa.Column("cards", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("coverage", sa.JSON(), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("rows_scanned", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("next_day", sa.String(length=10)),
        sa.Column("matches", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("not_scored", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("detections", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("error", sa.String(length=64)),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.UniqueConstraint(
            "compromise_event_id", "exposure_version", name="uq_lookback_run_compromise_event_id_exposure_version"
        ),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_lookback_run_compromise_event_id",
        ),
        sa.PrimaryKeyConstraint("lookback_run_id", name="pk_lookback_run"),
    )
    op.create_index("ix_lookback_run_status", "lookback_run", ["status", "lookback_run_id"])
    op.create_table(
        "lookback_partition",
        sa.Column("lookback_run_id", BIG_KEY, nullable=False),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("to_offset", sa.BigInteger()),
        sa.Column("archived_offset", sa.BigInteger()),
        sa.Column("scanned_offset", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("scanning_to", sa.BigInteger()),
        sa.Column("days", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lookback_run_id"], ["lookback_run.lookback_run_id"], name="fk_lookback_partition_lookback_run_id"
        ),
        sa.PrimaryKeyConstraint("lookback_run_id", "topic_id", "partition", name="pk_lookback_partition"),
    )
    op.create_table(
        "watchlist_cursor",
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("published_version", sa.BigInteger(), nullable=False),
        sa.Column("publishing_version", sa.BigInteger()),
        sa.Column("after_card_ref", sa.String(length=80)),
        sa.Column("event_names", sa.JSON(), nullable=False),
        sa.Column("entries", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("tombstones", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic_id", name="pk_watchlist_cursor"),
    )
    with op.batch_alter_table("exposure_match", recreate=_recreate()) as matches:
        matches.add_column(sa.Column("origin", sa.String(length=16), server_default=sa.text("'LIVE'"), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("exposure_match", recreate=_recreate()) as matches:
        matches.drop_column("origin")
    for name in ("watchlist_cursor", "lookback_partition", "lookback_run"):
        op.drop_table(name)
