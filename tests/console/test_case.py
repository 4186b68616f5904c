"""The case page: what it shows, and every step of a reviewer, with the refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from console_seed import OTHER_REVIEWER, REVIEWER, Seeded, card_ref, words_of
from sqlalchemy import Engine

from fraud.store.cases import case_events, claim, get_case
from fraud.store.database import read, write

Visit = Callable[..., Any]
FRAUD = {"outcome": "CONFIRMED_FRAUD", "reason_code": "HOLDER_DENIED", "fraud_type": "CARD_NOT_PRESENT"}


def version(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found
    return found[1]


@pytest.fixture
def case_id(seeded: Seeded) -> int:
    return seeded.cases[seeded.caught]


@pytest.fixture
def claimed(reviewer: Any, case_id: int) -> Any:
    """The reviewer, looking at the caught card's case, which is theirs."""
    reviewer.open(f"/cases/{case_id}")
    reviewer.send(f"/cases/{case_id}/claim", version=version(reviewer.page))
    assert reviewer.address == f"/cases/{case_id}"
    return reviewer


def test_a_case_says_what_leaked_why_and_what_speaks_against_it(reviewer: Any, case_id: int) -> None:
    page = words_of(reviewer.open(f"/cases/{case_id}"))
    assert "Exposed in Amber Heron" in page
    assert "At risk from 19 July 2022 to 26 July 2022: card number, expiry and security code." in page
    assert "41 days since the window closed. Under investigation." in page
    assert "A larger amount follows small attempts (2 in 24 hours): 14.6 times the usual." in page
    assert "It looks like card testing. In the 24 hours before: small attempts 2, declined 1." in page
    assert "The goods are of a kind often bought with stolen numbers: electronics." in page
    assert "What speaks against fraud" in page
    assert "93% of ¥89,250 at risk" in page


def test_reasons_stay_with_their_detection(reviewer: Any, seeded: Seeded) -> None:
    page = words_of(reviewer.open(f"/cases/{seeded.cases[card_ref(18)]}"))
    against = page[page.index("What speaks against fraud") : page.index("The card's transactions")]
    # Of the test of one yen, not of what was bought after it.
    assert re.search(r"The amount is not unusual for this card \(1\.1 times its mean\)\. 09-04 \d\d:\d\d, ¥1", against)


def test_the_timeline_draws_and_lists_every_transaction_once(reviewer: Any, engine: Engine, seeded: Seeded) -> None:
    page = reviewer.open(f"/cases/{seeded.cases[card_ref(44)]}")
    whole = page[page.index('<svg class="chart"') : page.index("</svg>", page.index('<svg class="chart"'))]
    drawn = len(re.findall(r'<g class="mark', whole))
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    listed = re.findall(r'<time datetime="([^"]+)"', table)
    assert drawn == len(listed) == len(set(listed)) > 5
    assert listed == sorted(listed, reverse=True)
    assert len(re.findall(r'class="mark[^"]*ringed', whole)) == 3
    assert table.count('class="detected"') == 3
    assert whole.count('class="band"') == 1


def test_a_card_in_no_event_has_no_banner_and_no_shading(reviewer: Any, seeded: Seeded) -> None:
    page = reviewer.open(f"/cases/{seeded.cases[seeded.anomaly]}")
    assert "In no compromise event: this card stood out by itself." in page
    assert 'class="band"' not in page
    assert "(groceries)" in page  # what only the worker's memory knows has no merchant name


def test_a_case_in_two_events_shows_both(reviewer: Any, seeded: Seeded) -> None:
    page = words_of(reviewer.open(f"/cases/{seeded.cases[card_ref(52)]}"))
    assert "Exposed in Amber Heron" in page
    assert "Exposed in Cedar Plover" in page
    assert "Suspected: the list and the window may still change." in page


def test_claim_decide_done(claimed: Any, case_id: int, engine: Engine) -> None:
    claimed.send(f"/cases/{case_id}/resolve", version=version(claimed.page), **FRAUD)
    page = words_of(claimed.page)
    assert claimed.address == f"/cases/{case_id}"
    assert "Outcome Fraud confirmed" in page
    assert "Reason Holder denied the use" in page
    assert "Fraud type Card number used, card not present" in page
    assert "resolved : Fraud confirmed" in page or "resolved: Fraud confirmed" in page
    with read(engine) as connection:
        case = get_case(connection, case_id)
    assert (case.status, case.outcome, case.resolved_by) == ("RESOLVED", "CONFIRMED_FRAUD", REVIEWER)


def test_resolve_and_claim_next_opens_the_next_one(claimed: Any, case_id: int, engine: Engine) -> None:
    claimed.send(f"/cases/{case_id}/resolve", version=version(claimed.page), then="next", **FRAUD)
    assert re.fullmatch(r"/cases/\d+", claimed.address)
    following = int(claimed.address.rpartition("/")[2])
    assert following != case_id
    with read(engine) as connection:
        assert get_case(connection, case_id).status == "RESOLVED"
        assert get_case(connection, following).claimed_by == REVIEWER


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"reason_code": "OTHER"}, "Choose an outcome."),
        ({"outcome": "GENUINE"}, "Choose a reason."),
        ({"outcome": "CONFIRMED_FRAUD", "reason_code": "HOLDER_DENIED"}, "A fraud type goes with"),
        ({"outcome": "GENUINE", "reason_code": "OTHER", "fraud_type": "LOST"}, "A fraud type goes with"),
        ({"outcome": "<b>", "reason_code": "OTHER"}, "Choose an outcome."),
    ],
)
def test_a_decision_that_is_not_complete_is_refused_and_kept(
    claimed: Any, case_id: int, engine: Engine, fields: dict[str, str], problem: str
) -> None:
    page = claimed.send(f"/cases/{case_id}/resolve", version=version(claimed.page), then="next", **fields)
    assert claimed.status == 422
    assert problem in page
    if fields.get("outcome") == "GENUINE":
        assert re.search(r'value="GENUINE" checked', page)
    if "reason_code" in fields:
        assert f'<option value="{fields["reason_code"]}" selected>' in page
    with read(engine) as connection:
        assert get_case(connection, case_id).status == "CLAIMED"


def test_of_two_who_claim_one_is_told(reviewer: Any, visit: Visit, case_id: int) -> None:
    seen = version(reviewer.open(f"/cases/{case_id}"))
    other = visit(OTHER_REVIEWER)
    other.open(f"/cases/{case_id}")
    other.send(f"/cases/{case_id}/claim", version=version(other.page))
    assert other.status == 200
    reviewer.send(f"/cases/{case_id}/claim", version=seen)
    assert reviewer.status == 409
    assert "the case has changed, or somebody else holds it" in reviewer.page
    assert f"{OTHER_REVIEWER} is reviewing this case." in reviewer.page
    for step in ("release", "resolve"):
        reviewer.send(f"/cases/{case_id}/{step}", version=str(int(seen) + 1), **FRAUD)
        assert reviewer.status == 409


def test_a_case_can_be_given_back(claimed: Any, case_id: int) -> None:
    claimed.send(f"/cases/{case_id}/release", version=version(claimed.page))
    assert "Claim the case to decide it." in claimed.page


def test_notes_are_kept_and_card_numbers_are_not(reviewer: Any, case_id: int, engine: Engine) -> None:
    reviewer.open(f"/cases/{case_id}")
    reviewer.send(f"/cases/{case_id}/notes", text="Called <b>twice</b>, no answer.")
    assert "Called &lt;b&gt;twice&lt;/b&gt;, no answer." in reviewer.page
    pan = "4532 0151 1283 0366"
    reviewer.send(f"/cases/{case_id}/notes", text=f"Holder read out {pan}")
    assert reviewer.status == 422
    assert pan not in reviewer.page
    reviewer.open(f"/cases/{case_id}")
    reviewer.send(f"/cases/{case_id}/notes", text="   ")
    assert reviewer.status == 422
    with read(engine) as connection:
        notes = [event.data["text"] for event in case_events(connection, case_id) if event.kind == "NOTE"]
    assert notes == ["Called <b>twice</b>, no answer."]


def test_a_page_learns_that_its_case_has_moved_on(reviewer: Any, case_id: int, engine: Engine) -> None:
    seen = version(reviewer.open(f"/cases/{case_id}"))
    address = f"/cases/{case_id}/changed?version={seen}"
    assert f'hx-get="{address}"' in reviewer.page
    assert reviewer.client.get(address).status_code == 204
    with write(engine) as connection:
        claim(connection, case_id, OTHER_REVIEWER, int(seen), 1_662_441_600_000)
    answer = reviewer.client.get(address)
    assert answer.status_code == 200
    assert "This case has changed" in answer.text


def test_what_does_not_exist_is_not_found(reviewer: Any, seeded: Seeded) -> None:
    for address in ("/cases/999999", "/events/unheard-of", f"/cards/{seeded.unknown}", "/cards/nonsense", "/nowhere"):
        page = reviewer.open(address)
        assert reviewer.status == 404, address
        assert "<h1>Not found</h1>" in page


def test_a_card_number_in_an_address_is_refused_and_not_repeated(reviewer: Any) -> None:
    for address in ("/cards/4532015112830366", "/login?came_from=/cards/4532015112830366"):
        page = reviewer.open(address)
        assert reviewer.status == 422
        assert "4532015112830366" not in page
    assert "4532015112830366" not in reviewer.open("/4532015112830366")
