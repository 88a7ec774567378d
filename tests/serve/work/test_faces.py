"""Driving pictures: where the face is, in pixels of the picture as it was given."""

import io

import cv2
import numpy as np
import pytest
from people import jpeg, man, nobody, woman
from PIL import Image

from raytalk.faces.detect_dlib import DlibDetector
from serve.errors import Problem
from serve.work.faces import Faces, GivenUp


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces(DlibDetector(), 20_000_000)


def test_a_face(faces: Faces) -> None:
    found = faces.landmarks(jpeg(man()))
    assert (found.width, found.height) == (528, 432)
    assert found.landmarks.shape == (68, 2)
    assert found.landmarks.dtype == np.float32
    expected = DlibDetector().detect([man()])[0][0].landmarks
    assert np.abs(found.landmarks - expected).mean() < 2
    assert faces.detector == "dlib"


def test_nobody_who_waits_is_looked_for_in_vain(faces: Faces) -> None:
    with pytest.raises(GivenUp):
        faces.landmarks(jpeg(man()), given_up=lambda: True)


def test_pixels_of_the_picture_as_it_was_given(faces: Faces) -> None:
    """Larger ones are shrunk before anything is looked for."""
    small = faces.landmarks(jpeg(man()))
    large = faces.landmarks(
        jpeg(np.asarray(cv2.resize(man(), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC), np.uint8))
    )
    assert (large.width, large.height) == (2640, 2160)
    assert np.abs((large.landmarks + 0.5) / 5 - 0.5 - small.landmarks).mean() < 2.5
    assert large.box is not None
    assert small.box is not None
    assert np.abs(np.array(large.box) / 5 - small.box).max() < 20


def test_a_picture_from_a_turned_telephone(faces: Faces) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(np.rot90(man(), 1).copy()).save(file, "JPEG", quality=95, exif=exif)
    found = faces.landmarks(file.getvalue())
    assert (found.width, found.height) == (528, 432)
    assert np.abs(found.landmarks - faces.landmarks(jpeg(man())).landmarks).mean() < 2


def test_near_the_face_before(faces: Faces) -> None:
    """It finds what a whole search finds, follows who moves, and a wrong hint does no harm."""
    before = faces.landmarks(jpeg(man(0)))
    for number in (2, 4, 8):
        whole, near = faces.landmarks(jpeg(man(number))), faces.landmarks(jpeg(man(number)), before.box)
        size = float(np.ptp(whole.landmarks, axis=0).max())
        assert np.linalg.norm(near.landmarks - whole.landmarks, axis=1).mean() < 0.03 * size
    lost = faces.landmarks(jpeg(man(0)), (0.0, 0.0, 60.0, 60.0))
    np.testing.assert_array_equal(lost.landmarks, before.landmarks)
    for wrong in ((0.0, 0.0, 0.0, 0.0), (-1e9, 5.0, 1e9, 9.0), (9000.0, 9000.0, 9100.0, 9100.0), (float("nan"),) * 4):
        assert np.abs(faces.landmarks(jpeg(man(0)), wrong).landmarks - before.landmarks).mean() < 5


def test_of_two_people_the_one_who_was_there_before(faces: Faces) -> None:
    both = np.concatenate([cv2.resize(woman(), (432, 432)), man()], axis=1)
    left, right = faces.landmarks(jpeg(woman())), faces.landmarks(jpeg(man()))
    assert left.box is not None
    assert right.box is not None
    box_left = tuple(value * 432 / 512 for value in left.box)
    box_right = (right.box[0] + 432, right.box[1], right.box[2] + 432, right.box[3])
    assert faces.landmarks(jpeg(both), box_left).landmarks[:, 0].mean() < 432  # type: ignore[arg-type]
    assert faces.landmarks(jpeg(both), box_right).landmarks[:, 0].mean() > 432


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (jpeg(nobody()), 422, "no-face"),
        (b"", 415, "not-a-picture"),
        (b"no picture", 415, "not-a-picture"),
        (jpeg(man())[:3000], 415, "not-a-picture"),
        (jpeg(np.zeros((5000, 5000, 3), np.uint8)), 413, "too-many-pixels"),
    ],
)
def test_what_is_refused(faces: Faces, data: bytes, status: int, code: str) -> None:
    with pytest.raises(Problem) as refused:
        faces.landmarks(data)
    assert (refused.value.status, refused.value.code) == (status, code)
