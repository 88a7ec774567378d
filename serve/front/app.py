"""The FastAPI app: routes, guard, description."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from serve.front import docs, problems
from serve.front.backend import Backend
from serve.front.front import Front
from serve.front.guard import Guard
from serve.front.routes import avatars, events, frames, health, live, page, session, videos
from serve.records.following import follow_deletions

if TYPE_CHECKING:
    from serve.settings import ServiceSettings

VERSION = "1"
_GAUGE_S = 5.0


def make_api(backend: Backend, settings: "ServiceSettings") -> FastAPI:
    """One replica's app. Starts nothing before its lifespan does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        backend.audit.start()
        front = api.state.front
        tasks = [
            asyncio.create_task(_gauge(front)),
            asyncio.create_task(follow_deletions(backend.desk, front.posers.forget)),
        ]
        yield
        for task in tasks:
            task.cancel()
        await backend.audit.stop()

    api = FastAPI(
        title="raytalk",
        version=VERSION,
        description=docs.TEXT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0"},
        generate_unique_id_function=lambda route: f"{(route.tags or ['page'])[0]}-{route.name}",
    )
    api.state.front = Front(backend, settings)
    problems.install(api)
    for routes in (avatars, events, frames, videos, live, session, health, page, docs):
        api.include_router(routes.router)
    api.mount("/page", page.PageFiles(directory=page.FOLDER, check_dir=False))
    if settings.origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After", "Idempotent-Replayed", "X-Avatar-Mode", "X-Render-Ms"],
        )
    # Added last, so it is outermost.
    api.add_middleware(Guard, local_only=not backend.keyring, origins=tuple(settings.origins), metrics=backend.metrics)
    described = api.openapi

    def description() -> dict[str, Any]:
        return docs.completed(described())

    api.openapi = description  # type: ignore[method-assign]
    return api


async def _gauge(front: Front) -> None:
    """Again and again: Ray forgets a gauge that was not set for some twenty seconds."""
    while True:
        front.backend.metrics.add("live_connections", front.live.taken)
        front.backend.metrics.add("event_streams", front.streams.taken)
        await asyncio.sleep(_GAUGE_S)
