"""The front: HTTP and WebSocket. Nothing here imports torch, so that replicas are small and start quickly."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from serve.deployments.placing import LONG_POLLS
from serve.front.app import make_api
from serve.front.backend import Backend
from serve.handles import DeskOverHandle, FacesOverHandle, RendererOverHandle
from serve.keys import Keyring
from serve.records.audit import Audit
from serve.records.store import Store
from serve.scratch import sweep
from serve.settings import ServiceSettings


@serve.deployment(name="front", max_ongoing_requests=LONG_POLLS)
@serve.ingress()
class FrontDeployment:
    """`serve.front` over the other parts' handles."""

    def __init__(
        self,
        settings: ServiceSettings,
        keyring: Keyring,
        desk: DeploymentHandle[Any],
        faces: DeploymentHandle[Any],
        renderer: DeploymentHandle[Any],
        *workers: DeploymentHandle[Any],
    ) -> None:
        """workers: take their jobs from the desk by themselves; named here so that they are part of the application."""
        sweep()
        store = Store(settings.storage)
        self._settings = settings
        self._backend = Backend(
            store, DeskOverHandle(desk), FacesOverHandle(faces), RendererOverHandle(renderer), Audit(store), keyring
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_api(self._backend, self._settings)
