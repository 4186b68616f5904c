"""Who may see and do what, as annotations for the pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from fraud.api.authentication import Principal
from fraud.api.permissions import requires

CaseReader = Annotated[Principal, Depends(requires("cases:read"))]
CaseWriter = Annotated[Principal, Depends(requires("cases:write"))]
ExposureReader = Annotated[Principal, Depends(requires("exposure:read"))]
ExposureWriter = Annotated[Principal, Depends(requires("exposure:write"))]
OperationsReader = Annotated[Principal, Depends(requires("operations:read"))]
