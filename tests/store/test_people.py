"""Users, sessions and tokens: who gets in, who does not, and that no secret can be read from the database."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import Engine
from store_samples import NOW, rows

from fraud.api.permissions import Role
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store import tables
from fraud.store.database import read, write
from fraud.store.people import (
    LOCK_MS,
    MAX_FAILURES,
    MINUTE_MS,
    ROLES,
    close_session,
    create_api_token,
    create_user,
    open_session,
    revoke_api_token,
    session_user,
    token_user,
    verify_password,
)
from fraud.store.views import SessionView, UserView

PASSWORD = "correct horse battery staple"
HANA = UserView("hana", "Hana Sato", "reviewer", disabled=False, created_at=NOW)


@pytest.fixture(autouse=True)
def hana(engine: Engine) -> None:
    with write(engine) as connection:
        assert create_user(connection, "hana", "Hana Sato", PASSWORD, "reviewer", NOW) == HANA


def sign_in(engine: Engine, password: str = PASSWORD, now: int = NOW, username: str = "hana") -> UserView | None:
    with write(engine) as connection:
        return verify_password(connection, username, password, now)


def disable(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(tables.user.update().values(disabled=True))


def current(engine: Engine, cookie: str, now: int, extend: int = 15) -> SessionView | None:
    with write(engine) as connection:
        return session_user(connection, cookie, now, extend)


def test_password_lets_in_and_nothing_else_does(engine: Engine) -> None:
    assert sign_in(engine) == HANA
    assert sign_in(engine, "correct horse battery stapl") is None
    assert sign_in(engine, "") is None
    assert sign_in(engine, "\ud800") is None
    for username in ("nobody", "", "a\x00b", "hana\x00", "\ud800", "HANA"):
        assert sign_in(engine, username=username) is None
    disable(engine)
    assert sign_in(engine) is None


def test_ten_failures_lock_for_half_an_hour(engine: Engine) -> None:
    for _ in range(MAX_FAILURES):
        assert sign_in(engine, "wrong") is None
    assert sign_in(engine) is None
    assert sign_in(engine, now=NOW + LOCK_MS - 1) is None
    assert sign_in(engine, now=NOW + LOCK_MS) == HANA
    (row,) = rows(engine, tables.user)
    assert (row["failed_logins"], row["locked_until_at"]) == (0, None)


def test_failures_count_only_in_a_row(engine: Engine) -> None:
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            assert sign_in(engine, "wrong") is None
        assert sign_in(engine) == HANA


def test_trying_while_locked_does_not_lock_for_longer(engine: Engine) -> None:
    for second in range(MAX_FAILURES + 5):
        sign_in(engine, "wrong", now=NOW + second)
    locked_at = NOW + MAX_FAILURES - 1
    assert sign_in(engine, now=locked_at + LOCK_MS) == HANA


def test_after_a_lock_there_are_ten_tries_again(engine: Engine) -> None:
    for _ in range(MAX_FAILURES):
        sign_in(engine, "wrong")
    later = NOW + LOCK_MS
    for _ in range(MAX_FAILURES - 1):
        assert sign_in(engine, "wrong", now=later) is None
    assert sign_in(engine, now=later) == HANA


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "a" * 65}, "username"),
        ({"display_name": " "}, "display_name"),
        ({"display_name": "a" * 129}, "display_name"),
        ({"password": "elevenchars"}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"role": "superuser"}, "role"),
    ],
)
def test_user_that_cannot_be_is_refused(engine: Engine, change: dict[str, str], field: str) -> None:
    given = {"username": "ken", "display_name": "Ken", "password": PASSWORD, "role": "operator", **change}
    with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
        create_user(connection, **given, now=NOW)
    assert caught.value.field == field
    assert given["password"] not in str(caught.value)


def test_username_is_taken_once(engine: Engine) -> None:
    with pytest.raises(ConflictError), write(engine) as connection:
        create_user(connection, "hana", "Another", PASSWORD, "auditor", NOW)


def test_roles_are_those_that_have_permissions() -> None:
    assert set(get_args(Role)) == set(ROLES)


def test_session_lasts_as_long_as_it_is_used(engine: Engine) -> None:
    with write(engine) as connection:
        cookie, csrf_token = open_session(connection, "hana", NOW, 15)
    at = NOW
    for _ in range(4):
        at += 14 * MINUTE_MS
        found = current(engine, cookie, at)
        assert found == SessionView("hana", "Hana Sato", "reviewer", csrf_token, at + 15 * MINUTE_MS)
    assert current(engine, cookie, at + 15 * MINUTE_MS) is None


def test_session_ends_when_it_is_closed_or_its_user_disabled(engine: Engine) -> None:
    with write(engine) as connection:
        first, _ = open_session(connection, "hana", NOW, 15)
        second, _ = open_session(connection, "hana", NOW, 15)
    assert first != second
    with write(engine) as connection:
        close_session(connection, first)
        close_session(connection, "unknown")
    assert current(engine, first, NOW) is None
    assert current(engine, second, NOW) is not None
    disable(engine)
    assert current(engine, second, NOW) is None
    assert current(engine, "", NOW) is None


def test_sessions_that_are_over_are_removed(engine: Engine) -> None:
    with write(engine) as connection:
        open_session(connection, "hana", NOW, 15)
        open_session(connection, "hana", NOW + 15 * MINUTE_MS, 15)
    assert len(rows(engine, tables.session)) == 1


def test_token_stands_for_its_user_until_it_is_revoked(engine: Engine) -> None:
    with write(engine) as connection:
        token = create_api_token(connection, "hana", "core system", NOW)
        other = create_api_token(connection, "hana", "another", NOW)
    assert token.startswith("mmr_")
    with read(engine) as connection:
        assert token_user(connection, token) == HANA
        assert token_user(connection, token + "x") is None
        assert token_user(connection, "") is None
    with write(engine) as connection:
        revoke_api_token(connection, "hana", "core system", NOW + 1)
    with read(engine) as connection:
        assert token_user(connection, token) is None
        assert token_user(connection, other) == HANA
    with pytest.raises(NotFoundError), write(engine) as connection:
        revoke_api_token(connection, "hana", "core system", NOW + 2)
    disable(engine)
    with read(engine) as connection:
        assert token_user(connection, other) is None


def test_token_needs_a_user(engine: Engine) -> None:
    with pytest.raises(NotFoundError), write(engine) as connection:
        create_api_token(connection, "nobody", "x", NOW)


def test_no_secret_is_in_the_database(engine: Engine, tmp_path: Path) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("reads the database's file")
    with write(engine) as connection:
        cookie, _ = open_session(connection, "hana", NOW, 15)
        token = create_api_token(connection, "hana", "core", NOW)
        verify_password(connection, "hana", PASSWORD, NOW)
        verify_password(connection, "hana", "a wrong password", NOW)
    files = [path.read_bytes() for path in tmp_path.glob("store.db*")]  # the write-ahead log too
    assert any(b"Hana Sato" in data for data in files)
    for secret in (PASSWORD, "a wrong password", cookie, token, token.removeprefix("mmr_")):
        assert not any(secret.encode() in data for data in files)
    assert cookie not in repr(current(engine, cookie, NOW))
