"""Reference sets that can be told as they were: exposed cards before a change, and quiet patterns by version.

Revision ID: 0003_reference_sets
Revises: 0002_operations
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_reference_sets"
down_revision = "0002_operations"
branch_labels = None
depends_on = None

CARD_REF = sa.String(length=80)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "exposed_card_history",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("until_version", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_exposed_card_history_compromise_event_id",
        ),
        sa.PrimaryKeyConstraint("compromise_event_id", "card_ref", "exposure_version", name="pk_exposed_card_history"),
    )
    op.create_index("ix_exposed_card_history_until_version", "exposed_card_history", ["until_version"])
    before = sa.table(
        "quiet_pattern", sa.column("card_ref"), sa.column("reason_code"), sa.column("until_at"), sa.column("case_id")
    )
    rows = [dict(row) for row in op.get_bind().execute(sa.select(before)).mappings()]
    op.drop_table("quiet_pattern")
    patterns = op.create_table(
        "quiet_pattern",
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("case_id", BIG_KEY),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_quiet_pattern_case_id"),
        sa.PrimaryKeyConstraint("card_ref", "reason_code", "exposure_version", name="pk_quiet_pattern"),
    )
    op.create_index("ix_quiet_pattern_exposure_version", "quiet_pattern", ["exposure_version"])
    if rows:  # version 0 is before every other: what was quiet stays quiet
        op.bulk_insert(patterns, [{**row, "exposure_version": 0} for row in rows])


def downgrade() -> None:
    patterns = sa.table(
        "quiet_pattern", sa.column("card_ref"), sa.column("reason_code"), sa.column("until_at"), sa.column("case_id")
    )
    latest = sa.select(
        patterns.c.card_ref, patterns.c.reason_code, sa.func.max(patterns.c.until_at).label("until_at")
    ).group_by(patterns.c.card_ref, patterns.c.reason_code)
    rows = [dict(row) for row in op.get_bind().execute(latest).mappings()]
    op.drop_table("quiet_pattern")
    before = op.create_table(
        "quiet_pattern",
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("case_id", BIG_KEY),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_quiet_pattern_case_id"),
        sa.PrimaryKeyConstraint("card_ref", "reason_code", name="pk_quiet_pattern"),
    )
    if rows:
        op.bulk_insert(before, rows)
    op.drop_table("exposed_card_history")
