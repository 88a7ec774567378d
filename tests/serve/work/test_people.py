"""Who is in memory: loaded once, given up in order, gone when deleted."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from raytalk.avatar import Avatar
from raytalk.errors import StorageError
from raytalk.storage import Storage
from serve.errors import NotFound, Unavailable
from serve.records.store import Store
from tests.serve.work.rendering import FF, FT, POINTS, code_of, in_loop, renderer


def test_the_one_not_driven_for_longest_is_given_up(store: Store, run: Path) -> None:
    async def work() -> None:
        one = renderer(store, run, people=3)
        for key in (FT[0], FF[1], FT[2], FT[0], FF[3]):
            await one.render(key, POINTS[:1])
        assert one.people() == [FT[2].id, FT[0].id, FF[3].id]
        # More than there is room for, all in use at the same time.
        await asyncio.gather(*(one.render(key, POINTS[:1]) for key in FT))
        assert len(one.people()) == 3

    in_loop(work)


def test_a_person_is_loaded_once_and_nobody_else_waits(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load, gate = Avatar.load, threading.Event()

    def slow(place: Storage, *args: Any) -> Avatar:
        loads.append(place.uri)
        if FT[0].id in place.uri:
            assert gate.wait(30)
        return load(place, *args)

    monkeypatch.setattr(Avatar, "load", slow)

    async def work() -> None:
        one = renderer(store, run)
        waiting = [asyncio.create_task(one.render(FT[0], POINTS[:1])) for _ in range(5)]
        await asyncio.sleep(0.05)
        await one.render(FT[1], POINTS[:1])
        await one.render(FF[1], POINTS[:1])
        # One who gives up waiting does not take it from the others.
        waiting[0].cancel()
        assert not any(each.done() for each in waiting[1:])
        gate.set()
        await asyncio.gather(*waiting[1:])
        assert len(loads) == 3

    try:
        in_loop(work)
    finally:
        gate.set()


def test_who_is_deleted_is_gone_even_while_being_loaded(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, gate, begun = Avatar.load, threading.Event(), threading.Event()

    def slow(place: Storage, *args: Any) -> Avatar:
        made = load(place, *args)
        begun.set()
        assert gate.wait(30)
        return made

    async def work() -> None:
        one = renderer(store, run)
        await one.render(FT[1], POINTS[:1])
        await one.render(FF[1], POINTS[:1])
        store.discard(FT[1].id)
        one.forget([FT[1].id])
        assert one.people() == [FF[1].id]
        assert await code_of(one.render(FT[1], POINTS[:1])) == (NotFound, "not-found")
        monkeypatch.setattr(Avatar, "load", slow)
        late = asyncio.create_task(one.render(FT[2], POINTS[:1]))
        await asyncio.to_thread(begun.wait, 30)
        one.forget([FT[2].id])
        gate.set()
        assert await code_of(late) == (NotFound, "not-found")
        assert one.people() == [FF[1].id]
        assert await code_of(one.face(FT[2])) == (NotFound, "not-found")

    try:
        in_loop(work)
    finally:
        gate.set()


def test_a_load_that_fails_when_nobody_waits_any_more_is_tried_again_for_the_next(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, gate, begun = Avatar.load, threading.Event(), threading.Event()

    def failing(place: Storage, *args: Any) -> Avatar:
        begun.set()
        assert gate.wait(30)
        raise StorageError("away")

    async def work() -> None:
        one = renderer(store, run)
        monkeypatch.setattr(Avatar, "load", failing)
        first = asyncio.create_task(one.render(FT[3], POINTS[:1]))
        await asyncio.to_thread(begun.wait, 30)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        (loading,) = [person.avatar for person in one._people._held.values()]
        await asyncio.wait({loading})
        monkeypatch.setattr(Avatar, "load", load)
        assert (await one.render(FT[3], POINTS[:1])).pictures
        one.close()

    try:
        in_loop(work)
    finally:
        gate.set()


def test_a_client_who_goes_away_gives_its_turn_back_when_the_thread_is_done(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render, gate, at_once, most = Avatar.render, threading.Event(), 0, 0
    lock = threading.Lock()

    def slow(avatar: Avatar, *args: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        assert gate.wait(30)
        with lock:
            at_once -= 1
        return render(avatar, *args)

    async def work() -> None:
        one = renderer(store, run)
        await one.face(FT[4])
        room = one._turns._value
        monkeypatch.setattr(Avatar, "render", slow)
        for _ in range(3 * room):
            asked = asyncio.create_task(one.render(FT[4], POINTS[:1]))
            await asyncio.sleep(0.05)
            asked.cancel()
        assert at_once == most == room, "nobody begins before a thread is free"
        gate.set()
        assert (await one.render(FT[4], POINTS[:1])).pictures
        assert one._turns._value == room
        one.close()

    try:
        in_loop(work)
    finally:
        gate.set()


def test_a_gpu_that_fails_while_somebody_is_loaded(store: Store, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(place: Storage, *args: Any) -> Avatar:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    async def work() -> None:
        one = renderer(store, run)
        await one.start()
        assert await one.ready()
        monkeypatch.setattr(Avatar, "load", failing)
        assert await code_of(one.render(FT[5], POINTS[:1])) == (Unavailable, "device-lost")
        assert not await one.ready(), "Serve replaces it"
        one.close()

    in_loop(work)
