"""A file that is a list of others opens none of them, whatever it is called and whoever opens it."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from raytalk.errors import VideoError
from raytalk.faces.containers import open_video
from raytalk.faces.sound import sound_of
from raytalk.faces.video import probe, read_frames, sample_frames, write_video


def a_video(path: Path) -> Path:
    write_video(path, [np.full((48, 64, 3), 60 + index, np.uint8) for index in range(10)], 25)
    return path


def lists(secret: Path) -> dict[str, str]:
    """Kinds of files that name another."""
    uri = secret.as_uri()
    return {
        "list.txt": f"ffconcat version 1.0\nfile {secret}\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {secret.name}\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{uri}\n#EXT-X-ENDLIST\n",
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{secret.name}\n#EXT-X-ENDLIST\n",
        "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet><Representation id="1" bandwidth="1" '
        f'mimeType="video/mp4"><BaseURL>{uri}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n",
    }


@pytest.mark.parametrize("name", lists(Path("/x.mp4")))
def test_what_names_other_files_is_refused(tmp_path: Path, name: str) -> None:
    secret = a_video(tmp_path / "secret.mp4")
    path = tmp_path / name
    path.write_text(lists(secret)[name])
    with pytest.raises(VideoError, match=r"taken \(MP4"):
        open_video(path)
    with av.open(str(tmp_path / "out.mp4"), "w") as output:
        with pytest.raises(VideoError), sound_of(path, output):
            raise AssertionError("it was opened")
        output.add_stream("libx264", rate=25)
    for read in (probe, lambda path: next(read_frames(path)), lambda path: sample_frames(path, 4)):
        with pytest.raises(VideoError, match=name):
            read(path)


def test_pictures_in_a_row_are_no_video(tmp_path: Path) -> None:
    """image2 would take a pattern for a name, and open what lies beside the file."""
    a_video(tmp_path / "a.mp4")
    frame = next(av.open(str(tmp_path / "a.mp4")).decode(video=0))
    frame.to_image().save(tmp_path / "1.jpg")
    for name in ("1.jpg", "%d.jpg"):
        with pytest.raises(VideoError):
            open_video(tmp_path / name)


@pytest.mark.parametrize("name", ["concat:secret.mp4|secret.mp4", "http:secret.mp4", "data:video", "-", "pipe:0"])
def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    a_video(Path("secret.mp4"))
    with pytest.raises(VideoError, match="No such file"):
        open_video(name)
    os.link("secret.mp4", name)
    with open_video(name) as container:
        assert container.streams.video[0].width == 64


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.ts", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.flv", "flv1"),
        ("a.wmv", "wmv2"),
        ("a.3gp", "mpeg4"),
        ("a.m4v", "mpeg4"),
        ("a.gif", "gif"),
    ],
)
def test_what_holds_its_pictures_itself_is_read(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w", format="mp4" if name == "a.m4v" else None) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * index, np.uint8), "rgb24")
            output.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        output.mux(stream.encode(None))
    frames = [frame.image for frame in read_frames(tmp_path / name)]
    assert 24 <= len(frames) <= 25
    assert frames[0].shape == (48, 64, 3)
