"""The unit of data: one clip of one person, a row of a Parquet file.

Layout below a clips URI: `train/`, `val/` and `test/` hold Parquet files of clips of that split alone; `rejected/`
holds one row per piece of material that could not be used, with the reason.
"""

import io
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.errors import ClipsError
from raytalk.storage import Storage

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

CLIP_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("person_id", pa.string()),
        ("split", pa.string()),
        ("fps", pa.float32()),
        ("detector", pa.string()),
        ("frames", pa.list_(pa.binary())),
        ("landmarks", pa.list_(pa.list_(pa.list_(pa.float32(), 2), 68))),
        ("source", pa.string()),
    ]
)

REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("clip_id", "video_id", "person_id", "split", "source", "reason", "detail")]
)


@dataclass(frozen=True)
class Clip:
    """One clip of one person."""

    clip_id: str
    video_id: str
    person_id: str
    split: Split
    fps: float
    """frames per second of the kept frames, on average; 0 if unknown"""
    detector: str
    """name of the landmark detector (`raytalk.faces.detect`) or renderer"""
    frames: list[bytes]
    """n square JPEG pictures of one size"""
    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2] x and y in pixels of the picture"""
    source: str
    """URI of the video it came from"""


def clips_to_table(clips: list[Clip]) -> pa.Table:
    """Rows in the order given. Raises ClipsError if frames and landmarks do not match."""
    columns: dict[str, list[Any]] = {field.name: [] for field in CLIP_SCHEMA}
    for clip in clips:
        if clip.landmarks.shape != (len(clip.frames), 68, 2):
            raise ClipsError(f"clip {clip.clip_id}: {len(clip.frames)} frames, landmarks {clip.landmarks.shape}")
        for name, column in columns.items():
            value = getattr(clip, name)
            column.append(value.tolist() if name == "landmarks" else value)
    return pa.table(columns, schema=CLIP_SCHEMA)


def table_to_clips(table: pa.Table) -> list[Clip]:
    """The inverse of `clips_to_table`."""
    clips = []
    for index in range(table.num_rows):
        row = {name: table.column(name)[index] for name in CLIP_SCHEMA.names}
        frames = row["frames"].as_py()
        if frames is None or None in frames or not row["landmarks"].is_valid:
            raise ClipsError(f"clip {row['clip_id'].as_py()}: frames or landmarks are missing")
        points = row["landmarks"].values.flatten().flatten().to_numpy(zero_copy_only=False)
        clips.append(
            Clip(
                **{name: row[name].as_py() for name in CLIP_SCHEMA.names if name not in ("frames", "landmarks")},
                frames=frames,
                landmarks=points.astype(np.float32).reshape(len(frames), 68, 2),
            )
        )
    return clips


def write_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Write one Parquet file, atomically. Pictures are compressed already; the rest is small: no compression."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", row_group_size=16)
    storage.write(path, buffer.getvalue())
