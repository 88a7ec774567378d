"""Videos of avatars."""

import asyncio
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from raytalk.threads import use_threads
from serve.deployments.placing import cores
from serve.deployments.working import Timed, Worker
from serve.records.store import Store
from serve.settings import ServiceSettings
from serve.work.films import Films
from serve.work.provenance import Signer


@serve.deployment(name="films", max_ongoing_requests=8, graceful_shutdown_timeout_s=10)
class FilmsDeployment(Worker):
    """Makes videos."""

    async def __init__(self, settings: ServiceSettings, desk: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        use_threads(settings.films.threads or max(1, cores() // 2))
        store = Store(settings.storage)
        signer = await asyncio.to_thread(Signer.from_store, store, settings.certificate)
        films = Films(store, settings, signer)
        self._begin(desk, Timed(films, "raytalk_film_s", "Making a video"), settings)
