"""What lies in a clips folder: which files, videos and people, without reading the pictures.

Broken files are left out and named.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.clips.schema import Clip, Split, read_table, table_to_clips
from raytalk.errors import ClipsError
from raytalk.storage import Storage

_IDENTITIES = pa.schema([("video_id", pa.string()), ("person_id", pa.string()), ("detector", pa.string())])


@dataclass(frozen=True)
class Catalog:
    """What lies in the Parquet files of one split, from their footers and small columns."""

    uri: str
    """of the clips"""
    files: list[str]
    """paths below it, sorted"""
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

    @property
    def detector(self) -> str:
        """The landmark detector of all clips. Raises ClipsError if there are several."""
        if len(self.detectors) > 1:
            raise ClipsError(
                f"{self.uri} mixes landmark detectors ({', '.join(self.detectors)}): drawings would not be alike; "
                "preprocess everything with one"
            )
        return self.detectors[0]


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
        uri=storage.uri,
        files=[path for path, _ in good],
        counts=[table.num_rows for _, table in good],
        videos=sorted(set(merged["video_id"].to_pylist())),
        people=len(set(merged["person_id"].to_pylist())),
        detectors=sorted(set(merged["detector"].to_pylist())),
        left_out=broken,
    )


def read_clips(storage: Storage, path: str) -> list[Clip]:
    """All clips of one file. Raises ClipsError if it is not a file of clips."""
    try:
        return storage.load(path, lambda file: table_to_clips(read_table(file)))
    except (ClipsError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # Missing columns and nulls where there must be none end here as well.
        raise ClipsError(f"{path} is not a readable file of clips: {str(error)[:200]}") from None


def _identities(storage: Storage, path: str) -> pa.Table | str:
    if not storage.is_file(path):
        return "not a file"
    names = _IDENTITIES.names
    try:
        table = storage.load(path, lambda file: pq.read_table(file, columns=names).select(names))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        return " ".join(str(error).split())[:200]
    text = (pa.types.is_string, pa.types.is_large_string)
    other = [field.name for field in table.schema if not any(test(field.type) for test in text)]
    if other:
        return f"{', '.join(other)} must be strings"
    empty = [name for name in _IDENTITIES.names if table[name].null_count]
    return f"{', '.join(empty)} is missing in some rows" if empty else table.cast(_IDENTITIES)
