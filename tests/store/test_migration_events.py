"""The migration of compromise events carries what was recorded before, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text
from store_samples import NOW, card_ref

from fraud.compromise import CompromiseStatus
from fraud.store.compromise_changes import set_status
from fraud.store.compromise_records import compromise_versions, get_compromise_event
from fraud.store.database import downgrade, read, upgrade, write
from fraud.store.exposure import exposure_changes

EVENT: dict[str, Any] = {
    "compromise_event_id": "shop-2022",
    "name": "Web shop",
    "status": "CLOSED",
    "version": 7,
    "vector": "tampered script",
    "source": "VISA_CAMS",
    "external_id": "IC-4711",
    "starts_on": "2022-07-19",
    "ends_on": "2022-07-26",
    "zone": "Asia/Tokyo",
    "window_start_at": 1_658_156_400_000,
    "window_end_at": 1_658_847_600_000,
    "data_elements": json.dumps(["pan", "expiry", "cvv2"]),
    "tier": 3,
    "facts": json.dumps([{"kind": "REGULATOR_TOLD", "on": "2022-08-01", "note": "by the shop"}]),
    "suspected_at": NOW - 9,
    "created_at": NOW - 5,
    "updated_at": NOW,
}
CARD = {
    "compromise_event_id": "shop-2022",
    "card_ref": card_ref(1),
    "tier": 3,
    "status": "RELEASED",
    "provenance": "ALERT_FILE",
    "exposure_version": 4,
    "created_at": NOW,
}
ENTITY = {"compromise_event_id": "shop-2022", "name": "Scripts Ltd", "role": "SUPPLIER"}


@pytest.fixture(params=["sqlite_url", "postgresql_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database: these tests change its schema."""
    new: str = request.getfixturevalue(request.param)
    return new


def insert(engine: Engine, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with write(engine) as connection:
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608


def found(engine: Engine, table: str) -> list[dict[str, Any]]:
    with read(engine) as connection:
        return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]  # noqa: S608


def test_what_was_recorded_before_is_there_after(engine: Engine) -> None:
    downgrade(engine, "0003_reference_sets")
    insert(engine, "compromise_event", EVENT)
    insert(engine, "compromise_event", {**EVENT, "compromise_event_id": "other", "facts": "[]", "external_id": None})
    insert(engine, "compromised_entity", ENTITY)
    insert(engine, "exposed_card", CARD)
    insert(engine, "exposure_version", {"id": 1, "version": 4})
    upgrade(engine)
    with read(engine) as connection:
        event = get_compromise_event(connection, "shop-2022")
        other = get_compromise_event(connection, "other")
        versions = compromise_versions(connection, "shop-2022")
    assert (event.version, event.status, event.disclosure, event.precision) == (7, "CLOSED", "RESTRICTED", "DAY")
    assert event.code_name != other.code_name
    assert "shop" not in event.code_name.lower()
    assert [(fact.kind, fact.on, fact.note) for fact in event.facts] == [
        ("REGULATOR_TOLD", "2022-08-01", "by the shop")
    ]
    assert [(alert.source, alert.external_id) for alert in event.alerts] == [("VISA_CAMS", "IC-4711")]
    assert (other.facts, other.alerts) == ((), ())
    assert [(item.version, item.exposure_version, len(item.entities)) for item in versions] == [(7, 4, 1)]
    with write(engine) as connection:  # what closing had released is watched again
        set_status(connection, "shop-2022", CompromiseStatus.CONFIRMED, 7, NOW + 1, "an extension")
    with read(engine) as connection:
        assert [item.released for item in exposure_changes(connection, 4)] == [False]


def test_the_way_back_keeps_what_there_is_room_for(engine: Engine) -> None:
    downgrade(engine, "0003_reference_sets")
    insert(engine, "compromise_event", EVENT)
    insert(engine, "compromised_entity", ENTITY)
    before = found(engine, "compromise_event")
    upgrade(engine)
    downgrade(engine, "0003_reference_sets")

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
            for name, value in row.items()
        }

    assert [plain(row) for row in found(engine, "compromise_event")] == [plain(row) for row in before]
    assert [row["name"] for row in found(engine, "compromised_entity")] == ["Scripts Ltd"]
    upgrade(engine)
