"""Who holds something of a person in memory hears of each deletion, whenever it begins to listen."""

import asyncio
from pathlib import Path

from toy_desk import in_loop, running
from toy_work import until

from serve.records.following import follow_deletions


@in_loop
async def test_what_is_deleted_before_the_first_answer_is_heard_of(tmp_path: Path) -> None:
    """A replica loads somebody as soon as it is there; the desk tells of deletions when it comes to that."""
    async with running(tmp_path) as toy:
        loaded, heard = await toy.accept(), list[str]()
        await toy.desk.delete_avatar("anna", loaded.id)
        following = asyncio.create_task(follow_deletions(toy.desk, heard.extend))
        await until(lambda: heard, 5)
        later = await toy.accept()
        await toy.desk.delete_avatar("anna", later.id)
        await until(lambda: len(heard) > 1, 5)
        following.cancel()
        assert heard == [loaded.id, later.id], "each once"
