"""Exposed cards: imports with their findings, card reference data and lineage, reviews of what is watched.

Revision ID: 0005_exposed_cards
Revises: 0004_compromise_events
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_exposed_cards"
down_revision = "0004_compromise_events"
branch_labels = None
depends_on = None

CARD_REF = sa.String(length=80)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _of_event(table: str) -> sa.ForeignKeyConstraint:
    columns = ["compromise_event_id"]
    name = f"fk_{table}_compromise_event_id"
    return sa.ForeignKeyConstraint(columns, ["compromise_event.compromise_event_id"], name=name)


def _of_import(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["import_id"], ["exposure_import.import_id"], name=f"fk_{table}_import_id")


def upgrade() -> None:
    _imports()
    _references()
    op.create_table(
        "exposure_review",
        sa.Column("review_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(length=16)),
        sa.Column("reason", sa.Text()),
        sa.Column("exceptions", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger()),
        sa.Column("decided_by", sa.String(length=64)),
        _of_event("exposure_review"),
        sa.PrimaryKeyConstraint("review_id", name="pk_exposure_review"),
    )
    open_ones = sa.text("decision IS NULL")
    op.create_index(
        "uq_exposure_review_open",
        "exposure_review",
        ["compromise_event_id"],
        unique=True,
        sqlite_where=open_ones,
        postgresql_where=open_ones,
    )
    op.create_index("ix_exposure_review_due", "exposure_review", ["decision", "due_at"])


def _imports() -> None:
    op.create_table(
        "exposure_import",
        sa.Column("import_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("provenance", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64)),
        sa.Column("reason", sa.Text()),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("no_op", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("exposure_version", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger()),
        sa.Column("published_by", sa.String(length=64)),
        _of_event("exposure_import"),
        sa.PrimaryKeyConstraint("import_id", name="pk_exposure_import"),
    )
    op.create_index("ix_exposure_import_compromise_event_id", "exposure_import", ["compromise_event_id"])
    op.create_table(
        "exposure_import_row",
        sa.Column("import_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=20)),
        sa.Column("card_ref", CARD_REF),
        sa.Column("pan_last4", sa.String(length=4)),
        sa.Column("expiry", sa.String(length=7)),
        sa.Column("marks", sa.Integer(), nullable=False),
        _of_import("exposure_import_row"),
        sa.PrimaryKeyConstraint("import_id", "line", name="pk_exposure_import_row"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exposure_import_alias",
        sa.Column("import_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("alias_ref", CARD_REF, nullable=False),
        sa.Column("card_ref", CARD_REF, nullable=False),
        _of_import("exposure_import_alias"),
        sa.PrimaryKeyConstraint("import_id", "alias_ref", name="pk_exposure_import_alias"),
    )
    op.create_table(
        "exposure_source",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("provenance", sa.String(length=20), nullable=False),
        sa.Column("source", CARD_REF, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        _of_event("exposure_source"),
        sa.PrimaryKeyConstraint("compromise_event_id", "card_ref", "provenance", "source", name="pk_exposure_source"),
    )


def _references() -> None:
    op.create_table(
        "card_reference",
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("expiry", sa.String(length=7)),
        sa.Column("product", sa.String(length=64)),
        sa.Column("replaced_by", CARD_REF),
        sa.Column("updater_suppressed", sa.Boolean()),
        sa.Column("as_of_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("card_ref", name="pk_card_reference"),
    )
    op.create_index("ix_card_reference_replaced_by", "card_reference", ["replaced_by"])
    op.create_table(
        "card_reference_load",
        sa.Column("load_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("loaded_at", sa.BigInteger(), nullable=False),
        sa.Column("loaded_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("load_id", name="pk_card_reference_load"),
    )
    op.create_table(
        "card_lineage",
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("root_ref", CARD_REF, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("card_ref", name="pk_card_lineage"),
    )
    op.create_index("ix_card_lineage_root_ref", "card_lineage", ["root_ref"])
    op.create_index("ix_card_lineage_exposure_version", "card_lineage", ["exposure_version"])
    op.create_table(
        "card_lineage_history",
        sa.Column("card_ref", CARD_REF, nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("until_version", sa.BigInteger(), nullable=False),
        sa.Column("root_ref", CARD_REF, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("card_ref", "exposure_version", name="pk_card_lineage_history"),
    )
    op.create_index("ix_card_lineage_history_until_version", "card_lineage_history", ["until_version"])


def downgrade() -> None:
    for table in (
        "exposure_review",
        "card_lineage_history",
        "card_lineage",
        "card_reference_load",
        "card_reference",
        "exposure_source",
        "exposure_import_alias",
        "exposure_import_row",
        "exposure_import",
    ):
        op.drop_table(table)
