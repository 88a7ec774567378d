"""What a clips folder holds already: the clips written, and the material rejected with its reason."""

import uuid
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.clips.schema import REJECTED_SCHEMA, SPLITS, Split, write_table
from raytalk.errors import ClipsError
from raytalk.storage import Storage

REJECTED = "rejected"

_DAMAGED = (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowTypeError, pa.ArrowNotImplementedError)


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
    left_out: dict[str, str] = field(default_factory=dict)
    """damaged files, relative to the clips folder, and why"""

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
        """Read identifiers and reasons (no pictures). Damaged files are left out and named in `left_out`.

        Raises StorageError if a file cannot be read at all.
        """
        ledger = cls()
        for split in SPLITS:
            names = ["clip_id", "person_id", "detector"]
            for file, table in _tables(storage, split, names, ledger.left_out):
                for row in table.to_pylist():
                    ledger.clips.append(Written(split=split, file=file, **row))
        written = {clip.clip_id for clip in ledger.clips}
        # One row a video: a killed run may have left two.
        rejected: dict[str, dict[str, str]] = {}
        for _, table in _tables(storage, REJECTED, REJECTED_SCHEMA.names, ledger.left_out):
            rejected |= {row["clip_id"]: row for row in table.to_pylist() if row["clip_id"] not in written}
        ledger.rejected = list(rejected.values())
        return ledger


def drop_doubled(storage: Storage, ledger: Ledger) -> Ledger:
    """Rewrite files so that every clip is in one only: a killed run's last process may still have been writing."""
    first: dict[str, str] = {}
    doubled: dict[str, set[str]] = {}
    for clip in sorted(ledger.clips, key=lambda clip: clip.file):
        if first.setdefault(clip.clip_id, clip.file) != clip.file:
            doubled.setdefault(clip.file, set()).add(clip.clip_id)
    for file, ids in doubled.items():
        table = storage.load(file, pq.read_table)
        kept = table.filter(pa.array([clip_id not in ids for clip_id in table.column("clip_id").to_pylist()]))
        if kept.num_rows:
            write_table(storage, file, kept)
        else:
            storage.delete(file)
    return Ledger.read(storage) if doubled else ledger


def forget_rejected(storage: Storage, ledger: Ledger, clip_ids: Set[str]) -> None:
    """Drop the rejections of these clips. All others are written into one file before the old files go."""
    kept = [row for row in ledger.rejected if row["clip_id"] not in clip_ids]
    if len(kept) == len(ledger.rejected):
        return
    old = [entry.path for entry in storage.entries(REJECTED) if entry.path.endswith(".parquet")]
    if kept:
        name = f"{REJECTED}/kept-{uuid.uuid4().hex[:16]}.parquet"
        write_table(storage, name, pa.Table.from_pylist(kept, schema=REJECTED_SCHEMA))
    for file in old:
        if file not in ledger.left_out:
            storage.delete(file)
    ledger.rejected = kept


def resolution_of(storage: Storage, ledger: Ledger) -> int | None:
    """Side of the pictures in pixels, from the first clip; None if there is none."""
    if not ledger.clips:
        return None
    file = ledger.clips[0].file
    batch = storage.load(file, lambda stream: next(pq.ParquetFile(stream).iter_batches(1, columns=["frames"])))
    picture = cv2.imdecode(np.frombuffer(batch.column("frames")[0].as_py()[0], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ClipsError(f"{file} in {storage.uri} holds a damaged picture: delete the file and run again")
    return int(picture.shape[0])


def _tables(
    storage: Storage, folder: str, columns: Sequence[str], left_out: dict[str, str]
) -> list[tuple[str, pa.Table]]:
    """The tables of a folder by file; damaged files go to `left_out` instead."""
    files = [entry.path for entry in storage.entries(folder) if entry.path.endswith(".parquet")]
    with ThreadPoolExecutor(16) as pool:
        read = list(pool.map(lambda file: _table(storage, file, columns), files))
    found = []
    for file, table in zip(files, read, strict=True):
        if isinstance(table, str):
            left_out[file] = table
        else:
            found.append((file, table))
    return found


def _table(storage: Storage, file: str, columns: Sequence[str]) -> Any:
    """A pa.Table, or a str that says why the file is damaged."""
    try:
        return storage.load(file, lambda stream: pq.read_table(stream, columns=list(columns)))
    except (OSError, *_DAMAGED) as error:
        return _why(error)


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
