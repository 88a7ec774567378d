"""The service behind the page in tests: the real front and desk; a test is the worker, people are pictures."""

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import uvicorn

from raytalk.driving.live import AvatarFace
from raytalk.faces.draw import draw_landmarks
from serve.errors import Unprocessable
from serve.front.app import make_api
from serve.front.backend import Backend
from serve.keys import Keyring
from serve.parts import FaceFound, PersonKey, Rendered
from serve.records.audit import Audit
from serve.records.desk import Desk
from serve.records.record import Avatar, Change, Job, Photo, Version
from serve.records.store import Store
from serve.settings import LimitSettings, ServiceSettings, WorkSettings
from serve.work.samples import load_sample

T = TypeVar("T")
SIZE = 256
SECONDS = 30.0
_SHEET = Path(__file__).parents[1] / "docs" / "rendered-people.jpg"


def jpeg(picture: npt.NDArray[Any]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def portrait(number: int, size: int = SIZE) -> npt.NDArray[Any]:
    """One of 48 people who do not exist, size x size x 3 uint8 BGR."""
    sheet = cv2.imread(str(_SHEET))
    assert sheet is not None
    top, left = 160 * (number // 8), 160 * (number % 8)
    return np.asarray(
        cv2.resize(sheet[top : top + 160, left : left + 160], (size, size), interpolation=cv2.INTER_CUBIC)
    )


class Faces:
    """Finds in every driving picture that is not dark a face that turns and speaks."""

    def __init__(self) -> None:
        self.pictures: list[tuple[int, int]] = []

    async def landmarks(self, image: bytes, near: tuple[float, float, float, float] | None = None) -> FaceFound:
        picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        height, width = picture.shape[:2]
        self.pictures.append((width, height))
        if picture.mean() < 12:
            raise Unprocessable("no face was found in the driving picture", "no-face")
        frames = load_sample().landmarks
        return FaceFound(frames[len(self.pictures) % len(frames)] * (height / SIZE), width, height)

    async def ready(self) -> bool:
        return True


class Renderer:
    """Shows the picture of a person, moved by the landmarks; the first version is blurred."""

    def __init__(self) -> None:
        self.portraits: dict[str, int] = {}
        self.rendered: list[npt.NDArray[np.float32]] = []
        self.delay = 0.01

    async def render(self, key: PersonKey, landmarks: npt.NDArray[np.float32], format: str, quality: int) -> Rendered:
        self.rendered.append(landmarks[0])
        await asyncio.sleep(self.delay)
        blur = 5.0 if key.folder == "ff" else 0.0
        picture = self.picture(key.id, blur, landmarks[0])
        data = jpeg(picture) if format == "jpeg" else cv2.imencode(".png", picture)[1].tobytes()
        return Rendered([data], 0.0, 10.0, 1.0)

    def picture(self, id: str, blur: float, landmarks: npt.NDArray[np.float32] | None = None) -> npt.NDArray[Any]:
        face = portrait(self.portraits.get(id, 12))
        if blur:
            face = np.asarray(cv2.GaussianBlur(face, (0, 0), blur))
        if landmarks is None:
            return face
        x, y = (landmarks.mean(axis=0) - load_sample().landmarks.mean(axis=(0, 1))).tolist()
        moved = np.array([[1, 0, x], [0, 1, y]], np.float32)
        return np.asarray(cv2.warpAffine(face, moved, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT))

    async def face(self, key: PersonKey) -> AvatarFace:
        return AvatarFace(load_sample().landmarks[::25], SIZE, "dlib")

    async def ready(self) -> bool:
        return True


class Service:
    """Runs in a thread; methods may be called from the test's own."""

    def __init__(self, folder: Path, keys: dict[str, str] | None = None, limits: LimitSettings | None = None) -> None:
        """keys: key -> owner; none: nobody is asked for one."""
        settings = ServiceSettings(work=WorkSettings(lease_s=600), limits=limits or LimitSettings())
        self.store, self.faces, self.renderer = Store(str(folder)), Faces(), Renderer()
        self._holds: dict[str, Job] = {}
        self._places = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._places.getsockname()[1]}/"
        keyring = Keyring({hashlib.sha256(key.encode()).hexdigest(): owner for key, owner in (keys or {}).items()})
        self.keyring = keyring
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings, keyring), daemon=True)
        self._thread.start()
        assert self._ready.wait(SECONDS)

    def _run(self, settings: ServiceSettings, keyring: Keyring) -> None:
        self._loop.run_until_complete(self._serve(settings, keyring))

    async def _serve(self, settings: ServiceSettings, keyring: Keyring) -> None:
        self.desk = Desk(self.store, settings.limits, settings.work, settle_s=0.01)
        await self.desk.start()
        backend = Backend(self.store, self.desk, self.faces, self.renderer, Audit(self.store), keyring)
        config = uvicorn.Config(make_api(backend, settings), log_level="warning", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self._loop.call_later(0.2, self._ready.set)
        await self.server.serve([self._places])
        await self.desk.stop()

    def close(self) -> None:
        self.cut()
        self.server.should_exit = True
        self._thread.join(SECONDS)

    def do(self, what: Awaitable[T]) -> T:
        async def done() -> T:
            return await what

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(SECONDS)

    def cut(self) -> None:
        """Every connection breaks off, as when a replica dies."""

        def abort() -> None:
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def avatars(self, owner: str = "local") -> list[Any]:
        return self.do(self.desk.avatars(owner, 100, ""))[0]

    def newest(self, owner: str = "local") -> str:
        """The id of the avatar made last; waits for one."""
        end = time.monotonic() + SECONDS
        while not (found := self.avatars(owner)):
            assert time.monotonic() < end
            time.sleep(0.02)
        return str(found[0].id)

    def add(
        self, name: str, labels: tuple[str, ...] = ("one.jpg", "two.jpg", "three.jpg"), owner: str = "local"
    ) -> str:
        """An avatar as if somebody had sent photographs; returns its id."""
        id, now = self.store.new_id(), datetime.now(UTC)
        photos = tuple(Photo(file=f"{number:03d}.jpg", label=label) for number, label in enumerate(labels))
        for number, photo in enumerate(photos):
            self.store.put_material(id, photo.file, jpeg(portrait(number)))
        avatar = Avatar(
            id=id, owner=owner, name=name, mode="FT", state="queued", consent="by letter", created_at=now,
            changed_at=now, photos=photos,
        )  # fmt: skip
        self.do(self.desk.accept_avatar(avatar, "", ""))
        return id

    # The worker.

    def _hold(self, id: str, kind: Any) -> str:
        if id not in self._holds:
            job = self.do(self.desk.take(kind, "test", 5.0))
            assert job is not None
            assert job.id == id
            self._holds[id] = job
        return self._holds[id].token

    def introduce(self, id: str, refused: dict[int, tuple[str, str]] | None = None, face: int = 12) -> None:
        """Look at the photographs: number -> code and reason of those that are refused."""
        token = self._hold(id, "introduce")
        photos = []
        for number, photo in enumerate(self._holds[id].avatar.photos):
            code, reason = (refused or {}).get(number, ("", ""))
            crop = "" if code == "no-face" else f"{number:03d}.jpg"
            if crop:
                drawing = draw_landmarks(load_sample().landmarks[17 * number], SIZE)[..., ::-1]
                self.store.put_crop(id, crop, jpeg(np.hstack([portrait((face + number) % 48), drawing])))
            photos.append(Photo(file=photo.file, label=photo.label, used=not code, code=code, reason=reason, crop=crop))
        self.renderer.portraits[id] = face
        self._preview(id, 5.0)
        self.do(
            self.desk.finish(
                token,
                Change(
                    photos=tuple(photos), preview_ready=True, new_preview=True, version=Version(mode="FF", folder="ff"),
                    resolution=SIZE, detector="dlib",
                ),
            )
        )  # fmt: skip
        del self._holds[id]

    def _preview(self, id: str, blur: float) -> None:
        """Some poses side by side."""
        poses = load_sample().landmarks[[0, 40, 90, 140]]
        self.store.put_preview(id, jpeg(np.hstack([self.renderer.picture(id, blur, pose) for pose in poses])))

    def learn(self, id: str, step: int, steps: int = 250) -> None:
        token = self._hold(id, "learn")
        self._preview(id, 5.0 * (1 - step / steps) + 0.1)
        change = Change(progress=step / steps, step=step, steps=steps, new_preview=True)
        assert self.do(self.desk.report(token, change))

    def finish(self, id: str) -> None:
        token = self._hold(id, "learn")
        self._preview(id, 0.0)
        quality = {"ssim_ff": 0.52, "ssim_ft": 0.74}
        version = Version(mode="FT", folder="ft-1")
        assert self.do(self.desk.finish(token, Change(new_preview=True, version=version, quality=quality)))
        del self._holds[id]

    def fail(self, id: str, kind: str, code: str, detail: str) -> None:
        assert self.do(self.desk.fail(self._hold(id, kind), code, detail, again=False))
        del self._holds[id]

    def film(self, id: str, progress: float) -> None:
        assert self.do(self.desk.report(self._hold(id, "film"), Change(progress=progress)))

    def film_made(self, id: str, file: Path) -> None:
        token = self._hold(id, "film")
        self.store.put_film(id, file)
        assert self.do(self.desk.finish(token, Change(frames=25, fps=25.0)))


@contextlib.contextmanager
def running(folder: Path, **more: Any) -> Any:
    service = Service(folder, **more)
    yield service
    service.close()
