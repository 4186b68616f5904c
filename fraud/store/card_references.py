"""Card reference data as the store keeps it, and what its changes mean for exposures: they follow, fall, or begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, insert, literal, select, update

from fraud.card_references import RENEWED_TIER, CardReferenceChange, CardStatus
from fraud.compromise import ExposedCardStatus
from fraud.store.audit import append_audit
from fraud.store.card_lineages import follow_exposures, join_lines, lock_exposure_version, store_lines
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.lookback_requests import request_lookback
from fraud.store.statements import IN_CHUNK, chunks, insert_or_update, storable_text
from fraud.store.tables import exposed_card, exposed_card_history
from fraud.store.tables_cards import card_lineage, card_reference, card_reference_load

_REFERENCE, _CARD = card_reference.c, exposed_card.c
_ACTIVE: Final = ExposedCardStatus.ACTIVE.value
_KEPT: Final = ("status", "expiry", "product", "replaced_by", "updater_suppressed", "as_of_at", "updated_at")


@dataclass(frozen=True, slots=True)
class CardReferenceView:
    """What is known of one card; `as_of_at` is the card system's time of it."""

    card_ref: str
    status: str
    expiry: str | None
    product: str | None
    replaced_by: str | None
    updater_suppressed: bool | None
    as_of_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """What became of changes: rows = changed + same + stale + refused.

    `stale` are older than what is known, `refused` would have a card come after two others, or after itself.
    """

    rows: int = 0
    changed: int = 0
    same: int = 0
    stale: int = 0
    refused: int = 0
    followed_events: tuple[str, ...] = ()
    exposure_version: int | None = None  # the last one that these changes made
    refused_cards: tuple[str, ...] = field(default=(), repr=False)

    def plus(self, other: ReferenceReport) -> ReferenceReport:
        """Both together."""
        return ReferenceReport(
            self.rows + other.rows,
            self.changed + other.changed,
            self.same + other.same,
            self.stale + other.stale,
            self.refused + other.refused,
            tuple(sorted({*self.followed_events, *other.followed_events})),
            other.exposure_version or self.exposure_version,
            (*self.refused_cards, *other.refused_cards)[:100],
        )


def apply_reference_changes(
    connection: Connection, changes: Iterable[CardReferenceChange], now: int
) -> ReferenceReport:
    """Take up changes, in any order and as often as they come: what is older than what is known changes nothing.

    Where they touch exposures, all of that has one new exposure version: a replaced card's exposures follow to the
    new one, a renewal under the same number lowers them, and a card that was not known to exist is watched.
    """
    given = list(changes)
    newest: dict[str, list[CardReferenceChange]] = {}
    for change in sorted(given, key=lambda item: item.as_of_at):
        newest.setdefault(change.card_ref, []).append(change)
    before = _known(connection, sorted(newest), lock=True)
    rows: list[dict[str, Any]] = []
    report = ReferenceReport(len(given))
    for card_ref, said in newest.items():
        row, counted = _merged(card_ref, before.get(card_ref), said, now)
        report = report.plus(ReferenceReport(0, counted["changed"], counted["same"], counted["stale"]))
        if row is not None:
            rows.append(row)
    reissued = [
        (change.card_ref, change.replaced_by) for change in sorted(given, key=_time) if change.replaced_by is not None
    ]
    aliases = [(change.card_ref, change.alias_of) for change in given if change.alias_of is not None]
    for chunk in chunks(sorted(rows, key=lambda row: str(row["card_ref"])), 5_000):
        insert_or_update(connection, card_reference, chunk, ["card_ref"], _KEPT)
    lock_exposure_version(connection)
    places, refused = join_lines(connection, reissued, aliases)
    renewed = [
        row["card_ref"]
        for row in rows
        if (known := before.get(row["card_ref"])) and known.expiry and row["expiry"] and row["expiry"] > known.expiry
    ]
    touched = sorted(newest)
    chosen = [*_lowered(connection, touched, renewed), *_found(connection, touched)]
    report = replace(report, refused=len(refused), refused_cards=tuple(first for first, _ in refused)[:100])
    if not places and not chosen:
        return report
    version = next_exposure_version(connection)
    events = set()
    for condition, values in chosen:
        events |= _change(connection, condition, values, version)
    if places:
        store_lines(connection, places, version)
    # A card that is watched only now takes its line with it, also where the line itself was known before.
    roots = {node.root for node in places.values()} | _roots(connection, touched if chosen else [])
    events |= follow_exposures(connection, version, now, roots=roots)
    for event in sorted(events):
        request_lookback(connection, event, version, "CARD_REFERENCES", now)
    return replace(report, followed_events=tuple(sorted(events)), exposure_version=version)


def record_reference_load(
    connection: Connection,
    *,
    name: str,
    sha256: str,
    report: ReferenceReport,
    malformed: int,
    complete: bool,
    loaded_by: str,
    now: int,
) -> None:
    """Record that a file of reference data has been taken up whole; `complete` says that it named every card."""
    names = ("changed", "same", "stale", "refused")
    counts = {**{item: getattr(report, item) for item in names}, "malformed": malformed}
    row = {"name": storable_text(name, 200), "sha256": sha256, "rows": report.rows + malformed, "counts": counts}
    written = {**row, "complete": complete, "loaded_at": now, "loaded_by": loaded_by}
    connection.execute(insert(card_reference_load), written)
    action, subject = "card_references.load", f"card_references/{sha256[:16]}"
    new = {**row, "complete": complete}
    append_audit(connection, actor=loaded_by, action=action, subject=subject, now=now, new=new)


def card_reference_of(connection: Connection, card_ref: str) -> CardReferenceView | None:
    """What is known of one card; None for nothing."""
    return _known(connection, [card_ref]).get(card_ref)


def _merged(
    card_ref: str, known: CardReferenceView | None, said: Sequence[CardReferenceChange], now: int
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """The row after all that was said of a card, oldest first; None when nothing is other than it was."""
    counts = {"changed": 0, "same": 0, "stale": 0}
    values: dict[str, Any] = {
        "status": CardStatus.ACTIVE.value,
        "expiry": None,
        "product": None,
        "replaced_by": None,
        "updater_suppressed": None,
    }
    as_of_at = -1
    if known is not None:
        values = {name: getattr(known, name) for name in values}
        as_of_at = known.as_of_at
    for change in said:
        news = dict(change.said())
        if change.replaced_by is not None and change.status is None:
            news["status"] = CardStatus.SUPERSEDED.value
        if change.as_of_at < as_of_at:
            counts["stale"] += 1
        elif as_of_at >= 0 and {**values, **news} == values:
            counts["same"] += 1
            as_of_at = change.as_of_at
        else:
            counts["changed"] += 1
            values, as_of_at = {**values, **news}, change.as_of_at
    if known is not None and as_of_at == known.as_of_at and not counts["changed"]:
        return None, counts
    return {"card_ref": card_ref, **values, "as_of_at": as_of_at, "updated_at": now}, counts


def _known(connection: Connection, refs: Sequence[str], *, lock: bool = False) -> Mapping[str, CardReferenceView]:
    found: dict[str, CardReferenceView] = {}
    for chunk in chunks(refs, IN_CHUNK):
        of_cards = select(card_reference).where(_REFERENCE.card_ref.in_(chunk)).order_by(_REFERENCE.card_ref)
        rows = connection.execute(of_cards.with_for_update() if lock else of_cards)
        found |= {row["card_ref"]: CardReferenceView(**row) for row in rows.mappings()}
    return found


Chosen = list[tuple[ColumnElement[bool], dict[str, Any]]]


def _lowered(connection: Connection, touched: Sequence[str], renewed: Sequence[str]) -> Chosen:
    """Active exposures of a number that has a later expiry now than the one that leaked."""
    watched = and_(_CARD.status == _ACTIVE, _CARD.tier > RENEWED_TIER)
    refs: set[str] = set()
    for chunk in chunks(touched, IN_CHUNK):
        later = (
            select(_CARD.card_ref)
            .join_from(exposed_card, card_reference, _REFERENCE.card_ref == _CARD.card_ref)
            .where(watched, _CARD.card_ref.in_(chunk), _REFERENCE.expiry > _CARD.expiry)
        )
        refs.update(connection.execute(later).scalars())
    for chunk in chunks(renewed, IN_CHUNK):
        unsaid = select(_CARD.card_ref).where(watched, _CARD.card_ref.in_(chunk), _CARD.expiry.is_(None))
        refs.update(connection.execute(unsaid).scalars())
    lower = {"tier": RENEWED_TIER}
    current = select(_REFERENCE.expiry).where(_REFERENCE.card_ref == _CARD.card_ref).scalar_subquery()
    leaked_before = _CARD.expiry.is_(None) | (_CARD.expiry < current)
    return [
        (and_(watched, leaked_before, _CARD.card_ref.in_(chunk)), lower) for chunk in chunks(sorted(refs), IN_CHUNK)
    ]


def _found(connection: Connection, touched: Sequence[str]) -> Chosen:
    """Exposures of cards that were not known to exist."""
    waiting = _CARD.status == ExposedCardStatus.UNMATCHED.value
    found: Chosen = []
    for chunk in chunks(touched, IN_CHUNK):
        known = (waiting, _CARD.card_ref.in_(chunk))
        if connection.execute(select(_CARD.card_ref).where(*known).limit(1)).first() is not None:
            found.append((and_(*known), {"status": _ACTIVE}))
    return found


def _change(connection: Connection, condition: ColumnElement[bool], values: dict[str, Any], version: int) -> set[str]:
    names = ("compromise_event_id", "card_ref", "exposure_version", "tier", "status")
    # Once a version: what is lowered and found in one go was what it was before both.
    fresh = and_(condition, _CARD.exposure_version != version)
    before = select(*(_CARD[name] for name in names), literal(version, BigInteger)).where(fresh)
    connection.execute(insert(exposed_card_history).from_select([*names, "until_version"], before))
    events = set(connection.execute(select(_CARD.compromise_event_id).where(condition).distinct()).scalars())
    connection.execute(update(exposed_card).where(condition).values(exposure_version=version, **values))
    return events


def _roots(connection: Connection, refs: Sequence[str]) -> set[str]:
    roots: set[str] = set()
    for chunk in chunks(refs, IN_CHUNK):
        found = select(card_lineage.c.root_ref).where(card_lineage.c.card_ref.in_(chunk))
        roots.update(connection.execute(found).scalars())
    return roots


def _time(change: CardReferenceChange) -> int:
    return change.as_of_at
