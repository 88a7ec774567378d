"""One live connection: driving messages in, pictures out.

Two stages follow each other: find the landmarks of the newest driving message, then render and send. One message is in
each at most, so that the next picture's face is looked for while one is rendered, and what a client sends meanwhile is
replaced by what it sends later. Where the renderer has room (a CPU renders each picture on a core of its own), two are
rendered at a time; one that is overtaken is not sent.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket

from raytalk.driving.live import AvatarFace, LiveMotion
from raytalk.errors import AvatarError
from serve.errors import BadRequest, Conflict, NotFound, Problem
from serve.front.documents import PoseGiven
from serve.front.front import Front
from serve.front.live_flow import (
    DONE,
    MISUSED,
    NOT_FOUND,
    UNAUTHORIZED,
    UNAVAILABLE,
    Newest,
    Over,
    Pace,
    Turns,
    Window,
    first_to_end,
    ms_since,
)
from serve.front.live_frame import Frame, Person
from serve.front.live_messages import Driving, Shown, Start, packed, read_binary, read_text
from serve.front.pictures import check_driving_picture
from serve.front.problems import problem_of
from serve.front.routes.frames import version_of
from serve.parts import Landmarks
from serve.records.record import Avatar

_START_SECONDS, _IDLE_SECONDS, _SEND_SECONDS = 15.0, 120.0, 30.0
_WATCH_SECONDS = 20.0
_KEY_SECONDS = 2.0
_BAD_MESSAGES = 100
_FAILURES = 20
"""unexpected errors one after the other before the connection is given up"""
_NEWS = 16
_ROOM_MS = 5.0
"""a picture that waited less than this for the device tells that another may be rendered beside it"""


class LiveSession:
    """Runs until it is over; `frames` is then how many pictures were sent."""

    def __init__(self, front: Front, socket: WebSocket, owner: str, avatar: Avatar, holds: Callable[[], bool]) -> None:
        """holds: whether the key that it was opened with is still the owner's."""
        self.frames, self._holds = 0, holds
        self._front, self._socket, self._owner, self._avatar = front, socket, owner, avatar
        self._limits = front.settings.limits
        self._newest: Newest[Driving] = Newest()
        self._pace = Pace(self._limits.live_frames_per_second)
        self._window = Window()
        self._news: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_NEWS)
        self._sending, self._rendering = asyncio.Lock(), Turns()
        self._last_turn = self._overtaken = 0
        self._near: tuple[tuple[int, int], tuple[float, float, float, float]] | None = None
        self._bad = self._failures = 0
        self._start: Start | None = None
        self._motion: tuple[Start, AvatarFace, LiveMotion] | None = None
        self._person: Person

    async def run(self) -> None:
        """Raises Over, always."""
        key, mode = version_of(self._avatar)
        self._person = Person(key, mode, await self._front.backend.renderer.face(key))
        await first_to_end(self._receive(), self._work(), self._tell(), self._watch(), self._check())

    # What comes in.

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while self._start is None:
                    await self._receive_one()
        except TimeoutError:
            raise Over(MISUSED, "no start") from None
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._receive_one()
        except TimeoutError:
            raise Over(DONE, "idle") from None

    async def _receive_one(self) -> None:
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            raise Over(None)
        text, data = message.get("text"), message.get("bytes")
        try:
            said = read_text(text) if text is not None else read_binary(data or b"", self._limits.frame_bytes)
            await self._take(said)
        except BadRequest as problem:
            self._bad += 1
            if self._bad > _BAD_MESSAGES:
                raise Over(MISUSED, "too many bad messages") from None
            self._say_problem(problem)

    async def _take(self, said: Start | Shown | Driving) -> None:
        if isinstance(said, Start):
            self._start = said
            self._window.resize(said.window)
            self._say({"type": "ready", "resolution": self._person.face.resolution, "mode": self._person.mode})
        elif self._start is None:
            raise BadRequest("the first message is a start", "bad-message")
        elif isinstance(said, Shown):
            self._window.shown(said.n)
        elif said.drive != self._start.drive:
            raise BadRequest(f"the start said drive={self._start.drive}", "bad-message")
        else:
            self._newest.put(said)

    # The two stages.

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._newest.there()
                await self._window.begin()
                await self._pace.wait()
                # A picture's face is looked for while another is rendered; what needs no looking waits for its turn
                # where newer messages can still replace it.
                early = self._start is not None and self._start.drive == "picture"
                turn = 0 if early else await self._rendering.begin()
                frame = await self._found()
                if frame is not None and early:
                    waited = time.perf_counter()
                    turn = await self._rendering.begin()
                    frame.wait_ms += ms_since(waited)
                if frame is not None:
                    group.create_task(self._shown(frame, turn))
                    continue
                self._window.dropped()
                if not early:
                    self._rendering.end()

    async def _found(self) -> Frame | None:
        """The newest message with its landmarks; None if it has none, and the client was told."""
        driving, came = await self._newest.take()
        wait_ms, detect_ms, person = ms_since(came), 0.0, self._person
        try:
            what = driving.what
            if isinstance(what, bytes):
                began = time.perf_counter()
                landmarks = await self._looked_for(what)
                detect_ms = ms_since(began)
            elif isinstance(what, PoseGiven):
                landmarks = await self._front.moved(self._front.posers.posed, person.key.id, person.face, what.pose())
                return Frame(driving, came, landmarks, person, 0.0, wait_ms)
            else:
                landmarks = what
            landmarks = await self._front.moved(self._adapted, person.face, landmarks, came)
            return Frame(driving, came, landmarks, person, detect_ms, wait_ms)
        except Exception as error:  # noqa: BLE001 - the client is told, what nobody foresaw is logged
            self._failed(error, driving.n)
            return None

    async def _looked_for(self, picture: bytes) -> Landmarks:
        size = await self._front.moved(check_driving_picture, picture, self._limits.video_pixels)
        near = self._near[1] if self._near is not None and self._near[0] == size else None
        self._near = None
        found = await self._front.backend.faces.landmarks(picture, near)
        if found.box is not None:
            self._near = size, found.box
        return found.landmarks

    def _adapted(self, face: AvatarFace, landmarks: Landmarks, seconds: float) -> Landmarks:
        """In a thread, one call after the other."""
        start = self._start
        assert start is not None, "work begins after the start"
        if self._motion is None or self._motion[:2] != (start, face):
            self._motion = (start, face, LiveMotion(face, start.adapt, start.smooth))
        return self._motion[2].feed(landmarks, seconds)

    async def _shown(self, frame: Frame, turn: int) -> None:
        sent = False
        try:
            settings = self._front.settings.render
            rendered = await self._front.backend.renderer.render(
                frame.person.key, frame.landmarks[None], "jpeg", settings.jpeg_quality
            )
            head = {
                "n": frame.driving.n,
                "t": frame.driving.t,
                "detect_ms": round(frame.detect_ms, 2),
                "render_ms": round(rendered.render_ms, 2),
                "encode_ms": round(rendered.encode_ms, 2),
                "wait_ms": round(frame.wait_ms + rendered.queue_ms, 2),
                "server_ms": round(ms_since(frame.came), 2),
                "skipped": self.skipped,
                "mode": frame.person.mode,
            }
            self._rendering.most = 2 if rendered.queue_ms < _ROOM_MS else 1
            self._failures = 0
            if turn < self._last_turn:
                self._overtaken += 1
                return
            self._last_turn = turn
            self._window.sent(frame.driving.n)
            sent = True
            await self._send(packed(head, rendered.pictures[0]))
            self._count(head)
        except (Over, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error, frame.driving.n)
        finally:
            if not sent:
                self._window.dropped()
            self._rendering.end()

    # What goes out.

    async def _send(self, message: bytes | dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS), self._sending:
                await (
                    self._socket.send_bytes(message) if isinstance(message, bytes) else self._socket.send_json(message)
                )
        except TimeoutError:
            raise Over(UNAVAILABLE, "the client takes nothing") from None
        except (RuntimeError, OSError):
            # Starlette's way to say that the connection was closed meanwhile.
            raise Over(None) from None

    async def _tell(self) -> None:
        while True:
            await self._send(await self._news.get())

    def _say(self, news: dict[str, Any]) -> None:
        # A client that does not listen misses news.
        with contextlib.suppress(asyncio.QueueFull):
            self._news.put_nowait(news)

    def _say_problem(self, problem: Problem, n: int | None = None) -> None:
        self._say({"type": "problem", "n": n, "code": problem.code, "detail": problem.detail})

    def _failed(self, error: Exception, n: int) -> None:
        """The client is told, and it goes on. Raises Over where that has no sense."""
        problem = Conflict(str(error), "no-face-kept") if isinstance(error, AvatarError) else problem_of(error)
        if isinstance(problem, NotFound):
            raise Over(NOT_FOUND, problem.code)
        self._failures = self._failures + 1 if problem.status >= 500 else 0
        self._say_problem(problem, n)
        if self._failures > _FAILURES:
            raise Over(UNAVAILABLE, problem.code)

    def _count(self, head: dict[str, Any]) -> None:
        self.frames += 1
        metrics, mode = self._front.backend.metrics, head["mode"]
        front_ms = head["server_ms"] - sum(head[part] for part in ("detect_ms", "render_ms", "encode_ms", "wait_ms"))
        metrics.add("live_frames", mode=mode)
        metrics.add("live_server_ms", head["server_ms"], mode=mode)
        metrics.add("live_front_ms", max(0.0, front_ms))

    # What else happens.

    async def _watch(self) -> None:
        """Follow the record: another version may take over, or the avatar be deleted."""
        desk = self._front.backend.desk
        while True:
            try:
                id, revision = self._avatar.id, self._avatar.revision
                self._avatar = await desk.wait_avatar(self._owner, id, revision, _WATCH_SECONDS)
                key, mode = version_of(self._avatar)
                if key != self._person.key:
                    self._person = Person(key, mode, await self._front.backend.renderer.face(key))
                    self._say({"type": "version", "mode": mode})
            except NotFound:
                raise Over(NOT_FOUND, "deleted") from None
            except Problem:
                await asyncio.sleep(2.0)

    async def _check(self) -> None:
        """A key that is withdrawn ends what was opened with it."""
        while self._holds():
            await asyncio.sleep(_KEY_SECONDS)
        raise Over(UNAUTHORIZED, "unauthorized")

    @property
    def skipped(self) -> int:
        """Driving messages that a newer one replaced or overtook."""
        return self._newest.replaced + self._overtaken
