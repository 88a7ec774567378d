"""Whole clips: who, where, and that the stored landmarks are those of the picture."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from raytalk.clips.heads.anatomy import Anatomy
from raytalk.clips.heads.studio import Order, Shot, Studio, motion_of
from raytalk.faces.detect import make_detector

ORDER = Order(seed=3, person=1, clip=0, frames=4, seconds=3.0, resolution=96)


@pytest.fixture(scope="module")
def studio(anatomy: Anatomy) -> Studio:
    return Studio(anatomy)


@pytest.fixture(scope="module")
def shot(studio: Studio) -> Shot:
    return studio.shoot(ORDER)


def test_an_order_gives_the_same_clip_whoever_renders_it(anatomy: Anatomy, studio: Studio, shot: Shot) -> None:
    studio.shoot(dataclasses.replace(ORDER, person=2))
    for other in (studio.shoot(ORDER), Studio(anatomy).shoot(ORDER)):
        for field in dataclasses.fields(Shot):
            assert np.array_equal(getattr(shot, field.name), getattr(other, field.name)), field.name


def test_nor_does_the_number_of_threads_matter() -> None:
    script = (
        "import hashlib; from raytalk.clips.heads.anatomy import load_anatomy; "
        "from raytalk.clips.heads.studio import Order, Studio; "
        "shot = Studio(load_anatomy()).shoot(Order(0, 3, 0, 2, 2.0, 64)); "
        "print(hashlib.sha256(shot.pictures.tobytes() + shot.landmarks.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.split()[-1])
    assert len(digests) == 1


@pytest.mark.parametrize("change", [{"seed": 4}, {"person": 2}, {"clip": 1}])
def test_other_orders_give_other_pictures(studio: Studio, shot: Shot, change: dict[str, int]) -> None:
    other = studio.shoot(dataclasses.replace(ORDER, **change))
    assert np.abs(other.pictures.astype(int) - shot.pictures).mean() > 8
    assert np.abs(other.landmarks - shot.landmarks).mean() > 0.5


def test_resolution_changes_nothing_but_the_resolution(studio: Studio, shot: Shot) -> None:
    double = studio.shoot(dataclasses.replace(ORDER, resolution=192))
    assert np.allclose((double.landmarks + 0.5) / 2 - 0.5, shot.landmarks, atol=1e-3)
    assert np.allclose((double.pupils + 0.5) / 2 - 0.5, shot.pupils, atol=1e-3)
    assert np.allclose(double.gaze, shot.gaze)
    halved = double.pictures.reshape(4, 96, 2, 96, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - shot.pictures).mean() < 6


def test_more_frames_show_moments_between(studio: Studio) -> None:
    few, many = motion_of(ORDER), motion_of(dataclasses.replace(ORDER, frames=7))
    assert np.allclose(few.head, many.head[::2])
    assert np.allclose(few.actions, many.actions[::2])


def test_shapes_and_ranges(shot: Shot) -> None:
    assert shot.pictures.shape == (4, 96, 96, 3)
    assert shot.pictures.dtype == np.uint8
    assert shot.landmarks.shape == (4, 68, 2)
    assert shot.landmarks.dtype == shot.pupils.dtype == shot.gaze.dtype == np.float32
    assert shot.fps == pytest.approx(1.0)
    assert ((shot.landmarks > -5) & (shot.landmarks < 101)).all()
    assert np.ptp(shot.landmarks, axis=1).max(axis=1).min() > 30


def test_pupils_lie_in_the_eyes(studio: Studio) -> None:
    """Of open eyes; the gaze is never so far off that the pupil leaves the lids' corners."""
    for person in range(4):
        order = dataclasses.replace(ORDER, person=person, frames=8)
        shot = studio.shoot(order)
        for index in range(8):
            for side, eye in enumerate((slice(36, 42), slice(42, 48))):
                corners = shot.landmarks[index, eye]
                low, high = corners[:, 0].min() - 1, corners[:, 0].max() + 1
                assert low < shot.pupils[index, side, 0] < high


def test_a_detector_finds_the_same_landmarks(studio: Studio) -> None:
    """A coarse guard: `benchmarks/heads_landmarks.py` measures this on a thousand frames."""
    detector = make_detector("dlib", "cpu")
    errors = []
    for person in range(6):
        shot = studio.shoot(dataclasses.replace(ORDER, person=person, frames=3, resolution=256))
        for faces, points in zip(detector.detect(list(shot.pictures)), shot.landmarks, strict=True):
            if faces:
                apart = np.linalg.norm(points[36] - points[45])
                errors.append(np.linalg.norm(faces[0].landmarks - points, axis=1)[17:].mean() / apart)
    assert len(errors) >= 16
    assert np.median(errors) < 0.05
