"""How fast faces are found and traced: our batches against face-alignment's own call for one frame, and dlib.

    python benchmarks/preprocess.py
    python benchmarks/preprocess.py device=cuda frames=192 repeats=5 compiled=true width=1280 height=720

Prints JSON. face-alignment's networks have random weights: the arithmetic is the same, and nothing is downloaded.
Random scores find no face, so in both sides' maps nine cells in the middle of every frame are made to see one
(`one_face`). Everything before and after is each side's own.
"""

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

import cv2
import face_alignment
import face_alignment.api
import numpy as np
import numpy.typing as npt
import skimage
import torch
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from floor import floor_of, machine, measure_peaks
from pydantic import Field
from torch import Tensor, nn

from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import WeightsError
from raytalk.faces.detect import make_detector
from raytalk.faces.detect_fan import FaceAlignmentDetector, search_scale
from raytalk.faces.detector_files import FAN_FILES, fan_folder
from raytalk.faces.face import DLIB
from raytalk.faces.fan_boxes import without_doubles
from raytalk.faces.fan_landmarks import LandmarkNetwork, Places, cut_crops, peaks
from raytalk.faces.fan_transfer import Later, shrink, to_device

Frames = list[npt.NDArray[np.uint8]]
Report = dict[str, Any]
Search = Callable[[Tensor], list[Tensor]]
T = TypeVar("T")

_RATE, _TIME = "frames per second", "ms per frame"
_ASTRONAUT_FACE = 224.0, 118.0, 130.0
"""middle and side of the face in scikit-image's picture, in pixels"""
_SHARE = 0.4
"""side of the face in the frame's height"""
_CELLS = 3
"""side of the square of cells that see the face"""


class SpeedSettings(JobSettings):
    """What to measure."""

    device: Literal["cpu", "cuda"] = "cpu"
    """where the networks run"""
    frames: int = Field(4, ge=1)
    """frames in all"""
    frames_per_call: int = Field(48, ge=1)
    """frames given to our detector at once: preprocessing looks at 48 of a video"""
    width: int = Field(640, ge=64)
    """of the frames, in pixels"""
    height: int = Field(360, ge=64)
    """of the frames, in pixels"""
    videos: str = ""
    """folder of videos to take the frames from, brought to width x height; if not given, a photograph moves about"""
    batch_size: int = Field(16, ge=1)
    """faces and, on a GPU, frames in our forward passes"""
    half: bool | None = None
    """our networks in half precision; the detector's own choice, on a GPU only, if not given"""
    compiled: bool = False
    """both sides with torch.compile too, which is face-alignment's default"""
    repeats: int = Field(1, ge=1)
    """measurements, of which the median counts"""
    threads: int = Field(1, ge=0)
    """of torch and OpenCV on the CPU; 0: as many as they like"""
    dlib: bool = True
    """dlib too, in one thread, on at most 48 of the frames"""


def main(settings: SpeedSettings) -> None:
    """Print JSON."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(settings.threads)
    frames = _from_videos(settings) if settings.videos else _photographs(settings)
    floor = _floor(settings)
    theirs: dict[str, Report] = {}
    ours: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = face_alignment.api.COMPILE_CACHE_DIR = folder
        save_random_weights(fan_folder())
        for name, compiled in {"eager": False, "compiled": True}.items():
            if settings.compiled or not compiled:
                theirs[name] = _attempt(partial(_theirs, settings, frames, compiled))
                ours[name] = _attempt(partial(_ours, settings, frames, compiled))
    faster = {
        f"{mine} against {other}": round(ours[mine][_RATE] / theirs[other][_RATE], 1)
        for other in theirs
        for mine in ours
        if _RATE in ours[mine] and _RATE in theirs[other]
    }
    for mine in ours.values():
        if _TIME in mine:
            mine["times the floor"] = round(mine[_TIME] / floor[_TIME], 1)
    result = {
        "machine": machine(torch.device(settings.device)) | {"CUDA": torch.version.cuda},
        "settings": settings.model_dump(exclude={"preset"}),
        "made comparable": "random weights; nine cells of the search network's scores in the middle of each frame see "
        "a face, on both sides alike; face-alignment searches the whole frame, we shrink it to 640 pixels first",
        "floor": floor,
        "face-alignment, frame by frame": theirs,
        "ours, in batches": ours,
        "ours is faster by": faster,
        "dlib": _dlib(settings, frames[:48]) if settings.dlib else "left out",
    }
    print(json.dumps(result, indent=2))


def one_face(network: Search) -> Search:
    """S3FD (the package's or `Sfd`) whose scores say that there is one face, in the middle of each picture."""

    def look(pictures: Tensor) -> list[Tensor]:
        maps = network(pictures)
        level = min(range(6), key=lambda number: abs(16 * 2**number - _SHARE * pictures.shape[2]))
        scores = maps[2 * level][:, 1]
        top, left = (size // 2 - _CELLS // 2 for size in scores.shape[1:])
        scores[:, top : top + _CELLS, left : left + _CELLS] += 10
        scores[:, top + _CELLS // 2, left + _CELLS // 2] += 2
        return maps

    return look


def save_random_weights(folder: Path) -> None:
    """Files of the names and shapes that face-alignment loads; the search network sees no face anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    fan, search = FAN(4).state_dict(), s3fd().state_dict()
    for name, value in fan.items():
        # Untrained batch statistics would let the heatmaps vanish.
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    for name, value in search.items():
        if name.endswith("conf.bias"):
            value[:-1], value[-1] = 4, -4
        elif name.endswith("bias"):
            value.zero_()
        elif "mbox" in name:
            value.normal_(0, 2e-5)
        elif value.ndim == 4:
            nn.init.kaiming_normal_(value, nonlinearity="relu")
    for file, values in zip(FAN_FILES, (fan, search), strict=True):
        torch.save(values, folder / file)


def _theirs(settings: SpeedSettings, frames: Frames, compiled: bool) -> Report:
    package = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=settings.device, compile=compiled)
    package.face_detector.face_detector = one_face(package.face_detector.face_detector)
    for _ in range(3 if settings.device == "cuda" else 1):
        package.get_landmarks_from_image(frames[0])
    whole, faces = _timed(settings, lambda: [package.get_landmarks_from_image(frame) for frame in frames])
    assert all(len(those) == 1 for those in faces)
    search, boxes = _timed(settings, lambda: package.face_detector.detect_from_image(frames[0]))
    trace, _ = _timed(settings, lambda: package.get_landmarks_from_image(frames[0], boxes))
    return {
        _RATE: round(len(frames) / whole, 2),
        _TIME: round(1000 * whole / len(frames), 2),
        "ms per frame of each part": {"SFD's boxes": round(1000 * search, 2), "landmarks": round(1000 * trace, 2)},
    }


def _ours(settings: SpeedSettings, frames: Frames, compiled: bool) -> Report:
    detector = FaceAlignmentDetector(settings.device, settings.batch_size, settings.half, compiled)
    detector.search.network = one_face(detector.search.network)
    size = settings.frames_per_call
    calls = [frames[start : start + size] for start in range(0, len(frames), size)]
    detector.detect(calls[0] if settings.device == "cuda" else frames[:1])
    whole, found = _timed(settings, lambda: [faces for call in calls for faces in detector.detect(call)])
    assert all(len(faces) == 1 for faces in found)
    return {
        "half precision": detector.half,
        _RATE: round(len(frames) / whole, 2),
        _TIME: round(1000 * whole / len(frames), 3),
        "ms per frame of each part, none overlapping": _parts(settings, detector, frames),
        "landmarks beside face-alignment's": _accuracy(settings, detector, frames[:2]),
    }


def _parts(settings: SpeedSettings, detector: FaceAlignmentDetector, frames: Frames) -> dict[str, float]:
    """One batch, the device waited for after each part."""
    times: dict[str, float] = {}
    device = torch.device(settings.device)
    count = settings.batch_size if settings.device == "cuda" else min(len(frames), max(1, settings.batch_size // 4))
    batch = [frames[number % len(frames)] for number in range(count)]

    def part(name: str, function: Callable[[], T]) -> T:
        if settings.device == "cuda":
            function()
        seconds, result = _timed(settings, function)
        times[name] = round(1000 * seconds / len(batch), 3)
        return result

    scale = search_scale(settings.height, settings.width)
    pictures = part("frames to the device", lambda: to_device(batch, len(batch), device))
    small = part("shrinking them for SFD", lambda: shrink(pictures, scale))
    maps = part("SFD", lambda: detector.search.maps(small))
    found = part("its candidates", lambda: Later(detector.search.surest(maps)).read())
    boxes = part("boxes", lambda: [without_doubles(each, detector.threshold)[0] / scale for each in found])
    places = Places.of(boxes)
    owners, corners = torch.arange(len(batch), device=device), places.corners().to(device)
    crops = part("crops", lambda: cut_crops(pictures, owners, corners))
    heatmaps = detector.tracing.heatmaps(crops)
    points = part("peaks of heatmaps (again in the next)", lambda: peaks(heatmaps))
    part("FAN-4 on both images and peaks", lambda: detector.tracing.points(crops))
    part("landmarks", lambda: places.to_frames(Later(points).read()))
    return times


def _accuracy(settings: SpeedSettings, detector: FaceAlignmentDetector, frames: Frames) -> dict[str, float]:
    """From the same boxes. Random heatmaps are flat: in half precision many peaks jump that trained ones would hold."""
    device = torch.device(settings.device)
    package = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=settings.device, compile=False)
    boxes = detector.boxes(frames)
    ours = np.concatenate(detector.landmarks(frames, boxes))
    theirs = [package.get_landmarks_from_image(*pair) for pair in zip(frames, boxes, strict=True)]
    corners = Places.of(boxes[0]).corners().to(device)
    crops = cut_crops(to_device(frames[:1], 1, device), torch.zeros(1, dtype=torch.long, device=device), corners)
    network = LandmarkNetwork(package.face_alignment_net, device, half=False, batch_size=None)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = network.heatmaps(crops)
    off = {"ours": detector.tracing.heatmaps(crops) - exact}
    if settings.device == "cuda":
        off["face-alignment"] = network.heatmaps(crops) - exact
    return {
        "share equal": round(float((ours == np.concatenate(theirs)).all(-1).mean()), 3),
        **{f"error of heatmaps, {name}": float(f"{float(maps.std() / exact.std()):.1e}") for name, maps in off.items()},
    }


def _floor(settings: SpeedSettings) -> Report:
    """What our batches must compute and move for a frame, and how fast the device does either."""
    half = settings.device == "cuda" if settings.half is None else settings.half
    dtype, count = torch.bfloat16 if half else torch.float32, settings.batch_size
    scale = search_scale(settings.height, settings.width)
    height, width = round(settings.height * scale), round(settings.width * scale)
    with torch.device("meta"), torch.no_grad():
        fan, sfd = FAN(4).to(dtype), s3fd().to(dtype)
        passes = {
            f"SFD, {width} x {height}": (
                count,
                floor_of(lambda: sfd(torch.empty(count, 3, height, width, dtype=dtype))),
            ),
            "FAN-4, a face and its mirror image": (
                count,
                floor_of(lambda: fan(torch.empty(2 * count, 3, 256, 256, dtype=dtype))),
            ),
            f"face-alignment's SFD, {settings.width} x {settings.height}": (
                1,
                floor_of(lambda: sfd(torch.empty(1, 3, settings.height, settings.width, dtype=dtype))),
            ),
        }
    peaks = measure_peaks(torch.device(settings.device))
    parts = {}
    for name, (frames, floor) in passes.items():
        flops, size = (sum(column) / frames for column in zip(*floor.operations, strict=True))
        seconds = floor.seconds(peaks) / frames
        parts[name] = {"GFLOP": round(flops / 1e9, 1), "MB": round(size / 1e6), _TIME: round(1000 * seconds, 3)}
    return {
        "counted": f"convolutions in {str(dtype).removeprefix('torch.')}, each bound by arithmetic or by memory",
        "measured": peaks.describe(),
        "MB of weights": round(sum(each.nbytes for net in (fan, sfd) for each in net.parameters()) / 1e6),
        "per frame": parts,
        _TIME: round(sum(part[_TIME] for part in list(parts.values())[:2]), 3),
    }


def _dlib(settings: SpeedSettings, frames: Frames) -> Report | str:
    if importlib.util.find_spec("dlib") is None:
        return "not installed"
    try:
        detector = make_detector(DLIB)
    except WeightsError as error:
        return str(error)
    cv2.setNumThreads(1)
    detector.detect(frames[:1])
    start = time.process_time()
    wall, found = _median("cpu", lambda: detector.detect(frames), settings.repeats)
    cpu = (time.process_time() - start) / settings.repeats
    return {
        _RATE: round(len(frames) / wall, 2),
        "frames per second of CPU time (per core)": round(len(frames) / cpu, 2),
        _TIME: round(1000 * wall / len(frames), 2),
        "share of frames with one face": round(sum(len(those) == 1 for those in found) / len(frames), 3),
    }


def _photographs(settings: SpeedSettings) -> Frames:
    """An astronaut's face that moves about the middle, with some noise."""
    astronaut = np.asarray(cv2.imread(str(Path(skimage.__file__).parent / "data/astronaut.png")))[..., ::-1]
    x, y, side = _ASTRONAUT_FACE
    size = settings.width, settings.height
    random = np.random.default_rng(0)
    frames = []
    for _ in range(settings.frames):
        scale = _SHARE * settings.height / side * random.uniform(0.9, 1.1)
        middle = np.array(size) / 2 + random.uniform(-0.05, 0.05, 2) * settings.height
        move = np.array([[scale, 0, middle[0] - scale * x], [0, scale, middle[1] - scale * y]])
        moved = cv2.warpAffine(astronaut, move, size, borderMode=cv2.BORDER_REFLECT_101)
        frames.append(np.clip(moved + random.normal(0, 4, moved.shape), 0, 255).astype(np.uint8))
    return frames


def _from_videos(settings: SpeedSettings) -> Frames:
    from raytalk.faces.video import sample_frames

    files = sorted(path for path in Path(settings.videos).expanduser().iterdir() if path.is_file())
    size, each = (settings.width, settings.height), -(-settings.frames // len(files))
    images = (frame.image for path in files for frame in sample_frames(path, each))
    resized = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in images]
    return resized[: settings.frames]


def _attempt(measure: Callable[[], Report]) -> Report:
    """What torch.compile raises where it finds no compiler must not end the rest."""
    try:
        return measure()
    except RuntimeError as error:
        return {"failed": " ".join(str(error).split())[:300]}


def _timed(settings: SpeedSettings, function: Callable[[], T]) -> tuple[float, T]:
    return _median(settings.device, function, settings.repeats)


def _median(device: str, function: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Median seconds of calls that each begin and end with an idle device, and what the last one gave."""
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times), result


if __name__ == "__main__":
    main(parse_command_line(SpeedSettings, sys.argv[1:], __doc__ or ""))
