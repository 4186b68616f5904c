"""The application: middleware, problems, routers. It opens nothing itself; everything it works with is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType

from fastapi import Depends, FastAPI
from sqlalchemy import Engine

from fraud.api.authentication import current_user
from fraud.api.guarding import refuse_card_numbers
from fraud.api.middleware import BodyLimit, Boundary
from fraud.api.problems import install_problem_handlers
from fraud.api.routers import (
    cards,
    cases,
    detections,
    document,
    event_changes,
    events,
    exposure,
    health,
    imports,
    operations,
    people,
)
from fraud.api.services import ReadyCheck, Services
from fraud.api.uploads import LARGER_PATHS
from fraud.clock import Clock
from fraud.pan_guard import PanGuard
from fraud.settings import Settings

_NO_CHECKS: Mapping[str, ReadyCheck] = MappingProxyType({})


def create_app(
    settings: Settings,
    engine: Engine,
    clock: Clock,
    guard: PanGuard,
    *,
    ready_checks: Mapping[str, ReadyCheck] = _NO_CHECKS,
) -> FastAPI:
    """Build the API.

    Args:
        settings: the process's settings.
        engine: the store.
        clock: tells every `now` that is written or compared.
        guard: refuses card numbers in what comes in.
        ready_checks: name to a check that returns None or what is wrong; `/healthz/ready` asks them all.

    """
    app = FastAPI(
        title="Mimamori",
        version=version("mimamori"),
        openapi_url=None,  # the document needs a login; the framework's own route has none
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect repeats the address, and with it whatever stood in its query
        # Spans and exception records carry addresses and texts of exceptions; both can hold a card number.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = Services(settings, engine, clock, guard, ready_checks)
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, larger=[(exposure.IMPORT_PATH, exposure.IMPORT_BYTES), *LARGER_PATHS])
    app.add_middleware(Boundary, secure=settings.api.secure_cookies)
    app.include_router(health.router)
    for module in (cases, detections, events, event_changes, exposure, imports, cards, operations, people, document):
        app.include_router(module.router, dependencies=[Depends(current_user), Depends(refuse_card_numbers)])
    return app
