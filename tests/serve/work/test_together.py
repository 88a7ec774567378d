"""Frames of feed-forward people are rendered in batches, and those of nobody who has gone."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from raytalk.avatar import Avatar
from serve.parts import PersonKey
from serve.work.together import Together
from tests.serve.work.rendering import FF, in_loop


def test_feed_forward_people_share_one_batch(people: dict[PersonKey, Avatar]) -> None:
    batches: list[list[Avatar]] = []
    inside = threading.Semaphore(1)

    def render(avatars: Sequence[Avatar], points: np.ndarray) -> np.ndarray:
        assert inside.acquire(blocking=False)
        batches.append(list(avatars))
        time.sleep(0.05)
        inside.release()
        return np.stack([np.full((2, 2, 3), points[index, 0, 0]) for index in range(len(points))]).astype(np.uint8)

    async def work() -> None:
        together = Together(asyncio.Semaphore(1), ThreadPoolExecutor(4), 4, 0.005, render)
        some = [people[key] for key in FF[:5]]

        async def ask(number: int, count: int) -> None:
            shown = await together.render(some[number], np.full((count, 68, 2), 10 * number, np.float32))
            assert [len(part.frames) for part in shown] == ([count] if count <= 4 else [4, count - 4])
            assert all((part.frames == 10 * number).all() for part in shown)

        await asyncio.gather(*(ask(number, 1) for number in range(5)), ask(2, 6), ask(3, 2))
        # 13 frames in batches of four, no piece of 4 or 2 torn apart.
        assert max(map(len, batches)) == 4
        assert len(batches) <= 5
        assert len({id(one) for one in batches[0]}) >= 3
        # One who gave up is not rendered.
        batches.clear()
        busy = asyncio.create_task(ask(0, 4))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(ask(1, 1))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(busy, ask(2, 1))
        assert some[1] not in [one for batch in batches for one in batch]

    in_loop(work)


def test_what_fails_in_a_batch_fails_for_those_in_it_alone(people: dict[PersonKey, Avatar]) -> None:
    def render(avatars: Sequence[Avatar], points: np.ndarray) -> np.ndarray:
        if (points < 0).any():
            raise RuntimeError("broken")
        return np.zeros((len(points), 2, 2, 3), np.uint8)

    async def work() -> None:
        together = Together(asyncio.Semaphore(1), ThreadPoolExecutor(1), 4, 0.0, render)
        with pytest.raises(RuntimeError, match="broken"):
            await together.render(people[FF[0]], np.full((6, 68, 2), -1, np.float32))
        (shown,) = await together.render(people[FF[0]], np.zeros((1, 68, 2), np.float32))
        assert len(shown.frames) == 1

    in_loop(work)
