"""Hearing of deletions, for replicas that hold something of a person in memory."""

import asyncio
from collections.abc import Callable, Sequence

from serve.errors import Problem
from serve.records.desk_protocol import Desk

_WAIT_S, _AGAIN_S = 30.0, 1.0


async def follow_deletions(desk: Desk, forget: Callable[[Sequence[str]], object]) -> None:
    """Tell `forget` the ids of avatars that are deleted, until cancelled.

    It begins with those of the last day: whoever is loaded before the desk answers for the first time, and deleted as
    early, is among them. A desk that does not answer is asked again: it tells then what was missed meanwhile.
    """
    cursor = 0
    while True:
        try:
            cursor, ids = await desk.deleted(cursor, _WAIT_S)
        except Problem:
            await asyncio.sleep(_AGAIN_S)
            continue
        if ids:
            forget(ids)
