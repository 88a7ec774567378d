"""What a clip weighs, what reading an epoch asks of an object store, and how fast a core draws episodes.

    python benchmarks/reading.py clips=~/raytalk/clips
    python benchmarks/reading.py videos=FOLDER     # first made like VoxCeleb2's: faces in 224 x 224 pixels, H.264

The clips are copied to an S3 server in this process (moto) that counts requests and bytes; then the files are looked
over (`scan`), an epoch is drawn (`draw_window`), and a file of the size of a checkpoint's is put. Prints JSON.
"""

import json
import math
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from floor import machine
from moto.server import DomainDispatcherApplication, create_backend_app
from pydantic import Field
from werkzeug.serving import WSGIRequestHandler, make_server

from raytalk.clips.analyse import Limits, analyse_video
from raytalk.clips.catalog import scan
from raytalk.clips.episodes import Plan, draw_window
from raytalk.clips.schema import Clip, clips_to_table, write_table
from raytalk.clips.sources import list_sources
from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import FaceError, SettingsError, VideoError
from raytalk.faces.crop import crop_frames
from raytalk.faces.detect import make_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.video import read_frames, write_video
from raytalk.storage import Storage

_BUCKET, _VOXCELEB = "measured", 224


class ReadingSettings(JobSettings):
    """What to read."""

    clips: str = ""
    """folder of clips of which train/ is read"""
    videos: str = ""
    """or a folder of videos of one person each, to make clips of"""
    detector: str = "dlib"
    """for videos"""
    crf: int = Field(16, ge=0, le=51)
    """of the H.264 that videos are brought to"""
    seconds: float = Field(7.8, gt=0)
    """of each video that are used; VoxCeleb2's utterances last 7.8 s on average"""
    resolution: int = Field(256, ge=32)
    """of clips made from videos, and of episodes"""
    frames_per_clip: int = Field(32, ge=9)
    """of clips made from videos"""
    clips_per_file: int = Field(16, ge=1)
    """in one Parquet file"""
    repeat: int = Field(2, ge=1)
    """how often clips made from videos are written, each time as other clips, so that files are full"""
    shots: int = Field(8, ge=1)
    """K"""


class Quiet(WSGIRequestHandler):
    """Without a line for each request."""

    def log_request(self, *_: object) -> None:
        pass


class Counting:
    """WSGI around the S3 server: requests by method, and the bytes that it sends."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            with self.lock:
                self.counts[environment["REQUEST_METHOD"]] += 1
                self.counts["bytes sent"] += 0 if environment["REQUEST_METHOD"] == "HEAD" else size
            return start(status, headers, *rest)

        return self.application(environment, started)  # type: ignore[no-any-return]

    def during(self, action: Callable[[], object]) -> dict[str, int]:
        """What `action` asked for."""
        self.counts.clear()
        action()
        return dict(self.counts)


def main(settings: ReadingSettings) -> None:
    """Print JSON."""
    if bool(settings.clips) == bool(settings.videos):
        raise SettingsError("give clips=FOLDER or videos=FOLDER, one of them")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory(prefix="raytalk-reading-") as temporary:
        place = settings.clips
        if settings.videos:
            place = str(Path(temporary) / "clips")
            result["videos"] = make_clips(settings, place, Path(temporary) / "small.mp4")
        local = Storage(place)
        files = [entry for entry in local.entries("train") if entry.path.endswith(".parquet")]
        with counting_s3() as (uri, counting):
            remote = Storage(uri)
            puts = counting.during(lambda: [remote.write(entry.path, local.read(entry.path)) for entry in files])
            result |= read_all(settings, remote, counting, puts, sum(entry.size for entry in files))
            result["a file of 128 MiB, put as a checkpoint's"] = put_large(remote, counting, Path(temporary), 128 << 20)
        result["drawing, episodes per second and core"] = round(drawing_speed(settings, local), 1)
    print(json.dumps(result, indent=2))


def make_clips(settings: ReadingSettings, place: str, small: Path) -> dict[str, float]:
    """Clips of videos that were brought to VoxCeleb2's size before; how large and how fast."""
    detector = make_detector(settings.detector)
    limits = Limits(settings.resolution, settings.frames_per_clip, 9, 64)
    clips: list[Clip] = []
    size = seconds = length = left_out = 0.0
    for source in list_sources(Storage(settings.videos), "folder"):
        try:
            lasted = like_voxceleb(Path(settings.videos).expanduser() / source.path, small, settings, detector)
            start = time.perf_counter()
            clips.append(analyse_video(small, source, "train", detector, limits))
        except (FaceError, VideoError) as error:
            left_out += 1
            print(f"left out: {source.path}: {error}", file=sys.stderr)
            continue
        seconds += time.perf_counter() - start
        size += small.stat().st_size
        length += lasted
    rows = [
        Clip(**vars(clip) | {"clip_id": f"{clip.clip_id}/{turn}", "video_id": f"{clip.video_id}/{turn}"})
        for turn in range(settings.repeat)
        for clip in clips
    ]
    for begin in range(0, len(rows), settings.clips_per_file):
        table = clips_to_table(rows[begin : begin + settings.clips_per_file])
        write_table(Storage(place), f"train/{begin:06d}.parquet", table)
    return {
        "usable": len(clips),
        "left out": left_out,
        "kbit per second": round(size * 8 / length / 1e3, 1),
        "seconds of a core to make a clip": round(seconds / len(clips), 2),
    }


def like_voxceleb(path: Path, small: Path, settings: ReadingSettings, detector: LandmarkDetector) -> float:
    """Write a face of `path` as a video of 224 x 224 pixels; returns its seconds."""
    frames = [frame for frame in read_frames(path, 1280) if frame.time < settings.seconds]
    faces = detector.detect([frame.image for frame in frames])
    shown = [(frame, found[0]) for frame, found in zip(frames, faces, strict=True) if found]
    if len(shown) < 2:
        raise FaceError("no face", f"no face in {len(frames)} frames")
    images, times = [frame.image for frame, _ in shown], [frame.time for frame, _ in shown]
    pictures, _ = crop_frames(images, [face.landmarks for _, face in shown], _VOXCELEB, times)
    rate = (len(times) - 1) / max(times[-1] - times[0], 1e-3)
    write_video(small, pictures, rate, crf=settings.crf)
    return len(pictures) / rate


def read_all(
    settings: ReadingSettings, remote: Storage, counting: Counting, puts: dict[str, int], stored: int
) -> dict[str, Any]:
    """Requests and bytes of looking the files over and of one epoch."""
    looked = counting.during(lambda: scan(remote, "train"))
    catalog = scan(remote, "train")
    plan = Plan(tuple(catalog.files), tuple(catalog.counts), 0, 4)

    def epoch() -> None:
        for window in range(plan.windows_per_epoch):
            for _ in draw_window(remote, plan, window, settings.shots, settings.resolution):
                pass

    drawn = counting.during(epoch)
    files, clips = len(catalog.files), catalog.clips

    def per_file(counts: dict[str, int]) -> dict[str, float]:
        return {name: round(value / files, 2) for name, value in sorted(counts.items())}

    return {
        "files": files,
        "clips": clips,
        "bytes per clip": round(stored / clips),
        "bytes per clip in an epoch": round(drawn["bytes sent"] / clips),
        "written, per file": per_file(puts),
        "looked over, per file": per_file(looked),
        "drawn, per file and epoch": per_file(drawn),
    }


def put_large(remote: Storage, counting: Counting, folder: Path, size: int) -> dict[str, int]:
    """What publishing one large file asks for."""
    source = folder / "large"
    source.mkdir()
    with (source / "tensors").open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    (source / "marker").write_bytes(b"{}")
    return counting.during(lambda: remote.publish(source, "published", "marker"))


def drawing_speed(settings: ReadingSettings, local: Storage) -> float:
    """Episodes a second of one process, from local files: decoding and drawing."""
    catalog = scan(local, "train")
    plan = Plan(tuple(catalog.files), tuple(catalog.counts), 0, 4)
    start = time.perf_counter()
    number = math.ceil(200 / max(1, catalog.clips / plan.windows_per_epoch))
    drawn = sum(
        1 for window in range(number) for _ in draw_window(local, plan, window, settings.shots, settings.resolution)
    )
    return drawn / (time.perf_counter() - start)


@contextmanager
def counting_s3() -> Iterator[tuple[str, Counting]]:
    """An S3 server in this process with one bucket; its URI and the counts."""
    counting = Counting(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    uri = f"s3://{_BUCKET}?endpoint_override=127.0.0.1:{server.server_port}&scheme=http"
    _make_bucket(server.server_port)
    try:
        yield uri, counting
    finally:
        server.shutdown()
        thread.join()


def _make_bucket(port: int) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket=_BUCKET)


if __name__ == "__main__":
    main(parse_command_line(ReadingSettings, sys.argv[1:], __doc__ or ""))
