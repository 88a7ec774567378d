"""People in memory, rendered."""

import asyncio
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter, Histogram

from raytalk.driving.live import AvatarFace
from raytalk.threads import use_threads
from serve.deployments.logs import keep_calm
from serve.deployments.placing import MILLISECONDS, cores
from serve.handles import DeskOverHandle
from serve.parts import PersonKey, PictureFormat, Rendered
from serve.records.following import follow_deletions
from serve.records.store import Store
from serve.scratch import sweep
from serve.settings import ServiceSettings
from serve.shortcut import Listener
from serve.work.renderer import Renderer


@serve.deployment(
    name="renderer",
    max_ongoing_requests=256,
    graceful_shutdown_timeout_s=5,
    request_router_config=RequestRouterConfig(
        request_router_class="serve.deployments.routing.PeopleRouter"  # type: ignore[arg-type]
    ),
)
class RendererDeployment:
    """Holds people in memory and renders them."""

    async def __init__(self, settings: ServiceSettings, desk: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        keep_calm()
        sweep()
        use_threads(settings.renderer.threads or cores())
        self._load_ms = Histogram("raytalk_load_ms", "Of an avatar into memory", list(MILLISECONDS), ("mode",))
        self._frames = Counter("raytalk_frames", "Rendered frames", ("mode",))
        self._render_ms = Histogram("raytalk_render_ms", "Of a frame, waiting apart", list(MILLISECONDS))
        self._renderer = Renderer(Store(settings.storage), settings.checkpoint, settings, self._note)
        await self._renderer.start()
        self._forgetting = asyncio.create_task(follow_deletions(DeskOverHandle(desk), self._renderer.forget))
        self._listener = Listener({"render": self._rendered})
        self._replica = await self._listener.start()

    async def render(
        self, key: PersonKey, landmarks: npt.NDArray[np.float32], format: PictureFormat, quality: int
    ) -> Rendered:
        """See `serve.work.renderer.Renderer`."""
        return dataclasses.replace(await self._rendered(key, landmarks, format, quality), replica=self._replica)

    async def _rendered(
        self, key: PersonKey, landmarks: npt.NDArray[np.float32], format: PictureFormat, quality: int
    ) -> Rendered:
        rendered = await self._renderer.render(key, landmarks, format, quality)
        self._render_ms.observe(rendered.render_ms / max(1, len(rendered.pictures)))
        return rendered

    async def face(self, key: PersonKey) -> AvatarFace:
        """See `serve.work.renderer.Renderer`."""
        return await self._renderer.face(key)

    async def ready(self) -> bool:
        """Whether people can be rendered."""
        return await self._renderer.ready()

    async def people(self) -> list[str]:
        """Ids of the avatars in memory."""
        return self._renderer.people()

    async def check_health(self) -> None:
        """Serve replaces a replica that lost its GPU, or that no longer hears of deletions."""
        if not await self._renderer.ready() or self._forgetting.done():
            raise RuntimeError("the renderer cannot go on")

    def _note(self, name: str, value: float, mode: str) -> None:
        if name == "load_ms":
            self._load_ms.observe(value, tags={"mode": mode})
        else:
            self._frames.inc(value, tags={"mode": mode})

    async def __del__(self) -> None:
        # In the order in which they were made: what failed to be made, and what follows it, is not there.
        for name, end in (("_renderer", "close"), ("_forgetting", "cancel"), ("_listener", "close")):
            if hasattr(self, name):
                getattr(getattr(self, name), end)()
