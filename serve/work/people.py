"""Who is in memory: avatars by their version, loaded once, the one not driven for longest given up first.

Used on one event loop; loading runs in threads, so that nobody waits for somebody else's weights.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from raytalk.avatar import Avatar
from serve.errors import NotFound
from serve.parts import PersonKey

_REMEMBERED = 10_000
"""deleted ids: whoever was being loaded when it was deleted must not come back"""


@dataclass(eq=False)
class Person:
    """One version of an avatar, in memory or on the way there."""

    avatar: asyncio.Task[Avatar]
    users: int = 0
    """who wait for it or render with it now"""


class People:
    """A cache of avatars."""

    def __init__(
        self,
        load: Callable[[PersonKey], Avatar],
        most: int,
        executor: Executor,
        note: Callable[[str, float, str], None],
    ) -> None:
        """load: in a thread of `executor`. most: avatars in memory. note: told "load_ms", how long, and the mode."""
        self._load, self._most, self._executor, self._note = load, most, executor, note
        self._held: OrderedDict[PersonKey, Person] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[PersonKey]:
        """Whom not driven for longest first."""
        return iter(list(self._held))

    @contextmanager
    def using(self, key: PersonKey) -> Iterator["Person"]:
        """Somebody who is not given up meanwhile; `await person.avatar` within, through `wait`."""
        if key.id in self._gone:
            raise NotFound("The avatar was deleted.")
        person = self._held.get(key)
        if person is None or _failed(person):
            person = self._held[key] = Person(asyncio.get_running_loop().create_task(self._loaded(key)))
            self.shrink(self._most)
        self._held.move_to_end(key)
        person.users += 1
        try:
            yield person
        finally:
            person.users -= 1
            if self._held.get(key) is person:
                if _failed(person):
                    del self._held[key]
                else:
                    self.shrink(self._most)

    async def wait(self, key: PersonKey, person: Person) -> Avatar:
        """The avatar when it is loaded. Raises what loading raises, NotFound if it was deleted meanwhile."""
        # Who goes away takes the loading from nobody else.
        avatar = await asyncio.shield(person.avatar)
        self.check(key.id)
        return avatar

    def check(self, id: str) -> None:
        """Raises NotFound if the avatar was deleted."""
        if id in self._gone:
            raise NotFound("The avatar was deleted.")

    def forget(self, ids: Iterable[str]) -> None:
        """These are deleted: they are gone from memory when who uses them now has done so, and never come back."""
        for id in ids:
            self._gone[id] = None
            for key in [key for key in self._held if key.id == id]:
                del self._held[key]
        while len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def shrink(self, most: int) -> None:
        """Give up those not driven for longest, until there are so many or all are in use."""
        for key in list(self._held):
            if len(self._held) <= most:
                return
            if not self._held[key].users and self._held[key].avatar.done():
                del self._held[key]

    async def _loaded(self, key: PersonKey) -> Avatar:
        begun = time.perf_counter()
        avatar = await asyncio.get_running_loop().run_in_executor(self._executor, self._load, key)
        self._note("load_ms", (time.perf_counter() - begun) * 1e3, avatar.card.mode)
        return avatar


def _failed(person: Person) -> bool:
    """Perhaps when nobody waited any more: the next who asks has them loaded again."""
    return person.avatar.done() and (person.avatar.cancelled() or person.avatar.exception() is not None)
