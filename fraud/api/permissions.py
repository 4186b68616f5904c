"""Who may do what: one table of roles, and the dependency that holds an endpoint to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, get_args

import structlog

from fraud.api.authentication import CurrentUser, Principal
from fraud.errors import ForbiddenError

Permission = Literal[
    "cases:read",
    "cases:write",
    "exposure:read",
    "exposure:write",
    "operations:read",
    "reports:read",
]
Role = Literal["reviewer", "event_manager", "operator", "data_scientist", "auditor", "administrator"]

_EVERY_READ: frozenset[Permission] = frozenset(name for name in get_args(Permission) if name.endswith(":read"))

# An administrator looks at everything and decides nothing: who runs the service does not also judge its cases.
ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    "reviewer": frozenset({"cases:read", "cases:write", "exposure:read", "reports:read"}),
    "event_manager": frozenset({"cases:read", "exposure:read", "exposure:write", "reports:read"}),
    "operator": frozenset({"operations:read", "reports:read"}),
    "data_scientist": frozenset({"cases:read", "exposure:read", "reports:read"}),
    "auditor": _EVERY_READ,
    "administrator": _EVERY_READ,
}

log = structlog.get_logger(__name__)


def permissions_of(role: str) -> frozenset[Permission]:
    """What a role may do. A role that is not in the table may do nothing."""
    return next((granted for name, granted in ROLE_PERMISSIONS.items() if name == role), frozenset())


def may(principal: Principal, permission: Permission) -> bool:
    """True when the caller has this permission: for pages that leave out what would be refused."""
    return permission in permissions_of(principal.role)


def requires(permission: Permission) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency: the caller, who must have this permission; otherwise `ForbiddenError`."""

    async def permitted_user(principal: CurrentUser) -> Principal:
        if not may(principal, permission):
            log.warning("refused", username=principal.username, role=principal.role, permission=permission)
            message = f"this needs the permission {permission}, which the role does not have"
            raise ForbiddenError(message)
        return principal

    return permitted_user
