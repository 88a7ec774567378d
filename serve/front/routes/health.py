"""Whether the service is alive, and whether its parts are."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Literal

import pydantic
from fastapi import APIRouter

from serve.errors import Unavailable
from serve.front.backend import Backend
from serve.front.front import Here
from serve.front.problems import problem_of, responses

router = APIRouter(tags=["health"])
_PATIENCE = 5.0
"""seconds for each part to answer"""
_AGAIN = 1.0
"""seconds for which their answers are good"""


class Alive(pydantic.BaseModel):
    """The front answers."""

    status: Literal["alive"] = "alive"


class Ready(pydantic.BaseModel):
    """All parts answer."""

    status: Literal["ready"] = "ready"
    parts: dict[str, bool] = pydantic.Field(examples=[{"desk": True, "faces": True, "renderer": True}])


@router.get("/healthz", summary="Whether this process answers", responses=responses())
async def alive() -> Alive:
    """Asks no other part: a front that answers need not be restarted."""
    return Alive()


@router.get("/readyz", summary="Whether all parts answer", responses=responses(Unavailable))
async def ready(front: Here) -> Ready:
    """desk is also storage: it says whether it could be read and written lately."""
    # Anybody may ask this, without a key: however often, the parts are asked once a second.
    async with front.asking:
        if time.monotonic() > front.parts_asked + _AGAIN:
            front.parts, front.parts_asked = await _parts(front.backend), time.monotonic()
    parts = front.parts
    if not all(parts.values()):
        missing = ", ".join(name for name, answers in parts.items() if not answers)
        raise Unavailable(f"not ready: {missing}", "not-ready", {"Retry-After": "5"}, {"parts": parts})
    return Ready(parts=parts)


async def _parts(backend: Backend) -> dict[str, bool]:
    asked = {"desk": backend.desk.ready(), "faces": backend.faces.ready(), "renderer": backend.renderer.ready()}
    return dict(zip(asked, await asyncio.gather(*map(_answers, asked.values())), strict=True))


async def _answers(part: Awaitable[bool]) -> bool:
    try:
        return await asyncio.wait_for(part, _PATIENCE)
    except TimeoutError:
        return False
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready; the reason is in the log
        problem_of(error)
        return False
