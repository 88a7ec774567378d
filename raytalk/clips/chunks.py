"""The unit of preprocessing work: a few videos of one split that become one Parquet file.

`AnalyseChunk` is what Ray Data runs in each of its actors.
"""

import hashlib
import json
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import pyarrow as pa

from raytalk.clips.actors import ACCEPTED, ChunkActor, Outcome, check_shared, chunk_size, file_name, raise_if_exhausted
from raytalk.clips.analyse import Limits, analyse_video
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.ledger import REJECTED
from raytalk.clips.schema import REJECTED_SCHEMA, Clip, Split, clips_to_table, write_table
from raytalk.clips.sources import Source
from raytalk.connect import StorageEnvironment
from raytalk.errors import FaceError, RaytalkError, StorageError, VideoError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.storage import Storage


@dataclass(frozen=True)
class Chunk:
    """Videos of one split, and the name of the file they go to."""

    split: Split
    sources: tuple[Source, ...]

    @property
    def file(self) -> str:
        return file_name([source.clip_id for source in self.sources])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Chunk":
        loaded = json.loads(text)
        return cls(loaded["split"], tuple(Source(**source) for source in loaded["sources"]))


def make_chunks(work: Sequence[tuple[Source, Split]], most: int, actors: int) -> list[Chunk]:
    """Group videos by split; at most `most` a chunk, fewer when that would leave actors idle.

    People are mixed within a file, so that a training batch read from few files shows many people.
    """
    size = chunk_size(len(work), most, actors)
    by_split: dict[Split, list[Source]] = {}
    for source, split in work:
        by_split.setdefault(split, []).append(source)
    chunks = []
    for split, sources in by_split.items():
        mixed = sorted(sources, key=lambda source: hashlib.sha256(source.clip_id.encode()).digest())
        chunks += [Chunk(split, tuple(mixed[start : start + size])) for start in range(0, len(mixed), size)]
    return chunks


class AnalyseChunk(ChunkActor):
    """Loads its detector once, then writes one file of clips, and one of rejections, per chunk."""

    def __init__(
        self,
        videos: str,
        clips: str,
        detector: str,
        device: str,
        limits: Limits,
        run: str,
        environment: StorageEnvironment | None = None,
    ) -> None:
        super().__init__(environment)
        self._videos, self._clips, self._name, self._device = videos, clips, detector, device
        self._limits = limits
        self._marks = CrashMarks(run)
        self._marks.remove_forgotten()
        self._detector: LandmarkDetector | None = None

    def run(self, text: str) -> list[Outcome]:
        chunk = Chunk.from_json(text)
        if self._detector is None:
            # Every core has an actor of its own.
            cv2.setNumThreads(1)
            check_shared(self._videos)
            check_shared(self._clips)
            self._detector = make_detector(self._name, self._device)
        clips: list[Clip] = []
        rejected: list[dict[str, str]] = []
        outcomes: list[Outcome] = []
        for source in chunk.sources:
            start = time.monotonic()
            result = self._attempt(source, chunk.split, self._detector)
            reason, detail, frames = ACCEPTED, "", 0
            if isinstance(result, Clip):
                clips.append(result)
                frames = len(result.frames)
            else:
                reason, detail = result
                ids = {"clip_id": source.clip_id, "video_id": source.video_id, "person_id": source.person_id}
                rejected.append({**ids, "split": chunk.split, "source": source.uri, "reason": reason, "detail": detail})
            outcomes.append(Outcome(source.clip_id, chunk.split, reason, detail, frames, time.monotonic() - start))
        storage = Storage(self._clips)
        if clips:
            write_table(storage, f"{chunk.split}/{chunk.file}", clips_to_table(clips))
        if rejected:
            write_table(storage, f"{REJECTED}/{chunk.file}", pa.Table.from_pylist(rejected, schema=REJECTED_SCHEMA))
        return outcomes

    def _attempt(self, source: Source, split: Split, detector: LandmarkDetector) -> Clip | tuple[str, str]:
        """The clip, or the reason and detail of its rejection."""
        if not self._marks.enter(source.clip_id):
            return "error", "the detector process crashed on this video, twice"
        try:
            return self._analyse(source, split, detector)
        except FaceError as error:
            return error.reason, str(error)
        except VideoError as error:
            return "unreadable", str(error)
        except RaytalkError:
            raise
        except Exception as error:  # noqa: BLE001  one odd video must not end a run over a million
            raise_if_exhausted(error)
            return "error", traceback.format_exception_only(error)[-1].strip()
        finally:
            self._marks.leave(source.clip_id)

    def _analyse(self, source: Source, split: Split, detector: LandmarkDetector) -> Clip:
        with tempfile.TemporaryDirectory(prefix="raytalk-") as folder:
            try:
                path = Storage(self._videos).fetch_file(source.path, Path(folder))
            except StorageError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    raise VideoError(f"{source.uri} is gone") from error
                raise
            return analyse_video(path, source, split, detector, self._limits)
