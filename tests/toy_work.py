"""A desk, a tiny model and one worker of a kind: what a job does, step by step, without Ray."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from people import Picture, jpeg
from toy_desk import ToyDesk

from raytalk.enrolment.maker import AvatarMaker
from serve.records.record import Avatar, Change, Film, Job, Mode, Photo
from serve.records.store import Store
from serve.settings import ServiceSettings
from serve.work.films import Films
from serve.work.introduce import Introducer
from serve.work.learner import Learner
from serve.work.loop import Handler, work_on
from serve.work.model import load_maker
from serve.work.provenance import Signer

OWNER = "anna"
_makers: dict[str, AvatarMaker] = {}


def toy_settings(run: Path, folder: Path, **more: Any) -> ServiceSettings:
    """more: settings by their dotted names."""
    given: dict[str, Any] = {
        "checkpoint": str(run),
        "storage": str(folder),
        "min_face": 50,
        "shots": 3,
        "device": "cpu",
        "fewshot": {"steps": 6, "batch_size": 2},
        "work": {"preview_steps": 2},
    }
    for name, value in more.items():
        group, _, key = name.rpartition("__")
        if group:
            given[group] = given.get(group, {}) | {key: value}
        else:
            given[key] = value
    return ServiceSettings(**given)


class Watched:
    """A desk in front of a worker: remembers what it was told, and does something when it is time to."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self.told: list[Change] = []
        self.answers: list[bool] = []
        self.before_report: Any = None
        """async (change) -> bool | None: an answer instead of the desk's"""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    async def report(self, token: str, change: Change) -> bool:
        if self.before_report is not None and (answer := await self.before_report(change)) is not None:
            self.answers.append(answer)
            return bool(answer)
        self.told.append(change)
        self.answers.append(await self._desk.report(token, change))
        return self.answers[-1]


class Workshop:
    """Everything around one handler."""

    def __init__(self, toy: ToyDesk, settings: ServiceSettings) -> None:
        self.toy, self.settings, self.desk = toy, settings, Watched(toy.desk)
        self.store: Store = toy.store
        self.signer = Signer.from_store(toy.store)

    @property
    def maker(self) -> AvatarMaker:
        """The same for all tests with the same settings: loading detector and networks takes a while."""
        key = self.settings.model_copy(update={"storage": ""}).model_dump_json()
        if key not in _makers:
            _makers[key] = load_maker(self.settings)
        return _makers[key]

    def handler(self, kind: str) -> Handler:
        if kind == "introduce":
            return Introducer(self.store, self.settings, self.maker, self.signer)
        if kind == "learn":
            return Learner(self.store, self.settings, self.maker, self.signer)
        return Films(self.store, self.settings, self.signer)

    async def do(self, kind: Any, handler: Handler | None = None) -> Job:
        """Take the job that waits, and do it to its end."""
        job = await self.toy.take(kind)
        with ThreadPoolExecutor(1) as thread:
            await work_on(self.desk, handler or self.handler(kind), job, 30.0, thread)
        return job

    async def person(self, *pictures: Picture | bytes | Path, mode: Mode = "FT") -> Avatar:
        """Accept somebody: photographs, or a video."""
        now, id = datetime.now(UTC), Store.new_id()
        video = isinstance(pictures[0], Path)
        photos = []
        for number, picture in enumerate(pictures):
            file = "000.bin" if video else f"{number:03d}.jpg"
            data = picture if isinstance(picture, bytes | Path) else jpeg(picture)
            self.store.put_material(id, file, data)
            photos.append(Photo(file=file, label=f"picture {number}"))
        record = Avatar(
            id=id,
            owner=OWNER,
            name="Anna",
            mode=mode,
            state="queued",
            consent="I agree",
            created_at=now,
            changed_at=now,
            material="video" if video else "photos",
            photos=tuple(photos),
        )
        accepted: Avatar = (await self.desk.accept_avatar(record, "", ""))[0]
        return accepted

    async def introduced(self, *pictures: Picture | bytes | Path, mode: Mode = "FT") -> Avatar:
        """Accept and introduce somebody."""
        avatar = await self.person(*pictures, mode=mode)
        await self.do("introduce")
        return await self.seen(avatar)

    async def film(self, avatar: Avatar, driver: Path, adapt: Any = "auto") -> Film:
        """Accept a film."""
        now, id = datetime.now(UTC), Store.new_id()
        file = "driver.npz" if driver.suffix == ".npz" else "driver.bin"
        self.store.put_film_driver(id, file, driver)
        record = Film(
            id=id,
            owner=OWNER,
            avatar=avatar.id,
            state="queued",
            created_at=now,
            changed_at=now,
            adapt=adapt,
            driver=file,
        )
        accepted: Film = (await self.desk.accept_film(record, "", ""))[0]
        return accepted

    async def seen(self, avatar: Avatar) -> Avatar:
        """The record as it is now."""
        return Avatar.model_validate(await self.desk.avatar(OWNER, avatar.id))

    def progress(self) -> list[float]:
        """All that was told."""
        return [change.progress for change in self.desk.told if change.progress is not None]


async def until(true: Any, seconds: float = 60.0) -> None:
    """Wait for something that happens in a thread."""
    for _ in range(round(seconds / 0.01)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")
