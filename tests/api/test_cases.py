from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, select

from fraud.store.database import read
from fraud.store.tables import label

URL = "/api/v1/cases"


def listed(client: Any, **query: Any) -> list[int]:
    """Priorities of the cases that a query lists: the seeds give case n the priority 1000 n."""
    answer = client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    return [item["priority"] for item in answer.json()["items"]]


def first_case(client: Any) -> dict[str, Any]:
    items: list[dict[str, Any]] = client.get(URL).json()["items"]
    return items[0]


@pytest.fixture
def five_cases(seed: Callable[..., None], detection: Callable[..., Any]) -> None:
    seed(*(detection(n, tier=n - 1, kind="EXPOSED" if n > 1 else "ANOMALY") for n in (3, 1, 5, 2, 4)))


@pytest.mark.usefixtures("five_cases")
class TestList:
    def test_shows_most_expected_loss_first(self, reviewer: Any) -> None:
        assert listed(reviewer) == [5000, 4000, 3000, 2000, 1000]

    def test_can_be_turned_round(self, reviewer: Any) -> None:
        assert listed(reviewer, order="asc", sort="due_at") == [1000, 2000, 3000, 4000, 5000]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"kind": "ANOMALY"}, [1000]),
            ({"tier_at_least": 3}, [5000, 4000]),
            ({"status": "RESOLVED"}, []),
            ({"status": ["NEW", "CLAIMED"], "kind": "EXPOSED"}, [5000, 4000, 3000, 2000]),
            ({"claimed_by": "hana"}, []),
            ({"opened_to": 0}, []),
        ],
    )
    def test_filters(self, reviewer: Any, query: dict[str, Any], expected: list[int]) -> None:
        assert listed(reviewer, **query) == expected

    def test_filters_by_card(self, reviewer: Any, card_ref: Callable[[int], str]) -> None:
        assert listed(reviewer, card_ref=card_ref(2)) == [2000]

    def test_filters_by_opening_time(self, reviewer: Any) -> None:
        times = sorted(item["opened_at"] for item in reviewer.get(URL).json()["items"])
        assert len(listed(reviewer, opened_from=times[0], opened_to=times[-1] + 1)) == 5
        assert listed(reviewer, opened_from=times[-1] + 1) == []

    @pytest.mark.parametrize("sort", ["priority", "opened_at", "due_at"])
    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_pages_hold_every_case_once(self, reviewer: Any, sort: str, limit: int) -> None:
        whole = listed(reviewer, sort=sort)
        seen: list[int] = []
        query: dict[str, Any] = {"sort": sort, "limit": limit}
        while True:
            page = reviewer.get(URL, params=query).json()
            assert len(page["items"]) <= limit
            seen += [item["priority"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == whole

    @pytest.mark.parametrize("cursor", ["nonsense", "e30", "!!!!", "W10", "bnVsbA", "WzEsMl0"])
    def test_a_cursor_that_is_not_ours_is_refused(self, reviewer: Any, cursor: str) -> None:
        answer = reviewer.get(URL, params={"cursor": cursor})
        assert answer.status_code == 422
        assert "cursor" in answer.json()["errors"][0]["field"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"limit": 1_000_000_000}, "query.limit"),
            ({"limit": 0}, "query.limit"),
            ({"sort": "card_ref"}, "query.sort"),
            ({"status": "OPEN"}, "query.status.0"),
            ({"opened_from": 10**30}, "query.opened_from"),
            ({"tier_at_least": -1}, "query.tier_at_least"),
            ({"claimed_by": "ha\x00na"}, "query.claimed_by"),
            ({"card_ref": "\x00"}, "query.card_ref"),
        ],
    )
    def test_a_query_that_is_not_valid_names_the_field(self, reviewer: Any, query: dict[str, Any], field: str) -> None:
        answer = reviewer.get(URL, params=query)
        assert answer.status_code == 422
        assert [item["field"] for item in answer.json()["errors"]] == [field]


class TestOneCase:
    def test_shows_everything_about_it(
        self, reviewer: Any, seed: Callable[..., None], detection: Callable[..., Any], card_ref: Callable[[int], str]
    ) -> None:
        seed(detection(1), detection(2, card_ref=card_ref(1)), detection(9))
        case_id = next(c["case_id"] for c in reviewer.get(URL).json()["items"] if c["card_ref"] == card_ref(1))
        answer = reviewer.get(f"{URL}/{case_id}")
        assert answer.status_code == 200
        body = answer.json()
        assert answer.headers["ETag"] == f'"{body["case"]["version"]}"'
        assert body["case"]["detections"] == len(body["detections"]) == 2
        assert {item["event_id"] for item in body["detections"]} == {"event-1", "event-2"}
        one = body["detections"][0]
        assert one["reasons"] == [{"code": "HIGH_PROBABILITY", "facts": {"probability": 0.875}}]
        assert one["counter_evidence"] == [{"code": "KNOWN_MERCHANT", "facts": {}}]
        assert one["transaction"]["amount_minor"] == 12_300
        assert "features" not in one
        assert "OPENED" in [item["kind"] for item in body["events"]]
        assert body["past_cases"] == []

    def test_a_case_that_is_not_there(self, reviewer: Any) -> None:
        answer = reviewer.get(f"{URL}/987654")
        assert answer.status_code == 404
        assert answer.json()["code"] == "NOT_FOUND"
        assert "987654" not in answer.text

    @pytest.mark.parametrize("case_id", ["0", "-1", "x", "1.5", str(2**63), "9" * 400])
    def test_an_id_that_cannot_be(self, reviewer: Any, case_id: str) -> None:
        answer = reviewer.get(f"{URL}/{case_id}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "path.case_id"


@pytest.mark.usefixtures("five_cases")
class TestClaim:
    def test_the_most_urgent_case_comes_first(self, reviewer: Any) -> None:
        claimed = [reviewer.post(f"{URL}/claim-next") for _ in range(6)]
        assert [answer.status_code for answer in claimed] == [200] * 5 + [204]
        assert [answer.json()["priority"] for answer in claimed[:5]] == [5000, 4000, 3000, 2000, 1000]
        assert claimed[0].json()["claimed_by"] == "hana"
        assert claimed[5].content == b""

    def test_a_claim_needs_the_version_that_was_seen(self, reviewer: Any) -> None:
        case = first_case(reviewer)
        url = f"{URL}/{case['case_id']}/claim"
        assert reviewer.post(url).status_code == 428
        assert reviewer.post(url, json={"version": case["version"] + 1}).status_code == 409
        answer = reviewer.post(url, headers={"If-Match": f'"{case["version"]}"'})
        assert answer.status_code == 200
        assert answer.json()["status"] == "CLAIMED"
        assert answer.headers["ETag"] == f'"{answer.json()["version"]}"' != f'"{case["version"]}"'

    def test_of_two_who_claim_at_once_one_wins(self, sign_in: Callable[..., Any]) -> None:
        people = [sign_in("reviewer", f"reviewer-{n}") for n in range(4)]
        case = first_case(people[0])

        def claim(person: Any) -> Any:
            return person.post(f"{URL}/{case['case_id']}/claim", json={"version": case["version"]})

        with ThreadPoolExecutor(len(people)) as pool:
            answers = list(pool.map(claim, people))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
        winner = next(answer for answer in answers if answer.status_code == 200)
        assert first_case(people[0])["claimed_by"] == winner.json()["claimed_by"]

    def test_claims_of_the_next_case_at_once_get_different_cases(self, sign_in: Callable[..., Any]) -> None:
        people = [sign_in("reviewer", f"reviewer-{n}") for n in range(4)]
        with ThreadPoolExecutor(len(people)) as pool:
            answers = list(pool.map(lambda person: person.post(f"{URL}/claim-next"), people))
        assert [answer.status_code for answer in answers] == [200] * 4
        assert len({answer.json()["case_id"] for answer in answers}) == 4

    def test_only_the_claimer_gives_a_case_back(self, reviewer: Any, sign_in: Callable[..., Any]) -> None:
        case = reviewer.post(f"{URL}/claim-next").json()
        url, version = f"{URL}/{case['case_id']}/release", {"version": case["version"]}
        assert sign_in("reviewer", "other").post(url, json=version).status_code in {403, 409}
        answer = reviewer.post(url, json=version)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["claimed_by"]) == ("NEW", None)


@pytest.mark.usefixtures("five_cases")
class TestNotes:
    def test_a_note_joins_the_history(self, reviewer: Any, clock: Any) -> None:
        case = first_case(reviewer)
        clock.at += 5_000
        answer = reviewer.post(f"{URL}/{case['case_id']}/notes", json={"text": "  Called, no answer.\nAgain at 9. "})
        assert answer.status_code == 201
        note = answer.json()
        assert (note["kind"], note["actor"], note["at"]) == ("NOTE", "hana", clock.at)
        assert "Called, no answer.\nAgain at 9." in note["data"].values()
        assert reviewer.get(f"{URL}/{case['case_id']}").json()["events"][-1] == note

    @pytest.mark.parametrize("text", ["", "   ", "a" * 4001, "nul \x00", "bell \x07", 5, None, "\ud800"])
    def test_a_note_that_is_no_text_is_refused(self, reviewer: Any, text: Any) -> None:
        case = first_case(reviewer)
        body = json.dumps({"text": text})  # as escapes: half a surrogate pair cannot be sent otherwise
        headers = {"Content-Type": "application/json"}
        answer = reviewer.post(f"{URL}/{case['case_id']}/notes", content=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "body.text"

    def test_a_note_on_no_case(self, reviewer: Any) -> None:
        assert reviewer.post(f"{URL}/999/notes", json={"text": "hello"}).status_code == 404


@pytest.mark.usefixtures("five_cases")
class TestResolve:
    FRAUD = {"outcome": "CONFIRMED_FRAUD", "reason_code": "HOLDER_DENIED", "fraud_type": "CARD_NOT_PRESENT"}  # noqa: RUF012

    def test_from_queue_to_label(self, reviewer: Any, engine: Engine, clock: Any) -> None:
        case = reviewer.post(f"{URL}/claim-next").json()
        clock.at += 60_000
        answer = reviewer.post(f"{URL}/{case['case_id']}/resolve", json={**self.FRAUD, "version": case["version"]})
        assert answer.status_code == 200, answer.text
        done = answer.json()
        assert (done["status"], done["outcome"], done["fraud_type"]) == (
            "RESOLVED",
            "CONFIRMED_FRAUD",
            "CARD_NOT_PRESENT",
        )
        assert (done["resolved_by"], done["resolved_at"]) == ("hana", clock.at)
        assert listed(reviewer, status="RESOLVED") == [5000]
        with read(engine) as connection:
            labels = connection.execute(select(label)).all()
        assert [(row.event_id, row.outcome, row.reported_by) for row in labels] == [
            ("event-5", "CONFIRMED_FRAUD", "hana")
        ]

    def test_a_case_that_nobody_claimed_is_not_resolved(self, reviewer: Any) -> None:
        case = first_case(reviewer)
        answer = reviewer.post(f"{URL}/{case['case_id']}/resolve", json={**self.FRAUD, "version": case["version"]})
        assert answer.status_code == 409
        assert first_case(reviewer)["status"] == "NEW"

    def test_a_claim_of_another_is_not_resolved(self, reviewer: Any, sign_in: Callable[..., Any]) -> None:
        case = sign_in("reviewer", "other").post(f"{URL}/claim-next").json()
        answer = reviewer.post(f"{URL}/{case['case_id']}/resolve", json={**self.FRAUD, "version": case["version"]})
        assert answer.status_code in {403, 409}
        assert first_case(reviewer)["outcome"] is None

    def test_a_stale_version_is_a_conflict(self, reviewer: Any) -> None:
        case = reviewer.post(f"{URL}/claim-next").json()
        url = f"{URL}/{case['case_id']}/resolve"
        assert reviewer.post(url, json={**self.FRAUD, "version": case["version"] - 1}).status_code == 409
        assert reviewer.post(url, json={**self.FRAUD, "version": case["version"]}).status_code == 200
        assert reviewer.post(url, json={**self.FRAUD, "version": case["version"]}).status_code == 409

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"fraud_type": None}, "fraud_type"),
            ({"outcome": "GENUINE"}, "fraud_type"),
            ({"outcome": "PROBABLY"}, "body.outcome"),
            ({"reason_code": ""}, "body.reason_code"),
            ({"status": "RESOLVED"}, "body.status"),
            ({"resolved_by": "somebody"}, "body.resolved_by"),
            ({"version": "2"}, "body.version"),
            ({"version": True}, "body.version"),
            ({"version": 0}, "body.version"),
        ],
    )
    def test_a_decision_that_is_not_valid_names_the_field(
        self, reviewer: Any, change: dict[str, Any], field: str
    ) -> None:
        case = reviewer.post(f"{URL}/claim-next").json()
        body = {**self.FRAUD, "version": case["version"], **change}
        answer = reviewer.post(f"{URL}/{case['case_id']}/resolve", json=body)
        assert answer.status_code == 422
        assert [item["field"] for item in answer.json()["errors"]] == [field]
        assert reviewer.get(f"{URL}/{case['case_id']}").json()["case"]["status"] == "CLAIMED"
