"""What an attempt leaves behind that came to nothing."""

import json
import time
from collections.abc import Callable

from raytalk.errors import StorageError
from serve.records.store import Kind, Store

_TRIES, _PAUSE = 5, 0.3


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
