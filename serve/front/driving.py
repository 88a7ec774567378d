"""From what drives to landmarks of the avatar. Plain arithmetic of milliseconds: called in threads."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from raytalk.driving.live import Adapt, AvatarFace, LiveMotion
from raytalk.driving.pose import Pose, Poser
from serve.parts import FaceFound, Landmarks

_MOST = 64
"""posers that are kept"""
_REMEMBERED = 10_000
"""deleted ids: a poser that was being made meanwhile is not kept"""


def adapted_once(face: AvatarFace, found: FaceFound, adapt: Adapt) -> Landmarks:
    """[68, 2] of a single driving picture. Raises AvatarError as LiveMotion does."""
    return LiveMotion(face, adapt).feed(found.landmarks, 0.0)


class Posers:
    """Posers are made in 50 ms and used in 1: those of the avatars posed last are kept, until they are deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[AvatarFace, Poser]] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    def posed(self, id: str, face: AvatarFace, pose: Pose) -> Landmarks:
        """[68, 2] of sliders. id: of the avatar. Raises AvatarError if it keeps no landmarks."""
        return self._of(id, face).landmarks(pose)

    def forget(self, ids: Sequence[str]) -> None:
        """These are deleted."""
        with self._lock:
            for id in ids:
                self._kept.pop(id, None)
                self._gone[id] = None
            while len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)

    def ids(self) -> list[str]:
        """Of whom something is kept."""
        return list(self._kept)

    def _of(self, id: str, face: AvatarFace) -> Poser:
        with self._lock:
            known = self._kept.get(id)
            if known is not None and known[0] == face:
                self._kept.move_to_end(id)
                return known[1]
        made = Poser(face)
        with self._lock:
            if id not in self._gone:
                self._kept[id] = face, made
                self._kept.move_to_end(id)
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return made
