"""The stream by hand: real pipeline, database and archive, and every step taken when the test says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from worker_support import CARD_KEY

from fraud.cli.wiring import make_decoder
from fraud.compromise import DataElements, ExposureWindow
from fraud.compromise_amendments import Amendment
from fraud.pan_guard import PanGuard
from fraud.policy import Policy
from fraud.settings import CardSettings, KafkaSettings, PortfolioSettings, Settings
from fraud.store.compromise_changes import amend_compromise_event
from fraud.store.compromise_records import get_compromise_event
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.exposure import NewCompromiseEvent, create_compromise_event
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.lookback_requests import request_lookback
from fraud.store.records import PartitionKey
from fraud.store.tables import detection, exposed_card, exposure_match
from models.state import CardStates
from streams.archive import ArchiveRows, ArchiveTable, ArchiveWriter
from streams.dedupe import DedupeWindow
from streams.lookback import Lookbacks
from streams.pipeline import PartitionState, Pipeline
from streams.reference import References
from streams.wire import RawRecord

TOPIC = "0b9f5a5e-6f6c-4f0e-9d53-2f1c1d4a7e11"
DAY = 86_400_000
START = 1_658_156_400_000  # 2022-07-19 in Japan, the first day of the notice's window
NOW = START + 40 * DAY
# Without a model the anomaly score is 0, so everything on a watched card that is not present is detected.
EVERYTHING = Policy(None, None, None, 0.0)


class FixedClock:
    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW / 1000, UTC)


def card_ref(number: int) -> str:
    return f"v1:{number * 0x1F2E3D4C5B6A7988 % 2**64:016x}{'cd' * 24}"


@dataclass(slots=True)
class Transaction:
    """What the test remembers of a published transaction."""

    event_id: str
    card: int
    occurred_at: int


@dataclass(slots=True)
class Partition:
    """One partition: its log is what has been sent, its unarchived rows are what a crash would lose."""

    state: PartitionState
    reference: Any
    rows: list[ArchiveRows] = field(default_factory=list)


class Crash(Exception):  # noqa: N818 - it stands for the end of a process
    """The process ends here."""


class HandStream:
    """A worker, an archive and look-backs, moved by hand."""

    def __init__(self, engine: Engine, folder: Path, policy: Policy = EVERYTHING) -> None:
        self.engine = engine
        self.policy = policy
        self.settings = Settings(
            data_dir=folder,
            portfolio=PortfolioSettings(bin_ranges=("453201",)),
            cards=CardSettings(keys={1: CARD_KEY}),  # type: ignore[dict-item]
            kafka=KafkaSettings(group_id="group"),
        )
        self.pipeline = Pipeline(
            self.settings, make_decoder(self.settings, PanGuard.from_settings(self.settings.portfolio))
        )
        self.table = ArchiveTable(folder / "archive")
        self.archive = ArchiveWriter(self.table)
        self.references = self._new_references()
        self.partitions: dict[int, Partition] = {}
        self.sent: list[Transaction] = []
        self.earliest: dict[str, int] = {}  # the earliest start that an event's window has ever had

    def _new_references(self) -> References:
        return References(self.engine, self.policy, None, lambda _digest: None)  # type: ignore[arg-type,return-value]

    def claim(self, number: int) -> Partition:
        """Take a partition over, as the worker does: claim it, look for exposures, begin its archive."""
        key = PartitionKey("group", TOPIC, "card.transactions", number)
        with write(self.engine) as connection:
            position = claim_position(connection, key, "worker", NOW)
        reference = self.references.refresh()
        state = PartitionState(key, position.owner_epoch, position.next_offset, CardStates(), DedupeWindow(1_000))
        known = self.partitions.get(number)
        made = Partition(state, reference, known.rows if known else [])
        archived = self.archive.begin(TOPIC, number, self.archive.archived_offset(TOPIC, number) or 0)
        for rows in made.rows:  # what silent replay gives again
            self.archive.add(TOPIC, number, rows.between(archived))
        self.partitions[number] = made
        return made

    def look(self, number: int) -> None:
        """The worker looks for new exposures between two batches."""
        self.partitions[number].reference = self.references.refresh()

    def send(self, number: int, transactions: Iterable[tuple[int, int]]) -> None:
        """Put (card, time) pairs on a partition's log and process them as one batch."""
        partition = self.partitions.get(number) or self.claim(number)
        records = []
        for card, occurred_at in transactions:
            offset = partition.state.next_offset + len(records)
            event_id = f"event-{len(self.sent)}"
            self.sent.append(Transaction(event_id, card, occurred_at))
            value = {
                "event_id": event_id,
                "event_type": "authorization",
                "occurred_at": occurred_at,
                "card_ref": card_ref(card),
                "amount_minor": 5_000 + card,
                "currency": "JPY",
                "channel": "ecommerce",
                "approved": True,
                "merchant_id": "shop",
                "acquirer_id": "a1",
                "merchant_name": "店",
            }
            records.append(RawRecord(offset, card_ref(card).encode(), json.dumps(value).encode(), NOW))
        processed = self.pipeline.process(partition.state, records, partition.reference, NOW)
        with write(self.engine) as connection:
            assert commit_effects(connection, [processed.effects]) == []
        partition.rows.append(processed.archive_rows)
        self.archive.add(TOPIC, number, processed.archive_rows)

    def checkpoint(self, number: int) -> None:
        """Archive what was processed."""
        self.archive.commit(TOPIC, number, self.partitions[number].state.next_offset)

    def crash(self) -> None:
        """The worker ends without a word, and another one takes its partitions over."""
        self.archive = ArchiveWriter(self.table)
        self.references = self._new_references()
        for number in list(self.partitions):
            self.claim(number)

    def alert(self, event: str, days: tuple[int, int], cards: Iterable[int]) -> None:
        """Record a compromise event with its window, in days of July 2022, and expose cards."""
        window = ExposureWindow(date(2022, 7, days[0]), date(2022, 7, days[1]), "Asia/Tokyo")
        elements = DataElements(expiry=True, cvv2=True)
        self.earliest[event] = window.start_at
        with write(self.engine) as connection:
            create_compromise_event(
                connection, NewCompromiseEvent(event, event, "MERCHANT_NOTICE", window, elements), NOW
            )
        self.expose(event, cards)

    def expose(self, event: str, cards: Iterable[int]) -> None:
        """Add cards to an event; those that it has already stay as they are."""
        with write(self.engine) as connection:
            known = select(exposed_card.c.card_ref).where(exposed_card.c.compromise_event_id == event)
            there = set(connection.execute(known).scalars())
            new = sorted({card_ref(card) for card in cards} - there)
            if not new:
                return
            version = next_exposure_version(connection)
            row = {
                "compromise_event_id": event,
                "tier": get_compromise_event(connection, event).tier,
                "status": "ACTIVE",
                "provenance": "ALERT_FILE",
                "exposure_version": version,
                "created_at": NOW,
            }
            connection.execute(exposed_card.insert(), [{**row, "card_ref": ref} for ref in new])
            request_lookback(connection, event, version, "IMPORT", NOW)

    def amend(self, event: str, days: tuple[int, int]) -> None:
        """Give an event another window."""
        window = ExposureWindow(date(2022, 7, days[0]), date(2022, 7, days[1]), "Asia/Tokyo")
        self.earliest[event] = min(self.earliest[event], window.start_at)
        with write(self.engine) as connection:
            before = get_compromise_event(connection, event)
            if (before.starts_on, before.ends_on) != (window.starts_on.isoformat(), window.ends_on.isoformat()):
                amend_compromise_event(connection, event, Amendment("known now", window=window), before.version, NOW)

    def lookbacks(self, reached: Callable[[str], None] = lambda _: None) -> Lookbacks:
        """A process that takes look-backs on."""
        return Lookbacks(self.engine, self.settings, self.table, lambda: self.policy, FixedClock(), reached=reached)

    def finish(self) -> None:
        """Everything comes to rest: workers know all exposures, everything is archived, all look-backs are done."""
        for number in self.partitions:
            self.look(number)
            self.send(number, [(99, START)])  # of no event: a batch that activates the newest exposures
            self.checkpoint(number)
        left = self.lookbacks().step()
        assert left == [], left

    def matches(self) -> set[tuple[str, str, str]]:
        """(event, compromise event, kind) of every match from the start of its window on."""
        columns = (exposure_match.c.event_id, exposure_match.c.compromise_event_id, exposure_match.c.kind)
        with read(self.engine) as connection:
            found = [tuple(row) for row in connection.execute(select(*columns))]
        return {item for item in found if item[2] != "BEFORE_WINDOW"}

    def joined(self) -> set[tuple[str, str, str]]:
        """The same by brute force: all transactions with all exposures."""
        with read(self.engine) as connection:
            events = {event: get_compromise_event(connection, event) for event in self.earliest}
        return {
            (item.event_id, event, "IN_WINDOW" if item.occurred_at < events[event].window_end_at else "AFTER_WINDOW")
            for item, event in self._exposed()
            if item.occurred_at >= events[event].window_start_at
        }

    def ever_in_window(self) -> set[str]:
        """Transactions on exposed cards from the earliest start on that their event's window has ever had."""
        return {item.event_id for item, event in self._exposed() if item.occurred_at >= self.earliest[event]}

    def _exposed(self) -> list[tuple[Transaction, str]]:
        with read(self.engine) as connection:
            columns = select(exposed_card.c.card_ref, exposed_card.c.compromise_event_id)
            exposures = [(ref, event) for ref, event in connection.execute(columns)]
        return [(item, event) for item in self.sent for ref, event in exposures if ref == card_ref(item.card)]

    def detected(self) -> list[str]:
        """The event of every detection, once for each."""
        with read(self.engine) as connection:
            return list(connection.execute(select(detection.c.event_id)).scalars())
