"""Where a run's rank 0 leaves what it measured and waits for whether the run goes on: an actor for the whole sweep."""

import asyncio
from typing import Any

import ray

Look = tuple[int, dict[str, float]]
"""episodes and figures"""


class _Board:
    """Of each run, by its key: the look that nobody has taken yet, and the answer to the last one."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}
        self._answers: dict[str, asyncio.Event] = {}
        self._stopped: set[str] = set()

    async def post(self, key: str, episodes: int, figures: dict[str, float]) -> bool:
        """Leave a look; returns whether to go on, once that is known."""
        if key in self._stopped:
            return False
        answer = self._answers[key] = asyncio.Event()
        self._looks[key] = episodes, figures
        await answer.wait()
        return key not in self._stopped

    async def take(self, key: str) -> Look | None:
        """The look that waits, if one does."""
        return self._looks.pop(key, None)

    async def answer(self, key: str, go_on: bool) -> None:
        """Of the last look; no is for every later one too."""
        if not go_on:
            self._stopped.add(key)
            self._looks.pop(key, None)
        if key in self._answers:
            self._answers.pop(key).set()


class Board:
    """A handle on the actor; can be sent to workers."""

    def __init__(self) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        remote: Any = ray.remote(_Board)
        self._actor = remote.options(num_cpus=0, scheduling_strategy=here, max_concurrency=1000).remote()

    def post(self, key: str, episodes: int, figures: dict[str, float]) -> bool:
        """Leave a look and wait for the answer: whether to go on."""
        return bool(ray.get(self._actor.post.remote(key, episodes, figures)))

    def take(self, key: str) -> Look | None:
        """The look that waits, if one does."""
        look: Look | None = ray.get(self._actor.take.remote(key))
        return look

    def answer(self, key: str, go_on: bool) -> None:
        """Of the last look; no is for every later one too."""
        ray.get(self._actor.answer.remote(key, go_on))

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)
