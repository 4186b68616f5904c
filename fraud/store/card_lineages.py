"""Lines of reissued cards as the store keeps them, and exposures that follow a card to those that came after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from fraud.card_references import FOLLOWED_TIER, CardLineages, LineageNode
from fraud.compromise import ExposedCardStatus
from fraud.errors import ConflictError
from fraud.store.statements import IN_CHUNK, chunks, insert_ignore, insert_or_update
from fraud.store.tables import case as review_case
from fraud.store.tables import exposed_card
from fraud.store.tables import exposure_version as version_row
from fraud.store.tables_cards import card_lineage, card_lineage_history, exposure_source

FOLLOWED: Final = "LINEAGE"  # provenance of an exposure that followed
_ACTIVE: Final = ExposedCardStatus.ACTIVE.value
_LINE = card_lineage.c


def lineages(connection: Connection) -> dict[str, str]:
    """Card reference to the first card of its line, for every card that is not its own first: the worker's map."""
    others = select(_LINE.card_ref, _LINE.root_ref).where(_LINE.card_ref != _LINE.root_ref)
    return {row.card_ref: row.root_ref for row in connection.execute(others)}


def lineage_changes(connection: Connection, since_version: int) -> dict[str, str]:
    """The same for what has changed after an exposure version; lines are never taken apart, so it only adds."""
    changed = select(_LINE.card_ref, _LINE.root_ref).where(_LINE.exposure_version > since_version)
    return {row.card_ref: row.root_ref for row in connection.execute(changed)}


def lineages_before(connection: Connection, version: int) -> dict[str, str]:
    """What has changed after a version, as it was then: a card that was in no line is its own first."""
    now, before = card_lineage, card_lineage_history
    then = and_(
        before.c.card_ref == now.c.card_ref, before.c.exposure_version <= version, before.c.until_version > version
    )
    statement = (
        select(now.c.card_ref, func.coalesce(before.c.root_ref, now.c.card_ref).label("root_ref"))
        .join_from(now, before, then, isouter=True)
        .where(now.c.exposure_version > version)
    )
    return {row.card_ref: row.root_ref for row in connection.execute(statement)}


def lineage_root(connection: Connection, card_ref: str) -> str:
    """The first card of a card's line."""
    found = connection.execute(select(_LINE.root_ref).where(_LINE.card_ref == card_ref)).scalar_one_or_none()
    return found or card_ref


def lineage_of(connection: Connection, card_ref: str) -> list[tuple[str, int]]:
    """Every card of a card's line with its generation, the first one first."""
    line = select(_LINE.card_ref, _LINE.generation).where(_LINE.root_ref == lineage_root(connection, card_ref))
    found = connection.execute(line.order_by(_LINE.generation, _LINE.card_ref))
    return [(row.card_ref, row.generation) for row in found] or [(card_ref, 0)]


def lock_exposure_version(connection: Connection) -> None:
    """Wait for whoever changes exposures, so that what both look at is not seen half done."""
    insert_ignore(connection, version_row, [{"id": 1, "version": 0}], ["id"])
    connection.execute(select(version_row.c.version).with_for_update())


def join_lines(
    connection: Connection, replaced: Iterable[tuple[str, str]], aliases: Iterable[tuple[str, str]]
) -> tuple[Mapping[str, LineageNode], list[tuple[str, str]]]:
    """Places that change when cards were replaced (old, new) and references are aliases (reference, card).

    Also the pairs that cannot be: a card that came after two, or after itself.
    """
    replaced, aliases = list(replaced), list(aliases)
    known = CardLineages(_nodes(connection, {ref for pair in (*replaced, *aliases) for ref in pair}))
    refused = []
    for join, pairs in ((known.alias, aliases), (known.replace, replaced)):
        for first, second in pairs:
            try:
                join(first, second)
            except ConflictError:
                refused.append((first, second))
    return known.changed(), refused


def store_lines(connection: Connection, changed: Mapping[str, LineageNode], version: int) -> None:
    """Keep changed places under an exposure version, and what they were. Open cases go to the line's first card.

    Where the line has an open case already, both stay open; what is detected from now on goes to that of the line.
    """
    for chunk in chunks(sorted(changed), IN_CHUNK):
        names = ("card_ref", "exposure_version", "root_ref", "generation")
        before = select(*(_LINE[name] for name in names), literal(version, BigInteger)).where(_LINE.card_ref.in_(chunk))
        connection.execute(insert(card_lineage_history).from_select([*names, "until_version"], before))
    rows = [
        {"card_ref": ref, "root_ref": node.root, "generation": node.generation, "exposure_version": version}
        for ref, node in sorted(changed.items())
    ]
    for part in chunks(rows, 5_000):
        insert_or_update(connection, card_lineage, part, ["card_ref"], ["root_ref", "generation", "exposure_version"])
    other = review_case.alias("other")
    for ref, node in sorted(changed.items()):
        if ref != node.root:
            is_open = (review_case.c.card_lineage == ref, review_case.c.status != "RESOLVED")
            taken = select(1).where(other.c.card_lineage == node.root, other.c.status != "RESOLVED").exists()
            connection.execute(update(review_case).where(*is_open, ~taken).values(card_lineage=node.root))


def follow_exposures(
    connection: Connection, version: int, now: int, *, compromise_event_id: str | None = None, roots: Iterable[str] = ()
) -> set[str]:
    """Expose the cards that came after exposed cards, and their aliases, in one event or in the lines named.

    An alias is the same number and has its tier; a new number has the lowest. Returns the events concerned.
    """
    if connection.execute(select(_LINE.card_ref).limit(1)).first() is None:
        return set()
    events: set[str] = set()
    parts: list[ColumnElement[bool]] = [_LINE.root_ref.in_(chunk) for chunk in chunks(sorted(roots), IN_CHUNK)]
    if compromise_event_id is not None:
        parts.append(exposed_card.c.compromise_event_id == compromise_event_id)
    for part in parts:
        events |= _follow(connection, version, now, part)
    return events


def _follow(connection: Connection, version: int, now: int, part: ColumnElement[bool]) -> set[str]:
    later = card_lineage.alias("later")
    event, ref = exposed_card.c.compromise_event_id, later.c.card_ref
    version_, now_ = literal(version, BigInteger), literal(now, BigInteger)
    same_line = and_(
        later.c.root_ref == _LINE.root_ref,
        later.c.card_ref != _LINE.card_ref,
        later.c.generation >= _LINE.generation,
    )
    is_alias = later.c.generation == _LINE.generation
    tier = func.max(case((is_alias, exposed_card.c.tier), else_=FOLLOWED_TIER))
    source = (
        select(event, ref, tier, literal(_ACTIVE), literal(FOLLOWED), version_, now_)
        .select_from(exposed_card)
        .join(card_lineage, _LINE.card_ref == exposed_card.c.card_ref)
        .join(later, same_line)
        .where(exposed_card.c.status == _ACTIVE, exposed_card.c.provenance != FOLLOWED, part)
        .group_by(event, ref)
    )
    names = ["compromise_event_id", "card_ref", "tier", "status", "provenance", "exposure_version", "created_at"]
    insert_new(connection, exposed_card, names, source)
    followed = and_(exposed_card.c.exposure_version == version, exposed_card.c.provenance == FOLLOWED)
    origin = exposed_card.alias("origin")
    # Where each has come from, for people: the card of the line that was exposed itself.
    origins = (
        select(
            origin.c.compromise_event_id,
            later.c.card_ref,
            literal(FOLLOWED),
            func.min(origin.c.card_ref),
            now_,
            literal("lineage"),
        )
        .select_from(exposed_card)
        .join(later, later.c.card_ref == exposed_card.c.card_ref)
        .join(card_lineage, and_(_LINE.root_ref == later.c.root_ref, _LINE.generation <= later.c.generation))
        .join(
            origin,
            and_(
                origin.c.card_ref == _LINE.card_ref,
                origin.c.compromise_event_id == event,
                origin.c.provenance != FOLLOWED,
            ),
        )
        .where(followed)
        .group_by(origin.c.compromise_event_id, later.c.card_ref)
    )
    columns = ["compromise_event_id", "card_ref", "provenance", "source", "recorded_at", "recorded_by"]
    insert_new(connection, exposure_source, columns, origins)
    return set(connection.execute(select(event).where(followed).distinct()).scalars())


def insert_new(connection: Connection, table: Any, names: list[str], source: Select[Any]) -> None:
    """Insert what a query gives, except what is there already by the table's primary key."""
    # SQLite takes the conflict clause for a part of a query without WHERE.
    source = source.where(true()) if source.whereclause is None else source
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = make(table).from_select(names, source)
    connection.execute(statement.on_conflict_do_nothing(index_elements=list(table.primary_key.columns)))


def _nodes(connection: Connection, refs: set[str]) -> dict[str, LineageNode]:
    """The lines of these cards, whole."""
    roots: set[str] = set()
    for chunk in chunks(sorted(refs), IN_CHUNK):
        named = or_(_LINE.card_ref.in_(chunk), _LINE.root_ref.in_(chunk))
        roots.update(connection.execute(select(_LINE.root_ref).where(named)).scalars())
    nodes: dict[str, LineageNode] = {}
    for chunk in chunks(sorted(roots), IN_CHUNK):
        for row in connection.execute(select(card_lineage).where(_LINE.root_ref.in_(chunk))):
            nodes[row.card_ref] = LineageNode(row.root_ref, row.generation)
    return nodes
