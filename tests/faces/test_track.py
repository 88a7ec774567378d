"""One person followed through a video, kept and loaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from toy import face_landmarks

from raytalk.errors import FaceError, StorageError, VideoError
from raytalk.faces.crop import steady_squares
from raytalk.faces.detect import make_detector
from raytalk.faces.face import Face
from raytalk.faces.identity import SAME_PERSON_MEANS, describe, distance
from raytalk.faces.people import cuts
from raytalk.faces.track import Track, follow, rate_of
from raytalk.faces.video import TimedFrame, probe, read_frames

FPS = 25.0


def face(x: float, y: float = 100, size: float = 80, mouth: float = 0.2) -> Face:
    """A face around a point, `size` pixels large or so."""
    landmarks = (face_landmarks(100, mouth=mouth) - 50) * size / 72 + [x, y]
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    return Face(np.concatenate([low, high]).astype(np.float32), landmarks.astype(np.float32), 1.0)


class Scripted:
    """Stands in for a detector: what it sees in each frame is written down; the frame's pixels say its number."""

    name = "scripted"

    def __init__(self, script: Sequence[Sequence[Face]]) -> None:
        self.script = script
        self.most = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        self.most = max(self.most, len(frames))
        numbers = [int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1]) for frame in frames]
        return [sorted(self.script[number], key=lambda face: -face.extent) for number in numbers]


def film(count: int) -> Iterator[TimedFrame]:
    for number in range(count):
        image = np.zeros((200, 400, 3), np.uint8)
        image[..., 0], image[..., 1] = number % 256, number // 256
        yield TimedFrame(image, number / FPS)


def followed(script: Sequence[Sequence[Face]]) -> Track:
    return follow(film(len(script)), Scripted(script), "toy", FPS)


def xs(track: Track) -> np.ndarray:
    """Where the face is, per frame: 0 for point 30."""
    return track.landmarks[:, 30, 0] - face(0).landmarks[30, 0]


def test_one_face() -> None:
    script = [[face(100 + n)] for n in range(40)]
    detector = Scripted(script)
    told: list[int] = []
    track = follow(film(40), detector, "toy", FPS, progress=told.append)
    np.testing.assert_array_equal(track.landmarks, np.stack([faces[0].landmarks for faces in script]))
    np.testing.assert_allclose(track.times, np.arange(40) / FPS)
    assert (track.fps, track.detector, track.width, track.height, track.source) == (FPS, "scripted", 400, 200, "toy")
    assert track.missing == 0
    assert told[-1] == 40
    assert detector.most <= 16  # frames that are in memory together


def test_frames_that_were_shrunk_give_landmarks_of_the_whole_ones() -> None:
    track = follow(film(3), Scripted([[face(100)]] * 3), "toy", FPS, size=(1200, 600))
    assert (track.width, track.height) == (1200, 600)
    np.testing.assert_allclose(track.landmarks[0], (face(100).landmarks + 0.5) * 3 - 0.5, rtol=1e-5)


def test_short_gaps_are_bridged() -> None:
    script = [[face(100 + n)] if not 10 <= n < 20 else [] for n in range(40)]
    track = followed(script)
    np.testing.assert_allclose(xs(track), 100 + np.arange(40), atol=0.01)
    assert track.missing == 10


def test_long_gaps_hold_the_last_pose() -> None:
    script = [[face(100 + n / 4)] if not 30 <= n < 70 else [] for n in range(100)]
    track = followed(script)
    np.testing.assert_allclose(xs(track)[30:70], 100 + 29 / 4, atol=0.01)
    np.testing.assert_allclose(xs(track)[70:], 100 + np.arange(70, 100) / 4, atol=0.01)


def test_before_the_first_face_its_pose_is_held() -> None:
    track = followed([[]] * 5 + [[face(100 + n)] for n in range(20)])
    np.testing.assert_allclose(xs(track)[:6], 100, atol=0.01)
    assert track.missing == 5


def test_a_face_in_less_than_half_of_the_frames_is_too_little() -> None:
    with pytest.raises(FaceError, match="toy: the face of scripted is in 9 of 20 frames; half of them") as raised:
        followed([[face(100)]] * 9 + [[]] * 11)
    assert raised.value.reason == "no face"
    assert len(followed([[face(100)]] * 10 + [[]] * 10)) == 20


def test_no_face_at_all() -> None:
    with pytest.raises(FaceError, match="in 0 of 5 frames"):
        followed([[]] * 5)


def test_the_largest_at_the_start_is_followed_even_when_another_grows_larger() -> None:
    script = [[face(100 + n / 2, size=80), face(300, size=40 + 1.5 * n)] for n in range(60)]
    np.testing.assert_allclose(xs(followed(script)), 100 + np.arange(60) / 2, atol=0.01)


def test_somebody_passing_in_front_does_not_take_over() -> None:
    """They are larger, walk from right to left and hide the face on their way."""
    script = [[face(120)]] * 10
    for place in range(390, -10, -5):
        hidden = abs(place - 120) < 45
        script.append([face(place, size=95)] if hidden else [face(120), face(place, size=95)])
    track = followed(script)
    np.testing.assert_allclose(xs(track), 120, atol=0.01)
    assert track.missing == 17


def test_somebody_who_stays_is_not_taken_when_the_person_leaves_and_returns() -> None:
    script = [[face(100), face(300, size=60)] if not 40 <= n < 80 else [face(300, size=60)] for n in range(140)]
    np.testing.assert_allclose(xs(followed(script)), 100, atol=0.01)


def test_after_a_scene_cut_the_person_is_found_again() -> None:
    script = [[face(100)]] * 20 + [[face(300, size=140), face(60, size=20)]] * 20 + [[face(200)]] * 20
    np.testing.assert_allclose(xs(followed(script))[[0, 19, 40, 59]], [100, 100, 200, 200], atol=0.01)
    assert np.ptp(followed(script).landmarks[30], axis=0).max() > 100
    assert followed(script).missing == 0


def test_a_wrong_detection_is_nobody() -> None:
    script = [[face(100)] if n != 12 else [face(100), face(330, size=150)] for n in range(30)]
    script[0] = [face(100), face(330, 60, size=150)]
    script[20] = [face(330, size=150)]
    np.testing.assert_allclose(xs(followed(script)), 100, atol=0.01)


def test_timestamps_that_repeat_count_as_even() -> None:
    frames = [TimedFrame(frame.image, 0.04 * (number // 2)) for number, frame in enumerate(film(10))]
    track = follow(frames, Scripted([[face(100)]] * 10), "toy", FPS)
    np.testing.assert_allclose(track.times, np.arange(10) / FPS)


@pytest.mark.parametrize(
    ("times", "said", "rate"),
    [
        (np.arange(50) / 25, 25.0, 25.0),
        (np.arange(50) / 25, 0.0, 25.0),
        (np.arange(50) * 1001 / 30000, 30000 / 1001, 30000 / 1001),
        (np.arange(50) / 25, 1000.0, 25.0),  # what some files of varying rate say
        (np.zeros(1), 30.0, 30.0),
        (np.zeros(1), 0.0, 25.0),
    ],
)
def test_frames_per_second(times: np.ndarray, said: float, rate: float) -> None:
    assert rate_of(times, said) == pytest.approx(rate)


def a_track(**changes: object) -> Track:
    values = {
        "landmarks": np.stack([face(100 + n).landmarks for n in range(4)]),
        "times": np.arange(4) / 10,
        "fps": 10.0,
        "detector": "dlib",
        "width": 640,
        "height": 360,
        "source": "/videos/Ä b.mp4",
    }
    return Track(**(values | changes))  # type: ignore[arg-type]


def test_a_kept_track_is_the_same(tmp_path: Path) -> None:
    pupils = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    pupils[1] = np.nan
    for kept in (a_track(), a_track(pupils=pupils, identity=np.arange(128, dtype=np.float32), missing=2)):
        kept.save(str(tmp_path / "below" / "t.npz"))
        loaded = Track.load(str(tmp_path / "below" / "t.npz"))
        for name in ("landmarks", "times", "pupils", "identity"):
            before, after = getattr(kept, name), getattr(loaded, name)
            np.testing.assert_array_equal(after, before)
            assert before is None or after.dtype == before.dtype
        for name in ("fps", "detector", "width", "height", "source", "missing"):
            assert getattr(loaded, name) == getattr(kept, name)
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["t.npz"]


@pytest.mark.s3
def test_a_track_in_an_object_store(s3_server: str) -> None:
    a_track().save(f"{s3_server}/tracks/t.npz")
    np.testing.assert_array_equal(Track.load(f"{s3_server}/tracks/t.npz").landmarks, a_track().landmarks)


def test_what_is_no_track_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    with pytest.raises(StorageError, match=r"t\.npz: there is nothing of that name"):
        Track.load(str(file))
    file.write_bytes(b"hello")
    with pytest.raises(VideoError, match=r"t\.npz cannot be read as a track: .*make it again with track="):
        Track.load(str(file))
    a_track().save(str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="cannot be read as a track"):
        Track.load(str(file))
    np.savez(file, landmarks=np.zeros((2, 68, 2)))
    with pytest.raises(VideoError, match="cannot be read as a track: 'format'"):
        Track.load(str(file))


def test_a_damaged_track_is_said_so_whichever_byte_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    a_track().save(str(file))
    whole = file.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            Track.load(str(file))
        except VideoError:
            refused += 1
    assert refused > 0.5 * len(whole) / 3


@pytest.mark.parametrize(
    "changes",
    [
        {"landmarks": np.zeros((3, 68, 2), np.float32)},
        {"landmarks": np.full((4, 68, 2), np.nan, np.float32)},
        {"times": np.zeros(4)},
        {"fps": 0.0},
        {"pupils": np.zeros((4, 2), np.float32)},
    ],
)
def test_a_track_with_odd_numbers_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    a_track(**changes).save(str(tmp_path / "t.npz"))
    with pytest.raises(VideoError, match="cannot be read as a track"):
        Track.load(str(tmp_path / "t.npz"))


def test_other_times_of_a_track() -> None:
    pupils = np.tile(np.arange(4, dtype=np.float32)[:, None, None], (1, 2, 2))
    pupils[3] = np.nan
    between = a_track(pupils=pupils).at(np.array([0.0, 0.05, 0.1, 0.225, 0.3, 0.9]))
    np.testing.assert_allclose(xs(between), [100, 100.5, 101, 102.25, 103, 103], atol=1e-3)
    np.testing.assert_allclose(between.pupils[:3, 0, 0], [0, 0.5, 1], atol=1e-6)
    assert np.isnan(between.pupils[3:]).all()
    assert between.times[-1] == 0.9


def test_nothing_lies_between_two_scenes() -> None:
    jumping = a_track(landmarks=np.stack([face(x).landmarks for x in (100, 101, 300, 301)]))
    np.testing.assert_allclose(xs(jumping.at(np.array([0.12, 0.18]))), [101, 300], atol=0.01)


@pytest.mark.parametrize(("growth", "cut"), [(0.33, False), (0.35, True)])
def test_a_cut_is_one_for_tracks_and_for_squares_alike(growth: float, cut: bool) -> None:
    """A fifth of a second allows a zoom of .2 + .2 * .7."""
    landmarks = np.stack([face(100).landmarks, face(100, size=80 * np.exp(growth)).landmarks])
    times = np.array([0.0, 0.2])
    squares = steady_squares(landmarks, times)
    assert cuts(landmarks, times)[1] == (squares[0, 2] != squares[1, 2]) == cut


def test_a_real_clip(carphone: Path) -> None:
    info = probe(carphone)
    frames = list(read_frames(carphone))[:40]
    track = follow(frames, make_detector("dlib"), str(carphone), info.fps)
    assert len(track) == 40
    assert track.fps == pytest.approx(29.97, abs=0.01)
    size = np.ptp(track.landmarks, axis=1).max(axis=1)
    assert 40 < size.min() <= size.max() < 100
    steps = np.abs(np.diff(track.landmarks.mean(axis=1), axis=0)).max()
    assert steps < 6
    assert track.identity is not None
    assert distance(track.identity, describe(frames[20].image, track.landmarks[20])) < SAME_PERSON_MEANS
