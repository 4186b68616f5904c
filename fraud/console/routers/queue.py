"""The queue: what waits for a person, most expected loss first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from fraud.api.services import ServicesHere
from fraud.cases import CaseStatus
from fraud.console.exposure_words import seen_by
from fraud.console.forms import go_to
from fraud.console.rendering import render
from fraud.console.routers.permissions import CaseReader, CaseWriter
from fraud.store import cases as store
from fraud.store.cases import CaseFilter
from fraud.store.database import read, write
from fraud.store.exposure import list_compromise_events

PAGE_SIZE = 50

TabName = Literal["open", "new", "claimed", "resolved"]
TAB_STATUSES: dict[TabName, tuple[CaseStatus, ...]] = {
    "open": (CaseStatus.NEW, CaseStatus.CLAIMED),
    "new": (CaseStatus.NEW,),
    "claimed": (CaseStatus.CLAIMED,),
    "resolved": (CaseStatus.RESOLVED,),
}

router = APIRouter(prefix="/queue")


class QueueQuery(BaseModel):
    """What the queue's address says: tab, filters, order, place."""

    tab: TabName = "open"
    kind: Literal["", "EXPOSED", "ANOMALY"] = ""
    tier: Annotated[int, Field(ge=0, le=5)] = 0
    event: Annotated[str, Field(max_length=40)] = ""
    mine: bool = False
    sort: Literal["priority", "opened_at", "due_at"] = "priority"
    descending: bool = True
    after: Annotated[str, Field(max_length=512)] = ""
    claimed_none: bool = False

    @property
    def filtered(self) -> bool:
        """True when anything besides the tab narrows the list."""
        return bool(self.kind or self.tier or self.event or self.mine)

    def address(self, **changes: Any) -> str:
        """The address of this list with something changed; what is as usual is left out."""
        wanted = self.model_copy(update={"claimed_none": False, **changes}).model_dump(exclude_defaults=True)
        words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in wanted.items()}
        return f"/queue?{urlencode(words)}" if words else "/queue"

    @staticmethod
    def first_direction(sort: str) -> bool:
        """Whether a column is first sorted downwards: most loss and newest first, but soonest due first."""
        return sort != "due_at"


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab with its number of cases."""

    name: TabName
    count: int


@router.get("")
def queue(
    request: Request, services: ServicesHere, principal: CaseReader, query: Annotated[QueueQuery, Query()]
) -> Response:
    """Show one page of the queue."""
    chosen = CaseFilter(
        status=TAB_STATUSES[query.tab],
        kind=query.kind or None,
        tier_at_least=query.tier or None,
        compromise_event_id=query.event or None,
        claimed_by=principal.username if query.mine else None,
    )
    with read(services.engine) as connection:
        page = store.list_cases(connection, chosen, query.sort, query.descending, query.after or None, PAGE_SIZE)
        counts = store.queue_counts(connection)
        events = list_compromise_events(connection)
    return render(
        request,
        "queue.html",
        principal,
        query=query,
        cases=page.items,
        next_cursor=page.next_cursor,
        total=page.total,
        tabs=[Tab(name, sum(counts.get(status, 0) for status in statuses)) for name, statuses in TAB_STATUSES.items()],
        event_names={event.compromise_event_id: seen_by(principal, event).name for event in events},
        nothing_to_claim=query.claimed_none,
    )


@router.post("/claim-next")
def claim_next(services: ServicesHere, principal: CaseWriter) -> Response:
    """Claim the most urgent new case and open it; with none left, say so in the queue."""
    with write(services.engine) as connection:
        case = store.claim_next(connection, principal.username, services.now())
    return go_to("/queue?claimed_none=true" if case is None else f"/cases/{case.case_id}")
