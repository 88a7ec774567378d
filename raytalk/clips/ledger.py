"""What a clips folder holds already: the clips written, and the material rejected with its reason."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.clips.schema import REJECTED_SCHEMA, SPLITS, Split, write_table
from raytalk.errors import ClipsError
from raytalk.storage import Storage, explained

REJECTED = "rejected"


@dataclass(frozen=True)
class Written:
    """One clip in a Parquet file; `file` is relative to the clips folder."""

    clip_id: str
    person_id: str
    split: Split
    detector: str
    file: str


@dataclass
class Ledger:
    """What was found below a clips URI."""

    clips: list[Written] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    """rows of REJECTED_SCHEMA"""

    @property
    def splits_of_people(self) -> dict[str, Split]:
        """Splits that must stay as they are: those of people with clips."""
        return {clip.person_id: clip.split for clip in self.clips}

    @property
    def detectors(self) -> set[str]:
        """Names of the detectors that made the clips: one, unless something went wrong."""
        return {clip.detector for clip in self.clips}

    @classmethod
    def read(cls, storage: Storage) -> "Ledger":
        """Read identifiers and reasons (no pictures). Raises ClipsError naming a file that is not Parquet."""
        ledger = cls()
        for split in SPLITS:
            names = ["clip_id", "person_id", "detector"]
            for file, table in _tables(storage, split, names):
                for row in table.to_pylist():
                    ledger.clips.append(Written(split=split, file=file, **row))
        for _, table in _tables(storage, REJECTED, REJECTED_SCHEMA.names):
            ledger.rejected.extend(table.to_pylist())
        written = {clip.clip_id for clip in ledger.clips}
        ledger.rejected = [row for row in ledger.rejected if row["clip_id"] not in written]
        return ledger


def drop_doubled(storage: Storage, ledger: Ledger) -> Ledger:
    """Rewrite files so that every clip is in one only: a killed run's last process may still have been writing."""
    first: dict[str, str] = {}
    doubled: dict[str, set[str]] = {}
    for clip in sorted(ledger.clips, key=lambda clip: clip.file):
        if first.setdefault(clip.clip_id, clip.file) != clip.file:
            doubled.setdefault(clip.file, set()).add(clip.clip_id)
    for file, ids in doubled.items():
        with explained(storage.uri, "read"), storage.filesystem.open_input_file(storage.path(file)) as stream:
            table = pq.read_table(stream)
        kept = table.filter(pa.array([clip_id not in ids for clip_id in table.column("clip_id").to_pylist()]))
        if kept.num_rows:
            write_table(storage, file, kept)
        else:
            storage.delete(file)
    return Ledger.read(storage) if doubled else ledger


def resolution_of(storage: Storage, ledger: Ledger) -> int | None:
    """Side of the pictures in pixels, from the first clip; None if there is none."""
    if not ledger.clips:
        return None
    file = ledger.clips[0].file
    with explained(storage.uri, "read"), storage.filesystem.open_input_file(storage.path(file)) as stream:
        batch = next(pq.ParquetFile(stream).iter_batches(batch_size=1, columns=["frames"]))
    picture = cv2.imdecode(np.frombuffer(batch.column("frames")[0].as_py()[0], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ClipsError(f"{file} in {storage.uri} holds a damaged picture: delete the file and run again")
    return int(picture.shape[0])


def _tables(storage: Storage, folder: str, columns: Sequence[str]) -> list[tuple[str, pa.Table]]:
    files = [entry.path for entry in storage.entries(folder) if entry.path.endswith(".parquet")]

    def read(file: str) -> tuple[str, pa.Table]:
        with explained(storage.uri, "read"):
            stream = storage.filesystem.open_input_file(storage.path(file))
        with stream:
            try:
                return file, pq.read_table(stream, columns=list(columns))
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                raise ClipsError(
                    f"{file} in {storage.uri} is not a whole Parquet file of clips ({str(error)[:100]}): "
                    "delete it, and run the same command again to make its clips anew"
                ) from error

    with ThreadPoolExecutor(16) as pool:
        found: list[Any] = list(pool.map(read, files))
    return found
