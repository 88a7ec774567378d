"""One clip of a clips folder, by its id."""

import difflib

import pyarrow as pa
import pyarrow.parquet as pq

from raytalk.clips.catalog import read_clips
from raytalk.clips.schema import SPLITS, Clip
from raytalk.errors import ClipsError
from raytalk.storage import Storage


def find_clip(storage: Storage, clip_id: str) -> Clip:
    """Raises ClipsError if there is none of that id, naming the nearest."""
    seen: list[str] = []
    for split in SPLITS:
        for entry in storage.entries(split):
            if not entry.path.endswith(".parquet"):
                continue
            ids = _ids(storage, entry.path)
            seen += ids
            if clip_id in ids:
                clip = read_clips(storage, entry.path)[ids.index(clip_id)]
                if not clip.frames:
                    raise ClipsError(f"clip {clip_id} of {storage.uri} has no frames")
                return clip
    if not seen:
        raise ClipsError(f"there are no clips in {storage.uri}: give the folder that jobs/preprocess.py wrote")
    near = difflib.get_close_matches(clip_id, seen, n=1) or seen[:1]
    raise ClipsError(f"there is no clip '{clip_id}' among the {len(seen)} of {storage.uri}: did you mean '{near[0]}'?")


def _ids(storage: Storage, path: str) -> list[str]:
    try:
        table = storage.load(path, lambda file: pq.read_table(file, columns=["clip_id"]))
        return [str(value) for value in table["clip_id"].to_pylist()]
    except (OSError, pa.ArrowInvalid, KeyError):
        # Not a file of clips; the one that is wanted may lie beside it.
        return []
