"""Imports over the API: a dry run, its lists, publishing; cards, reference data and reviews."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine

from fraud.api.app import create_app
from fraud.cards import CardTokenizer, luhn_valid
from fraud.compromise import CompromiseStatus
from fraud.pan_guard import PanGuard
from fraud.settings import CardSettings, Settings
from fraud.store.audit import list_audit
from fraud.store.database import read, write
from fraud.store.exposure import exposure_changes, get_compromise_event, set_status
from fraud.store.people import create_api_token, create_user

EVENTS = "/api/v1/compromise-events"
URL = f"{EVENTS}/shop/imports"
IMPORTS = "/api/v1/imports"
CSV = {"Content-Type": "text/csv"}
KEY = "5a" * 32
DAY = 86_400_000


def card_number(serial: int, prefix: str = "411111") -> str:
    body = f"{prefix}{serial:0{15 - len(prefix)}d}"
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


@pytest.fixture
def event(event_manager: Any) -> str:
    body = {
        "compromise_event_id": "shop",
        "name": "Shop",
        "source": "ACQUIRER",
        "starts_on": "2022-07-19",
        "ends_on": "2022-07-26",
        "data_elements": ["pan", "expiry", "cvv2"],
    }
    assert event_manager.post(EVENTS, json=body).status_code == 201
    return "shop"


@pytest.fixture
def text(card_ref: Callable[[int], str], event: str) -> Callable[..., str]:
    assert event
    return lambda *numbers: "card_ref,expiry\n" + "".join(f"{card_ref(n)},2025-03\n" for n in numbers)


@pytest.fixture
def with_numbers(settings: Settings, engine: Engine, clock: Any) -> FastAPI:
    """The same API where files with card numbers are taken."""
    cards = CardSettings(keys={1: SecretStr(KEY)})
    inside = settings.model_copy(
        update={"cards": cards, "api": settings.api.model_copy(update={"card_number_files": True})}
    )
    return create_app(inside, engine, clock, PanGuard.from_settings(inside.portfolio))


class TestDryRun:
    def test_says_what_would_be_and_watches_nothing(
        self, event_manager: Any, engine: Engine, text: Callable[..., str]
    ) -> None:
        answer = event_manager.post(f"{URL}?file_name=list.csv", content=text(1, 2, 2) + "nothing,\n", headers=CSV)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["status"], body["rows"], body["name"], body["share"]) == ("STAGED", 4, "list.csv", 1.0)
        assert {name: rows for name, rows in body["findings"].items() if rows} == {
            "MATCHED": 2,
            "DUPLICATE": 1,
            "MALFORMED": 1,
        }
        assert body["reasons"] == {"REFERENCE": 1}
        assert event_manager.get(answer.headers["Location"]).json() == body
        assert [item["import_id"] for item in event_manager.get(IMPORTS).json()] == [body["import_id"]]
        with read(engine) as connection:
            assert exposure_changes(connection, 0) == []

    def test_publishing_watches_once(
        self, event_manager: Any, engine: Engine, text: Callable[..., str], card_ref: Callable[[int], str]
    ) -> None:
        staged = event_manager.post(URL, content=text(1, 2), headers=CSV).json()
        answers = [event_manager.post(f"{IMPORTS}/{staged['import_id']}/publish") for _ in range(2)]
        assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "PUBLISHED")] * 2
        assert answers[0].json()["exposure_version"] == 1
        again = event_manager.post(URL, content=text(1, 2), headers=CSV).json()
        assert (again["status"], again["no_op"], again["findings"]["MATCHED"]) == ("PUBLISHED", True, 2)
        with read(engine) as connection:
            assert [change.card_ref for change in exposure_changes(connection, 0)] == [card_ref(1), card_ref(2)]
            assert [entry.actor for entry in list_audit(connection, action="exposure_import.publish")] == ["ken"]

    def test_lists_are_for_download_and_by_page(
        self, event_manager: Any, text: Callable[..., str], card_ref: Callable[[int], str]
    ) -> None:
        content = text(1, 2) + 'x:a"b,2025-04\n'.replace('x:a"b', '"x:a,""b"') + "nothing,\n"
        staged = event_manager.post(URL, content=content, headers=CSV).json()
        url = f"{IMPORTS}/{staged['import_id']}/rows"
        answer = event_manager.get(f"{url}.csv?finding=MATCHED")
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert 'filename="import-1-matched.csv"' in answer.headers["Content-Disposition"]
        assert list(csv.reader(io.StringIO(answer.text))) == [
            ["line", "findings", "reason", "card_ref", "pan_last4", "expiry"],
            ["2", "MATCHED", "", card_ref(1), "", "2025-03"],
            ["3", "MATCHED", "", card_ref(2), "", "2025-03"],
            ["4", "MATCHED", "", 'x:a,"b', "", "2025-04"],
        ]
        assert len(event_manager.get(f"{url}.csv").text.splitlines()) == 5
        page = event_manager.get(url, params={"limit": 3}).json()
        rest = event_manager.get(url, params={"limit": 3, "cursor": page["next_cursor"]}).json()
        assert [item["line"] for item in page["items"] + rest["items"]] == [2, 3, 4, 5]
        assert rest["items"][0]["reason"] == "REFERENCE"
        assert event_manager.get(f"{IMPORTS}/99/rows").status_code == 404
        assert event_manager.get(f"{IMPORTS}/99/rows.csv").status_code == 404
        assert event_manager.get(f"{url}.csv?finding=EVERYTHING").status_code == 422

    def test_a_dry_run_is_given_up(self, event_manager: Any, text: Callable[..., str]) -> None:
        staged = event_manager.post(URL, content=text(1), headers=CSV).json()
        url = f"{IMPORTS}/{staged['import_id']}"
        assert event_manager.post(f"{url}/discard").json()["status"] == "DISCARDED"
        assert event_manager.get(f"{url}/rows").json()["items"] == []
        assert event_manager.post(f"{url}/publish").status_code == 409

    def test_mapped_json(self, event_manager: Any, event: str, card_ref: Callable[[int], str]) -> None:
        assert event
        content = f'[{{"card": "{card_ref(1)}", "cvv2": "987"}}]'
        query = {"file_format": "json", "columns": "card_ref=card", "drop_column": "cvv2"}
        headers = {"Content-Type": "application/octet-stream"}
        answer = event_manager.post(URL, params=query, content=content, headers=headers)
        assert answer.json()["findings"]["MATCHED"] == 1, answer.text
        refused = event_manager.post(URL, params={**query, "drop_column": []}, content=content, headers=headers)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "column 2")


class TestRefused:
    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"file_format": "xml"}, "format"),
            ({"columns": "card_ref=missing"}, "columns"),
            ({"drop_column": "missing"}, "drop_columns"),
            ({"encoding": "utf-7"}, "encoding"),
            ({"file_name": "a/b"}, "query.file_name"),
        ],
    )
    def test_options(self, event_manager: Any, text: Callable[..., str], query: dict[str, str], field: str) -> None:
        answer = event_manager.post(URL, params=query, content=text(1), headers=CSV)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)

    def test_events_that_take_nothing(self, event_manager: Any, text: Callable[..., str], engine: Engine) -> None:
        content = text(1)
        assert event_manager.post(f"{EVENTS}/none/imports", content=content, headers=CSV).status_code == 404
        for status in (CompromiseStatus.CONFIRMED, CompromiseStatus.CLOSED):
            with write(engine) as connection:
                version = get_compromise_event(connection, "shop").version
                set_status(connection, "shop", status, version, 1)
        answer = event_manager.post(URL, content=content, headers=CSV)
        assert answer.status_code == 409
        assert "reopen" in answer.json()["detail"]
        assert event_manager.get(IMPORTS).json() == []

    @pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/html", ""])
    def test_media_types(self, event_manager: Any, text: Callable[..., str], kind: str) -> None:
        answer = event_manager.post(URL, content=text(1), headers={"Content-Type": kind})
        assert answer.status_code == 415

    def test_packed_bodies(self, event_manager: Any, text: Callable[..., str]) -> None:
        packed = gzip.compress(text(1).encode())
        headers = {**CSV, "Content-Encoding": "gzip"}
        assert event_manager.post(URL, content=packed, headers=headers).status_code == 415
        answer = event_manager.post(URL, content=packed, headers=CSV)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "file")
        assert "gzip" in answer.json()["detail"]
        assert event_manager.get(IMPORTS).json() == []  # nothing half done

    def test_files_with_card_numbers_unless_they_are_to_be_taken(
        self, event_manager: Any, text: Callable[..., str], with_numbers: FastAPI, engine: Engine, tmp_path: Path
    ) -> None:
        assert text
        number = card_number(7)
        content = f"pan,expiry\n{number},12/25\n{card_number(8, '555555')},12/25\n"
        refused = event_manager.post(URL, content=content, headers=CSV)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "file")
        assert "api.card_number_files" in refused.json()["detail"]
        assert number not in refused.text
        inside = type(event_manager)(with_numbers, headers=dict(event_manager.headers))
        answer = inside.post(URL, content=content, headers=CSV)
        assert answer.status_code == 201, answer.text
        assert {name: rows for name, rows in answer.json()["findings"].items() if rows} == {"MATCHED": 1, "UNKNOWN": 1}
        inside.post(f"{IMPORTS}/{answer.json()['import_id']}/publish")
        with read(engine) as connection:
            (change,) = exposure_changes(connection, 0)
        assert change.card_ref == CardTokenizer({1: bytes.fromhex(KEY)}, 1).reference(number)
        engine.dispose()
        everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert number.encode() not in everything


def open_files() -> Iterator[bytes]:
    """What this process holds open and has written, deleted files too: where spooled uploads lie."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            is_file = not str(descriptor.readlink()).startswith(("socket:", "pipe:", "anon_inode:", "/dev"))
            if is_file and descriptor.stat().st_size:
                yield descriptor.read_bytes()
        except OSError:  # closed meanwhile
            continue


def traces(folders: list[Path], canary: bytes) -> int:
    """How often a canary lies in a file: in these folders, or open and deleted."""
    found = sum(canary in data for data in open_files())
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                found += path.is_file() and canary in path.read_bytes()
            except OSError:
                continue
    return found


@pytest.fixture
def served(with_numbers: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(with_numbers, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are looked for in /proc")
@pytest.mark.parametrize("kind", ["text/csv", "multipart/form-data; boundary=x"])
def test_an_upload_is_written_nowhere_while_it_comes_in(
    served: str, kind: str, event: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card number goes through a real server, in parts; between them, whatever was written is searched."""
    assert event
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    canary = card_number(424_242).encode()
    with tempfile.TemporaryFile() as control:  # the watch sees what has no name any more
        control.write(canary)
        control.flush()
        assert traces([tmp_path], canary) == 1
    assert traces([tmp_path], canary) == 0
    with write(engine) as connection:
        create_user(connection, "uploader", "Uploader", "correct horse battery staple", "event_manager", 1)
        token = create_api_token(connection, "uploader", "test", 1)
    seen: list[int] = []

    def body() -> Iterator[bytes]:
        yield b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" if "multipart" in kind else b""
        yield b"pan,expiry\n" + canary + b",12/25\n"
        for start in range(0, 60_000, 3_000):
            yield "".join(f"{card_number(serial)},12/25\n" for serial in range(start, start + 3_000)).encode()
            seen.append(traces([tmp_path], canary))

    headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
    try:
        answer = httpx.post(served + URL, content=body(), headers=headers, timeout=120)
        assert answer.status_code == (415 if "multipart" in kind else 201), answer.text
    except httpx.TransportError:
        assert "multipart" in kind  # it was refused while there was more to send
    seen.append(traces([tmp_path], canary))
    assert set(seen) == {0}
    assert list(folder.iterdir()) == []


class TestCards:
    def test_a_card_has_a_status_of_its_own_and_one_for_each_event(
        self, event_manager: Any, text: Callable[..., str], card_ref: Callable[[int], str]
    ) -> None:
        staged = event_manager.post(URL, content=text(1), headers=CSV).json()
        event_manager.post(f"{IMPORTS}/{staged['import_id']}/publish")
        url = f"/api/v1/cards/{card_ref(1)}"
        before = event_manager.get(url).json()
        assert (before["status"], before["tier"], before["reference_status"]) == ("WATCHED", 3, None)
        data = f"card_ref,status,expiry,product,replaced_by\n{card_ref(1)},,2025-03,GOLD,{card_ref(2)}\n"
        answer = event_manager.post("/api/v1/card-references", content=data, headers=CSV)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["changed"], answer.json()["compromise_event_ids"]) == (1, ["shop"])
        after = event_manager.get(url).json()
        assert (after["status"], after["replaced_by"], after["product"]) == ("SUPERSEDED", card_ref(2), "GOLD")
        assert [item["status"] for item in after["exposures"]] == ["ACTIVE"]
        new = event_manager.get(f"/api/v1/cards/{card_ref(2)}").json()
        assert (new["status"], new["tier"], new["card_lineage"]) == ("WATCHED", 1, card_ref(1))
        assert [item["provenance"] for item in new["exposures"]] == ["LINEAGE"]
        assert new["line"] == [
            {"card_ref": card_ref(1), "generation": 0},
            {"card_ref": card_ref(2), "generation": 1},
        ]
        assert event_manager.get(f"/api/v1/cards/{card_ref(9)}").status_code == 404

    def test_one_card_by_hand(
        self, event_manager: Any, text: Callable[..., str], card_ref: Callable[[int], str]
    ) -> None:
        assert text
        url = f"{EVENTS}/shop/exposed-cards/by-hand"
        answer = event_manager.post(url, json={"card_ref": card_ref(5), "reason": "holder called"})
        assert answer.status_code == 201, answer.text
        assert (answer.json()["provenance"], answer.json()["status"]) == ("MANUAL", "PUBLISHED")
        assert event_manager.get(f"/api/v1/cards/{card_ref(5)}").json()["tier"] == 3
        for body in ({"card_ref": card_ref(5)}, {"card_ref": "x:4111111111111111", "reason": "x"}):
            refused = event_manager.post(url, json=body)
            assert refused.status_code == 422
            assert "4111111111111111" not in refused.text

    @pytest.mark.parametrize(
        ("content", "field"),
        [("card_ref,status\nx:1,asleep\n", "file"), ("card_ref\nx:1\n", "file"), ("pan,status\n1,CLOSED\n", "file")],
    )
    def test_reference_data_that_cannot_be_taken(self, event_manager: Any, content: str, field: str) -> None:
        answer = event_manager.post("/api/v1/card-references", content=content, headers=CSV)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)

    def test_a_review_is_decided_by_a_person(
        self, event_manager: Any, text: Callable[..., str], card_ref: Callable[[int], str], clock: Any
    ) -> None:
        staged = event_manager.post(URL, content=text(1, 2), headers=CSV).json()
        event_manager.post(f"{IMPORTS}/{staged['import_id']}/publish")
        url = "/api/v1/exposure-reviews"
        (review,) = event_manager.get(url).json()
        assert review["due_at"] == clock.at + 90 * DAY
        assert event_manager.get(url, params={"due": True}).json() == []
        clock.at += 90 * DAY
        assert event_manager.get(url, params={"due": True}).json() == [review]
        event_manager.post("/api/v1/card-references", content=f"card_ref,status\n{card_ref(2)},CLOSED\n", headers=CSV)
        page = event_manager.get(f"{url}/{review['review_id']}/exceptions").json()
        assert [(item["card_ref"], item["reasons"]) for item in page["items"]] == [(card_ref(2), ["CLOSED"])]
        decision = {"decision": "EXTENDED", "reason": "in use", "days": 30, "exceptions": [card_ref(2)]}
        done = event_manager.post(f"{url}/{review['review_id']}/decision", json=decision)
        assert (done.status_code, done.json()["decided_by"], done.json()["exceptions"]) == (200, "ken", 1), done.text
        assert event_manager.post(f"{url}/{review['review_id']}/decision", json=decision).status_code == 409
        assert event_manager.get(f"/api/v1/cards/{card_ref(2)}").json()["status"] == "CLOSED"
        assert event_manager.get(f"/api/v1/cards/{card_ref(2)}").json()["tier"] == 0
        assert [item["due_at"] for item in event_manager.get(url).json()] == [clock.at + 30 * DAY]
        assert [item["decision"] for item in event_manager.get(url, params={"decided": True}).json()] == ["EXTENDED"]
