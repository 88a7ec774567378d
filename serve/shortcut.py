"""Calls to a replica on the same machine past Ray Serve, for what happens at every frame of a live stream.

A call over a Serve handle passes through some ten threads and event loops of two processes, which takes 3 ms; over a
Unix socket it takes .25 ms. Serve stays who decides: the first call goes through it, as does one every few seconds and
any that fails here, and its answer tells the socket of the replica that gave it. Who listens has the socket in a folder
that only its own user may enter, so what is said over it is trusted as Ray's own calls are.
"""

import asyncio
import contextlib
import itertools
import logging
import pickle
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from serve.errors import Problem, Unavailable
from serve.scratch import new_folder

_log = logging.getLogger("raytalk.serve.shortcut")

_HEAD, _BUFFER = 4, 1 << 20
"""bytes of a message's length, and those that are read ahead"""
_FRESH_S = 10.0
"""for so long a replica is asked directly before Serve is asked again who should be"""
_MOST = 10_000
"""whose replicas are remembered"""

_GIVEN_UP = ""
"""instead of a method: nobody waits any longer for the answer of that number"""

Method = Callable[..., Awaitable[Any]]


class Told(Protocol):
    """An answer that says who gave it."""

    @property
    def replica(self) -> str:
        """The socket of the replica; empty if it has none."""
        ...


Answer = TypeVar("Answer", bound=Told)


class Gone(Exception):
    """There is no answer this way: ask through Serve."""


class Listener:
    """The side of a replica."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        """methods: what may be called. A Problem that they raise is raised at the caller, anything else as Gone."""
        self._methods = methods
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """The socket; empty where there can be none, which costs speed alone."""
        try:
            self._folder = await asyncio.to_thread(new_folder, "calls")
            path = self._folder / "socket"
            self._server = await asyncio.start_unix_server(self._connected, path, limit=_BUFFER)
        except OSError as error:
            # A temporary folder with a long name, for example: such a path has 107 bytes at most.
            _log.warning("calls go through Ray Serve alone: %s", error)
            return ""
        return str(path)

    def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        going: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                number, method, arguments = await _read(reader)
                if method == _GIVEN_UP:
                    if number in going:
                        going[number].cancel()
                    continue
                going[number] = answering = asyncio.create_task(self._answer(writer, number, method, arguments))
                answering.add_done_callback(lambda _, number=number: going.pop(number))  # type: ignore[misc]
                self._keep(answering)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            # Nobody is left to be answered.
            for answering in going.values():
                answering.cancel()
            writer.close()

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, writer: asyncio.StreamWriter, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        answer: tuple[Any, Problem | None, str] = None, None, ""
        try:
            answer = await self._methods[method](*arguments), None, ""
        except Problem as problem:
            answer = None, problem, ""
        except Exception as error:  # noqa: BLE001 - told to the caller, whose call through Serve is logged
            answer = None, None, f"{type(error).__name__}: {error}"
        if not writer.is_closing():
            writer.write(_packed(number, *answer))
            with contextlib.suppress(OSError):
                await writer.drain()


class Line:
    """One connection to a replica, for many calls at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def open(cls, path: str) -> "Line":
        """Raises OSError."""
        return cls(*await asyncio.open_unix_connection(path, limit=_BUFFER))

    @property
    def usable(self) -> bool:
        """Whether the other end is there, as far as is known."""
        return not self._listening.done()

    @property
    def busy(self) -> int:
        """Calls under way."""
        return len(self._waiting)

    async def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """What the method answers. Raises the Problem that it raised, Gone if there is no answer."""
        if not self.usable:
            raise Gone
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_packed(number, method, arguments))
            answer, problem, broken = await waiting
        except asyncio.CancelledError:
            # Or too late: what nobody waits for is not worked on.
            if self.usable:
                self._writer.write(_packed(number, _GIVEN_UP, ()))
            raise
        finally:
            self._waiting.pop(number, None)
        if problem is not None:
            raise problem
        if broken:
            raise Gone(broken)
        return answer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, *answer = await _read(reader)
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Gone("the connection ended"))


class Shortcut:
    """The side of a caller: knows which replicas may be asked directly, and for whom. Used on one event loop."""

    def __init__(self, most_busy: int | None = None) -> None:
        """most_busy: with so many calls under way to each known replica, Serve chooses; None: it never minds."""
        self._most_busy = most_busy
        self._lines: dict[str, Line] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, dict[str, float]] = {}
        # Sockets that cannot be reached, of replicas on other machines.
        self._elsewhere: set[str] = set()

    async def ask(
        self,
        who: str,
        method: str,
        arguments: tuple[Any, ...],
        seconds: float,
        through_serve: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """The answer of a replica. who: for whom replicas are remembered, such as an avatar's id. Raises as Serve's."""
        path = self._choose(who)
        if path is not None:
            try:
                return await asyncio.wait_for(self._lines[path].call(method, arguments), seconds)
            except Gone:
                self._forget(who, path)
            except TimeoutError:
                # Not asked again through Serve: who has too much to do would have twice as much.
                self._forget(who, path)
                raise Unavailable("The service does not answer now. Try again in a moment.", "too-slow") from None
            except Problem as problem:
                if problem.status >= 500:
                    self._forget(who, path)
                raise
        answer = await through_serve()
        self._learn(who, answer.replica)
        return answer

    def _choose(self, who: str) -> str | None:
        known, now = self._known.get(who, {}), time.monotonic()
        for path, until in list(known.items()):
            line = self._lines.get(path)
            if until < now or (line is not None and not line.usable):
                del known[path]
        ready = [path for path in known if path in self._lines]
        if not ready:
            return None
        path = min(ready, key=lambda each: self._lines[each].busy)
        return path if self._most_busy is None or self._lines[path].busy < self._most_busy else None

    def _learn(self, who: str, path: str) -> None:
        if not path or path in self._elsewhere:
            return
        while len(self._known) >= _MOST and who not in self._known:
            del self._known[next(iter(self._known))]
        self._known.setdefault(who, {})[path] = time.monotonic() + _FRESH_S
        line = self._lines.get(path)
        if (line is None or not line.usable) and path not in self._opening:
            self._opening[path] = asyncio.create_task(self._open(path))

    async def _open(self, path: str) -> None:
        try:
            line = await Line.open(path)
            self._lines = {each: known for each, known in self._lines.items() if known.usable} | {path: line}
        except FileNotFoundError:
            if len(self._elsewhere) >= _MOST:
                self._elsewhere.clear()
            self._elsewhere.add(path)
        except OSError as error:
            _log.warning("%s cannot be reached now: %s", path, error)
        finally:
            del self._opening[path]

    def _forget(self, who: str, path: str) -> None:
        self._known.get(who, {}).pop(path, None)


def _packed(*message: Any) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_HEAD, "big") + data


async def _read(reader: asyncio.StreamReader) -> Any:
    length = int.from_bytes(await reader.readexactly(_HEAD), "big")
    return pickle.loads(await reader.readexactly(length))
