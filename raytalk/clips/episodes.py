"""Clips become K-shot episodes, in an order that depends on nothing but the seed, the epoch and the clips.

An epoch shows every clip once. The files are shuffled with (seed, epoch); the clips of each window of some files are
shuffled together; frames are drawn with (seed, epoch, window). So episode number g of a run is the same whoever draws
it, and a run can start again at any g. No Ray here: `raytalk.learning.feed` puts it on a cluster.
"""

import bisect
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.clips.schema import Clip, Split, read_table, table_to_clips
from raytalk.errors import ClipsError, StorageError
from raytalk.faces.draw import draw_landmarks
from raytalk.storage import Storage, explained

logger = logging.getLogger(__name__)

Pictures = npt.NDArray[np.uint8]

_IDENTITIES = pa.schema([("video_id", pa.string()), ("person_id", pa.string()), ("detector", pa.string())])


@dataclass(frozen=True)
class Catalog:
    """What lies in the Parquet files of one split, from their footers and small columns."""

    files: list[str]
    """paths below the clips URI, sorted"""
    counts: list[int]
    """clips in each file"""
    videos: list[str]
    """video_id, sorted and unique: the rows of W"""
    people: int
    detectors: list[str]
    left_out: list[str]
    """files that cannot be read, each with the reason"""

    @property
    def clips(self) -> int:
        """Clips in all files."""
        return sum(self.counts)


def scan(storage: Storage, split: Split) -> Catalog:
    """Look over the clips of a split. Broken files are left out and named.

    Raises ClipsError if there is no usable clip, StorageError if a file cannot be fetched: leaving it out would change
    the run.
    """
    listed = [entry for entry in storage.entries(split) if entry.path.endswith(".parquet")]
    with ThreadPoolExecutor(16) as pool:
        tables = list(pool.map(lambda entry: _identities(storage, entry.path), listed))
    good = [(e.path, t) for e, t in zip(listed, tables, strict=True) if isinstance(t, pa.Table) and t.num_rows]
    broken = [
        f"{e.path}: {t if isinstance(t, str) else 'no clips'}"
        for e, t in zip(listed, tables, strict=True)
        if isinstance(t, str) or not t.num_rows
    ]
    if not good:
        hint = f" ({broken[0]})" if broken else "; make some with jobs/preprocess.py or jobs/synthesize.py"
        raise ClipsError(f"no {split} clips in {storage.uri}{hint}")
    merged = pa.concat_tables([table for _, table in good])
    return Catalog(
        files=[path for path, _ in good],
        counts=[table.num_rows for _, table in good],
        videos=sorted(set(merged["video_id"].to_pylist())),
        people=len(set(merged["person_id"].to_pylist())),
        detectors=sorted(set(merged["detector"].to_pylist())),
        left_out=broken,
    )


def read_clips(storage: Storage, path: str) -> list[Clip]:
    """All clips of one file. Raises ClipsError if it is not a file of clips."""
    with explained(f"{storage.uri}/{path}", "read"), storage.filesystem.open_input_file(storage.path(path)) as file:
        try:
            return table_to_clips(read_table(file))
        except (ClipsError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Missing columns and nulls where there must be none end here as well.
            raise ClipsError(f"{path} is not a readable file of clips: {str(error)[:200]}") from None


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
    the window can be used.
    """
    window = plan.window(index)
    clips: list[Clip | None] = []
    for path, expected in zip(window.files, window.counts, strict=True):
        try:
            found: list[Clip | None] = [*read_clips(storage, path)]
        except (ClipsError, StorageError) as error:
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


def _identities(storage: Storage, path: str) -> pa.Table | str:
    if not storage.is_file(path):
        return "not a file"
    with explained(f"{storage.uri}/{path}", "read"), storage.filesystem.open_input_file(storage.path(path)) as file:
        try:
            table = pq.read_table(file, columns=_IDENTITIES.names).select(_IDENTITIES.names)
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            if isinstance(error, OSError) and not any(word in reason.lower() for word in ("thrift", "parquet", "page")):
                raise  # not damage: the store did not give the bytes
            return reason
    text = (pa.types.is_string, pa.types.is_large_string)
    other = [field.name for field in table.schema if not any(test(field.type) for test in text)]
    if other:
        return f"{', '.join(other)} must be strings"
    empty = [name for name in _IDENTITIES.names if table[name].null_count]
    return f"{', '.join(empty)} is missing in some rows" if empty else table.cast(_IDENTITIES)


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
