from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from fraud.api.app import create_app
from fraud.pan_guard import PanGuard
from fraud.settings import Settings
from fraud.store.database import downgrade, open_engine, write


@pytest.fixture
def operator(sign_in: Callable[..., Any]) -> Any:
    return sign_in("operator")


def test_positions_and_summary_add_up(
    operator: Any,
    seed: Callable[..., None],
    detection: Callable[..., Any],
    dead_letter: Callable[[int], Any],
    clock: Any,
) -> None:
    seed(detection(1), dead_letter(1), detection(2))
    seed(dead_letter(2))
    (position,) = operator.get("/api/v1/positions").json()
    assert (position["topic"], position["partition"], position["next_offset"]) == ("card.transactions", 0, 4)
    assert (position["processed"], position["dead_lettered"], position["detected"]) == (2, 2, 2)
    assert position["reached_at"] == clock.at
    report = operator.get("/api/v1/report/summary").json()
    numbers = report["numbers"]
    assert report["as_of_at"] == clock.at
    assert (numbers["processed"], numbers["dead_letters"], numbers["detections"]) == (2, 2, 2)
    assert numbers["dead_letters_by_class"] == {"MISSING_FIELD": 2}


def test_dead_letters_come_in_pages_and_without_payload(
    operator: Any, seed: Callable[..., None], dead_letter: Callable[[int], Any]
) -> None:
    seed(*(dead_letter(n) for n in range(5)))
    first = operator.get("/api/v1/dead-letters", params={"limit": 3}).json()
    assert first["total"] == 5
    second = operator.get("/api/v1/dead-letters", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    letters = [*first["items"], *second["items"]]
    assert sorted(item["offset"] for item in letters) == [0, 1, 2, 3, 4]
    assert {(item["error_class"], item["field_path"], item["kind"]) for item in letters} == {
        ("MISSING_FIELD", "card_ref", "DEAD_LETTER")
    }
    assert not {name for item in letters for name in item} & {"payload", "value", "key"}


class TestHealth:
    def test_all_is_well(self, client: Any) -> None:
        assert client.get("/healthz/live").json()["status"] == "ok"
        answer = client.get("/healthz/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": ["database"]})

    def test_an_old_schema_is_not_ready_but_alive(self, client: Any, engine: Engine) -> None:
        downgrade(engine, "base")
        answer = client.get("/healthz/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
        assert [item["field"] for item in answer.json()["errors"]] == ["database"]
        assert client.get("/healthz/live").status_code == 200

    def test_a_database_that_is_none_is_not_ready(
        self, settings: Settings, clock: Any, client: Any, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken.db"
        broken.write_bytes(b"this is no database" * 1_000)
        engine = open_engine(f"sqlite:///{broken}")
        app = create_app(settings, engine, clock, PanGuard.from_settings(settings.portfolio))
        with type(client)(app) as other:
            assert other.get("/healthz/ready").status_code == 503
            assert other.get("/healthz/live").status_code == 200
        engine.dispose()

    def test_registered_checks_are_asked_and_their_words_stay_inside(
        self, settings: Settings, engine: Engine, clock: Any, client: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state: dict[str, str | None] = {"model": "golden vectors differ in /var/models/7", "broker": None}
        checks = {name: lambda name=name: state[name] for name in state}
        app = create_app(
            settings,
            engine,
            clock,
            PanGuard.from_settings(settings.portfolio),
            ready_checks=checks,  # type: ignore[arg-type]
        )
        with type(client)(app) as other:
            answer = other.get("/healthz/ready")
            assert answer.status_code == 503
            assert [item["field"] for item in answer.json()["errors"]] == ["model"]
            assert "golden" not in answer.text
            assert "golden vectors" in capsys.readouterr().out
            state["model"] = None
            assert other.get("/healthz/ready").json()["checks"] == ["database", "model", "broker"]


def test_a_database_without_tables_is_unavailable_and_not_a_bug(app: FastAPI, reviewer: Any, engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(text("DROP TABLE quiet_pattern"))
        connection.execute(text("ALTER TABLE review_case RENAME TO gone"))
    answer = reviewer.get("/api/v1/cases")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert "review_case" not in answer.text
    assert app.state.services.engine is engine
