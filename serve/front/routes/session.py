"""What a page must know before anything else."""

from typing import Annotated

import pydantic
from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serve.errors import Unauthorized
from serve.front.front import Here, address_of
from serve.front.problems import responses

router = APIRouter(tags=["session"])
_bearer = HTTPBearer(auto_error=False)


class Session(pydantic.BaseModel):
    """Who the client is, and what it may do."""

    keys: bool
    """whether a key is asked for"""
    owner: str | None
    """whose key was shown; null for none or one that is not valid"""
    limits: dict[str, int | float]
    """the names of the service's settings `limits.`"""
    mark: bool
    """whether everything generated carries a visible mark"""


@router.get(
    "/v1/session",
    summary="Who the client is, and its limits",
    # A key may be shown and need not be.
    openapi_extra={"security": [{}]},
    responses=responses(),
)
async def session(
    request: Request, front: Here, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Session:
    """Never asks for a key: a page learns here whether it must."""
    owner: str | None
    try:
        owner = front.owner_of(credentials.credentials if credentials else None, address_of(request))
    except Unauthorized:
        owner = None
    return Session(
        keys=bool(front.backend.keyring),
        owner=owner,
        limits=front.settings.limits.model_dump(),
        mark=front.settings.render.visible_mark,
    )
