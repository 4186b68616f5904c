"""Changes name the version that they were decided on, as `If-Match` or in the body, so that none is lost unseen."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header, Response

from fraud.errors import InvalidInputError, MimamoriError

_STRONG_TAG = re.compile(r'"([1-9][0-9]{0,17})"')

IfMatch = Annotated[
    str | None, Header(description="The `ETag` of what was read, instead of `version` in the body.", examples=['"3"'])
]


class PreconditionRequiredError(MimamoriError):
    """A change came without the version that it is meant for."""

    status = 428
    code = "PRECONDITION_REQUIRED"


def expected_version(in_body: int | None, if_match: str | None) -> int:
    """The version that a change is meant for. Given twice, both must agree; given nowhere, it is asked for."""
    if if_match is None:
        if in_body is None:
            message = "send the version that you looked at, as If-Match or as version in the body"
            raise PreconditionRequiredError(message)
        return in_body
    tag = _STRONG_TAG.fullmatch(if_match.strip())
    if tag is None:
        message = 'If-Match must be one ETag as this API gives it, a version in double quotes: "3"'
        raise InvalidInputError(message, field="header.If-Match")
    version = int(tag[1])
    if in_body is not None and in_body != version:
        message = "version and If-Match differ"
        raise InvalidInputError(message, field="body.version")
    return version


def set_etag(response: Response, version: int) -> None:
    """Give the answer the tag that `expected_version` reads."""
    response.headers["ETag"] = f'"{version}"'
