"""face-alignment, the paper's detector: SFD boxes and FAN-4 landmarks, in batches.

The package's own calls take one frame at a time: they launch each small kernel for one picture and wait for it several
times a frame. Here whole batches stay on the device from the frame to the landmark, and it works on the next batch
while the boxes and landmarks of the last are read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import face_alignment
import numpy as np
import numpy.typing as npt
import torch

from raytalk.errors import WeightsError
from raytalk.faces.detector_files import ensure_fan_weights
from raytalk.faces.face import FACE_ALIGNMENT, Face
from raytalk.faces.fan_boxes import BoxSearch, without_doubles
from raytalk.faces.fan_landmarks import LandmarkNetwork, Places, cut_crops
from raytalk.faces.fan_sfd import Sfd
from raytalk.faces.fan_transfer import Later, ahead, shrink, to_device

Box = npt.NDArray[np.floating]
"""[5] left, top, right, bottom in frame pixels, score 0..1"""
Frames = Sequence[npt.NDArray[np.uint8]]
"""HxWx3 uint8 RGB, of any sizes"""

_SEARCH_SIDE = 640
"""longest side of the picture that SFD searches, in pixels"""
_SMALLEST = 8.0


@dataclass(frozen=True)
class _Batch:
    """Frames of one size on the device."""

    numbers: list[int]
    """which frames"""
    pictures: torch.Tensor
    """[n, H, W, 3] uint8"""


@dataclass(frozen=True)
class _Traced:
    """Faces whose landmarks are on their way from the device."""

    frames: list[int]
    boxes: list[Box]
    places: Places
    crops: torch.Tensor
    points: Later


class FaceAlignmentDetector:
    """SFD and FAN-4 on `device`; `batch_size` faces per forward pass, and on a GPU as many frames (else a quarter).

    half: bfloat16 for SFD, whose numbers may be too large for float16, and float16 for FAN; None for on a GPU only.
    compile: FAN with torch.compile, which takes half a minute or so. On a GPU every batch is filled up to `batch_size`,
    so that kernels are chosen, compiled and recorded once.
    """

    name = FACE_ALIGNMENT

    def __init__(
        self, device: str = "cpu", batch_size: int = 16, half: bool | None = None, compile: bool = False
    ) -> None:
        ensure_fan_weights()
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        self._faces_at_once = batch_size
        self._frames_at_once = batch_size if on_gpu else max(1, batch_size // 4)
        self._fill_up = on_gpu
        try:
            package = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=device, compile=False, flip_input=True
            )
        except (RuntimeError, KeyError, EOFError, OSError) as error:
            raise WeightsError(
                f"the weights of face-alignment do not load ({' '.join(str(error).split())[:200]}): "
                "delete them and let them be downloaded again"
            ) from error
        if half is None:
            half = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        self.half = half
        self.threshold: float = package.face_detector.filter_threshold
        of_search = torch.bfloat16 if half else torch.float32
        sfd = _ready(Sfd(package.face_detector.face_detector), of_search)
        fan = _ready(package.face_alignment_net, torch.float16 if half else torch.float32)
        self.search = BoxSearch(sfd, self._device, of_search)
        self.tracing = LandmarkNetwork(
            torch.compile(fan, dynamic=False) if compile else fan, self._device, half, batch_size if on_gpu else None
        )

    def detect(self, frames: Frames) -> list[list[Face]]:
        """See LandmarkDetector."""
        searched = ahead((batch, self._search(batch)) for batch in self._batches(frames))
        traced = (
            each for batch, candidates in searched for each in self._trace(batch, self._read_boxes(batch, candidates))
        )
        faces: list[list[Face]] = [[] for _ in frames]
        for part in ahead(traced):
            for number, box, points in zip(part.frames, part.boxes, self._read_points(part), strict=True):
                faces[number].append(Face(box[:4].astype(np.float32), points, float(box[4])))
        return [sorted(those, key=lambda face: -face.extent) for those in faces]

    def boxes(self, frames: Frames) -> list[list[Box]]:
        """Faces of each frame."""
        found: list[list[Box]] = [[] for _ in frames]
        for batch, candidates in ahead((batch, self._search(batch)) for batch in self._batches(frames)):
            for number, boxes in zip(batch.numbers, self._read_boxes(batch, candidates), strict=True):
                found[number] = boxes
        return found

    def landmarks(self, frames: Frames, boxes: Sequence[Sequence[Box]]) -> list[list[npt.NDArray[np.float32]]]:
        """[68, 2] landmarks in frame pixels for every box of every frame; equal to the package's own result."""
        traced = (
            each
            for batch in self._batches(frames)
            for each in self._trace(batch, [boxes[number] for number in batch.numbers])
        )
        found: list[list[npt.NDArray[np.float32]]] = [[] for _ in frames]
        for part in ahead(traced):
            for number, points in zip(part.frames, self._read_points(part), strict=True):
                found[number].append(points)
        return found

    def _batches(self, frames: Frames) -> Iterator[_Batch]:
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, frame in enumerate(frames):
            by_size.setdefault(frame.shape, []).append(number)
        for numbers in by_size.values():
            for start in range(0, len(numbers), self._frames_at_once):
                part = numbers[start : start + self._frames_at_once]
                room = self._frames_at_once if self._fill_up else len(part)
                yield _Batch(part, to_device([frames[number] for number in part], room, self._device))

    def _search(self, batch: _Batch) -> Later:
        return Later(self.search.candidates(shrink(batch.pictures, search_scale(*batch.pictures.shape[1:3]))))

    def _read_boxes(self, batch: _Batch, candidates: Later) -> list[list[Box]]:
        height, width = batch.pictures.shape[1:3]
        scale = search_scale(*batch.pictures.shape[1:3])
        found = [without_doubles(each, self.threshold) for each in candidates.read()[: len(batch.numbers)]]
        enlarged = [[np.append(box[:4] / scale, box[4]) for box in those] for those in found]
        return [[box for box in those if _is_inside(box, width, height)] for those in enlarged]

    def _trace(self, batch: _Batch, boxes: Sequence[Sequence[Box]]) -> Iterator[_Traced]:
        faces = [(owner, box) for owner, those in enumerate(boxes) for box in those]
        for start in range(0, len(faces), self._faces_at_once):
            part = faces[start : start + self._faces_at_once]
            places = Places.of([box for _, box in part])
            corners, owners = places.corners(), torch.tensor([owner for owner, _ in part])
            if self._fill_up:
                missing = self._faces_at_once - len(part)
                corners = torch.cat([corners, corners[-1:].expand(missing, -1)])
                owners = torch.cat([owners, owners[-1:].expand(missing)])
            crops = cut_crops(
                batch.pictures,
                owners.to(self._device, non_blocking=True),
                corners.to(self._device, non_blocking=True),
            )
            points = self.tracing.points(crops)
            numbers = [batch.numbers[owner] for owner, _ in part]
            yield _Traced(numbers, [box for _, box in part], places, crops, Later(points))

    def _read_points(self, part: _Traced) -> npt.NDArray[np.float32]:
        points = part.points.read()
        if not np.isfinite(points).all() and self.tracing.widen():
            print("face-alignment's landmark network overflows in float16: going on in float32", flush=True)
        if not np.isfinite(points).all():
            points = Later(self.tracing.points(part.crops)).read()
        return part.places.to_frames(points[: len(part.frames)])


def _ready(network: Any, dtype: torch.dtype) -> Any:
    """For passes of `dtype`, with channels last in memory; the statistics of batches stay in float32."""
    for module in network.requires_grad_(False).modules():
        if not isinstance(module, torch.nn.BatchNorm2d):
            for values in module.parameters(recurse=False):
                layout = torch.channels_last if values.ndim == 4 else torch.contiguous_format
                values.data = values.data.to(dtype, memory_format=layout)
    return network


def search_scale(height: int, width: int) -> float:
    """By how much frames are shrunk (<= 1) before SFD looks at them."""
    return min(1.0, _SEARCH_SIDE / max(height, width))


def _is_inside(box: Box, width: int, height: int) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    large = min(box[2] - box[0], box[3] - box[1]) >= _SMALLEST
    return bool(large and 0 <= x < width and 0 <= y < height)
