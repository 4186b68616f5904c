"""Cursors are exactly what was given out; pages lose nothing and repeat nothing."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.errors import InvalidInputError
from fraud.store.paging import Key, decode_cursor, encode_cursor

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(key=st.tuples(INTEGERS, TEXT), order=TEXT)
def test_cursor_is_url_safe_and_comes_back(key: Key, order: str) -> None:
    cursor = encode_cursor(order, key)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert decode_cursor(cursor, order, [int, str]) == key


@given(key=st.tuples(INTEGERS, INTEGERS), data=st.data())
def test_changed_cursor_is_refused(key: Key, data: st.DataObject) -> None:
    cursor = encode_cursor("priority", key)
    place = data.draw(st.integers(0, len(cursor) - 1))
    change = data.draw(
        st.sampled_from(["", "A", "b", "_", "=", "é", cursor[place] * 2]).filter(lambda c: c != cursor[place])
    )
    with pytest.raises(InvalidInputError) as caught:
        decode_cursor(cursor[:place] + change + cursor[place + 1 :], "priority", [int, int])
    assert caught.value.field == "cursor"


@given(text=st.text())
def test_any_text_is_refused_calmly(text: str) -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor(text, "priority", [int, int])


@pytest.mark.parametrize(
    "key",
    [(1,), (1, 2, 3), (1, "2"), (1, 2.0), (1, None), (True, 2), (1, 2**63), (1, -(2**63) - 1), (1, [2])],
)
def test_well_made_cursor_with_another_key_is_refused(key: Key) -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor(encode_cursor("priority", key), "priority", [int, int])


@pytest.mark.parametrize("text", ["a\x00", "\ud800", "a\nb"])
def test_text_that_a_database_may_refuse_is_refused_here(text: str) -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor(encode_cursor("card_ref", (text,)), "card_ref", [str])


def test_cursor_of_another_order_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor(encode_cursor("opened_at ascending", (1, 2)), "opened_at descending", [int, int])


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{}", b"[]", b'"x"', b"null", json.dumps(["priority"]).encode()])
def test_strange_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor(base64.urlsafe_b64encode(b"123456" + data).decode().rstrip("="), "priority", [int, int])
