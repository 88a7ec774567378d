"""Which square of each frame is kept: head, hair and some shoulder, as in VoxCeleb.

The one crop of the project: preprocessing, few-shot learning and driving all go through `steady_squares`.
A square is (x, y, side): the centre and the side length, in frame pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.faces.people import JUMP, LONGEST_STEP, SPEED, ZOOM, ZOOM_SPEED

SIDE = 2.1
"""side of the square, in face sizes (the larger extent of the landmarks: brows to chin, ear to ear)"""
RAISE = 0.14
"""how far the square's centre lies above the middle of the landmarks, in face sizes: room for hair"""
PLAY_X, PLAY_Y = 0.3, 0.18
"""how far a head may move away from the square's centre, in face sizes, before it would be cut"""

_MEDIAN_WINDOW = 0.1
_SMOOTHING = (1.0, 0.5, 0.25, 0.12)


def steady_squares(
    landmarks: npt.NDArray[np.floating], times: npt.NDArray[np.floating] | Sequence[float] | None = None
) -> npt.NDArray[np.float64]:
    """Squares that hold still over a clip.

    landmarks: [n, 68, 2] in frame pixels, in the order of time. times: [n] seconds; without them the frames count as
    unrelated photographs. Returns [n, 3] centre x, centre y, side in frame pixels.

    Within a shot the side is one number. The centre is one point if the head stays inside; otherwise it follows the
    head, smoothed over as long a time as keeps the head inside. Nothing is averaged over a scene cut, and the
    smoothing is in seconds, so that frames far apart hardly touch each other.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be finite and of the shape [n, 68, 2], not {list(points.shape)}")
    count = len(points)
    clock: npt.NDArray[np.float64] = np.asarray(np.arange(count) * 1e6 if times is None else times, dtype=np.float64)
    if clock.shape != (count,):
        raise ValueError(f"{count} frames need as many times, not {list(clock.shape)}")
    low, high = points.min(axis=1), points.max(axis=1)
    sizes = np.maximum((high - low).max(axis=1), 1.0)
    centres = (low + high) / 2
    centres[:, 1] -= RAISE * sizes
    squares = np.empty((count, 3))
    for shot in _shots(_despiked(centres, clock), _despiked(sizes[:, None], clock)[:, 0], clock):
        size = float(np.percentile(sizes[shot], 75))
        squares[shot, :2] = _follow(centres[shot], clock[shot], size)
        squares[shot, 2] = SIDE * size
    return squares


def crop_frame(
    frame: npt.NDArray[np.uint8], square: npt.NDArray[np.floating], size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Cut one square out of a frame (HxWx3 uint8 RGB) and bring it to size x size.

    Edge pixels are repeated outside the picture. Returns the crop (size x size x 3 uint8 RGB) and the map
    [2, 3] from frame pixels to crop pixels (see `to_crop`).
    """
    centre_x, centre_y, side = (float(value) for value in square)
    if side > size:
        side = float(round(side))
        left, top = (float(round(middle - side / 2 + 0.5)) for middle in (centre_x, centre_y))
        crop = cv2.resize(_window(frame, int(left), int(top), int(side)), (size, size), interpolation=cv2.INTER_AREA)
    else:
        left, top = (middle - side / 2 + 0.5 for middle in (centre_x, centre_y))
    forward = _map_of(left, top, side, size)
    if side <= size:
        crop = cv2.warpAffine(frame, forward, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, dtype=np.uint8), forward


def square_map(square: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.float64]:
    """The map [2, 3] to a picture of size x size that shows exactly this square, for who draws it so."""
    x, y, side = (float(value) for value in square)
    return _map_of(x - side / 2 + 0.5, y - side / 2 + 0.5, side, size)


def _map_of(left: float, top: float, side: float, size: int) -> npt.NDArray[np.float64]:
    scale = size / side
    return np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])


def to_crop(landmarks: npt.NDArray[np.floating], forward: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Bring landmarks [..., 2] from frame pixels to crop pixels by the map that `crop_frame` returned."""
    moved = np.asarray(landmarks, dtype=np.float64) @ forward[:, :2].T + forward[:, 2]
    return np.asarray(moved, dtype=np.float32)


def crop_frames(
    frames: Sequence[npt.NDArray[np.uint8]],
    landmarks: npt.NDArray[np.floating],
    size: int,
    times: npt.NDArray[np.floating] | Sequence[float] | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Cut a clip, or one photograph (n = 1), to squares that hold still.

    frames: n pictures HxWx3 uint8 RGB; landmarks: [n, 68, 2] in frame pixels; size: side of the result in pixels;
    times: [n] seconds, None for unrelated photographs. Returns [n, size, size, 3] uint8 RGB and the landmarks
    [n, 68, 2] float32 in pixels of the crops.
    """
    if len(frames) != len(landmarks):
        raise ValueError(f"{len(frames)} frames, but landmarks of {len(landmarks)}")
    crops = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    points = np.empty((len(frames), 68, 2), dtype=np.float32)
    if len(frames):
        for index, square in enumerate(steady_squares(landmarks, times)):
            crops[index], forward = crop_frame(frames[index], square, size)
            points[index] = to_crop(landmarks[index], forward)
    return crops, points


def _window(frame: npt.NDArray[np.uint8], left: int, top: int, side: int) -> npt.NDArray[np.uint8]:
    height, width = frame.shape[:2]
    # At least one row and column of the picture must be in reach for its edge to be repeated.
    x0, x1 = min(max(left, 0), width - 1), max(min(left + side, width), 1)
    y0, y1 = min(max(top, 0), height - 1), max(min(top + side, height), 1)
    inside = frame[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    if inside.shape[:2] == (side, side):
        return inside
    rows = np.clip(np.arange(top, top + side), 0, height - 1) - y0
    columns = np.clip(np.arange(left, left + side), 0, width - 1) - x0
    return np.asarray(inside[rows[:, None], columns[None, :]])


def _despiked(values: npt.NDArray[np.float64], clock: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Running median over neighbours in time: one wrong detection is not a cut, and a real cut stays where it is."""
    starts = np.searchsorted(clock, clock - _MEDIAN_WINDOW, side="left")
    ends = np.searchsorted(clock, clock + _MEDIAN_WINDOW, side="right")
    return np.stack([np.median(values[start:end], axis=0) for start, end in zip(starts, ends, strict=True)])


def _shots(
    centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], clock: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.intp]]:
    """Runs of frames without a jump that no head makes."""
    passed = np.diff(clock)
    jumps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.minimum(sizes[1:], sizes[:-1])
    zooms = np.abs(np.diff(np.log(sizes)))
    counted = np.minimum(passed, LONGEST_STEP)
    cuts = (jumps > JUMP + SPEED * counted) | (zooms > ZOOM + ZOOM_SPEED * counted)
    # Without times every frame stands alone.
    cuts |= passed > 1e5
    return np.split(np.arange(len(clock)), np.flatnonzero(cuts) + 1)


def _follow(centres: npt.NDArray[np.float64], clock: npt.NDArray[np.float64], size: float) -> npt.NDArray[np.float64]:
    play = np.array([PLAY_X, PLAY_Y]) * size

    def stays_inside(path: npt.NDArray[np.float64]) -> bool:
        return bool((np.abs(centres - path) <= play).mean(axis=0).min() >= 0.98)

    still = np.broadcast_to((centres.min(axis=0) + centres.max(axis=0)) / 2, centres.shape)
    if stays_inside(still):
        return still
    for seconds in _SMOOTHING:
        path = _smoothed(centres, clock, seconds)
        if stays_inside(path):
            return path
    return path


def _smoothed(
    centres: npt.NDArray[np.float64], clock: npt.NDArray[np.float64], seconds: float
) -> npt.NDArray[np.float64]:
    """Gaussian in time with a local straight line, so that the ends of a shot do not lag behind."""
    path = np.empty_like(centres)
    for index, now in enumerate(clock):
        start, end = np.searchsorted(clock, [now - 3 * seconds, now + 3 * seconds])
        offset = clock[start:end] - now
        weight = np.exp(-0.5 * (offset / seconds) ** 2)
        near = centres[start:end]
        mean_offset = np.average(offset, weights=weight)
        mean = np.average(near, axis=0, weights=weight)
        spread = np.average((offset - mean_offset) ** 2, weights=weight)
        if spread > (0.2 * seconds) ** 2:
            slope = np.average((offset - mean_offset)[:, None] * (near - mean), axis=0, weights=weight) / spread
            mean = mean - slope * mean_offset
        path[index] = mean
    return path
