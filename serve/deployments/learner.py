"""Few-shot learning."""

import asyncio
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve.deployments.placing import cores
from serve.deployments.working import Timed, Worker, loaded
from serve.settings import ServiceSettings
from serve.work.learner import Learner


@serve.deployment(name="learner", max_ongoing_requests=8, graceful_shutdown_timeout_s=10)
class LearnerDeployment(Worker):
    """Fine-tunes people, one at a time in each replica."""

    async def __init__(self, settings: ServiceSettings, desk: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        store, maker, signer = await loaded(settings, settings.learner.threads or max(1, cores() // 2))
        learner = Learner(store, settings, maker, signer)
        await asyncio.to_thread(learner.prepare)
        self._begin(desk, Timed(learner, "raytalk_learn_s", "Fine-tuning of a person"), settings)
