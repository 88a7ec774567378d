"""Episodes: what is drawn, in which order, and what happens to broken material."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy import toy_clip, with_pupils, write_toy_clips

from raytalk.clips.catalog import Catalog, read_clips, scan
from raytalk.clips.episodes import Episode, Plan, decode, decode_and_draw, draw_window
from raytalk.clips.schema import Clip, Split, clips_to_table, write_table
from raytalk.errors import ClipsError, StorageError
from raytalk.faces.draw import draw_landmarks
from raytalk.storage import Storage

SIZE = 64


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def marked_clip(person: int, frames: int = 6, split: Split = "train") -> Clip:
    """Frame number i is a grey of 8 + 16 i, so that a drawn picture tells which frame it is."""
    pictures = [np.full((SIZE, SIZE, 3), 8 + 16 * index, np.uint8) for index in range(frames)]
    return dataclasses.replace(toy_clip(person, frames, SIZE, split), frames=[jpeg(picture) for picture in pictures])


def which(picture: npt.NDArray[np.uint8]) -> int:
    return round((float(picture.mean()) - 8) / 16)


def put(storage: Storage, clips: list[Clip], per_file: int = 2) -> None:
    for start in range(0, len(clips), per_file):
        write_table(storage, f"train/part-{start:03d}.parquet", clips_to_table(clips[start : start + per_file]))


def plan_of(catalog: Catalog, seed: int = 0, shuffle_files: int = 2) -> Plan:
    return Plan(tuple(catalog.files), tuple(catalog.counts), seed, shuffle_files)


def draw(
    storage: Storage,
    plan: Plan,
    windows: range,
    start: int = 0,
    shots: int = 3,
    said: list[str] | None = None,
    pupils: float = 0.0,
) -> list[Episode]:
    say = (said if said is not None else []).append
    return [
        episode
        for index in windows
        for episode in draw_window(storage, plan, index, shots, SIZE, start=start, pupils=pupils, say=say)
    ]


def essence(episodes: list[Episode]) -> list[tuple[int, str, bytes, bytes]]:
    return [(e.number, e.video, e.frames.tobytes(), e.drawings.tobytes()) for e in episodes]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Nine clips in five files."""
    storage = Storage(str(tmp_path / "clips"))
    put(storage, [marked_clip(person) for person in range(9)])
    return storage


@pytest.fixture
def plan(storage: Storage) -> Plan:
    return plan_of(scan(storage, "train"))


def test_catalog(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clips = [toy_clip(0), toy_clip(0, video=1), toy_clip(1), toy_clip(10)]
    again = dataclasses.replace(toy_clip(0), clip_id="person0/video0/1", detector="other")
    put(storage, [*clips, again], per_file=3)
    write_toy_clips(str(tmp_path), people=0, held_out=2)
    (tmp_path / "train" / "notes.txt").write_text("not clips")
    catalog = scan(storage, "train")
    assert catalog.files == ["train/part-000.parquet", "train/part-003.parquet"]
    assert (catalog.counts, catalog.clips) == ([3, 2], 5)
    assert catalog.videos == ["person0/video0", "person0/video1", "person1/video0", "person10/video0"]
    assert catalog.people == 3
    assert catalog.detectors == ["dlib", "other"]
    assert catalog.left_out == []
    assert scan(storage, "val").people == 2


def test_no_clips_at_all(tmp_path: Path) -> None:
    with pytest.raises(ClipsError, match=f"no train clips in {tmp_path}/none; make some with jobs/preprocess.py"):
        scan(Storage(f"{tmp_path}/none"), "train")


@pytest.mark.s3
def test_a_wrong_bucket_is_named(s3_server: str) -> None:
    with pytest.raises((StorageError, ClipsError), match="no such bucket"):
        scan(Storage("s3://no-such-bucket-of-raytalk/clips"), "train")


@pytest.mark.s3
def test_the_same_episodes_from_a_bucket(s3_server: str, storage: Storage, plan: Plan) -> None:
    there = Storage(s3_server + "/clips")
    put(there, [marked_clip(person) for person in range(9)])
    assert dataclasses.replace(scan(there, "train"), uri=storage.uri) == scan(storage, "train")
    assert essence(draw(there, plan, range(1))) == essence(draw(storage, plan, range(1)))


def test_files_of_older_versions_lie_beside_new_ones(storage: Storage, plan: Plan) -> None:
    """They lack the columns `pupils` and `gaze`."""
    assert storage.local_root
    before = essence(draw(storage, plan, range(3)))
    old = storage.local_root / plan.files[1]
    table = pq.read_table(old)
    pq.write_table(table.drop_columns(["pupils", "gaze"]), old)
    assert pq.read_schema(old).names != table.schema.names
    assert scan(storage, "train").files == list(plan.files)
    assert essence(draw(storage, plan, range(3))) == before


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def no_rows(path: Path) -> None:
    pq.write_table(clips_to_table([]), path)


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), path)


def other_types(path: Path) -> None:
    pq.write_table(pa.table({"video_id": [1], "person_id": [2], "detector": [3]}), path)


def null_names(path: Path) -> None:
    table = clips_to_table([toy_clip(0)])
    pq.write_table(table.set_column(1, "video_id", pa.array([None], pa.string())), path)


def folder_of_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil", [zero_bytes, truncated, no_rows, other_columns, other_types, null_names, folder_of_that_name]
)
def test_a_broken_shard_is_left_out_and_named(storage: Storage, spoil: Callable[[Path], None]) -> None:
    assert storage.local_root
    whole = scan(storage, "train")
    spoil(storage.local_root / whole.files[1])
    catalog = scan(storage, "train")
    assert catalog.files == [file for file in whole.files if file != whole.files[1]]
    assert len(catalog.left_out) == 1
    assert catalog.left_out[0].startswith(f"{whole.files[1]}: ")


def test_nothing_but_broken_shards(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.parquet").write_bytes(b"")
    with pytest.raises(ClipsError, match=r"no train clips in .*train/a\.parquet"):
        scan(Storage(str(tmp_path)), "train")


def test_large_strings_of_other_writers_are_read(storage: Storage) -> None:
    """polars and pandas write large_string."""
    assert storage.local_root
    path = storage.local_root / "train" / "part-000.parquet"
    table = clips_to_table([toy_clip(20), toy_clip(21)])
    pq.write_table(table.set_column(1, "video_id", table["video_id"].cast(pa.large_string())), path)
    catalog = scan(storage, "train")
    assert "person20/video0" in catalog.videos


def test_an_epoch_shows_each_clip_once(storage: Storage, plan: Plan) -> None:
    assert (plan.episodes_per_epoch, plan.windows_per_epoch) == (9, 3)
    epochs = [draw(storage, plan, range(3 * epoch, 3 * epoch + 3)) for epoch in range(3)]
    for epoch, episodes in enumerate(epochs):
        assert [episode.number for episode in episodes] == list(range(9 * epoch, 9 * epoch + 9))
        assert sorted(episode.video for episode in episodes) == sorted(f"person{n}/video0" for n in range(9))
    orders = [[episode.video for episode in episodes] for episodes in epochs]
    assert orders[0] != orders[1] != orders[2]


def test_the_clips_of_a_window_are_mixed(storage: Storage) -> None:
    plan = plan_of(scan(storage, "train"), shuffle_files=5)
    by_file = [f"person{n}/video0" for position in plan.window(0).counts for n in range(position)]
    orders = {tuple(e.video for e in draw(storage, plan, range(epoch, epoch + 1))) for epoch in range(4)}
    assert len(orders) == 4
    assert all(list(order) != by_file for order in orders)


@pytest.mark.parametrize(("frames", "shots"), [(6, 3), (6, 5), (2, 3), (3, 8)])
def test_the_target_is_never_a_source(tmp_path: Path, frames: int, shots: int) -> None:
    storage = Storage(str(tmp_path))
    put(storage, [marked_clip(0, frames)])
    plan = plan_of(scan(storage, "train"))
    targets = set()
    for episode in draw(storage, plan, range(40), shots=shots):
        target, *sources = [which(picture) for picture in episode.frames]
        assert len(sources) == shots
        assert target not in sources
        distinct = min(shots, frames - 1)
        assert len(set(sources)) == distinct, "sources repeat only when there are too few frames"
        targets.add(target)
    assert targets == set(range(frames)), "every frame is a target sooner or later"


def test_frames_come_with_their_own_drawings(storage: Storage, plan: Plan) -> None:
    clips = {f"person{n}/video0": marked_clip(n) for n in range(9)}
    for episode in draw(storage, plan, range(3)):
        assert episode.frames.shape == episode.drawings.shape == (4, SIZE, SIZE, 3)
        assert episode.frames.dtype == np.uint8
        assert episode.faults == 0
        for picture, drawing in zip(episode.frames, episode.drawings, strict=True):
            landmarks = clips[episode.video].landmarks[which(picture)]
            np.testing.assert_array_equal(drawing, draw_landmarks(landmarks, SIZE))


@pytest.fixture
def knowing(tmp_path: Path) -> Storage:
    """As `storage`, but that eight of the clips know their pupils."""
    storage = Storage(str(tmp_path / "knowing"))
    put(storage, [*(with_pupils(marked_clip(person)) for person in range(8)), marked_clip(8)])
    return storage


def test_drawings_carry_the_pupils_of_their_own_frames_where_the_clip_knows_them(knowing: Storage, plan: Plan) -> None:
    clips = {f"person{n}/video0": with_pupils(marked_clip(n)) for n in range(8)} | {"person8/video0": marked_clip(8)}
    for share in (0.0, 1.0):
        for episode in draw(knowing, plan, range(6), pupils=share):
            clip = clips[episode.video]
            for picture, drawing in zip(episode.frames, episode.drawings, strict=True):
                index = which(picture)
                pupils = None if clip.pupils is None or not share else clip.pupils[index]
                np.testing.assert_array_equal(drawing, draw_landmarks(clip.landmarks[index], SIZE, pupils))


def test_a_share_of_the_episodes_carries_pupils_and_nothing_else_changes(knowing: Storage, plan: Plan) -> None:
    never, always = (draw(knowing, plan, range(90), pupils=share) for share in (0.0, 1.0))
    some, more = (draw(knowing, plan, range(90), pupils=share) for share in (0.3, 0.6))
    counts = np.zeros(2, int)
    for episodes in zip(never, some, more, always, strict=True):
        assert len({(e.number, e.video, e.frames.tobytes()) for e in episodes}) == 1, "the same frames for every share"
        without, *drawn, carried = (e.drawings.tobytes() for e in episodes)
        assert set(drawn) <= {without, carried}, "all frames of an episode or none"
        if episodes[0].video == "person8/video0":
            assert without == carried
        else:
            counts += [drawing == carried for drawing in drawn]
    np.testing.assert_allclose(counts / 240, (0.3, 0.6), atol=0.1)
    assert essence(draw(knowing, plan, range(90), start=100, pupils=0.3)) == essence(some)[100:]


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_pupil_that_is_not_known_in_one_frame_is_not_drawn_there(unknown: float) -> None:
    clip = with_pupils(marked_clip(0))
    assert clip.pupils is not None
    clip.pupils[2, 0, 1] = unknown
    pair = decode_and_draw(clip, 2, SIZE, with_pupils=True)
    assert pair is not None
    other = np.stack([np.full(2, np.nan), clip.pupils[2, 1]])
    np.testing.assert_array_equal(pair[1], draw_landmarks(clip.landmarks[2], SIZE, other))


@pytest.mark.parametrize("resolution", [32, 96])
def test_pupils_are_resized_as_landmarks_are(resolution: int) -> None:
    clip = with_pupils(marked_clip(0))
    assert clip.pupils is not None
    pair = decode_and_draw(clip, 1, resolution, with_pupils=True)
    assert pair is not None
    points, pupils = ((each[1] + 0.5) * (resolution / SIZE) - 0.5 for each in (clip.landmarks, clip.pupils))
    np.testing.assert_array_equal(pair[1], draw_landmarks(points, resolution, pupils))
    assert (pair[1] != draw_landmarks(points, resolution)).any()


def test_colours_are_rgb(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    red = np.full((SIZE, SIZE, 3), (220, 40, 10), np.uint8)
    put(storage, [dataclasses.replace(toy_clip(0, 4, SIZE), frames=[jpeg(red)] * 4)])
    (episode,) = draw(storage, plan_of(scan(storage, "train")), range(1))
    np.testing.assert_allclose(episode.frames.mean(axis=(0, 1, 2)), (220, 40, 10), atol=3)


def test_the_order_depends_on_seed_and_epoch_only(storage: Storage, plan: Plan) -> None:
    wanted = essence(draw(storage, plan, range(6)))
    again = essence([e for index in reversed(range(6)) for e in draw(storage, plan, range(index, index + 1))])
    assert sorted(again) == sorted(wanted)
    other = plan_of(scan(storage, "train"), seed=1)
    assert [video for _, video, *_ in essence(draw(storage, other, range(6)))] != [video for _, video, *_ in wanted]


@pytest.mark.parametrize("shuffle_files", [1, 2, 3, 5, 7])
def test_locate_and_start_give_the_tail_of_the_same_sequence(storage: Storage, shuffle_files: int) -> None:
    plan = plan_of(scan(storage, "train"), shuffle_files=shuffle_files)
    windows = 2 * plan.windows_per_epoch
    whole = essence(draw(storage, plan, range(windows)))
    assert [number for number, *_ in whole] == list(range(18))
    for start in range(18):
        first = plan.locate(start)
        assert plan.window(first).first_episode <= start
        assert essence(draw(storage, plan, range(first, windows), start=start)) == whole[start:]


def test_windows_far_into_a_run(plan: Plan) -> None:
    index = plan.locate(9 * 1_000_000 + 4)
    window = plan.window(index)
    assert window.epoch == 1_000_000
    assert window.first_episode <= 9 * 1_000_000 + 4 < window.first_episode + sum(window.counts)


def test_a_shard_is_read_once_per_window(storage: Storage, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes read per episode: the clip's own, not the shard's for each of its clips."""
    read: list[str] = []

    def counting(place: Storage, path: str) -> list[Clip]:
        read.append(path)
        return read_clips(place, path)

    monkeypatch.setattr("raytalk.clips.episodes.read_clips", counting)
    draw(storage, plan, range(3))
    assert sorted(read) == sorted(plan.files)


def one_good_frame(clip: Clip) -> Clip:
    return dataclasses.replace(clip, frames=[clip.frames[0], *(data[:50] for data in clip.frames[1:])])


def truncated_pictures(clip: Clip) -> Clip:
    return dataclasses.replace(clip, frames=[data[: len(data) // 2] for data in clip.frames])


def nan_landmarks(clip: Clip) -> Clip:
    return dataclasses.replace(clip, landmarks=np.full_like(clip.landmarks, np.nan))


def oblong_pictures(clip: Clip) -> Clip:
    oblong = jpeg(np.zeros((SIZE, SIZE + 16, 3), np.uint8))
    return dataclasses.replace(clip, frames=[oblong] * len(clip.frames))


def oblong_but_one(clip: Clip) -> Clip:
    return dataclasses.replace(clip, frames=[clip.frames[0], *oblong_pictures(clip).frames[1:]])


def rubbish_between_markers(clip: Clip) -> Clip:
    return dataclasses.replace(clip, frames=[b"\xff\xd8" + b"rubbish" * 20 + b"\xff\xd9"] * len(clip.frames))


def absurd_size(clip: Clip) -> Clip:
    """A flipped header that claims 65,500 x 65,500 pixels: OpenCV raises instead of giving nothing."""
    data = bytearray(clip.frames[0])
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = b"\xff\xdc\xff\xdc"
    return dataclasses.replace(clip, frames=[bytes(data)] * len(clip.frames))


def no_frames(clip: Clip) -> Clip:
    return dataclasses.replace(clip, frames=[], landmarks=np.zeros((0, 68, 2), np.float32))


@pytest.mark.parametrize(
    "spoil",
    [
        one_good_frame,
        truncated_pictures,
        nan_landmarks,
        oblong_pictures,
        oblong_but_one,
        rubbish_between_markers,
        absurd_size,
        no_frames,
    ],
)
def test_a_useless_clip_is_replaced_counted_and_named(tmp_path: Path, spoil: Callable[[Clip], Clip]) -> None:
    storage = Storage(str(tmp_path))
    clips = [marked_clip(person) for person in range(5)]
    clips[2] = spoil(clips[2])
    put(storage, clips)
    plan = plan_of(scan(storage, "train"), shuffle_files=3)
    said: list[str] = []
    episodes = draw(storage, plan, range(1), said=said)
    assert [episode.number for episode in episodes] == list(range(5))
    assert [episode.faults for episode in episodes].count(0) == 4
    assert {e.video for e in episodes} == {f"person{n}/video0" for n in (0, 1, 3, 4)}
    assert sum(episode.faults for episode in episodes) >= 1
    assert any("person2/video0/0" in text for text in said)
    assert essence(draw(storage, plan, range(1), start=3)) == essence(episodes)[3:]


def test_broken_frames_of_a_good_clip_are_left_out_and_counted(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clip = marked_clip(0)
    clip.frames[1] = clip.frames[1][:-30]
    clip.landmarks[2, 7] = np.inf
    clip.frames[3] = b""
    put(storage, [clip])
    said: list[str] = []
    for episode in draw(storage, plan_of(scan(storage, "train")), range(10), shots=2, said=said):
        assert {which(picture) for picture in episode.frames} == {0, 4, 5}
        assert episode.faults == 3
    assert said
    assert set(said) == {"clip person0/video0/0: 3 broken frames left out"}


def test_an_oblong_frame_is_left_out_and_named(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    clip = marked_clip(0, frames=4)
    clip.frames[1] = oblong_pictures(clip).frames[0]
    put(storage, [clip])
    said: list[str] = []
    for episode in draw(storage, plan_of(scan(storage, "train")), range(10), shots=2, said=said):
        assert {which(picture) for picture in episode.frames} == {0, 2, 3}
    assert any("person0/video0/0" in text for text in said), "each fault is named through `say`"


def test_a_shard_that_vanishes_after_the_scan(storage: Storage, plan: Plan) -> None:
    assert storage.local_root
    lost = plan.window(0).files[0]
    (storage.local_root / lost).unlink()
    said: list[str] = []
    episodes = draw(storage, plan, range(3), said=said)
    assert [episode.number for episode in episodes] == list(range(9))
    assert sum(episode.faults for episode in episodes) == plan.window(0).counts[0]
    assert [text for text in said if lost in text]


def nulls(path: Path) -> None:
    table = clips_to_table([toy_clip(0), toy_clip(1)])
    empty = pa.array([None, None], table.schema.field("landmarks").type)
    pq.write_table(table.set_column(7, table.schema.field("landmarks"), empty), path)


def null_frames(path: Path) -> None:
    table = clips_to_table([toy_clip(0), toy_clip(1)])
    empty = pa.array([[None] * 16] * 2, table.schema.field("frames").type)
    pq.write_table(table.set_column(6, table.schema.field("frames"), empty), path)


@pytest.mark.parametrize("spoil", [zero_bytes, truncated, other_columns, nulls, null_frames])
def test_a_shard_that_breaks_after_the_scan(storage: Storage, plan: Plan, spoil: Callable[[Path], None]) -> None:
    assert storage.local_root
    window = plan.window(0)
    spoil(storage.local_root / window.files[0])
    said: list[str] = []
    episodes = draw(storage, plan, range(1), said=said)
    assert len(episodes) == sum(window.counts)
    assert sum(episode.faults > 0 for episode in episodes) == window.counts[0]
    assert said


def test_a_shard_with_fewer_clips_than_the_scan_found(storage: Storage, plan: Plan) -> None:
    window = plan.window(0)
    assert window.counts[0] == 2
    write_table(storage, window.files[0], clips_to_table([marked_clip(30)]))
    assert len(draw(storage, plan, range(3))) == 9


def test_a_window_without_any_usable_clip(storage: Storage, plan: Plan) -> None:
    assert storage.local_root
    for file in plan.window(1).files:
        (storage.local_root / file).unlink()
    with pytest.raises(ClipsError, match=r"no usable clip in train/part-.*parquet"):
        draw(storage, plan, range(1, 2))


@pytest.mark.parametrize("spoil", [zero_bytes, truncated, other_columns, nulls])
def test_read_clips_says_what_is_wrong(storage: Storage, spoil: Callable[[Path], None]) -> None:
    assert storage.local_root
    spoil(storage.local_root / "train" / "part-000.parquet")
    with pytest.raises(ClipsError, match=r"train/part-000\.parquet is not a readable file of clips"):
        read_clips(storage, "train/part-000.parquet")
    with pytest.raises(StorageError, match="nothing of that name"):
        read_clips(storage, "train/none.parquet")


@pytest.mark.parametrize("resolution", [32, 64, 96, 128])
def test_resizing_keeps_landmarks_on_their_features(tmp_path: Path, resolution: int) -> None:
    """A white square around all landmarks: the drawn point must be its centre at every resolution."""
    storage = Storage(str(tmp_path))
    landmarks = np.tile(np.array([45, 21], np.float32), (68, 1))
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[21 - 3 : 21 + 4, 45 - 3 : 45 + 4] = 255
    clip = dataclasses.replace(toy_clip(0, 3, SIZE), frames=[jpeg(picture)] * 3, landmarks=np.stack([landmarks] * 3))
    put(storage, [clip])
    plan = plan_of(scan(storage, "train"))
    (episode,) = draw_window(storage, plan, 0, 2, resolution)
    scale = resolution / SIZE
    expected = ((45 + 0.5) * scale - 0.5, (21 + 0.5) * scale - 0.5)
    rows, columns = np.mgrid[:resolution, :resolution]
    weight = np.where(episode.frames[0] < 20, 0, episode.frames[0]).sum(axis=2).astype(float)
    centre = ((columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum())
    np.testing.assert_allclose(centre, expected, atol=0.1)
    wanted = draw_landmarks(np.tile(np.array(expected), (68, 1)), resolution)
    np.testing.assert_array_equal(episode.drawings[0], wanted)


def test_decode() -> None:
    data = jpeg(np.full((32, 32, 3), (200, 100, 0), np.uint8))
    decoded = decode(data, 64)
    assert decoded is not None
    assert decoded[0].shape == (64, 64, 3)
    assert decoded[1] == 2
    assert decode(data[:-20], 64) is None
    assert decode(b"", 64) is None
    padded = decode(data + b"\0\0", 64)
    assert padded is not None, "padding after the last marker does no harm"


def test_a_store_that_fails_is_not_taken_for_damaged_clips(
    storage: Storage, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(storage: Storage, path: str) -> None:
        raise StorageError(f"cannot read {path}: the object store is busy") from OSError("SLOW_DOWN")

    monkeypatch.setattr("raytalk.clips.episodes.read_clips", failing)
    said: list[str] = []
    with pytest.raises(StorageError, match="the object store is busy"):
        list(draw_window(storage, plan, 0, 2, 32, say=said.append))
    assert said == []
