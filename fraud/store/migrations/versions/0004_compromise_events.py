"""Compromise events: versions of windows and data elements, entities with a common vector, disclosure.

Revision ID: 0004_compromise_events
Revises: 0003_reference_sets
"""

from __future__ import annotations

revision = "0004_compromise_events"
down_revision = "0003_reference_sets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
