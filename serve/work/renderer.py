"""Renders people: holds those who are driven, puts feed-forward ones into one batch, signs what comes out."""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from raytalk.avatar import Avatar
from raytalk.avatar.body import Body, shared_body
from raytalk.avatar.card import MARKER, AvatarCard, read_card
from raytalk.avatar.engines import Engine, Pictures
from raytalk.driving.live import AvatarFace
from raytalk.errors import CheckpointError, RaytalkError, StorageError
from raytalk.learning.meta import choose_device
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.storage import Storage
from serve.errors import NotFound, Unavailable, Unprocessable
from serve.parts import Landmarks, PersonKey, PictureFormat, Rendered
from serve.records.store import Store
from serve.settings import ServiceSettings
from serve.work.encoders import Encoders
from serve.work.people import People, Person
from serve.work.provenance import Signer
from serve.work.together import Shown, Together

_log = logging.getLogger("raytalk.serve.work")

_RENDERING, _BATCHES = 6, 2
"""fine-tuned people that a GPU renders at a time, and batches of feed-forward ones"""
_LOADING = 4
"""threads"""
_MODEL_S = 10.0
"""for which a person waits for a model that somebody else's is being loaded for"""
_ENCODERS = 3
"""processes beside a renderer on a GPU: enough for what one can render"""
_WARM_UP = (1, 4, 16)
"""frames of a batch that a GPU's recordings of feed-forward people are made for at the start"""


_NO_MEMORY = "The graphics card has no memory left: try again."


@dataclass(frozen=True, eq=False)
class _Ready:
    """What is loaded once."""

    encoders: Encoders
    body: Body
    """of the feed-forward people"""
    engine: Engine
    """which would go with the last of them"""


class Renderer:
    """Used on one event loop; what takes time is done in threads."""

    def __init__(
        self,
        store: Store,
        pretrained_uri: str,
        settings: ServiceSettings,
        note: Callable[[str, float, str], None] = lambda name, value, mode: None,
    ) -> None:
        """pretrained_uri: the model of feed-forward avatars. note: told figures for metrics: "load_ms" of an avatar,
        "frames" rendered, each with the mode."""
        self._store, self._uri, self._settings, self._note = store, pretrained_uri, settings, note
        self.device = choose_device(settings.device).type
        self._turns = self._batches = asyncio.Semaphore(1)
        self._loading = ThreadPoolExecutor(_LOADING, "load-avatar")
        self._rendering = ThreadPoolExecutor(max(_RENDERING + _BATCHES, torch.get_num_threads()), "render-avatar")
        self._people = People(self._load, settings.render.people, self._loading, note)
        self._together: WeakKeyDictionary[Body, Together] = WeakKeyDictionary()
        self._models: dict[str, Pretrained] = {}
        self._model_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._started: asyncio.Task[_Ready] | None = None
        self._encoders: Encoders | None = None
        self._lost = False

    async def start(self) -> None:
        """Load the model and the certificate; a call that fails can be repeated. Raises RaytalkError."""
        await self._get_ready()

    async def ready(self) -> bool:
        """Whether people can be rendered now."""
        return not self._lost and self._is_loaded()

    async def render(
        self, key: PersonKey, landmarks: npt.NDArray[np.floating], format: PictureFormat = "jpeg", quality: int = 0
    ) -> Rendered:
        """Signed pictures of a person.

        landmarks: [n, 68, 2] in pixels of the avatar's resolution; quality: of a JPEG, 0 as the settings say. Raises
        NotFound for an avatar or a version that is not there (any more), Unprocessable `bad-landmarks`, Unavailable
        with the code `avatar-damaged`, `model-missing`, `storage`, `out-of-memory` or `device-lost`.
        """
        points = np.asarray(landmarks, np.float32)
        if points.ndim != 3 or points.shape[1:] != (68, 2) or not np.isfinite(points).all():
            raise Unprocessable("Landmarks must be 68 pairs of finite numbers.", "bad-landmarks")
        ready = await self._get_ready()
        with self._people.using(key) as person:
            avatar = await self._person(key, person)
            shown = await self._shown(avatar, points)
            self._people.check(key.id)
            begun = time.perf_counter()
            quality = quality or self._settings.render.jpeg_quality
            mark = self._settings.render.visible_mark
            frames = [frame for part in shown for frame in part.frames]
            pictures = await ready.encoders.encode(frames, format, quality, mark)
            self._note("frames", len(frames), avatar.card.mode)
            return Rendered(
                pictures=pictures,
                queue_ms=max((part.queue_ms for part in shown), default=0.0),
                render_ms=sum(part.render_ms for part in shown),
                encode_ms=(time.perf_counter() - begun) * 1e3,
            )

    async def face(self, key: PersonKey) -> AvatarFace:
        """What driving needs to know of a person, who is then in memory. Raises as `render`."""
        await self._get_ready()
        with self._people.using(key) as person:
            avatar = await self._person(key, person)
            return AvatarFace(avatar.landmarks, avatar.card.resolution, avatar.card.detector)

    def forget(self, ids: Iterable[str]) -> None:
        """These avatars are deleted: nothing of them is rendered or kept any more."""
        self._people.forget(ids)

    def people(self) -> list[str]:
        """Ids of the avatars in memory, whom not driven for longest first."""
        return list(dict.fromkeys(key.id for key in self._people))

    def close(self) -> None:
        """End the threads."""
        for pool in (self._loading, self._rendering):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._encoders is not None:
            self._encoders.close()

    async def _get_ready(self) -> _Ready:
        if self._started is None or (self._started.done() and not self._is_loaded()):
            self._started = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._started)

    def _is_loaded(self) -> bool:
        started = self._started
        return started is not None and started.done() and not started.cancelled() and started.exception() is None

    async def _start(self) -> _Ready:
        def work() -> tuple[Signer, Body, Engine]:
            signer = Signer.from_store(self._store, self._settings.certificate)
            pretrained = load_pretrained(self._uri, self._settings.tracking_uri)
            self._models[pretrained.uri] = pretrained
            body = shared_body(pretrained.talker.generator, pretrained.networks)
            engine = body.engine(self.device, None, "auto")
            if self.device == "cuda":
                _warm_up(engine, body, _WARM_UP)
            return signer, body, engine

        signer, body, engine = await asyncio.get_running_loop().run_in_executor(self._loading, work)
        if self._encoders is not None:
            self._encoders.close()
        encoders = self._settings.render.encoders
        if encoders < 0:
            encoders = _ENCODERS if self.device == "cuda" else 0
        self._encoders = Encoders(signer, encoders)
        await self._encoders.start()
        if self.device == "cuda":
            self._turns, self._batches = asyncio.Semaphore(_RENDERING), asyncio.Semaphore(_BATCHES)
        elif engine.name == "winograd":
            # A thread for each frame: others take all of them for one.
            self._turns = self._batches = asyncio.Semaphore(torch.get_num_threads())
        return _Ready(self._encoders, body, engine)

    async def _person(self, key: PersonKey, person: Person) -> Avatar:
        try:
            return await self._people.wait(key, person)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise self._failed(error) from error

    async def _shown(self, avatar: Avatar, landmarks: Landmarks) -> list[Shown]:
        try:
            if avatar.card.mode == "FF":
                return await self._batching(avatar.body).render(avatar, landmarks)
            return [await self._alone(avatar, landmarks)]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise self._failed(error) from error

    def _failed(self, error: torch.OutOfMemoryError | torch.AcceleratorError) -> Unavailable:
        if isinstance(error, torch.OutOfMemoryError):
            self._people.shrink(1)
            return Unavailable(_NO_MEMORY, "out-of-memory")
        # A process whose GPU failed once cannot use it again.
        self._lost = True
        _log.error("the GPU failed", exc_info=error)
        return Unavailable("The graphics card does not answer: try again soon.", "device-lost")

    def _batching(self, body: Body) -> Together:
        together = self._together.get(body)
        if together is None:
            render = self._settings.render
            together = Together(self._batches, self._rendering, render.batch_size, render.batch_wait_ms / 1e3)
            self._together[body] = together
        return together

    async def _alone(self, avatar: Avatar, landmarks: Landmarks) -> Shown:
        asked, turns = time.perf_counter(), self._turns
        await turns.acquire()
        begun = time.perf_counter()

        def work() -> Pictures:
            return avatar.render(landmarks, self._settings.render.batch_size)

        # Who goes away meanwhile ends no thread: the turn is over when that is.
        rendering = asyncio.get_running_loop().run_in_executor(self._rendering, work)
        rendering.add_done_callback(lambda _: turns.release())
        frames = await asyncio.shield(rendering)
        return Shown(frames, (begun - asked) * 1e3, (time.perf_counter() - begun) * 1e3)

    def _load(self, key: PersonKey) -> Avatar:
        """In a thread. Raises Problem."""
        try:
            place = self._store.version_place(key.id, key.folder)
        except ValueError:
            raise NotFound("There is no such version of the avatar.") from None
        try:
            if not place.exists(MARKER):
                raise NotFound("There is no such avatar, or it cannot be rendered yet.")
            card = read_card(place)
            pretrained = self._model(card) if card.mode == "FF" else None
            avatar = Avatar.load(place, self._settings.tracking_uri, pretrained).to(self.device)
            if self.device == "cuda":
                avatar.render(np.zeros((1, 68, 2), np.float32))
            return avatar
        except RaytalkError as error:
            raise self._problem(key, place, error) from error

    def _problem(self, key: PersonKey, place: Storage, error: RaytalkError) -> NotFound | Unavailable:
        _log.warning("avatar %s/%s cannot be loaded: %s", key.id, key.folder, error)
        away = Unavailable("Storage does not answer: try again.", "storage")
        if isinstance(error, StorageError):
            return away
        try:
            if not place.exists(MARKER):
                return NotFound("There is no such avatar any more.")
        except StorageError:
            return away
        if isinstance(error, CheckpointError):
            detail = "The model that this avatar was made from cannot be loaded: make the avatar again."
            return Unavailable(detail, "model-missing")
        return Unavailable("The avatar is damaged: make it again.", "avatar-damaged")

    def _model(self, card: AvatarCard) -> Pretrained:
        """The model of a feed-forward avatar: each is loaded once, so that its people share weights."""
        lock = self._model_locks[card.checkpoint]
        # One thread may wait long for a model far away; others, who load people, do not wait with it.
        if not lock.acquire(timeout=_MODEL_S):
            raise StorageError(f"{card.checkpoint} is being loaded")
        try:
            if card.checkpoint not in self._models:
                try:
                    self._models[card.checkpoint] = load_pretrained(card.checkpoint, self._settings.tracking_uri)
                except CheckpointError as error:
                    # It may have moved; whether the service's own is the same is checked when the avatar is loaded.
                    _log.info("%s: %s", card.checkpoint, error)
                    return next(iter(self._models.values()))
            return self._models[card.checkpoint]
        finally:
            lock.release()


def _warm_up(engine: Engine, body: Body, sizes: Iterable[int]) -> None:
    """Kernels are compiled and recorded before anybody waits for a frame."""
    side = body.networks.resolution
    for size in sizes:
        drawings = np.zeros((size, side, side, 3), np.uint8)
        engine.render([drawings], body.generator.projection.bias.detach(), np.empty_like(drawings))
