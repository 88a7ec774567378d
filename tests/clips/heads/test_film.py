"""What lies between the lens and a clip, and what lies behind the person."""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from raytalk.clips.heads.backdrop import backdrop
from raytalk.clips.heads.film import Film, draw_film
from raytalk.faces.crop import SIDE, crop_frame

PLAIN = Film(contrast=0, saturation=1, blur=0, detail=1, quality=0, edges=(9, 9, 9))
WHOLE = (0, 64, 64)


@pytest.fixture
def picture() -> npt.NDArray[np.uint8]:
    return np.asarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)), np.uint8)


def test_a_plain_film_keeps_every_pixel(picture: npt.NDArray[np.uint8]) -> None:
    assert np.array_equal(PLAIN.develop(picture, WHOLE), picture)


def test_contrast_parts_dark_from_bright_and_leaves_the_middle(picture: npt.NDArray[np.uint8]) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(256, axis=0)
    strong = dataclasses.replace(PLAIN, contrast=0.8).develop(ramp, (0, 256, 256))[0, :, 0].astype(int)
    assert (np.diff(strong) >= 0).all()
    assert strong[[0, 128, 255]].tolist() == [0, 128, 255]
    assert strong[64] < 54
    assert strong[192] > 202
    flat = dataclasses.replace(PLAIN, contrast=-0.3).develop(picture, WHOLE)
    assert flat.std() < picture.std()


def test_without_saturation_it_is_grey(picture: npt.NDArray[np.uint8]) -> None:
    grey = dataclasses.replace(PLAIN, saturation=0).develop(picture, WHOLE)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.array_equal(grey[..., 0], cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("change", [{"blur": 0.02}, {"detail": 0.5}, {"quality": 50}])
def test_lens_resolution_and_codec_lose_what_is_fine(picture: npt.NDArray[np.uint8], change: dict[str, float]) -> None:
    kept = dataclasses.replace(PLAIN, **change).develop(picture, WHOLE)  # type: ignore[arg-type]
    assert kept.shape == picture.shape
    fine = [np.abs(np.diff(each.astype(int), axis=1)).mean() for each in (picture, kept)]
    assert fine[1] < 0.8 * fine[0]
    assert abs(kept.mean() - picture.mean()) < 4


def test_beyond_its_frame_a_video_repeats_its_last_pixels_as_the_crop_does() -> None:
    """The same video, with and without the part beyond the frame, through the crop of preprocessing."""
    video = np.asarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3)), np.uint8)
    square = np.array([149.5, 149.5, 128.0])
    smaller = crop_frame(video[:196, 98:], square - [98, 0, 0], 128)[0]
    full, forward = crop_frame(video, square, 128)
    middle = forward[:, :2] @ [150, 150] + forward[:, 2]
    face = 128 / SIDE
    film = dataclasses.replace(PLAIN, edges=(52 / face, 9, 46 / face))
    reach = film.reach(128, middle)
    assert reach == (12, 128, 110)
    assert np.abs(film.develop(full, reach).astype(int) - smaller).max() <= 1


def test_the_inner_part_of_a_crop_is_always_there() -> None:
    film = dataclasses.replace(PLAIN, edges=(0.1, 0.1, 0.1))
    assert film.reach(128, np.array([64.0, 64.0])) == (32, 96, 96)


def test_clips_differ_in_film_and_most_are_good() -> None:
    films = [draw_film(np.random.default_rng(seed)) for seed in range(400)]
    assert len({film.contrast for film in films}) > 350
    assert 0.25 < np.mean([film.edges[2] < 1 for film in films]) < 0.5
    assert np.mean([film.detail == 1 for film in films]) > 0.4
    assert np.mean([film.saturation == 0 for film in films]) < 0.05


def test_backdrops_are_as_bright_and_as_warm_as_behind_real_people() -> None:
    """Of 18 real videos: half are brighter than L* 63 (10 % below 26, 10 % above 78), most are warm."""
    seen = [backdrop(np.random.default_rng(seed), 96) for seed in range(300)]
    assert all(each.shape == (96, 96, 3) and each.dtype == np.float32 for each in seen)
    assert all(np.isfinite(each).all() and each.min() >= 0 and each.max() <= 4 for each in seen)
    means = np.array([each.mean(axis=(0, 1)) for each in seen])
    low, median, high = np.percentile(means.mean(axis=1), [10, 50, 90])
    assert 0.03 < low < 0.15
    assert 0.25 < median < 0.6
    assert 0.6 < high < 1.2
    assert np.mean(means[:, 0] > means[:, 2]) > 0.6, "most are warm"
    assert len({each.tobytes() for each in seen}) == 300
