"""Events are kept in order, once, and survive an outage of storage."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from toy_desk import in_loop, running

from raytalk.errors import StorageError
from serve.records import audit as audit_module
from serve.records.audit import Audit
from serve.records.store import Store


def _events(store: Store) -> list[dict[str, Any]]:
    files = [entry.path for entry in store.storage.entries("audit", recursive=True) if not entry.is_folder]
    return [json.loads(store.storage.read(file)) for file in files]


@in_loop
async def test_who_made_and_deleted_whom(tmp_path: Path) -> None:
    async with running(tmp_path) as toy:
        avatar = await toy.introduced()
        film = await toy.accept_film(avatar)
        await toy.desk.delete_film("anna", film.id)
        await toy.desk.delete_avatar("anna", avatar.id)
        await toy.desk.stop()
        events = _events(toy.store)
        assert [(event["action"], event["owner"], event["avatar"]) for event in events] == [
            ("avatar-created", "anna", avatar.id),
            ("film-made", "anna", avatar.id),
            ("film-deleted", "anna", avatar.id),
            ("avatar-deleted", "anna", avatar.id),
        ]
        assert "Anna" not in json.dumps(events), "no event names the person"


@in_loop
async def test_frames_are_counted(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    audit = Audit(store, count_s=0.2)
    audit.start()
    for _ in range(100):
        audit.count("anna", "frame-rendered", "a")
    audit.count("anna", "frame-rendered", "b", 5, drive="pose")
    while len(_events(store)) < 2:
        await asyncio.sleep(0.05)
    audit.count("anna", "frame-rendered", "a", 7)
    await audit.stop()
    counts = [(event["avatar"], event["count"]) for event in _events(store)]
    assert sorted(counts) == [("a", 7), ("a", 100), ("b", 5)]
    assert [event["drive"] for event in _events(store) if event["avatar"] == "b"] == ["pose"]


@in_loop
async def test_events_wait_for_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    audit = Audit(store)
    write, asked = store.write_audit, 0

    def fails_each_second_time(*event: Any) -> None:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise StorageError("no")
        write(*event)

    monkeypatch.setattr(store, "write_audit", fails_each_second_time)
    for number in range(30):
        audit.note("anna", "driven-live-start", "a", number=number)
    assert not await audit.flush()
    while not await audit.flush():
        pass
    assert [event["number"] for event in _events(store)] == list(range(30))


@in_loop
async def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "_MOST", 10)
    store = Store(str(tmp_path))
    audit = Audit(store)
    for number in range(25):
        audit.note("anna", "refused-key", number=number, odd=Path("x"))
    assert audit.lost == 15
    await audit.stop()
    assert [event["number"] for event in _events(store)] == list(range(15, 25))


def test_an_event_that_cannot_be_written_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    written, real = [], store.write_audit

    def write(day: str, name: str, data: bytes) -> None:
        if b"broken" in data:
            raise ValueError("never")
        written.append(name)
        real(day, name, data)

    monkeypatch.setattr(store, "write_audit", write)

    async def scenario() -> Audit:
        audit = Audit(store)
        for action in ("one", "broken", "two"):
            audit.note("ada", action)
        assert await audit.flush()
        return audit

    assert asyncio.run(scenario()).lost == 1
    assert len(written) == 2
