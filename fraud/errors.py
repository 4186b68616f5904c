"""The product's own errors. A message names the field or the thing at fault and never repeats a value it was given."""

from __future__ import annotations


class MimamoriError(Exception):
    """Root of the product's errors; its text may be shown to a person as it is."""

    status = 500
    code = "INTERNAL"


class InvalidInputError(MimamoriError):
    """Something that a person or a file handed in is wrong; `field` names where."""

    status = 422
    code = "INVALID_INPUT"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(MimamoriError):
    """The thing named does not exist, or the caller may not know that it does."""

    status = 404
    code = "NOT_FOUND"


class ConflictError(MimamoriError):
    """The thing has moved on since the caller looked at it, or the step is not allowed from its state."""

    status = 409
    code = "CONFLICT"


class ForbiddenError(MimamoriError):
    """The caller is known and may not do this."""

    status = 403
    code = "FORBIDDEN"


class ConfigurationError(MimamoriError):
    """A setting is missing or contradicts another; the message says which and what to do."""

    code = "CONFIGURATION"


class UnavailableError(MimamoriError):
    """A service that is needed does not answer now; trying again later may work."""

    status = 503
    code = "UNAVAILABLE"
