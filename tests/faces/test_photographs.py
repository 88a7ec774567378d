"""Photographs as people have them: every format, rotated, broken, with the wrong faces in them."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from raytalk.errors import FaceError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import Face, LandmarkDetector
from raytalk.faces.photographs import Photograph, portraits, read_photograph, sharpness_of, the_face

ASTRONAUT = data.astronaut()


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def photograph(image: np.ndarray = ASTRONAUT, name: str = "one", kind: str = "PNG", **options: object) -> Photograph:
    return Photograph(name, encoded(image, kind, **options))


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return make_detector("dlib")


def test_one_photograph(detector: LandmarkDetector) -> None:
    made = portraits([photograph()], detector, 128)
    assert made.frames.shape == (1, 128, 128, 3)
    assert made.landmarks.shape == (1, 68, 2)
    assert made.names == ["one"]
    assert not made.refused
    assert 20 < np.ptp(made.landmarks[0], axis=0).max() < 128


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format(kind: str) -> None:
    read = read_photograph(photograph(kind=kind))
    assert read.shape == ASTRONAUT.shape
    assert np.abs(read.astype(int) - ASTRONAUT).mean() < 12  # GIF has 256 colours


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_photographs_are_turned_upright(orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = np.rot90(ASTRONAUT, turns).copy()  # as a camera that was turned stores it
    np.testing.assert_array_equal(read_photograph(photograph(turned, exif=exif)), ASTRONAUT)


def test_other_kinds_of_pixels() -> None:
    grey = cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(read_photograph(photograph(grey))[..., 1], grey)
    deep = read_photograph(photograph(grey.astype(np.uint16) * 257))
    np.testing.assert_array_equal(deep[..., 1], grey)
    clear = np.dstack([ASTRONAUT, np.zeros(ASTRONAUT.shape[:2], np.uint8)])
    assert (read_photograph(photograph(clear)) == 255).all()


def test_large_photographs_are_shrunk() -> None:
    large = cv2.resize(ASTRONAUT, (3000, 1500))
    assert read_photograph(photograph(large, kind="JPEG")).shape == (960, 1920, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", encoded(ASTRONAUT)[:2000], encoded(ASTRONAUT, "JPEG")[:90]])
def test_what_is_no_picture_is_said_so(content: bytes) -> None:
    with pytest.raises(FaceError, match="it cannot be read"):
        read_photograph(Photograph("x", content))


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    truth = np.zeros((64, 96, 3), np.uint8)
    truth[:, 48:] = (200, 120, 40)
    written = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(truth)).save(written, quality=90)
    read = read_photograph(Photograph("x.heic", written.getvalue()))
    assert read.shape == truth.shape
    assert np.abs(read.astype(int) - truth).mean() < 4


def test_heic_without_its_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(FaceError, match="install pillow-heif"):
        read_photograph(Photograph("x", b"\0\0\0\x18ftypheic" + b"\0" * 40))


def test_good_ones_are_taken_and_bad_ones_named(detector: LandmarkDetector) -> None:
    given = [
        photograph(),
        Photograph("broken", b"x"),
        photograph(np.full((200, 300, 3), 90, np.uint8), "wall"),
        photograph(np.concatenate([ASTRONAUT, ASTRONAUT], axis=1), "twins"),
        photograph(cv2.resize(ASTRONAUT, (256, 256)), "far"),
        photograph(ASTRONAUT[:, ::-1].copy(), "mirrored", "JPEG"),
    ]
    made = portraits(given, detector, 64, min_face=70)
    assert made.names == ["one", "mirrored"]
    assert made.frames.shape == (2, 64, 64, 3)
    reasons = {name: why.partition(":")[0] for name, why in made.refused.items()}
    expected = {"broken": "not a picture", "wall": "no face", "twins": "two faces"}
    assert {name: reasons.get(name) for name in expected} == expected
    assert reasons["far"] in ("no face", "face too small")


def test_numbers_of_photographs(detector: LandmarkDetector) -> None:
    with pytest.raises(FaceError, match="give 1 to 32 photographs"):
        portraits([], detector, 64)
    with pytest.raises(FaceError, match="500 were given; choose at most 32"):
        portraits([Photograph("x", b"")] * 500, detector, 64)
    with pytest.raises(FaceError, match=r"a: not a picture.*; b: not a picture"):
        portraits([Photograph("a", b""), Photograph("b", b"x")], detector, 64)


def test_a_face_that_is_cut_off_or_small() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    face = Face(np.array([0, 0, 100, 100], np.float32), points, 1.0)
    with pytest.raises(FaceError, match="the face measures 99 px, 200 are needed"):
        the_face(ASTRONAUT, [face], 200)
    outside = Face(face.box, points - [60, 0], 1.0)
    with pytest.raises(FaceError, match="of the face lie outside"):
        the_face(ASTRONAUT, [outside], 20)


def test_a_face_out_of_focus(detector: LandmarkDetector) -> None:
    [face, *_] = detector.detect([ASTRONAUT])[0]
    assert the_face(ASTRONAUT, [face], 64) is face
    with pytest.raises(FaceError, match=r"the face is not sharp \(3\.\d, 5 is needed\)") as caught:
        the_face(cv2.GaussianBlur(ASTRONAUT, (0, 0), 7), [face], 64)
    assert caught.value.reason == "blurred"


def test_sharpness_falls_with_blur_and_hardly_with_size(detector: LandmarkDetector) -> None:
    [face, *_] = detector.detect([ASTRONAUT])[0]
    sharp = [sharpness_of(cv2.GaussianBlur(ASTRONAUT, (0, 0), sigma), face) for sigma in (0.5, 1.5, 3, 6)]
    assert sharp == sorted(sharp, reverse=True)
    large = Face(face.box * 2, face.landmarks * 2, 1.0)
    assert sharpness_of(cv2.resize(ASTRONAUT, None, fx=2, fy=2), large) == pytest.approx(sharp[0], rel=0.3)


def test_whose_photographs(detector: LandmarkDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the descriptor of each: grey photographs show somebody else."""
    from raytalk.faces import photographs

    def described(image: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.full(128, 0.0 if np.ptp(image.astype(int), axis=2).mean() > 1 else 0.2, np.float32)

    monkeypatch.setattr(photographs, "describe", described)
    grey = np.repeat(ASTRONAUT.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    one, two, other = photograph(), photograph(name="two", kind="JPEG"), photograph(grey, "other")
    made = portraits([one, other, two], detector, 64)
    assert made.names == ["one", "two"]
    assert made.refused == {"other": "somebody else: the others show another person"}
    np.testing.assert_array_equal(made.identity, np.zeros(128))
    with pytest.raises(FaceError, match="one, other show different people") as refused:
        portraits([one, other], detector, 64)
    assert refused.value.reason == "different people"


def test_one_persons_photographs_are_alike_for_the_real_network(detector: LandmarkDetector) -> None:
    darker = (ASTRONAUT * 0.6).astype(np.uint8)
    made = portraits([photograph(), photograph(darker, "darker")], detector, 64)
    assert made.names == ["one", "darker"]
    assert made.identity is not None
    assert made.identity.shape == (128,)
