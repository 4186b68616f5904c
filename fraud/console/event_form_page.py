"""The pages of the two long forms: recording a compromise event, and amending one."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request, Response

from fraud.api.authentication import Principal
from fraud.api.services import Services
from fraud.compromise import AlertSource, DataElements, EntityRole, WindowPrecision
from fraud.console.event_forms import ENTITY_ROWS, FormData
from fraud.console.event_page import problem_words
from fraud.console.rendering import render, request_format
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.compromise_views import CompromiseEventView

_ELEMENTS = [name for name in DataElements(*(True for _ in range(11))).names() if name != "pan"]


def new_page_response(
    request: Request,
    services: Services,
    principal: Principal,
    form: FormData,
    error: ConflictError | InvalidInputError | None = None,
) -> Response:
    """The form that records an event."""
    return _form_page(request, services, principal, form, None, error)


def amend_page_response(
    request: Request,
    services: Services,
    principal: Principal,
    event: CompromiseEventView,
    form: FormData,
    error: ConflictError | InvalidInputError | None = None,
) -> Response:
    """The form that amends an event, filled with what is known."""
    return _form_page(request, services, principal, form, event, error)


def _form_page(
    request: Request,
    services: Services,
    principal: Principal,
    form: FormData,
    event: CompromiseEventView | None,
    error: ConflictError | InvalidInputError | None,
) -> Response:
    format_ = request_format(request, services)
    rows = [row for row in range(ENTITY_ROWS) if _filled(form, row)]
    return render(
        request,
        "event_form.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=format_,
        event=event,
        form=_Shown(form),
        elements=_ELEMENTS,
        chosen=set(form.all("data_elements")),
        entity_rows=range(min(ENTITY_ROWS, len(rows) + 2)),
        roles=list(EntityRole),
        sources=list(AlertSource),
        precisions=list(WindowPrecision),
        problem=problem_words(error, format_) if error else None,
        problem_field=error.field if isinstance(error, InvalidInputError) else None,
    )


def _filled(form: FormData, row: int) -> bool:
    return any(name == f"entity_name_{row}" and value for name, value in form.items)


class _Shown:
    """A form's fields as a template shows them again: whatever was sent, also when it was refused."""

    def __init__(self, form: FormData) -> None:
        self._fields = dict(reversed(form.items))

    def __getitem__(self, name: str) -> str:
        return self._fields.get(name, "")
