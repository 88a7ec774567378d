"""Clips become K-shot episodes, in an order that depends on nothing but the seed, the epoch and the clips.

An epoch shows every clip once. The files are shuffled with (seed, epoch); the clips of each window of some files are
shuffled together; frames are drawn with (seed, epoch, window). So episode number g of a run is the same whoever draws
it, and a run can start again at any g. No Ray here: `raytalk.learning.feed` puts it on a cluster.
"""

import bisect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.catalog import read_clips
from raytalk.clips.schema import Clip
from raytalk.errors import ClipsError, StorageError
from raytalk.faces.draw import draw_landmarks
from raytalk.storage import Storage

logger = logging.getLogger(__name__)

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """Some files of one epoch whose clips are mixed."""

    epoch: int
    number: int
    """of this epoch"""
    files: list[str]
    counts: list[int]
    """clips in each file"""
    first_episode: int
    """of the whole run"""


@dataclass(frozen=True)
class Plan:
    """The order of all episodes of a run, computed on demand."""

    files: tuple[str, ...]
    counts: tuple[int, ...]
    """clips in each file"""
    seed: int
    shuffle_files: int
    """files in a window"""

    @property
    def episodes_per_epoch(self) -> int:
        """One per clip."""
        return sum(self.counts)

    @property
    def windows_per_epoch(self) -> int:
        """The last one of an epoch may hold fewer files."""
        return -(-len(self.files) // self.shuffle_files)

    def window(self, index: int) -> Window:
        """Window number `index` of the run, from 0."""
        epoch, number = divmod(index, self.windows_per_epoch)
        order, starts = self._epoch(epoch)
        chosen = order[number * self.shuffle_files : (number + 1) * self.shuffle_files]
        files, counts = [self.files[position] for position in chosen], [self.counts[position] for position in chosen]
        return Window(epoch, number, files, counts, epoch * self.episodes_per_epoch + starts[number])

    def locate(self, episode: int) -> int:
        """The index of the window that holds episode number `episode` of the run."""
        epoch, rest = divmod(episode, self.episodes_per_epoch)
        _, starts = self._epoch(epoch)
        return epoch * self.windows_per_epoch + bisect.bisect_right(starts, rest) - 1

    def _epoch(self, epoch: int) -> tuple[list[int], list[int]]:
        """The order of the files, and the first episode of each window with the epoch's end at the end."""
        return _epoch_order(self.counts, self.seed, epoch, self.shuffle_files)


@lru_cache(maxsize=8)
def _epoch_order(counts: tuple[int, ...], seed: int, epoch: int, shuffle_files: int) -> tuple[list[int], list[int]]:
    order = np.random.default_rng((seed, epoch)).permutation(len(counts))
    sums = np.add.reduceat(np.array(counts)[order], np.arange(0, len(order), shuffle_files))
    return order.tolist(), [0, *np.cumsum(sums).tolist()]


@dataclass(frozen=True)
class Episode:
    """One K-shot episode, decoded."""

    number: int
    """of the run"""
    video: str
    frames: Pictures
    """[1 + K, H, W, 3] uint8 RGB, the target first"""
    drawings: Pictures
    """[1 + K, H, W, 3] uint8 RGB"""
    faults: int
    """frames that were left out because they are broken, and clips replaced by another"""


def draw_window(
    storage: Storage,
    plan: Plan,
    index: int,
    shots: int,
    resolution: int,
    start: int = 0,
    pupils: float = 0.0,
    say: Callable[[str], None] = logger.warning,
) -> Iterator[Episode]:
    """The episodes of one window from episode number `start` on, in the plan's order.

    `pupils` is the share of episodes whose drawings carry the pupils, all or none of an episode's. It does not change
    which frames are drawn.

    A broken frame is left out; a clip with fewer than two good frames, or in a broken file, is replaced by another of
    the same window, so that numbers stay right. Each fault is named through `say`. Raises ClipsError if no clip of
    the window can be used, and StorageError if the store does not give what is there.
    """
    window = plan.window(index)
    clips: list[Clip | None] = []
    for path, expected in zip(window.files, window.counts, strict=True):
        try:
            found: list[Clip | None] = [*read_clips(storage, path)]
        except (ClipsError, StorageError) as error:
            # A store that fails says nothing about the clips: leaving them out would train on others unnoticed.
            if isinstance(error, StorageError) and not isinstance(error.__cause__, FileNotFoundError):
                raise
            say(f"left out: {error}")
            found = []
        clips += (found + [None] * expected)[:expected]
    random = np.random.default_rng((plan.seed, window.epoch, window.number))
    order = random.permutation(len(clips)).tolist()
    seeds = random.integers(0, 2**63, len(clips)).tolist()
    good = {position: _good_frames(clips[position], say) for position in order}
    substitutes = [position for position in order if good[position]]
    for offset, (position, seed) in enumerate(zip(order, seeds, strict=True)):
        number = window.first_episode + offset
        if number < start:
            continue
        turn = offset % max(1, len(substitutes))
        candidates = [position] if good[position] else []
        for candidate in candidates + substitutes[turn:] + substitutes[:turn]:
            clip = clips[candidate]
            if clip is None or not good[candidate]:
                continue
            drawn = _draw(clip, good[candidate], shots, resolution, np.random.default_rng(seed), pupils, say)
            if drawn is not None:
                frames, drawings, faults = drawn
                yield Episode(number, clip.video_id, frames, drawings, faults + (candidate != position))
                break
            good[candidate] = []
        else:
            raise ClipsError(f"no usable clip in {', '.join(window.files)}")


def decode(data: bytes, resolution: int) -> tuple[Pictures, float] | None:
    """A square JPEG as [resolution, resolution, 3] uint8 RGB and the factor it was resized by; None if it is broken."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if _looks_whole(data) else None
    except cv2.error:  # a header that asks for more pixels than there can be
        return None
    if picture is None or picture.shape[0] != picture.shape[1]:
        return None
    size = picture.shape[0]
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if size != resolution:
        method = cv2.INTER_AREA if size > resolution else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (resolution, resolution), interpolation=method)
    return np.asarray(picture, np.uint8), resolution / size


def decode_and_draw(
    clip: Clip, index: int, resolution: int, with_pupils: bool = False
) -> tuple[Pictures, Pictures] | None:
    """One frame of a clip and its drawing, both [resolution, resolution, 3] uint8 RGB; None if either is broken.

    `with_pupils`: draw those that the clip knows.
    """
    points = clip.landmarks[index]
    decoded = decode(clip.frames[index], resolution) if np.isfinite(points).all() else None
    if decoded is None:
        return None
    picture, scale = decoded
    pupils = None
    if with_pupils and clip.pupils is not None:
        known = clip.pupils[index]
        pupils = resized(np.where(np.isfinite(known), known, np.nan), scale)
    return picture, draw_landmarks(resized(points, scale), resolution, pupils)


def resized(points: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.floating]:
    """Points [..., 2] in pixels of a picture, in those of the picture resized by `scale`.

    Pixel centres are at whole numbers: the corner of the picture is what stays in place.
    """
    return (points + 0.5) * scale - 0.5


def _looks_whole(data: bytes) -> bool:
    """Whether a JPEG has its first and last marker: a truncated one would decode to half a picture."""
    return data[:2] == b"\xff\xd8" and b"\xff\xd9" in data[-16:]


def _good_frames(clip: Clip | None, say: Callable[[str], None]) -> list[int]:
    """Indices of frames that look whole; none if fewer than two do."""
    if clip is None:
        return []
    good = [
        index
        for index, data in enumerate(clip.frames)
        if _looks_whole(data) and np.isfinite(clip.landmarks[index]).all()
    ]
    if len(good) < len(clip.frames):
        say(f"clip {clip.clip_id}: {len(clip.frames) - len(good)} broken frames left out")
    if len(good) < 2:
        say(f"clip {clip.clip_id} is left out: it has {len(good)} good frames and 2 are needed")
        return []
    return good


def _draw(
    clip: Clip,
    good: list[int],
    shots: int,
    resolution: int,
    random: np.random.Generator,
    pupils: float,
    say: Callable[[str], None],
) -> tuple[Pictures, Pictures, int] | None:
    """A target and K others, and the number of broken frames; None if fewer than two frames can be decoded.

    With too few frames the others repeat, but the target is never among them.
    """
    order = random.permutation(good).tolist()
    with_pupils = bool(random.random() < pupils)
    faults = len(clip.frames) - len(good)
    frames: list[Pictures] = []
    drawings: list[Pictures] = []
    while order and len(frames) < 1 + shots:
        index = order.pop()
        pair = decode_and_draw(clip, index, resolution, with_pupils)
        if pair is None:
            say(f"clip {clip.clip_id}: frame {index} cannot be decoded or is not square")
            faults += 1
            continue
        frames.append(pair[0])
        drawings.append(pair[1])
    if len(frames) < 2:
        say(f"clip {clip.clip_id} is left out: fewer than two of its frames can be decoded")
        return None
    chosen = [0, *(1 + index % (len(frames) - 1) for index in range(shots))]
    return np.stack([frames[i] for i in chosen]), np.stack([drawings[i] for i in chosen]), faults
