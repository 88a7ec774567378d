"""The job, from every kind of driver to the file."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from toy import toy_clip

from raytalk.avatar import Avatar
from raytalk.clips.analyse import decode_jpeg
from raytalk.clips.schema import clips_to_table, write_table
from raytalk.driving.drivers import open_driver
from raytalk.driving.settings import PuppeteerSettings
from raytalk.errors import AvatarError, ClipsError, FaceError, RaytalkError, SettingsError, StorageError, VideoError
from raytalk.faces.crop import square_map, steady_squares, to_crop
from raytalk.faces.track import Track
from raytalk.faces.video import probe, read_frames, write_video
from raytalk.storage import Storage

from .conftest import LevelDetector, frames, write_pictures

Drive = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def pixels(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in read_frames(path)])


def by_hand(avatars: Path, detector: LevelDetector, pictures: list[np.ndarray], fps: float = 25) -> np.ndarray:
    """Find, crop, render, without adaptation."""
    landmarks = np.stack([faces[0].landmarks for faces in detector.detect(pictures)])
    return in_their_squares(avatars, landmarks, fps)


def in_their_squares(avatars: Path, landmarks: np.ndarray, fps: float) -> np.ndarray:
    squares = steady_squares(landmarks, np.arange(len(landmarks)) / fps)
    points = [to_crop(face, square_map(square, 32)) for face, square in zip(landmarks, squares, strict=True)]
    return Avatar.load(str(avatars / "ada")).render(np.stack(points))


def exactly(folder: Path) -> np.ndarray:
    """The pictures of a folder, which are kept without loss."""
    return np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted(folder.iterdir())])


def assert_same_film(one: np.ndarray, other: np.ndarray) -> None:
    """Of the same frames. Encoders do not give the same bits wherever frames happen to lie in memory, and pictures of
    random networks are noise, which H.264 does not keep (17 grey levels of it are lost)."""
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).mean() < 8


def filmed(pictures: np.ndarray, folder: Path, fps: float = 25) -> np.ndarray:
    """What H.264 leaves of them."""
    write_video(folder / "filmed.mp4", pictures, fps)
    return pixels(folder / "filmed.mp4")


def test_a_video_drives(drive: Drive, video: Path, avatars: Path, detector: LevelDetector, tmp_path: Path) -> None:
    made = drive(driver=str(video), adapt=False)
    with av.open(str(made)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.pix_fmt, sound.codec_context.name) == ("h264", "yuv420p", "aac")
        assert float(picture.average_rate) == 25
        assert float(sound.duration * sound.time_base) == pytest.approx(0.8, abs=0.06)
        copied = [bytes(packet) for packet in container.demux(sound)][:10]
        with av.open(str(video)) as original:
            assert copied == [bytes(packet) for packet in original.demux(original.streams.audio[0])][:10]
    shown = pixels(made)
    wanted = by_hand(avatars, detector, [frame.image for frame in read_frames(video)])
    assert shown.shape == wanted.shape == (20, 32, 32, 3)
    assert wanted.std(axis=0).mean() > 1  # it moves
    assert_same_film(shown, filmed(wanted, tmp_path))
    exact = drive(driver=str(video), adapt=False, output=f"{tmp_path / 'exact'}/")
    np.testing.assert_array_equal(exactly(exact), wanted)


def test_a_kept_track_gives_the_same_video(drive: Drive, video: Path, tmp_path: Path, detector: LevelDetector) -> None:
    first = exactly(drive(driver=str(video), track=str(tmp_path / "t.npz"), output=f"{tmp_path / 'first'}/"))
    looked_at = detector.frames
    again = drive(driver=str(tmp_path / "t.npz"), output=str(tmp_path / "again.mp4"))
    exact = drive(driver=str(tmp_path / "t.npz"), output=f"{tmp_path / 'exact'}/")
    np.testing.assert_array_equal(exactly(exact), first)
    assert_same_film(pixels(again), filmed(first, tmp_path))
    assert detector.frames == looked_at == 20
    assert probe(again).has_audio
    assert Track.load(str(tmp_path / "t.npz")).source == str(video)


def test_a_kept_track_whose_video_is_gone_drives_without_sound(
    drive: Drive, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pixels(drive(driver=str(video), track=str(tmp_path / "t.npz")))
    video.unlink()
    made = drive(driver=str(tmp_path / "t.npz"), side_by_side=True, output=str(tmp_path / "again.mp4"))
    assert not probe(made).has_audio
    assert pixels(made).shape == (20, 32, 64, 3)  # drawing and output
    assert np.abs(pixels(made)[:, :, 32:].astype(int) - first).mean() < 3
    assert "its frames are gone, and so is its sound: there is no driver" in capsys.readouterr().out


def test_a_folder_of_pictures_drives_in_the_order_of_their_numbers(
    drive: Drive, tmp_path: Path, avatars: Path, detector: LevelDetector
) -> None:
    folder = write_pictures(tmp_path / "pictures")
    made = drive(driver=str(folder), fps=12.5, adapt=False)
    assert probe(made).fps == 12.5
    assert not probe(made).has_audio
    assert_same_film(pixels(made), filmed(by_hand(avatars, detector, frames(12), 12.5), tmp_path, 12.5))
    exact = drive(driver=str(folder), fps=12.5, adapt=False, output=f"{tmp_path / 'exact'}/")
    np.testing.assert_array_equal(exactly(exact), by_hand(avatars, detector, frames(12), 12.5))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_drives(drive: Drive, tmp_path: Path, avatars: Path, detector: LevelDetector, suffix: str) -> None:
    cv2.imwrite(str(tmp_path / f"one.{suffix}"), frames(1)[0])
    made = drive(driver=str(tmp_path / f"one.{suffix}"), adapt=False, output=f"{tmp_path / 'pictures'}/")
    assert [path.name for path in made.iterdir()] == ["000000.png"]
    shown = cv2.imread(str(made / "000000.png"))[..., ::-1]
    wanted = by_hand(avatars, detector, frames(1))[0]
    assert np.abs(shown.astype(int) - wanted).max() <= (0 if suffix == "png" else 40)


def test_a_clip_drives_by_the_landmarks_that_it_brings(
    drive: Drive, tmp_path: Path, avatars: Path, detector: LevelDetector
) -> None:
    clips = [toy_clip(person, frames=6) for person in (0, 1)]
    write_table(Storage(str(tmp_path / "clips")), "val/part.parquet", clips_to_table(clips))
    made = drive(driver=str(tmp_path / "clips"), clip="person1/video0/0", adapt=False)
    assert detector.frames == 0
    assert probe(made).fps == 25
    wanted = in_their_squares(avatars, clips[1].landmarks, 25)
    assert_same_film(pixels(made), filmed(wanted, tmp_path))
    exact = drive(driver=str(tmp_path / "clips"), clip="person1/video0/0", adapt=False, output=f"{tmp_path / 'exact'}/")
    np.testing.assert_array_equal(exactly(exact), wanted)
    with pytest.raises(ClipsError, match=r"there is no clip 'person1/video1/0' among the 2.*'person1/video0/0'"):
        drive(driver=str(tmp_path / "clips"), clip="person1/video1/0")


def test_side_by_side_shows_driver_drawing_and_output(drive: Drive, video: Path, tmp_path: Path) -> None:
    alone = pixels(drive(driver=str(video)))
    sheet = tmp_path / "sheet.png"
    made = pixels(drive(driver=str(video), side_by_side=True, sheet=str(sheet), output=str(tmp_path / "side.mp4")))
    assert made.shape == (20, 32, 96, 3)
    level = made[:, :, :32].reshape(20, -1).mean(axis=1)
    np.testing.assert_allclose(level, [frame.mean() for frame in frames(20)], atol=4)
    drawings = made[:, :, 32:64]
    assert (np.median(drawings.reshape(20, -1), axis=1) < 20).all()  # lines on black
    assert drawings.max() > 120
    assert_same_film(made[:, :, 64:], alone)
    picture = cv2.imread(str(sheet))
    assert picture.shape == (8 * 32 + 22, 96, 3)
    with_sheet = drive(driver=str(video), sheet=str(sheet), output=str(tmp_path / "plain.mp4"))
    assert_same_film(pixels(with_sheet), alone)


def test_adaptation_changes_what_is_drawn_and_says_why(
    drive: Drive, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = pixels(drive(driver=str(video), adapt=False))
    assert "adaptation: off, as asked" in capsys.readouterr().out
    adapted = pixels(drive(driver=str(video), output=str(tmp_path / "adapted.mp4")))
    assert "adaptation: on, because the avatar's face has no descriptor" in capsys.readouterr().out
    assert np.abs(adapted.astype(int) - plain).mean() > 0.5


@pytest.mark.parametrize("smooth", ["light", "strong"])
def test_smoothing(drive: Drive, tmp_path: Path, smooth: str) -> None:
    random = np.random.default_rng(0)
    shaky = [np.full((80, 96, 3), level, np.uint8) for level in 120 + random.integers(-2, 3, 30) * 2]
    write_video(tmp_path / "shaky.mp4", shaky, 25, crf=1)
    plain = pixels(drive(driver=str(tmp_path / "shaky.mp4"))).astype(int)
    calm = pixels(drive(driver=str(tmp_path / "shaky.mp4"), smooth=smooth)).astype(int)
    assert np.abs(np.diff(calm, axis=0)).mean() < 0.85 * np.abs(np.diff(plain, axis=0)).mean()


def test_another_frame_rate_keeps_the_length(drive: Drive, video: Path) -> None:
    made = drive(driver=str(video), fps=50)
    assert len(pixels(made)) == 40
    assert probe(made).fps == 50
    with av.open(str(made)) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) > 0.7


@pytest.mark.s3
def test_everything_in_an_object_store(
    drive: Drive, video: Path, avatars: Path, tmp_path: Path, s3_server: str
) -> None:
    local = pixels(drive(driver=str(video)))
    store = Storage(s3_server)
    store.write("in/talk.mp4", video.read_bytes())
    Avatar.load(str(avatars / "ada")).save(f"{s3_server}/avatars/ada")
    drive(
        avatar=f"{s3_server}/avatars/ada",
        driver=f"{s3_server}/in/talk.mp4",
        output=f"{s3_server}/out/ada.mp4",
        track=f"{s3_server}/out/t.npz",
        sheet=f"{s3_server}/out/sheet.png",
    )
    (tmp_path / "fetched.mp4").write_bytes(store.read("out/ada.mp4"))
    assert_same_film(pixels(tmp_path / "fetched.mp4"), local)
    assert [entry.path for entry in store.entries("out")] == ["out/ada.mp4", "out/sheet.png", "out/t.npz"]
    drive(driver=f"{s3_server}/out/t.npz", output=str(tmp_path / "again.mp4"))
    assert_same_film(pixels(tmp_path / "again.mp4"), local)


@pytest.mark.s3
def test_uris_with_a_query(
    drive: Drive, video: Path, tmp_path: Path, s3_server: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = pixels(drive(driver=str(video)))
    store = Storage(s3_server)
    store.write("in/talk.mp4", video.read_bytes())
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    query = "?endpoint_override={2}&scheme={0}".format(*s3_endpoint.partition("://"))
    drive(
        driver=f"{s3_server}/in/talk.mp4{query}",
        output=f"{s3_server}/ada.mp4{query}",
        track=f"{s3_server}/out/t.npz{query}",
        sheet=f"{s3_server}/out/sheet.png{query}",
    )
    drive(driver=f"{s3_server}/out/t.npz{query}", output=f"{s3_server}/pictures/{query}")
    (tmp_path / "fetched.mp4").write_bytes(store.read("ada.mp4"))
    assert_same_film(pixels(tmp_path / "fetched.mp4"), local)
    assert [entry.path for entry in store.entries("out")] == ["out/sheet.png", "out/t.npz"]
    assert len(store.entries("pictures")) == 20
    with pytest.raises(SettingsError, match="would be lost"):
        drive(driver=str(video), output=f"{s3_server}/new/{query}", track=f"{s3_server}/new/t.npz{query}")
    with pytest.raises(StorageError, match="is a whole bucket: give a new folder in it"):
        drive(driver=str(video), output=f"{s3_server}/{query}")


def spoilt(folder: Path, landmarks: Sequence[int] = (), pictures: Sequence[int] = ()) -> str:
    """A clip of eight frames, some of them without landmarks, some without a picture."""
    clip = toy_clip(0, frames=8)
    for number in landmarks:
        clip.landmarks[number, 30] = np.nan
    jpegs = [b"no picture" if number in pictures else data for number, data in enumerate(clip.frames)]
    write_table(Storage(str(folder)), "val/part.parquet", clips_to_table([replace(clip, frames=jpegs)]))
    return f"{folder}#clip={clip.clip_id}"


def test_frames_of_a_clip_without_landmarks_are_left_out(drive: Drive, tmp_path: Path) -> None:
    driver = open_driver(spoilt(tmp_path / "clips", landmarks=[0, 4]), tmp_path)
    clip = toy_clip(0, frames=8)
    assert driver.track is not None
    assert driver.frames is not None
    np.testing.assert_allclose(driver.track.landmarks, clip.landmarks[[1, 2, 3, 5, 6, 7]])
    np.testing.assert_allclose(driver.track.times * driver.fps, [0, 1, 2, 4, 5, 6])
    shown = [frame.image for frame in driver.frames.read()]
    for number, frame in zip([1, 2, 3, 5, 6, 7], shown, strict=True):
        np.testing.assert_array_equal(frame, decode_jpeg(clip.frames[number]))
    made = drive(driver=driver.source, side_by_side=True)
    assert pixels(made).shape == (7, 32, 96, 3)
    with pytest.raises(ClipsError, match="the landmarks of 3 of 8 frames are finite numbers; half of them are needed"):
        drive(driver=spoilt(tmp_path / "worse", landmarks=range(5)))


def test_a_broken_picture_leaves_a_clip_a_driver(drive: Drive, tmp_path: Path) -> None:
    driver = spoilt(tmp_path / "clips", pictures=[0, 3])
    opened = open_driver(driver, tmp_path)
    assert opened.track is not None
    assert opened.size == (64, 64)
    assert opened.track.identity is not None
    assert pixels(drive(driver=driver)).shape == (8, 32, 32, 3)
    with pytest.raises(VideoError, match="frame 0 is no picture: leave out side_by_side= and sheet=, which show it"):
        drive(driver=driver, side_by_side=True)
    with pytest.raises(VideoError, match="is no picture"):
        drive(driver=spoilt(tmp_path / "worse", pictures=range(8)))


def test_pupils_drive_an_avatar_that_knows_them(drive: Drive, avatars: Path, tmp_path: Path) -> None:
    clip = toy_clip(0, frames=4)
    eyes = np.stack([clip.landmarks[:, 36:42].mean(axis=1), clip.landmarks[:, 42:48].mean(axis=1)], axis=1)
    looks = [
        type(clip)(**{**vars(clip), "clip_id": name, "detector": "rendered", "pupils": eyes + np.float32(offset)})
        for name, offset in (("left", -2), ("right", 2))
    ]
    write_table(Storage(str(tmp_path / "clips")), "val/part.parquet", clips_to_table(looks))
    made = {
        (avatar, name): pixels(
            drive(avatar=str(avatars / avatar), driver=str(tmp_path / "clips"), clip=name, side_by_side=True)
        ).astype(int)
        for avatar in ("pupils", "rendered")
        for name in ("left", "right")
    }
    assert np.abs(made["pupils", "left"] - made["pupils", "right"])[:, :, 32:64].max() > 60
    np.testing.assert_array_equal(made["rendered", "left"], made["rendered", "right"])


def test_what_is_said(drive: Drive, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = drive(driver=str(video))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "avatar: Ada (FF, 32 px, dlib)"
    assert said[1].startswith("finding the face (dlib): 20 frames in ")
    assert said[2] == f"driver: video {video}, 96x80, 20 frames, 25 frames/s, with sound"
    assert said[-1] == f"written: {made}"


def black(path: Path) -> str:
    write_video(path, [np.zeros((80, 96, 3), np.uint8)] * 6, 25)
    return str(path)


def folder_with(path: Path, **files: bytes) -> str:
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)
    return str(path)


def clips_in(path: Path) -> str:
    write_table(Storage(str(path)), "train/part.parquet", clips_to_table([toy_clip(0, frames=2)]))
    return str(path)


def two_sizes(path: Path) -> str:
    path.mkdir()
    for index, size in enumerate((60, 80)):
        cv2.imwrite(str(path / f"{index}.png"), np.full((size, 96, 3), 90, np.uint8))
    return str(path)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda p: str(p / "nothing.mp4"), StorageError, "there is no driver"),
        (lambda p: black(p / "b.mp4"), FaceError, "in 0 of 6 frames; half of them are needed"),
        (lambda p: folder_with(p / "f"), VideoError, "is empty: give a video, a folder of pictures"),
        (lambda p: folder_with(p / "f", a__txt=b"x"), VideoError, "holds no picture"),
        (
            lambda p: folder_with(p / "f", a__mp4=b"x"),
            VideoError,
            "is a folder of videos: name one of them",
        ),
        (lambda p: folder_with(p / "f", a__png=b"x"), VideoError, r"cannot read .*a\.png"),
        (lambda p: folder_with(p / "f", a__mp4=b"x") + "/a.mp4", VideoError, r"cannot read .*a\.mp4"),
        (lambda p: clips_in(p / "clips"), VideoError, "is a clips folder: say which clip drives with clip=CLIP_ID"),
        (lambda p: two_sizes(p / "f"), VideoError, r"1\.png measures 96x80, .*0\.png 96x60"),
    ],
)
def test_drivers_that_cannot_be_used(
    drive: Drive, tmp_path: Path, make: Callable[[Path], str], error: type[RaytalkError], said: str
) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(error, match=said):
        drive(driver=make(tmp_path / "d"))
    assert not (tmp_path / "out.mp4").exists()


def test_settings_that_do_not_fit_the_avatar(drive: Drive, video: Path, avatars: Path, tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"is no avatar: avatar\.json is missing"):
        drive(driver=str(video), avatar=str(tmp_path))
    with pytest.raises(SettingsError, match="learned with the landmarks of dlib, the driver's are of face-alignment"):
        drive(driver=str(video), detector="face-alignment")
    with pytest.raises(SettingsError, match="drive it by a rendered clip, or give accept_detector=true"):
        drive(driver=str(video), avatar=str(avatars / "rendered"))
    assert drive(driver=str(video), avatar=str(avatars / "rendered"), accept_detector=True).is_file()
    with pytest.raises(AvatarError, match="keeps no landmarks of its learning images, which adapt=true needs"):
        drive(driver=str(video), avatar=str(avatars / "bare"), adapt=True)
    assert drive(driver=str(video), avatar=str(avatars / "bare")).is_file()


def test_a_track_of_another_detector_is_refused(drive: Drive, video: Path, avatars: Path, tmp_path: Path) -> None:
    drive(driver=str(video), avatar=str(avatars / "rendered"), accept_detector=True, track=str(tmp_path / "t.npz"))
    with pytest.raises(SettingsError, match="landmarks of rendered people, the driver's are of dlib"):
        drive(driver=str(tmp_path / "t.npz"), avatar=str(avatars / "rendered"))


def test_an_output_that_cannot_be_written_is_found_before_the_work(
    drive: Drive, video: Path, tmp_path: Path, detector: LevelDetector
) -> None:
    (tmp_path / "file").write_text("")
    for output, said in (
        (str(tmp_path / "file" / "out.mp4"), "cannot write"),
        ("/proc/out.mp4", "cannot write"),
        (f"{tmp_path}/", "is not empty: give a new folder"),
    ):
        with pytest.raises(StorageError, match=said):
            drive(driver=str(video), output=output)
    (tmp_path / "is.mp4").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        drive(driver=str(video), output=str(tmp_path / "is.mp4"))
    assert detector.frames == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"output": "{0}/out/", "track": "{0}/out/t.npz"}, r"track=.*t\.npz would be lost, because output="),
        ({"output": "{0}/out/", "sheet": "{0}/out/deep/s.png"}, r"sheet=.*s\.png would be lost, because output="),
        ({"output": "{0}/t.npz/", "track": "{0}/t.npz"}, "would be lost"),
        ({"output": "{0}/talk.mp4"}, r"output=.*talk\.mp4 would replace .*talk\.mp4, which is needed"),
        ({"output": "{0}/new/../talk.mp4"}, "would replace"),
        ({"output": "{0}/link/talk.mp4"}, "would replace"),
        ({"output": "file://{0}/talk.mp4"}, "would replace"),
        ({"driver": "{0}/t.npz", "track": "{0}/t.npz"}, r"track=.*t\.npz would replace"),
        ({"driver": "{0}/face.png", "sheet": "{0}/face.png"}, r"sheet=.*face\.png would replace"),
        ({"driver": "{0}/pictures/", "sheet": "{0}/pictures/picture2.png"}, r"sheet=.*would replace .*pictures/"),
        ({"driver": "", "drivers": "{0}", "output": "{0}/talk.mp4"}, "would replace"),
        (
            {"driver": "", "drivers": "{0}", "portrait": "{0}/p.png", "sheet": "{0}/p.png"},
            r"sheet=.*p\.png would replace",
        ),
    ],
)
def test_nothing_that_is_needed_is_replaced(
    drive: Drive, video: Path, tmp_path: Path, detector: LevelDetector, given: dict[str, str], said: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    write_pictures(tmp_path / "pictures", 3)
    kept = video.read_bytes()
    with pytest.raises(SettingsError, match=said):
        drive(**{"driver": str(video)} | {key: value.format(tmp_path) for key, value in given.items()})
    assert detector.frames == 0
    assert video.read_bytes() == kept


def test_the_video_of_a_kept_track_is_not_replaced(drive: Drive, video: Path, tmp_path: Path) -> None:
    drive(driver=str(video), track=str(tmp_path / "t.npz"))
    kept = video.read_bytes()
    with pytest.raises(SettingsError, match=r"output=.*talk\.mp4 would replace the driver's own video"):
        drive(driver=str(tmp_path / "t.npz"), output=str(video))
    assert video.read_bytes() == kept


def test_a_driver_that_changed_since_its_track_was_kept(drive: Drive, video: Path, tmp_path: Path) -> None:
    drive(driver=str(video), track=str(tmp_path / "t.npz"))
    write_video(video, frames(10), 25)
    assert drive(driver=str(tmp_path / "t.npz")).is_file()
    (tmp_path / "out.mp4").unlink()
    with pytest.raises(VideoError, match="the driver has 10 frames, its track 20: it has changed"):
        drive(driver=str(tmp_path / "t.npz"), side_by_side=True)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give driver= or drivers=, one of them"),
        ({"driver": "a", "drivers": "b"}, "give driver= or drivers=, one of them"),
        ({"driver": "a", "portrait": "p.jpg"}, "portrait= is what drivers= are compared by"),
        ({"drivers": "a", "clip": "c"}, "clip= names a clip of driver="),
        ({"driver": "a", "output": "x.avi"}, r"output=x\.avi must end with \.mp4"),
        ({"driver": "a", "sheet": "x.jpg"}, r"sheet=x\.jpg must end with \.png"),
        ({"driver": "a", "track": "x.mp4"}, r"track=x\.mp4 must end with \.npz"),
        ({"driver": "a", "output": "s3://b/x.avi?y=.mp4"}, r"output=s3://b/x\.avi\?y=\.mp4 must end with \.mp4"),
        ({"driver": "a", "adapt": "maybe"}, "adapt=maybe"),
    ],
)
def test_settings_that_contradict_each_other(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        PuppeteerSettings.resolve(None, {"avatar": "x", "output": "y.mp4"} | given)


def test_the_job_on_real_video(avatars: Path, carphone: Path, tmp_path: Path) -> None:
    """As a person types it, with the real detector and descriptors, from a relative folder."""
    write_video(tmp_path / "short.mp4", [frame.image for frame in read_frames(carphone)][:16], 30)
    words = [f"avatar={avatars / 'known'}", "driver=short.mp4", "output=out/ada.mp4", "side_by_side=true"]
    command = [sys.executable, str(ROOT / "jobs" / "puppeteer.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "adaptation: on, because the driver is somebody else (distance" in done.stdout
    assert pixels(tmp_path / "out" / "ada.mp4").shape == (16, 32, 96, 3)
    failed = subprocess.run(
        [*command[:2], f"avatar={tmp_path}", *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("raytalk: ")
    assert failed.stderr.count("\n") == 1
