"""Compromise events: versions of windows and data elements, dated facts, scheme alerts, code names and disclosure.

Revision ID: 0004_compromise_events
Revises: 0003_reference_sets
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004_compromise_events"
down_revision = "0003_reference_sets"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVENT_KEY = "compromise_event.compromise_event_id"


def _window() -> list[sa.Column[Any]]:
    return [
        sa.Column("starts_on", sa.String(length=10), nullable=False),
        sa.Column("ends_on", sa.String(length=10), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("precision", sa.String(length=8), nullable=False),
        sa.Column("window_start_at", sa.BigInteger(), nullable=False),
        sa.Column("window_end_at", sa.BigInteger(), nullable=False),
        sa.Column("data_elements", sa.JSON(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
    ]


def _times() -> list[sa.Column[Any]]:
    return [
        sa.Column("suspected_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    ]


def _event_after() -> list[Any]:
    return [
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("code_name", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("disclosure", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("vector", sa.String(length=200)),
        sa.Column("source", sa.String(length=40), nullable=False),
        *_window(),
        *_times(),
        sa.PrimaryKeyConstraint("compromise_event_id", name="pk_compromise_event"),
        sa.UniqueConstraint("code_name", name="uq_compromise_event_code_name"),
    ]


def _event_before() -> list[Any]:
    window = [column for column in _window() if column.name != "precision"]
    return [
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("vector", sa.String(length=200)),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=128)),
        *window,
        sa.Column("facts", sa.JSON(), nullable=False),
        *_times(),
        sa.PrimaryKeyConstraint("compromise_event_id", name="pk_compromise_event"),
    ]


def _new_tables() -> tuple[sa.Table, sa.Table, sa.Table]:
    versions = op.create_table(
        "compromise_event_version",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(length=24), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("code_name", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("disclosure", sa.String(length=20), nullable=False),
        sa.Column("vector", sa.String(length=200)),
        *_window(),
        sa.Column("entities", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"], [EVENT_KEY], name="fk_compromise_event_version_compromise_event_id"
        ),
        sa.PrimaryKeyConstraint("compromise_event_id", "version", name="pk_compromise_event_version"),
    )
    facts = op.create_table(
        "compromise_fact",
        sa.Column("compromise_fact_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("happened_on", sa.String(length=10), nullable=False),
        sa.Column("author", sa.String(length=200)),
        sa.Column("note", sa.Text()),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger()),
        sa.Column("withdrawn_by", sa.String(length=128)),
        sa.Column("withdrawn_reason", sa.Text()),
        sa.ForeignKeyConstraint(["compromise_event_id"], [EVENT_KEY], name="fk_compromise_fact_compromise_event_id"),
        sa.PrimaryKeyConstraint("compromise_fact_id", name="pk_compromise_fact"),
    )
    op.create_index("ix_compromise_fact_compromise_event_id", "compromise_fact", ["compromise_event_id"])
    alerts = op.create_table(
        "scheme_alert",
        sa.Column("scheme_alert_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=128), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("scheme_alert_id", name="pk_scheme_alert"),
        sa.UniqueConstraint(
            "compromise_event_id",
            "source",
            "external_id",
            name="uq_scheme_alert_compromise_event_id_source_external_id",
        ),
        sa.ForeignKeyConstraint(["compromise_event_id"], [EVENT_KEY], name="fk_scheme_alert_compromise_event_id"),
    )
    return versions, facts, alerts


def _rows(table: str, columns: list[Any]) -> list[dict[str, Any]]:
    """Every row, with JSON decoded."""
    names = [sa.column(column.name, column.type) for column in columns if isinstance(column, sa.Column)]
    return [dict(row) for row in op.get_bind().execute(sa.select(sa.table(table, *names))).mappings()]


def _replace_events(columns: list[Any], rows: list[dict[str, Any]]) -> None:
    """Give the table of events other columns. Other tables refer to it, so it is emptied, not left with an old name."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        # Until the commit, references may lead nowhere; then they lead to the same rows as before.
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql("DELETE FROM compromise_event")
        op.drop_table("compromise_event")
        made = op.create_table("compromise_event", *columns)
        if rows:
            op.bulk_insert(made, rows)
        return
    wanted = {column.name: column for column in columns if isinstance(column, sa.Column)}
    present = {column["name"] for column in sa.inspect(connection).get_columns("compromise_event")}
    for name in present - set(wanted):
        op.drop_column("compromise_event", name)
    added = [name for name in wanted if name not in present]
    for name in added:
        op.add_column("compromise_event", sa.Column(name, wanted[name].type))
    table = sa.table("compromise_event", *(sa.column(name, wanted[name].type) for name in wanted))
    for row in rows:
        same = table.c.compromise_event_id == row["compromise_event_id"]
        connection.execute(sa.update(table).where(same).values({name: row[name] for name in added}))
    for name in added:
        op.alter_column("compromise_event", name, nullable=wanted[name].nullable)
    if "code_name" in added:
        op.create_unique_constraint("uq_compromise_event_code_name", "compromise_event", ["code_name"])


def _released_in() -> dict[str, int]:
    """The exposure version that released the cards of a closed event: reopening it watches those again."""
    card = sa.table("exposed_card", *(sa.column(n) for n in ("compromise_event_id", "status", "exposure_version")))
    event = sa.table("compromise_event", *(sa.column(n) for n in ("compromise_event_id", "status")))
    latest = (
        sa.select(card.c.compromise_event_id, sa.func.max(card.c.exposure_version))
        .join_from(card, event, card.c.compromise_event_id == event.c.compromise_event_id)
        .where(event.c.status == "CLOSED", card.c.status == "RELEASED")
        .group_by(card.c.compromise_event_id)
    )
    return {key: version for key, version in op.get_bind().execute(latest)}  # noqa: C416


def upgrade() -> None:
    entity_columns = [
        sa.Column(name, sa.String()) for name in ("compromise_event_id", "name", "role", "acquirer_id", "merchant_id")
    ]
    entities: dict[str, list[dict[str, Any]]] = {}
    for entity in _rows("compromised_entity", entity_columns):
        entities.setdefault(entity.pop("compromise_event_id"), []).append(entity)
    before = _rows("compromise_event", _event_before())
    after = []
    for row in before:
        digest = hashlib.sha256(row["compromise_event_id"].encode()).hexdigest()
        after.append({**row, "code_name": f"Event {digest[:12]}", "disclosure": "RESTRICTED", "precision": "DAY"})
        del after[-1]["facts"], after[-1]["external_id"]
    _replace_events(_event_after(), after)
    released_in = _released_in()
    versions, facts, alerts = _new_tables()
    for old, row in zip(before, after, strict=True):
        key, at = row["compromise_event_id"], row["updated_at"]
        known = {name: value for name, value in row.items() if name in versions.c}
        made = {"change": "RECORDED", "changed_at": at, "changed_by": "system", "reason": None}
        made |= {"exposure_version": released_in.get(key, 0), "entities": entities.get(key, [])}
        op.bulk_insert(versions, [{**known, **made}])
        recorded = {"compromise_event_id": key, "recorded_at": at, "recorded_by": "system"}
        dated = [
            {**recorded, "kind": fact["kind"], "happened_on": fact["on"], "note": fact.get("note")}
            for fact in old["facts"]
        ]
        if dated:
            op.bulk_insert(facts, dated)
        if old["external_id"] is not None:
            alert = {"source": row["source"], "external_id": old["external_id"], "received_at": row["created_at"]}
            op.bulk_insert(alerts, [{**recorded, **alert}])


def downgrade() -> None:
    """Keeps what the earlier tables have room for: the events as they are now, their facts, and the first alert."""
    fact_names = ("compromise_event_id", "kind", "happened_on", "note")
    fact_columns = [*(sa.Column(name, sa.String()) for name in fact_names), sa.Column("withdrawn_at", sa.BigInteger())]
    facts: dict[str, list[dict[str, Any]]] = {}
    for fact in _rows("compromise_fact", fact_columns):
        if fact["withdrawn_at"] is None:
            kept = {"kind": fact["kind"], "on": fact["happened_on"], "note": fact["note"]}
            facts.setdefault(fact["compromise_event_id"], []).append(kept)
    alert_columns = [sa.Column(name, sa.String()) for name in ("compromise_event_id", "source", "external_id")]
    first_alerts: dict[str, str] = {}
    for alert in _rows("scheme_alert", alert_columns):
        first_alerts.setdefault(alert["compromise_event_id"], alert["external_id"])
    rows = _rows("compromise_event", _event_after())
    for name in ("scheme_alert", "compromise_fact", "compromise_event_version"):
        op.drop_table(name)
    for row in rows:
        del row["code_name"], row["disclosure"], row["precision"]
        row["facts"] = facts.get(row["compromise_event_id"], [])
        row["external_id"] = first_alerts.get(row["compromise_event_id"])
    _replace_events(_event_before(), rows)
