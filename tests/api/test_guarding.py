import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.api.guarding import refuse_in
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard

PAN = "4111111111111111"
GUARD = PanGuard(("411111",), (16,))

plain = st.none() | st.booleans() | st.integers(0, 99_999) | st.text("abc -.:", max_size=20)
nested = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=8), inner, max_size=4)
)
spellings = st.sampled_from([PAN, "4111 1111 1111 1111", "4111-1111-1111-1111", f"card {PAN}.", int(PAN), float(PAN)])


def hide(body: Any, secret: Any, steps: list[int]) -> Any:
    """`body` with `secret` somewhere in it, `steps` saying where."""
    if isinstance(body, list) and steps:
        at = steps[0] % (len(body) + 1)
        inner = hide(body[at], secret, steps[1:]) if at < len(body) else secret
        return [*body[:at], inner, *body[at + 1 :]]
    if isinstance(body, dict) and steps:
        names = [*body, "further"]
        name = names[steps[0] % len(names)]
        return {**body, name: hide(body.get(name), secret, steps[1:])}
    return secret


@given(nested)
def test_what_holds_no_card_number_passes(body: Any) -> None:
    refuse_in(GUARD, body, "body")


@given(nested, spellings, st.lists(st.integers(0, 9), max_size=6))
def test_a_card_number_is_found_wherever_it_stands_and_not_repeated(body: Any, secret: Any, steps: list[int]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        refuse_in(GUARD, hide(body, secret, steps), "body")
    assert caught.value.field is not None
    assert caught.value.field.startswith("body")
    assert not GUARD.find_in_text(f"{caught.value} {caught.value.field}")


def test_a_card_number_as_a_name_is_found_and_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as caught:
        refuse_in(GUARD, {"facts": [{PAN: 1}]}, "body")
    assert caught.value.field == "body.facts.0.?"


def test_references_digests_and_times_pass() -> None:
    refuse_in(
        GUARD,
        {
            "card_ref": "v1:" + "4111111111111111" * 3 + "abcdef0123456789",
            "detection_id": "f" * 64,
            "at": 1_675_000_000_000,
        },
        "body",
    )


def test_depth_costs_no_recursion() -> None:
    refuse_in(GUARD, json.loads("[" * 900 + "]" * 900), "body")
