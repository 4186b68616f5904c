"""Alembic's entry: migrations run on the connection, and in the transaction, that `fraud.store.database` hands over."""

from __future__ import annotations

from alembic import context

from fraud.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
with context.begin_transaction():
    context.run_migrations()
