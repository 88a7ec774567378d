"""Folders and buckets: whole or not at all, and errors that say what to do."""

import json
import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.fs as pafs
import pytest

from raytalk.errors import StorageError
from raytalk.storage import Entry, Storage, explained, file_at, join, path_part


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage(str(tmp_path / "root"))
    return Storage(request.getfixturevalue("s3_server") + "/a/root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something to publish; the marker sorts before the other file."""
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "marker").write_bytes(b"whole")
    (made / "weights").write_bytes(b"w" * 1000)
    (made / "deep" / "more").write_bytes(b"m")
    return made


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_round_trip(storage: Storage) -> None:
    assert storage.entries() == []
    assert not storage.exists("a/b.bin")
    storage.write("a/b.bin", b"one")
    storage.write("a/b.bin", b"other")
    storage.write("a/c/d.bin", b"")
    assert storage.read("a/b.bin") == b"other"
    assert storage.exists("a/b.bin")
    assert storage.exists("a")
    assert storage.entries("a") == [Entry("a/b.bin", 5, False), Entry("a/c", 0, True)]
    assert [entry.path for entry in storage.entries(recursive=True) if not entry.is_folder] == ["a/b.bin", "a/c/d.bin"]
    below = storage.below("a")
    assert below.read("b.bin") == b"other"
    assert [entry.path for entry in below.entries()] == ["b.bin", "c"]


def test_delete(storage: Storage) -> None:
    for path in ("a/b", "a/c/d", "e"):
        storage.write(path, b"x")
    storage.delete("e")
    storage.delete("a/c")
    storage.delete("never was")
    assert [entry.path for entry in storage.entries(recursive=True) if not entry.is_folder] == ["a/b"]


def test_can_be_pickled(storage: Storage) -> None:
    storage.write("a", b"x")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"x"


def test_publish_and_fetch(storage: Storage, folder: Path, tmp_path: Path) -> None:
    storage.write("runs/one/old", b"left over")
    storage.publish(folder, "runs/one", "marker")
    got = storage.fetch("runs/one", tmp_path / "fetched")
    files = {path.relative_to(got).as_posix(): path.read_bytes() for path in got.rglob("*") if path.is_file()}
    assert files == {"marker": b"whole", "weights": b"w" * 1000, "deep/more": b"m"}
    (tmp_path / "file").mkdir()
    assert storage.fetch_file("runs/one/weights", tmp_path / "file").read_bytes() == b"w" * 1000
    assert [entry.path for entry in storage.entries("runs")] == ["runs/one"]


def open_copy(storage: Storage, path: str, folder: Path) -> bytes:
    """A local file is not copied, so it is missed only when it is opened."""
    with explained(path, "read"):
        return storage.fetch_file(path, folder).read_bytes()


@pytest.mark.parametrize(
    "action",
    [lambda s, path, folder: s.read(path), lambda s, path, folder: s.fetch(path, folder), open_copy],
    ids=["read", "fetch", "fetch_file"],
)
def test_what_is_missing_is_named(
    storage: Storage, tmp_path: Path, action: Callable[[Storage, str, Path], object]
) -> None:
    storage.write("a", b"x")
    with pytest.raises(StorageError) as caught:
        action(storage, "part-0403.bin", tmp_path)
    assert "part-0403.bin" in str(caught.value)
    assert "there is nothing of that name" in str(caught.value), "403 in a name is not the status 403"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    contents = [bytes([value]) * 300_000 for value in (1, 2)]
    storage.write("file", contents[0])
    ended = threading.Event()

    def write() -> None:
        for index in range(20):
            storage.write("file", contents[index % 2])
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while not ended.is_set():
        assert storage.read("file") in contents
        assert [entry.path for entry in storage.entries()] == ["file"]
        seen += 1
    thread.join()
    assert seen


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    storage.write("file", b"old")

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match=r"cannot write .*Input/output error"):
        storage.write("file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_failed_publish_leaves_what_was_there(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "root"))
    storage.publish(folder, "one", "marker")
    (folder / "marker").write_bytes(b"newer")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if target.name == "one":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", broken)
        with pytest.raises(StorageError):
            storage.publish(folder, "one", "marker")
    assert storage.read("one/marker") == b"whole", "the checkpoint that was there must survive"


def test_what_was_written_aside_is_hidden_and_cleared(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("keep", b"x")
    (tmp_path / ".aside-file").write_bytes(b"half")
    (tmp_path / ".aside-folder").mkdir()
    (tmp_path / ".aside-folder" / "inside").write_bytes(b"half")
    assert [entry.path for entry in storage.entries(recursive=True)] == ["keep"]
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    storage.clear_aside()
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_what_a_live_process_writes_aside_is_not_cleared(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    (tmp_path / ".aside-file").write_bytes(b"half")
    (tmp_path / ".aside-folder").mkdir()
    (tmp_path / ".aside-folder" / "growing").write_bytes(b"half")
    os.utime(tmp_path / ".aside-folder", (0, 0))
    storage.clear_aside()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".aside-file", ".aside-folder"]


@pytest.mark.s3
def test_the_marker_is_uploaded_last(s3_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(s3_server)
    storage.write("one/marker", b"old")
    opened: list[str] = []
    open_file = Path.open

    def watched(self: Path, mode: str = "r") -> object:
        opened.append(self.name)
        if self.name == "weights":
            raise OSError(5, "Input/output error")
        return open_file(self, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", watched)
        with pytest.raises(StorageError):
            storage.publish(folder, "one", "marker")
    assert "marker" not in opened
    assert not storage.exists("one/marker"), "half of a folder must not look whole"


def test_a_file_is_put_whole(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"f" * 1000)
    storage.put_file(tmp_path / "film", "film.mp4")
    storage.put_file(tmp_path / "film", "deep/film.mp4")
    (tmp_path / "film").write_bytes(b"")
    storage.put_file(tmp_path / "film", "film.mp4")
    assert (storage.read("film.mp4"), storage.read("deep/film.mp4")) == (b"", b"f" * 1000)
    assert [entry.path for entry in storage.entries(recursive=True)] == ["deep", "deep/film.mp4", "film.mp4"]
    with pytest.raises(StorageError, match=r"cannot write .*gone\.mp4: there is nothing of that name"):
        storage.put_file(tmp_path / "gone", "gone.mp4")


def test_a_file_whose_copy_is_interrupted_is_not_there(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film").write_bytes(b"f" * 1000)
    storage.put_file(tmp_path / "film", "old.mp4")
    (tmp_path / "film").write_bytes(b"g" * 1000)
    everything = Storage(storage.uri)

    def half(source: Any, target: Any, _: int) -> None:
        target.write(source.read(500))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", half)
    for name in ("old.mp4", "new.mp4"):
        with pytest.raises(KeyboardInterrupt):
            storage.put_file(tmp_path / "film", name)
    seen = everything.filesystem.get_file_info(pafs.FileSelector(everything.root, recursive=True))
    assert [info.base_name for info in seen] == ["old.mp4"], "nothing written aside stays either"
    assert storage.read("old.mp4") == b"f" * 1000


@pytest.mark.s3
def test_a_marker_whose_copy_is_interrupted_is_not_there(
    s3_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(s3_server)
    copy = shutil.copyfileobj

    def half(source: Any, target: Any, size: int) -> None:
        if not source.name.endswith("marker"):
            return copy(source, target, size)
        target.write(source.read(2))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(KeyboardInterrupt):
        storage.publish(folder, "one", "marker")
    assert [entry.path for entry in storage.entries("one")] == ["one/deep", "one/weights"]


@pytest.mark.s3
def test_a_file_at_the_root_of_a_bucket(s3_server: str, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"f")
    place, name = file_at(f"{s3_server}/film.mp4")
    place.put_file(tmp_path / "film", name)
    assert place.read(name) == b"f"
    assert [entry.path for entry in Storage(s3_server).entries()] == ["film.mp4"]


@pytest.mark.s3
def test_query_and_environment_reach_the_endpoint(
    s3_server: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Storage(s3_server).write("a", b"x")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    scheme, _, host = s3_endpoint.partition("://")
    by_query = Storage(f"{s3_server}?scheme={scheme}&endpoint_override={host}")
    assert by_query.read("a") == b"x"
    by_query.below("sub").write("b", b"y")
    assert by_query.read("sub/b") == b"y"
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint + "/")
    assert Storage(s3_server).read("a") == b"x"


@pytest.mark.s3
def test_wrong_bucket(s3_server: str) -> None:
    storage = Storage("s3://no-such-bucket-of-raytalk/clips")
    with pytest.raises(StorageError, match="there is no such bucket; check its name and the endpoint"):
        storage.write("a", b"x")
    with pytest.raises(StorageError):
        storage.read("a")


@pytest.mark.s3
def test_listing_a_wrong_bucket_is_not_an_empty_folder(s3_server: str) -> None:
    with pytest.raises(StorageError, match="no such bucket"):
        Storage("s3://no-such-bucket-of-raytalk/clips").entries("train")


@pytest.mark.s3
@pytest.mark.parametrize(
    "action",
    [lambda s: s.write("new", b"x"), lambda s: s.read("a"), lambda s: s.exists("a")],
    ids=["write", "read", "exists"],
)
def test_no_permission_in_a_bucket(s3_server: str, s3_endpoint: str, action: Callable[[Storage], object]) -> None:
    storage = Storage(s3_server)
    storage.write("a", b"x")
    bucket = s3_server.removeprefix("s3://")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    boto3.client("s3", endpoint_url=s3_endpoint).put_bucket_policy(Bucket=bucket, Policy=policy)
    with pytest.raises(StorageError, match=r"no permission; .*the bucket's policy and the credentials"):
        action(storage)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_in_a_folder(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a", b"x")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission; check who owns it"):
            storage.write("b", b"x")
        (tmp_path / "a").chmod(0)
        with pytest.raises(StorageError, match="no permission; check who owns it"):
            storage.read("a")
    finally:
        tmp_path.chmod(0o700)


def test_a_permission_error_is_explained() -> None:
    with pytest.raises(StorageError, match="cannot write /x: no permission; check who owns it"):
        with explained("/x", "write"):
            raise PermissionError(13, "Permission denied", "/x")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("When reading key 'episodes-000040300' ...: AWS Error NETWORK_CONNECTION", "the object store does not answer"),
        ("AWS Error ACCESS_DENIED during HeadObject operation", "no permission"),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadObject operation", "no permission"),
        ("AWS Error INVALID_ACCESS_KEY_ID during PutObject", "the access key is refused"),
        ("AWS Error SIGNATURE_DOES_NOT_MATCH during PutObject", "the access key is refused"),
        ("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload", "there is no such bucket"),
        ("something new", "something new"),
    ],
)
def test_messages_of_object_stores_become_advice(text: str, advice: str) -> None:
    with pytest.raises(StorageError) as caught:
        with explained("s3://bucket/x", "read"):
            raise OSError(text)
    assert str(caught.value).startswith(f"cannot read s3://bucket/x: {advice}")


def test_full_disk(full_disk: Path, tmp_path: Path) -> None:
    storage = Storage(str(full_disk))
    storage.write("small", b"x")
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        storage.write("big", b"x" * 200_000)
    made = tmp_path / "made"
    made.mkdir()
    (made / "marker").write_bytes(b"x")
    (made / "weights").write_bytes(b"x" * 200_000)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        storage.publish(made, "one", "marker")
    assert [path.name for path in full_disk.iterdir()] == ["small"], "nothing half-written stays"


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"cannot write .*file"):
        Storage(str(tmp_path / "file")).write("a", b"x")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://bucket/a", "give a folder or s3://bucket/prefix"),
        ("s3:///a", "the bucket's name is missing"),
        ("s3://bucket/a?no_such_option=1", "cannot open s3://bucket/a"),
    ],
)
def test_uris_that_cannot_be_used(uri: str, message: str) -> None:
    with pytest.raises(StorageError) as caught:
        Storage(uri)
    assert message in str(caught.value)


def test_folders_as_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Storage("~/a").local_root == tmp_path / "a"
    assert Storage(f"file://{tmp_path}/a").local_root == tmp_path / "a"


def test_join() -> None:
    assert join("/a/", "b", "", "c/") == "/a/b/c"
    assert join("s3://bucket/a?scheme=http", "b") == "s3://bucket/a/b?scheme=http"
    assert join("/odd?name", "b") == "/odd?name/b"


def test_a_path_has_no_query() -> None:
    assert path_part("s3://bucket/a/b.mp4?endpoint_override=m:9000&scheme=http") == "s3://bucket/a/b.mp4"
    assert path_part("s3://bucket/a/") == "s3://bucket/a/"
    assert path_part("/odd?name.mp4") == "/odd?name.mp4"


def test_where_a_file_is(tmp_path: Path) -> None:
    place, name = file_at("s3://bucket/a/b.npz?endpoint_override=127.0.0.1:1&scheme=http&region=x")
    assert (place.uri, name) == ("s3://bucket/a?endpoint_override=127.0.0.1:1&scheme=http&region=x", "b.npz")
    place, name = file_at(str(tmp_path / "b.npz"))
    assert (place.local_root, name) == (tmp_path, "b.npz")
    for wrong in ("s3://bucket", "/"):
        with pytest.raises(StorageError, match="is no file"):
            file_at(wrong)
