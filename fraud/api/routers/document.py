"""The OpenAPI document. It needs a login like everything that it describes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from fraud.api.openapi import openapi_document
from fraud.api.routers.parameters import PREFIX
from fraud.api.services import ServicesHere

router = APIRouter(prefix=PREFIX)


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, services: ServicesHere) -> dict[str, Any]:
    """Show what the API takes and gives."""
    return openapi_document(request.app, services.settings.api)
