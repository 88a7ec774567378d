"""A whole service in one process: the real desk and storage, fakes for faces, rendering and workers, a real server.

The fakes answer as the real parts do: a black picture has no face, a white one two; a picture's redness comes back in
what is rendered of it. `worker` does the jobs, so that avatars become ready.
"""

import asyncio
import contextlib
import io
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import requests
import uvicorn
from fastapi import FastAPI
from PIL import Image
from toy import face_landmarks

from raytalk.driving.live import AvatarFace
from raytalk.faces.video import write_video
from serve.errors import NotFound, Unprocessable
from serve.front.app import make_api
from serve.front.backend import Backend
from serve.front.front import Front
from serve.front.limits import TokenBuckets
from serve.front.metrics import FIGURES, Metrics
from serve.keys import Keyring, line, new_key
from serve.parts import FaceFound, Landmarks, PersonKey, PictureFormat, Rendered
from serve.records.audit import Audit
from serve.records.desk import Desk
from serve.records.record import Avatar, Change, Version
from serve.records.store import Store
from serve.settings import ServiceSettings

RESOLUTION = 64
T = TypeVar("T")


def picture(color: str = "teal", size: tuple[int, int] = (160, 120), format: str = "JPEG", **options: Any) -> bytes:
    """A picture of one colour, encoded."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format, **options)
    return buffer.getvalue()


def video(path: Path, frames: int = 10, size: int = 64, fps: float = 25.0) -> bytes:
    """An MP4 of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (frames, size, size, 3), np.uint8)
    write_video(path, list(noise), fps)
    return path.read_bytes()


@dataclass
class FakeFaces:
    """Finds a schematic face in every picture that is neither black nor white."""

    delay: float = 0.0
    seen: list[bytes] = field(default_factory=list)
    near: list[tuple[float, float, float, float] | None] = field(default_factory=list)
    error: Exception | None = None

    async def landmarks(self, image: bytes, near: tuple[float, float, float, float] | None = None) -> FaceFound:
        """By the colour of its middle."""
        self.seen.append(image)
        self.near.append(near)
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        with Image.open(io.BytesIO(image)) as file:
            width, height = file.size
            middle = file.convert("RGB").getpixel((width // 2, height // 2))
        assert isinstance(middle, tuple)
        if max(middle) < 30:
            raise Unprocessable("no face was found", "no-face")
        if min(middle) > 225:
            raise Unprocessable("2 faces were found", "two-faces")
        return FaceFound(face_landmarks(min(width, height)), width, height, (1.0, 2.0, width - 1.0, height - 2.0))

    async def ready(self) -> bool:
        """If it was not told to fail."""
        return self.error is None


@dataclass
class FakeRenderer:
    """A grey picture; notes what was asked for."""

    delay: float = 0.0
    asked: list[tuple[PersonKey, Landmarks, PictureFormat]] = field(default_factory=list)
    error: Exception | None = None
    at_once: int = 0
    most_at_once: int = 0
    deleted: set[str] = field(default_factory=set)
    size: int = RESOLUTION
    queue_ms: float = 10.0
    delays: list[float] = field(default_factory=list)
    """of the next ones, instead of `delay`"""

    async def render(self, key: PersonKey, landmarks: Landmarks, format: PictureFormat, quality: int) -> Rendered:
        """One picture for each set of landmarks."""
        assert landmarks.dtype == np.float32
        assert landmarks.shape[1:] == (68, 2)
        if key.id in self.deleted:
            raise NotFound("that avatar is gone")
        self.asked.append((key, landmarks, format))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delays.pop(0) if self.delays else self.delay)
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1
        noise = np.random.default_rng(0).integers(0, 255, (self.size, self.size, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "JPEG" if format == "jpeg" else "PNG")
        return Rendered([buffer.getvalue()] * len(landmarks), self.queue_ms, self.delay * 1e3, 1.0)

    async def face(self, key: PersonKey) -> AvatarFace:
        """A schematic one, seen thrice."""
        shown = [face_landmarks(RESOLUTION, (0.0, 0.0), mouth) for mouth in (0.0, 0.1, 0.2)]
        return AvatarFace(np.stack(shown), RESOLUTION, "fake")

    async def ready(self) -> bool:
        """If it was not told to fail."""
        return self.error is None


class CheckedMetrics(Metrics):
    """Fails on what the real ones would refuse, and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, float, dict[str, str]]] = []

    def add(self, name: str, value: float = 1, **tags: str) -> None:
        """Noted."""
        super().add(name, value, **tags)
        assert set(tags) == set(FIGURES[name].tags)
        self.noted.append((name, value, tags))


class Service:
    """A running service. `call` runs coroutines where the desk lives."""

    def __init__(
        self,
        folder: Path,
        settings: ServiceSettings,
        owners: tuple[str, ...] = (),
        working: bool = True,
        wrong_keys_per_minute: float = 30.0,
    ) -> None:
        self.store, self.settings, self.working = Store(str(folder)), settings, working
        self.faces, self.renderer, self.metrics = FakeFaces(), FakeRenderer(), CheckedMetrics()
        self.keys = {owner: new_key() for owner in owners}
        lines = [line(owner, key).split() for owner, key in self.keys.items()]
        self.keyring = Keyring({digest: owner for owner, digest in lines})
        self.desk = Desk(self.store, settings.limits, settings.work, settle_s=0.0)
        self.errors: list[BaseException] = []
        self.wrong_keys_per_minute = wrong_keys_per_minute
        self.url = ""
        self._workers: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None

    def api(self) -> FastAPI:
        """The app under test."""
        audit = Audit(self.store, count_s=0.2)
        backend = Backend(self.store, self.desk, self.faces, self.renderer, audit, self.keyring, self.metrics)
        api = make_api(backend, self.settings)
        self.front: Front = api.state.front
        api.state.front.refusals = TokenBuckets(self.wrong_keys_per_minute)
        return api

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        """Listens on a port of this machine while the block lasts."""
        up = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(up)), daemon=True)
        thread.start()
        assert up.wait(20), self.errors
        try:
            yield self
        finally:
            assert self._server is not None
            self._server.should_exit = True
            thread.join(20)
        assert not self.errors

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, run in the service's loop."""
        assert self._loop is not None
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(20)

    def stop_working(self) -> None:
        """No job is taken any more."""

        async def stop() -> None:
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

        self.call(stop())

    def session(self, owner: str = "") -> requests.Session:
        """A client, with an owner's key."""
        client = requests.Session()
        if owner:
            client.headers["Authorization"] = f"Bearer {self.keys[owner]}"
        return client

    def avatar(self, owner: str, id: str) -> Avatar:
        """The record itself."""
        return self.call(self.desk.avatar(owner, id))

    def events(self) -> list[dict[str, Any]]:
        """What the audit log says, in order of time."""
        import json

        place = self.store.storage.below("audit")
        found = [json.loads(place.read(each.path)) for each in place.entries(recursive=True) if not each.is_folder]
        return sorted(found, key=lambda event: event["time"])

    async def _serve(self, up: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        await self.desk.start()
        kinds = ("introduce", "learn", "film") if self.working else ()
        self._workers = [asyncio.create_task(self._work(kind)) for kind in kinds]
        config = uvicorn.Config(self.api(), "127.0.0.1", 0, log_level="warning", lifespan="on", ws_max_size=16 << 20)
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.01)
        if self._server.started:
            self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        up.set()
        await serving
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self.desk.stop()

    async def _work(self, kind: Any) -> None:
        """Takes every job and does what the real worker would leave behind."""
        while True:
            job = await self.desk.take(kind, "fake", 1.0)
            if job is None:
                continue
            try:
                change = await asyncio.to_thread(self._done, kind, job.avatar, job.film.id if job.film else "")
                await self.desk.finish(job.token, change)
            except Exception as error:  # noqa: BLE001 - a test looks at it
                self.errors.append(error)

    def _done(self, kind: str, avatar: Avatar, film: str) -> Change:
        if kind == "introduce":
            self.store.put_preview(avatar.id, picture())
            self.store.put_crop(avatar.id, "000.jpg", picture("navy"))
            photos = tuple(
                photo.model_copy(update={"used": True, "crop": "000.jpg" if number == 0 else ""})
                for number, photo in enumerate(avatar.photos)
            )
            version = Version(mode="FF", folder="ff")
            return Change(
                photos=photos,
                preview_ready=True,
                new_preview=True,
                version=version,
                resolution=RESOLUTION,
                detector="fake",
            )
        if kind == "learn":
            return Change(version=Version(mode="FT", folder="ft-1"), quality={"ssim_ft": 0.9})
        path = Path(self.store.storage.path("made.mp4"))
        path.write_bytes(bytes(range(256)) * 4)
        self.store.put_film(film, path)
        return Change(frames=10, fps=25.0)
