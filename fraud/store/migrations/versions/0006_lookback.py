"""Look-back and prevention: coverage by partition, the watch list's outbox.

Revision ID: 0006_lookback
Revises: 0005_exposed_cards
"""

from __future__ import annotations

revision = "0006_lookback"
down_revision = "0005_exposed_cards"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
