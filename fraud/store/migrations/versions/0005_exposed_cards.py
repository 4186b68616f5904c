"""Exposed cards: imports with their findings, card reference data and lineage, status by card.

Revision ID: 0005_exposed_cards
Revises: 0004_compromise_events
"""

from __future__ import annotations

revision = "0005_exposed_cards"
down_revision = "0004_compromise_events"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
