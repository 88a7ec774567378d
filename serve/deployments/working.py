"""What takes jobs from the desk for as long as its process lives."""

import asyncio
import contextlib
import os
import socket
import time
from typing import Any

from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Histogram

from raytalk.enrolment.maker import AvatarMaker
from raytalk.threads import use_threads
from serve.deployments.logs import keep_calm
from serve.handles import DeskOverHandle
from serve.records.record import Change, Job, JobKind
from serve.records.store import Store
from serve.scratch import sweep
from serve.settings import ServiceSettings
from serve.work.loop import Handler, work
from serve.work.model import load_maker
from serve.work.provenance import Signer
from serve.work.report import Report

_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


class Worker:
    """Base of the deployments that do so."""

    _working: asyncio.Task[None] | None = None

    def _begin(self, desk: DeploymentHandle[Any], handler: Handler, settings: ServiceSettings) -> None:
        keep_calm()
        sweep()
        name = f"{handler.kind}@{socket.gethostname()}:{os.getpid()}"
        self._working = asyncio.create_task(work(DeskOverHandle(desk), handler, name, settings.work.lease_s))

    async def check_health(self) -> None:
        """Serve replaces a replica that works no more."""
        if self._working is None or self._working.done():
            raise RuntimeError("the worker ended")

    async def ready(self) -> bool:
        """Whether jobs are taken."""
        return self._working is not None and not self._working.done()

    async def __del__(self) -> None:
        # None: it could not be made, which Serve tells.
        if self._working is None:
            return
        self._working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._working


class Timed:
    """A handler whose jobs are timed for Prometheus."""

    def __init__(self, handler: Handler, name: str, help: str) -> None:
        self._handler = handler
        self._seconds = Histogram(name, help, list(_SECONDS))

    @property
    def kind(self) -> JobKind:
        return self._handler.kind

    def do(self, job: Job, report: Report) -> Change:
        begun = time.perf_counter()
        change = self._handler.do(job, report)
        self._seconds.observe(time.perf_counter() - begun)
        return change

    def kept(self, job: Job) -> None:
        self._handler.kept(job)

    def lost(self, job: Job) -> None:
        self._handler.lost(job)


async def loaded(settings: ServiceSettings, threads: int) -> tuple[Store, AvatarMaker, Signer]:
    """What a worker needs; the model is this process's own."""
    use_threads(threads)
    store = Store(settings.storage)
    maker = await asyncio.to_thread(load_maker, settings)
    return store, maker, await asyncio.to_thread(Signer.from_store, store, settings.certificate)
