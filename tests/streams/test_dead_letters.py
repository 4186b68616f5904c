"""Dead letters repeat nothing that the payload holds."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters import MAX_PATH_LENGTH, REDACTED, ErrorClass, card_ref_in_text, payload_digest, safe_path

PAN = "4111111111111111"
WIDE_PAN = "".join(chr(0xFF10 + int(digit)) for digit in PAN)
HEX = "0f" * 32


def test_the_digest_is_keyed_and_tells_payloads_apart() -> None:
    key = b"k" * 16
    assert payload_digest(key, b"payload") == hmac.new(key, b"payload", hashlib.sha256).hexdigest()
    assert len({payload_digest(key, b"a"), payload_digest(key, b"b"), payload_digest(b"l" * 16, b"a")}) == 3
    assert payload_digest(key, None) == payload_digest(key, b"")


def test_error_classes_say_what_they_mean_and_fit_their_column() -> None:
    assert len({error.meaning for error in ErrorClass}) == len(ErrorClass)
    assert all(error.meaning and len(error) <= 40 for error in ErrorClass)
    assert all(not error.replayable for error in ErrorClass if "PAN" in error)
    assert ErrorClass("NOT_JSON").replayable


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (f'{{"card_ref":"v1:{HEX}"', f"v1:{HEX}"),
        (f'"card_ref" :\n "v9999:{HEX}"', f"v9999:{HEX}"),
        ('"card_ref": "x:card-1"', "x:card-1"),
        (f'"card_ref": "v1:{HEX}0"', None),
        (f'"card_ref": "v1:{HEX}', None),
        (f'"card_ref": "{PAN}"', None),
        (r'"card_ref": "x:a\u0062"', None),
        (f'"account_ref": "v1:{HEX}"', None),
    ],
)
def test_a_card_reference_is_read_from_a_broken_payload(payload: str, expected: str | None) -> None:
    assert card_ref_in_text(payload.encode()) == expected


@pytest.mark.parametrize("path", ["merchant_name", "extra.deep[]", "a.b.c", "de48.sub_field_42", "{key}", "店名"])
def test_ordinary_paths_stay_as_they_are(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PAN, REDACTED),
        (f"extra.{PAN}.deep", f"extra.{REDACTED}.deep"),
        ("extra.4111-1111-1111-1111", f"extra.{REDACTED}"),
        ("extra.4111_1111_1111_1111", f"extra.{REDACTED}"),
        ("4111.1111.1111.1111", REDACTED),
        (f"extra.{WIDE_PAN}", f"extra.{REDACTED}"),
        ("extra." + "a" * 65, f"extra.{REDACTED}"),
        ("a\nb", REDACTED),
        (".".join(["a" * 60] * 4), REDACTED),
    ],
)
def test_a_path_that_may_hold_a_card_number_is_redacted(path: str, expected: str) -> None:
    assert safe_path(path) == expected


@given(st.text() | st.from_regex(r"[a-z0-9._ -]{0,80}", fullmatch=True))
def test_no_path_keeps_enough_digits_for_a_card_number(path: str) -> None:
    kept = safe_path(path)
    assert sum(character.isdigit() for character in kept) < 12
    assert len(kept) <= MAX_PATH_LENGTH
    assert kept.isprintable()
