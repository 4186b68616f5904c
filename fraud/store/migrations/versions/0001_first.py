"""The first tables.

Revision ID: 0001_first
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_first"
down_revision = None
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("status <> 'RESOLVED'")
TABLES = (
    "reference_set",
    "position",
    "activation",
    "checkpoint",
    "dead_letter",
    "security_incident",
    "outbox",
    "job",
    "exposure_version",
    "compromise_event",
    "compromised_entity",
    "alert_file",
    "exposed_card",
    "exposure_match",
    "review_case",
    "detection",
    "detection_compromise_event",
    "case_event",
    "label",
    "quiet_pattern",
    "user_account",
    "session",
    "api_token",
    "demo_story",
)


def upgrade() -> None:
    op.create_table(
        "reference_set",
        sa.Column("reference_set_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("model_digest", sa.String(length=64)),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("decoder_version", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reference_set_id", name="pk_reference_set"),
        sa.UniqueConstraint("digest", name="uq_reference_set_digest"),
    )
    op.create_table(
        "position",
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=128)),
        sa.Column("reference_set_id", BIG_KEY),
        sa.Column("processed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("dead_lettered", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("matched", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("detected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reached_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reference_set_id"], ["reference_set.reference_set_id"], name="fk_position_reference_set_id"
        ),
        sa.PrimaryKeyConstraint("group_id", "topic_id", "partition", name="pk_position"),
    )
    op.create_table(
        "activation",
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("from_offset", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("reference_set_id", BIG_KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["reference_set_id"], ["reference_set.reference_set_id"], name="fk_activation_reference_set_id"
        ),
        sa.PrimaryKeyConstraint("topic_id", "partition", "from_offset", "group_id", name="pk_activation"),
    )
    op.create_table(
        "checkpoint",
        sa.Column("checkpoint_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.Column("state_schema", sa.String(length=64), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_checkpoint"),
    )
    op.create_index("ix_checkpoint_latest", "checkpoint", ["group_id", "topic_id", "partition", "next_offset"])
    op.create_table(
        "dead_letter",
        sa.Column("group_id", sa.String(length=128), nullable=False),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("error_class", sa.String(length=40), nullable=False),
        sa.Column("field_path", sa.String(length=200)),
        sa.Column("payload_digest", sa.String(length=64), nullable=False),
        sa.Column("payload_bytes", sa.Integer(), nullable=False),
        sa.Column("card_ref", sa.String(length=80)),
        sa.Column("on_exposed_card", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "topic_id", "partition", "offset", name="pk_dead_letter"),
    )
    op.create_index("ix_dead_letter_recorded_at", "dead_letter", ["recorded_at"])
    op.create_table(
        "security_incident",
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("field_path", sa.String(length=200), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("aware_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "field_path", name="pk_security_incident"),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("key", sa.String(length=80)),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("outbox_id", name="pk_outbox"),
        sa.UniqueConstraint("message_id", name="uq_outbox_message_id"),
    )
    op.create_index("ix_outbox_waiting", "outbox", ["delivered_at", "outbox_id"])
    op.create_table(
        "job",
        sa.Column("job_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("leased_by", sa.String(length=128)),
        sa.Column("leased_until_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("job_id", name="pk_job"),
        sa.UniqueConstraint("kind", "subject", name="uq_job_kind_subject"),
    )
    op.create_table(
        "exposure_version",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_exposure_version"),
    )
    op.create_table(
        "compromise_event",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("vector", sa.String(length=200)),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=128)),
        sa.Column("starts_on", sa.String(length=10), nullable=False),
        sa.Column("ends_on", sa.String(length=10), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("window_start_at", sa.BigInteger(), nullable=False),
        sa.Column("window_end_at", sa.BigInteger(), nullable=False),
        sa.Column("data_elements", sa.JSON(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("suspected_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("compromise_event_id", name="pk_compromise_event"),
    )
    op.create_table(
        "compromised_entity",
        sa.Column("compromised_entity_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("acquirer_id", sa.String(length=64)),
        sa.Column("merchant_id", sa.String(length=64)),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_compromised_entity_compromise_event_id",
        ),
        sa.PrimaryKeyConstraint("compromised_entity_id", name="pk_compromised_entity"),
    )
    op.create_index("ix_compromised_entity_compromise_event_id", "compromised_entity", ["compromise_event_id"])
    op.create_table(
        "alert_file",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("duplicate", sa.Integer(), nullable=False),
        sa.Column("malformed", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("already_exposed", sa.Integer(), nullable=False),
        sa.Column("imported_at", sa.BigInteger(), nullable=False),
        sa.Column("imported_by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"], ["compromise_event.compromise_event_id"], name="fk_alert_file_compromise_event_id"
        ),
        sa.PrimaryKeyConstraint("compromise_event_id", "sha256", name="pk_alert_file"),
    )
    op.create_table(
        "exposed_card",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("provenance", sa.String(length=20), nullable=False),
        sa.Column("alert_file_sha256", sa.String(length=64)),
        sa.Column("pan_last4", sa.String(length=4)),
        sa.Column("expiry", sa.String(length=7)),
        sa.Column("exposure_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_exposed_card_compromise_event_id",
        ),
        sa.PrimaryKeyConstraint("compromise_event_id", "card_ref", name="pk_exposed_card"),
    )
    op.create_index("ix_exposed_card_card_ref", "exposed_card", ["card_ref"])
    op.create_index("ix_exposed_card_exposure_version", "exposed_card", ["exposure_version"])
    op.create_table(
        "exposure_match",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("days_since_window", sa.Integer(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("transaction", sa.JSON(), nullable=False),
        sa.Column("probability", sa.Float()),
        sa.Column("anomaly", sa.Float()),
        sa.Column("detection_id", sa.String(length=64)),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_exposure_match_compromise_event_id",
        ),
        sa.PrimaryKeyConstraint("event_id", "compromise_event_id", name="pk_exposure_match"),
    )
    op.create_index("ix_exposure_match_card", "exposure_match", ["card_ref", "occurred_at"])
    op.create_index("ix_exposure_match_event", "exposure_match", ["compromise_event_id", "occurred_at"])
    op.create_table(
        "review_case",
        sa.Column("case_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("card_lineage", sa.String(length=80), nullable=False),
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("compromise_event_ids", sa.JSON(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("priority_reason", sa.Text(), nullable=False),
        sa.Column("headline", sa.JSON(), nullable=False),
        sa.Column("detections", sa.Integer(), nullable=False),
        sa.Column("last_amount_minor", sa.BigInteger()),
        sa.Column("currency", sa.String(length=3)),
        sa.Column("merchant_name", sa.String(length=256)),
        sa.Column("merchant_country", sa.String(length=2)),
        sa.Column("pan_last4", sa.String(length=4)),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("last_detection_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.String(length=64)),
        sa.Column("claimed_at", sa.BigInteger()),
        sa.Column("outcome", sa.String(length=24)),
        sa.Column("reason_code", sa.String(length=40)),
        sa.Column("fraud_type", sa.String(length=32)),
        sa.Column("resolved_at", sa.BigInteger()),
        sa.Column("resolved_by", sa.String(length=64)),
        sa.PrimaryKeyConstraint("case_id", name="pk_review_case"),
    )
    op.create_index("ix_review_case_card_ref", "review_case", ["card_ref"])
    op.create_index("ix_review_case_opened", "review_case", ["opened_at", "case_id"])
    op.create_index("ix_review_case_queue", "review_case", ["status", "priority", "case_id"])
    op.create_index(
        "uq_review_case_open_lineage",
        "review_case",
        ["card_lineage"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "detection",
        sa.Column("detection_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("case_id", BIG_KEY, nullable=False),
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("compromise_event_ids", sa.JSON(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("detected_at", sa.BigInteger(), nullable=False),
        sa.Column("probability", sa.Float()),
        sa.Column("anomaly", sa.Float()),
        sa.Column("expected_loss_minor", sa.BigInteger(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("counter_evidence", sa.JSON(), nullable=False),
        sa.Column("transaction", sa.JSON(), nullable=False),
        sa.Column("recent_events", sa.JSON(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.Column("features_digest", sa.String(length=16), nullable=False),
        sa.Column("model_digest", sa.String(length=64)),
        sa.Column("reference_set_id", BIG_KEY),
        sa.Column("topic_id", sa.String(length=36), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_detection_case_id"),
        sa.ForeignKeyConstraint(
            ["reference_set_id"], ["reference_set.reference_set_id"], name="fk_detection_reference_set_id"
        ),
        sa.PrimaryKeyConstraint("detection_id", name="pk_detection"),
    )
    op.create_index("ix_detection_card", "detection", ["card_ref", "occurred_at"])
    op.create_index("ix_detection_case_id", "detection", ["case_id"])
    op.create_index("ix_detection_detected", "detection", ["detected_at", "detection_id"])
    op.create_table(
        "detection_compromise_event",
        sa.Column("compromise_event_id", sa.String(length=40), nullable=False),
        sa.Column("detection_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["compromise_event_id"],
            ["compromise_event.compromise_event_id"],
            name="fk_detection_compromise_event_compromise_event_id",
        ),
        sa.ForeignKeyConstraint(
            ["detection_id"], ["detection.detection_id"], name="fk_detection_compromise_event_detection_id"
        ),
        sa.PrimaryKeyConstraint("compromise_event_id", "detection_id", name="pk_detection_compromise_event"),
    )
    op.create_table(
        "case_event",
        sa.Column("case_event_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("case_id", BIG_KEY, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_case_event_case_id"),
        sa.PrimaryKeyConstraint("case_event_id", name="pk_case_event"),
    )
    op.create_index("ix_case_event_case_id", "case_event", ["case_id"])
    op.create_table(
        "label",
        sa.Column("label_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64)),
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("case_id", BIG_KEY),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("reason_code", sa.String(length=40)),
        sa.Column("fraud_type", sa.String(length=32)),
        sa.Column("basis", sa.String(length=24), nullable=False),
        sa.Column("reported_at", sa.BigInteger(), nullable=False),
        sa.Column("reported_by", sa.String(length=64), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_label_case_id"),
        sa.PrimaryKeyConstraint("label_id", name="pk_label"),
    )
    op.create_index("ix_label_card_ref", "label", ["card_ref"])
    op.create_index("ix_label_event_id", "label", ["event_id"])
    op.create_table(
        "quiet_pattern",
        sa.Column("card_ref", sa.String(length=80), nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("case_id", BIG_KEY),
        sa.ForeignKeyConstraint(["case_id"], ["review_case.case_id"], name="fk_quiet_pattern_case_id"),
        sa.PrimaryKeyConstraint("card_ref", "reason_code", name="pk_quiet_pattern"),
    )
    op.create_table(
        "user_account",
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=128), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failed_logins", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("username", name="pk_user_account"),
    )
    op.create_table(
        "session",
        sa.Column("session_digest", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("csrf_token", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["username"], ["user_account.username"], name="fk_session_username"),
        sa.PrimaryKeyConstraint("session_digest", name="pk_session"),
    )
    op.create_table(
        "api_token",
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["username"], ["user_account.username"], name="fk_api_token_username"),
        sa.PrimaryKeyConstraint("token_digest", name="pk_api_token"),
    )
    op.create_table(
        "demo_story",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_demo_story"),
    )


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
