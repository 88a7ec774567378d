"""From what drives to landmarks of the avatar. Plain arithmetic of milliseconds: called in threads."""

import threading
from collections import OrderedDict

from raytalk.driving.live import Adapt, AvatarFace, LiveMotion
from raytalk.driving.pose import Pose, Poser
from serve.front.backend import Landmarks
from serve.parts import FaceFound


def posed(face: AvatarFace, pose: Pose) -> Landmarks:
    """[68, 2] of sliders. Raises AvatarError if the avatar keeps no landmarks."""
    return _POSERS.of(face).landmarks(pose)


def adapted_once(face: AvatarFace, found: FaceFound, adapt: Adapt) -> Landmarks:
    """[68, 2] of a single driving picture. Raises AvatarError as LiveMotion does."""
    return LiveMotion(face, adapt).feed(found.landmarks, 0.0)


class _Posers:
    """Posers are made in 50 ms and used in 1: the last ones are kept, by what the face looks like."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple[int, bytes], Poser] = OrderedDict()

    def of(self, face: AvatarFace) -> Poser:
        key = (face.resolution, face.landmarks.tobytes())
        with self._lock:
            poser = self._kept.get(key)
            if poser is not None:
                self._kept.move_to_end(key)
                return poser
        made = Poser(face)
        with self._lock:
            self._kept[key] = made
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


_POSERS = _Posers(64)
