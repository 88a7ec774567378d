"""Actors of a Ray cluster that each hold a model and take one item of work after the other."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray

Item = TypeVar("Item")

_PATIENCE = 30.0
"""seconds between lines that say that nothing happens"""


@dataclass(frozen=True)
class Done(Generic[Item]):
    """One item, as its actor left it."""

    item: Item
    said: Any = None
    """what the actor returned, the first of it"""
    more: list[Any] = field(default_factory=list)
    """references of what else it returned, still where they were made"""
    died: str = ""
    """why, if every actor that tried died of it; `said` is None then"""


class Crowd(Generic[Item]):
    """Hands items to actors as these have time for them, and replaces an actor that dies.

    An actor's class has a method `ready`, which returns when its model is loaded.
    """

    def __init__(
        self,
        actor: Any,
        arguments: Sequence[Any],
        give: Callable[[Any, Item], Any],
        name: Callable[[Item], str],
        tries: int,
    ) -> None:
        """actor: a remote class with its options; give: asks an actor for an item, and returns the reference or list of
        references; name: of an item, for a person; tries: how often an item is begun before it is given up."""
        self._actor, self._arguments, self._give, self._name, self._tries = actor, arguments, give, name, tries
        self._waiting: deque[tuple[Item, int]] = deque()
        self._running: dict[Any, tuple[Any, tuple[Item, int] | None, list[Any]]] = {}
        """what is awaited: of which actor, what it does (None while it starts) and what else it returns"""

    def work(self, items: Sequence[Item], count: int) -> Iterator[Done[Item]]:
        """Every item, in whatever order they end, by at most `count` actors.

        Actors get something new before this yields, so that they work on while the caller does.
        """
        self._waiting.extend((item, 1) for item in items)
        for _ in range(min(count, len(items))):
            self._start_actor()
        try:
            while self._waiting or any(work for _, work, _ in self._running.values()):
                ended, _ = ray.wait(list(self._running), num_returns=1, timeout=_PATIENCE, fetch_local=False)
                if ended:
                    done = self._ended(ended[0])
                    if done is not None:
                        yield done
                elif not any(work for _, work, _ in self._running.values()):
                    print("waiting for room on the cluster", flush=True)
        finally:
            for actor, _, _ in self._running.values():
                ray.kill(actor)
            self._running.clear()

    def _start_actor(self) -> None:
        actor = self._actor.remote(*self._arguments)
        self._running[actor.ready.remote()] = actor, None, []

    def _ended(self, reference: Any) -> Done[Item] | None:
        """Take what an actor has to say and give it something else, or replace it; what is done, if something is."""
        actor, work, more = self._running.pop(reference)
        try:
            said = ray.get(reference)
        except ray.exceptions.RayError as died:
            ray.kill(actor)  # not restarted by Ray: a restarting actor refuses what it is asked meanwhile
            return self._died(work, died)
        if self._waiting:
            item, attempt = self._waiting.popleft()
            given = self._give(actor, item)
            first, *others = given if isinstance(given, list) else [given]
            self._running[first] = actor, (item, attempt), others
        else:
            ray.kill(actor)  # its room may be needed
        return None if work is None else Done(work[0], said, more)

    def _died(self, work: tuple[Item, int] | None, died: Exception) -> Done[Item] | None:
        why = " ".join(str(died).split())[-300:]
        if work is None:  # it never started: whatever would have come next stands for it
            if not self._waiting:
                return None
            work = self._waiting.popleft()
        item, attempt = work
        self._start_actor()
        if attempt < self._tries:
            print(f"{self._name(item)}: a worker died; begun anew ({attempt + 1} of {self._tries})", flush=True)
            self._waiting.append((item, attempt + 1))
            return None
        return Done(item, died=why)
