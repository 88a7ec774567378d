"""Whose face is it: descriptors by dlib's recognition network, compared by distance.

`NETWORK` names where the descriptors come from; those of two networks must not be compared. The paper's CSIM is the
cosine of another network's descriptors (ArcFace): figures made here are no CSIM and rank pictures only.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.errors import WeightsError
from raytalk.faces.detector_files import dlib_file

NETWORK = "dlib-resnet"
NETWORK_FILE = "dlib_face_recognition_resnet_model_v1.dat"
SIZE = 128
"""numbers in a descriptor"""
SAME_PERSON = 0.6
"""descriptors of two pictures that lie closer are of one person, by the network's authors"""
SAME_PERSON_MEANS = 0.4
"""the same for means over several pictures, which lie closer: in twenty clips the halves of one clip were 0.17 to 0.31
apart, different people 0.42 and more (the network tells young men from East Asia apart worst)"""

_CHIP = 150
"""side of the upright picture that the network sees, in pixels"""

Descriptor = npt.NDArray[np.float32]


def identity_network() -> Path:
    """The recognition network's file. Raises WeightsError saying how to install it."""
    return dlib_file(NETWORK_FILE, "comparing faces")


def upright_face(picture: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The face as the network wants it: turned upright and brought to 150 x 150 pixels.

    picture: HxWx3 uint8 RGB; landmarks: [68, 2] in its pixels. Raises WeightsError without dlib, ValueError for
    another shape or numbers that are not finite.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be finite and of the shape [68, 2], not {list(points.shape)}")
    identity_network()
    import dlib

    # dlib takes whole pixels, which are coarse on a small face.
    scale = max(1.0, 2 * _CHIP / max(float(np.ptp(points, axis=0).max()), 8.0))
    near = np.ascontiguousarray(picture)
    if scale > 1:
        side = round(4 * _CHIP)
        corner = points.mean(axis=0) - side / scale / 2
        forward = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        near = np.asarray(cv2.warpAffine(near, forward, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        points = (points - corner) * scale
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    box = dlib.rectangle(*(int(value) for value in (*low, *high)))
    parts = dlib.points([dlib.point(round(x), round(y)) for x, y in points.tolist()])
    return np.asarray(dlib.get_face_chip(near, dlib.full_object_detection(box, parts), _CHIP), np.uint8)


def describe_upright(face: npt.NDArray[np.uint8]) -> Descriptor:
    """The descriptor [128] float32 of what `upright_face` returned. Not safe to call from two threads at once."""
    return np.array(_network().compute_face_descriptor(np.ascontiguousarray(face)), np.float32)


def describe(picture: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> Descriptor:
    """The descriptor [128] float32 of a face. Not safe to call from two threads at once.

    picture: HxWx3 uint8 RGB; landmarks: [68, 2] in its pixels, of any detector. Raises WeightsError if the network is
    not installed, ValueError for landmarks of another shape.
    """
    return describe_upright(upright_face(picture, landmarks))


def distance(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Euclidean distance of two descriptors; below SAME_PERSON they show one person."""
    return float(np.linalg.norm(np.asarray(one, np.float64) - np.asarray(other, np.float64)))


def similarity(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Cosine of two descriptors, for ranking pictures by likeness.

    In use as CSIM is, but of dlib's network, which puts all faces into one corner of its space: strangers score .78 to
    .95, two halves of one clip .97 and more.
    """
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def odd_ones_out(descriptors: Sequence[npt.NDArray[np.floating]], limit: float = SAME_PERSON) -> list[int]:
    """Which of some photographs show somebody else than most of them do.

    descriptors: one [128] for each. Returns their places, in order. Where no more than half show one person (two
    photographs that differ, say) nobody can tell who is meant, and all are returned.
    """
    if len(descriptors) < 2:
        return []
    points = np.stack([np.asarray(descriptor, np.float64) for descriptor in descriptors])
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    near = apart < limit
    middle = min(range(len(points)), key=lambda place: (-near[place].sum(), apart[place].sum()))
    if near[middle].sum() * 2 <= len(points):
        return list(range(len(points)))
    # A photograph in odd light may lie far from one of the others and still close to the person.
    person = points[near[middle]].mean(axis=0)
    return [int(place) for place in np.flatnonzero(np.linalg.norm(points - person, axis=1) >= limit)]


def mean_descriptor(faces: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.floating]]]) -> Descriptor | None:
    """The mean descriptor [128] float32 of one person's faces; None without the network.

    faces: pictures HxWx3 uint8 RGB with landmarks [68, 2], at least one.
    """
    try:
        return mean_of([describe(*face) for face in faces])
    except WeightsError:
        return None


def mean_of(descriptors: Sequence[Descriptor]) -> Descriptor:
    """[128] float32"""
    return np.asarray(np.mean(np.stack(descriptors), axis=0), np.float32)


@lru_cache(maxsize=1)
def _network() -> Any:
    path = identity_network()
    import dlib

    return dlib.face_recognition_model_v1(str(path))
