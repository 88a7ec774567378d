"""A desk on a folder, with a clock that stands still and storage that can be made to fail."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raytalk.errors import StorageError
from serve.records.desk import Desk
from serve.records.record import Avatar, Change, Film, Job, Mode, Photo, Version
from serve.records.store import Store
from serve.settings import LimitSettings, WorkSettings

BEGINNING = 1_800_000_000.0
INTRODUCED = Change(preview_ready=True, version=Version(mode="FF", folder="ff"), progress=0.2, resolution=64)
LEARNED = Change(version=Version(mode="FT", folder="ft-1"), quality={"ssim_ft": 0.9})


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test written as a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 120))

    return run


class ToyClock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self) -> None:
        self.seconds = BEGINNING

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


class ToyStore(Store):
    """Fails, or waits, when told to."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.fails: Callable[[str, tuple[Any, ...]], bool] = lambda name, arguments: False
        """whether a call of this name raises StorageError"""
        self.written: list[tuple[str, ...]] = []
        self.gate = threading.Event()
        """closed: records are not written until it is opened"""
        self.gate.set()

    def write_record(self, kind: Any, id: str, data: bytes) -> None:
        self._fail("write_record", kind, id, data)
        assert self.gate.wait(30)
        super().write_record(kind, id, data)
        self.written.append((kind, id))

    def delete_record(self, kind: Any, id: str) -> None:
        self._fail("delete_record", kind, id)
        super().delete_record(kind, id)

    def write_deletion(self, number: int, data: bytes) -> None:
        self._fail("write_deletion", number, data)
        super().write_deletion(number, data)

    def discard(self, id: str) -> None:
        self._fail("discard", id)
        super().discard(id)

    def delete_material(self, id: str) -> None:
        self._fail("delete_material", id)
        super().delete_material(id)

    def delete_film_driver(self, id: str) -> None:
        self._fail("delete_film_driver", id)
        super().delete_film_driver(id)

    def claimant(self) -> str:
        self._fail("claimant")
        return super().claimant()

    def break_down(self) -> None:
        self.fails = lambda name, arguments: True

    def mend(self) -> None:
        self.fails = lambda name, arguments: False

    def _fail(self, name: str, *arguments: Any) -> None:
        if self.fails(name, arguments):
            raise StorageError(f"cannot {name}: the disk is on fire")


class ToyDesk:
    """A desk that does nothing by itself, and what tests need around it."""

    def __init__(self, folder: Path | str, **settings: Any) -> None:
        """settings: of WorkSettings and LimitSettings."""
        work = {name: value for name, value in settings.items() if name in WorkSettings.model_fields}
        limits = {name: value for name, value in settings.items() if name not in work}
        self.store, self.clock = ToyStore(str(folder)), ToyClock()
        self.work, self.limits = WorkSettings(**work), LimitSettings(**limits)
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        return Desk(self.store, self.limits, self.work, clock=self.clock, settle_s=0.0)

    async def start_anew(self) -> None:
        """As after SIGKILL: the old desk does nothing more, and storage is read again."""
        self.desk = self.new_desk()
        await self.desk.start(ticking=False)

    async def tick(self, seconds: float = 0.0) -> None:
        self.clock.pass_by(seconds)
        self.desk.tick()
        await self.desk.settled()

    async def accept(self, owner: str = "anna", mode: Mode = "FT", key: str = "", request: str = "") -> Avatar:
        record = new_avatar(owner, mode)
        self.store.put_material(record.id, "000.jpg", b"a face")
        return (await self.desk.accept_avatar(record, key, request))[0]

    async def accept_film(self, avatar: Avatar, key: str = "", request: str = "") -> Film:
        record = new_film(avatar)
        self.store.put_film_driver(record.id, "driver.bin", b"a video")
        return (await self.desk.accept_film(record, key, request))[0]

    async def introduced(self, owner: str = "anna", mode: Mode = "FT") -> Avatar:
        record = await self.accept(owner, mode)
        job = await self.take("introduce")
        assert job.id == record.id
        assert await self.desk.finish(job.token, INTRODUCED)
        return await self.desk.avatar(owner, record.id)

    async def take(self, kind: Any, worker: str = "w") -> Job:
        job = await self.desk.take(kind, worker, 0)
        assert job is not None
        return job

    def files(self, part: str = "") -> list[str]:
        """What lies in storage, but for what the desk notes for itself."""
        entries = self.store.storage.entries(recursive=True)
        own = ("desk/", "audit/", "deletions/")
        files = [entry.path for entry in entries if not entry.is_folder and not entry.path.startswith(own)]
        return [file for file in files if part in file]


@contextlib.asynccontextmanager
async def running(folder: Path | str, **settings: Any) -> AsyncIterator[ToyDesk]:
    toy = ToyDesk(folder, **settings)
    await toy.desk.start(ticking=False)
    yield toy
    toy.store.mend()
    toy.store.gate.set()
    await toy.desk.stop()


def new_avatar(owner: str = "anna", mode: Mode = "FT") -> Avatar:
    now = datetime.now(UTC)
    return Avatar(
        id=Store.new_id(),
        owner=owner,
        name="Anna",
        mode=mode,
        state="queued",
        consent="I agree",
        created_at=now,
        changed_at=now,
        photos=(Photo(file="000.jpg", label="me.jpg"),),
    )


def new_film(avatar: Avatar) -> Film:
    now = datetime.now(UTC)
    return Film(
        id=Store.new_id(),
        owner=avatar.owner,
        avatar=avatar.id,
        state="queued",
        created_at=now,
        changed_at=now,
        driver="driver.bin",
    )
