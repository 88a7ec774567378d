"""Faces of driving pictures, and the first look at new people."""

import asyncio
import dataclasses
import threading
import time
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Histogram

from raytalk.faces.detect import make_detector
from serve.deployments.placing import MILLISECONDS, cores
from serve.deployments.working import Worker, loaded
from serve.parts import FaceFound
from serve.settings import ServiceSettings
from serve.shortcut import Listener
from serve.work.faces import Faces
from serve.work.introduce import Introducer


@serve.deployment(name="faces", max_ongoing_requests=64, graceful_shutdown_timeout_s=10)
class FacesDeployment(Worker):
    """Finds faces in driving pictures, and introduces new people."""

    _listener: Listener | None = None

    async def __init__(self, settings: ServiceSettings, desk: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        store, maker, signer = await loaded(settings, settings.faces.threads or cores())
        detector = make_detector(maker.settings.detector, maker.device.type)
        self._faces = Faces(detector, settings.limits.photo_pixels)
        self._milliseconds = Histogram("raytalk_detect_ms", "Of the face in a driving picture", list(MILLISECONDS))
        self._listener = Listener({"landmarks": self._found})
        self._replica = await self._listener.start()
        self._begin(desk, Introducer(store, settings, maker, signer), settings)

    async def landmarks(self, image: bytes, near: tuple[float, float, float, float] | None) -> FaceFound:
        """See `serve.work.faces.Faces`."""
        return dataclasses.replace(await self._found(image, near), replica=self._replica)

    async def _found(self, image: bytes, near: tuple[float, float, float, float] | None) -> FaceFound:
        begun, given_up = time.perf_counter(), threading.Event()
        try:
            found = await asyncio.to_thread(self._faces.landmarks, image, near, given_up.is_set)
        except asyncio.CancelledError:
            given_up.set()
            raise
        self._milliseconds.observe((time.perf_counter() - begun) * 1e3)
        return found

    async def __del__(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await super().__del__()
