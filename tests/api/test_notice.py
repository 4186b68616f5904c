"""The notice of the worked example (docs/exposure-example.md), played through the API date by date.

The dates are the notice's own. What the issuer did on them (the provisional list and window, and when its event changed
state) is the example's, because the notice does not tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from fraud.store.audit import list_audit, verify_audit
from fraud.store.database import read
from fraud.store.exposure import exposure_changes, exposure_version, exposures_before
from fraud.store.tables_lookback import lookback_run

URL = "/api/v1/compromise-events"
TOKYO = ZoneInfo("Asia/Tokyo")
EXAMPLE = Path(__file__).parents[2] / "docs" / "exposure-example.md"
CSV = {"Content-Type": "text/csv"}
SHOP = "Hanamori Cosme Online"


def at(day: str, hour: int = 10) -> int:
    return int(datetime.fromisoformat(f"{day}T{hour:02}:00").replace(tzinfo=TOKYO).timestamp() * 1_000)


@pytest.fixture
def calls() -> dict[str, list[tuple[str, Any]]]:
    """Every request of the worked example, by date: what readers of the document copy is what is tested."""
    found: dict[str, list[tuple[str, Any]]] = {}
    day = ""
    text = EXAMPLE.read_text(encoding="utf-8")
    for heading, path, body in re.findall(
        r"^### (\d{4}-\d\d-\d\d)|^```http\nPOST (\S+)\n\n(.*?)```", text, re.MULTILINE | re.DOTALL
    ):
        if heading:
            day = heading
        else:
            found.setdefault(day, []).append((path, json.loads(body)))
    return found


class Story:
    """The desk of the event manager, with the clock of the API."""

    def __init__(self, client: Any, clock: Any, calls: dict[str, list[tuple[str, Any]]]) -> None:
        self.client, self.clock, self.calls = client, clock, calls
        self.told: set[str] = set()

    def day(self, day: str) -> dict[str, Any]:
        """Send everything that the example sends on a day; the event afterwards."""
        self.clock.at = at(day)
        self.told.add(day)
        for path, body in self.calls[day]:
            answer = self.client.post(f"/api/v1{path}", json=body)
            assert answer.status_code in {200, 201}, (day, path, answer.text)
        shown: dict[str, Any] = self.client.get(f"{URL}/CE-2022-07").json()["compromise_event"]
        return shown

    def cards(self, *references: str) -> Any:
        content = "".join(["card_ref\n", *(f"{reference}\n" for reference in references)])
        return self.client.post(f"{URL}/CE-2022-07/exposed-cards", content=content, headers=CSV)


def test_from_first_word_to_publication_and_closure(
    event_manager: Any,
    reviewer: Any,
    clock: Any,
    engine: Engine,
    calls: dict[str, list[tuple[str, Any]]],
    card_ref: Callable[[int], str],
) -> None:
    story = Story(event_manager, clock, calls)

    def watched() -> set[tuple[str, int, int, int]]:
        with read(engine) as connection:
            changes = exposure_changes(connection, 0)
        return {
            (item.card_ref, item.tier, item.window_start_at, item.window_end_at)
            for item in changes
            if not item.released
        }

    # Day 0: the supplier tells the shop. Watching starts on suspicion, with a provisional list and window.
    event = story.day("2022-07-28")
    assert (event["status"], event["disclosure"], event["tier"]) == ("SUSPECTED", "RESTRICTED", 3)
    assert [fact["kind"] for fact in event["facts"]] == ["FIRST_WORD", "CONTAINED"]
    assert story.cards(card_ref(1), card_ref(2), card_ref(3)).json()["accepted"] == 3
    provisional = watched()
    assert provisional == {(card_ref(n), 3, at("2022-07-19", 0), at("2022-07-29", 0)) for n in (1, 2, 3)}

    # Days +4 and +6: the regulator is told before payments stop, and long before anything is confirmed.
    assert [fact["kind"] for fact in story.day("2022-08-01")["facts"]][-1] == "REGULATOR_TOLD"
    event = story.day("2022-08-03")
    assert (event["facts"][-1]["kind"], event["status"]) == ("PAYMENTS_STOPPED", "INVESTIGATING")

    # Day +81: the supplier's report. It is not the shop's own, which is still to come.
    assert story.day("2022-10-17")["facts"][-1]["author"] == "the supplier's investigator"

    # Day +133: the shop's own report. Confirmed, with the days and the list as they are known now.
    with read(engine) as connection:
        before = exposure_version(connection)
    event = story.day("2022-12-08")
    assert (event["status"], event["starts_on"], event["ends_on"]) == ("CONFIRMED", "2022-07-19", "2022-07-26")
    assert story.cards(*(card_ref(n) for n in (1, 2, 3, 4))).json()["accepted"] == 1
    window = (at("2022-07-19", 0), at("2022-07-27", 0))
    assert watched() == {(card_ref(n), 3, *window) for n in (1, 2, 3, 4)}
    with read(engine) as connection:
        then = {item.card_ref: item for item in exposure_changes(connection, 0)}
        then |= {item.card_ref: item for item in exposures_before(connection, before)}
        runs = connection.execute(lookback_run.select()).all()
    assert {
        (i.card_ref, i.tier, i.window_start_at, i.window_end_at) for i in then.values() if not i.released
    } == provisional
    assert "AMENDMENT" in {run.reason for run in runs}
    amended = next(run for run in runs if run.reason == "AMENDMENT")
    assert amended.exposure_version == before + 1

    # Day +134: the police. 166 days of silence are not over: a reviewer has never read the shop's name.
    event = story.day("2022-12-09")
    assert event["facts"][-1]["kind"] == "POLICE_TOLD"
    shown = [reviewer.get(path) for path in (URL, f"{URL}/CE-2022-07", f"{URL}/CE-2022-07/versions")]
    assert all(answer.status_code == 200 and SHOP not in answer.text for answer in shown)

    # Day +166: publication. Now the shop may be named, by everybody.
    event = story.day("2023-01-10")
    assert (event["disclosure"], event["facts"][-1]["kind"]) == ("PUBLISHED", "HOLDERS_TOLD")
    assert reviewer.get(f"{URL}/CE-2022-07").json()["compromise_event"]["name"] == SHOP
    first, last = (event["facts"][0], event["facts"][-1])
    days = (datetime.fromisoformat(last["on"]) - datetime.fromisoformat(first["on"])).days
    assert days == 166
    assert len(watched()) == 4  # and still watched: a published event is not an ended one

    # The example's own end: closed when the cards are reissued, and reopened for an extension.
    event = story.day("2023-06-30")
    assert event["status"] == "CLOSED"
    assert watched() == set()
    assert story.cards(card_ref(5)).status_code == 409
    event = story.day("2023-07-14")
    assert event["status"] == "INVESTIGATING"
    assert len(watched()) == 4

    assert story.told == set(calls)
    versions = event_manager.get(f"{URL}/CE-2022-07/versions").json()
    assert [item["version"] for item in versions] == list(range(1, len(versions) + 1))
    statuses = list(dict.fromkeys(item["status"] for item in versions))
    assert statuses == ["SUSPECTED", "INVESTIGATING", "CONFIRMED", "CLOSED"]
    with read(engine) as connection:
        entries = list_audit(connection, subject="compromise_event/CE-2022-07")
        assert verify_audit(connection).fault is None
    assert {entry.actor for entry in entries} == {"ken"}
    changes = {"record", "fact", "status", "amend", "disclosure"}
    of_event = [entry for entry in entries if entry.action.removeprefix("exposure.") in changes]
    assert len(of_event) == len(versions)
