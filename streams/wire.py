"""The decoder of `card.transactions`: records of one partition in, columns and dead letters out.

Degrade, never drop: only `event_id`, `event_type`, `occurred_at` and `card_ref` can refuse a record. Anything else
that cannot be used counts as missing, and the record goes on. Whatever the bytes, every record is accounted for.

Ordinary records are read by compiled code, a batch at once; every record that is in any way unusual is read by the
reference decoder. Both accept exactly the same language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from fraud.pan_guard import PanGuard
from streams.dead_letters import DeadLetter
from streams.wire_batch import DecodedBatch, RawRecord, check_count
from streams.wire_derived import Derivation
from streams.wire_encoder import encode, keys
from streams.wire_reference import UNREADABLE, ReferenceDecoder, read_columns
from streams.wire_rows import BatchRows, read_ordinary
from streams.wire_tables import contract_tables

# Raised whenever a record could come out differently; part of the reference set that a batch runs under.
DECODER_VERSION: Final = 1

__all__ = ["DECODER_VERSION", "UNREADABLE", "DecodedBatch", "Decoder", "RawRecord", "encode", "keys"]


class Decoder:
    """Decodes records of `card.transactions`. Holds no state between batches.

    Args:
        guard: finds card numbers of the issuer's own ranges.
        digest_key: key of the payload digests, at least 128 bits.
        max_record_bytes: a longer value is a dead letter.
        portfolio_currency: ISO 4217 code of the currency that the issuer bills in.
        max_future_ms: an event later than its record's timestamp by more is set to that timestamp, and flagged.
        max_past_ms: an event earlier by more is set to that bound, and flagged; None is no bound.

    Raises:
        ConfigurationError: the currency is unknown or the key is short.

    """

    def __init__(
        self,
        guard: PanGuard,
        digest_key: bytes,
        max_record_bytes: int,
        portfolio_currency: str,
        max_future_ms: int,
        max_past_ms: int | None = None,
    ) -> None:
        self._derivation = Derivation(portfolio_currency, max_future_ms, max_past_ms)
        self._reference = ReferenceDecoder(guard, digest_key, max_record_bytes, self._derivation)
        self._contract = contract_tables(guard.shape, max_record_bytes)
        self.decode([], 0)  # on a new machine the reader is compiled now and not when the first records wait

    def decode(self, records: Sequence[RawRecord], now_ms: int) -> DecodedBatch:
        """Decode records of one partition, in log order.

        Event times are judged against the record's own timestamp, so that reading it again gives the same;
        `now_ms` (epoch milliseconds UTC) stands in where a record has none.
        """
        values = [record.value for record in records]
        rows = read_ordinary(values, [record.key for record in records], self._contract)
        offsets = np.array([record.offset for record in records], dtype=np.int64)
        logged_at = np.array([record.timestamp for record in records], dtype=np.int64)
        dead_letters: list[DeadLetter] = []
        findings: Counter[str] = Counter()
        if not rows.read.all():
            self._read_unusual(rows, records, dead_letters, findings)
            offsets, logged_at = offsets[rows.read], logged_at[rows.read]
        batch = DecodedBatch(
            columns=self._derivation.complete(rows.read_columns(), logged_at, now_ms),
            offsets=offsets,
            logged_at=logged_at,
            dead_letters=tuple(dead_letters),
            missing=dict(rows.missing),
            security_findings=dict(findings),
        )
        return check_count(batch, len(records))

    def payload_digest(self, payload: bytes | None) -> str:
        """The keyed digest under which this decoder's dead letters know a payload."""
        return self._reference.payload_digest(payload)

    def _read_unusual(
        self, rows: BatchRows, records: Sequence[RawRecord], dead_letters: list[DeadLetter], findings: Counter[str]
    ) -> None:
        """Let the reference decoder read the records that are not ordinary."""
        opened = {row: self._reference.open(records[row], findings) for row in np.flatnonzero(~rows.read).tolist()}
        dead_letters.extend(letter for letter in opened.values() if isinstance(letter, DeadLetter))
        fields = {row: found for row, found in opened.items() if not isinstance(found, DeadLetter)}
        rows.put(list(fields), *read_columns(list(fields.values())))
