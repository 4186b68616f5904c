"""Deliveries by destination."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select

from fraud.store.database import read, write
from fraud.store.outbox import (
    DeliveryStatus,
    abandon_deliveries,
    delivery_counts,
    due_messages,
    postpone_delivery,
    route_messages,
    settle_delivery,
)
from fraud.store.tables import outbox

NOW = 1_675_000_000_000


def add(engine: Engine, count: int) -> None:
    rows = [
        {"message_id": f"m-{number}", "topic": "card.detections", "key": "v1:x", "payload": {"n": number}}
        for number in range(count)
    ]
    with write(engine) as connection:
        connection.execute(insert(outbox), [{**row, "created_at": NOW} for row in rows])


def due(engine: Engine, destination: str, now: int = NOW) -> list[str]:
    with read(engine) as connection:
        return [message.message_id for message in due_messages(connection, destination, now, 100)]


def delivered(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.execute(select(outbox.c.message_id).where(outbox.c.delivered_at.is_not(None))).scalars())


def test_each_message_is_owed_to_each_destination_once(engine: Engine) -> None:
    add(engine, 3)
    with write(engine) as connection:
        assert route_messages(connection, ["kafka", "core"], NOW, 2) == 2
        assert route_messages(connection, ["kafka", "core"], NOW, 2) == 1
        assert route_messages(connection, ["kafka", "core"], NOW, 2) == 0
    assert due(engine, "kafka") == due(engine, "core") == ["m-0", "m-1", "m-2"]


def test_a_message_is_delivered_when_its_last_destination_has_it(engine: Engine) -> None:
    add(engine, 1)
    with write(engine) as connection:
        route_messages(connection, ["kafka", "core"], NOW, 10)
        settle_delivery(connection, "kafka", 1, NOW)
    assert (due(engine, "kafka"), due(engine, "core"), delivered(engine)) == ([], ["m-0"], [])
    with write(engine) as connection:
        settle_delivery(connection, "core", 1, NOW)
    assert (due(engine, "core"), delivered(engine)) == ([], ["m-0"])


def test_a_postponed_message_lets_the_others_pass(engine: Engine) -> None:
    add(engine, 2)
    with write(engine) as connection:
        route_messages(connection, ["core"], NOW, 10)
        postpone_delivery(connection, "core", 1, NOW + 1_000, "HTTP_422")
    assert due(engine, "core") == ["m-1"]
    assert due(engine, "core", NOW + 1_000) == ["m-1", "m-0"]
    with read(engine) as connection:
        assert [message.attempts for message in due_messages(connection, "core", NOW + 1_000, 10)] == [0, 1]


def test_what_is_owed_to_a_destination_that_is_gone_is_given_up(engine: Engine) -> None:
    add(engine, 2)
    with write(engine) as connection:
        route_messages(connection, ["kafka", "old"], NOW, 10)
        settle_delivery(connection, "kafka", 1, NOW)
        settle_delivery(connection, "old", 2, NOW, DeliveryStatus.UNDELIVERABLE, "TOO_LARGE")
        assert abandon_deliveries(connection, ["kafka"], NOW) == 1
        assert abandon_deliveries(connection, ["kafka"], NOW) == 0
    assert delivered(engine) == ["m-0"]
    with read(engine) as connection:
        counts = {(item.destination, item.status): item.deliveries for item in delivery_counts(connection)}
    assert counts == {
        ("kafka", "DELIVERED"): 1,
        ("kafka", "WAITING"): 1,
        ("old", "ABANDONED"): 1,
        ("old", "UNDELIVERABLE"): 1,
    }
