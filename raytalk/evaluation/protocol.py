"""Who is evaluated and which frames: everything follows from the seed and the clips, and is listed in the results.

T learning frames and M hold-out frames of one clip of n frames, never the same (Section 4).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raytalk.clips.catalog import read_clips, scan
from raytalk.clips.episodes import decode, resized
from raytalk.clips.schema import Split
from raytalk.errors import ClipsError
from raytalk.evaluation.settings import Arrangement
from raytalk.storage import Storage, explained, join

Pictures = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One person under one split: the unit of work."""

    split: Arrangement
    person: str
    clip: str
    file: str
    """Parquet file below the clips URI"""

    @property
    def path(self) -> str:
        """Where its rows are kept below the evaluation."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.person)[-60:]
        return f"people/{self.split}/{words}-{hashlib.blake2b(self.clip.encode(), digest_size=4).hexdigest()}.parquet"


@dataclass(frozen=True)
class Choice:
    """Whom there is to evaluate."""

    trials: list[Trial]
    people: int
    too_short: dict[str, int]
    """people whose clips have too few frames, with the most that one has"""
    detectors: list[str]
    left_out: list[str]
    """files that could not be read, and why"""


@dataclass(frozen=True)
class Shots:
    """What a person is learned from."""

    frames: Pictures
    """[T, S, S, 3] uint8 RGB"""
    landmarks: Points
    """[T, 68, 2] in their pixels"""
    pupils: Points | None
    """[T, 2, 2] likewise, where they are known"""


@dataclass(frozen=True)
class Sitting:
    """The frames of one trial."""

    trial: Trial
    frames: Pictures
    """[n, S, S, 3] uint8 RGB: the frames of the clip that can be used"""
    landmarks: Points
    """[n, 68, 2] in their pixels"""
    pupils: Points | None
    """[n, 2, 2] likewise, NaN where unknown"""
    numbers: list[int]
    """of the frames in the clip"""
    pool: list[int]
    """frames to learn from, in the order in which they are taken: those of a smaller T are among those of a larger"""
    hold_out: list[int]
    """frames to reenact, in time"""
    detector: str

    def shots(self, count: int) -> Shots:
        """The first T learning frames."""
        chosen = self.pool[:count]
        return Shots(self.frames[chosen], self.landmarks[chosen], None if self.pupils is None else self.pupils[chosen])

    @property
    def truth(self) -> Pictures:
        """[M, S, S, 3] the hold-out frames"""
        return self.frames[self.hold_out]

    @property
    def driving(self) -> Points:
        """[M, 68, 2] their landmarks"""
        return self.landmarks[self.hold_out]


def choose(
    clips: Storage, split: Split, people: int, needed: int, arrangements: Sequence[Arrangement], seed: int
) -> Choice:
    """At most `people` people of a split, each with one clip of at least `needed` frames, and every arrangement of it.

    The order of people and of a person's clips is a seeded hash of their ids, so that it depends on nothing else.
    Raises ClipsError if nobody has such a clip.
    """
    catalog = scan(clips, split)
    found: dict[str, list[tuple[str, str, int]]] = {}
    for file in catalog.files:
        for person, clip, frames in _listed(clips, file):
            found.setdefault(person, []).append((clip, file, frames))
    trials: list[Trial] = []
    chosen, too_short = 0, {}
    for person in sorted(found, key=lambda name: _rank(seed, name)):
        long_enough = [clip for clip in found[person] if clip[2] >= needed]
        if not long_enough:
            too_short[person] = max(frames for _, _, frames in found[person])
        elif chosen < people:
            clip_id, file, _ = min(long_enough, key=lambda clip: _rank(seed, clip[0]))
            trials += [Trial(arrangement, person, clip_id, file) for arrangement in arrangements]
            chosen += 1
    if not trials:
        raise ClipsError(
            f"no {split} clip in {clips.uri} has {needed} frames (most: {max(too_short.values())}), which the largest "
            f"of shots= and hold_out= need together: make clips with frames_per_clip={needed} or more, or ask for less"
        )
    return Choice(trials, chosen, too_short, catalog.detectors, catalog.left_out)


def sit(clips: Storage, trial: Trial, resolution: int, most_shots: int, hold_out: int, seed: int) -> Sitting:
    """The frames of a trial at `resolution`. Raises ClipsError if too few can be used."""
    clip = next((clip for clip in read_clips(clips, trial.file) if clip.clip_id == trial.clip), None)
    if clip is None:
        raise ClipsError(f"clip {trial.clip} is no longer in {join(clips.uri, trial.file)}")
    frames, points, pupils, numbers = [], [], [], []
    for number, data in enumerate(clip.frames):
        decoded = decode(data, resolution) if np.isfinite(clip.landmarks[number]).all() else None
        if decoded is None:
            continue
        picture, scale = decoded
        frames.append(picture)
        points.append(resized(clip.landmarks[number], scale))
        pupils.append(np.full((2, 2), np.nan) if clip.pupils is None else resized(clip.pupils[number], scale))
        numbers.append(number)
    if len(frames) < most_shots + hold_out:
        raise ClipsError(f"clip {trial.clip}: {len(frames)} frames can be used, {most_shots + hold_out} are needed")
    pool, held = divide(len(frames), trial.split, most_shots, hold_out, (seed, _rank(seed, trial.clip)))
    return Sitting(
        trial,
        np.stack(frames),
        np.stack(points).astype(np.float32),
        None if clip.pupils is None else np.stack(pupils).astype(np.float32),
        numbers,
        pool,
        held,
        clip.detector,
    )


def divide(
    frames: int, arrangement: Arrangement, most_shots: int, hold_out: int, seed: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Learning frames in the order in which they are taken, and hold-out frames in time.

    interleaved: hold-out frames are drawn from the whole clip, the others are to learn from. block: the first half of
    the clip is to learn from (more or less of it where one side needs more) and the hold-out frames lie evenly in the
    rest.
    """
    random = np.random.default_rng(seed)
    if arrangement == "interleaved":
        order = random.permutation(frames)
        return order[hold_out:].tolist(), np.sort(order[:hold_out]).tolist()
    border = min(max(most_shots, frames // 2), frames - hold_out)
    held = border + np.linspace(0, frames - border - 1, hold_out).round().astype(int)
    return random.permutation(border).tolist(), held.tolist()


def _listed(clips: Storage, file: str) -> list[tuple[str, str, int]]:
    """Person, clip and number of frames of each row."""
    names = ["person_id", "clip_id", "landmarks"]
    with explained(join(clips.uri, file), "read"):
        table = clips.load(file, lambda stream: pq.read_table(stream, columns=names))
    counts = pc.list_value_length(table["landmarks"])
    people, ids = table["person_id"].to_pylist(), table["clip_id"].to_pylist()
    return [(*row[:2], row[2] or 0) for row in zip(people, ids, counts.to_pylist(), strict=True)]


def _rank(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).digest(), "big")
