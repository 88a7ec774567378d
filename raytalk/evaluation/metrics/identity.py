"""Is it the same person: faces as descriptors, compared by their cosine (the paper's CSIM, Section 4).

M pictures with landmarks [M, 68, 2]; descriptors are [M, D] float32, NaN where the landmarks are. The paper's network
is ArcFace. Figures of different networks do not compare: dlib's are named `csim-dlib` and are no CSIM of ArcFace.
"""

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.errors import WeightsError
from raytalk.faces import identity
from raytalk.networks.weights import WeightsFile, found_weights, has_weights

Descriptors = npt.NDArray[np.float32]

ARCFACE = "csim-arcface"
DLIB = "csim-dlib"
NETWORKS = (ARCFACE, DLIB)

ARCFACE_FILE = WeightsFile(
    "ArcFace",
    ("w600k_r50.onnx",),
    "insightface's buffalo_l (https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip)",
)

_SIDE = 112
_PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""where ArcFace has the left and right eye of the picture, the tip of the nose and the corners of the mouth"""
_BATCH = 32


class FaceNetwork(Protocol):
    """What makes descriptors of faces. Not safe to share between threads."""

    name: str
    """what results record"""
    title: str
    """how people are told about it"""

    def describe(self, pictures: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> Descriptors:
        """Descriptors [M, D] float32 of faces; NaN rows where landmarks are not finite.

        pictures: [M, H, W, 3] uint8 RGB; landmarks: [M, 68, 2] in their pixels.
        """
        ...


class DlibFaces:
    """dlib's recognition network, some 20 ms a face on the CPU. Its cosines are high: strangers have .78 to .95."""

    name = DLIB
    title = "CSIM of dlib's network, not of ArcFace"

    def __init__(self) -> None:
        identity.identity_network()

    def describe(self, pictures: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> Descriptors:
        """See FaceNetwork; D = 128."""
        descriptors = np.full((len(pictures), identity.SIZE), np.nan, np.float32)
        for index in np.flatnonzero(_known(pictures, landmarks)):
            descriptors[index] = identity.describe(pictures[index], landmarks[index])
        return descriptors


class ArcFace:
    """ArcFace (Deng et al. 2019) as insightface publishes it, on a GPU where onnxruntime has one."""

    name = ARCFACE
    title = "CSIM (ArcFace)"

    def __init__(self, file: Path) -> None:
        """Raises WeightsError if the file is no such network or onnxruntime is missing."""
        if importlib.util.find_spec("onnxruntime") is None:
            raise WeightsError(f"running {file} needs the Python package onnxruntime (pip install onnxruntime)")
        import onnxruntime

        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session: Any = onnxruntime.InferenceSession(str(file), providers=providers)
        except Exception as error:
            text = " ".join(str(error).split())[:160]
            raise WeightsError(f"{file} is damaged or is not an ONNX network: get it again ({text})") from error
        (self._input, *more), outputs = self._session.get_inputs(), self._session.get_outputs()
        if more or len(outputs) != 1 or list(self._input.shape[1:]) != [3, _SIDE, _SIDE]:
            raise WeightsError(
                f"{file} does not take one input [N, 3, {_SIDE}, {_SIDE}] to one output: it is not {ARCFACE_FILE.name}"
            )
        self._size = int(outputs[0].shape[1])

    def describe(self, pictures: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> Descriptors:
        """See FaceNetwork; D = 512."""
        descriptors = np.full((len(pictures), self._size), np.nan, np.float32)
        known = np.flatnonzero(_known(pictures, landmarks))
        fixed = self._input.shape[0]
        batch = fixed if isinstance(fixed, int) else _BATCH
        for start in range(0, len(known), batch):
            rows = known[start : start + batch]
            faces = np.stack([aligned_face(pictures[row], landmarks[row]) for row in rows])
            # RGB in [-1, 1], as insightface gives it to networks that do not scale their input themselves.
            scaled = (faces.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
            missing = batch - len(rows) if isinstance(fixed, int) else 0
            padded = np.concatenate([scaled, np.zeros((missing, *scaled.shape[1:]), np.float32)])
            (made,) = self._session.run(None, {self._input.name: padded})
            descriptors[rows] = made[: len(rows)]
        return descriptors


def load_face_network(name: str = "auto", weights: str = "") -> FaceNetwork:
    """`csim-arcface`, `csim-dlib`, or `auto`: ArcFace if its file is found or given, otherwise dlib's.

    `weights` is ArcFace's file, the folder that holds it, or the URI of either; without it the file is looked for
    where weights are kept (`networks/weights.py`). Raises WeightsError for an unknown name or what cannot be had.
    """
    if name not in ("auto", *NETWORKS):
        raise WeightsError(f"unknown face network '{name}': choose one of auto, {', '.join(NETWORKS)}")
    if name == DLIB or (name == "auto" and not weights and not has_weights(ARCFACE_FILE)):
        return DlibFaces()
    with found_weights(ARCFACE_FILE, weights) as found:
        return ArcFace(found.path)


def csim(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Cosines [M] of descriptors one and other [M, D], row by row; NaN where either is. Higher is more alike.

    Raises ValueError for descriptors of different shapes.
    """
    if one.ndim != 2 or one.shape != other.shape:
        raise ValueError(f"descriptors of {list(one.shape)} cannot be compared with {list(other.shape)}")
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / np.maximum(lengths, 1e-12), np.float64)


def aligned_face(picture: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The face as ArcFace wants it: turned, moved and scaled so that five points come closest to their places.

    picture: HxWx3 uint8 RGB; landmarks: [68, 2] in its pixels. Returns 112x112x3 uint8 RGB, black beyond the picture.
    """
    points = np.asarray(landmarks, np.float64)
    five = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])
    return np.asarray(
        cv2.warpAffine(np.ascontiguousarray(picture), _similarity(five, _PLACES), (_SIDE, _SIDE)), np.uint8
    )


def _similarity(points: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The map [2, 3] without mirroring that brings points [n, 2] closest to places [n, 2], by least squares."""
    # As complex numbers it is w z + t, and centred points leave w = <z, places> / <z, z>.
    here, there = points[:, 0] + 1j * points[:, 1], places[:, 0] + 1j * places[:, 1]
    centred = here - here.mean()
    turn = np.vdot(centred, there - there.mean()) / max(float(np.vdot(centred, centred).real), 1e-12)
    shift = there.mean() - turn * here.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float64)


def _known(pictures: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    if landmarks.shape != (len(pictures), 68, 2):
        raise ValueError(f"{len(pictures)} pictures need landmarks [M, 68, 2], not {list(landmarks.shape)}")
    return np.asarray(np.isfinite(landmarks).all(axis=(1, 2)), np.bool_)
