"""What a setting `checkpoint=` names: a run, one of its checkpoints, a registered model, or the one that ships."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from raytalk.command import absolute_uri
from raytalk.errors import CheckpointError
from raytalk.learning.checkpoint import MARKER, newest
from raytalk.storage import Storage
from raytalk.tracking import fetch_registered

BASE = "base"
"""the checkpoint that comes with raytalk"""
_SHIPPED = Path(__file__).resolve().parent.parent / "models"
_REGISTERED = "models:/"


def absolute_checkpoint(name: str) -> str:
    """The same checkpoint for a process in another folder; what is no place stays as it is."""
    return name if not name or name == BASE or name.startswith(_REGISTERED) else absolute_uri(name)


@contextlib.contextmanager
def found(name: str, tracking_uri: str = "") -> Iterator[Storage]:
    """The checkpoint: its own URI, its run's (then the newest one), models:/name@alias, or `base`.

    A registered model is fetched from the tracking store into a temporary folder, which is gone after the block.
    Raises CheckpointError if there is none.
    """
    if name == BASE:
        place = Storage(str(_SHIPPED / BASE))
        if not place.exists(MARKER):
            raise CheckpointError(f"{place.uri}/{MARKER} is missing: this copy of raytalk came without its checkpoint")
        yield place
    elif name.startswith(_REGISTERED):
        with tempfile.TemporaryDirectory(prefix="raytalk-model-") as folder:
            yield Storage(str(fetch_registered(name, tracking_uri, Path(folder))))
    else:
        place = Storage(absolute_uri(name))
        yield place if place.exists(MARKER) else newest(place)


def lasting_name(name: str, place: Storage) -> str:
    """How to find the checkpoint again: its place, or what it was asked for by if that outlives the place."""
    return name if name == BASE or name.startswith(_REGISTERED) else place.uri
