from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from fraud.store.database import read
from fraud.store.exposure import exposure_changes

URL = "/api/v1/compromise-events"
EVENT = {
    "compromise_event_id": "shop-2022",
    "name": "Web shop, tampered script",
    "source": "MERCHANT_NOTICE",
    "starts_on": "2022-07-19",
    "ends_on": "2022-07-26",
    "zone": "Asia/Tokyo",
    "data_elements": ["pan", "expiry", "cvv2"],
    "entities": [{"name": "Web shop", "role": "MERCHANT", "acquirer_id": "A1", "merchant_id": "M1"}],
    "suspected_at": 1_658_966_400_000,
}
CSV = {"Content-Type": "text/csv"}
PAN = "4111111111111111"


@pytest.fixture
def event(event_manager: Any) -> dict[str, Any]:
    created: dict[str, Any] = event_manager.post(URL, json=EVENT).json()
    return created


def cards_file(card_ref: Callable[[int], str], *numbers: int) -> str:
    return "".join(["card_ref,expiry\n", *(f"{card_ref(n)},2025-03\n" for n in numbers)])


class TestEvents:
    def test_from_suspicion_to_a_record(self, event_manager: Any) -> None:
        answer = event_manager.post(URL, json=EVENT)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["status"], body["tier"], body["version"]) == ("SUSPECTED", 3, 1)
        assert body["window_start_at"] == 1_658_156_400_000  # midnight of 2022-07-19 in Tokyo
        assert body["window_end_at"] - body["window_start_at"] == 8 * 86_400_000
        assert body["entities"] == EVENT["entities"]
        shown = event_manager.get(answer.headers["Location"])
        assert shown.status_code == 200
        assert shown.json()["compromise_event"] == body
        assert set(shown.json()["counts"].values()) == {0}
        assert [item["compromise_event_id"] for item in event_manager.get(URL).json()] == ["shop-2022"]

    def test_an_id_is_made_where_none_is_given(self, event_manager: Any) -> None:
        without = {name: value for name, value in EVENT.items() if name != "compromise_event_id"}
        ids = {event_manager.post(URL, json=without).json()["compromise_event_id"] for _ in range(2)}
        assert len(ids) == 2

    def test_the_same_id_again_is_a_conflict(self, event_manager: Any, event: dict[str, Any]) -> None:
        assert event["version"] == 1
        assert event_manager.post(URL, json=EVENT).status_code == 409

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"ends_on": "2022-07-18"}, "ends_on"),
            ({"zone": "Mars/Olympus"}, "zone"),
            ({"zone": "../../etc/passwd"}, "body.zone"),
            ({"starts_on": "yesterday"}, "body.starts_on"),
            ({"starts_on": 0}, "body.starts_on"),
            ({"starts_on": "2022-07-19T00:00"}, "body.starts_on"),
            ({"starts_on": "2022-07-32"}, "body.starts_on"),
            ({"suspected_at": "1658966400000"}, "body.suspected_at"),
            ({"data_elements": ["cvv"]}, "body.data_elements.0"),
            ({"data_elements": []}, "body.data_elements"),
            ({"source": "NEWSPAPER"}, "body.source"),
            ({"status": "CONFIRMED"}, "body.status"),
            ({"name": " "}, "body.name"),
            ({"name": "a\nb"}, "body.name"),
            ({"compromise_event_id": "../x"}, "body.compromise_event_id"),
            ({"entities": [{"name": "x", "role": "SHOP"}]}, "body.entities.0.role"),
            ({"suspected_at": -1}, "body.suspected_at"),
            ({"suspected_at": 1_675_000_000_001}, "suspected_at"),  # a millisecond from now
            ({"precision": "HOUR"}, "body.precision"),
            ({"code_name": "Web shop"}, "code_name"),
            ({"name": "Hanamori", "compromise_event_id": "hanamori-2022"}, "compromise_event_id"),
            ({"alerts": [{"source": "JCB", "external_id": "", "received_at": 1}]}, "body.alerts.0.external_id"),
            ({"external_id": "CAMS-7"}, "body.external_id"),
        ],
    )
    def test_what_is_not_valid_names_the_field(self, event_manager: Any, change: dict[str, Any], field: str) -> None:
        answer = event_manager.post(URL, json={**EVENT, **change})
        assert answer.status_code == 422
        assert [item["field"] for item in answer.json()["errors"]] == [field]
        assert event_manager.get(URL).json() == []

    def test_facts_are_added(self, event_manager: Any, event: dict[str, Any]) -> None:
        url = f"{URL}/{event['compromise_event_id']}/facts"
        fact = {"kind": "REGULATOR_TOLD", "on": "2022-08-01", "note": "by the merchant"}
        answer = event_manager.post(url, json=fact)
        assert answer.status_code == 201
        assert [{name: item[name] for name in fact} for item in answer.json()["facts"]] == [fact]
        assert answer.json()["version"] == 2
        assert event_manager.post(f"{URL}/none/facts", json=fact).status_code == 404

    def test_the_status_moves_by_legal_steps_only(self, event_manager: Any, event: dict[str, Any]) -> None:
        url = f"{URL}/{event['compromise_event_id']}/status"
        assert event_manager.post(url, json={"status": "CONFIRMED"}).status_code == 428
        assert event_manager.post(url, json={"status": "CLOSED", "version": 1}).status_code == 409
        answer = event_manager.post(url, json={"status": "CONFIRMED"}, headers={"If-Match": '"1"'})
        assert (answer.status_code, answer.json()["status"]) == (200, "CONFIRMED")
        assert event_manager.post(url, json={"status": "CLOSED", "version": 1}).status_code == 409
        assert event_manager.post(url, json={"status": "CLOSED", "version": 2}).status_code == 200
        reopened = event_manager.post(url, json={"status": "CONFIRMED", "version": 3})
        assert (reopened.status_code, reopened.json()["errors"][0]["field"]) == (422, "reason")
        body = {"status": "CONFIRMED", "version": 3, "reason": "more cards"}
        assert event_manager.post(url, json=body).json()["status"] == "CONFIRMED"
        assert event_manager.get(url.replace("status", "versions")).json()[-1]["reason"] == "more cards"


class TestImport:
    @pytest.fixture
    def url(self, event: dict[str, Any]) -> str:
        return f"{URL}/{event['compromise_event_id']}/exposed-cards"

    def test_cards_are_watched_and_listed(
        self, event_manager: Any, url: str, engine: Engine, card_ref: Callable[[int], str]
    ) -> None:
        answer = event_manager.post(url, content=cards_file(card_ref, 3, 1, 2, 1), headers=CSV)
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert {name: report[name] for name in ("rows", "accepted", "duplicate", "malformed", "no_op")} == {
            "rows": 4,
            "accepted": 3,
            "duplicate": 1,
            "malformed": 0,
            "no_op": False,
        }
        with read(engine) as connection:
            assert {change.card_ref for change in exposure_changes(connection, 0)} == {card_ref(n) for n in (1, 2, 3)}
        first = event_manager.get(url, params={"limit": 2}).json()
        second = event_manager.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()
        cards = [*first["items"], *second["items"]]
        assert [card["card_ref"] for card in cards] == [card_ref(n) for n in (1, 2, 3)]
        assert {(card["status"], card["tier"], card["expiry"]) for card in cards} == {("ACTIVE", 3, "2025-03")}
        assert event_manager.get(url.removesuffix("/exposed-cards")).json()["counts"]["exposed_cards"] == 3

    def test_the_same_file_again_changes_nothing(
        self, event_manager: Any, url: str, engine: Engine, card_ref: Callable[[int], str]
    ) -> None:
        first = event_manager.post(url, content=cards_file(card_ref, 1, 2), headers=CSV).json()
        again = event_manager.post(url, content=cards_file(card_ref, 1, 2), headers=CSV).json()
        assert again == {**first, "no_op": True}
        more = event_manager.post(url, content=cards_file(card_ref, 2, 3), headers=CSV).json()
        assert (more["accepted"], more["already_exposed"]) == (1, 1)

    def test_rows_that_are_not_taken_are_named_by_line(
        self, event_manager: Any, url: str, card_ref: Callable[[int], str]
    ) -> None:
        content = f"card_ref\n{card_ref(1)}\nnonsense\n{PAN}\n"
        answer = event_manager.post(url, content=content, headers=CSV)
        assert [row["line"] for row in answer.json()["malformed_rows"]] == [3, 4]
        assert answer.json()["accepted"] == 1
        assert PAN not in answer.text

    @pytest.mark.parametrize("header", ["card_number", "PAN", "card_ref,card_number", "カード番号"])
    def test_a_column_of_card_numbers_belongs_to_the_command_line(
        self, event_manager: Any, url: str, header: str, engine: Engine
    ) -> None:
        answer = event_manager.post(url, content=f"{header}\n{PAN}\n".encode(), headers=CSV)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "file"
        assert "command line" in answer.text or "mimamori exposure import" in answer.text
        assert PAN not in answer.text
        with read(engine) as connection:
            assert exposure_changes(connection, 0) == []

    @pytest.mark.parametrize("header", ["card_ref,cvv2", "card_ref,security code", "card_ref,track2"])
    def test_a_column_of_security_codes_is_refused(
        self, event_manager: Any, url: str, header: str, card_ref: Callable[[int], str]
    ) -> None:
        answer = event_manager.post(url, content=f"{header}\n{card_ref(1)},917\n", headers=CSV)
        assert answer.status_code == 422
        assert "917" not in answer.text

    def test_only_csv_is_taken(self, event_manager: Any, url: str, card_ref: Callable[[int], str]) -> None:
        content = cards_file(card_ref, 1)
        for headers in (
            {"Content-Type": "application/json"},
            {"Content-Type": "multipart/form-data; boundary=x"},
            {"Content-Type": "text/csv", "Content-Encoding": "gzip"},
            {},
        ):
            answer = event_manager.post(url, content=content.encode(), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        answer = event_manager.post(url, content=content, headers={"Content-Type": "Text/CSV; charset=utf-8"})
        assert answer.status_code == 200

    def test_an_empty_file_is_refused(self, event_manager: Any, url: str) -> None:
        assert event_manager.post(url, content=b"", headers=CSV).status_code == 422

    def test_a_file_larger_than_an_ordinary_request_is_taken(
        self, event_manager: Any, url: str, card_ref: Callable[[int], str]
    ) -> None:
        content = cards_file(card_ref, *range(1, 16_001))
        assert len(content) > 1 << 20
        parts = (content[start : start + 65_536].encode() for start in range(0, len(content), 65_536))
        answer = event_manager.post(url, content=parts, headers=CSV)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 16_000)

    def test_a_file_beyond_the_limit_is_not(self, event_manager: Any, url: str) -> None:
        answer = event_manager.post(url, content=b"x", headers={**CSV, "Content-Length": str(65 << 20)})
        assert answer.status_code == 413

    def test_a_file_for_no_event(self, event_manager: Any, card_ref: Callable[[int], str]) -> None:
        answer = event_manager.post(f"{URL}/none/exposed-cards", content=cards_file(card_ref, 1), headers=CSV)
        assert answer.status_code == 404
        assert event_manager.get(f"{URL}/none/exposed-cards").status_code == 404

    def test_a_refuted_event_takes_no_cards(self, event_manager: Any, url: str, card_ref: Callable[[int], str]) -> None:
        status = url.replace("exposed-cards", "status")
        event_manager.post(status, json={"status": "REFUTED", "version": 1})
        assert event_manager.post(url, content=cards_file(card_ref, 1), headers=CSV).status_code == 409

    @pytest.mark.parametrize("file_name", ["../../etc/passwd", "a\\b.csv", "", "x" * 201, "a\x00b"])
    def test_a_file_name_that_is_a_path_is_refused(self, event_manager: Any, url: str, file_name: str) -> None:
        answer = event_manager.post(url, params={"file_name": file_name}, content=b"card_ref\n", headers=CSV)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "query.file_name"


class TestMatches:
    @pytest.fixture(autouse=True)
    def matches(self, event: dict[str, Any], seed: Callable[..., None], match: Callable[..., Any]) -> None:
        event_id = event["compromise_event_id"]
        seed(*(match(n, event_id) for n in range(1, 6)), match(9, event_id, card_ref=match(1, event_id).card_ref))

    def listed(self, client: Any, **query: Any) -> list[str]:
        answer = client.get("/api/v1/exposure-matches", params=query)
        assert answer.status_code == 200, answer.text
        return [item["event_id"] for item in answer.json()["items"]]

    def test_by_card_and_by_event(self, event_manager: Any, card_ref: Callable[[int], str]) -> None:
        assert self.listed(event_manager, card_ref=card_ref(1)) == ["event-9", "event-1"]
        assert self.listed(event_manager, compromise_event_id="shop-2022")[0] == "event-9"
        assert len(self.listed(event_manager, compromise_event_id="shop-2022", limit=200)) == 6
        assert self.listed(event_manager, compromise_event_id="other", card_ref=card_ref(1)) == []

    def test_pages_hold_every_match_once(self, event_manager: Any) -> None:
        query: dict[str, Any] = {"compromise_event_id": "shop-2022", "limit": 4}
        first = event_manager.get("/api/v1/exposure-matches", params=query).json()
        query["cursor"] = first["next_cursor"]
        second = event_manager.get("/api/v1/exposure-matches", params=query).json()
        assert second["next_cursor"] is None
        seen = [item["event_id"] for item in [*first["items"], *second["items"]]]
        assert seen == [f"event-{n}" for n in (9, 5, 4, 3, 2, 1)]

    def test_not_everything_at_once(self, event_manager: Any) -> None:
        answer = event_manager.get("/api/v1/exposure-matches")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.card_ref")


def test_one_detection(
    reviewer: Any, seed: Callable[..., None], detection: Callable[..., Any], card_ref: Callable[[int], str]
) -> None:
    seed(detection(1))
    detection_id = detection(1).detection_id
    answer = reviewer.get(f"/api/v1/detections/{detection_id}")
    assert answer.status_code == 200
    assert (answer.json()["detection_id"], answer.json()["card_ref"]) == (detection_id, card_ref(1))
    assert reviewer.get(f"/api/v1/detections/{'f' * 64}").status_code == 404
    assert reviewer.get(f"/api/v1/detections/{'f' * 65}").status_code == 422
