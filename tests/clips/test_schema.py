"""Clips as rows of Parquet files."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy import toy_clip

from raytalk.clips.schema import (
    CLIP_SCHEMA,
    RENDERED,
    Clip,
    clips_to_table,
    read_table,
    table_to_clips,
    takes_landmarks_of,
    write_table,
)
from raytalk.errors import ClipsError
from raytalk.storage import Storage


def same(ours: Clip, theirs: Clip) -> bool:
    pairs = [(getattr(ours, field.name), getattr(theirs, field.name)) for field in dataclasses.fields(Clip)]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    clips = [toy_clip(0, frames=3), toy_clip(1, frames=5, split="val"), dataclasses.replace(toy_clip(2), fps=29.97)]
    storage = Storage(str(tmp_path))
    write_table(storage, "train/part.parquet", clips_to_table(clips))
    table = pq.read_table(tmp_path / "train" / "part.parquet")
    assert table.schema.equals(CLIP_SCHEMA)
    back = table_to_clips(table)
    assert [clip.clip_id for clip in back] == [clip.clip_id for clip in clips]
    assert same(back[0], clips[0])
    assert same(back[1], clips[1])
    assert back[2].fps == pytest.approx(29.97, abs=1e-5)
    assert back[0].landmarks.dtype == np.float32
    assert back[0].landmarks.shape == (3, 68, 2)


def test_a_slice_of_a_table_gives_its_own_landmarks() -> None:
    clips = [toy_clip(person, frames=2 + person) for person in range(3)]
    (back,) = table_to_clips(clips_to_table(clips).slice(1, 1))
    assert same(back, clips[1])


def test_nan_landmarks_survive_as_nan() -> None:
    clip = toy_clip(0, frames=2)
    clip.landmarks[1, 5] = np.nan
    (back,) = table_to_clips(clips_to_table([clip]))
    np.testing.assert_array_equal(back.landmarks, clip.landmarks)


def test_frames_and_landmarks_must_match() -> None:
    clip = dataclasses.replace(toy_clip(0), landmarks=np.zeros((3, 68, 2), np.float32))
    with pytest.raises(ClipsError, match="person0/video0/0: 16 frames, landmarks"):
        clips_to_table([clip])


def seeing(clip: Clip) -> Clip:
    random = np.random.default_rng(0)
    n = len(clip.frames)
    pupils, gaze = random.uniform(0, 64, (n, 2, 2)), random.uniform(-0.5, 0.5, (n, 2))
    return dataclasses.replace(clip, pupils=pupils.astype(np.float32), gaze=gaze.astype(np.float32))


def test_pupils_and_gaze_are_kept_and_stay_unknown_where_they_are() -> None:
    clips = [toy_clip(0, frames=3), seeing(toy_clip(1, frames=5)), seeing(toy_clip(2, frames=2))]
    table = clips_to_table(clips)
    back = table_to_clips(table)
    assert all(same(ours, theirs) for ours, theirs in zip(back, clips, strict=True))
    assert (back[0].pupils, back[0].gaze) == (None, None)
    assert back[1].pupils is not None
    assert back[1].gaze is not None
    assert (back[1].pupils.dtype, back[1].gaze.dtype) == (np.float32, np.float32)
    assert same(table_to_clips(table.slice(2, 1))[0], clips[2])


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    storage, clips = Storage(str(tmp_path)), [toy_clip(0, frames=3), toy_clip(1, frames=2)]
    write_table(storage, "train/old.parquet", clips_to_table(clips).drop_columns(["pupils", "gaze"]))
    with storage.filesystem.open_input_file(storage.path("train/old.parquet")) as file:
        table = read_table(file)
    assert table.column_names == CLIP_SCHEMA.names[:9]
    assert all(same(ours, theirs) for ours, theirs in zip(table_to_clips(table), clips, strict=True))
    assert same(table_to_clips(clips_to_table(clips).drop_columns(["gaze"]))[0], clips[0])


@pytest.mark.parametrize("name", ["landmarks", "pupils", "gaze"])
def test_numbers_for_fewer_frames_are_refused_on_reading(name: str) -> None:
    clip = seeing(toy_clip(0, frames=4))
    table = clips_to_table([clip])
    short = pa.array([getattr(clip, name)[:3].tolist()], table.schema.field(name).type)
    spoilt = table.set_column(table.column_names.index(name), table.schema.field(name), short)
    with pytest.raises(ClipsError, match=f"person0/video0/0: {name} has "):
        table_to_clips(spoilt)


@pytest.mark.parametrize(("name", "shape"), [("pupils", (16, 2)), ("gaze", (15, 2))])
def test_pupils_and_gaze_must_match_the_frames(name: str, shape: tuple[int, ...]) -> None:
    clip = dataclasses.replace(toy_clip(0), **{name: np.zeros(shape, np.float32)})
    with pytest.raises(ClipsError, match=f"person0/video0/0: 16 frames, {name}"):
        clips_to_table([clip])


def test_pictures_are_not_compressed_twice() -> None:
    buffer = io.BytesIO()

    class Kept(Storage):
        def write(self, path: str, data: bytes | pa.Buffer) -> None:
            buffer.write(data)

    write_table(Kept("/nowhere"), "x", clips_to_table([toy_clip(0)]))
    column = pq.ParquetFile(io.BytesIO(buffer.getvalue())).metadata.row_group(0).column(6)
    assert column.path_in_schema.startswith("frames")
    assert column.compression == "UNCOMPRESSED"


def test_a_model_of_rendered_people_takes_any_landmarks_and_others_only_their_own() -> None:
    assert takes_landmarks_of(RENDERED, "dlib")
    assert takes_landmarks_of("dlib", "dlib")
    assert not takes_landmarks_of("dlib", "face-alignment")
    assert not takes_landmarks_of("dlib", RENDERED)
