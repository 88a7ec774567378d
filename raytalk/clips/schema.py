"""The unit of data: one clip of one person, a row of a Parquet file.

Layout below a clips URI: `train/`, `val/` and `test/` hold Parquet files of clips of that split alone; `rejected/`
holds one row per piece of material that could not be used, with the reason.
"""

import io
import math
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
        ("pupils", pa.list_(pa.list_(pa.list_(pa.float32(), 2), 2))),
        ("gaze", pa.list_(pa.list_(pa.float32(), 2))),
    ]
)

RENDERED = "rendered"
"""the `detector` of rendered people, whose landmarks nothing had to detect"""

_OPTIONAL = ("pupils", "gaze")
"""null where nobody knows; files of older versions lack these columns"""

REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("clip_id", "video_id", "person_id", "split", "source", "reason", "detail")]
)


def takes_landmarks_of(own: str, detector: str) -> bool:
    """Whether a model learned on landmarks by `own` takes those by `detector`.

    Nobody had to find those of rendered people: a model of them has no detector of its own, and takes any.
    """
    return own in (detector, RENDERED)


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
    """URI of the video it came from, or what was rendered"""
    pupils: npt.NDArray[np.float32] | None = None
    """[n, 2, 2] x and y of the centres of the pupils in pixels of the picture: of the eye at landmarks 36 to 41, then
    of the one at 42 to 47 (counted from 0); None for detected landmarks"""
    gaze: npt.NDArray[np.float32] | None = None
    """[n, 2] yaw and pitch of where the eyes look, in radians from the axis of the camera: 0, 0 into the camera, yaw
    positive towards the right side of the picture, pitch positive upwards; None if unknown"""


def clips_to_table(clips: list[Clip]) -> pa.Table:
    """Rows in the order given. Raises ClipsError if frames and landmarks, pupils or gaze do not match."""
    columns: dict[str, list[Any]] = {field.name: [] for field in CLIP_SCHEMA}
    for clip in clips:
        shapes = _shapes(len(clip.frames))
        for name, column in columns.items():
            value = getattr(clip, name)
            if name in shapes and value is not None:
                if value.shape != shapes[name]:
                    raise ClipsError(f"clip {clip.clip_id}: {len(clip.frames)} frames, {name} {value.shape}")
                value = value.tolist()
            column.append(value)
    return pa.table(columns, schema=CLIP_SCHEMA)


def table_to_clips(table: pa.Table) -> list[Clip]:
    """The inverse of `clips_to_table`; columns that older versions did not write may be missing.

    Raises ClipsError for null or broken frames or numbers.
    """
    present = [name for name in CLIP_SCHEMA.names if name in table.column_names or name not in _OPTIONAL]
    clips = []
    for index in range(table.num_rows):
        row: dict[str, Any] = {name: table.column(name)[index] for name in present}
        clip_id, frames = row["clip_id"].as_py(), row["frames"].as_py()
        if frames is None or None in frames or not row["landmarks"].is_valid:
            raise ClipsError(f"clip {clip_id}: frames or landmarks are missing")
        shapes = _shapes(len(frames))
        values: dict[str, Any] = {
            name: _array(value, shapes[name], f"clip {clip_id}: {name}") if name in shapes else value.as_py()
            for name, value in row.items()
        }
        clips.append(Clip(**values))
    return clips


def read_table(file: Any) -> pa.Table:
    """The columns of clips that an open Parquet file has; raises what pyarrow raises for a damaged one."""
    return pq.ParquetFile(file, pre_buffer=True).read(columns=CLIP_SCHEMA.names)


def _shapes(frames: int) -> dict[str, tuple[int, ...]]:
    """What the columns of numbers must look like in a clip of so many frames."""
    return {"landmarks": (frames, 68, 2), "pupils": (frames, 2, 2), "gaze": (frames, 2)}


def _array(value: pa.Scalar, shape: tuple[int, ...], what: str) -> npt.NDArray[np.float32] | None:
    """Nested lists as a float32 array; None for null."""
    if not value.is_valid:
        return None
    numbers = value.values
    for _ in shape[1:]:
        numbers = numbers.flatten()
    if len(numbers) != math.prod(shape):
        raise ClipsError(f"{what} has {len(numbers)} numbers, {math.prod(shape)} are needed")
    return np.array(numbers.to_numpy(zero_copy_only=False), np.float32).reshape(shape)


def write_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Write one Parquet file, atomically. Pictures are compressed already; the rest is small: no compression."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", row_group_size=16)
    storage.write(path, buffer.getvalue())
