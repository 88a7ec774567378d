"""Where things lie, on a folder and on S3; and that nothing from outside becomes a path."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raytalk.errors import StorageError
from serve.errors import NotFound
from serve.records.store import Store

ID = "0123456789abcdef" * 2


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "kept"))
    return Store(request.getfixturevalue("s3_server") + "/kept")


def test_ids_cannot_be_guessed() -> None:
    ids = {Store.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id) == 32 and int(id, 16) >= 0 for id in ids)


def test_material_and_pictures(store: Store, tmp_path: Path) -> None:
    video = tmp_path / "v"
    video.write_bytes(b"video")
    store.put_material(ID, "000.jpg", b"photo")
    store.put_material(ID, "001.bin", video)
    assert store.material(ID).read("000.jpg") == b"photo"
    assert store.material(ID).read("001.bin") == b"video"
    store.put_crop(ID, "000.jpg", b"crop")
    store.put_preview(ID, b"one")
    store.put_preview(ID, b"two")
    assert store.read_picture(ID, "crop", "000.jpg") == b"crop"
    assert store.read_picture(ID, "preview") == b"two"
    store.delete_material(ID)
    assert store.material(ID).entries() == []
    with pytest.raises(NotFound):
        store.read_picture(ID, "crop", "000.jpg")
    assert store.read_picture(ID, "preview") == b"two"


def test_avatars_are_found_where_raytalk_puts_them(store: Store) -> None:
    from raytalk.storage import Storage

    Storage(store.avatar_uri(ID, "ft-2")).write("avatar.json", b"{}")
    assert store.avatar_place(ID).read("ft-2/avatar.json") == b"{}"


def test_films(store: Store, tmp_path: Path) -> None:
    store.put_film_driver(ID, "driver.npz", b"track")
    assert store.fetch_film_driver(ID, "driver.npz", tmp_path).read_bytes() == b"track"
    with pytest.raises(NotFound):
        with store.open_film(ID):
            pass
    made = tmp_path / "made"
    made.write_bytes(bytes(range(100)))
    store.put_film(ID, made)
    with store.open_film(ID) as (stream, size):
        assert size == 100
        stream.seek(90)
        assert stream.read(5) == bytes(range(90, 95))
    store.discard_film(ID)
    assert store.film_place(ID).entries(recursive=True) == []


def test_records(store: Store) -> None:
    other = Store.new_id()
    assert store.ids("avatars") == []
    store.put_material(other, "000.jpg", b"photo")
    assert store.read_record("avatars", ID) is None
    store.write_record("avatars", ID, b"{}")
    store.write_record("avatars", ID, b"{1}")
    assert store.read_record("avatars", ID) == b"{1}"
    assert store.read_record("avatars", other) is None
    assert set(store.ids("avatars")) == {ID, other}
    assert store.changed("avatars", ID) is None, "it has a record"
    changed = store.changed("avatars", other)
    assert changed is not None
    assert abs(changed - time.time()) < 60
    store.delete_record("avatars", ID)
    assert store.read_record("avatars", ID) is None
    store.discard(other)
    assert other not in store.ids("avatars")
    store.discard(other)


def test_notes_of_the_desk(store: Store) -> None:
    assert store.claimant() == ""
    store.claim("me")
    assert store.claimant() == "me"
    store.probe()
    assert store.deletions() == []
    store.write_deletion(12, b"twelve")
    store.write_deletion(3, b"three")
    assert store.deletions() == [3, 12]
    assert store.read_deletion(12) == b"twelve"
    store.forget_deletion(3)
    store.forget_deletion(3)
    assert store.deletions() == [12]


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../../etc", ID.upper(), ID + "0", ID[:-1], ID + "\n", "é" * 32])
def test_ids_of_users_never_become_paths(tmp_path: Path, id: str) -> None:
    store = Store(str(tmp_path))
    calls: list[Callable[[], object]] = [
        lambda: store.avatar_place(id),
        lambda: store.avatar_uri(id, "ff"),
        lambda: store.put_material(id, "000.jpg", b""),
        lambda: store.read_picture(id, "preview"),
        lambda: store.put_preview(id, b""),
        lambda: store.put_film_driver(id, "driver.bin", b""),
        lambda: store.film_place(id),
        lambda: store.discard(id),
        lambda: store.discard_film(id),
        lambda: store.write_record("films", id, b""),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a.jpg", "000.png", "0000.jpg", "000.jpg/../x", "000.jpg\n"])
def test_only_names_of_our_own(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path))
    for call in (
        lambda: store.put_material(ID, name, b""),
        lambda: store.put_crop(ID, name, b""),
        lambda: store.read_picture(ID, "crop", name),
        lambda: store.avatar_uri(ID, name),
        lambda: store.put_film_driver(ID, name, b""),
    ):
        with pytest.raises(ValueError, match="give"):
            call()


def test_storage_that_does_not_answer_is_not_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "avatars").write_text("a file where a folder should be")
    store = Store(str(tmp_path))
    with pytest.raises(StorageError):
        store.put_preview(ID, b"")
    with pytest.raises(StorageError):
        store.ids("avatars")


def test_can_be_pickled(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put_preview(ID, b"x")
    assert pickle.loads(pickle.dumps(store)).read_picture(ID, "preview") == b"x"
