"""The unit of rendering work: a few clips of one split that become one Parquet file.

`ShootReel` is what Ray Data runs in each of its actors; the renderer itself is `raytalk.clips.heads`.
"""

import hashlib
import json
import socket
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from raytalk.clips.actors import ACCEPTED, ChunkActor, Outcome, check_shared, chunk_size, file_name, raise_if_exhausted
from raytalk.clips.analyse import encode_jpeg
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.schema import RENDERED, Clip, Split, clips_to_table, write_table
from raytalk.connect import StorageEnvironment
from raytalk.errors import RaytalkError, SettingsError
from raytalk.storage import Storage

if TYPE_CHECKING:
    from raytalk.clips.heads.studio import Order, Shot, Studio

_PEOPLE_PER_FILE = 2
"""at least, where a file has room"""


@dataclass(frozen=True)
class Shooting:
    """What all clips of a run have in common."""

    frames: int
    seconds: float
    resolution: int


@dataclass(frozen=True)
class Take:
    """One clip to render."""

    seed: int
    person: int
    clip: int
    """of this person"""

    @property
    def person_id(self) -> str:
        return f"rendered-{self.seed}-{self.person:06d}"

    @property
    def video_id(self) -> str:
        return f"{self.person_id}/{self.clip:03d}"

    @property
    def clip_id(self) -> str:
        return f"{self.video_id}/0000"

    @property
    def source(self) -> str:
        return f"rendered:seed={self.seed},person={self.person},clip={self.clip}"

    def order(self, like: Shooting) -> "Order":
        """What the renderer is told."""
        from raytalk.clips.heads.studio import Order

        return Order(self.seed, self.person, self.clip, like.frames, like.seconds, like.resolution)


@dataclass(frozen=True)
class Reel:
    """Takes of one split, and the name of the file they go to."""

    split: Split
    takes: tuple[Take, ...]

    @property
    def file(self) -> str:
        return file_name([take.clip_id for take in self.takes])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Reel":
        loaded = json.loads(text)
        return cls(loaded["split"], tuple(Take(**take) for take in loaded["takes"]))


def make_reels(work: Iterable[tuple[Take, Split]], most: int, actors: int) -> list[Reel]:
    """Group takes by split; at most `most` a reel, fewer when that would leave actors idle.

    A person's takes stay together, because a person costs time before their first frame; but people are mixed within a
    file, so that a training batch read from few files shows many.
    """
    by_person: dict[tuple[Split, str], list[Take]] = {}
    for take, split in work:
        by_person.setdefault((split, take.person_id), []).append(take)
    size = chunk_size(sum(map(len, by_person.values())), most, actors)
    most_in_row = max(1, size // _PEOPLE_PER_FILE)
    rows: dict[Split, list[Sequence[Take]]] = {}
    for (split, _), takes in by_person.items():
        rows.setdefault(split, []).extend(
            takes[start : start + most_in_row] for start in range(0, len(takes), most_in_row)
        )
    reels = []
    for split, of_split in rows.items():
        reel: list[Take] = []
        for row in sorted(of_split, key=lambda row: hashlib.sha256(row[0].clip_id.encode()).digest()):
            if len(reel) + len(row) > size:
                reels.append(Reel(split, tuple(reel)))
                reel = []
            reel += row
        reels.append(Reel(split, tuple(reel)))
    return reels


class ShootReel(ChunkActor):
    """Opens its studio once, then writes one file of clips per reel.

    anatomy: what `raytalk.clips.heads.anatomy.load_anatomy` gives, or where that lies in Ray's object store; device:
    torch's name; run: see CrashMarks. A clip that cannot be rendered stops the job: the renderer is deterministic, so
    that another attempt, or another machine, would fail as well.
    """

    def __init__(
        self,
        clips: str,
        anatomy: Any,
        device: str,
        shooting: Shooting,
        run: str,
        environment: StorageEnvironment | None = None,
    ) -> None:
        super().__init__(environment)
        self._clips, self._anatomy, self._device, self._shooting = clips, anatomy, device, shooting
        self._marks = CrashMarks(run)
        self._marks.remove_forgotten()
        self._studio: Studio | None = None

    def run(self, text: str) -> list[Outcome]:
        if self._studio is None:
            self._studio = self._open()
        reel = Reel.from_json(text)
        clips: list[Clip] = []
        outcomes: list[Outcome] = []
        for take in reel.takes:
            start = time.monotonic()
            clips.append(self._render(self._studio, take, reel.split))
            seconds = time.monotonic() - start
            outcomes.append(Outcome(take.clip_id, reel.split, ACCEPTED, "", self._shooting.frames, seconds))
        write_table(Storage(self._clips), f"{reel.split}/{reel.file}", clips_to_table(clips))
        return outcomes

    def _render(self, studio: "Studio", take: Take, split: Split) -> Clip:
        """Raises RaytalkError naming the take if the renderer fails, or has killed its process twice."""
        if not self._marks.enter(take.clip_id):
            raise RaytalkError(
                f"the process that rendered {take.clip_id} died, twice, of a crash or for want of memory "
                f"({take}, {self._shooting})"
            )
        try:
            shot = self._shoot(studio, take)
        except RaytalkError:
            raise
        except Exception as error:
            raise_if_exhausted(error)
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise RaytalkError(
                f"rendering {take.clip_id} failed: {traceback.format_exception_only(error)[-1].strip()} "
                f"({Path(place.filename).name}:{place.lineno}; {take}, {self._shooting})"
            ) from error
        finally:
            self._marks.leave(take.clip_id)
        return Clip(
            clip_id=take.clip_id,
            video_id=take.video_id,
            person_id=take.person_id,
            split=split,
            fps=shot.fps,
            detector=RENDERED,
            frames=[encode_jpeg(picture) for picture in shot.pictures],
            landmarks=shot.landmarks,
            source=take.source,
            pupils=shot.pupils,
            gaze=shot.gaze,
        )

    def _open(self) -> "Studio":
        import ray
        import torch

        try:
            import anny  # noqa: F401

            from raytalk.clips.heads.studio import Studio
        except ImportError as error:
            raise SettingsError(
                f"the machine {socket.gethostname()} lacks what renders people: pip install anny ({error})"
            ) from error
        # Every core has an actor of its own.
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        check_shared(self._clips)
        anatomy = ray.get(self._anatomy) if isinstance(self._anatomy, ray.ObjectRef) else self._anatomy
        try:
            return Studio(anatomy, self._device)
        except Exception as error:
            raise_if_exhausted(error)
            raise RaytalkError(
                f"the renderer cannot start on {socket.gethostname()} with device={self._device}: "
                f"{traceback.format_exception_only(error)[-1].strip()}"
            ) from error

    def _shoot(self, studio: "Studio", take: Take) -> "Shot":
        like = self._shooting
        shot = studio.shoot(take.order(like))
        wanted = {
            "pictures": (like.frames, like.resolution, like.resolution, 3),
            "landmarks": (like.frames, 68, 2),
            "pupils": (like.frames, 2, 2),
            "gaze": (like.frames, 2),
        }
        for name, shape in wanted.items():
            array = getattr(shot, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name} must be {shape} finite numbers, not {array.shape}")
        return shot
