"""Card references: form, keys, rotation, and that a number never comes back out."""

from __future__ import annotations

import hashlib
import hmac
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fraud.cards import (
    CardTokenizer,
    PanProblem,
    card_key,
    card_keys,
    display,
    is_card_ref,
    luhn_valid,
    mask,
    merchant_keys,
    read_pan,
)
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.settings import CardSettings

KEYS = {1: bytes(range(16)), 2: bytes(range(16, 48))}
PAN = "4111111111111111"
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))

bodies = st.text("0123456789", min_size=11, max_size=18)


def luhn_by_the_book(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in "0123456789" if luhn_by_the_book(body + digit))


@pytest.fixture
def tokenizer() -> CardTokenizer:
    return CardTokenizer(KEYS, active_key=2)


@given(st.text("0123456789", min_size=1, max_size=40))
def test_luhn_agrees_with_the_book(digits: str) -> None:
    assert luhn_valid(digits) == luhn_by_the_book(digits)


@pytest.mark.parametrize("text", ["", "41111111 11111111", "x", "٤١١١١١١١١١١١١١١١", "-0", "0\n"])
def test_luhn_takes_ascii_digits_only(text: str) -> None:
    assert not luhn_valid(text)


@given(bodies)
def test_reference_is_hmac_of_the_whole_number_under_the_active_key(body: str) -> None:
    pan = with_check_digit(body)
    expected = hmac.new(KEYS[2], pan.encode(), hashlib.sha256).hexdigest()
    tokenizer = CardTokenizer(KEYS, active_key=2)
    assert tokenizer.reference(pan) == f"v2:{expected}"
    assert tokenizer.references(pan) == (
        f"v2:{expected}",
        f"v1:{hmac.new(KEYS[1], pan.encode(), hashlib.sha256).hexdigest()}",
    )
    assert is_card_ref(tokenizer.reference(pan))


def test_references_differ_from_a_plain_hash(tokenizer: CardTokenizer) -> None:
    assert hashlib.sha256(PAN.encode()).hexdigest() not in tokenizer.reference(PAN)


@pytest.mark.parametrize(
    "spelling",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "  4111111111111111\r\n",
        "4111\u30001111\u30001111\u30001111",
        "4111\u30fc1111\uff0d1111\u22121111",
        "4111\u00a01111\u20131111\u20101111",
        PAN.translate(FULL_WIDTH),
        "4111 1111 1111 1111".translate(FULL_WIDTH),
    ],
)
def test_spellings_of_one_number_have_one_reference(tokenizer: CardTokenizer, spelling: str) -> None:
    assert tokenizer.reference(spelling) == tokenizer.reference(PAN)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", PanProblem.EMPTY),
        (" - ", PanProblem.EMPTY),
        ("4.11111E+15", PanProblem.SCIENTIFIC),
        ("4E15", PanProblem.SCIENTIFIC),
        ("4111********1111", PanProblem.MASKED),
        ("411111XXXXXX1111", PanProblem.MASKED),
        ("4111 11•• •••• 1111", PanProblem.MASKED),
        ("4111" + "\uff0a" * 8 + "1111", PanProblem.MASKED),
        ("41111111111", PanProblem.WRONG_LENGTH),
        ("41111111111111111111", PanProblem.WRONG_LENGTH),
        ("4111111111111112", PanProblem.CHECK_DIGIT),
        ("4111111111111111.0", PanProblem.NOT_DIGITS),
        ("card", PanProblem.NOT_DIGITS),
        ("٤١١١١١١١١١١١١١١١", PanProblem.NOT_DIGITS),
        ("4111111111111111²", PanProblem.NOT_DIGITS),
    ],
)
def test_what_is_no_number_is_refused_without_being_shown(
    tokenizer: CardTokenizer, text: str, problem: PanProblem
) -> None:
    assert read_pan(text) == ("", problem)
    with pytest.raises(InvalidInputError) as caught:
        tokenizer.reference(text)
    assert caught.value.field == "pan"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    if len(text.strip(" -")) > 4:
        assert text.strip() not in shown
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("typo", range(15))
def test_every_single_wrong_digit_is_noticed(tokenizer: CardTokenizer, typo: int) -> None:
    wrong = PAN[:typo] + str((int(PAN[typo]) + 3) % 10) + PAN[typo + 1 :]
    with pytest.raises(InvalidInputError):
        tokenizer.references(wrong)


def test_settings_without_a_key_say_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match=r"cards\.keys"):
        CardTokenizer.from_settings(CardSettings())


def test_settings_with_keys() -> None:
    settings = CardSettings(keys={version: SecretStr(key.hex()) for version, key in KEYS.items()}, active_key=1)
    assert CardTokenizer.from_settings(settings).reference(PAN) == CardTokenizer(KEYS, 1).reference(PAN)


@pytest.mark.parametrize("version", [0, -1, 10_000])
def test_a_key_version_that_no_reference_can_carry_is_refused(version: int) -> None:
    with pytest.raises(ConfigurationError, match="1 to 9999"):
        CardTokenizer({version: KEYS[1]}, active_key=version)


def test_repr_shows_no_key(tokenizer: CardTokenizer) -> None:
    shown = repr(tokenizer)
    assert "versions=[2, 1]" in shown
    assert all(key.hex() not in shown and repr(key) not in shown for key in KEYS.values())


@pytest.mark.parametrize("text", ["v1:" + "0" * 64, "v9999:" + "9af" * 21 + "b", "x:1", "x:" + "~" * 78, "x:v1:00"])
def test_card_refs(text: str) -> None:
    assert is_card_ref(text)
    assert card_key(text) == int(card_keys(np.array([text], dtype=object))[0])


@pytest.mark.parametrize(
    "text",
    [
        *("", "v1:" + "0" * 63, "v1:" + "0" * 65, "v1:" + "A" * 64, "v:" + "0" * 64, "v12345:" + "0" * 64),
        *("v1:" + "0" * 64 + "\n", "v\uff11:" + "0" * 64, "x:", "x:" + "a" * 79, "x:a b", "x:a\n", "x:é", PAN),
    ],
)
def test_no_card_refs(text: str) -> None:
    assert not is_card_ref(text)
    with pytest.raises(InvalidInputError) as caught:
        card_key(text)
    assert caught.value.field == "card_ref"
    assert "1111" not in str(caught.value)


@given(st.lists(st.one_of(st.integers(0, 2**256 - 1), st.text("abcXYZ019-", min_size=1, max_size=20)), max_size=20))
def test_card_keys_are_the_first_64_bits(parts: list[int | str]) -> None:
    refs = [f"v{1 + i % 12}:{p:064x}" if isinstance(p, int) else f"x:{p}" for i, p in enumerate(parts)]
    keys = card_keys(np.array(refs, dtype=object))
    expected = [
        p >> 192 if isinstance(p, int) else int(hashlib.blake2b(r.encode(), digest_size=8).hexdigest(), 16)
        for p, r in zip(parts, refs, strict=True)
    ]
    assert keys.dtype == np.uint64
    assert keys.tolist() == expected


@pytest.mark.parametrize("bad", [None, "", "v1:4111111111111111", 7])
def test_card_keys_refuse_what_is_plainly_no_reference(bad: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        card_keys(np.array(["v1:" + "0" * 64, bad], dtype=object))
    assert "4111" not in "".join(traceback.format_exception(caught.value))


def test_merchant_keys_tell_merchants_apart() -> None:
    acquirers = np.array(["a", "ab", None, "", "a", "a", "1:a"], dtype=object)
    merchants = np.array(["bc", "c", "bc", "bc", None, "", "b"], dtype=object)
    keys = merchant_keys(acquirers, merchants)
    assert keys.dtype == np.uint64
    assert keys[2] == keys[3]  # an acquirer that is missing is missing, however it is spelled
    assert keys[4] == keys[5] == 0
    assert len(set(keys.tolist())) == 5
    assert merchant_keys(acquirers[:0], merchants[:0]).shape == (0,)


def test_merchant_keys_stay_what_they_are() -> None:
    """Stored state holds them, so a changed definition would make every merchant a new one."""
    keys = merchant_keys(np.array(["ACQ1", None], dtype=object), np.array(["M1", "見守り"], dtype=object))
    expected = [hashlib.blake2b(data, digest_size=8).digest() for data in (b"4:ACQ1:M1", b"0::" + "見守り".encode())]
    assert keys.tolist() == [int.from_bytes(digest, "big") for digest in expected]


@given(bodies)
def test_mask_shows_at_most_the_last_four(body: str) -> None:
    pan = with_check_digit(body)
    assert mask(pan) == f"••••{pan[-4:]}"
    assert mask("-".join(pan)) == mask(pan)


@pytest.mark.parametrize("text", ["", "1234", "41111111111", "1" * 20, "abc"])
def test_mask_of_no_number_shows_nothing(text: str) -> None:
    assert mask(text) == "••••"


@pytest.mark.parametrize(
    ("bin_digits", "last4", "shown"),
    [
        ("411111", "1111", "411111••••1111"),
        ("41111122", "1111", "411111••••1111"),
        (None, "1111", "••••1111"),
        ("411111", None, "411111••••"),
        (None, None, "••••"),
        ("<b>", PAN, "••••1111"),
        (PAN, PAN, "411111••••1111"),
    ],
)
def test_display(bin_digits: str | None, last4: str | None, shown: str) -> None:
    assert display(bin_digits, last4) == shown
