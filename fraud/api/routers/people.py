"""The caller."""

from __future__ import annotations

from fastapi import APIRouter

from fraud.api.authentication import CurrentUser
from fraud.api.openapi import problem_responses
from fraud.api.permissions import permissions_of
from fraud.api.routers.parameters import PREFIX
from fraud.api.schemas.operations import MeAnswer

router = APIRouter(prefix=PREFIX, tags=["people"])


@router.get("/me", summary="Who am I", responses=problem_responses())
def me(user: CurrentUser) -> MeAnswer:
    """Show who is calling, and what they may do."""
    return MeAnswer(
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        permissions=sorted(permissions_of(user.role)),
    )
