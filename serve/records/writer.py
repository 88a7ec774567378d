"""Storage for the desk: in threads, and only while no other desk has taken over.

There is one desk, but while a service is updated, or when a machine is cut off and thought dead, an old one may live
beside the new for a while. A desk that starts puts its name into storage (`claim`), and each reads whose name is there
before it writes a record. Storage cannot do both in one step, so the new desk waits a second before it reads the
records: by then a write that the old one had begun is done. (A write that hangs for longer than that second could
still come late and put back the former state of one record; a worker's token then no longer fits and the job is done
again.)
"""

import asyncio
import functools
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from raytalk.errors import StorageError
from serve.errors import BadRequest, Unavailable
from serve.records import rules
from serve.records.record import Avatar, Film
from serve.records.store import Store

log = logging.getLogger(__name__)

_THREADS = 32
_SLOW_S, _REST_S = 2.0, 5.0
P = ParamSpec("P")
Result = TypeVar("Result")


class Writer:
    """Every method raises Unavailable where storage does not answer or another desk has taken over."""

    def __init__(self, store: Store, settle_s: float = 1.0) -> None:
        """settle_s: how long a write that another desk has begun may take."""
        self.store, self.name = store, secrets.token_hex(8)
        self.answers = False
        """whether storage did what it was asked last"""
        self.superseded = False
        """whether another desk has taken over"""
        self._settle_s, self._rest_until = settle_s, 0.0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="desk")

    async def run(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """A function of the store, in a thread."""
        call, loop = functools.partial(function, *args, **kwargs), asyncio.get_running_loop()
        begun = loop.time()
        try:
            result = await loop.run_in_executor(self._threads, call)
        except StorageError as error:
            if self.answers:
                log.error("storage does not answer: %s", error)
            self.answers = False
            if loop.time() - begun > _SLOW_S:
                self.rest()
            raise _unavailable() from error
        self.answers, self._rest_until = True, 0.0
        return result

    def rest(self) -> None:
        """Storage lets everybody wait in vain (an object store that is cut off, for a minute): spare others that."""
        self.answers, self._rest_until = False, asyncio.get_running_loop().time() + _REST_S

    async def take_over(self) -> None:
        """From now on this desk writes."""
        if await self.run(self.store.claimant):
            await self.run(self.store.claim, self.name)
            await asyncio.sleep(self._settle_s)
        else:
            await self.run(self.store.claim, self.name)

    async def save(self, record: Avatar | Film) -> None:
        """Write a record; it is stored when this returns. If it raises, it may be stored or not."""
        try:
            data = record.model_dump_json().encode()
        except ValueError as error:
            raise BadRequest("A text of it is no Unicode text.", code="bad-text") from error
        await self.guarded(self.store.write_record, rules.kind_of(record), record.id, data)

    async def guarded(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """A function of the store that changes records, unless another desk has taken over."""

        if asyncio.get_running_loop().time() < self._rest_until:
            raise _unavailable()
        await self._unless_superseded(functools.partial(function, *args, **kwargs))

    async def probe(self) -> None:
        """Find out whether storage answers, and whether another desk has taken over."""
        await self._unless_superseded(self.store.probe)

    async def _unless_superseded(self, function: Callable[[], Any]) -> None:
        def write() -> bool:
            if self.store.claimant() not in (self.name, ""):
                return False
            function()
            return True

        if self.superseded:
            raise _superseded()
        if not await self.run(write):
            self.superseded = True
            log.error("another desk has taken over; this one answers no more")
            raise _superseded()

    async def close(self) -> None:
        """Give the place up, if it is still this desk's."""
        try:
            await self.guarded(self.store.claim, "")
        except Unavailable as problem:
            log.warning("the desk did not end its turn: %s", problem.detail)
        self._threads.shutdown(wait=False)


def _unavailable() -> Unavailable:
    # What storage says names buckets and paths: it is logged, and not for everybody.
    return Unavailable("Storage does not answer now. Try again in a moment.", headers={"Retry-After": "5"})


def _superseded() -> Unavailable:
    return Unavailable("This part of the service was replaced. Try again now.", headers={"Retry-After": "1"})
