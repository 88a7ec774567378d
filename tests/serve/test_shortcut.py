"""Calls past Ray Serve: the same answers, and Serve's whenever there is none."""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_desk import in_loop
from toy_work import until

from serve import shortcut as module
from serve.errors import Conflict, Unavailable
from serve.shortcut import Listener, Shortcut


@dataclass(frozen=True)
class Answer:
    said: Any
    replica: str = ""


class Replica:
    """One that may be asked both ways."""

    def __init__(self, name: str = "") -> None:
        self.name, self.path = name, ""
        self.direct: list[Any] = []
        self.through_serve: list[Any] = []
        self.ended: list[Any] = []
        """calls that were cancelled"""
        self.gate = asyncio.Event()
        self.gate.set()
        self.listener = Listener({"echo": self.echo, "refuse": self.refuse, "fail": self.fail})

    async def echo(self, said: Any) -> Answer:
        self.direct.append(said)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ended.append(said)
            raise
        return Answer(said)

    async def refuse(self, status: int) -> Answer:
        self.direct.append(status)
        raise Unavailable("no", "gpu-lost") if status == 503 else Conflict("not now", "not-now", {"X": "1"}, {"y": 2})

    async def fail(self) -> Answer:
        self.direct.append("fail")
        raise ZeroDivisionError("1/0")

    async def ask(
        self, shortcut: Shortcut, said: Any, who: str = "ada", method: str = "echo", seconds: float = 20
    ) -> Any:
        async def serve() -> Answer:
            self.through_serve.append(said)
            return Answer(said, self.path)

        return (await shortcut.ask(who, method, () if said is None else (said,), seconds, serve)).said


@asynccontextmanager
async def listening(name: str = "") -> AsyncIterator[Replica]:
    replica = Replica(name)
    replica.path = await replica.listener.start()
    yield replica
    replica.listener.close()


async def known(shortcut: Shortcut, replica: Replica, who: str = "ada") -> None:
    """Ask until it is answered directly."""
    for _ in range(100):
        await replica.ask(shortcut, "hello", who)
        if replica.direct:
            break
        await asyncio.sleep(0.01)
    assert replica.direct
    replica.direct.clear()
    replica.through_serve.clear()


async def held_up(shortcut: Shortcut, replica: Replica, *said: Any) -> list["asyncio.Task[Any]"]:
    """Calls that the replica has begun to answer, and whose answers wait at its gate."""
    await known(shortcut, replica)
    replica.gate.clear()
    asked = [asyncio.create_task(replica.ask(shortcut, each)) for each in said]
    await until(lambda: len(replica.direct) == len(said), 5)
    return asked


@in_loop
async def test_serve_is_asked_first_and_the_replica_from_then_on() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        assert await replica.ask(shortcut, "first") == "first"
        assert (replica.through_serve, replica.direct) == (["first"], [])
        await known(shortcut, replica)
        points = np.random.default_rng(0).random((1, 68, 2), np.float32)
        assert (await replica.ask(shortcut, points) == points).all()
        large = bytes(3_000_000)
        assert await replica.ask(shortcut, large) == large
        assert replica.through_serve == []
        await replica.ask(shortcut, "other", who="bob")
        assert replica.through_serve == ["other"], "who has another replica perhaps"


@in_loop
async def test_many_calls_at_a_time_get_their_own_answers() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        asked = await held_up(shortcut, replica, *range(50))
        asked[7].cancel()
        replica.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, BaseException)] == [*range(7), *range(8, 50)]
        assert await replica.ask(shortcut, "goes on") == "goes on"
        assert replica.through_serve == []


@in_loop
async def test_what_is_given_up_is_not_worked_on() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        asked = await held_up(shortcut, replica, 0, 1, 2)
        asked[1].cancel()
        await until(lambda: replica.ended == [1], 5)
        with pytest.raises(Unavailable):
            await replica.ask(shortcut, "late", seconds=0.05)
        await until(lambda: replica.ended == [1, "late"], 5)
        replica.gate.set()
        assert await asyncio.gather(asked[0], asked[2]) == [0, 2]
        asked = await held_up(shortcut, replica, "of one who goes")
        assert replica.direct == ["of one who goes"]
        for line in shortcut._lines.values():
            line._writer.close()
        await until(lambda: replica.ended[-1] == "of one who goes", 5)
        asked[0].cancel()


@in_loop
async def test_problems_come_as_they_were_there() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        await known(shortcut, replica)
        with pytest.raises(Conflict, match="not now") as caught:
            await replica.ask(shortcut, 409, method="refuse")
        assert (caught.value.code, caught.value.headers, caught.value.extra) == ("not-now", {"X": "1"}, {"y": 2})
        with pytest.raises(Unavailable):
            await replica.ask(shortcut, 503, method="refuse")
        assert replica.through_serve == []
        await replica.ask(shortcut, "next")
        assert replica.through_serve == ["next"], "who cannot go on is asked no more, but by Serve"


@in_loop
async def test_what_nobody_foresaw_is_asked_again_through_serve() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        await known(shortcut, replica)
        assert await replica.ask(shortcut, None, method="fail") is None
        assert (replica.direct, replica.through_serve) == (["fail"], [None])


@in_loop
async def test_a_replica_that_dies_in_the_middle_of_a_call() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        asked = await held_up(shortcut, replica, 0, 1, 2)
        replica.listener.close()
        assert await asyncio.gather(*asked) == [0, 1, 2]
        assert sorted(replica.through_serve) == [0, 1, 2], "Serve knows another, or says that there is none"
        assert await replica.ask(shortcut, "later") == "later"
        assert replica.through_serve[-1] == "later"
        assert not Path(replica.path).exists()


@in_loop
async def test_a_replica_that_stands_still() -> None:
    async with listening() as replica:
        shortcut = Shortcut()
        await known(shortcut, replica)
        replica.gate.clear()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await replica.ask(shortcut, "slow", seconds=0.3)
        assert 0.25 < time.monotonic() - began < 5
        assert replica.through_serve == [], "who has too much to do is not asked twice"
        assert await replica.ask(shortcut, "next") == "next"
        assert replica.through_serve == ["next"]


@in_loop
async def test_serve_is_asked_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH_S", 0.3)
    async with listening() as replica:
        shortcut = Shortcut()
        await known(shortcut, replica)
        await asyncio.sleep(0.4)
        await replica.ask(shortcut, "who")
        assert replica.through_serve == ["who"]
        await replica.ask(shortcut, "again")
        assert replica.direct == ["again"], "the connection is still there"


@in_loop
async def test_the_least_busy_of_those_known_is_asked_and_serve_if_all_are() -> None:
    async with listening("a") as one, listening("b") as two:
        shortcut = Shortcut(2)
        await known(shortcut, one)
        # Serve tells of the other one.
        one.gate.clear()
        asked = [asyncio.create_task(one.ask(shortcut, n)) for n in range(2)]
        await until(lambda: len(one.direct) == 2, 5)
        assert await two.ask(shortcut, "busy") == "busy"
        assert two.through_serve == ["busy"]
        await until(lambda: two.path in shortcut._lines, 5)
        for n in range(5):
            await two.ask(shortcut, n)
        assert two.direct == list(range(5))
        assert two.through_serve == ["busy"]
        one.gate.set()
        await asyncio.gather(*asked)


@in_loop
async def test_a_replica_on_another_machine_is_asked_through_serve_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    opened = module.Line.open

    async def watched(path: str) -> module.Line:
        tried.append(path)
        return await opened(path)

    monkeypatch.setattr(module.Line, "open", watched)
    replica, shortcut = Replica(), Shortcut()
    replica.path = str(tmp_path / "elsewhere" / "socket")
    for n in range(20):
        assert await replica.ask(shortcut, n) == n
        await asyncio.sleep(0.005)
    assert replica.through_serve == list(range(20))
    assert tried == [replica.path], "once"


@in_loop
async def test_where_there_can_be_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("serve.scratch._own", {})
    with caplog.at_level(logging.WARNING):
        async with listening() as replica:
            assert replica.path == ""
            assert await replica.ask(Shortcut(), "fine") == "fine"
    assert "through Ray Serve alone" in caplog.text


@in_loop
async def test_nobody_else_may_call() -> None:
    async with listening() as replica:
        folder = Path(replica.path).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent.stat().st_mode & 0o077 == 0
