"""Batches of the issuer's rows to transactions, through the same decoder as the stream's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud.cards import CardTokenizer
from fraud.errors import InvalidInputError
from fraud.transactions import Columns
from streams.dead_letters import ErrorClass
from streams.history.mapping import HistoryMapping
from streams.history.reading import SourceBatch, collector_paused, read_batches
from streams.history.values import Values
from streams.wire import Decoder, RawRecord

EARLIEST_AT: Final = 946_684_800_000  # 2000-01-01: no card stream is older
DAY_MS: Final = 86_400_000

MALFORMED: Final = "WRONG_NUMBER_OF_COLUMNS"
OUT_OF_RANGE: Final = "TIME_OUT_OF_RANGE"
_CARD_NUMBERS: Final = (ErrorClass.PAN_IN_KEY, ErrorClass.PAN_IN_CARD_REF)
# A stray number in a text is blanked and counted; a column that is full of them is a mistake in the mapping.
_MISTAKE: Final = 0.5
_NUMBERS: Final = ("rows", "accepted", "after_until")
_COUNTERS: Final = ("rejected", "unusable", "card_numbers")


class Reject(NamedTuple):
    """A row that is left out, and why; never what it held. `field` is the contract's field at fault, where one is."""

    file: int
    row: int
    reason: str
    field: str | None


@dataclass(slots=True)
class Tally:
    """What was found in the rows so far, in numbers."""

    rows: int = 0
    accepted: int = 0
    after_until: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    card_numbers: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.rows += other.rows
        self.accepted += other.accepted
        self.after_until += other.after_until
        self.rejected.update(other.rejected)
        self.unusable.update(other.unusable)
        self.card_numbers.update(other.card_numbers)

    def as_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        whole = {name: getattr(self, name) for name in _NUMBERS}
        return whole | {name: dict(getattr(self, name)) for name in _COUNTERS}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tally:
        """What `as_json` gave."""
        counted: dict[str, Any] = {name: Counter(content[name]) for name in _COUNTERS}
        return cls(**{name: content[name] for name in _NUMBERS}, **counted)


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """The good rows of a batch with their numbers in the file, the others as rejects, and all of them counted."""

    columns: Columns
    rows: NDArray[np.int64]
    rejects: tuple[Reject, ...]
    tally: Tally


class HistoryDecoder:
    """Decodes files by a mapping.

    Args:
        mapping: the mapping.
        decoder: the stream's.
        tokenizer: for a mapping with a card number.
        latest_at: a later event has an impossible time, epoch milliseconds UTC.
        until: events from then on are left out and counted: the stream has them.

    """

    def __init__(
        self,
        mapping: HistoryMapping,
        decoder: Decoder,
        tokenizer: CardTokenizer | None,
        latest_at: int,
        until: int | None = None,
    ) -> None:
        self._mapping = mapping
        self._decoder = decoder
        self._values = Values(mapping.fields, tokenizer, lambda data: decoder.payload_digest(data)[:32])
        self._latest_at = latest_at
        self._until = until
        self._write = msgspec.json.Encoder().encode

    def read(self, file: int, limit: int | None = None) -> Iterator[DecodedRows]:
        """The batches of file number `file`, in its own order; of at most about `limit` rows.

        Raises:
            InvalidInputError: a column is full of card numbers where none may be; the message names the field.
            SourceFileError: the file cannot be read.

        """
        files = self._mapping.files
        seen = 0
        for batch in read_batches(files, files.paths[file], self._mapping.source_columns):
            with collector_paused():
                decoded = self._decode(file, batch)
            if seen == 0:
                self._refuse_card_numbers(decoded.tally)
            seen += decoded.tally.rows
            yield decoded
            if limit is not None and seen >= limit:
                return

    def _decode(self, file: int, batch: SourceBatch) -> DecodedRows:
        values, unusable = self._values.convert(batch.frame)
        records = self._records(values, batch.rows.to_list())
        decoded = self._decoder.decode(records, 0)
        rejects = [Reject(file, row, MALFORMED, None) for row in batch.malformed]
        rejects += [Reject(file, item.offset, str(item.error_class), item.field_path) for item in decoded.dead_letters]
        occurred_at = decoded.columns["occurred_at"]
        impossible = (occurred_at < EARLIEST_AT) | (occurred_at > self._latest_at)
        rejects += [Reject(file, row, OUT_OF_RANGE, "occurred_at") for row in decoded.offsets[impossible].tolist()]
        late = np.zeros(len(occurred_at), np.bool_)
        if self._until is not None:
            late = ~impossible & (occurred_at >= self._until)
        good = ~(impossible | late)
        tally = Tally(
            rows=len(records) + len(batch.malformed),
            accepted=int(good.sum()),
            after_until=int(late.sum()),
            rejected=Counter(item.reason for item in rejects),
            unusable=Counter(unusable) + Counter(decoded.missing),
            card_numbers=Counter(decoded.security_findings),
        )
        return DecodedRows(decoded.columns.take(good), decoded.offsets[good], tuple(rejects), tally)

    def _records(self, values: pl.DataFrame, rows: list[int]) -> list[RawRecord]:
        names = values.columns
        card, time = names.index("card_ref"), names.index("occurred_at")
        records = []
        for row, items in zip(rows, values.iter_rows(), strict=True):
            value = self._write({name: item for name, item in zip(names, items, strict=True) if item is not None})
            key = None if items[card] is None else str(items[card]).encode()
            # The event's own time as the log's: how late a row comes says nothing here, so no time is clamped.
            at = items[time]
            records.append(RawRecord(row, key, value, at if type(at) is int and at >= 0 else 0))
        return records

    def _refuse_card_numbers(self, tally: Tally) -> None:
        """Refuse a mapping that takes card numbers for something else, before much is read."""
        if tally.rows == 0:
            return
        if sum(tally.rejected[name] for name in _CARD_NUMBERS) > _MISTAKE * tally.rows:
            message = 'the column holds card numbers: say card_number = "COLUMN" instead, which keeps references only'
            raise InvalidInputError(message, field="fields.card_ref")
        for path, found in tally.card_numbers.items():
            if path in self._mapping.fields and found > _MISTAKE * tally.rows:
                message = "the column holds card numbers, which belong nowhere but in card_ref as card_number"
                raise InvalidInputError(message, field=f"fields.{path}")
