"""Users, sessions and API tokens. Of passwords, cookies and tokens only hashes are stored."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import replace
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store.tables import api_token, session, user
from fraud.store.views import SessionView, UserView

ROLES = ("reviewer", "event_manager", "operator", "data_scientist", "auditor", "administrator")
_MARK = "mmr_"  # what secret scanners look for
MINUTE_MS = 60_000
# PCI DSS 4.0.1: 8.3.4 (at most 10 tries, then at least 30 minutes) and 8.3.6 (at least 12 characters).
MAX_FAILURES = 10
LOCK_MS = 30 * MINUTE_MS
PASSWORD_LENGTHS = range(12, 1025)

_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SECRET_BYTES = 32
# OWASP's recommendation for argon2id: 19 MiB, two passes, one lane; some 30 ms.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_USER = (user.c.username, user.c.display_name, user.c.role, user.c.disabled, user.c.created_at)


def create_user(
    connection: Connection, username: str, display_name: str, password: str, role: str, now: int
) -> UserView:
    """Create a user. `InvalidInputError` on the field at fault, `ConflictError` when the name is taken."""
    for field, valid, rule in (
        ("username", _USERNAME.fullmatch(username), "1 to 64 letters, digits, dots, dashes, underscores and @"),
        ("display_name", 0 < len(display_name.strip()) <= 128, "1 to 128 characters"),
        ("password", len(password) in PASSWORD_LENGTHS, "at least 12 characters"),
        ("role", role in ROLES, f"one of {', '.join(ROLES)}"),
    ):
        if not valid:
            message = f"{field} must be {rule}"
            raise InvalidInputError(message, field=field)
    row = {
        "username": username,
        "display_name": display_name,
        "password_hash": _HASHER.hash(password.encode("utf-8", "surrogatepass")),
        "role": role,
        "created_at": now,
    }
    try:
        connection.execute(insert(user), row)
    except IntegrityError:
        message = "the username is taken"
        raise ConflictError(message) from None
    return UserView(username, display_name, role, disabled=False, created_at=now)


def verify_password(connection: Connection, username: str, password: str, now: int) -> UserView | None:
    """The user whose password this is; None for a wrong password, an unknown name, and a locked or disabled account.

    All four cost the same time and look the same. Ten failures in a row lock the account for 30 minutes.
    """
    statement = select(*_USER, user.c.password_hash, user.c.failed_logins, user.c.locked_until_at)
    row = None
    if _USERNAME.fullmatch(username):  # a database may refuse the very text of what is none
        row = connection.execute(statement.where(user.c.username == username).with_for_update()).one_or_none()
    matches = _matches(row.password_hash if row else _hash_of_nobody(), password)
    if row is None or row.disabled or (row.locked_until_at or 0) > now:
        return None
    failures = 0 if matches else row.failed_logins + 1
    locks = failures >= MAX_FAILURES
    if failures != row.failed_logins or row.locked_until_at is not None:
        connection.execute(
            update(user)
            .where(user.c.username == username)
            .values(failed_logins=0 if locks else failures, locked_until_at=now + LOCK_MS if locks else None)
        )
    return UserView(*row[: len(_USER)]) if matches else None


def open_session(connection: Connection, username: str, now: int, minutes: int) -> tuple[str, str]:
    """Open a session: the cookie's value, which is not stored, and the CSRF token. Sessions that are over go."""
    connection.execute(delete(session).where(session.c.expires_at <= now))
    cookie, csrf_token = secrets.token_urlsafe(_SECRET_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    row = {
        "session_digest": _digest(cookie),
        "username": username,
        "csrf_token": csrf_token,
        "created_at": now,
        "expires_at": now + minutes * MINUTE_MS,
    }
    connection.execute(insert(session), row)
    return cookie, csrf_token


def session_user(connection: Connection, cookie: str, now: int, extend: int | None) -> SessionView | None:
    """Who a cookie stands for, for another `extend` minutes from now; None when it is over, unknown or disabled.

    Without `extend` the session's end stays where it is: a page that refreshes itself is nobody being there.
    """
    statement = (
        select(user.c.username, user.c.display_name, user.c.role, session.c.csrf_token, session.c.expires_at)
        .join_from(session, user)
        .where(session.c.session_digest == _digest(cookie), session.c.expires_at > now, user.c.disabled.is_(False))
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    found = SessionView(*row)
    if extend is None:
        return found
    extended = replace(found, expires_at=now + extend * MINUTE_MS)
    changed = update(session).where(session.c.session_digest == _digest(cookie))
    connection.execute(changed.values(expires_at=extended.expires_at))
    return extended


def close_session(connection: Connection, cookie: str) -> None:
    """End a session."""
    connection.execute(delete(session).where(session.c.session_digest == _digest(cookie)))


def create_api_token(connection: Connection, username: str, name: str, now: int) -> str:
    """Make a token with a user's rights. This is the only time that it is seen. `NotFoundError` without such a user."""
    if connection.execute(select(user.c.username).where(user.c.username == username)).one_or_none() is None:
        message = "there is no user of this name"
        raise NotFoundError(message)
    token = _MARK + secrets.token_urlsafe(_SECRET_BYTES)
    row = {"token_digest": _digest(token), "name": name, "username": username, "created_at": now}
    connection.execute(insert(api_token), row)
    return token


def token_user(connection: Connection, token: str) -> UserView | None:
    """Whose token this is; None when it is unknown or revoked, or its user is disabled."""
    statement = (
        select(*_USER)
        .join_from(api_token, user)
        .where(
            api_token.c.token_digest == _digest(token),
            api_token.c.revoked_at.is_(None),
            user.c.disabled.is_(False),
        )
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else UserView(*row)


def revoke_api_token(connection: Connection, username: str, name: str, now: int) -> None:
    """Revoke a user's token of this name (all of them, if it was given twice). `NotFoundError` when there is none."""
    live = (api_token.c.username == username, api_token.c.name == name, api_token.c.revoked_at.is_(None))
    if connection.execute(update(api_token).where(*live).values(revoked_at=now)).rowcount == 0:
        message = "the user has no valid token of this name"
        raise NotFoundError(message)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except VerifyMismatchError:
        return False


@cache
def _hash_of_nobody() -> str:
    """What the password of an unknown user is compared with, so that the answer takes as long."""
    return _HASHER.hash(secrets.token_urlsafe(_SECRET_BYTES))


def _digest(secret: str) -> str:
    # The secrets have 256 random bits: nothing slower is needed.
    return hashlib.sha256(secret.encode()).hexdigest()
