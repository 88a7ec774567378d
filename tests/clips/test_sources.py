from pathlib import Path

import pytest

from raytalk.clips.sources import list_sources
from raytalk.clips.splits import Fold, assign_splits, folds_of_people, read_lists
from raytalk.errors import ClipsError, SettingsError, StorageError
from raytalk.storage import Storage


def tree(root: Path, *paths: str) -> Storage:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return Storage(str(root))


def shares(people: int, known: dict | None = None, seed: int = 0, val: float = 0.1, test: float = 0.1) -> dict:
    return assign_splits({f"p{index}": None for index in range(people)}, known or {}, val, test, seed)


def count(splits: dict) -> tuple[int, int, int]:
    values = list(splits.values())
    return values.count("train"), values.count("val"), values.count("test")


def test_a_folder_gives_one_person_per_video(tmp_path: Path) -> None:
    storage = tree(tmp_path, "b.mp4", "sub/a.MOV", "sub/a b.webm", "notes.txt", ".hidden.mp4", ".trash/c.mp4", "x.jpg")
    sources = list_sources(storage, "folder")
    assert [source.clip_id for source in sources] == ["b", "sub/a", "sub/a b"]
    assert [source.path for source in sources] == ["b.mp4", "sub/a.MOV", "sub/a b.webm"]
    assert sources[1].person_id == sources[1].video_id == "sub/a"
    assert sources[1].uri == f"{tmp_path}/sub/a.MOV"


@pytest.mark.parametrize("layout", ["voxceleb1", "voxceleb2"])
def test_voxceleb_trees_give_person_video_and_clip(tmp_path: Path, layout: str) -> None:
    storage = tree(
        tmp_path,
        "vox2_dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
        "vox2_dev/mp4/id00012/21Uxsk56VDQ/00002.mp4",
        "vox2_dev/mp4/id00012/_raOc3-IRsw/00110.mp4",
        "test/mp4/id00017/01dfn2spqyE/00001.mp4",
        "id00099/abc/00001.mp4",
        "extras/readme.mp4",
    )
    sources = list_sources(storage, layout)
    assert [(source.clip_id, source.video_id, source.person_id, source.fold) for source in sources] == [
        ("id00012/21Uxsk56VDQ/00001", "id00012/21Uxsk56VDQ", "id00012", "dev"),
        ("id00012/21Uxsk56VDQ/00002", "id00012/21Uxsk56VDQ", "id00012", "dev"),
        ("id00012/_raOc3-IRsw/00110", "id00012/_raOc3-IRsw", "id00012", "dev"),
        ("id00017/01dfn2spqyE/00001", "id00017/01dfn2spqyE", "id00017", "test"),
        ("id00099/abc/00001", "id00099/abc", "id00099", None),
    ]


def test_voxceleb1_may_use_names_and_voxceleb2_not(tmp_path: Path) -> None:
    storage = tree(tmp_path, "dev/A.J._Buckley/1zcIwhmdeo4/00001.mp4")
    assert list_sources(storage, "voxceleb1")[0].person_id == "A.J._Buckley"
    with pytest.raises(ClipsError, match="not a voxceleb2 tree"):
        list_sources(storage, "voxceleb2")


def test_a_video_called_test_does_not_move_its_person(tmp_path: Path) -> None:
    storage = tree(tmp_path, "dev/id00012/test/00001.mp4")
    assert list_sources(storage, "voxceleb2")[0].fold == "dev"


def test_places_without_videos_are_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipsError, match=r"no video in .*empty"):
        list_sources(Storage(str(tmp_path / "empty")), "folder")
    with pytest.raises(ClipsError, match=r"no folder .*missing"):
        list_sources(Storage(str(tmp_path / "missing")), "folder")
    with pytest.raises(StorageError, match="it is a file"):
        list_sources(tree(tmp_path, "a.mp4").below("a.mp4"), "folder")
    with pytest.raises(SettingsError, match="layout 'kinetics'"):
        list_sources(Storage(str(tmp_path)), "kinetics")


@pytest.mark.s3
def test_an_endpoint_in_the_uri_is_kept_for_places_without_videos(
    s3_server: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    query = f"?scheme=http&endpoint_override={s3_endpoint.removeprefix('http://')}"
    with pytest.raises(ClipsError, match=r"no folder .*/absent"):
        list_sources(Storage(f"{s3_server}/absent{query}"), "folder")
    with pytest.raises(StorageError, match="no such bucket"):
        list_sources(Storage(f"s3://no-such-bucket-of-raytalk/absent{query}"), "folder")


def test_two_files_of_one_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipsError, match=r"a\.mov and a\.mp4 .* clip 'a'"):
        list_sources(tree(tmp_path, "a.mp4", "a.mov"), "folder")


def test_a_person_below_dev_and_test_is_refused(tmp_path: Path) -> None:
    storage = tree(tmp_path, "dev/id00012/a/00001.mp4", "test/id00012/b/00001.mp4")
    with pytest.raises(ClipsError, match="id00012"):
        list_sources(storage, "voxceleb2")


@pytest.mark.parametrize(
    ("people", "expected"),
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (2, 1, 0)), (5, (4, 1, 0)), (6, (4, 1, 1)), (40, (32, 4, 4))],
)
def test_small_sets_still_hold_people_out(people: int, expected: tuple[int, int, int]) -> None:
    for seed in range(5):
        assert count(shares(people, seed=seed)) == expected


def test_splits_are_the_same_every_time_and_depend_on_the_seed() -> None:
    assert shares(50) == shares(50)
    assert len({tuple(shares(50, seed=seed).values()) for seed in range(8)}) == 8


def test_shares_of_zero_hold_nobody_out() -> None:
    assert count(shares(50, val=0, test=0)) == (50, 0, 0)


def test_people_keep_their_split_when_others_come() -> None:
    known = shares(20)
    grown = shares(60, known)
    assert {person: grown[person] for person in known} == known
    assert count(grown) == (48, 6, 6)
    assert count(shares(21, known)) == (17, 2, 2)


def test_known_people_whose_videos_are_gone_still_count() -> None:
    assert count(shares(10, {"gone1": "val", "gone2": "test"})) == (10, 0, 0)


def test_trees_decide_who_is_test_and_val_comes_out_of_dev() -> None:
    folds: dict[str, Fold | None] = {f"d{index}": "dev" for index in range(20)}
    folds |= {f"t{index}": "test" for index in range(3)}
    splits = assign_splits(folds, {}, 0.1, 0.5, 0)
    assert {person for person, split in splits.items() if split == "test"} == {"t0", "t1", "t2"}
    assert count(splits) == (18, 2, 3)


def test_a_list_against_what_is_written_is_refused() -> None:
    with pytest.raises(ClipsError, match=r"p0 is written as train .* says test"):
        assign_splits({"p0": "test"}, {"p0": "train"}, 0.1, 0.1, 0)
    with pytest.raises(ClipsError, match="p0 is written as test"):
        assign_splits({"p0": "dev"}, {"p0": "test"}, 0.1, 0.1, 0)


VOX1 = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tA.J._Buckley\tm\tIreland\tdev\n"
VOX1 += "id10270\tEartha_Kitt\tf\tUSA\ttest\n"
VOX2 = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,dev \nid00017 ,n000017 ,m ,test \n"


def listed(tmp_path: Path, text: str) -> dict[str, Fold]:
    (tmp_path / "list.csv").write_text(text)
    return read_lists(str(tmp_path / "list.csv"))


def test_the_published_tables_are_read(tmp_path: Path) -> None:
    people = {"id10001": "id10001", "Eartha_Kitt": "Eartha_Kitt", "id00012": "id00012", "id00017": "id00017"}
    assert folds_of_people(people, listed(tmp_path, VOX1), "x") == {"id10001": "dev", "Eartha_Kitt": "test"}
    assert folds_of_people(people, listed(tmp_path, VOX2), "x") == {"id00012": "dev", "id00017": "test"}


def test_lines_of_split_and_path_are_read(tmp_path: Path) -> None:
    text = "train id00012/abc/00001.mp4\n2 id00017/x/00001.wav\ntest  sub/my clip.mp4\n\n1 id77777/a/00001.wav\n"
    names = {
        "id00012": "id00012",
        "id00017/x": "id00017",
        "sub/my clip": "sub/my clip",
        "sub/my clip.mp4": "sub/my clip",
    }
    assert folds_of_people(names, listed(tmp_path, text), "x") == {
        "id00012": "train",
        "id00017": "val",
        "sub/my clip": "test",
    }


def test_a_list_that_splits_recordings_is_refused_with_an_explanation(tmp_path: Path) -> None:
    text = "1 id10001/a/00001.wav\n2 id10001/a/00002.wav\n3 id10001/b/00001.wav\n"
    with pytest.raises(ClipsError, match=r"id10001 in both train and val.*iden_split.*vox1_meta"):
        folds_of_people({"id10001": "id10001"}, listed(tmp_path, text), "iden_split.txt")


def test_lists_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    for text, why in {"hello world\n": "hello world", "": "empty", "ID,Set\nid1,north\n": "north"}.items():
        with pytest.raises(ClipsError, match=why):
            listed(tmp_path, text)
    with pytest.raises(ClipsError, match="no person"):
        folds_of_people({"else": "else"}, listed(tmp_path, VOX1), "x")
    with pytest.raises(StorageError, match=r"absent\.csv"):
        read_lists(str(tmp_path / "absent.csv"))
