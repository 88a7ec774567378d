"""What the parts of the service ask the desk, the one writer of records. In production calls go through a handle."""

from typing import Protocol

from serve.records.record import Avatar, Change, Film, Job, JobKind

_FIRST_LEASE_S = 10.0


def first_lease_s(lease_s: float) -> float:
    """How long a job is held by a worker that was not heard of since it was given it, and by one that hears nothing.

    Much longer than a first report takes, and no lease: a worker that was killed while it waited for work is still
    given some for as long as its question lasts.
    """
    return min(lease_s, _FIRST_LEASE_S)


class Desk(Protocol):
    """The one writer of records. Every method may raise a `serve.errors.Problem`."""

    # For the front. `owner` is who asks: what is another's is NotFound.

    async def accept_avatar(self, avatar: Avatar, key: str, request: str) -> tuple[Avatar, bool]:
        """Take up an avatar whose material lies in storage already; returns the record and whether it is new.

        key: the idempotency key, empty for none; request: a digest of what was asked, so that the same key with another
        request is a Conflict (`idempotency-mismatch`). With a key that was used before: the record of then, False, and
        the material just stored under avatar.id is deleted. Raises TooMany (`queue-full`, `too-many-avatars`) by the
        owner's limits.
        """
        ...

    async def avatar(self, owner: str, id: str) -> Avatar: ...

    async def avatars(self, owner: str, limit: int, after: str) -> tuple[list[Avatar], str]:
        """The newest first, and the cursor of the next page (empty at the end)."""
        ...

    async def wait_avatar(self, owner: str, id: str, revision: int, seconds: float) -> Avatar:
        """As soon as the record's revision is another than this, or as it is after so many seconds."""
        ...

    async def delete_avatar(self, owner: str, id: str) -> None:
        """Everything of that person is gone from storage when this returns, its films too; replicas hear of it."""
        ...

    async def accept_film(self, film: Film, key: str, request: str) -> tuple[Film, bool]:
        """As accept_avatar; the avatar must have a version that renders (Conflict `not-ready`)."""
        ...

    async def film(self, owner: str, id: str) -> Film: ...

    async def films(self, owner: str, avatar: str) -> list[Film]: ...

    async def delete_film(self, owner: str, id: str) -> None: ...

    async def ready(self) -> bool:
        """Whether storage could be read and written lately."""
        ...

    async def queue(self) -> dict[str, int]:
        """Jobs that wait, by kind, and avatars by state: for metrics."""
        ...

    # For workers.

    async def take(self, kind: JobKind, worker: str, seconds: float) -> Job | None:
        """The oldest job of this kind that waits; None if there was none for so many seconds."""
        ...

    async def report(self, token: str, change: Change) -> bool:
        """News of a job, and a sign of life: at once when it was given, then at least every `work.lease_s / 3` seconds.

        False: not yours any more (deleted, or given to another): stop, and write nothing more. A worker that got no
        answer at all for `work.lease_s` seconds (`first_lease_s`, as long as it got none to this job) stops too: by
        then the job may be another's.
        """
        ...

    async def finish(self, token: str, change: Change) -> bool:
        """Done. The record becomes what follows (an introduced FT avatar waits to be learned, others are ready).

        Raises Unavailable while storage cannot be written: the job is still this worker's, who asks again.
        """
        ...

    async def fail(self, token: str, code: str, detail: str, again: bool) -> bool:
        """Not done. again: it may go better with another try (a worker's fault); else it is final (the material's).

        With the code "stopped" and again, the worker was told to stop: not counted as a try. Raises as `finish`.
        """
        ...

    # For replicas that hold people in memory.

    async def deleted(self, after: int, seconds: float) -> tuple[int, list[str]]:
        """Ids of avatars deleted since the cursor `after` (0: within the last day, at least), and the new cursor."""
        ...
