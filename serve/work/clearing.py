"""Where an attempt writes, and what it leaves behind if it came to nothing."""

import json
import time
from collections.abc import Callable
from typing import Literal

from raytalk.errors import StorageError
from serve.records.record import Job
from serve.records.store import Kind, Store

_TRIES, _PAUSE = 5, 0.3


def folder_of(job: Job, kind: Literal["ff", "ft"]) -> str:
    """Of the version that this attempt makes. Each has its own, so that two never write to one."""
    attempt = job.avatar.attempt
    return f"{kind}-{attempt.number if attempt is not None else 1}"


def clear_other_attempts(store: Store, job: Job, kind: Literal["ff", "ft"]) -> None:
    """Delete what attempts before this one, whose version is kept, may have left. Raises StorageError."""
    place, own = store.avatar_place(job.id), folder_of(job, kind)
    for entry in place.entries():
        if entry.is_folder and entry.path.startswith(f"{kind}-") and entry.path != own:
            place.delete(entry.path)


def clear_avatar(store: Store, id: str, folder: str = "") -> None:
    """Delete all that lies there if the avatar is deleted, else the version in `folder` unless it is the avatar's.

    Raises StorageError.
    """
    record = _record(store, "avatars", id)
    if record is None:
        _firmly(lambda: store.discard(id))
    elif folder and (record.get("version") or {}).get("folder") != folder:
        _firmly(lambda: store.avatar_place(id).delete(folder))


def clear_film(store: Store, id: str) -> None:
    """Delete all that lies there if the film is deleted. Raises StorageError."""
    if _record(store, "films", id) is None:
        _firmly(lambda: store.discard_film(id))


def _record(store: Store, kind: Kind, id: str) -> dict[str, dict[str, str] | None] | None:
    data = store.read_record(kind, id)
    return None if data is None else dict(json.loads(data))


def _firmly(delete: Callable[[], None]) -> None:
    """The desk may be deleting the same files, which disturbs both."""
    for _ in range(_TRIES):
        try:
            delete()
            return
        except StorageError:
            time.sleep(_PAUSE)
    delete()
