"""`archive import` and `state` as an operator types them, on a real broker and both databases."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_support import as_json, run

from fraud.cli.wiring import make_worker, open_store
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.settings import Settings, load_settings
from fraud.store.database import read
from fraud.store.effects import list_positions
from streams.kafka import create_topics, make_producer

PAN = "4532015112830366"
START = 1_714_521_600_000  # 2024-05-01 00:00 UTC
DAY = 86_400_000
CARDS = 6
DAYS = 40

MAPPING = """
[files]
paths = ["export-*.csv"]
delimiter = ";"

[fields]
event_id = "ID"
event_type = { constant = "authorization" }
occurred_at = { column = "AT", format = "%Y-%m-%d %H:%M:%S", zone = "Asia/Tokyo" }
card_ref = { column = "CARD", prefix = "x:" }
amount_minor = { column = "AMOUNT", decimal = true }
currency = "CURRENCY"
merchant_id = "MERCHANT"
merchant_country = { constant = "JP" }
channel = { column = "CHANNEL", values = { E = "ecommerce", P = "card_present" } }
"""


def write_export(folder: Path) -> Path:
    lines = ["ID;AT;CARD;AMOUNT;CURRENCY;MERCHANT;CHANNEL;PAN"]
    for day in range(DAYS):
        for card in range(CARDS):
            at = f"2024-{5 + day // 30:02d}-{day % 30 + 1:02d} {10 + card}:15:00"
            lines.append(f"h{day}-{card};{at};card-{card};{1200 + card}.00;JPY;M{day % 3};{'EP'[card % 2]};{PAN}")
    lines.append("broken;;card-1;1;JPY;M;E;")
    (folder / "export-1.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "mapping.toml"
    path.write_text(MAPPING, encoding="utf-8")
    return path


@pytest.fixture
def deployed(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    kafka = stack.kafka
    variables = {
        "DATA_DIR": str(tmp_path / "data"),
        "DATABASE_URL": stack.database_url,
        "CLOCK": "stream",
        "PORTFOLIO__BIN_RANGES": '["453201"]',
        "CARDS__KEYS": json.dumps({"1": "5f" * 32}),
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__GROUP_ID": kafka.group_id,
        "KAFKA__TRANSACTIONS_TOPIC": kafka.transactions_topic,
        "KAFKA__DETECTIONS_TOPIC": kafka.detections_topic,
        "KAFKA__SESSION_TIMEOUT_MS": "6000",
        "KAFKA__PARTITIONS": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"MIMAMORI_{name}", value)
    settings = load_settings()
    create_topics(settings.kafka)
    return settings


def publish_and_work(settings: Settings, count: int) -> None:
    producer = make_producer(settings.kafka)
    for number in range(count):
        card = f"x:card-{number % CARDS}"
        value = {
            "event_id": f"s{number}",
            "event_type": "authorization",
            "occurred_at": START + (DAYS + 1) * DAY + number,
            "card_ref": card,
        }
        topic = settings.kafka.transactions_topic
        producer.send(topic, key=card.encode(), value=json.dumps(value).encode()).get(timeout=30)
    producer.close()
    engine = open_store(settings)
    worker = make_worker(settings, engine)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while processed(engine) < count:
            assert time.monotonic() < deadline
            assert thread.is_alive()
            time.sleep(0.05)
    finally:
        worker.stop()
        thread.join()
        engine.dispose()


def processed(engine: Any) -> int:
    with read(engine) as connection:
        return sum(item.processed for item in list_positions(connection))


def test_history_comes_in_and_the_stream_goes_on_from_it(deployed: Settings, tmp_path: Path) -> None:
    mapping = write_export(tmp_path)
    found = as_json("archive", "import", "--mapping", mapping, "--check")
    assert (found["rows"], found["accepted"], found["rejected"]) == (
        DAYS * CARDS + 1,
        DAYS * CARDS,
        {"MISSING_FIELD": 1},
    )
    assert found["not_evaluable"]["features"]["mcc_group_new"] == "needs mcc"
    assert found["filled"]["amount"] == DAYS * CARDS
    assert not (tmp_path / "data" / "archive").exists()

    report = as_json("archive", "import", "--mapping", mapping)
    assert (report["rows"], report["profiles"], report["already_done"]) == (DAYS * CARDS, CARDS, False)
    assert as_json("archive", "import", "--mapping", mapping)["already_done"]

    shown = as_json("state", "show")
    assert sum(item["cards"] for item in shown["partitions"]) == CARDS
    assert shown["not_evaluable"] == {"features": {}, "rules": {}}  # by now, history is long enough

    publish_and_work(deployed, 30)
    card = as_json("state", "show", "--card-ref", "x:card-3")
    assert card["profile"]["events"] == DAYS + 5
    assert card["profile"]["usual_amount_minor"] == 1203
    assert card["profile"]["channel_shares"] == {"card_present": 1.0}
    verified = as_json("state", "rebuild", "--all", "--verify")
    assert [item["differing"] for item in verified] == [0, 0]
    rebuilt = as_json("state", "rebuild", 0, 1)
    assert [item["registered"] for item in rebuilt] == [True, True]
    assert sum(item["rows"] for item in rebuilt) == 30


def test_what_people_read_says_the_same_in_words(deployed: Settings, tmp_path: Path) -> None:
    mapping = write_export(tmp_path)
    empty = run("state", "show")
    assert "no history is known" in empty.output
    check = run("archive", "import", "--mapping", mapping, "--check")
    assert "1 rows left out: MISSING_FIELD" in check.output
    assert "needs mcc" in check.output
    imported = run("archive", "import", "--mapping", mapping)
    assert f"{DAYS * CARDS} transactions" in imported.output
    assert f"profiles of {CARDS} cards" in imported.output
    words = run("state", "show", "--card-ref", "x:card-0").output
    assert f"{DAYS} events from 2024-05-01 to 2024-06-10" in words
    assert "about ¥1,200" in words
    assert "ecommerce" in words
    assert "long enough" in run("state", "show").output
    assert all(PAN not in result.output for result in (check, imported))


def test_mistakes_are_named(deployed: Settings, tmp_path: Path) -> None:
    mapping = write_export(tmp_path)
    with pytest.raises(InvalidInputError, match="no card reference") as error:
        run("state", "show", "--card-ref", PAN)
    assert PAN not in str(error.value)
    with pytest.raises(NotFoundError):
        run("state", "show", "--card-ref", "x:nobody")
    with pytest.raises(InvalidInputError, match="or --all"):
        run("state", "rebuild")
    with pytest.raises(InvalidInputError, match="or --all"):
        run("state", "rebuild", 7)
    with pytest.raises(InvalidInputError, match="offset"):
        run("archive", "import", "--mapping", mapping, "--until", "2024-05-01T00:00:00")
    publish_and_work(deployed, 6)
    with pytest.raises(ConflictError, match="archive-only"):
        run("archive", "import", "--mapping", mapping)
    assert as_json("archive", "import", "--mapping", mapping, "--archive-only")["rows"] == DAYS * CARDS
    assert {item["differing"] for item in as_json("state", "rebuild", "--all", "--verify", code=1)} != {0}
    as_json("state", "rebuild", "--all")
    assert [item["differing"] for item in as_json("state", "rebuild", "--all", "--verify")] == [0, 0]
    assert as_json("state", "show", "--card-ref", "x:card-0")["profile"]["events"] == DAYS + 1


@pytest.mark.parametrize("command", [["archive", "import"], ["state", "show"], ["state", "rebuild"]])
def test_every_command_shows_an_example(command: list[str]) -> None:
    assert "Example: mimamori" in run(*command, "--help").output
