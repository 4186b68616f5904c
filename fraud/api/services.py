"""What the endpoints work with: one frozen bundle a process, made by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from fraud.clock import Clock, SystemClock, now_ms
from fraud.pan_guard import PanGuard
from fraud.settings import Settings

ReadyCheck = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that requests share. A ready check returns None when all is well, otherwise what is wrong."""

    settings: Settings
    engine: Engine
    clock: Clock
    guard: PanGuard
    ready_checks: Mapping[str, ReadyCheck] = field(default_factory=dict)
    people_clock: Clock = field(default_factory=SystemClock)

    def now(self) -> int:
        """The time of the services' clock, epoch milliseconds UTC."""
        return now_ms(self.clock)

    def people_now(self) -> int:
        """The time by which people's sessions and locks end: the machine's, also while a replay's time runs faster."""
        return now_ms(self.people_clock)


def get_services(request: Request) -> Services:
    """The services of the application that answers this request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    # A plain function would be sent to a worker thread, for every request, to read one attribute.
    return get_services(request)


ServicesHere = Annotated[Services, Depends(_services)]
