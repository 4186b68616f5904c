"""Imports for the store's tests: files of references, staged and published."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine
from store_samples import EVENT, NOW, card_ref

from fraud.alert_files import AlertFile
from fraud.card_references import CardReferenceChange
from fraud.cards import CardTokenizer
from fraud.pan_guard import PanGuard
from fraud.store.card_references import ReferenceReport, apply_reference_changes
from fraud.store.database import write
from fraud.store.import_publishing import publish_import
from fraud.store.import_staging import ImportView, begin_import, get_import, stage_file

GUARD = PanGuard(["411111"], [16])
TOKENIZER = CardTokenizer({1: bytes(range(16))}, 1)


def file_of(text: str, tokenizer: CardTokenizer | None = TOKENIZER) -> AlertFile:
    return AlertFile(text.encode(), tokenizer=tokenizer, guard=GUARD)


def cards_text(*numbers: int, expiry: str = "") -> str:
    return "card_ref,expiry\n" + "".join(f"{card_ref(number)},{expiry}\n" for number in numbers)


def stage(
    engine: Engine, text: str, event_id: str = EVENT, now: int = NOW, provenance: str = "ALERT_FILE"
) -> ImportView:
    file = file_of(text)
    with write(engine) as connection:
        staged = begin_import(
            connection,
            event_id,
            provenance=provenance,
            name="cards.csv",
            sha256=file.sha256,
            created_by="ken",
            now=now,
        )
    if not staged.no_op:
        stage_file(engine, staged, file, lambda: now, lambda _read, _lines: None)
    with write(engine) as connection:
        return get_import(connection, staged.import_id)


def publish(engine: Engine, staged: ImportView, now: int = NOW) -> ImportView:
    with write(engine) as connection:
        return publish_import(connection, staged.import_id, "ken", now)


def bring(engine: Engine, text: str, event_id: str = EVENT, now: int = NOW) -> ImportView:
    return publish(engine, stage(engine, text, event_id, now), now)


def tell(engine: Engine, *changes: CardReferenceChange, now: int = NOW) -> ReferenceReport:
    with write(engine) as connection:
        return apply_reference_changes(connection, changes, now)


def reissue(old: int, new: int, at: int = NOW) -> CardReferenceChange:
    return CardReferenceChange(card_ref(old), at, replaced_by=card_ref(new))


def found(view: ImportView) -> dict[str, int]:
    """The findings that are there."""
    return {name: rows for name, rows in view.findings.items() if rows}


def refs(numbers: Iterable[int]) -> list[str]:
    return [card_ref(number) for number in numbers]
