"""Putting things in place before anything is measured: records on the log, cards in the store, state to start from."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import numpy as np

from fraud.alert_files import ParsedAlertFile, ParsedCard
from fraud.cards import card_keys
from fraud.clock import now_ms
from fraud.store.database import write
from fraud.store.exposure import import_exposed_cards
from fraud.transactions import Columns
from models.state import CardStates
from streams.bench.place import NAME, Place
from streams.bench.traffic import Traffic, made_up_references
from streams.kafka import make_producer
from streams.publishing import publish
from streams.seeding import seed_state
from streams.snapshots import Snapshots

Progress = Callable[[int], None]

_IMPORTED_AT_ONCE = 100_000


def fill_topic(place: Place, traffic: Traffic, progress: Progress) -> None:
    """Publish all records; each is acknowledged. `progress` is told how many more there are."""
    kafka = place.settings.kafka
    with contextlib.closing(make_producer(kafka)) as producer:
        for block in traffic.blocks():
            publish(producer, kafka.transactions_topic, block)
            progress(len(block))


def expose_cards(place: Place, traffic: Traffic, exposed: int, progress: Progress) -> int:
    """Expose the traffic's exposed cards, and so many others that there are `exposed` in all; how many there are."""
    known = traffic.exposed_refs().tolist()
    others = made_up_references("exposed", traffic.size.seed, max(0, exposed - len(known))).tolist()
    refs = known + others
    now = now_ms()
    for start in range(0, len(refs), _IMPORTED_AT_ONCE):
        part = refs[start : start + _IMPORTED_AT_ONCE]
        file = ParsedAlertFile(
            sha256=hashlib.sha256(f"{NAME} {start}".encode()).hexdigest(),
            rows=len(part),
            cards=[ParsedCard(ref) for ref in part],
            malformed=[],
            duplicates=0,
            unknown=0,
        )
        with write(place.engine) as connection:
            import_exposed_cards(connection, NAME, f"bench-{start}.csv", file, NAME, now)
        progress(len(part))
    return len(refs)


def seed_cards(place: Place, traffic: Traffic, simulated: CardStates) -> int:
    """Register the state of every card as the workers' starting point; the number of cards."""
    states = traffic.states(simulated)
    columns = Columns({"card_ref": traffic.card_refs, "card_key": card_keys(traffic.card_refs)}, len(traffic.card_refs))
    latest = int(traffic.simulation.parameters.monitoring_starts_at)
    snapshots = Snapshots.from_settings(place.settings, place.engine)
    seed_state(snapshots, place.partition_keys(), columns, states, latest)
    return len(np.unique(states.keys))
