"""Liveness and readiness, for whatever keeps the process running. They need no login and tell nothing else."""

from __future__ import annotations

from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from fraud.api.openapi import public_problem_responses
from fraud.api.problems import FieldProblem, problem_response
from fraud.api.schemas.base import Answer
from fraud.api.services import Services, ServicesHere
from fraud.store.database import current_revision, head_revision

router = APIRouter(prefix="/healthz", tags=["health"])
log = structlog.get_logger(__name__)


class HealthAnswer(Answer):
    """All is well."""

    status: Literal["ok"] = "ok"
    checks: list[str] = Field(default=[], description="What was looked at.")


@router.get("/live", summary="The process answers", openapi_extra={"security": []})
def live() -> HealthAnswer:
    """Say that the process answers. It asks nothing of the database: a restart would not mend that."""
    return HealthAnswer()


@router.get(
    "/ready",
    summary="The service can do its work",
    openapi_extra={"security": []},
    response_model=HealthAnswer,
    responses=public_problem_responses(503),
)
def ready(request: Request, services: ServicesHere) -> HealthAnswer | Response:
    """Look at the database, its schema and every registered check. Why one fails is in the log, not in the answer."""
    checks = {"database": lambda: _database(services), **services.ready_checks}
    failed = []
    for name, check in checks.items():
        problem = check()
        if problem is not None:
            log.warning("not_ready", check=name, problem=problem)
            failed.append(FieldProblem(field=name, message="this check fails"))
    if failed:
        return problem_response(request, 503, "NOT_READY", "the service is not ready", errors=failed)
    return HealthAnswer(checks=list(checks))


def _database(services: Services) -> str | None:
    try:
        current = current_revision(services.engine)
    except SQLAlchemyError as error:
        return f"the database does not answer ({type(error).__name__})"
    return None if current == head_revision() else "the database's schema is not this version's; run the upgrade"
