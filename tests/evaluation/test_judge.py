"""Rows of one person, by a detector and a face network whose answers are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from raytalk.evaluation.judge import Judge
from raytalk.evaluation.methods.copying import MeanFrame
from raytalk.evaluation.methods.made import Made
from raytalk.evaluation.performer import Performance
from raytalk.evaluation.protocol import Sitting, choose, sit
from raytalk.faces.face import Face
from raytalk.storage import Storage

Pictures = npt.NDArray[np.uint8]


class Detector:
    """Finds the hold-out frames' own landmarks, a picture's first grey level to the right of them; none in black."""

    name = "toy"

    def __init__(self, sitting: Sitting) -> None:
        self.sitting, self.asked = sitting, 0

    def detect(self, frames: Sequence[Pictures]) -> list[list[Face]]:
        self.asked += len(frames)
        return [self._in(frame) for frame in frames]

    def _in(self, frame: Pictures) -> list[Face]:
        if not frame.any():
            return []
        shift, place = float(frame[0, 0, 0]), int(frame[0, 0, 1])
        for number, real in enumerate(self.sitting.truth):
            if np.array_equal(frame, real):
                shift, place = 0.0, number
        points = self.sitting.driving[place] + np.array([shift, 0.0])
        box = np.array([0, 0, 31, 31], np.float32)
        return [Face(box, points.astype(np.float32), 1.0)]


class Faces:
    """Describes the corner of a picture."""

    name = title = "toy"

    def describe(self, pictures: Pictures, landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        return pictures[:, 0, 0].astype(np.float32) + 1


@pytest.fixture
def sitting(long_clips: Path) -> Sitting:
    storage = Storage(str(long_clips))
    return sit(storage, choose(storage, "val", 1, 10, ["block"], 0).trials[0], 32, 6, 4, 0)


def performance(sitting: Sitting, *made: Made) -> Performance:
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    nothing = [None] * len(made)
    return Performance(sitting, list(made), [np.full(4, 0.25, np.float32)] * len(made), nothing, features)


def marked(shifts: list[int]) -> Pictures:
    """Pictures of the four hold-out frames, whose landmarks are found so many pixels to the right."""
    pictures = np.full((4, 32, 32, 3), 7, np.uint8)
    for place, shift in enumerate(shifts):
        pictures[place, 0, 0] = (shift, place, 1)
    return pictures


def test_landmark_error_and_jitter_of_known_shifts(sitting: Sitting) -> None:
    made = Made("ft", 2, 250, marked([1, 1, 3, 1]), 1.5, 0.01)
    rows = Judge(None, Detector(sitting), 2).rows(performance(sitting, made)).to_pandas()
    ours = rows[rows["method"] == "ft"]
    eyes = np.linalg.norm(sitting.driving[:, 36] - sitting.driving[:, 45], axis=1)
    assert ours["landmark_error"].to_numpy() == pytest.approx(np.array([1, 1, 3, 1]) / eyes, rel=1e-4)
    between = (eyes[1:] + eyes[:-1]) / 2
    assert ours["jitter"].unique() == pytest.approx([np.mean(np.array([0, 2, 2]) / between)], rel=1e-3)
    assert ours["lpips"].unique() == pytest.approx([0.25])
    assert ours["frame"].tolist() == [sitting.numbers[index] for index in sitting.hold_out]
    assert ours["learning_seconds"].unique() == pytest.approx([1.5])
    assert ours["picture"].notna().tolist() == [True, False, False, True], "spread over the hold-out frames"
    assert ours["csim"].isna().all(), "nobody compares faces"


def test_no_face_is_no_figure(sitting: Sitting) -> None:
    pictures = marked([1, 1, 1, 1])
    pictures[2] = 0
    rows = (
        Judge(None, Detector(sitting), 0).rows(performance(sitting, Made("ft", 2, 1, pictures, 0.0, 0.0))).to_pandas()
    )
    assert rows[rows["method"] == "ft"]["landmark_error"].isna().tolist() == [False, False, True, False]


def test_csim_is_the_cosine_to_the_hold_out_frame(sitting: Sitting) -> None:
    made = Made("ff", 2, 0, marked([4, 4, 4, 4]), 0.0, 0.0)
    rows = Judge(Faces(), None, 0).rows(performance(sitting, made)).to_pandas()
    ours, real = made.pictures[:, 0, 0].astype(float) + 1, sitting.truth[:, 0, 0].astype(float) + 1
    cosines = (ours * real).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(real, axis=1)
    assert rows[rows["method"] == "ff"]["csim"].to_numpy() == pytest.approx(cosines, abs=1e-5)
    truth = rows[rows["method"] == "truth"]
    assert truth["csim"].isna().all(), "a frame against itself says nothing"
    assert np.stack(truth["descriptor"]) == pytest.approx(real)
    assert np.stack(truth["features"]).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_the_same_picture_is_looked_at_once(sitting: Sitting) -> None:
    detector = Detector(sitting)
    mean = MeanFrame().make(sitting, 3)[0]
    mean.pictures[:, 0, 0, 1] = 0
    Judge(None, detector, 0).rows(performance(sitting, mean))
    assert detector.asked == 1 + 4, "the mean once, the four real frames"


def test_the_learning_frames_are_listed(sitting: Sitting) -> None:
    made = [Made("ff", shots, 0, marked([0, 0, 0, 0]), 0.0, 0.0) for shots in (1, 5)]
    rows = Judge(None, None, 2).rows(performance(sitting, *made)).to_pandas()
    learned = rows[(rows["method"] == "learning") & (rows["shots"] == 5)]
    assert learned["frame"].tolist() == [sitting.numbers[index] for index in sitting.pool[:5]]
    assert learned["picture"].notna().tolist() == [True, True, False, False, False]
