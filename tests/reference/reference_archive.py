"""A processed record as the archive must have it: column name to value, as the page docs/archive.md says."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, date, datetime

from reference_contract import READERS

from fraud.codes import MCC_GROUPS

DAY_MS = 86_400_000
DIGIT_FIELDS = ("mcc", "pos_entry_mode", "eci")  # numbers in the archive


def archive_row(row, topic_id, partition):
    """`row` is one of `reference_path`'s; 64-bit keys and digests are the signed numbers with the same bits."""
    known = row["transaction"]
    prefix, _, reference = known["card_ref"].partition(":")
    keyed = prefix.startswith("v")
    columns = {name: known.get(name) for name in READERS}
    columns |= {name: None if known.get(name) is None else int(known[name]) for name in DIGIT_FIELDS}
    return columns | {
        "card_key": signed(int(reference[:16], 16) if keyed else short_digest(known["card_ref"].encode())),
        "card_ref_prefix": prefix,
        "card_ref": bytes.fromhex(reference) if keyed else reference.encode(),
        "merchant_key": merchant_key(known),
        "amount": row["amount"],
        "mcc_group": None if row["mcc_group"] is None else MCC_GROUPS[row["mcc_group"]],
        "clamped": row["clamped"],
        "probability": row["probability"],
        "anomaly": row["anomaly"],
        "exposure_tier": row["tier"],
        "reference_set": row["reference_set_id"],
        "features_digest": signed(vector_digest(row["vector"])),
        "topic_id": topic_id,
        "partition": partition,
        "offset": row["offset"],
        "logged_at": row["logged_at"],
        "event_day": event_day(known["occurred_at"], row["logged_at"]),
    }


def signed(number):
    return number - 2**64 if number >= 2**63 else number


def short_digest(data):
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def merchant_key(known):
    if "merchant_id" not in known:
        return None
    acquirer = known.get("acquirer_id", "").encode()
    return signed(short_digest(str(len(acquirer)).encode() + b":" + acquirer + b":" + known["merchant_id"].encode()))


def vector_digest(vector):
    """64-bit FNV-1a over the little-endian 32-bit words of a feature vector."""
    digest = 0xCBF29CE484222325
    for word in struct.unpack(f"<{len(vector)}I", struct.pack(f"<{len(vector)}f", *vector)):
        digest = (digest ^ word) * 0x100000001B3 % 2**64
    return digest


def event_day(occurred_at, logged_at):
    """The day of the event, or the logged one where that is far away. Brokers' own timestamps are not doubted here."""
    day, logged = occurred_at // DAY_MS, logged_at // DAY_MS
    if not logged - 400 <= day <= logged + 1:
        day = logged
    return date.fromordinal(datetime.fromtimestamp(0, UTC).date().toordinal() + day)
