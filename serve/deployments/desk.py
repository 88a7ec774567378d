"""The desk: the one writer of records, one replica."""

import asyncio
import contextlib

from ray import serve
from ray.util.metrics import Gauge

from serve.deployments.logs import keep_calm
from serve.deployments.placing import LONG_POLLS
from serve.errors import Problem
from serve.records.desk import Desk
from serve.records.store import Store
from serve.settings import ServiceSettings

_EVERY_S = 5.0


@serve.deployment(name="desk", num_replicas=1, max_ongoing_requests=LONG_POLLS, graceful_shutdown_timeout_s=10)
class DeskDeployment(Desk):
    """The one writer of records."""

    async def __init__(self, settings: ServiceSettings) -> None:  # type: ignore[misc]
        keep_calm()
        super().__init__(Store(settings.storage), settings.limits, settings.work)
        await self.start()
        self._gauge = Gauge("raytalk_records", "Jobs that wait, by kind, and avatars by state", ("what",))
        self._counting = asyncio.create_task(self._count())

    async def check_health(self) -> None:
        """Serve replaces a desk that another one has taken over from."""
        if self.superseded:
            raise RuntimeError("another desk has taken over")

    async def _count(self) -> None:
        while True:
            with contextlib.suppress(Problem):
                for what, count in (await self.queue()).items():
                    self._gauge.set(count, tags={"what": what})
            await asyncio.sleep(_EVERY_S)

    async def __del__(self) -> None:
        self._counting.cancel()
        await self.stop()
