"""What an event manager does to a compromise event through the API, and what everybody else sees of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from fraud.store.audit import list_audit
from fraud.store.database import read
from fraud.store.exposure import exposure_version

URL = "/api/v1/compromise-events"
EVENT = {
    "compromise_event_id": "CE-2022-07",
    "name": "Hanamori Cosme",
    "code_name": "Amber Heron",
    "source": "MERCHANT_NOTICE",
    "starts_on": "2022-07-19",
    "ends_on": "2022-07-26",
    "data_elements": ["pan", "expiry", "cvv2"],
    "entities": [
        {"name": "Hanamori KK", "role": "MERCHANT", "acquirer_id": "0123", "merchant_id": "M-7001"},
        {"name": "Kazami Scripts", "role": "SUPPLIER"},
    ],
    "vector": "script of Kazami",
    "suspected_at": 1_658_966_400_000,
}
CSV = {"Content-Type": "text/csv"}
SECRETS = ("Hanamori", "Kazami", "M-7001")


@pytest.fixture
def url(event_manager: Any) -> str:
    answer = event_manager.post(URL, json=EVENT)
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["Location"]
    return location


def errors(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [item["field"] for item in answer.json()["errors"]]


class TestAmendments:
    def test_preview_then_amendment_then_both_versions(
        self, event_manager: Any, url: str, engine: Engine, card_ref: Callable[[int], str]
    ) -> None:
        content = "".join(["card_ref\n", *(f"{card_ref(n)}\n" for n in (1, 2))])
        assert event_manager.post(f"{url}/exposed-cards", content=content, headers=CSV).status_code == 200
        amendment = {"starts_on": "2022-07-17", "data_elements": ["pan", "expiry"], "reason": "forensic report"}
        effect = event_manager.post(f"{url}/amendments/preview", json=amendment)
        assert effect.status_code == 200, effect.text
        assert effect.json() == {
            "changed": ["window", "elements"],
            "days_added": [{"first": "2022-07-17", "last": "2022-07-18"}],
            "days_removed": [],
            "elements_added": [],
            "elements_removed": ["cvv2"],
            "tier_before": 3,
            "tier_after": 2,
            "cards_watched": 2,
            "looks_back": True,
        }
        assert event_manager.get(url).json()["compromise_event"]["version"] == 1
        answer = event_manager.post(f"{url}/amendments", json={**amendment, "version": 1})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["starts_on"], answer.json()["tier"], answer.headers["ETag"]) == ("2022-07-17", 2, '"2"')
        found = event_manager.get(f"{url}/versions").json()
        assert [(item["version"], item["starts_on"], item["tier"], item["reason"]) for item in found] == [
            (1, "2022-07-19", 3, None),
            (2, "2022-07-17", 2, "forensic report"),
        ]
        assert {card["tier"] for card in event_manager.get(f"{url}/exposed-cards").json()["items"]} == {2}
        with read(engine) as connection:
            assert exposure_version(connection) == found[1]["exposure_version"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"ends_on": "2022-07-18"}, "ends_on"),
            ({"zone": "Mars/Olympus"}, "zone"),
            ({"data_elements": ["cvv"]}, "body.data_elements.0"),
            ({"code_name": "Hanamori!"}, "code_name"),
            ({"starts_on": "2022-07-19"}, "amendment"),
            ({"reason": " "}, "body.reason"),
            ({"status": "CONFIRMED"}, "body.status"),
            ({"entities": [{"name": "x", "role": "SHOP"}]}, "body.entities.0.role"),
        ],
    )
    def test_what_is_not_valid_names_the_field(self, event_manager: Any, url: str, change: Any, field: str) -> None:
        for path in ("amendments/preview", "amendments"):
            body = {"reason": "forensic report", "version": 1, **change}
            assert errors(event_manager.post(f"{url}/{path}", json=body)) == [field]
        assert len(event_manager.get(f"{url}/versions").json()) == 1

    def test_no_amendment_without_the_version_that_it_is_meant_for(self, event_manager: Any, url: str) -> None:
        body = {"ends_on": "2022-07-27", "reason": "one more day"}
        assert event_manager.post(f"{url}/amendments", json=body).status_code == 428
        assert event_manager.post(f"{url}/amendments", json={**body, "version": 2}).status_code == 409
        assert event_manager.post(f"{url}/amendments", json=body, headers={"If-Match": '"1"'}).status_code == 200

    def test_no_card_number_gets_in_by_a_reason(self, event_manager: Any, url: str) -> None:
        body = {"ends_on": "2022-07-27", "reason": "card 4111 1111 1111 1111", "version": 1}
        answer = event_manager.post(f"{url}/amendments", json=body)
        assert errors(answer) == ["body.reason"]
        assert "4111" not in answer.text


class TestDisclosure:
    def pages(self, client: Any, url: str) -> str:
        return "".join(client.get(path).text for path in (URL, url, f"{url}/versions"))

    def test_until_publication_others_see_a_code_name(
        self, event_manager: Any, sign_in: Callable[..., Any], url: str
    ) -> None:
        others = [sign_in(role) for role in ("reviewer", "data_scientist", "auditor", "administrator")]
        fact = {"kind": "FORENSIC_REPORT", "on": "2022-10-17", "author": "Kazami's own", "note": "Hanamori's cart"}
        event_manager.post(f"{url}/facts", json=fact)
        alert = {"source": "ACQUIRER", "external_id": "A-1", "received_at": 1_659_000_000_000, "note": "at Hanamori"}
        event_manager.post(f"{url}/alerts", json=alert)
        amendment = {"name": "Hanamori Cosme Online", "reason": "Hanamori says so", "version": 3}
        assert event_manager.post(f"{url}/amendments", json=amendment).status_code == 200
        assert all(secret in self.pages(event_manager, url) for secret in SECRETS)
        for client in others:
            shown = self.pages(client, url)
            assert not any(secret in shown for secret in SECRETS)
            event = client.get(url).json()["compromise_event"]
            assert (event["name"], event["vector"], event["entities"]) == ("Amber Heron", None, [])
            assert [(item["kind"], item["note"]) for item in event["facts"]] == [("FORENSIC_REPORT", None)]
            assert [item["external_id"] for item in event["alerts"]] == ["A-1"]
        step = {"disclosure": "PUBLISHED", "version": 4}
        assert event_manager.post(f"{url}/disclosure", json=step).status_code == 409  # nobody has published
        event_manager.post(f"{url}/facts", json={"kind": "PUBLISHED", "on": "2023-01-10"})
        assert event_manager.post(f"{url}/disclosure", json={**step, "version": 5}).status_code == 200
        for client in others:
            assert self.pages(client, url) == self.pages(event_manager, url)

    def test_what_could_be_said_is_kept_back_with_a_reason_only(self, event_manager: Any, url: str) -> None:
        assert event_manager.post(f"{url}/disclosure", json={"disclosure": "MAY_TELL_HOLDER"}).status_code == 428
        step = {"disclosure": "MAY_TELL_HOLDER", "version": 1}
        assert event_manager.post(f"{url}/disclosure", json=step).json()["disclosure"] == "MAY_TELL_HOLDER"
        assert event_manager.post(f"{url}/disclosure", json={**step, "version": 2}).status_code == 409
        back = {"disclosure": "RESTRICTED", "version": 2}
        assert errors(event_manager.post(f"{url}/disclosure", json=back)) == ["reason"]
        assert errors(event_manager.post(f"{url}/disclosure", json={**back, "disclosure": "SECRET"})) == [
            "body.disclosure"
        ]
        assert event_manager.post(f"{url}/disclosure", json={**back, "reason": "the police asks"}).status_code == 200


class TestFactsAndAlerts:
    @pytest.mark.parametrize(
        ("fact", "field"),
        [
            ({"kind": "RUMOUR", "on": "2022-08-01"}, "body.kind"),
            ({"kind": "FORENSIC_REPORT", "on": "2022-08-01"}, "author"),
            ({"kind": "OTHER", "on": "2022-08-01"}, "note"),
            ({"kind": "PUBLISHED", "on": "2023-01-30"}, "on"),  # tomorrow
            ({"kind": "PUBLISHED", "on": "2023-02-30"}, "body.on"),
        ],
    )
    def test_what_is_no_fact_names_the_field(self, event_manager: Any, url: str, fact: Any, field: str) -> None:
        assert errors(event_manager.post(f"{url}/facts", json=fact)) == [field]
        assert event_manager.get(url).json()["compromise_event"]["facts"] == []

    def test_a_mistake_is_withdrawn_once_and_stays(self, event_manager: Any, url: str) -> None:
        fact = event_manager.post(f"{url}/facts", json={"kind": "POLICE_TOLD", "on": "2022-12-09"}).json()["facts"][0]
        withdraw = f"{url}/facts/{fact['fact_id']}/withdraw"
        assert errors(event_manager.post(withdraw, json={})) == ["body.reason"]
        shown = event_manager.post(withdraw, json={"reason": "another shop"}).json()["facts"][0]
        assert (shown["withdrawn_by"], shown["withdrawn_reason"]) == ("ken", "another shop")
        assert event_manager.post(withdraw, json={"reason": "again"}).status_code == 409
        assert event_manager.post(f"{url}/facts/999/withdraw", json={"reason": "none"}).status_code == 404

    def test_a_scheme_alert_comes_once_and_alerts(self, event_manager: Any, url: str) -> None:
        alert = {"source": "VISA_CAMS", "external_id": "IC-4711", "received_at": 1_659_571_200_000}
        answer = event_manager.post(f"{url}/alerts", json=alert)
        assert (answer.status_code, answer.json()["status"]) == (201, "ALERTED")
        assert event_manager.post(f"{url}/alerts", json=alert).status_code == 409
        future = {**alert, "external_id": "x", "received_at": 1_675_000_000_001}
        assert errors(event_manager.post(f"{url}/alerts", json=future)) == ["received_at"]


class TestStatus:
    def test_a_preview_says_how_many_cards_are_let_go(
        self, event_manager: Any, url: str, card_ref: Callable[[int], str]
    ) -> None:
        other = {**EVENT, "compromise_event_id": "CE-2", "code_name": "Oak Owl"}
        event_manager.post(URL, json=other)
        for path, numbers in ((url, (1, 2, 3)), (f"{URL}/CE-2", (3, 4))):
            content = "".join(["card_ref\n", *(f"{card_ref(n)}\n" for n in numbers)])
            assert event_manager.post(f"{path}/exposed-cards", content=content, headers=CSV).status_code == 200
        preview = event_manager.post(f"{url}/status/preview", json={"status": "REFUTED"})
        assert preview.json() == {"status": "REFUTED", "released": 3, "kept_elsewhere": 1}
        assert event_manager.post(f"{url}/status/preview", json={"status": "CLOSED"}).status_code == 409
        assert event_manager.get(url).json()["counts"]["exposed_cards"] == 3
        event_manager.post(f"{url}/status", json={"status": "REFUTED", "version": 1})
        assert event_manager.get(url).json()["counts"]["exposed_cards"] == 0
        assert event_manager.get(f"{URL}/CE-2").json()["counts"]["exposed_cards"] == 2
        assert event_manager.get(url).json()["related"] == ["CE-2"]
        assert event_manager.get(url).json()["next_statuses"] == []

    def test_unknown_states_name_the_field(self, event_manager: Any, url: str) -> None:
        assert errors(event_manager.post(f"{url}/status", json={"status": "PAUSED", "version": 1})) == ["body.status"]


def test_every_change_is_audited_under_the_callers_name(event_manager: Any, url: str, engine: Engine) -> None:
    event_manager.post(f"{url}/facts", json={"kind": "POLICE_TOLD", "on": "2022-12-09"})
    event_manager.post(f"{url}/status", json={"status": "CONFIRMED", "version": 2})
    with read(engine) as connection:
        entries = list_audit(connection, subject="compromise_event/CE-2022-07")
    assert [(entry.action, entry.actor) for entry in entries] == [
        ("exposure.status", "ken"),
        ("exposure.fact", "ken"),
        ("exposure.record", "ken"),
    ]
