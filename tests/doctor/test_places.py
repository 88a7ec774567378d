import json
from pathlib import Path

import boto3
import pytest

from raytalk.doctor import places
from raytalk.errors import StorageError
from raytalk.storage import Storage


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    uri = str(tmp_path / "kept")
    Storage(uri).write("clips/a", b"x")
    word = places.leave_word(uri)
    (found,) = places.usable(uri, word)
    assert found.kind in ("ok", "note"), found
    assert "MB/s" in found.text
    places.take_word_back(uri, word)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["clips"]


def test_a_folder_that_is_not_shared_is_found_out(tmp_path: Path) -> None:
    word = places.leave_word(str(tmp_path / "of the driver"))
    (found,) = places.usable(str(tmp_path / "of the node"), word)
    assert found.kind == "mend"
    assert "another folder here than on the driver's machine" in found.text


@pytest.mark.s3
def test_a_bucket_is_tried_and_left_as_it_was(s3_server: str) -> None:
    word = places.leave_word(s3_server)
    (found,) = places.usable(s3_server, word)
    assert found.kind in ("ok", "note"), found
    places.take_word_back(s3_server, word)
    assert [entry for entry in Storage(s3_server).entries(recursive=True) if not entry.is_folder] == []


@pytest.mark.s3
def test_a_bucket_that_refuses_writing_is_told(s3_server: str, s3_endpoint: str) -> None:
    bucket = s3_server.removeprefix("s3://")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    boto3.client("s3", endpoint_url=s3_endpoint).put_bucket_policy(Bucket=bucket, Policy=policy)
    with pytest.raises(StorageError, match="no permission; check who owns it, or the bucket's policy"):
        places.usable(s3_server)


def test_what_comes_back_changed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "read", lambda self, path: b"something else")
    (found,) = places.usable(str(tmp_path))
    assert found.kind == "mend"
    assert "something else than was written" in found.text
    assert not list((tmp_path / "doctor").iterdir())
