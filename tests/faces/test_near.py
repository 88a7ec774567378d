"""Looking first where the face was a moment ago."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from raytalk.faces.detect_dlib import DlibDetector
from raytalk.faces.face import Face
from raytalk.faces.near import detect_near
from raytalk.faces.video import read_frames


def test_dlib_follows_a_face_as_exactly_as_it_finds_it(carphone: Path) -> None:
    detector = DlibDetector()
    frames = [cv2.resize(frame.image, (640, 524)) for frame in read_frames(carphone)][:40:2]
    (face, *_) = detector.detect(frames[:1])[0]
    apart = []
    for frame in frames[1:]:
        found = detect_near(detector, frame, face.box)
        assert found is not None
        (whole, *_) = detector.detect([frame])[0]
        apart.append(float(np.linalg.norm(found.landmarks - whole.landmarks, axis=1).mean()) / whole.extent)
        face = found
    # Two whole searches of a picture and of the same shifted by some pixels differ as much.
    assert np.mean(apart) < 0.012
    assert max(apart) < 0.04


class Bright:
    """Finds bright squares."""

    name = "bright"

    def __init__(self) -> None:
        self.searched = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        self.searched += sum(frame[..., 0].size for frame in frames)
        return [self._faces(frame) for frame in frames]

    def _faces(self, frame: np.ndarray) -> list[Face]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((frame[..., 0] > 128).astype(np.uint8))
        boxes = [np.array([x, y, x + w, y + h], np.float32) for x, y, w, h, _ in stats[1:]]
        return [Face(box, np.tile(box[:2], (68, 1)), 1.0) for box in boxes]


def test_any_detector_searches_a_part_of_the_picture() -> None:
    frame = np.zeros((400, 600, 3), np.uint8)
    for left, top in ((100, 50), (300, 200), (345, 205)):
        frame[top : top + 40, left : left + 40] = 255
    detector = Bright()
    found = detect_near(detector, frame, np.array([296, 198, 336, 238], np.float32))
    assert found is not None
    np.testing.assert_array_equal(found.box, [300, 200, 340, 240])
    np.testing.assert_array_equal(found.landmarks[0], [300, 200])
    assert detector.searched < 0.05 * 400 * 600


def test_nothing_there() -> None:
    frame, detector = np.zeros((400, 600, 3), np.uint8), Bright()
    for box in ([10, 10, 50, 50], [-90, -90, -50, -50], [700, 10, 740, 50], [5, 5, 5, 5], [np.nan] * 4):
        assert detect_near(detector, frame, np.array(box, np.float32)) is None
        assert detect_near(DlibDetector(), frame, np.array(box, np.float32)) is None
