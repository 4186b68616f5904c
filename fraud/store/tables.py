"""The tables. Times are epoch milliseconds UTC (`..._at`), amounts are minor units (`..._minor`), keys are opaque text.

Nothing here is particular to one database: the same definitions run on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CARD_REF = String(80)
TOPIC_ID = String(36)
BIG_KEY = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

# --- the stream -----------------------------------------------------------------------------------------------------

# Everything besides the log that a record's outcome depends on, under one id.
reference_set = Table(
    "reference_set",
    metadata,
    Column("reference_set_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("exposure_version", BigInteger, nullable=False),
    Column("model_digest", String(64)),
    Column("policy_digest", String(64), nullable=False),
    Column("decoder_version", Integer, nullable=False),
    Column("content", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

position = Table(
    "position",
    metadata,
    Column("group_id", String(128), primary_key=True),
    Column("topic_id", TOPIC_ID, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("owner", String(128)),
    Column("reference_set_id", ForeignKey("reference_set.reference_set_id")),
    Column("processed", BigInteger, nullable=False, server_default=text("0")),
    Column("duplicates", BigInteger, nullable=False, server_default=text("0")),
    Column("quarantined", BigInteger, nullable=False, server_default=text("0")),
    Column("dead_lettered", BigInteger, nullable=False, server_default=text("0")),
    Column("matched", BigInteger, nullable=False, server_default=text("0")),
    Column("detected", BigInteger, nullable=False, server_default=text("0")),
    Column("reached_at", BigInteger),  # latest event time processed
    Column("updated_at", BigInteger, nullable=False),
)

activation = Table(
    "activation",
    metadata,
    Column("topic_id", TOPIC_ID, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("from_offset", BigInteger, primary_key=True),
    Column("group_id", String(128), primary_key=True),
    Column("reference_set_id", ForeignKey("reference_set.reference_set_id"), nullable=False),
)

# A snapshot of card state that was complete up to (not including) `next_offset`.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("checkpoint_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("group_id", String(128), nullable=False),
    Column("topic_id", TOPIC_ID, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("state_schema", String(64), nullable=False),
    Column("paths", JSON, nullable=False),  # [{"path": ..., "sha256": ...}], base first
    Column("created_at", BigInteger, nullable=False),
    Index("ix_checkpoint_latest", "group_id", "topic_id", "partition", "next_offset"),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("group_id", String(128), primary_key=True),
    Column("topic_id", TOPIC_ID, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("error_class", String(40), nullable=False),
    Column("field_path", String(200)),
    Column("payload_digest", String(64), nullable=False),
    Column("payload_bytes", Integer, nullable=False),
    Column("card_ref", CARD_REF),
    Column("on_exposed_card", Boolean, nullable=False, server_default=text("false")),
    Column("kind", String(16), nullable=False),  # DEAD_LETTER or QUARANTINED
    Column("recorded_at", BigInteger, nullable=False, index=True),
)

# A card number where none belongs: one row a topic and field path, counted.
security_incident = Table(
    "security_incident",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("field_path", String(200), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("aware_at", BigInteger, nullable=False),  # starts the issuer's own reporting clock
    Column("last_at", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("message_id", String(64), nullable=False, unique=True),
    Column("topic", String(249), nullable=False),
    Column("key", CARD_REF),
    Column("payload", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),  # when the last of its destinations was settled
    Column("routed_at", BigInteger),  # when its deliveries were made
    Index("ix_outbox_waiting", "delivered_at", "outbox_id"),
    Index("ix_outbox_unrouted", "routed_at", "outbox_id"),
)

# What is owed to one destination: each has its own attempts, so that none waits for another.
outbox_delivery = Table(
    "outbox_delivery",
    metadata,
    Column("outbox_id", ForeignKey("outbox.outbox_id"), primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("status", String(16), nullable=False),  # WAITING, DELIVERED, UNDELIVERABLE, ABANDONED
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("last_error", String(64)),  # a class of errors, never what the other side said
    Index("ix_outbox_delivery_due", "destination", "status", "next_attempt_at", "outbox_id"),
)

job = Table(
    "job",
    metadata,
    Column("job_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("progress", JSON, nullable=False),
    Column("leased_by", String(128)),
    Column("leased_until_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("run_after_at", BigInteger, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    Column("error", String(64)),  # class of the last one
    UniqueConstraint("kind", "subject"),
)

# --- exposure -------------------------------------------------------------------------------------------------------

# One row, locked to change it: commit order of exposure changes is version order.
exposure_version = Table(
    "exposure_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)

# A compromise as it is known now; `compromise_event_version` keeps how it was known before.
compromise_event = Table(
    "compromise_event",
    metadata,
    Column("compromise_event_id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("code_name", String(80), nullable=False, unique=True),  # what most people see before publication
    Column("status", String(20), nullable=False),
    Column("disclosure", String(20), nullable=False),  # RESTRICTED, MAY_TELL_HOLDER, PUBLISHED
    Column("version", Integer, nullable=False),
    Column("vector", String(200)),
    Column("source", String(40), nullable=False),  # where the first word came from
    Column("starts_on", String(10), nullable=False),  # a date in `zone`
    Column("ends_on", String(10), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("precision", String(8), nullable=False),  # DAY, MONTH, YEAR: what the notice gives
    Column("window_start_at", BigInteger, nullable=False),
    Column("window_end_at", BigInteger, nullable=False),  # exclusive
    Column("data_elements", JSON, nullable=False),  # names of the elements that leaked
    Column("tier", Integer, nullable=False),
    Column("suspected_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

compromised_entity = Table(
    "compromised_entity",
    metadata,
    Column("compromised_entity_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),  # merchant, processor, supplier
    Column("acquirer_id", String(64)),
    Column("merchant_id", String(64)),
)

alert_file = Table(
    "alert_file",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("duplicate", Integer, nullable=False),
    Column("malformed", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("already_exposed", Integer, nullable=False),  # in this event, by an earlier file
    Column("imported_at", BigInteger, nullable=False),
    Column("imported_by", String(64), nullable=False),
)

exposed_card = Table(
    "exposed_card",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("card_ref", CARD_REF, primary_key=True, index=True),
    Column("tier", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("provenance", String(20), nullable=False),  # ALERT_FILE, ARCHIVE, MANUAL
    Column("alert_file_sha256", String(64)),
    Column("pan_last4", String(4)),
    Column("expiry", String(7)),  # YYYY-MM as the scheme alert gave it
    Column("exposure_version", BigInteger, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
)

# What an exposed card was before it changed, so that silent replay finds every exposure version as it was.
exposed_card_history = Table(
    "exposed_card_history",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("card_ref", CARD_REF, primary_key=True),
    Column("exposure_version", BigInteger, primary_key=True),
    Column("until_version", BigInteger, nullable=False, index=True),  # exclusive
    Column("tier", Integer, nullable=False),
    Column("status", String(16), nullable=False),
)

exposure_match = Table(
    "exposure_match",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("card_ref", CARD_REF, nullable=False),
    Column("kind", String(16), nullable=False),  # IN_WINDOW, AFTER_WINDOW, BEFORE_WINDOW
    Column("tier", Integer, nullable=False),
    Column("days_since_window", Integer, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("transaction", JSON, nullable=False),
    Column("probability", Float),
    Column("anomaly", Float),
    Column("detection_id", String(64)),
    Column("topic_id", TOPIC_ID, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("origin", String(16), nullable=False, server_default=text("'LIVE'")),  # LIVE, LOOKBACK
    Index("ix_exposure_match_card", "card_ref", "occurred_at"),
    Index("ix_exposure_match_event", "compromise_event_id", "occurred_at"),
)

# --- review ---------------------------------------------------------------------------------------------------------

case = Table(
    "review_case",
    metadata,
    Column("case_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("card_lineage", CARD_REF, nullable=False),
    Column("card_ref", CARD_REF, nullable=False, index=True),
    Column("status", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),  # EXPOSED, LOOKBACK, ANOMALY: where it came from
    Column("tier", Integer, nullable=False),  # worst tier; 0 is unexposed
    Column("compromise_event_ids", JSON, nullable=False),
    Column("priority", BigInteger, nullable=False),  # expected loss, minor units
    Column("priority_reason", Text, nullable=False),
    Column("headline", JSON, nullable=False),  # the strongest reason, {"code", "facts"}
    Column("detections", Integer, nullable=False),
    Column("last_amount_minor", BigInteger),
    Column("currency", String(3)),
    Column("merchant_name", String(256)),
    Column("merchant_country", String(2)),
    Column("pan_last4", String(4)),
    Column("opened_at", BigInteger, nullable=False),
    Column("last_detection_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("claimed_by", String(64)),
    Column("claimed_at", BigInteger),
    Column("outcome", String(24)),
    Column("reason_code", String(40)),
    Column("fraud_type", String(32)),
    Column("resolved_at", BigInteger),
    Column("resolved_by", String(64)),
    Index(
        "uq_review_case_open_lineage",
        "card_lineage",
        unique=True,
        sqlite_where=text("status <> 'RESOLVED'"),
        postgresql_where=text("status <> 'RESOLVED'"),
    ),
    Index("ix_review_case_queue", "status", "priority", "case_id"),
    Index("ix_review_case_opened", "opened_at", "case_id"),
)

detection = Table(
    "detection",
    metadata,
    Column("detection_id", String(64), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("origin", String(16), nullable=False),  # LIVE, LOOKBACK, RESCORE
    Column("case_id", ForeignKey("review_case.case_id"), nullable=False, index=True),
    Column("card_ref", CARD_REF, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("tier", Integer, nullable=False),
    Column("compromise_event_ids", JSON, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("detected_at", BigInteger, nullable=False),
    Column("probability", Float),
    Column("anomaly", Float),
    Column("expected_loss_minor", BigInteger, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("counter_evidence", JSON, nullable=False),
    Column("transaction", JSON, nullable=False),
    Column("recent_events", JSON, nullable=False),  # the card's last events before this one, as the worker knew them
    Column("features", LargeBinary, nullable=False),  # the served vector, little-endian float32
    Column("features_digest", String(16), nullable=False),
    Column("model_digest", String(64)),
    Column("reference_set_id", ForeignKey("reference_set.reference_set_id")),
    Column("topic_id", TOPIC_ID, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Index("ix_detection_card", "card_ref", "occurred_at"),
    Index("ix_detection_detected", "detected_at", "detection_id"),
)

# Which compromise events a detection is about: lists and counts by event need an index that JSON does not have.
detection_compromise_event = Table(
    "detection_compromise_event",
    metadata,
    Column("compromise_event_id", ForeignKey("compromise_event.compromise_event_id"), primary_key=True),
    Column("detection_id", ForeignKey("detection.detection_id"), primary_key=True),
)

case_event = Table(
    "case_event",
    metadata,
    Column("case_event_id", BIG_KEY, primary_key=True, autoincrement=True),
    Column("case_id", ForeignKey("review_case.case_id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("kind", String(32), nullable=False),  # OPENED, DETECTION_ADDED, CLAIMED, RELEASED, NOTE, RESOLVED
    Column("data", JSON, nullable=False),
)

label = Table(
    "label",
    metadata,
    Column("label_id", String(64), primary_key=True),
    Column("event_id", String(64), index=True),
    Column("card_ref", CARD_REF, nullable=False, index=True),
    Column("case_id", ForeignKey("review_case.case_id")),
    Column("outcome", String(24), nullable=False),
    Column("reason_code", String(40)),
    Column("fraud_type", String(32)),
    Column("basis", String(24), nullable=False),
    Column("reported_at", BigInteger, nullable=False),
    Column("reported_by", String(64), nullable=False),
    Column("withdrawn", Boolean, nullable=False, server_default=text("false")),
)

# A pattern that the holder confirmed as genuine opens nothing on that card for events before `until_at`. Rows are only
# added, each under an exposure version of its own, so that what held at an earlier version can be told.
quiet_pattern = Table(
    "quiet_pattern",
    metadata,
    Column("card_ref", CARD_REF, primary_key=True),
    Column("reason_code", String(40), primary_key=True),
    Column("exposure_version", BigInteger, primary_key=True, index=True),
    Column("until_at", BigInteger, nullable=False),
    Column("case_id", ForeignKey("review_case.case_id")),
)

# --- people and machines --------------------------------------------------------------------------------------------

user = Table(
    "user_account",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("display_name", String(128), nullable=False),
    Column("password_hash", String(256), nullable=False),  # argon2id
    Column("role", String(32), nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("failed_logins", Integer, nullable=False, server_default=text("0")),
    Column("locked_until_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("session_digest", String(64), primary_key=True),  # sha256 of the cookie; the cookie is never stored
    Column("username", ForeignKey("user_account.username"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

api_token = Table(
    "api_token",
    metadata,
    Column("token_digest", String(64), primary_key=True),  # sha256 of the token; shown once, never stored
    Column("name", String(128), nullable=False),
    Column("username", ForeignKey("user_account.username"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

# Every change by a person, each entry with the digest of the one before it. Nothing updates or deletes these rows.
audit_entry = Table(
    "audit_entry",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("result", String(16), nullable=False),  # STARTED, DONE, REFUSED, FAILED
    Column("reason", Text, nullable=False),
    Column("old", JSON, nullable=False),
    Column("new", JSON, nullable=False),
    Column("previous_digest", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_audit_entry_subject", "subject", "sequence"),
)

# The end of the chain: one row, locked to add to it, so that writers at once still make one chain.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
)

# The story that a demonstration tells: dates, cards to look at, the scorecard. Empty in production.
demo_story = Table(
    "demo_story",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)

# Tables of their own modules belong to the same metadata: whoever imports this module has them all.
import fraud.store.tables_cards  # noqa: E402
import fraud.store.tables_events  # noqa: E402
import fraud.store.tables_lookback  # noqa: E402, F401
