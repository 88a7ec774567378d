"""Frames of feed-forward avatars, whose weights are the same, are rendered in one batch, each with its own ψ'."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from raytalk.avatar import Avatar, render_together
from raytalk.avatar.engines import Pictures
from serve.parts import Landmarks

_LATELY = 1.0
"""seconds: whoever was rendered within them may have another frame soon that is worth waiting for"""


@dataclass(eq=False)
class _Wish:
    avatar: Avatar
    landmarks: Landmarks
    done: "asyncio.Future[Shown]"
    asked: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, eq=False)
class Shown:
    """Frames of one wish."""

    frames: Pictures
    """[n, H, W, 3] uint8 RGB"""
    queue_ms: float
    render_ms: float
    """of the whole batch: each of its frames is there as late"""


class Together:
    """Collects frames of one model's people. Used on one event loop."""

    def __init__(
        self,
        turns: asyncio.Semaphore,
        executor: Executor,
        size: int,
        wait_s: float,
        render: Callable[[Sequence[Avatar], Landmarks], Pictures] = render_together,
    ) -> None:
        """turns: batches at a time; size: frames of one at most; wait_s: how long the first of them waits for others,
        while several people are driven."""
        self._turns, self._executor, self._size, self._wait, self._render = turns, executor, size, wait_s, render
        self._waiting: deque[_Wish] = deque()
        self._lately: dict[int, float] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def render(self, avatar: Avatar, landmarks: Landmarks) -> list[Shown]:
        """Frames of landmarks [M, 68, 2], in pieces of at most the size of a batch."""
        loop = asyncio.get_running_loop()
        wishes = [
            _Wish(avatar, landmarks[start : start + self._size], loop.create_future())
            for start in range(0, len(landmarks), self._size)
        ]
        self._waiting.extend(wishes)
        if self._gathering is None or self._gathering.done():
            self._gathering = loop.create_task(self._gather())
        try:
            return await asyncio.gather(*(wish.done for wish in wishes))
        finally:
            for wish in wishes:
                wish.done.cancel()

    async def _gather(self) -> None:
        while self._waiting:
            await self._turns.acquire()
            batch: list[_Wish] = []
            try:
                if self._count() < self._size and self._others_may_come():
                    await asyncio.sleep(self._wait)
                batch = self._take()
            finally:
                if not batch:
                    self._turns.release()
            if batch:
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    def _count(self) -> int:
        return sum(len(wish.landmarks) for wish in self._waiting)

    def _others_may_come(self) -> bool:
        now = time.perf_counter()
        self._lately = {who: when for who, when in self._lately.items() if now - when < _LATELY}
        return len(self._lately.keys() | {id(wish.avatar) for wish in self._waiting}) > 1

    def _take(self) -> list[_Wish]:
        batch: list[_Wish] = []
        room = self._size
        while self._waiting and len(self._waiting[0].landmarks) <= room:
            wish = self._waiting.popleft()
            # Nobody waits for it any more.
            if wish.done.done():
                continue
            room -= len(wish.landmarks)
            batch.append(wish)
        return batch

    async def _run(self, batch: list[_Wish]) -> None:
        begun = time.perf_counter()
        avatars = [wish.avatar for wish in batch for _ in range(len(wish.landmarks))]
        landmarks = np.concatenate([wish.landmarks for wish in batch])
        work = asyncio.get_running_loop().run_in_executor(self._executor, self._render, avatars, landmarks)
        try:
            await asyncio.wait({work})
        finally:
            self._turns.release()
        error = work.exception()
        if error is not None:
            for wish in batch:
                if not wish.done.done():
                    wish.done.set_exception(error)
            return
        frames, ended, start = work.result(), time.perf_counter(), 0
        for wish in batch:
            self._lately[id(wish.avatar)] = ended
            part = frames[start : start + len(wish.landmarks)]
            start += len(wish.landmarks)
            if not wish.done.done():
                wish.done.set_result(Shown(part, (begun - wish.asked) * 1e3, (ended - begun) * 1e3))
