"""face-alignment, the paper's detector: SFD boxes and FAN-4 landmarks, in batches.

The package's own calls run the landmark network on one frame at a time; here the crops of all frames are stacked.
"""

import warnings
from collections.abc import Sequence

import cv2
import face_alignment
import numpy as np
import numpy.typing as npt
import torch
from face_alignment.utils import CENTER_Y_OFFSET, crop, flip, get_preds_fromhm

from raytalk.errors import WeightsError
from raytalk.faces.detector_files import ensure_fan_weights
from raytalk.faces.face import FACE_ALIGNMENT, Face

Box = npt.NDArray[np.floating]
"""[5] left, top, right, bottom in frame pixels, score 0..1"""

_SEARCH_SIDE = 640
"""longest side of the picture that SFD searches, in pixels"""
_SMALLEST = 8.0


class FaceAlignmentDetector:
    """SFD and FAN-4 on `device`; `batch_size` faces (and a quarter as many frames) per forward pass."""

    name = FACE_ALIGNMENT

    def __init__(self, device: str = "cpu", batch_size: int = 16) -> None:
        ensure_fan_weights()
        self.batch_size = batch_size
        self.device = device
        try:
            self._networks = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=device, compile=False, flip_input=True
            )
        except (RuntimeError, KeyError, EOFError, OSError) as error:
            raise WeightsError(
                f"the weights of face-alignment do not load ({' '.join(str(error).split())[:200]}): "
                "delete them and let them be downloaded again"
            ) from error

    def detect(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        """See LandmarkDetector."""
        boxes = self.boxes(frames)
        points = self.landmarks(frames, boxes)
        return [
            sorted(
                (Face(box[:4].astype(np.float32), face, float(box[4])) for box, face in zip(*pair, strict=True)),
                key=lambda face: -face.extent,
            )
            for pair in zip(boxes, points, strict=True)
        ]

    @torch.no_grad()
    def boxes(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[list[Box]]:
        """Faces of each frame, found in batches of frames of one size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, frame in enumerate(frames):
            by_size.setdefault(frame.shape, []).append(index)
        found: list[list[Box]] = [[] for _ in frames]
        step = max(1, self.batch_size // 4)
        for (height, width, _), indices in by_size.items():
            scale = min(1.0, _SEARCH_SIDE / max(height, width))
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                shrunk = [cv2.resize(frames[i], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for i in part]
                stacked = torch.from_numpy(np.stack(shrunk)).permute(0, 3, 1, 2)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    detected = self._networks.face_detector.detect_from_batch(stacked)
                for index, boxes in zip(part, detected, strict=True):
                    found[index] = [
                        box for box in (_enlarged(each, scale) for each in boxes) if _is_inside(box, width, height)
                    ]
        return found

    @torch.no_grad()
    def landmarks(
        self, frames: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[Sequence[Box]]
    ) -> list[list[npt.NDArray[np.float32]]]:
        """[68, 2] landmarks in frame pixels for every box of every frame; equal to the package's own result."""
        jobs = [(index, box) for index, those in enumerate(boxes) for box in those]
        result: list[list[npt.NDArray[np.float32]]] = [[] for _ in frames]
        reference = self._networks.face_detector.reference_scale
        for start in range(0, len(jobs), self.batch_size):
            part = jobs[start : start + self.batch_size]
            places = [_place(box, reference) for _, box in part]
            crops = [crop(frames[index], *place) for (index, _), place in zip(part, places, strict=True)]
            stacked = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255.0)
            heatmaps = self._heatmaps(stacked.to(self.device))
            for (index, _), (centre, scale), heatmap in zip(part, places, heatmaps, strict=True):
                _, points, _ = get_preds_fromhm(heatmap[None], centre, scale)
                result[index].append(np.asarray(points[0], dtype=np.float32))
        return result

    def _heatmaps(self, crops: torch.Tensor) -> npt.NDArray[np.float32]:
        network = self._networks.face_alignment_net
        straight = _last(network(crops)) + flip(_last(network(flip(crops))), is_label=True)
        return np.asarray(straight.float().cpu().numpy())


def _last(output: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return output[-1] if isinstance(output, list) else output


def _place(box: Box, reference: float) -> tuple[npt.NDArray[np.float64], float]:
    """Centre and scale of the crop, as face-alignment takes them from a box."""
    left, top, right, bottom = (float(value) for value in box[:4])
    centre = np.array([(left + right) / 2, (top + bottom) / 2 - (bottom - top) * CENTER_Y_OFFSET])
    return centre, (right - left + bottom - top) / reference


def _enlarged(box: npt.NDArray[np.floating], scale: float) -> Box:
    return np.asarray([*(np.asarray(box[:4]) / scale), box[4]], dtype=np.float64)


def _is_inside(box: Box, width: int, height: int) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    large = min(box[2] - box[0], box[3] - box[1]) >= _SMALLEST
    return bool(large and 0 <= x < width and 0 <= y < height)
