"""Calls over Serve handles: what becomes of them when nobody waits for their answer any more."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from serve.errors import Conflict, Unavailable
from serve.handles import answered, direct

pytestmark = pytest.mark.ray


class _Part:
    """Waits, and knows how that ended."""

    def __init__(self) -> None:
        self._ends: list[str] = []

    async def wait(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._ends.append("cancelled")
            raise
        self._ends.append("waited")
        return "here"

    async def refuse(self) -> None:
        raise Conflict("not now", "not-now")

    async def ends(self, count: int) -> list[str]:
        """As soon as there are so many."""
        while len(self._ends) < count:
            await asyncio.sleep(0.01)
        return self._ends


class _Caller:
    """Calls from another replica, as the parts of the service do."""

    def __init__(self, part: Any) -> None:
        self._part = direct(part)

    async def impatient(self) -> str:
        with pytest.raises(Unavailable) as caught:
            await answered(self._part.wait.remote(60.0), "part", 0.3)
        return caught.value.code

    async def gone(self) -> None:
        waiting = asyncio.create_task(answered(self._part.wait.remote(60.0), "part", 60.0))
        await asyncio.sleep(0.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def patient(self) -> str:
        return str(await answered(self._part.wait.remote(0.01), "part"))

    async def refused(self) -> str:
        with pytest.raises(Conflict) as caught:
            await answered(self._part.refuse.remote(), "part")
        return caught.value.code

    async def ends(self, count: int) -> list[str]:
        return list(await answered(self._part.ends.remote(count), "part", 10.0))


@pytest.fixture(scope="module")
def caller(ray_session: None) -> Iterator[Any]:
    from ray import serve

    serve.start(proxy_location="Disabled")
    few: dict[str, Any] = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 20}
    part = serve.deployment(name="part", **few)(_Part).bind()
    yield serve.run(serve.deployment(name="caller", **few)(_Caller).bind(part), name="handles", route_prefix=None)
    serve.shutdown()


def test_a_call_ends_when_nobody_waits_for_it_any_more(caller: Any) -> None:
    assert caller.impatient.remote().result(timeout_s=20) == "part-unavailable"
    assert caller.ends.remote(1).result(timeout_s=20) == ["cancelled"]
    caller.gone.remote().result(timeout_s=20)
    assert caller.ends.remote(2).result(timeout_s=20) == ["cancelled", "cancelled"]


def test_answers_and_problems_come_as_they_were_there(caller: Any) -> None:
    assert caller.patient.remote().result(timeout_s=20) == "here"
    assert caller.refused.remote().result(timeout_s=20) == "not-now"
