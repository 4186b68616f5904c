"""What operators need: deliveries by destination, jobs that are tried again, and the audit log.

Revision ID: 0002_operations
Revises: 0001_first
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0002_operations"
down_revision = "0001_first"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _recreate() -> Literal["always", "never"]:
    """SQLite makes a changed table anew, and so its definition is exactly the one of the code."""
    return "always" if op.get_context().dialect.name == "sqlite" else "never"


def upgrade() -> None:
    with op.batch_alter_table("outbox", recreate=_recreate()) as outbox:
        outbox.add_column(sa.Column("routed_at", sa.BigInteger()))
        outbox.create_index("ix_outbox_unrouted", ["routed_at", "outbox_id"])
    op.create_table(
        "outbox_delivery",
        sa.Column("outbox_id", BIG_KEY, nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger()),
        sa.Column("last_error", sa.String(length=64)),
        sa.ForeignKeyConstraint(["outbox_id"], ["outbox.outbox_id"], name="fk_outbox_delivery_outbox_id"),
        sa.PrimaryKeyConstraint("outbox_id", "destination", name="pk_outbox_delivery"),
    )
    op.create_index(
        "ix_outbox_delivery_due", "outbox_delivery", ["destination", "status", "next_attempt_at", "outbox_id"]
    )
    with op.batch_alter_table("job", recreate=_recreate()) as job:
        job.add_column(sa.Column("run_after_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
        job.add_column(sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False))
        job.add_column(sa.Column("error", sa.String(length=64)))
    op.create_table(
        "audit_entry",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("old", sa.JSON(), nullable=False),
        sa.Column("new", sa.JSON(), nullable=False),
        sa.Column("previous_digest", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_subject", "audit_entry", ["subject", "sequence"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )


def downgrade() -> None:
    for name in ("audit_head", "audit_entry", "outbox_delivery"):
        op.drop_table(name)
    with op.batch_alter_table("job", recreate=_recreate()) as job:
        for column in ("error", "failures", "run_after_at"):
            job.drop_column(column)
    with op.batch_alter_table("outbox", recreate=_recreate()) as outbox:
        outbox.drop_index("ix_outbox_unrouted")
        outbox.drop_column("routed_at")
