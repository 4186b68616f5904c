import pytest
from fastapi import Response
from hypothesis import given
from hypothesis import strategies as st

from fraud.api.preconditions import PreconditionRequiredError, expected_version, set_etag
from fraud.errors import InvalidInputError

versions = st.integers(min_value=1, max_value=10**17)


@given(versions)
def test_a_tag_comes_back_as_the_version_it_was_made_of(version: int) -> None:
    response = Response()
    set_etag(response, version)
    assert expected_version(None, response.headers["ETag"]) == version
    assert expected_version(version, response.headers["ETag"]) == version


def test_the_version_may_stand_in_the_body_alone() -> None:
    assert expected_version(7, None) == 7


def test_no_version_at_all_is_asked_for() -> None:
    with pytest.raises(PreconditionRequiredError):
        expected_version(None, None)


def test_two_versions_that_differ_are_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        expected_version(2, '"3"')
    assert caught.value.field == "body.version"


@pytest.mark.parametrize("tag", ["3", 'W/"3"', "*", '"3", "4"', '""', '"-1"', '"0"', '"3a"', '"' + "9" * 19 + '"'])
def test_a_tag_that_is_not_ours_is_refused(tag: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        expected_version(None, tag)
    assert caught.value.field == "header.If-Match"
