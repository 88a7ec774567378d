"""Who is in memory: loaded once, given up in order, gone when deleted."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from raytalk.avatar import Avatar
from raytalk.storage import Storage
from serve.errors import NotFound
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
